//! One total time for everything that a call does, and less of it while the daemon seems to hang.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// Milliseconds for a call. A local daemon answers from memory in far less than one; 250 ms is what DESIGN allows in all.
pub(crate) const FULL_MS: u64 = 200;
/// Milliseconds for a call when one of this process timed out within [`MEMORY_MS`]: `ls -l` on a directory of a hundred owners must not take
/// 20 s.
const SHORT_MS: u64 = 25;
/// Milliseconds for which a time-out is remembered.
const MEMORY_MS: u64 = 1000;

/// How long this process waits. A child inherits it, and that is right.
pub(crate) struct Patience {
    full_ms: u64,
    /// When the last time-out was, in milliseconds of the coarse clock; 0: never.
    last_timeout: AtomicU64,
}

impl Patience {
    pub(crate) const fn new(full_ms: u64) -> Self {
        Self { full_ms, last_timeout: AtomicU64::new(0) }
    }

    /// The milliseconds for a call that begins now.
    fn ms(&self, now: u64) -> u64 {
        let last = self.last_timeout.load(Ordering::Relaxed);
        if last != 0 && now.saturating_sub(last) < MEMORY_MS { SHORT_MS } else { self.full_ms }
    }

    fn timed_out(&self, now: u64) {
        self.last_timeout.store(now.max(1), Ordering::Relaxed);
    }
}

#[cfg(not(test))]
fn with_patience<T>(then: impl FnOnce(&Patience) -> T) -> T {
    static PATIENCE: Patience = Patience::new(FULL_MS);
    then(&PATIENCE)
}

#[cfg(test)]
use crate::testing::with_patience;

/// The moment when a call gives up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// When it began, in nanoseconds of CLOCK_MONOTONIC.
    begun_ns: u64,
    /// When it is over.
    at: u64,
    /// Whether this is the whole patience, so that its end says something about the daemon.
    full: bool,
}

impl Deadline {
    /// From now on.
    pub(crate) fn new() -> Self {
        Self::after_ms(with_patience(|patience| patience.ms(sys::coarse_ms())))
    }

    /// From now on, the whole patience whatever was before.
    pub(crate) fn patient() -> Self {
        Self::after_ms(with_patience(|patience| patience.full_ms))
    }

    fn after_ms(ms: u64) -> Self {
        let begun_ns = sys::now_ns();
        Self { begun_ns, at: begun_ns.saturating_add(ms.saturating_mul(1_000_000)), full: ms != SHORT_MS }
    }

    /// What is left, in milliseconds rounded up; `None` when the time is over.
    ///
    /// Only the end of a whole patience is remembered. So after each second of impatience one call gives a slow daemon its full time, and a
    /// process that asks all the time is not impatient for ever.
    pub(crate) fn left_ms(&self) -> Option<u32> {
        let left = self.at.saturating_sub(sys::now_ns());
        if left == 0 {
            self.remember();
            return None;
        }
        u32::try_from(left.div_ceil(1_000_000)).ok()
    }

    /// The daemon has answered that it does not know. If that took longer than a short patience it is as bad as no answer: behind it the
    /// directory hangs.
    pub(crate) fn disappointed(&self) {
        if self.begun_ns.saturating_add(SHORT_MS.saturating_mul(1_000_000)) < sys::now_ns() {
            self.remember();
        }
    }

    fn remember(&self) {
        if self.full {
            with_patience(|patience| patience.timed_out(sys::coarse_ms()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_timeout_the_process_is_impatient_for_a_second() {
        let patience = Patience::new(FULL_MS);
        assert_eq!(patience.ms(5000), FULL_MS);
        patience.timed_out(5000);
        assert_eq!(patience.ms(5000), SHORT_MS);
        assert_eq!(patience.ms(5999), SHORT_MS);
        assert_eq!(patience.ms(6000), FULL_MS);
    }

    #[test]
    fn a_clock_at_zero_is_not_never() {
        let patience = Patience::new(FULL_MS);
        patience.timed_out(0);
        assert_eq!(patience.ms(10), SHORT_MS);
    }
}
