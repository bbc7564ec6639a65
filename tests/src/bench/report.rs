//! The page: every number in it comes out of the table.

use std::fmt::Write as _;
use std::path::Path;

use super::chart::{self, Point, Series, Words};
use super::measure::FLOOR;
use super::peer::Peer;
use super::table::{Row, Table};
use super::{BenchError, goals, save};

const KINDS: [(&str, &str); 8] = [
    ("hot_name", "getpwnam, one name"),
    ("name", "getpwnam, random"),
    ("hot_uid", "getpwuid, one uid"),
    ("uid", "getpwuid, random"),
    ("miss", "getpwnam, unknown"),
    ("hot_groups", "initgroups, one login"),
    ("groups", "initgroups, random"),
    ("largest", "getgrnam, largest group"),
];

/// A plot over the number of logins.
struct Plot {
    /// Of the file: `look-ups-NAME.svg`.
    name: &'static str,
    measure: &'static str,
    words: Words<'static>,
    /// From the table's unit to the axis's.
    scale: f64,
}

const P50: &str = "p50 in dispatch (nscd: through nsswitch.conf); a ring: fewer were asked for than there are";

const fn plot(name: &'static str, measure: &'static str, title: &'static str, axis: &'static str, scale: f64) -> Plot {
    Plot { name, measure, words: Words { title, axis, unit: chart::time }, scale }
}

const PLOTS: [Plot; 6] = [
    plot("name", "name", "getpwnam of random logins", P50, 1.0),
    plot("miss", "miss", "getpwnam of unknown names", P50, 1.0),
    plot("groups", "groups", "initgroups of random logins", P50, 1.0),
    Plot {
        name: "threads",
        measure: "threads16",
        words: Words {
            title: "getpwnam of random logins by 16 threads",
            axis: "look-ups a second; a ring: fewer were asked for than there are",
            unit: chart::rate,
        },
        scale: 1.0,
    },
    plot("first", "first", "First look-up of a new process", "p50, with loading the module", 1e3),
    plot("seen", "seen fresh", "From a written change to its visibility", "p50, in new processes", 1e6),
];

/// Writes `look-ups.md` and the plots into this folder.
pub(super) fn write(table: &Table, out: &Path) -> Result<(), BenchError> {
    let mut page = String::from(
        "# Look-ups\n\nWritten by `make bench` out of [look-ups.csv](look-ups.csv), which has all numbers. How it is measured and how to run a part of it: \
         [README](README.md).\n\n",
    );
    machine(&mut page, table);
    failures(&mut page, table);
    page.push_str(&goals::table(table));
    for Plot { name, measure, words, scale } in PLOTS {
        if let Some(svg) = chart::lines(words, &series(table, measure, scale)) {
            let file = format!("look-ups-{name}.svg");
            save(&out.join(&file), &svg)?;
            let _ = writeln!(page, "![{}]({file})\n", words.title);
        }
    }
    for size in table.sizes() {
        look_ups(&mut page, table, size);
        ratios(&mut page, table, size);
    }
    per_peer(
        &mut page,
        table,
        "Threads",
        "Look-ups of random names a second, in dispatch (nscd: through nsswitch.conf).",
        &THREADS,
    );
    per_peer(&mut page, table, "Listing", "`getpwent` over all, milliseconds, best of up to five.", &LISTING);
    per_peer(
        &mut page,
        table,
        "Processes",
        "Through nsswitch.conf; p50. First: the first look-up of a new process, with loading the module. `ls -ln` is `ls -l` without names.",
        &PROCESSES,
    );
    per_peer(
        &mut page,
        table,
        "Without directory, without daemons",
        "slapd killed; then the peer's daemons as well. `error` is UNAVAIL.",
        &OFFLINE,
    );
    per_peer(
        &mut page,
        table,
        "From a written change to its visibility",
        "Milliseconds from the start of the command that writes it; `command` is how long that itself took.",
        &SEEN,
    );
    memory(&mut page, table, out)?;
    per_peer(
        &mut page,
        table,
        "Filling and starting",
        "Filling: what was filled by an earlier run is copied.",
        &FILLING,
    );
    caches(&mut page, table);
    durations(&mut page, table);
    save(&out.join("look-ups.md"), &page)
}

type Column = (&'static str, &'static str, fn(f64) -> String);
const THREADS: [Column; 3] =
    [("threads1", "1 thread", thousands), ("threads4", "4", thousands), ("threads16", "16", thousands)];
