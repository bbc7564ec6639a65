//! What is measured of each peer, by the programs in `tests/c/bench`, inside its machine.

use std::time::{Duration, Instant};

use crate::Mosh;

use super::peer::Peer;
use super::table::Row;
use super::{ours, setup};

/// Files of distinct owners in the folder that `ls -l` lists.
const FILES: u32 = 10_000;
/// Milliseconds for each of the five rounds of one kind of look-up.
const ROUND: u32 = 40;

/// Where rows go, with what they have in common.
pub(super) struct Rows {
    pub(super) peer: Peer,
    pub(super) size: u32,
    pub(super) over: u32,
    pub(super) all: Vec<Row>,
}

impl Rows {
    pub(super) fn put(&mut self, measure: &str, level: &str, value: f64, p99: Option<f64>, unit: &str) {
        let row = Row::new(self.peer.key(), self.size, measure, level, value, unit);
        self.all.push(Row { p99, over: Some(self.over), ..row });
    }

    pub(super) fn none(&mut self, measure: &str, level: &str, why: &str) {
        self.all.push(Row::absent(self.peer.key(), self.size, measure, level, why));
    }

    pub(super) fn value(&self, measure: &str, level: &str) -> Option<f64> {
        self.all.iter().find(|row| row.measure == measure && row.level == level)?.value
    }

    /// Lines of "WORD P50 P99", as the programs print them.
    fn take(&mut self, prefix: &str, level: &str, unit: &str, text: &str) {
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let measure = format!("{prefix}{}", words[0]);
            match words.get(1).and_then(|word| word.parse().ok()) {
                Some(value) => self.put(&measure, level, value, words.get(2).and_then(|word| word.parse().ok()), unit),
                None => self.none(&measure, level, &words.get(1).unwrap_or(&"nothing").replace('_', " ")),
            }
        }
    }
}

/// All measures of one peer with so many logins.
pub(super) fn all(peer: Peer, size: u32) -> Vec<Row> {
    let mosh = match Mosh::builder().without_daemon().start() {
        Ok(mosh) => mosh,
        Err(refusal) => return vec![Row::absent(peer.key(), size, "all", "", &refusal.to_string())],
    };
    let mut rows = Rows { peer, size, over: size, all: Vec::new() };
    setup::programs(&mosh);
    let started = Instant::now();
    setup::start(&mosh, peer, size);
    rows.put("fill", "", started.elapsed().as_secs_f64(), None, "s");
    setup::name_service(&mosh, peer.service());
    if peer == Peer::SssList {
        // Only the list and what it costs are another than without.
        list(&mosh, &mut rows);
        memory(&mosh, &mut rows);
        return rows.all;
    }
    warm(&mosh, &mut rows);
    for level in peer.levels() {
        time(&mosh, &mut rows, level, ROUND, "");
    }
    threads(&mosh, &mut rows);
    list(&mosh, &mut rows);
    processes(&mosh, &mut rows);
    if peer != Peer::Empty {
        memory(&mosh, &mut rows);
        visibility(&mosh, &mut rows);
    }
    if peer.is_ours() {
        ours::more(&mosh, &mut rows);
    }
    offline(&mosh, &mut rows);
    rows.all
}

fn look(mosh: &Mosh, what: &str, level: &str, service: &str, rows: &Rows, rest: &str) -> String {
    let (size, over) = (rows.size, rows.over);
    let line = format!("look {what} {level} {service} {size} {over} {rest}");
    let output = mosh.call(["/bin/sh", "-c", &line]).limit(Duration::from_secs(300)).run();
    if output.ok() { output.stdout } else { format!("{what} {}", output.stderr.replace(' ', "_").trim()) }
}

/// Every field of every answer is compared here; then only what tells two logins apart.
fn warm(mosh: &Mosh, rows: &mut Rows) {
    if rows.peer == Peer::Empty {
        return;
    }
    let (wanted, seconds) = rows.peer.warm(rows.size);
    rows.over = wanted;
    let text = look(mosh, "warm", "nsswitch", rows.peer.service(), rows, &(seconds * 1000).to_string());
    let mut words = text.split_whitespace().skip(1);
    let (asked, took) =
        (words.next().and_then(|word| word.parse().ok()), words.next().and_then(|word| word.parse().ok()));
    let (Some(asked), Some(took)) = (asked, took) else { panic!("{} answers wrongly: {text}", rows.peer.label()) };
    let asked: u32 = asked;
    // Only a peer that keeps what it was asked for is limited to that.
    if matches!(rows.peer, Peer::Sss | Peer::SssList | Peer::Nscd | Peer::SssNoCache) {
        rows.over = asked.max(1);
    }
    rows.put("warm", "", took, None, "s");
    if asked > 0 {
        rows.put("cold", "", f64::from(1_000_000) * took / f64::from(asked), None, "us for name uid and groups");
    }
}

