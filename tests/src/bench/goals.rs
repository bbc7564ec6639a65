//! What was to be reached, beside what was measured.

use std::fmt::Write as _;

use super::report::{nanoseconds, thousands};
use super::table::Table;

/// A ratio or a time with its bound.
struct Goal {
    what: String,
    measured: Option<f64>,
    /// At most this; at least, if negative.
    bound: f64,
    how: String,
}

/// The table; empty before this module was measured.
pub(super) fn table(table: &Table) -> String {
    let goals = goals(table);
    if goals.iter().all(|goal| goal.measured.is_none()) {
        return String::new();
    }
    let mut page =
        String::from("## What was to be reached\n\n| | measured | bound | reached | |\n|---|---|---|---|---|\n");
    for goal in goals {
        let (bound, at_least) = (goal.bound.abs(), goal.bound < 0.0);
        let sign = if at_least { "≥" } else { "≤" };
        let (measured, reached) = match goal.measured {
            Some(value) => {
                let reached = if at_least { value >= bound } else { value <= bound };
                (number(value), if reached { "yes" } else { "**no**" })
            }
            None => ("–".into(), "not measured"),
        };
        let _ = writeln!(page, "| {} | {measured} | {sign} {} | {reached} | {} |", goal.what, number(bound), goal.how);
    }
    page.push('\n');
    page
}

fn number(value: f64) -> String {
    if value >= 1000.0 {
        thousands(value)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// `id` itself, with the empty module, is more than `true`.
fn floor(table: &Table) -> String {
    let at = |measure| table.value("empty", 10_000, measure, "nsswitch");
    let floor = at("id").zip(at("true")).map(|(id, nothing)| id / nothing);
    floor.map(|floor| format!("with the empty module: {floor:.2}")).unwrap_or_default()
}

fn goals(table: &Table) -> Vec<Goal> {
    let at = |peer: &str, size: u32, kind: &str, level: &str| table.value(peer, size, kind, level);
    let ours = |size, kind: &str| at("mayfirst", size, kind, "dispatch");
    let ratio = |what: &str, mine: Option<f64>, other: Option<f64>, bound: f64| Goal {
        what: what.into(),
        measured: mine.zip(other).map(|(mine, other)| mine / other),
        bound,
        how: mine
            .zip(other)
            .map(|(mine, other)| format!("{} / {}", nanoseconds(mine), nanoseconds(other)))
            .unwrap_or_default(),
    };
    let plain = |what: &str, measured: Option<f64>, bound: f64, unit: &str| Goal {
        what: what.into(),
        measured,
        bound,
        how: unit.into(),
    };
    let us = |value: Option<f64>| value.map(|us| us * 1e3);
    let ms = |value: Option<f64>| value.map(|ms| ms * 1e6);
    let mut all = vec![
        ratio(
            "hot, multiple of the empty module, 10,000 logins",
            ours(10_000, "hot_name"),
            at("empty", 10_000, "hot_name", "dispatch"),
            2.0,
        ),
        ratio(
            "random over 1,000: times faster than SSSD",
            at("sss", 1000, "name", "dispatch"),
            ours(1000, "name"),
            -8.0,
        ),
        ratio(
            "random over 100,000, multiple of the empty module",
            ours(100_000, "name"),
            at("empty", 100_000, "name", "dispatch"),
            6.0,
        ),
        // nscd's map is asked before nsswitch.conf, so its time has no stat in it either.
        ratio("random over 10,000: of nscd's map", ours(10_000, "name"), at("nscd", 10_000, "name", "nsswitch"), 1.0),
        ratio(
            "through nsswitch.conf, hot, multiple of the empty module",
            at("mayfirst", 10_000, "hot_name", "nsswitch"),
            at("empty", 10_000, "hot_name", "nsswitch"),
            1.2,
        ),
        ratio("flat: random over 1,000,000 by random over 1,000", ours(1_000_000, "name"), ours(1000, "name"), 3.0),
        ratio("initgroups by getpwnam, random, 10,000", ours(10_000, "groups"), ours(10_000, "name"), 2.0),
        ratio(
            "listing 100,000: of `files`",
            ms(ours(100_000, "list")),
            ms(at("files", 100_000, "list", "dispatch")),
            1.0,
        ),
        ratio("group of 5,000: of SSSD's", ours(10_000, "largest"), at("sss", 10_000, "largest", "dispatch"), 0.5),
        ratio(
            "loading the library: of the empty module's",
            us(at("mayfirst", 1000, "load", "nsswitch")),
            us(at("empty", 1000, "load", "nsswitch")),
            1.2,
        ),
        ratio(
            "first look-up of a process: of libnss-extrausers with 1,000",
            us(at("mayfirst", 10_000, "first", "nsswitch")),
            us(at("extrausers", 1000, "first", "nsswitch")),
            1.0,
        ),
        Goal {
            how: floor(table),
            ..ratio(
                "`id LOGIN` by `true`",
                us(at("mayfirst", 10_000, "id", "nsswitch")),
                us(at("mayfirst", 10_000, "true", "nsswitch")),
                1.3,
            )
        },
        plain("stripped library", table.fact_number("libnss_mayfirst.so.2"), 65536.0, "bytes"),
        plain(
            "visible in a running process, 100,000, median",
            at("mayfirst", 100_000, "seen running", "nsswitch"),
            50.0,
            "ms",
        ),
        plain(
            "visible in a new process, 100,000, median",
            at("mayfirst", 100_000, "seen fresh", "nsswitch"),
            50.0,
            "ms",
        ),
        plain("the same, running, worst", at("mayfirst", 100_000, "seen running worst", "nsswitch"), 250.0, "ms"),
        plain("the same, new, worst", at("mayfirst", 100_000, "seen fresh worst", "nsswitch"), 250.0, "ms"),
        plain(
            "private memory of identityd, 1,000,000",
            at("mayfirst", 1_000_000, "private identityd", ""),
            64.0,
            "MiB",
        ),
        plain("full load from SQLite, 1,000,000", at("mayfirst", 1_000_000, "full load", ""), 10.0, "s"),
        plain(
            "start from files, 1,000,000, to the first answer",
            at("mayfirst", 1_000_000, "start with files", ""),
            100.0,
            "ms",
        ),
    ];
    for size in [1000, 100_000] {
        let goal = ratio(
            &format!("unknown by known name, {}", thousands(f64::from(size))),
            ours(size, "miss"),
            ours(size, "name"),
            1.0,
        );
        all.push(goal);
        let one = ours(size, "threads1");
        let sixteen = ours(size, "threads16");
        all.push(plain(
            &format!("16 threads by one, {}", thousands(f64::from(size))),
            one.zip(sixteen).map(|(one, sixteen)| sixteen / one),
            -1.7,
            "on two processors",
        ));
    }
    all.push(ratio(
        "processor time of identityd for a change, at 1,000,000 by 1,000",
        us(at("mayfirst", 1_000_000, "publish", "")),
        us(at("mayfirst", 1000, "publish", "")),
        3.0,
    ));
    all
}