const LISTING: [Column; 1] = [("list", "ms", plain)];
const PROCESSES: [Column; 6] = [
    ("load", "dlopen µs", plain),
    ("first", "first µs", plain),
    ("true", "`true` µs", plain),
    ("id", "`id LOGIN` µs", plain),
    ("ls", "`ls -l` of 10,000 owners, ms", plain),
    ("ls-n", "`ls -ln`, ms", plain),
];
const OFFLINE: [Column; 8] = [
    ("away hot_name", "without slapd: one name", nanoseconds),
    ("away name", "random names", nanoseconds),
    ("away groups", "initgroups", nanoseconds),
    ("away miss", "unknown", nanoseconds),
    ("offline hot_name", "without daemons: one name", nanoseconds),
    ("offline name", "random names", nanoseconds),
    ("offline groups", "initgroups", nanoseconds),
    ("offline miss", "unknown", nanoseconds),
];
const SEEN: [Column; 8] = [
    ("seen changes", "changes", thousands),
    ("seen running", "running process, p50", plain),
    ("seen running worst", "worst", plain),
    ("seen fresh", "new process, p50", plain),
    ("seen fresh worst", "worst", plain),
    ("seen command", "command", plain),
    ("seen late", "not seen in time", plain),
    ("publish", "identityd's processor time for a change, µs", plain),
];
const FILLING: [Column; 7] = [
    ("fill", "fill and start, s", plain),
    ("cold", "first time of name, uid and groups, µs a login", plain),
    ("cold miss", "first time of an unknown name, µs", plain),
    ("start with files", "start with files, ms", plain),
    ("start with copy", "start with the copy on disk, ms", plain),
    ("start with nothing", "start with neither, ms", plain),
    ("full load", "until the snapshot is published, s", plain),
];

/// 1234567.0 → "1,234,567".
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn nanoseconds(value: f64) -> String {
    match value {
        v if v < 1e3 => format!("{v:.0} ns"),
        v if v < 1e4 => format!("{:.2} µs", v / 1e3),
        v if v < 1e6 => format!("{:.0} µs", v / 1e3),
        v => format!("{:.1} ms", v / 1e6),
    }
}

