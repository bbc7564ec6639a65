//! The directory as the daemon sees it: it may be away, it has a time limit, and what it does is counted.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use schema::record::Generation;
use tokio::sync::Semaphore;

use crate::directory::servers::ServerReport;
use crate::directory::{Directory, DirectoryError, Entry, Kind, Quarantined};
use crate::quarantine::QuarantineList;
use crate::telemetry::meters;

/// Questions of one lane at one time; the others wait, within their time limit. Together they are fewer than the directory's connections
/// (`directory::sqlite`), so that a question that may go has a connection; a check has one of its own, for its bind.
/// In the order of [`Lane`].
const LANES: [usize; 4] = [4, 2, 1, 4];
/// After a failure the next questions fail at once for so long, instead of each waiting in turn.
const PAUSE: Duration = Duration::from_millis(200);

/// For a write: SQLite waits 10 s for another writer and then has certainly not written (`directory::sqlite`). Below the 30 s of PAM.
const WRITING: Duration = Duration::from_secs(15);
/// For a password that the directory checks: it looks the entry up, connects, and has 5 s for the bind (`directory::ldap`). Below the 20 s of `[auth] deadline`, also after as long in its lane.
const CHECKING: Duration = Duration::from_secs(9);

/// What a question is for. Each kind waits in a lane of its own: a user who asks for lists without end holds up lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Look-ups of ordinary users.
    LookUp,
    /// Authentication, the account stage, root's look-ups, and the feed.
    Reserved,
    /// Pages of lists, and the sweep.
    Listing,
    /// A password that the directory itself checks. That takes as long as the hash of one login wants, and has to cost nobody else his answer.
    Check,
}

/// How long a caller waits, and in which lane.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the answer is there.
    pub wait: Duration,
    /// Where, if the directory has to be asked.
    pub lane: Lane,
}

impl Patience {
    /// In the lane that is kept for authentication and root.
    #[must_use]
    pub const fn reserved(wait: Duration) -> Self {
        Self { wait, lane: Lane::Reserved }
    }
}

impl From<Duration> for Patience {
    fn from(wait: Duration) -> Self {
        Self { wait, lane: Lane::LookUp }
    }
}

/// The way to the directory.
pub struct Source {
    directory: RwLock<Option<Arc<dyn Directory>>>,
    health: Mutex<Health>,
    lanes: [Semaphore; LANES.len()],
    timeout: Duration,
    location: String,
    quarantine: Arc<QuarantineList>,
}

/// Whether the directory answers.
#[derive(Debug, Clone)]
pub struct Health {
    /// It answered last time.
    pub reachable: bool,
    /// Since when this is so.
    pub since: SystemTime,
    /// The last failure, and when.
    pub error: Option<(String, SystemTime)>,
    failed: Option<Instant>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("location", &self.location)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

impl Source {
    /// A way to a directory that has not been opened yet.
    #[must_use]
    pub fn new(location: String, timeout: Duration, quarantine: Arc<QuarantineList>) -> Arc<Self> {
        let health = Health { reachable: false, since: SystemTime::now(), error: None, failed: None };
        Arc::new(Self {
            directory: RwLock::new(None),
            health: Mutex::new(health),
            lanes: LANES.map(Semaphore::new),
            timeout,
            location,
            quarantine,
        })
    }

    /// From now on, this is the directory.
    pub fn set(&self, directory: Option<Arc<dyn Directory>>) {
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = directory;
    }

    /// Whether there is one to ask.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The directory itself, for what takes longer than a question.
    #[must_use]
    pub fn directory(&self) -> Option<Arc<dyn Directory>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the directory would go on after a generation; see [`Directory::cursor`].
    #[must_use]
    pub fn cursor(&self, generation: Generation) -> Vec<u8> {
        self.directory().map(|directory| directory.cursor(generation)).unwrap_or_default()
    }

    /// What a question may take at the very most: until it is its turn, and then until the answer.
    pub(crate) const fn longest(&self) -> Duration {
        self.timeout.saturating_mul(2)
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What is not served.
    #[must_use]
    pub fn quarantine(&self) -> &QuarantineList {
        &self.quarantine
    }

    /// Whether it answers.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it answered last time.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).reachable
    }

