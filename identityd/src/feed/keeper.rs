//! Keeps a follower running: one that stands still is ended and started anew.
//!
//! No step of it should be able to: each question has a time limit, the rest is work in memory. But what it waits for are other threads and libraries, and a host whose follower waits for ever
//! goes on answering by what it knew, without a word. So it is watched, the log names the step, and what is published is gone on from.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Feed, Follower, Opener};
use crate::daemon::Host;
use crate::telemetry::meters;

/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(2);
/// Before it is begun anew: each time twice as long, for one that fails at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// For its end: it ends where it waits.
const ENDING: Duration = Duration::from_secs(10);

/// What followers are made of, one after the other.
pub struct Keeper {
    host: Weak<Host>,
    feed: Arc<Feed>,
    open: Opener,
    file: Option<PathBuf>,
    poll: Duration,
    pub(super) look: Duration,
}

impl Keeper {
    /// Keeps one that follows the directory that `open` opens on behalf of `host`: see [`Follower::new`].
    #[must_use]
    pub fn new(host: &Arc<Host>, open: Opener, file: Option<PathBuf>, poll: Duration) -> Self {
        Self { host: Arc::downgrade(host), feed: Arc::clone(host.feed()), open, file, poll, look: LOOK }
    }

    /// Follows until it is dropped.
    pub async fn run(self) {
        let mut pause = self.look;
        while let Some(host) = self.host.upgrade() {
            let follower = Follower::new(&host, Arc::clone(&self.open), self.file.clone(), self.poll);
            drop(host);
            let began = Instant::now();
            let mut running = Running(tokio::spawn(follower.run()));
            self.watch(&mut running).await;
            pause = if began.elapsed() > LONGEST_PAUSE { self.look } else { (pause * 2).min(LONGEST_PAUSE) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns when it has ended, which it does only because it stood still or failed.
    async fn watch(&self, running: &mut Running) {
        let mut overdue = None;
        let step = loop {
            if let Ok(ended) = tokio::time::timeout(self.look, &mut running.0).await {
                // It does not end by itself; a panic has said where.
                if ended.is_err_and(|error| error.is_panic()) {
                    meters::stood_still("following");
                    tracing::error!(
                        "who follows the directory's changes has failed, and is begun anew; report this with the journal"
                    );
                }
                return;
            }
            // Twice the same: the whole process may have been stopped, and go on only now.
            let before = std::mem::replace(&mut overdue, self.feed.steps.overdue());
            match overdue {
                Some(step) if before == Some(step) => break step,
                _ => {}
            }
        };
        self.feed.steps.stands_still(step);
        meters::stood_still("following");
        tracing::error!(
            step = step.what,
            seconds = step.since.elapsed().as_secs(),
            "changes of the directory were not followed any more: a step came to no end. It is begun anew; report this with the journal"
        );
        running.0.abort();
        if tokio::time::timeout(ENDING, &mut running.0).await.is_err() {
            tracing::error!(
                step = step.what,
                "the step cannot even be ended, and nothing is followed; identityd begins anew as another process in some minutes"
            );
            let _ = (&mut running.0).await;
        }
    }
}

/// Ends with who watches it.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
