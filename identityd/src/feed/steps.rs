//! What the follower, or a full reading, is doing and since when: everything that programs see of the directory's changes goes through them, so they must not stand still unseen.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A step that takes so much longer than it may has come to a standstill: each question has a limit of its own, far below this.
const LIMIT: Duration = Duration::from_secs(20);

/// What is known of somebody's work.
#[derive(Debug)]
pub(crate) struct Steps(Mutex<State>);

#[derive(Debug)]
struct State {
    step: Step,
    /// Where it stood still; until that step has come to its end.
    standing: Option<Step>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// For people, as in "it ...".
    pub(crate) what: &'static str,
    pub(crate) since: Instant,
    may_take: Duration,
}

impl Step {
    fn new(what: &'static str, may_take: Duration) -> Self {
        Self { what, since: Instant::now(), may_take }
    }
}

impl Default for Steps {
    fn default() -> Self {
        let step = Step::new("has not begun", Duration::MAX);
        Self(Mutex::new(State { step, standing: None }))
    }
}

impl Steps {
    /// This is begun.
    pub(crate) fn begin(&self, what: &'static str) {
        self.begin_long(what, Duration::ZERO);
    }

    /// The same of what may take so long.
    pub(crate) fn begin_long(&self, what: &'static str, may_take: Duration) {
        let mut state = self.state();
        let ended = std::mem::replace(&mut state.step, Step::new(what, may_take.saturating_add(LIMIT)));
        if state.standing.is_some_and(|standing| standing.what == ended.what) {
            state.standing = None;
        }
    }

    /// What stood still has come to an end after all.
    pub(crate) fn goes_on(&self) {
        self.state().standing = None;
    }

    /// A step that has taken longer than it may. After the whole process was stopped for a while any step looks like that for a moment.
    pub(crate) fn overdue(&self) -> Option<Step> {
        Some(self.state().step).filter(|step| step.since.elapsed() >= step.may_take)
    }

    /// It has come to a standstill, and is given up. That it is followed by another step is no end of it.
    pub(super) fn stands_still(&self, step: Step) {
        let mut state = self.state();
        state.standing.get_or_insert(Step { since: Instant::now(), ..step });
        if state.step == step {
            state.step = Step::new("is begun anew", LIMIT);
        }
    }

    /// For how long a step that was given up has not come to its end, and which.
    pub(super) fn standing(&self) -> Option<(Duration, &'static str)> {
        self.state().standing.map(|step| (step.since.elapsed(), step.what))
    }

    /// What it is at has taken longer than it may.
    #[cfg(test)]
    pub(crate) fn expire(&self, what: &str) -> bool {
        let mut state = self.state();
        let is_at = state.step.what == what;
        if is_at {
            state.step.may_take = Duration::ZERO;
        }
        is_at
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_than_it_may_is_a_standstill_until_that_step_has_ended() {
        let steps = Steps::default();
        assert!(steps.overdue().is_none(), "nothing was begun");
        steps.begin("publishes changes");
        assert!(steps.overdue().is_none() && !steps.expire("something else") && steps.expire("publishes changes"));
        let overdue = steps.overdue().unwrap();
        assert_eq!((overdue.what, steps.standing()), ("publishes changes", None));
        steps.stands_still(overdue);
        // One that was begun anew does something else, and has not come to the end of that step either.
        steps.begin("opens the directory");
        assert!(steps.overdue().is_none());
        steps.begin("publishes changes");
        assert_eq!(steps.standing().map(|(_, what)| what), Some("publishes changes"));
        steps.begin("waits for a change");
        assert_eq!(steps.standing(), None);
    }
}
