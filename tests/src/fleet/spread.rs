//! The distribution of times from a write to its being visible.

use std::collections::BTreeMap;
use std::time::Duration;

use super::probe::Seen;

/// A write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// When it was sent, `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// Its generation.
    pub generation: u64,
}

/// Times in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Of these times.
    #[must_use]
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of them does not exceed, in milliseconds.
    #[must_use]
    pub fn at(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

/// From the writing of each change until it is visible: on one host (all pairs of change and host), and on every host (the last of them).
///
/// # Panics
/// When a change is not visible on a host at all.
#[must_use]
pub fn spreads(written: &[Written], seen: &[Seen], hosts: usize) -> (Spread, Spread) {
    let mut by_host: Vec<BTreeMap<u64, Duration>> = vec![BTreeMap::new(); hosts];
    for seen in seen {
        if let Some(times) = by_host.get_mut(seen.host) {
            let at = times.entry(seen.generation).or_insert(seen.at);
            *at = seen.at.min(*at);
        }
    }
    let (mut one, mut every) = (Vec::new(), Vec::new());
    for change in written {
        let mut last = Duration::ZERO;
        for (host, times) in by_host.iter().enumerate() {
            // Generations go up: the first one that is not below is the first moment.
            let first = times.range(change.generation..).map(|(_, at)| *at).min();
            let first =
                first.unwrap_or_else(|| panic!("generation {} was never visible on host {host}", change.generation));
            let took = first.saturating_sub(change.at);
            one.push(took);
            last = last.max(took);
        }
        every.push(last);
    }
    (Spread::new(one), Spread::new(every))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_host_counts_for_every_host() {
        let ms = Duration::from_millis;
        let written = [Written { at: ms(100), generation: 1 }, Written { at: ms(200), generation: 2 }];
        let seen = [
            Seen { host: 0, generation: 1, at: ms(110) },
            Seen { host: 1, generation: 2, at: ms(230) },
            Seen { host: 0, generation: 2, at: ms(220) },
        ];
        let (one, every) = spreads(&written, &seen, 2);
        assert_eq!((one.count(), one.at(0.0), one.at(0.5), one.at(1.0)), (4, 10.0, 20.0, 130.0));
        assert_eq!((every.count(), every.at(0.5), every.at(1.0)), (2, 30.0, 130.0));
    }
}
