//! What was to be reached, beside what was measured.

use std::fmt::Write as _;

use super::measure::{BESIDE, BESIDE_FILES};
use super::report::{nanoseconds, thousands};
use super::table::Table;

/// A ratio or a time with its bound.
struct Goal {
    what: String,
    bound: Bound,
    measured: Option<f64>,
    /// Of the bound and of what was measured; a ratio has "×".
    unit: &'static str,
    /// What a ratio is made of.
    of: String,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}
use Bound::{AtLeast, AtMost};

/// The table; empty before this module was measured.
pub(super) fn table(table: &Table) -> String {
    let goals = goals(table);
    if goals.iter().all(|goal| goal.measured.is_none()) {
        return String::new();
    }
    let mut page = String::from(
        "## What was to be reached\n\nIn dispatch and p50 where nothing else is said.\n\n| | goal | measured | | of |\n|---|---|---|---|---|\n",
    );
    for goal in goals {
        let (sign, bound) = match goal.bound {
            AtMost(bound) => ("≤", bound),
            AtLeast(bound) => ("≥", bound),
        };
        let (measured, reached) = match (goal.measured, &goal.bound) {
            (None, _) => ("–".into(), "not measured"),
            (Some(value), AtMost(bound)) if value <= *bound => (number(value), "reached"),
            (Some(value), AtLeast(bound)) if value >= *bound => (number(value), "reached"),
            (Some(value), _) => (number(value), "**missed**"),
        };
        let unit = if goal.measured.is_some() { goal.unit } else { "" };
        let (what, bound, of) = (goal.what, number(bound), goal.of);
        let _ = writeln!(page, "| {what} | {sign} {bound} {} | {measured} {unit} | {reached} | {of} |", goal.unit);
    }
    page.push('\n');
    page
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        thousands(value)
    } else if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn ratio(what: &str, bound: Bound, mine: Option<f64>, other: Option<f64>, show: fn(f64) -> String) -> Goal {
    let both = mine.zip(other);
    Goal {
        what: what.into(),
        bound,
        measured: both.map(|(mine, other)| mine / other),
        unit: "×",
        of: both.map(|(mine, other)| format!("{} / {}", show(mine), show(other))).unwrap_or_default(),
    }
}

fn plain(what: &str, bound: Bound, measured: Option<f64>, unit: &'static str) -> Goal {
    Goal { what: what.into(), bound, measured, unit, of: String::new() }
}

fn us(value: f64) -> String {
    nanoseconds(value * 1e3)
}

fn ms(value: f64) -> String {
    nanoseconds(value * 1e6)
}

fn goals(table: &Table) -> Vec<Goal> {
    let mut all = look_ups(table);
    all.extend(programs(table));
    all.extend(changes(table));
    all.extend(daemon(table));
    all
}

fn look_ups(table: &Table) -> Vec<Goal> {
    let of = |peer: &str, size: u32, kind: &str| table.value(peer, size, kind, "dispatch");
    let ours = |size: u32, kind: &str| of("mayfirst", size, kind);
    // In the peer's machine, turn by turn, if it was measured there.
    let beside = |peer: &str, size: u32| of(peer, size, &format!("{BESIDE}name")).or_else(|| ours(size, "name"));
    let through = |kind: &str| table.value("mayfirst", 10_000, kind, "nsswitch");
    let mut all = vec![
        ratio(
            "one name, 10,000 logins: of the empty module",
            AtMost(2.0),
            ours(10_000, "hot_name"),
            ours(10_000, "floor hot_name"),
            nanoseconds,
        ),
        ratio(
            "random names of 1,000: SSSD's time, of this module's",
            AtLeast(8.0),
            of("sss", 1000, "name"),
            beside("sss", 1000),
            nanoseconds,
        ),
        ratio(
            "random names of 100,000: of the empty module",
            AtMost(6.0),
            ours(100_000, "name"),
            ours(100_000, "floor name"),
            nanoseconds,
        ),
        // nscd's map is asked before nsswitch.conf, so its time has no stat in it either.
        ratio(
            "random names of 10,000: of nscd's shared map",
            AtMost(1.0),
            beside("nscd", 10_000),
            table.value("nscd", 10_000, "name", "nsswitch"),
            nanoseconds,
        ),
        ratio(
            "one name through nsswitch.conf, 10,000: of the empty module",
            AtMost(1.2),
            through("hot_name"),
            through("floor hot_name"),
            nanoseconds,
        ),
    ];
    for size in [1000, 10_000, 100_000, 1_000_000] {
        let what = format!("unknown names, {}: of known ones", thousands(f64::from(size)));
        all.push(ratio(&what, AtMost(1.0), ours(size, "miss"), ours(size, "name"), nanoseconds));
    }
    all.extend([
        ratio(
            "random names of 1,000,000: of random names of 1,000",
            AtMost(3.0),
            ours(1_000_000, "name"),
            ours(1000, "name"),
            nanoseconds,
        ),
        ratio(
            "initgroups, random, 10,000: of getpwnam",
            AtMost(2.0),
            ours(10_000, "groups"),
            ours(10_000, "name"),
            nanoseconds,
        ),
        ratio(
            "listing 100,000: of `files`",
            AtMost(1.0),
            ours(100_000, "list"),
            ours(100_000, &format!("{BESIDE_FILES}list")).or_else(|| of("files", 100_000, "list")),
            ms,
        ),
        ratio(
            "getgrnam of 5,000 members: of SSSD",
            AtMost(0.5),
            ours(10_000, "largest"),
            of("sss", 10_000, "largest"),
            nanoseconds,
        ),
    ]);
    for size in [1000, 100_000] {
        let what = format!("16 threads on two processors, {}: throughput of one thread", thousands(f64::from(size)));
        let show = |rate: f64| format!("{} /s", thousands(rate));
        all.push(ratio(&what, AtLeast(1.7), ours(size, "threads16"), ours(size, "threads1"), show));
    }
    all
}

