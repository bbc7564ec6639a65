//! Users about themselves: who is who, and how often each may try.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Attempts of users about themselves.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_uid: Mutex<HashMap<u32, (f64, Instant)>>,
}

impl Attempts {
    /// Whether `uid` may try once more: `burst` at once, then one each `pause`.
    pub(super) fn take(&self, uid: u32, burst: u32, pause: Duration) -> bool {
        let now = Instant::now();
        let burst = f64::from(burst);
        let full =
            |(left, at): (f64, Instant)| (left + now.duration_since(at).as_secs_f64() / pause.as_secs_f64()).min(burst);
        let mut by_uid = self.by_uid.lock().unwrap_or_else(PoisonError::into_inner);
        if by_uid.len() > 1024 {
            by_uid.retain(|_, entry| full(*entry) < burst);
        }
        let left = by_uid.get(&uid).map_or(burst, |entry| full(*entry));
        let may = left >= 1.0;
        by_uid.insert(uid, (if may { left - 1.0 } else { left }, now));
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_burst_and_then_waits() {
        let attempts = Attempts::default();
        let pause = Duration::from_secs(3600);
        assert!((0..5).all(|_| attempts.take(2000, 5, pause)));
        assert!(!attempts.take(2000, 5, pause));
        assert!(attempts.take(2001, 5, pause));
    }
}