fn time(mosh: &Mosh, rows: &mut Rows, level: &str, round: u32, prefix: &str) {
    let service = rows.peer.service();
    let kinds = "hot_name name hot_uid uid hot_groups groups largest";
    let mut text = look(mosh, "time", level, service, rows, &format!("{round} {kinds}"));
    let nobody = if service == "empty" { "absent" } else { service };
    text += &look(mosh, "time", level, nobody, rows, &format!("{round} miss"));
    rows.take(prefix, level, "ns", &text);
}

fn threads(mosh: &Mosh, rows: &mut Rows) {
    let text = look(mosh, "threads", rows.peer.level(), rows.peer.service(), rows, "300 1 4 16");
    rows.take("", rows.peer.level(), "look-ups/s", &text);
}

fn list(mosh: &Mosh, rows: &mut Rows) {
    if rows.peer == Peer::Empty {
        return;
    }
    let level = rows.peer.level();
    let text = look(mosh, "list", level, rows.peer.service(), rows, "");
    rows.take("", level, "ms", &text);
}

/// Through nsswitch.conf, as every new process does it.
fn processes(mosh: &Mosh, rows: &mut Rows) {
    let slow = rows.value("name", rows.peer.level()).is_none_or(|ns| ns > 2e6);
    let count = if slow { 10 } else { 200 };
    let service = rows.peer.service();
    let name = first_name(mosh, rows.size);
    let mut numbers = |measure: &str, line: &str| {
        let output = mosh.call(["/bin/sh", "-c", line]).limit(Duration::from_secs(120)).run();
        let words: Vec<f64> = output.stdout.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match words.as_slice() {
            [p50, p99] if output.ok() => rows.put(measure, "nsswitch", *p50, Some(*p99), "us"),
            _ => rows.none(measure, "nsswitch", output.stderr.lines().next().unwrap_or("failed")),
        }
    };
    if service != "files" {
        numbers("load", &format!("fresh load libnss_{service}.so.2 {count}"));
    }
    numbers("first", &format!("fresh first {name} {count}"));
    numbers("true", &format!("fresh run {count} /bin/true"));
    numbers("id", &format!("fresh run {count} /usr/bin/id {name}"));
    if rows.size < FILES || rows.peer == Peer::Empty {
        return;
    }
    // A name and a group for each file.
    let expected = rows.value("name", "nsswitch").map(|ns| ns * 2.0 * f64::from(FILES) / 1e9);
    if expected.is_none_or(|seconds| seconds > 8.0) {
        let why = expected.map_or("no look-ups".into(), |seconds| format!("would take {seconds:.0} s"));
        rows.none("ls", "nsswitch", &why);
        return;
    }
    let files = rows.over.min(FILES);
    mosh.sh(&format!("mkdir -p /tmp/owned; fresh own /tmp/owned {} {files}", rows.size)).success();
    // A directory of 10,000 files and no names, to be taken off: ls -ln.
    for (measure, options) in [("ls", "-l"), ("ls-n", "-ln")] {
        // The median of five; what takes seconds is done once.
        let ms = if measure == "ls" && expected.is_some_and(|seconds| seconds > 0.3) {
            let output = mosh.call(["/bin/ls", options, "/tmp/owned"]).limit(Duration::from_secs(120)).run();
            output.ok().then_some(output.took.as_secs_f64() * 1000.0)
        } else {
            let output = mosh.sh(&format!("fresh run 5 /bin/ls {options} /tmp/owned"));
            output.stdout.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).map(|us| us / 1000.0)
        };
        match ms {
            Some(ms) => {
                let row = Row::new(rows.peer.key(), rows.size, measure, "nsswitch", ms, "ms");
                rows.all.push(Row { over: Some(files), ..row });
            }
            None => rows.none(measure, "nsswitch", "failed"),
        }
    }
}

/// The name of the login that is asked for first, so that a cache has it.
fn first_name(mosh: &Mosh, size: u32) -> String {
    mosh.sh(&format!("fill names {size} | head -n 1 | cut -d ' ' -f 1")).success().text().to_string()
}

/// Of each daemon, in MiB: private; and what it has mapped of the files that it shares with its readers.
fn memory(mosh: &Mosh, rows: &mut Rows) {
    for daemon in rows.peer.daemons() {
        let script = format!(
            r"for pid in $(pgrep -x {daemon}); do cat /proc/$pid/smaps; done | awk '
                /^[0-9a-f]+-[0-9a-f]+ / {{ data = $6 ~ /snapshot|\/sss\/mc\/|cache\/nscd/ }}
                /^Rss:/ {{ if (data) mapped += $2 }}
                /^Private_(Clean|Dirty):/ {{ if (!data) private += $2 }}
                /^Shared_(Clean|Dirty):/ {{ if (!data) shared += $2 }}
                END {{ print private / 1024, shared / 1024, mapped / 1024 }}'"
        );
        let output = mosh.sh(&script);
        let words: Vec<f64> = output.text().split(' ').filter_map(|word| word.parse().ok()).collect();
        let [private, shared, mapped] = words.as_slice() else { continue };
        rows.put(&format!("private {daemon}"), "", *private, None, "MiB");
        rows.put(&format!("shared {daemon}"), "", *shared, None, "MiB");
        rows.put(&format!("mapped {daemon}"), "", *mapped, None, "MiB");
    }
}