fn programs(table: &Table) -> Vec<Goal> {
    let at = |peer: &str, size: u32, what: &str| table.value(peer, size, what, "nsswitch");
    let mut id = ratio(
        "`id LOGIN` as a process, 10,000: of `true`",
        AtMost(1.3),
        at("mayfirst", 10_000, "id"),
        at("mayfirst", 10_000, "true"),
        us,
    );
    // `id` itself is more than `true`: it is linked with more, and writes.
    if let Some((id_empty, nothing)) = at("empty", 10_000, "id").zip(at("empty", 10_000, "true")) {
        let _ = write!(id.of, "; with the empty module {:.2} ×", id_empty / nothing);
    }
    vec![
        plain("size of the library, stripped", AtMost(65536.0), table.fact_number("libnss_mayfirst.so.2"), "bytes"),
        ratio(
            "loading the library (dlopen): of the empty module",
            AtMost(1.2),
            at("mayfirst", 10_000, "load"),
            at("mayfirst", 10_000, "floor load"),
            us,
        ),
        ratio(
            "first look-up of a process, 10,000: of libnss-extrausers with 10 logins",
            AtMost(1.0),
            at("mayfirst", 10_000, "first"),
            at("mayfirst", 10_000, "first of 10"),
            us,
        ),
        id,
    ]
}

fn changes(table: &Table) -> Vec<Goal> {
    let seen = |what: &str| table.value("mayfirst", 100_000, what, "nsswitch");
    let cost = |size| table.value("mayfirst", size, "publish", "");
    let count = seen("seen changes").map(|changes| format!("worst of {}", thousands(changes))).unwrap_or_default();
    let worst =
        |what: &str, measure: &str| Goal { of: count.clone(), ..plain(what, AtMost(250.0), seen(measure), "ms") };
    vec![
        plain("a change is visible in a running process, 100,000: median", AtMost(50.0), seen("seen running"), "ms"),
        plain("in a new process: median", AtMost(50.0), seen("seen fresh"), "ms"),
        worst("in a running process: worst", "seen running worst"),
        worst("in a new process: worst", "seen fresh worst"),
        ratio(
            "identityd's processor time for a change at 1,000,000: of that at 1,000",
            AtMost(3.0),
            cost(1_000_000),
            cost(1000),
            us,
        ),
    ]
}

fn daemon(table: &Table) -> Vec<Goal> {
    let at = |measure: &str| table.value("mayfirst", 1_000_000, measure, "");
    vec![
        plain("private memory of identityd, 1,000,000", AtMost(64.0), at("private identityd"), "MiB"),
        plain("full load from SQLite, 1,000,000", AtMost(10.0), at("full load"), "s"),
        plain("start from files, 1,000,000, to the first answer", AtMost(100.0), at("start with files"), "ms"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::table::Row;
    use super::*;

    fn page_with(ours: f64) -> String {
        let mut all = Table::default();
        all.push(Row::new("mayfirst", 10_000, "hot_name", "dispatch", ours, "ns"));
        all.push(Row::new("mayfirst", 10_000, "floor hot_name", "dispatch", 30.0, "ns"));
        table(&all)
    }

    #[test]
    fn a_goal_is_reached_up_to_its_bound() {
        let line = |verdict: &str, times: &str, ours: &str| {
            format!(
                "| one name, 10,000 logins: of the empty module | ≤ 2 × | {times} × | {verdict} | {ours} ns / 30 ns |"
            )
        };
        assert!(page_with(60.0).contains(&line("reached", "2", "60")));
        assert!(page_with(63.0).contains(&line("**missed**", "2.10", "63")));
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_missed() {
        let page = page_with(60.0);
        assert!(page.contains("| full load from SQLite, 1,000,000 | ≤ 10 s | –  | not measured |"), "{page}");
    }

    #[test]
    fn without_this_module_there_are_no_goals() {
        assert_eq!(table(&Table::default()), "");
    }
}
