//! One total time for everything that a call does, and less of it while the daemon seems to hang.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// Milliseconds for a call. A local daemon answers from memory in far less than one; 250 ms is what DESIGN allows in all.
const PATIENCE: u64 = 200;
/// Milliseconds for a call when one of this process timed out within [`MEMORY`]: `ls -l` on a directory of a hundred owners must not take 20 s.
const IMPATIENCE: u64 = 25;
/// Milliseconds for which a time-out is remembered.
const MEMORY: u64 = 1000;

/// When this process had its last time-out, in milliseconds of the coarse clock; 0: never. A child inherits it, and that is right.
pub(crate) struct LastTimeout(AtomicU64);

impl LastTimeout {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn patience(&self, now: u64) -> u64 {
        let last = self.0.load(Ordering::Relaxed);
        if last != 0 && now.saturating_sub(last) < MEMORY { IMPATIENCE } else { PATIENCE }
    }

    fn remember(&self, now: u64) {
        self.0.store(now.max(1), Ordering::Relaxed);
    }
}

#[cfg(not(test))]
fn with_last_timeout<T>(then: impl FnOnce(&LastTimeout) -> T) -> T {
    static LAST_TIMEOUT: LastTimeout = LastTimeout::new();
    then(&LAST_TIMEOUT)
}

#[cfg(test)]
use crate::testing::with_last_timeout;

/// The moment when a call gives up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// Nanoseconds of CLOCK_MONOTONIC.
    at: u64,
    /// Whether this is the whole patience, so that its end says something about the daemon.
    full: bool,
}

impl Deadline {
    /// From now on.
    pub(crate) fn new() -> Self {
        let patience = with_last_timeout(|last| last.patience(sys::coarse_ms()));
        Self { at: sys::now_ns().saturating_add(patience.saturating_mul(1_000_000)), full: patience == PATIENCE }
    }

    /// What is left, in milliseconds rounded up; `None` when the time is over.
    ///
    /// Only the end of a whole patience is remembered. So after each second of impatience one call gives a slow daemon its full time, and a
    /// process that asks all the time is not impatient for ever.
    pub(crate) fn left_ms(&self) -> Option<u32> {
        let left = self.at.saturating_sub(sys::now_ns());
        if left == 0 {
            if self.full {
                with_last_timeout(|last| last.remember(sys::coarse_ms()));
            }
            return None;
        }
        u32::try_from(left.div_ceil(1_000_000)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_timeout_the_process_is_impatient_for_a_second() {
        let last = LastTimeout::new();
        assert_eq!(last.patience(5000), PATIENCE);
        last.remember(5000);
        assert_eq!(last.patience(5000), IMPATIENCE);
        assert_eq!(last.patience(5999), IMPATIENCE);
        assert_eq!(last.patience(6000), PATIENCE);
    }

    #[test]
    fn a_clock_at_zero_is_not_never() {
        let last = LastTimeout::new();
        last.remember(0);
        assert_eq!(last.patience(10), IMPATIENCE);
    }
}
