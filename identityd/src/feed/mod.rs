//! Notices changes of the directory, drops exactly the answers concerned and has the changes published.
//!
//! Three things make it look: a change of the database file (inotify on its folder), a message that names a generation, and a slow
//! poll in case both were missed. Looking is one small question when nothing has changed.

mod keeper;
mod progress;
mod replication;
mod spread;
mod steps;
mod watch;

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use schema::record::Generation;
use tokio::time::Instant;

use crate::cache::{Cache, Lane};
use crate::daemon::Host;
use crate::directory::{Change, Changes, Directory, DirectoryError};
use crate::local::Stamp;
use crate::replica::MOST_CHANGES;
use replication::{Followed, Replication};

pub use keeper::Keeper;
pub use progress::Feed;
pub(crate) use steps::Steps;
pub use watch::FileWatch;

/// Opens the directory anew.
pub type Opener = Arc<dyn Fn() -> Opening + Send + Sync>;
/// The directory being opened.
pub type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Directory>, DirectoryError>> + Send>>;

/// Changes taken at a time.
const BATCH: u32 = 1000;
/// After a change of the file: SQLite writes the log first and makes the commit visible after its fsync, which gives no event of its own. So
/// it is looked for until it is there, never more than 50 ms late.
const SETTLE: [Duration; 5] = [
    Duration::from_millis(3),
    Duration::from_millis(7),
    Duration::from_millis(15),
    Duration::from_millis(25),
    Duration::from_millis(50),
];
/// For so long, in steps of the last one: an fsync that takes longer than this is found by the poll.
const SETTLED: Duration = Duration::from_secs(3);
/// Between two looks: an import writes thousands of pages a second, and each is an event.
const BREATH: Duration = Duration::from_millis(2);
/// The same where changes come one after the other over the network: those of this time are read together. The first after a rest is read at once.
const FLOW: Duration = Duration::from_millis(100);
/// While the directory can only be read: a full disk, a file system that is mounted read-only.
const REOPEN: Duration = Duration::from_secs(5);
/// How many of the newest changes are remembered.
const TAIL: usize = 8;
/// For the files that an earlier life has published.
const OPENING: Duration = Duration::from_secs(2);
/// For opening the directory: SQLite waits 10 s for who is writing, with each of some statements.
const OPEN_WAIT: Duration = Duration::from_secs(60);
/// Looks in vain, one after the other, before the log says so.
const VAIN: u32 = 20;
/// While the directory is away.
const RETRY: Duration = Duration::from_millis(500);

/// The pauses between the looks after a change of the file.
#[derive(Debug)]
struct Settle {
    steps: usize,
    since: Instant,
}

impl Default for Settle {
    fn default() -> Self {
        Self { steps: 0, since: Instant::now() }
    }
}

impl Iterator for Settle {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let step = SETTLE.get(self.steps).or(SETTLE.last()).copied();
        self.steps += 1;
        step.filter(|_| self.since.elapsed() < SETTLED)
    }
}

/// Whether a file is still what it was: device and inode, length, and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp([u64; 3], i64, i64);

impl FileStamp {
    fn of(file: &Path) -> Option<Self> {
        let found = file.metadata().ok()?;
        Some(Self([found.dev(), found.ino(), found.len()], found.mtime(), found.mtime_nsec()))
    }
}

/// The task that looks.
pub struct Follower {
    feed: Arc<Feed>,
    cache: Arc<Cache>,
    host: Weak<Host>,
    open: Opener,
    /// The file whose replacement means another directory.
    file: Option<PathBuf>,
    poll: Duration,
    identity: Option<(u64, u64)>,
    /// How the file was when it was opened to be read only.
    as_it_stood: Option<FileStamp>,
    unreadable: Option<Stamp>,
    /// The newest changes that were applied: another directory in the same file has others under these numbers.
    tail: VecDeque<Change>,
    reopened: Instant,
    replica: Option<Replication>,
    /// Looks in vain since the last that was not.
    vain: u32,
}

