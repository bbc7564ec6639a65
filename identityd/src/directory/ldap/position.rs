//! How far somebody has come, by the newest change (CSN) of each provider; and what that means as one number that is the same on every host (`docs/fleet.md`).
//!
//! One number does not say it: where two providers are written, and the clock of one is behind, a change may come later than another one with a larger number. So hosts
//! report what they have of each provider, and whoever asks compares with what the servers have.

use std::collections::BTreeMap;

use super::cookie::{Cookie, Csn, unpack_any};

/// The newest change of each provider, by its number (`olcServerID`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position(BTreeMap<u16, Csn>);

impl Position {
    /// What all of these synchronisations have: each is told of every change of the database, also of what it does not list. `None`: the server writes cookies of its own.
    pub(super) fn of(cookies: &[Cookie]) -> Option<Self> {
        let mut all = cookies.iter().map(Cookie::csns);
        let mut common = all.next().flatten()?.clone();
        for csns in all {
            let csns = csns?;
            common.retain(|provider, _| csns.contains_key(provider));
            for (provider, csn) in &mut common {
                *csn = csns.get(provider).map_or(*csn, |other| (*csn).min(*other));
            }
        }
        Some(Self(common))
    }

    /// What a host has that keeps this cursor. `None`: it does not say.
    pub(super) fn read(cursor: &[u8]) -> Option<Self> {
        Self::of(&unpack_any(cursor)?)
    }

    /// What a server has: the values of its `contextCSN`.
    pub(super) fn take(&mut self, csns: impl Iterator<Item = Csn>) {
        for csn in csns {
            let newest = self.0.entry(csn.provider()).or_insert(csn);
            *newest = csn.max(*newest);
        }
    }

    /// The newer one of each provider.
    pub(super) fn merge(&mut self, other: &Self) {
        self.take(other.0.values().copied());
    }

    /// Whether something is missing here that is there.
    pub(super) fn lacks(&self, other: &Self) -> bool {
        other.0.iter().any(|(provider, csn)| self.0.get(provider) < Some(csn))
    }

    /// As the server writes them.
    pub(super) fn csns(&self) -> impl Iterator<Item = String> {
        self.0.values().map(Csn::to_string)
    }

    /// The time of the newest change of all, in microseconds since 1970.
    pub(super) fn newest(&self) -> Option<u64> {
        self.0.values().map(|csn| csn.micros).max()
    }

    /// The number up to which everything is here that is committed. Where nothing is missing that is the newest change of all; else what comes before the first provider's newest change
    /// of which more is known. (One less: a microsecond may have several changes.)
    pub(super) fn up_to(&self, committed: &Self) -> u64 {
        let has = |provider: &u16| self.0.get(provider);
        let missing = committed.0.iter().filter(|(provider, csn)| has(provider) < Some(csn));
        match missing.map(|(provider, _)| has(provider).map_or(0, |csn| csn.micros.saturating_sub(1))).min() {
            Some(first) => first,
            None => self.newest().max(committed.newest()).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of a provider, so many microseconds after a certain moment.
    fn csn(provider: u16, micros: u32, count: u32) -> String {
        format!("20261123045155.{micros:06}Z#{count:06x}#{provider:03x}#000000")
    }

    fn at(csns: &[String]) -> Position {
        let mut position = Position::default();
        position.take(csns.iter().filter_map(|csn| Csn::parse(csn)));
        position
    }

    fn number(micros: u32) -> u64 {
        Csn::parse(&csn(0, micros, 0)).unwrap().micros
    }

    #[test]
    fn two_hosts_that_have_the_same_say_the_same_number_and_it_is_the_changes_own() {
        let committed = at(&[csn(0, 700, 0)]);
        assert_eq!(at(&[csn(0, 700, 0)]).up_to(&committed), number(700));
        // Newer than what the server was asked for: then it is committed as well.
        assert_eq!(at(&[csn(0, 900, 0)]).up_to(&committed), number(900));
    }

    #[test]
    fn the_second_change_of_a_microsecond_is_not_taken_for_the_first() {
        let committed = at(&[csn(0, 700, 1)]);
        assert_eq!(at(&[csn(0, 700, 0)]).up_to(&committed), number(699));
        assert_eq!(at(&[csn(0, 700, 1)]).up_to(&committed), number(700));
    }

    #[test]
    fn a_change_of_a_provider_whose_clock_is_behind_is_waited_for() {
        // Written at the second provider after 700 was written at the first, with a clock that is 200 behind.
        let committed = at(&[csn(1, 700, 0), csn(2, 500, 0)]);
        let without = at(&[csn(1, 700, 0), csn(2, 100, 0)]);
        assert!(without.up_to(&committed) < number(500));
        assert!(at(&[csn(1, 700, 0)]).up_to(&committed) < number(500), "nothing of that provider is known");
        assert_eq!(at(&[csn(1, 700, 0), csn(2, 500, 0)]).up_to(&committed), number(700));
        // It has that one, and lacks a later one of the other.
        let with = at(&[csn(1, 650, 0), csn(2, 500, 0)]);
        assert_eq!(with.up_to(&committed), number(649));
    }

    #[test]
    fn a_provider_that_writes_nothing_holds_nobody_up() {
        let committed = at(&[csn(1, 700, 0), csn(2, 3, 0)]);
        assert_eq!(at(&[csn(1, 650, 0), csn(2, 3, 0)]).up_to(&committed), number(649));
        assert_eq!(at(&[csn(1, 700, 0), csn(2, 3, 0)]).up_to(&committed), number(700));
    }

    #[test]
    fn several_searches_have_what_the_slowest_has() {
        let cookie = |csns: &[String]| {
            let mut cookie = Cookie::default();
            cookie.merge(format!("rid=000,csn={}", csns.join(";")).as_bytes());
            cookie
        };
        let logins = cookie(&[csn(1, 700, 0), csn(2, 3, 0)]);
        let groups = cookie(&[csn(1, 650, 0)]);
        assert_eq!(Position::of(&[logins.clone(), groups]), Some(at(&[csn(1, 650, 0)])));
        assert_eq!(Position::of(&[logins, Cookie::default()]), None, "the second has not begun");
    }
}