    /// Asks one question, within the time limit. Waiting for its turn, a list that takes too long, and a password that is not checked in time say nothing about the directory.
    ///
    /// # Errors
    /// What the directory said, or that it said nothing, or that its turn did not come.
    pub async fn ask<T, F, A>(&self, lane: Lane, question: F) -> Result<T, DirectoryError>
    where
        F: FnOnce(Arc<dyn Directory>) -> A,
        A: Future<Output = Result<T, DirectoryError>>,
    {
        if !self.is_open() || self.is_pausing() {
            return Err(self.unavailable());
        }
        let limit = if lane == Lane::Check { self.timeout.max(CHECKING) } else { self.timeout };
        let Ok(Ok(_permit)) = tokio::time::timeout(limit, self.lane(lane).acquire()).await else {
            return Err(DirectoryError::Crowded { directory: self.location.clone() });
        };
        // It may have gone while we waited.
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(directory) = directory.filter(|_| !self.is_pausing()) else {
            return Err(self.unavailable());
        };
        let began = Instant::now();
        let Ok(answer) = tokio::time::timeout(limit, question(directory)).await else {
            meters::directory_answered(began.elapsed(), false);
            let reason = format!("no answer within {} ms", limit.as_millis());
            let error = DirectoryError::Unavailable { directory: self.location.clone(), reason };
            if matches!(lane, Lane::LookUp | Lane::Reserved) {
                self.failed(&error.to_string());
            }
            return Err(error);
        };
        meters::directory_answered(began.elapsed(), answer.is_ok());
        match &answer {
            Err(error @ (DirectoryError::Unavailable { .. } | DirectoryError::Damaged { .. }))
                if lane != Lane::Check =>
            {
                self.failed(&error.to_string());
            }
            Err(
                DirectoryError::Unavailable { .. } | DirectoryError::Damaged { .. } | DirectoryError::Crowded { .. },
            ) => {}
            // A directory that leaves checks to us was not asked at all.
            _ if lane == Lane::Check => {}
            _ => self.answered(),
        }
        answer
    }

    /// Has something written. It is never abandoned half-way: when `WRITING` is over it goes on by itself, and `None` says that nobody knows how
    /// it will end. A writer that waits for another one says nothing about the directory's health.
    pub async fn write<T, F, A>(&self, work: F) -> Option<Result<T, DirectoryError>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Directory>) -> A,
        A: Future<Output = Result<T, DirectoryError>> + Send + 'static,
    {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(directory) = directory else {
            return Some(Err(self.unavailable()));
        };
        let task = tokio::spawn(work(directory));
        tokio::time::timeout(WRITING, task).await.ok()?.ok()
    }

    fn lane(&self, wanted: Lane) -> &Semaphore {
        let [look_up, reserved, listing, check] = &self.lanes;
        match wanted {
            Lane::LookUp => look_up,
            Lane::Reserved => reserved,
            Lane::Listing => listing,
            Lane::Check => check,
        }
    }

    /// Why it can only be read now, and what to do.
    #[must_use]
    pub fn read_only(&self) -> Option<String> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .and_then(|directory| directory.read_only())
    }

    /// For how long its changes have not come, and why; `None`: they come, as far as it is known.
    #[must_use]
    pub fn not_followed(&self) -> Option<(Duration, String)> {
        self.directory().and_then(|directory| directory.not_followed())
    }

    /// Each server of the directory and whether it answers.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerReport> {
        self.directory().map(|directory| directory.servers()).unwrap_or_default()
    }

    /// Notes a failure that was noticed elsewhere (it could not be opened).
    pub fn failed(&self, reason: &str) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let news = health.reachable || health.error.as_ref().is_none_or(|(old, _)| old != reason);
        if health.reachable {
            health.reachable = false;
            health.since = SystemTime::now();
        }
        health.error = Some((reason.into(), SystemTime::now()));
        health.failed = Some(Instant::now());
        drop(health);
        meters::directory_up(false);
        if news {
            tracing::warn!(
                directory = self.location,
                reason,
                "the directory does not answer; known entries are served from memory"
            );
        }
    }

    fn answered(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.failed = None;
        if !health.reachable {
            health.reachable = true;
            health.since = SystemTime::now();
            drop(health);
            meters::directory_up(true);
            tracing::info!(directory = self.location, "the directory answers");
        }
    }

    /// Waits until questions are asked again. For a person, who would be refused for no more than the bad luck of coming right after a failure.
    pub async fn end_of_pause(&self) {
        let left = self.pause_left();
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
    }

    fn is_pausing(&self) -> bool {
        !self.pause_left().is_zero()
    }

    fn pause_left(&self) -> Duration {
        let failed = self.health.lock().unwrap_or_else(PoisonError::into_inner).failed;
        failed.map_or(Duration::ZERO, |failed| PAUSE.saturating_sub(failed.elapsed()))
    }

    /// What to say without asking.
    #[must_use]
    pub fn unavailable(&self) -> DirectoryError {
        let reason = self.health().error.map_or_else(|| "it is not open".into(), |(reason, _)| reason);
        DirectoryError::Unavailable { directory: self.location.clone(), reason }
    }

    /// The entry if it keeps the rules; else it is put on the list.
    pub(super) fn valid<T>(&self, entry: Entry<T>) -> Option<T> {
        match entry {
            Entry::Valid(value) => Some(value),
            Entry::Quarantined(quarantined) => {
                self.note_quarantined(quarantined);
                None
            }
        }
    }

    /// Puts an entry on the list of what is not served; the log says so once.
    pub fn note_quarantined(&self, entry: Quarantined) {
        let (kind, name, id, reason) = (entry.kind, entry.name.clone(), entry.id, entry.reason.clone());
        if self.quarantine.add(entry) {
            let kind = if kind == Kind::Login { "login" } else { "group" };
            tracing::warn!(kind, name, id, reason, "not served: quarantined");
        }
    }
}