fn plain(value: f64) -> String {
    if value >= 100.0 {
        thousands(value)
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn machine(page: &mut String, table: &Table) {
    page.push_str("| | |\n|---|---|\n");
    for row in table.facts() {
        let _ = writeln!(page, "| {} | {} |", row.measure, row.note);
    }
    page.push('\n');
}

/// What did not come to its end, before anything else.
fn failures(page: &mut String, table: &Table) {
    for size in table.sizes() {
        for peer in Peer::ALL {
            if let Some(row) = table.row(peer.key(), size, "failed", "") {
                let _ = writeln!(
                    page,
                    "**{} with {} logins is not complete**: {}\n",
                    peer.label(),
                    thousands(f64::from(size)),
                    row.note
                );
            }
        }
    }
}

fn series<'t>(table: &Table, measure: &str, scale: f64) -> Vec<Series<'t>> {
    let of = |peer: Peer| {
        let point = |size| {
            let at = |level| table.row(peer.key(), size, measure, level);
            let row = at(peer.level()).or_else(|| at("nsswitch"))?;
            let part = row.over.is_some_and(|over| over < size);
            Some(Point { logins: f64::from(size), value: row.value? * scale, part })
        };
        Series {
            label: peer.label(),
            colour: peer.colour(),
            dashed: peer.is_variant(),
            points: table.sizes().into_iter().filter_map(point).collect(),
        }
    };
    Peer::ALL.into_iter().map(of).filter(|series| !series.points.is_empty()).collect()
}

/// Peers down, kinds across.
fn look_ups(page: &mut String, table: &Table, size: u32) {
    let _ = writeln!(
        page,
        "## {} logins\n\np50 in dispatch (nscd: through nsswitch.conf, where glibc asks it first). `asked`: of how many logins, by random.\n",
        thousands(f64::from(size))
    );
    let heads: String = KINDS.iter().map(|kind| format!(" {} |", kind.1)).collect();
    let _ = writeln!(page, "| |{heads} asked |\n|---|{}---|", "---|".repeat(KINDS.len()));
    for peer in Peer::ALL {
        if let Some(why) = table.obstacle(peer.key(), size) {
            let _ = writeln!(page, "| {} | n/a: {why} |{}", peer.label(), " |".repeat(KINDS.len()));
            continue;
        }
        if table.row(peer.key(), size, "name", peer.level()).is_none() {
            continue;
        }
        let cells: String = KINDS
            .iter()
            .map(|kind| format!(" {} |", cell(table.row(peer.key(), size, kind.0, peer.level()), nanoseconds)))
            .collect();
        let over =
            table.row(peer.key(), size, "name", peer.level()).and_then(|row| row.over).map(f64::from).map(thousands);
        let _ = writeln!(page, "| {} |{cells} {} |", peer.label(), over.unwrap_or_default());
    }
    page.push('\n');
}

fn cell(row: Option<&Row>, show: fn(f64) -> String) -> String {
    match row {
        Some(Row { value: Some(value), .. }) => show(*value),
        Some(row) => row.note.clone(),
        None => String::new(),
    }
}

/// Ours at the three levels, and by how much it is slower than the floor and faster than the others.
fn ratios(page: &mut String, table: &Table, size: u32) {
    let ours = Peer::Ours.key();
    if table.row(ours, size, "name", "dispatch").is_none() {
        return;
    }
    page.push_str(
        "This module at the three levels, p50 (p99); then, in dispatch, its time as a multiple of the empty module's (in turns, in the same \
         machine), and how many times longer the others take.\n\n\
         | | direct | dispatch | nsswitch.conf | × empty | `files` | SSSD | nscd |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (kind, label) in KINDS {
        let at = |level: &str| {
            let row = table.row(ours, size, kind, level);
            let tail = row.and_then(|row| row.p99).map(|p99| format!(" ({})", nanoseconds(p99))).unwrap_or_default();
            cell(row, nanoseconds) + &tail
        };
        let mine = table.value(ours, size, kind, "dispatch");
        // The empty module's group has no members.
        let floor =
            mine.zip(table.value(ours, size, &format!("{FLOOR}{kind}"), "dispatch")).filter(|_| kind != "largest");
        let empty = floor.map(|(mine, floor)| plain(mine / floor)).unwrap_or_default();
        let times = |peer: Peer| {
            let other = table.value(peer.key(), size, kind, peer.level());
            mine.zip(other).map(|(mine, other)| plain(other / mine)).unwrap_or_default()
        };
        let _ = writeln!(
            page,
            "| {label} | {} | {} | {} | {} | {} | {} | {} |",
            at("direct"),
            at("dispatch"),
            at("nsswitch"),
            empty,
            times(Peer::Files),
            times(Peer::Sss),
            times(Peer::Nscd)
        );
    }
    page.push('\n');
}

/// One table of all peers and sizes.
fn per_peer(page: &mut String, table: &Table, title: &str, words: &str, columns: &[Column]) {
    let mut lines = String::new();
    for size in table.sizes() {
        for peer in Peer::ALL {
            let found = |measure: &str| {
                ["", "nsswitch", "dispatch"].iter().find_map(|level| table.row(peer.key(), size, measure, level))
            };
            let cells: Vec<_> = columns.iter().map(|column| cell(found(column.0), column.2)).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                let _ =
                    writeln!(lines, "| {} | {} | {} |", thousands(f64::from(size)), peer.label(), cells.join(" | "));
            }
        }
    }
    if lines.is_empty() {
        return;
    }
    let heads: Vec<_> = columns.iter().map(|column| column.1).collect();
    let _ = writeln!(
        page,
        "## {title}\n\n{words}\n\n| logins | | {} |\n|---|---|{}\n{lines}",
        heads.join(" | "),
        "---|".repeat(columns.len())
    );
}

fn memory(page: &mut String, table: &Table, out: &Path) -> Result<(), BenchError> {
    let mut lines = String::new();
    let mut bars = Vec::new();
    for size in table.sizes() {
        for peer in Peer::ALL {
            let sum = |what: &str| {
                peer.daemons()
                    .iter()
                    .filter_map(|daemon| table.value(peer.key(), size, &format!("{what} {daemon}"), ""))
                    .sum::<f64>()
            };
            let (private, shared, mapped) = (sum("private"), sum("shared"), sum("mapped"));
            if private == 0.0 {
                continue;
            }
            let each: Vec<_> = peer
                .daemons()
                .iter()
                .chain(&["slapd"])
                .filter_map(|daemon| {
                    Some(format!("{daemon} {:.1}", table.value(peer.key(), size, &format!("private {daemon}"), "")?))
                })
                .collect();
            let asked = peer.daemons().iter().find_map(|daemon| {
                table.row(peer.key(), size, &format!("private {daemon}"), "")?.over.filter(|&over| over < size)
            });
            let (all, asked) = (thousands(f64::from(size)), asked.map(f64::from).map(thousands));
            let _ = writeln!(
                lines,
                "| {all} | {} | {} | {private:.1} | {shared:.1} | {mapped:.1} | {} |",
                peer.label(),
                asked.as_deref().unwrap_or("all"),
                each.join(", ")
            );
            let label = match asked {
                Some(asked) => format!("{}, {asked} of {all}", peer.label()),
                None => format!("{}, {all}", peer.label()),
            };
            bars.push((label, private, mapped));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    page.push_str(
        "## Memory of the daemons\n\nMiB, of all processes of a peer after the look-ups above; slapd is in the last column only. Asked: how many \
         logins it was asked for, which is what it may have in memory. Private: nobody else has these pages, and no file of \
         published data is among them. Mapped: resident pages of the files that the daemon shares with its readers.\n\n\
         | logins | | asked | private | shared libraries | mapped data | private by daemon |\n|---|---|---|---|---|---|---|\n",
    );
    page.push_str(&lines);
    if let Some(svg) = chart::bars("Memory of the daemons", &bars) {
        save(&out.join("memory.svg"), &svg)?;
        page.push_str("\n![Memory of the daemons](memory.svg)\n");
    }
    page.push('\n');
    Ok(())
}

/// Why a random look-up costs more among a million: the same program's measure of this machine's caches.
fn caches(page: &mut String, table: &Table) {
    let chase: Vec<_> = table.facts_of("chase ").collect();
    if chase.is_empty() {
        return;
    }
    page.push_str(
        "## The processor's caches\n\nNanoseconds of one load that depends on the one before, over so much memory in random order, pages of 4 KiB (`tests/c/bench/chase.c`). \
         Counters of the processor are not to be had in every virtual machine; this says what a cold line and a cold page of the translation cache cost here.\n\n| KiB | ns |\n|---|---|\n",
    );
    for (kib, ns) in chase {
        let _ = writeln!(page, "| {} | {ns:.1} |", thousands(kib.parse().unwrap_or(0.0)));
    }
    let (small, large) =
        (table.value("mayfirst", 1000, "name", "dispatch"), table.value("mayfirst", 1_000_000, "name", "dispatch"));
    let (near, far) = (table.value("machine", 0, "chase 128", ""), table.value("machine", 0, "chase 262144", ""));
    if let (Some(small), Some(large), Some(near), Some(far)) = (small, large, near, far) {
        let _ = writeln!(
            page,
            "\nA random look-up takes {small:.0} ns among 1,000 logins and {large:.0} ns among 1,000,000: {:.0} ns more, which is the time of {:.1} loads from memory \
             ({far:.0} ns) instead of from the second-level cache ({near:.0} ns).",
            large - small,
            (large - small) / (far - near)
        );
    }
    page.push('\n');
}

fn durations(page: &mut String, table: &Table) {
    page.push_str("## How long it took\n\nSeconds, each with filling; what is filled once is kept for the next run.");
    let sizes = table.sizes();
    // "2026-11-28 01:10 load 0.31"
    let begun: Vec<_> = sizes
        .iter()
        .flat_map(|&size| Peer::ALL.map(|peer| table.row(peer.key(), size, "begun", "")))
        .flatten()
        .filter_map(|row| row.note.split_once(" load "))
        .collect();
    let loads = || begun.iter().filter_map(|(_, load)| load.parse::<f64>().ok());
    if let (Some(first), Some(last), Some(least), Some(most)) = (
        begun.iter().map(|(date, _)| date).min(),
        begun.iter().map(|(date, _)| date).max(),
        loads().reduce(f64::min),
        loads().reduce(f64::max),
    ) {
        let _ = write!(page, " They began between {first} and {last} (UTC), with a load of {least} to {most}.");
    }
    page.push_str("\n\n| logins |");
    let _ = writeln!(page, "{}", Peer::ALL.map(|peer| format!(" {} |", peer.label())).concat());
    let _ = writeln!(page, "|---|{}", "---|".repeat(Peer::ALL.len()));
    for size in sizes {
        let cells = Peer::ALL
            .map(|peer| format!(" {} |", cell(table.row(peer.key(), size, "took", ""), |s| format!("{s:.0}"))));
        let _ = writeln!(page, "| {} |{}", thousands(f64::from(size)), cells.concat());
    }
}
