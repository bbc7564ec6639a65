//! How far the follower is, as everybody else sees it, and how to wake it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use schema::record::Generation;
use tokio::sync::{Notify, watch as channel};

use super::steps::Steps;

/// What others see of the feed: how far it is, and how to wake it.
#[derive(Debug)]
pub struct Feed {
    pub(super) applied: channel::Sender<Generation>,
    /// The same as others are told: none while programs map files that this life has not taken over.
    pub(super) visible: channel::Sender<Generation>,
    /// Where the directory goes on after what is applied.
    pub(super) cursor: Mutex<(Generation, Vec<u8>)>,
    pub(super) seen: channel::Sender<Generation>,
    pub(super) looked: channel::Sender<u64>,
    pub(super) altered: channel::Sender<u64>,
    pub(super) wake: Notify,
    pub(super) steps: Steps,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            applied: channel::Sender::default(),
            visible: channel::Sender::default(),
            cursor: Mutex::default(),
            seen: channel::Sender::default(),
            looked: channel::Sender::default(),
            altered: channel::Sender::default(),
            wake: Notify::new(),
            steps: Steps::default(),
        }
    }
}

impl Feed {
    /// The generation whose changes every program of this host sees, and the newest that the directory has shown.
    #[must_use]
    pub fn generations(&self) -> (Generation, Generation) {
        (*self.visible.borrow(), *self.seen.borrow())
    }

    /// What every program sees, with the directory's cursor of it.
    #[must_use]
    pub fn published(&self) -> (Generation, Vec<u8>) {
        if *self.visible.borrow() == Generation(0) { Default::default() } else { self.applied_with_cursor() }
    }

    pub(super) fn applied_with_cursor(&self) -> (Generation, Vec<u8>) {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn publish(&self, generation: Generation, cursor: Vec<u8>, visible: bool) {
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = (generation, cursor);
        self.applied.send_replace(generation);
        self.visible.send_replace(if visible { generation } else { Generation(0) });
    }

    /// Looks now, and waits until every program sees this generation, as this host counts.
    ///
    /// # Errors
    /// How far it is after `wait`.
    pub async fn reach(&self, generation: Generation, wait: Duration) -> Result<(), Generation> {
        let mut visible = self.visible.subscribe();
        self.wake.notify_one();
        let reached = tokio::time::timeout(wait, visible.wait_for(|visible| *visible >= generation)).await;
        if matches!(reached, Ok(Ok(_))) { Ok(()) } else { Err(*self.visible.borrow()) }
    }

    /// Looks now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Tells of each change of what this server serves: in the directory, in the local accounts, in the configuration.
    #[must_use]
    pub fn altered(&self) -> channel::Receiver<u64> {
        self.altered.subscribe()
    }

    /// Something has changed.
    pub fn alter(&self) {
        self.altered.send_modify(|altered| *altered += 1);
    }

    /// For how long changes have not been followed because a step came to no end, and which; `None`: they are.
    #[must_use]
    pub fn stands_still(&self) -> Option<(Duration, &'static str)> {
        self.steps.standing()
    }

    /// Waits until the directory has been looked at once, whatever came of it.
    pub async fn has_looked(&self) {
        let _ = self.looked.subscribe().wait_for(|looked| *looked > 0).await;
    }
}
