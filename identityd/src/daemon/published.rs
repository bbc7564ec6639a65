//! What status, metrics and warnings say of the published snapshot.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::Host;
use super::report::seconds;
use crate::replica::Facts;

/// A copy on the disk that is older than this although something was published since is worth a word.
const OLD_COPY: u64 = 3600;

impl Host {
    /// `None` in lookup mode.
    pub(super) fn facts(&self) -> Option<Facts> {
        self.replica().map(|replica| replica.facts())
    }

    /// Whether an administrator should have a look.
    pub(super) fn is_publishing_well(facts: &Facts) -> bool {
        facts.held.is_none()
            && facts.failure.is_none()
            && facts.load_failure.is_none()
            && (facts.published.is_some() || facts.loading.is_some())
    }
}

/// The object `snapshot` of the status.
pub(super) fn json(facts: &Facts) -> Value {
    let at = |at: Option<SystemTime>| at.map(seconds);
    json!({
        "published": facts.published.map(|published| json!({
            "generation": published.generation,
            "base": published.pair.base,
            "delta": published.pair.delta,
            "base_bytes": published.base_bytes,
            "delta_bytes": published.delta_bytes,
            "logins": published.logins,
            "groups": published.groups,
            "at": at(published.at),
        })),
        "copy": facts.kept.map(|(at, generation)| json!({ "at": seconds(at), "generation": generation })),
        "loading": facts.loading.as_ref().map(|loading| json!({
            "reason": loading.reason,
            "since": seconds(loading.since),
            "logins": loading.read.0,
            "groups": loading.read.1,
            "expected_logins": loading.expected.0,
            "expected_groups": loading.expected.1,
        })),
        "held": facts.held.map(|held| json!({
            "logins": held.logins,
            "gone": held.gone,
            "of": held.of,
            "groups": held.groups,
            "groups_gone": held.groups_gone,
            "of_groups": held.of_groups,
            "since": seconds(held.since),
        })),
        "failure": facts.failure.as_ref().map(|(text, at)| json!({ "text": text, "at": seconds(*at) })),
        "copy_failure": facts.not_kept,
        "load_failure": facts.load_failure,
    })
}

/// What an administrator should know and do.
pub(super) fn warnings(facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(held) = facts.held {
        let since = held.since.elapsed().unwrap_or_default().as_secs();
        let logins = vanish(held.logins, held.gone, held.of, "logins");
        let groups = vanish(held.groups, held.groups_gone, held.of_groups, "groups");
        warnings.push(format!(
            "held back for {since} s: {} would vanish. Programs see the snapshot from before. Mend the directory, or, at the end of a clean-up that is \
             meant, let it through with: identityctl snapshot accept",
            [logins, groups].into_iter().flatten().collect::<Vec<_>>().join(" and ")
        ));
    }
    if let Some((text, _)) = &facts.failure {
        warnings.push(format!("the snapshot is not published: {text}"));
    }
    if let Some(text) = &facts.load_failure {
        warnings.push(format!("the directory could not be read as a whole, and will be tried again: {text}"));
    }
    if facts.published.is_none() && facts.loading.is_none() && facts.failure.is_none() {
        warnings.push("nothing is published yet; every look-up goes over the socket".into());
    }
    if let Some(text) = &facts.not_kept {
        let age = facts.kept.map_or(OLD_COPY, |(at, _)| at.elapsed().unwrap_or_default().as_secs());
        warnings.push(format!(
            "the snapshot's copy on the disk is {age} s old: {text}; after a reboot names are as they were then"
        ));
    }
    warnings
}

/// `None`: none of them would.
fn vanish(more: u64, gone: u64, of: u64, what: &str) -> Option<String> {
    match (more, gone) {
        (0, _) => None,
        (_, 0) => Some(format!("{more} of {of} published {what}")),
        _ => Some(format!("{more} of {of} published {what}, after {gone} of late,")),
    }
}

/// Gauges; nothing in lookup mode.
pub(super) fn gauges(facts: &Facts) -> Vec<(&'static str, f64)> {
    let mut gauges = vec![
        ("identityd_snapshot_held_logins", facts.held.map_or(0.0, |held| held.logins as f64)),
        ("identityd_snapshot_held_groups", facts.held.map_or(0.0, |held| held.groups as f64)),
        ("identityd_snapshot_failing", f64::from(u8::from(facts.failure.is_some()))),
        ("identityd_snapshot_loading", f64::from(u8::from(facts.loading.is_some()))),
    ];
    if let Some(published) = facts.published {
        gauges.extend([
            ("identityd_snapshot_generation", published.generation as f64),
            ("identityd_snapshot_base_bytes", published.base_bytes as f64),
            ("identityd_snapshot_delta_bytes", published.delta_bytes as f64),
            ("identityd_snapshot_logins", published.logins as f64),
            ("identityd_snapshot_groups", published.groups as f64),
        ]);
        gauges.extend(published.at.map(|at| ("identityd_snapshot_published_at_seconds", seconds(at) as f64)));
    }
    gauges.extend(facts.kept.map(|(at, _)| ("identityd_snapshot_copied_at_seconds", seconds(at) as f64)));
    gauges
}
