//! Which server is asked: the nearest that is up. One that failed is left alone for a while, longer each time, and taken back as soon as it answers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::directory::servers::ServerReport;

/// Before a server that failed is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// At most, with up to a fifth more, so that a thousand hosts do not come back in the same instant.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A copy may become a provider: after so long it is asked again whether it takes changes.
const READ_ONLY: Duration = Duration::from_secs(60);

/// The state of each server, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Order(Vec<Mutex<State>>);

#[derive(Debug, Default, Clone)]
struct State {
    down: Option<Down>,
    read_only: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Down {
    reason: String,
    pause: Duration,
    again: Instant,
}

impl Order {
    pub(super) fn new(servers: usize) -> Self {
        Self((0..servers).map(|_| Mutex::default()).collect())
    }

    /// Those to ask, in order: those that are up; if there is none, all.
    pub(super) fn candidates(&self) -> Vec<usize> {
        let up: Vec<usize> = (0..self.0.len()).filter(|server| self.is_up(*server)).collect();
        if up.is_empty() { (0..self.0.len()).collect() } else { up }
    }

    /// Those to write to: the same without those that said that they cannot be written.
    pub(super) fn writable(&self) -> Vec<usize> {
        let all = self.candidates();
        let writable: Vec<usize> = all
            .iter()
            .copied()
            .filter(|server| {
                let writable = |state: &mut State| state.read_only.is_none_or(|since| since.elapsed() >= READ_ONLY);
                self.state(*server, writable).unwrap_or(false)
            })
            .collect();
        if writable.is_empty() { all } else { writable }
    }

    pub(super) fn is_up(&self, server: usize) -> bool {
        self.state(server, |state| state.down.is_none()).unwrap_or(false)
    }

    /// Whether another server than this one is up.
    pub(super) fn others_are_up(&self, server: usize) -> bool {
        (0..self.0.len()).any(|other| other != server && self.is_up(other))
    }

    /// It did not answer. `true`: that is news.
    pub(super) fn failed(&self, server: usize, reason: &str) -> bool {
        self.state(server, |state| {
            let before = state.down.take();
            let news = before.as_ref().is_none_or(|down| down.reason != reason);
            let now = Instant::now();
            let pause = before.map_or(FIRST_PAUSE, |down| (down.pause * 2).min(LONGEST_PAUSE));
            let jitter =
                if pause < LONGEST_PAUSE { Duration::ZERO } else { pause.mul_f64(rand::random_range(0.0..0.2)) };
            state.down = Some(Down { reason: reason.into(), pause, again: now + pause + jitter });
            news
        })
        .unwrap_or(false)
    }

    /// It answered. `true`: it had been down.
    pub(super) fn answered(&self, server: usize) -> bool {
        self.state(server, |state| state.down.take().is_some()).unwrap_or(false)
    }

    /// It takes no changes.
    pub(super) fn refused_to_write(&self, server: usize) {
        self.state(server, |state| state.read_only = Some(Instant::now()));
    }

    /// Those that do not answer, and why.
    pub(super) fn down(&self) -> Vec<(usize, String)> {
        let silent = |server: usize| Some((server, self.state(server, |state| state.down.clone()).flatten()?.reason));
        (0..self.0.len()).filter_map(silent).collect()
    }

    /// What is known of each.
    pub(super) fn report(&self, names: &[String]) -> Vec<ServerReport> {
        let one = |(server, name): (usize, &String)| {
            let reason = self.state(server, |state| state.down.as_ref().map(|down| down.reason.clone())).flatten();
            ServerReport { name: name.clone(), up: reason.is_none(), reason: reason.unwrap_or_default() }
        };
        names.iter().enumerate().map(one).collect()
    }

    /// Those that are down and may be tried again now.
    pub(super) fn due(&self) -> Vec<usize> {
        let due = |server: &usize| {
            self.state(*server, |state| state.down.as_ref().is_some_and(|down| down.again <= Instant::now()))
                .unwrap_or(false)
        };
        (0..self.0.len()).filter(due).collect()
    }

    fn state<T>(&self, server: usize, look: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.0.get(server).map(|state| look(&mut state.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_that_is_up_comes_first_and_comes_back() {
        let order = Order::new(3);
        assert_eq!(order.candidates(), [0, 1, 2]);
        assert!(order.failed(0, "gone"));
        assert!(!order.failed(0, "gone"));
        assert_eq!(order.candidates(), [1, 2]);
        assert!(order.others_are_up(0) && order.others_are_up(1));
        assert!(order.answered(0));
        assert_eq!(order.candidates(), [0, 1, 2]);
    }

    #[test]
    fn when_all_are_down_all_are_tried() {
        let order = Order::new(2);
        order.failed(0, "gone");
        order.failed(1, "gone");
        assert_eq!(order.candidates(), [0, 1]);
        assert_eq!(order.down(), [(0, "gone".to_owned()), (1, "gone".to_owned())]);
    }

    #[test]
    fn writes_leave_out_who_cannot_be_written() {
        let order = Order::new(2);
        order.refused_to_write(0);
        assert_eq!(order.writable(), [1]);
    }
}
