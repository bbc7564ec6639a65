//! The list of what is not served, for `identityctl status`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::directory::{Kind, Quarantined};

/// Most entries that are remembered with their reason; beyond that they are only counted.
const MOST: usize = 10_000;

/// Filled by look-ups as they go and by the sweep, which sees every entry.
#[derive(Debug, Default)]
pub struct QuarantineList {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    listed: BTreeMap<(bool, String), Quarantined>,
    beyond: u64,
}

impl QuarantineList {
    /// Remembers an entry. `true`: it was not there, or for another reason, and is worth a line in the log.
    pub fn add(&self, entry: Quarantined) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(entry.kind, &entry.name);
        if entries.listed.len() >= MOST && !entries.listed.contains_key(&key) {
            entries.beyond += 1;
            return false;
        }
        let new = entries.listed.get(&key) != Some(&entry);
        entries.listed.insert(key, entry);
        new
    }

    /// The entry is served, or is gone.
    pub fn clear(&self, kind: Kind, name: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.listed.is_empty() {
            entries.listed.remove(&key(kind, name));
        }
    }

    /// Whether the entry of this name is one of those that are remembered.
    #[must_use]
    pub fn holds(&self, kind: Kind, name: &str) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        !entries.listed.is_empty() && entries.listed.contains_key(&key(kind, name))
    }

    /// Whether a group of this gid is one of those that are remembered.
    #[must_use]
    pub fn holds_gid(&self, gid: u32) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.listed.values().any(|entry| entry.kind == Kind::Group && entry.id == i64::from(gid))
    }

    /// A sweep has seen every entry: this is all. Returns those that were not there before.
    pub fn replace(&self, all: Vec<Quarantined>) -> Vec<Quarantined> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = all.len().saturating_sub(MOST) as u64;
        let listed: BTreeMap<_, _> =
            all.into_iter().take(MOST).map(|entry| (key(entry.kind, &entry.name), entry)).collect();
        let new = listed.iter().filter(|(key, entry)| entries.listed.get(*key) != Some(entry));
        let new = new.map(|(_, entry)| entry.clone()).collect();
        *entries = Entries { listed, beyond };
        new
    }

    /// How many, and the first `limit` with their reasons.
    #[must_use]
    pub fn snapshot(&self, limit: usize) -> (u64, Vec<Quarantined>) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let count = entries.listed.len() as u64 + entries.beyond;
        (count, entries.listed.values().take(limit).cloned().collect())
    }
}

fn key(kind: Kind, name: &str) -> (bool, String) {
    (kind == Kind::Group, name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, reason: &str) -> Quarantined {
        Quarantined { kind: Kind::Login, name: name.into(), id: 1, reason: reason.into() }
    }

    #[test]
    fn only_news_is_worth_a_line_in_the_log() {
        let list = QuarantineList::default();
        assert!(list.add(entry("a", "x")));
        assert!(!list.add(entry("a", "x")));
        assert!(list.add(entry("a", "y")));
        assert_eq!(list.replace(vec![entry("a", "y"), entry("b", "z")]), vec![entry("b", "z")]);
        list.clear(Kind::Login, "a");
        assert_eq!(list.snapshot(10), (1, vec![entry("b", "z")]));
    }

    #[test]
    fn a_group_is_found_by_its_gid() {
        let list = QuarantineList::default();
        list.add(entry("a", "x"));
        list.add(Quarantined { kind: Kind::Group, id: 2, ..entry("b", "y") });
        assert_eq!([1, 2].map(|gid| list.holds_gid(gid)), [false, true]);
    }
}