impl Follower {
    /// Follows the directory that `open` opens on behalf of `host`.
    #[must_use]
    pub fn new(host: &Arc<Host>, open: Opener, file: Option<PathBuf>, poll: Duration) -> Self {
        let alone = file.is_some();
        Self {
            feed: Arc::clone(host.feed()),
            cache: Arc::clone(host.cache()),
            host: Arc::downgrade(host),
            open,
            file,
            poll,
            identity: None,
            as_it_stood: None,
            unreadable: None,
            tail: VecDeque::new(),
            reopened: Instant::now(),
            // A file has one host.
            replica: host.replica().map(|replica| Replication::new(Arc::clone(replica), alone)),
            vain: 0,
        }
    }

    /// Looks, again and again, until it is dropped.
    pub async fn run(mut self) {
        if let Some(replication) = &self.replica {
            self.feed.steps.begin("takes over what is published");
            // Reading a large copy from a slow disk takes longer; the directory is not kept waiting for it.
            let _ = tokio::time::timeout(OPENING, replication.replica.has_opened()).await;
        }
        let mut files = FileWatch::new(self.watched());
        let mut settle = Settle::default();
        loop {
            self.feed.steps.begin("reads the local accounts");
            self.look_at_local();
            let before = *self.feed.applied.borrow();
            let up = self.look().await;
            let flowing = before != *self.feed.applied.borrow();
            self.feed.looked.send_modify(|looked| *looked += 1);
            let pause = match settle.next() {
                Some(soon) => soon,
                None if up && self.cache.source().read_only().is_some() => REOPEN.min(self.poll),
                None if up => self.poll,
                None => RETRY.min(self.poll),
            };
            // A directory that is away is asked no faster for it.
            let soon = self.replica.as_ref().filter(|_| up).and_then(Replication::impatience);
            let pause = soon.map_or(pause, |soon| soon.min(pause));
            let looked = Instant::now();
            let directory = self.cache.source().directory().filter(|_| up);
            // Beyond what was seen: what waits for a load is no news.
            let seen = *self.feed.seen.borrow();
            self.feed.steps.begin_long("waits for a change", pause);
            tokio::select! {
                () = told(directory.as_deref(), seen) => {
                    tokio::time::sleep_until(looked + if flowing { FLOW } else { BREATH }).await;
                }
                () = self.feed.wake.notified() => {}
                () = files.changed() => {
                    settle = Settle::default();
                    tokio::time::sleep_until(looked + BREATH).await;
                }
                () = tokio::time::sleep(pause) => files.renew(),
            }
        }
    }

    fn watched(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        if let Some(file) = &self.file {
            let mut wal = file.clone().into_os_string();
            wal.push("-wal");
            paths.extend([file.clone(), wal.into()]);
        }
        if let Some(host) = self.host.upgrade() {
            let files = host.local_files();
            paths.extend([files.passwd.clone(), files.group.clone(), files.shells.clone()]);
        }
        paths
    }

    fn look_at_local(&mut self) {
        let Some(host) = self.host.upgrade() else { return };
        let stamp = host.local_files().stamp();
        if stamp == host.local_stamp() {
            return;
        }
        match host.read_local() {
            Ok(()) => tracing::info!("the local accounts have changed; read again"),
            // Once for each state of the files; they are tried again all the same.
            Err(reason) if self.unreadable != Some(stamp) => {
                tracing::warn!(reason, "the local accounts cannot be read; those read before stay in force");
                self.unreadable = Some(stamp);
            }
            Err(_) => {}
        }
    }

