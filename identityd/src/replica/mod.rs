//! Replica mode: the whole public directory, published as files that every program maps (`docs/snapshot.md`).
//!
//! One thread owns the publisher (`owner`). The feed's follower brings it what has changed (`batch`); where a list of changes will not do,
//! everything is read anew beside it (`load`) while what is published goes on being published. What this server's own accounts and rules say
//! is applied before anything is published (`entry`): a reader of the files needs to know no other file.

mod additions;
mod batch;
mod compare;
mod entry;
mod load;
mod owner;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use batch::ask;
pub use entry::{Rules, trimmed};
pub use load::{LoadError, Loaded, Loading};
pub use state::{Facts, Published as PublishedFacts};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::Duration;

use schema::record::Generation;
use schema::snapshot::changes::Change as Entry;
use schema::snapshot::write::Notes;
use tokio::sync::{oneshot, watch};

use crate::config::{SnapshotMode, Visibility};
use crate::snapshot::{Places, Published, open};
use compare::Difference;
use owner::Command;
pub use state::Held;
use state::State;
pub use window::Limits;
use window::{Count, Record, Window};

/// More changes than this are read faster all together.
pub const MOST_CHANGES: u32 = 4000;

/// For a note on the disk: changes do not wait longer for one that hangs.
const NOTE_WAIT: Duration = Duration::from_secs(10);

/// What is published on this server. Cheap to share; the files belong to a thread of their own.
pub struct Replica {
    commands: Mutex<mpsc::Sender<Command>>,
    view: RwLock<Option<Arc<Published>>>,
    state: Mutex<State>,
    window: Mutex<Window>,
    record: Record,
    opened: watch::Sender<Opened>,
    /// The control page that programs map.
    control: PathBuf,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("published", &self.published()).finish_non_exhaustive()
    }
}

/// Whether the files of an earlier life have been looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Opened {
    #[default]
    NotYet,
    /// It is tried again and again.
    Failed,
    Yes,
}

/// Why something was not published. What was published before still is.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NotPublished(pub String);

/// What a publication says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// All changes up to this are in it.
    pub generation: Generation,
    /// For the next life.
    pub notes: Notes,
}

/// How a publication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is published.
    Published,
    /// The files could not be written. Nothing is lost: come again with the same changes.
    Failed,
    /// Too many logins would vanish; it waits for an administrator.
    TooMuch,
    /// Too many logins have vanished since a load was begun: everything has to be read again.
    Overtaken,
}

impl Outcome {
    fn of(published: Result<(), NotPublished>) -> Self {
        // The owner of the files has said why.
        if published.is_ok() { Self::Published } else { Self::Failed }
    }
}

