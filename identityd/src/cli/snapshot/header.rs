//! What snapshot files say about themselves, as pairs for people and as JSON.

use std::time::{Duration, SystemTime};

use schema::date::Date;
use schema::snapshot::control::{NOTHING, RETIRED, STALE_SECONDS, Visibility};
use schema::snapshot::layout::{FileKind, Header, SECTIONS, Section, VERSION};
use serde_json::{Value, json};

use crate::snapshot::open::{Part, State};

const SECTION_NAMES: [(&str, Section); SECTIONS] = [
    ("logins", Section::Logins),
    ("groups", Section::Groups),
    ("login strides", Section::LoginStride),
    ("group strides", Section::GroupStride),
    ("names that are gone", Section::Tombstones),
    ("index of login names", Section::LoginNames),
    ("index of uids", Section::LoginIds),
    ("index of group names", Section::GroupNames),
    ("index of gids", Section::GroupIds),
];

/// The control page.
pub(super) fn of_state(state: &State) -> Vec<(&'static str, String)> {
    let pair = match (state.word, state.pair()) {
        (_, Some(pair)) => format!("base {}, delta {}", pair.base, pair.delta),
        (RETIRED, _) => "retired: this page is out of use".into(),
        _ => "nothing is published".into(),
    };
    vec![
        ("version", VERSION.to_string()),
        ("visibility", visibility(state).into()),
        ("directory", hex(&state.control.directory)),
        ("current", pair),
        ("generation", state.generation.to_string()),
        ("heartbeat", heartbeat(state.heartbeat)),
    ]
}

/// The same for programs.
pub(super) fn of_state_json(state: &State) -> Value {
    let pair = state.pair().unwrap_or_default();
    json!({
        "version": VERSION,
        "visibility": visibility(state),
        "directory": hex(&state.control.directory),
        "state": match state.word { NOTHING => "nothing", RETIRED => "retired", _ => "published" },
        "base": pair.base,
        "delta": pair.delta,
        "generation": state.generation,
        "heartbeat_age": heartbeat_age(state.heartbeat),
    })
}

/// A base or delta.
pub(super) fn of_part(part: &Part) -> Vec<(&'static str, String)> {
    let header = &part.header;
    let delta = header.kind == FileKind::Delta;
    let mut pairs = vec![
        ("version", VERSION.to_string()),
        (
            "number",
            if delta {
                format!("{} on base {}", header.pair.delta, header.pair.base)
            } else {
                header.pair.base.to_string()
            },
        ),
        ("generation", header.generation.to_string()),
        ("written", moment(header.created)),
        ("bytes", header.len.to_string()),
        ("directory", hex(&header.directory)),
        ("identity", hex(&header.identity)),
    ];
    if delta {
        pairs.push(("of the base", hex(&header.base_identity)));
    }
    pairs.push(("logins", header.counts.logins.to_string()));
    pairs.push(("groups", header.counts.groups.to_string()));
    if delta {
        let counts = header.counts;
        pairs.push(("logins gone", format!("{} names, {} uids", counts.dead_login_names, counts.dead_uids)));
        pairs.push(("groups gone", format!("{} names, {} gids", counts.dead_group_names, counts.dead_gids)));
    }
    for (name, section) in SECTION_NAMES {
        let span = header.span(section);
        pairs.push((name, format!("{} bytes at {}", span.len, span.start)));
    }
    pairs.push(("local rules", hex(&header.policy)));
    pairs.push((
        "cursor",
        if part.cursor().is_empty() { "none".into() } else { part.cursor().escape_ascii().to_string() },
    ));
    pairs.push(("checksum", format!("{:016x}", header.body_sum)));
    pairs
}

/// The same for programs.
pub(super) fn of_part_json(part: &Part) -> Value {
    let header = &part.header;
    let counts = header.counts;
    let sections: serde_json::Map<_, _> = SECTION_NAMES
        .iter()
        .map(|(name, section)| {
            let span = header.span(*section);
            (name.replace(' ', "_"), json!({"offset": span.start, "bytes": span.len}))
        })
        .collect();
    json!({
        "path": part.path.display().to_string(),
        "version": VERSION,
        "kind": kind(header),
        "base": header.pair.base,
        "delta": header.pair.delta,
        "generation": header.generation,
        "written": header.created,
        "bytes": header.len,
        "directory": hex(&header.directory),
        "identity": hex(&header.identity),
        "base_identity": hex(&header.base_identity),
        "logins": counts.logins,
        "groups": counts.groups,
        "gone": {"login_names": counts.dead_login_names, "uids": counts.dead_uids, "group_names": counts.dead_group_names, "gids": counts.dead_gids},
        "policy": hex(&header.policy),
        "cursor": part.cursor().escape_ascii().to_string(),
        "sections": sections,
        "checksum": format!("{:016x}", header.body_sum),
    })
}

/// `base` or `delta`.
pub(super) fn kind(header: &Header) -> &'static str {
    match header.kind {
        FileKind::Base => "base",
        FileKind::Delta => "delta",
    }
}

pub(super) fn visibility(state: &State) -> &'static str {
    match state.control.visibility {
        Visibility::Open => "open",
        Visibility::Members => "members",
    }
}

/// Seconds since the heartbeat. `None`: it never beat, or was written before the last boot.
pub(in crate::cli) fn heartbeat_age(heartbeat: u64) -> Option<u64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    u64::try_from(now).ok().filter(|_| heartbeat != 0)?.checked_sub(heartbeat)
}

fn heartbeat(beat: u64) -> String {
    match heartbeat_age(beat) {
        Some(age) if age <= STALE_SECONDS => format!("{age} s ago"),
        Some(age) => format!("{age} s ago: no identityd maintains it"),
        None => "never: no identityd has maintained it since the boot".into(),
    }
}

/// A second since 1970 as date and time, UTC.
fn moment(seconds: u64) -> String {
    let day = Date::of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(u64::from(u32::MAX) * 86_400)));
    let of_day = seconds % 86_400;
    format!("{day} {:02}:{:02}:{:02} UTC", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_told_as_date_and_time() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(1_790_000_001), "2026-09-21 14:13:21 UTC");
    }

    #[test]
    fn a_page_that_nobody_maintains_says_so() {
        assert!(heartbeat(0).starts_with("never"));
        assert_eq!(heartbeat_age(u64::MAX), None);
    }
}
