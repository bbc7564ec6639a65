//! The thread that owns the published files: publishes, folds, copies to the disk, keeps the heart beating.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use schema::snapshot::changes::Change as Entry;
use schema::snapshot::control;
use schema::snapshot::write::Notes;
use sd_notify::NotifyState;
use tokio::sync::oneshot;

use super::{NotPublished, Opened, Replica};
use crate::config::Visibility;
use crate::memory;
use crate::snapshot::{Folded, Keep, Load, Loaded, Places, PublishError, Publisher};

/// A reader looks for another control page when the heart has not beaten for 30 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// After changes. A copy that is older costs no answer: the feed goes on where it ends.
const KEEP: Duration = Duration::from_secs(300);
/// A fold that failed (no room for a second base) is tried again after this.
const FOLD_AGAIN: Duration = Duration::from_secs(60);
/// Files that cannot be made: a directory that is missing or belongs to somebody else.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

pub(super) enum Command {
    Publish { changes: Vec<Entry>, generation: u64, notes: Notes, done: Done },
    Add { changes: Vec<Entry>, done: Done },
    StartLoad { done: oneshot::Sender<Result<Load, NotPublished>> },
    FinishLoad { base: Box<Loaded>, since: Vec<Entry>, generation: u64, notes: Notes, done: Done },
    Show(Visibility),
    Kept(Result<u64, PublishError>),
    Folded(Box<Result<Folded, PublishError>>),
    Stop { done: oneshot::Sender<()> },
}

type Done = oneshot::Sender<Result<(), NotPublished>>;

pub(super) fn visibility(configured: Visibility) -> control::Visibility {
    match configured {
        Visibility::Open => control::Visibility::Open,
        Visibility::Members => control::Visibility::Members,
    }
}

/// Takes back what an earlier life in replica mode has published: what nobody maintains must not be believed.
pub(super) fn withdraw(places: Places) {
    if !places.live.join("control").exists() {
        return;
    }
    match Publisher::open(places, None).and_then(|mut publisher| publisher.withdraw()) {
        Ok(()) => tracing::info!("[snapshot] mode is \"lookup\": the published snapshot has been withdrawn"),
        Err(error) => tracing::error!(%error, "the published snapshot cannot be withdrawn"),
    }
}

pub(super) fn spawn(
    replica: Weak<Replica>,
    places: Places,
    commands: Sender<Command>,
    orders: Receiver<Command>,
) -> std::io::Result<()> {
    let run = move || {
        let Some(publisher) = open(&replica, &places) else { return };
        let mut owner = Owner {
            replica,
            publisher,
            places,
            commands,
            at: Instant::now(),
            changed: false,
            keeping: false,
            folding: false,
            fold_after: Instant::now(),
            failing: false,
        };
        owner.taken_over();
        owner.run(&orders);
    };
    std::thread::Builder::new().name("publisher".into()).spawn(run).map(drop)
}

/// Tries until it succeeds or nobody wants it any more.
fn open(replica: &Weak<Replica>, places: &Places) -> Option<Publisher> {
    loop {
        match Publisher::open(places.clone(), None) {
            Ok(publisher) => return Some(publisher),
            Err(error) => {
                let replica = replica.upgrade()?;
                tracing::error!(%error, "nothing can be published; look-ups are answered over the socket");
                replica.state().failed(error.to_string());
                // Look-ups need not wait for it.
                replica.opened.send_replace(Opened::Failed);
            }
        }
        std::thread::sleep(OPEN_AGAIN);
    }
}

struct Owner {
    replica: Weak<Replica>,
    publisher: Publisher,
    places: Places,
    commands: Sender<Command>,
    /// When the last copy was begun.
    at: Instant,
    /// Something has been published since the last copy.
    changed: bool,
    /// A copy is being written.
    keeping: bool,
    /// A fold is being written; also one that will be dropped.
    folding: bool,
    fold_after: Instant,
    failing: bool,
}

impl Owner {
    fn taken_over(&mut self) {
        self.beat();
        self.show();
        let Some(replica) = self.replica.upgrade() else { return };
        replica.state().notes = self.publisher.notes();
        if let Some(published) = replica.published() {
            replica.remember_removals();
            let logins = replica.facts().published.map_or(0, |published| published.logins);
            tracing::info!(
                generation = published.generation,
                base = published.pair.base,
                delta = published.pair.delta,
                logins,
                "names resolve from the snapshot that was published before"
            );
        }
        replica.opened.send_replace(Opened::Yes);
    }