impl Replica {
    /// Takes over what is published, in a thread of its own, and says so through [`has_opened`](Self::has_opened). In lookup mode what is
    /// published is withdrawn, and there is no replica.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(mode: SnapshotMode, visibility: Visibility) -> std::io::Result<Option<Arc<Self>>> {
        let live = schema::snapshot::DIRECTORY.to_str().unwrap_or_default();
        let visibility = owner::visibility(visibility);
        let places = Places { live: live.into(), kept: schema::paths::SNAPSHOT.into(), visibility };
        match mode {
            SnapshotMode::Replica => Self::start_in(places).map(Some),
            SnapshotMode::Lookup => {
                owner::withdraw(places);
                Ok(None)
            }
        }
    }

    /// The same in these directories.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start_in(places: Places) -> std::io::Result<Arc<Self>> {
        let (commands, orders) = mpsc::channel();
        let replica = Arc::new(Self {
            commands: Mutex::new(commands.clone()),
            view: RwLock::default(),
            state: Mutex::default(),
            window: Mutex::default(),
            record: Record::in_directory(&places.kept),
            opened: watch::Sender::default(),
            control: places.live.join("control"),
        });
        owner::spawn(Arc::downgrade(&replica), places, commands, orders)?;
        Ok(replica)
    }

    /// Waits until the files of an earlier life have been taken over, or there are none, or they cannot be at present.
    pub async fn has_opened(&self) {
        let _ = self.opened.subscribe().wait_for(|opened| *opened != Opened::NotYet).await;
    }

    /// Whether they have been taken over, if there are any.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.opened.borrow() == Opened::Yes
    }

    /// Whether programs map a snapshot, this life's own or one that could not be taken over.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        // A page that cannot be read is one that programs do not believe either.
        open::State::read(&self.control).is_ok_and(|page| page.pair().is_some())
    }

    /// What is published, to be read from. `None`: nothing.
    #[must_use]
    pub fn published(&self) -> Option<Arc<Published>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All changes up to this are published.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.published().map(|published| Generation(published.generation))
    }

    /// What is noted in what is published: by an earlier life, where it was taken over.
    #[must_use]
    pub fn notes(&self) -> Option<Notes> {
        self.state().notes
    }

    /// Publishes what `ask` brought.
    pub async fn follow(self: &Arc<Self>, entries: Vec<Entry>, mark: Mark, limits: Limits) -> Outcome {
        let Some(published) = self.published() else { return Outcome::of(self.publish(entries, mark).await) };
        let removed = batch::removed(&published, &entries);
        if self.slide(&published, limits).is_too_much(Count::of(&removed), limits) {
            return Outcome::TooMuch;
        }
        if !removed.is_empty() && limits.percent < 100 {
            self.note(|window| window.count(window::now(), removed)).await;
        }
        let outcome = Outcome::of(self.publish(entries, mark).await);
        if outcome == Outcome::Published && self.window().is_held() {
            // By an earlier life, or before the follower was begun anew, and mended since.
            self.state().let_through();
            self.note(Window::let_go).await;
        }
        outcome
    }

    /// What an earlier life has seen vanish from what was taken over.
    fn remember_removals(&self) {
        let window = self.record.read(window::now());
        self.record.write(|| window.clone());
        *self.window() = window;
    }

    /// What has vanished of late, as it is now.
    fn slide(&self, published: &Published, limits: Limits) -> MutexGuard<'_, Window> {
        let mut window = self.window();
        window.slide(window::now(), limits.within, published);
        window
    }

    /// Changes what another life must know of removals, and writes it to the disk: before they are published, so that none is forgotten.
    async fn note(self: &Arc<Self>, change: impl FnOnce(&mut Window)) {
        let changed = {
            let mut window = self.window();
            let before = window.clone();
            change(&mut window);
            *window != before
        };
        if self.record.is_waited_for(changed) {
            tracing::warn!("the disk takes no note of what has vanished of late; changes are published all the same");
            return;
        }
        let replica = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            replica.record.write(|| replica.window().clone());
        });
        if tokio::time::timeout(NOTE_WAIT, written).await.is_err() {
            tracing::warn!("the disk takes no note of what has vanished of late; changes are published all the same");
        }
    }

    async fn publish(&self, changes: Vec<Entry>, mark: Mark) -> Result<(), NotPublished> {
        self.order(|done| Command::Publish { changes, generation: mark.generation.0, notes: mark.notes, done }).await?
    }

    /// Makes a load what is published, with what `ask` brought of the changes since. Where little differs only that is published.
    pub async fn finish(self: &Arc<Self>, loaded: Loaded, since: Vec<Entry>, mark: Mark, limits: Limits) -> Outcome {
        let mut vanished = Vec::new();
        if let (Some(difference), Some(published)) = (&loaded.difference, self.published()) {
            let removed = self.state().not_accepted(&difference.removed);
            if removed != difference.removed {
                // What an administrator has let go does not count, and neither does what went before: more that has gone meanwhile is judged anew.
                self.note(Window::forgive).await;
            }
            let window = self.slide(&published, limits).clone();
            if window.is_too_much(removed.count(), limits) {
                self.state().hold(&difference.removed, &window, &published);
                self.note(|window| window.hold(window::now())).await;
                let mut there = loaded.difference.and_then(Difference::there).unwrap_or_default();
                there.extend(since);
                self.add(there).await;
                return Outcome::TooMuch;
            }
            // What is held back is listed by a reading; this one is of before.
            let removed_since = batch::removed(&published, &since);
            if window.is_too_much(removed.count() + Count::of(&removed_since), limits) && !removed_since.is_empty() {
                return Outcome::Overtaken;
            }
            // Where all may go nobody counts, and it may be a million.
            if limits.percent < 100 {
                vanished = removed.entries(&published);
                vanished.extend(removed_since);
            }
        }
        self.note(|window| window.count(window::now(), vanished)).await;
        let done = match loaded.difference.and_then(Difference::changes) {
            Some(mut changes) => {
                changes.extend(since);
                self.publish(changes, mark).await
            }
            None => {
                let base = Box::new(loaded.base);
                let done = self.order(|done| Command::FinishLoad {
                    base,
                    since,
                    generation: mark.generation.0,
                    notes: mark.notes,
                    done,
                });
                done.await.and_then(|done| done)
            }
        };
        if done.is_ok() {
            self.now_knows_quarantined();
            self.state().let_through();
            self.note(Window::let_go).await;
        }
        Outcome::of(done)
    }

    /// Publishes what these changes add, and nothing that they take away, without a word of the generation: they have to come again. Whether there was something.
    pub async fn add(&self, changes: Vec<Entry>) -> bool {
        let Some(published) = self.published() else { return false };
        let changes = additions::additions(&published, changes);
        // What it costs is no more than a while: everything is read again.
        !changes.is_empty() && matches!(self.order(|done| Command::Add { changes, done }).await, Ok(Ok(())))
    }

    /// An administrator lets through what is held back, and nothing else.
    ///
    /// # Errors
    /// Nothing is held back.
    pub fn accept(&self) -> Result<Held, NotPublished> {
        let held = self.state().accept();
        held.ok_or_else(|| NotPublished("nothing is held back".into()))
    }

    /// Whether an administrator has let something through since this was last asked.
    pub(crate) fn was_accepted(&self) -> bool {
        std::mem::take(&mut self.state().accepted_now)
    }

    /// Who may read the files from now on.
    pub fn show_to(&self, visibility: Visibility) {
        // Without the thread there is nothing to show.
        let _ = self.send(Command::Show(visibility));
    }

    /// Whether this life has gone through the whole directory.
    pub(crate) fn knows_quarantined(&self) -> bool {
        let state = self.state();
        state.knows_quarantined || state.loading.is_some()
    }

    pub(crate) fn now_knows_quarantined(&self) {
        self.state().knows_quarantined = true;
    }

    /// Brings a copy to the disk and ends the thread.
    pub async fn stop(&self) {
        let ended = self.order(|done| Command::Stop { done });
        let _ = tokio::time::timeout(Duration::from_secs(8), ended).await;
    }

    /// What there is to tell of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.state().facts(self.published().as_deref())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, command: Command) -> Result<(), NotPublished> {
        let sent = self.commands.lock().unwrap_or_else(PoisonError::into_inner).send(command);
        sent.map_err(|_| ended())
    }

    async fn order<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NotPublished> {
        let (done, answer) = oneshot::channel();
        self.send(command(done))?;
        answer.await.map_err(|_| ended())
    }
}

fn ended() -> NotPublished {
    NotPublished("the publishing thread has ended; restart identityd and report what the log says".into())
}
