//! When to report. A change goes out at once, but at most one report a second; what comes in between goes out at the end of that second, so the
//! last state of a burst is never more than a second late. Without any change there is a heartbeat. Time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// At most one report in this time.
pub(super) const LEAST: Duration = Duration::from_secs(1);

/// When the next report is due.
#[derive(Debug)]
pub(super) struct Pace {
    heartbeat: Duration,
    last: Option<Instant>,
    failed: bool,
}

impl Pace {
    pub(super) fn new(heartbeat: Duration) -> Self {
        Self { heartbeat, last: None, failed: false }
    }

    /// When the next report is due; `news`: something has changed since the last one that got through. `jitter` (0 to 1) spreads what is not news over ±20 %, so
    /// that a thousand hosts that were started together do not stay together.
    pub(super) fn due(&self, news: bool, jitter: f64, now: Instant) -> Instant {
        let Some(last) = self.last else { return now };
        let spread = |length: Duration| length.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
        let pause = match (news, self.failed) {
            (true, false) => LEAST,
            (_, true) => spread(LEAST * 2),
            (false, false) => spread(self.heartbeat),
        };
        now.max(last + pause)
    }

    /// A report went out, or did not get through.
    pub(super) fn sent(&mut self, through: bool, now: Instant) {
        self.last = Some(now);
        self.failed = !through;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(30);

    #[test]
    fn the_first_report_and_one_after_a_rest_go_out_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(HEARTBEAT);
        assert_eq!(pace.due(false, 0.5, start), start);
        pace.sent(true, start);
        let later = start + Duration::from_secs(10);
        assert_eq!(pace.due(true, 0.5, later), later);
    }

    #[test]
    fn a_minute_of_fifty_changes_a_second_is_sixty_reports_and_the_last_is_in_time() {
        let start = Instant::now();
        let mut pace = Pace::new(HEARTBEAT);
        pace.sent(true, start);
        let (mut reports, mut news, mut last_change) = (0, false, start);
        for tick in 1..=6200 {
            let now = start + Duration::from_millis(tick * 10);
            if tick % 2 == 0 && tick <= 6000 {
                (news, last_change) = (true, now);
            }
            if news && pace.due(true, 0.5, now) <= now {
                pace.sent(true, now);
                (reports, news) = (reports + 1, false);
                assert!(now >= last_change);
            }
        }
        assert!((59..=61).contains(&reports), "{reports}");
        assert!(!news);
    }

    #[test]
    fn heartbeats_spread() {
        let start = Instant::now();
        let mut pace = Pace::new(HEARTBEAT);
        pace.sent(true, start);
        assert_eq!(pace.due(false, 0.0, start), start + Duration::from_secs(24));
        assert_eq!(pace.due(false, 1.0, start), start + Duration::from_secs(36));
    }

    #[test]
    fn a_failure_is_tried_again_soon_but_not_in_a_hurry() {
        let start = Instant::now();
        let mut pace = Pace::new(HEARTBEAT);
        pace.sent(false, start);
        assert_eq!(pace.due(true, 0.5, start), start + LEAST * 2);
        assert_eq!(pace.due(false, 0.5, start), start + LEAST * 2);
    }
}