    /// Looks once. `false`: the directory does not answer.
    async fn look(&mut self) -> bool {
        // Opened again where it was open before the files of an earlier life were: it has not been told where to go on.
        let adopted = self.adopt();
        let identity =
            self.file.as_ref().map(|file| file.metadata().map(|meta| (meta.dev(), meta.ino())).unwrap_or_default());
        let anew = adopted || !self.cache.source().is_open() || identity != self.identity || self.may_be_writable();
        if anew && !self.open(identity).await {
            return false;
        }
        match self.catch_up().await {
            Ok(()) => {
                self.vain = 0;
                if self.replica.as_ref().is_none_or(Replication::is_in_step) {
                    self.feed.steps.goes_on();
                }
                true
            }
            Err(DirectoryError::Damaged { .. }) => {
                // Opening it anew says what is wrong, and notices when it has been mended.
                self.cache.source().set(None);
                false
            }
            Err(error @ DirectoryError::Turned { .. }) => {
                tracing::warn!(%error, "everything is asked anew");
                // Opened anew it is asked whether it can go on after what is published, and says no.
                self.cache.source().set(None);
                false
            }
            // It is there; only our turn did not come.
            Err(error @ DirectoryError::Crowded { .. }) => {
                self.in_vain(&error);
                true
            }
            Err(error) => {
                self.in_vain(&error);
                false
            }
        }
    }

    /// Others say when the directory is away. What else keeps us from looking for so long must not be silent.
    fn in_vain(&mut self, error: &DirectoryError) {
        self.vain += 1;
        if self.vain == VAIN && self.cache.source().is_reachable() {
            tracing::warn!(%error, times = VAIN, "the directory answers, and its changes cannot be asked for");
        }
    }

    fn not_opened(&self) -> DirectoryError {
        let reason = format!("it was not opened within {} s", OPEN_WAIT.as_secs());
        DirectoryError::Unavailable { directory: self.cache.source().location().into(), reason }
    }

    /// Whether it is time to see whether a directory that could only be read can be written again.
    fn may_be_writable(&mut self) -> bool {
        let due = self.reopened.elapsed() >= REOPEN && self.cache.source().read_only().is_some();
        if due {
            self.reopened = Instant::now();
        }
        due
    }

    async fn open(&mut self, identity: Option<(u64, u64)>) -> bool {
        let source = self.cache.source();
        let applied = *self.feed.applied.borrow();
        self.feed.steps.begin_long("opens the directory", OPEN_WAIT);
        // Read the generation before anybody can ask: an answer from before a change that we count as seen would stay.
        let opened = async {
            let directory = (self.open)().await?;
            let same =
                applied == Generation(0) || directory.resume(applied, &self.feed.applied_with_cursor().1).await?;
            let generation = directory.generation().await?;
            Ok::<_, DirectoryError>((directory, generation, same))
        };
        let opened = tokio::time::timeout(OPEN_WAIT, opened).await;
        let (directory, generation, same) = match opened.unwrap_or_else(|_| Err(self.not_opened())) {
            Ok(opened) => opened,
            Err(error) => {
                source.set(None);
                source.failed(&error.to_string());
                return false;
            }
        };
        let stamp = self.file.as_deref().and_then(FileStamp::of);
        let read_only = directory.read_only().is_some();
        if read_only && source.read_only().is_some() && self.identity == identity && self.as_it_stood == stamp {
            // Still not to be written, and the same as before. Another one in its place would end a reading that takes longer than this.
            return true;
        }
        self.as_it_stood = stamp.filter(|_| read_only);
        let known = self.identity.is_some() || applied != Generation(0);
        // What an earlier life published knows of no file; its history is compared instead.
        let same = same && (self.identity == identity || self.identity.is_none()) && generation >= applied;
        if !known {
            // What has changed since an earlier life of ours nobody says. Before anybody is told that it answers: what was kept of it must not be used.
            self.feed.steps.begin("notes what may have changed");
            self.cache.doubt().await;
        }
        source.set(Some(directory));
        if known && !same {
            tracing::warn!(directory = source.location(), "the directory has been replaced; everything is asked anew");
            self.anew(generation, "the directory has been replaced").await;
        } else if !known {
            self.publish(generation);
        }
        self.identity = identity;
        true
    }