    fn run(&mut self, orders: &Receiver<Command>) {
        let mut beaten = Instant::now();
        loop {
            let order = orders.recv_timeout(HEARTBEAT.saturating_sub(beaten.elapsed()));
            if beaten.elapsed() >= HEARTBEAT {
                self.look_after();
                self.beat();
                beaten = Instant::now();
            }
            match order {
                Ok(Command::Publish { changes, generation, notes, done }) => {
                    self.publisher.note(notes);
                    let mut result = self.publisher.publish(generation, changes);
                    if result.is_err() && self.look_after() {
                        result = self.publisher.publish(generation, Vec::new());
                    }
                    let _ = done.send(self.published(result));
                }
                Ok(Command::Add { changes, done }) => {
                    let generation = self.publisher.generation().unwrap_or(0);
                    let result = self.publisher.publish(generation, changes);
                    let _ = done.send(self.published(result));
                }
                Ok(Command::StartLoad { done }) => {
                    let _ = done.send(Ok(self.publisher.start_load()));
                }
                Ok(Command::FinishLoad { base, since, generation, notes, done }) => {
                    self.publisher.note(notes);
                    let result = self.publisher.finish_load(*base, generation, since);
                    let result = self.published(result);
                    let published = result.is_ok();
                    let _ = done.send(result);
                    if published {
                        self.keep();
                    }
                }
                Ok(Command::Kept(kept)) => self.kept(kept),
                Ok(Command::Folded(folded)) => self.folded(*folded),
                Ok(Command::Show(to)) => self.show_to(to),
                Ok(Command::Stop { done }) => {
                    // Not beside one that is being written.
                    if self.changed && !self.keeping {
                        let kept = self.publisher.start_keep();
                        let kept = kept.and_then(|keep| keep.map_or(Ok(0), Keep::run));
                        self.kept(kept);
                    }
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.changed && self.at.elapsed() >= KEEP {
                self.keep();
            }
            if !self.folding && self.publisher.fold_is_due() && Instant::now() >= self.fold_after {
                self.fold();
            }
            if self.replica.strong_count() == 0 {
                return;
            }
        }
    }

    /// Puts back what somebody has removed. True: it had to be done, and was.
    fn look_after(&mut self) -> bool {
        if self.publisher.is_in_place() {
            return false;
        }
        let result = self.publisher.put_back();
        match &result {
            Ok(()) => {
                self.beat();
                self.show();
                tracing::warn!("somebody removed or replaced the published snapshot; it is back");
            }
            Err(error) => tracing::error!(%error, "the published snapshot was removed and cannot be put back"),
        }
        result.is_ok()
    }

    fn beat(&self) {
        // CLOCK_MONOTONIC, as systemd wants it too.
        if let Ok(NotifyState::MonotonicUsec(now)) = NotifyState::monotonic_usec_now() {
            self.publisher.heartbeat(u64::try_from(now / 1_000_000).unwrap_or(0));
        }
    }

    /// Gives readers inside this daemon the new files, and tells how it went.
    fn published(&mut self, result: Result<(), PublishError>) -> Result<(), NotPublished> {
        let Some(replica) = self.replica.upgrade() else {
            return result.map_err(|error| NotPublished(error.to_string()));
        };
        match result {
            Ok(()) => {
                self.changed = true;
                self.show();
                {
                    let mut state = replica.state();
                    state.published_at(SystemTime::now());
                    state.notes = self.publisher.notes();
                }
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the snapshot is being published again");
                }
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(error = text, "the snapshot was not published; programs see the one before");
                }
                crate::telemetry::meters::publication_failed();
                replica.state().failed(text.clone());
                Err(NotPublished(text))
            }
        }
    }

    fn show(&self) {
        let Some(replica) = self.replica.upgrade() else { return };
        match self.publisher.published() {
            Ok(published) => {
                *replica.view.write().unwrap_or_else(PoisonError::into_inner) = published.map(Arc::new);
            }
            Err(error) => tracing::error!(%error, "identityd itself cannot read what it published"),
        }
    }

    /// Takes the files over under a new control page: readers of the old one are told to look again.
    fn show_to(&mut self, configured: Visibility) {
        let visibility = visibility(configured);
        if self.places.visibility == visibility {
            return;
        }
        match self.publisher.show_to(visibility) {
            Ok(()) => {
                tracing::info!(visibility = ?configured, "the snapshot is shown to others than before");
                self.places.visibility = visibility;
                self.beat();
                self.show();
            }
            Err(error) => tracing::error!(%error, "the snapshot's visibility was not changed"),
        }
    }

    /// Begins a copy, in another thread: publishing goes on while a slow disk takes it.
    fn keep(&mut self) {
        if self.keeping {
            return;
        }
        self.at = Instant::now();
        let keep = match self.publisher.start_keep() {
            Ok(Some(keep)) => keep,
            Ok(None) => return,
            Err(error) => return self.kept(Err(error)),
        };
        // What is published from now on is in the next one.
        self.changed = false;
        let commands = self.commands.clone();
        let run = move || {
            let _ = commands.send(Command::Kept(keep.run()));
        };
        match std::thread::Builder::new().name("copy".into()).spawn(run) {
            Ok(_) => self.keeping = true,
            Err(source) => self.kept(Err(PublishError::Files { directory: self.places.kept.clone(), source })),
        }
    }

    fn kept(&mut self, kept: Result<u64, PublishError>) {
        self.keeping = false;
        let Some(replica) = self.replica.upgrade() else { return };
        match kept {
            Ok(generation) => replica.state().kept(SystemTime::now(), generation),
            Err(error) => {
                self.changed = true;
                tracing::warn!(%error, "the snapshot's copy on the disk is old: after a reboot names are as they were then");
                replica.state().not_kept(error.to_string());
            }
        }
    }

    fn fold(&mut self) {
        let commands = self.commands.clone();
        let began = Instant::now();
        let fold = match self.publisher.start_fold() {
            Ok(fold) => fold,
            Err(error) => {
                tracing::warn!(%error, "the changes cannot be folded into a new base now");
                self.fold_after = Instant::now() + FOLD_AGAIN;
                return;
            }
        };
        let run = move || {
            let folded = fold.run();
            tracing::debug!(seconds = began.elapsed().as_secs_f32(), "a fold has ended");
            let _ = commands.send(Command::Folded(Box::new(folded)));
            memory::give_back();
        };
        match std::thread::Builder::new().name("fold".into()).spawn(run) {
            Ok(_) => self.folding = true,
            Err(source) => self.folded(Err(PublishError::Files { directory: self.places.live.clone(), source })),
        }
    }

    fn folded(&mut self, folded: Result<Folded, PublishError>) {
        self.folding = false;
        match self.publisher.finish_fold(folded) {
            Ok(()) => {
                self.show();
                self.keep();
            }
            Err(error) => {
                tracing::warn!(%error, "the changes were not folded into a new base; they stay in a delta");
                self.fold_after = Instant::now() + FOLD_AGAIN;
            }
        }
    }
}