/// From the start of the command that writes it to the moment that a process sees it.
fn visibility(mosh: &Mosh, rows: &mut Rows) {
    let size = rows.size;
    let (count, limit, command) = match rows.peer {
        Peer::Ours | Peer::OursSocket => (
            if rows.peer == Peer::Ours { 1000 } else { 50 },
            2000,
            r#"identityctl login set "$NAME" --gecos "$GECOS" >/dev/null"#,
        ),
        Peer::Files if size <= 100_000 => {
            (5, 5000, r#"sed -i "s/^\($NAME:.*:\)[^:]*\(:[^:]*:[^:]*\)$/\1$GECOS\2/" /etc/passwd"#)
        }
        Peer::Extrausers if size <= 100_000 => {
            (5, 5000, r#"sed -i "s/^\($NAME:.*:\)[^:]*\(:[^:]*:[^:]*\)$/\1$GECOS\2/" /var/lib/extrausers/passwd"#)
        }
        Peer::Nslcd | Peer::Nscd | Peer::Sss | Peer::SssNoCache => (
            20,
            3000,
            r#"printf 'dn: uid=%s,ou=people,dc=bench\nchangetype: modify\nreplace: gecos\ngecos: %s\n' "$NAME" "$GECOS" |
               ldapmodify -x -H ldap://127.0.0.1/ -D cn=admin,dc=bench -w secret >/dev/null"#,
        ),
        _ => return,
    };
    let before = rows.peer.is_ours().then(|| ours::processor_time(mosh)).flatten();
    let output = mosh
        .call(["/usr/local/bin/seen", &size.to_string(), &count.to_string(), &limit.to_string(), "60", command])
        .limit(Duration::from_secs(120))
        .run();
    if !output.ok() {
        rows.none("seen running", "nsswitch", output.stderr.lines().next().unwrap_or("took too long"));
        return;
    }
    for line in output.stdout.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).map(|us| us / 1000.0);
        match (words[0], number(1)) {
            ("late", Some(late)) if late > 0.0 => {
                rows.put(
                    "seen late",
                    "nsswitch",
                    late * 1000.0,
                    None,
                    &format!("changes not seen within {} s", limit / 1000),
                );
            }
            ("changes", Some(changes)) => rows.put("seen changes", "nsswitch", changes * 1000.0, None, ""),
            ("late", _) | (_, None) => {}
            (what, Some(p50)) => {
                rows.put(&format!("seen {what}"), "nsswitch", p50, number(2), "ms");
                if let Some(worst) = number(3) {
                    rows.put(&format!("seen {what} worst"), "nsswitch", worst, None, "ms");
                }
            }
        }
    }
    let spent = before.zip(ours::processor_time(mosh)).map(|(before, after)| after - before);
    if let Some((spent, changes)) = spent.zip(rows.value("seen changes", "nsswitch")) {
        rows.put("publish", "", spent * 1e6 / changes.max(1.0), None, "us of processor time");
    }
}

/// The directory is gone; then the peer's own daemons as well.
fn offline(mosh: &Mosh, rows: &mut Rows) {
    if rows.peer.daemons().is_empty() {
        return;
    }
    if !rows.peer.is_ours() {
        end(mosh, "slapd");
        still(mosh, rows, "away ");
    }
    end(mosh, &rows.peer.daemons().join("|"));
    still(mosh, rows, "offline ");
}

/// pkill -x takes a pattern of whole names.
fn end(mosh: &Mosh, names: &str) {
    mosh.sh(&format!("pkill -x -KILL '{names}'; for i in $(seq 100); do pgrep -x '{names}' >/dev/null || exit 0; sleep 0.05; done; exit 1")).success();
}

fn still(mosh: &Mosh, rows: &mut Rows, prefix: &str) {
    let (service, level) = (rows.peer.service(), rows.peer.level());
    let mut text = String::new();
    for kind in ["hot_name", "name", "groups", "miss"] {
        text += &look(mosh, "time", level, service, rows, &format!("20 {kind}"));
        // nslcd tries for ten seconds each time.
        if text.contains("error_after") {
            break;
        }
    }
    rows.take(prefix, level, "ns", &text);
}