    async fn catch_up(&mut self) -> Result<(), DirectoryError> {
        let cache = Arc::clone(&self.cache);
        let source = cache.source();
        self.feed.steps.begin_long("asks for the newest generation", source.longest());
        let newest = source.ask(Lane::Reserved, |directory| async move { directory.generation().await }).await?;
        self.feed.seen.send_replace(newest);
        let mut applied = *self.feed.applied.borrow();
        if newest < applied && !self.is_waiting_for_a_load() {
            tracing::warn!(%applied, %newest, "the directory has gone back, as after a restored backup; everything is asked anew");
            self.anew(newest, "the directory has gone back, as after a restored backup").await;
        }
        self.replicate(newest).await?;
        if self.is_waiting_for_a_load() {
            return Ok(());
        }
        applied = *self.feed.applied.borrow();
        let mut attempt = 0;
        while applied < newest {
            // Those that we know come again: they must be the same.
            let known = self.tail.front().map_or(applied, |oldest| Generation(oldest.generation.0.saturating_sub(1)));
            let most = self.replica.as_ref().map_or(BATCH, |_| MOST_CHANGES + 1);
            let asked = most + self.tail.len() as u32;
            self.feed.steps.begin_long("asks what has changed", source.longest());
            let changes = source
                .ask(Lane::Reserved, |directory| async move { directory.changes_after(known, asked).await })
                .await?;
            let changes = match changes {
                Changes::List(changes) => changes,
                Changes::Gap => {
                    tracing::info!(%applied, %newest, "the change log does not reach back so far; everything is asked anew");
                    self.anew(newest, "the change log does not reach back so far").await;
                    return Ok(());
                }
            };
            let (old, new) = changes.split_at(changes.partition_point(|change| change.generation <= applied));
            match new.last().map(|change| change.generation) {
                Some(last) if self.tail.iter().eq(old) => {
                    self.feed.steps.begin("drops what has changed");
                    self.cache.apply(new).await;
                    attempt += 1;
                    match self.follow(new, last, attempt).await? {
                        Followed::Yes => attempt = 0,
                        Followed::No => return Ok(()),
                        Followed::Overtaken => continue,
                    }
                    self.remember(new);
                    applied = last;
                    self.publish(applied);
                }
                Some(_) => {
                    tracing::warn!(%applied, %newest, "the directory has another history than before, as after a restored backup; everything is asked anew");
                    self.anew(newest, "the directory has another history than before").await;
                    return Ok(());
                }
                None => {
                    tracing::warn!(%applied, %newest, "the change log has a hole; everything is asked anew");
                    self.anew(newest, "the change log has a hole").await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, changes: &[Change]) {
        self.tail.extend(changes.iter().rev().take(TAIL).rev().cloned());
        while self.tail.len() > TAIL {
            self.tail.pop_front();
        }
    }

    /// Nothing that is known holds any more. What is published stays until everything has been read.
    async fn anew(&mut self, generation: Generation, reason: &str) {
        self.tail.clear();
        self.feed.steps.begin("drops what was kept of the directory");
        self.cache.flush().await;
        match &mut self.replica {
            Some(replication) if replication.is_published() => replication.lost(reason, generation),
            _ => self.publish(generation),
        }
    }

    fn publish(&mut self, generation: Generation) {
        self.feed.seen.send_modify(|seen| *seen = generation.max(*seen));
        let visible = !self.replica.as_ref().is_some_and(Replication::leaves_behind);
        self.feed.publish(generation, self.cache.source().cursor(generation), visible);
        self.feed.alter();
    }
}

/// Waits until the directory says by itself that there is something newer.
async fn told(directory: Option<&dyn Directory>, since: Generation) {
    match directory {
        Some(directory) => directory.changed(since).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
pub(crate) mod tests;
