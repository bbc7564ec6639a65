//! Logins while the directory is away: this host keeps what the account stage and sshd need of those who have entered it, and a verifier of the password
//! of those who came with one.
//!
//! It is used only when the directory cannot be reached. A change of a login that has been received makes its record suspect at once, before the
//! change counts as applied: nobody enters by a suspect record. Then the directory is asked, and the record is refreshed or dropped.

mod enter;
mod key;
mod recheck;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use schema::id::UserId;
use schema::name::LoginName;
use schema::record::Status;
use schema::wire::message::Secret;
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use self::key::{HostKey, SALT, VERIFIER};
use self::record::{Record, Records, Verifier};
use self::store::Store;
use super::Pool;
use crate::cache::{Source, Witness};
use crate::directory::{Change, Kind};

pub use self::enter::{Groups, Seen};
pub use self::key::OfflineError;
pub use self::record::Facts;

/// Wrong passwords of one login at once, then one attempt each pause. A right one fills it again.
const ATTEMPTS: f64 = 5.0;
const PAUSE: Duration = Duration::from_secs(60);
/// Computed at one time, whatever the number of processors: each takes 19 MiB, and the unit has 1 GiB (`MemoryMax=`).
const AT_ONCE: usize = 8;
/// For so long a received change keeps a verification that began before it from being stored.
const RECENT: Duration = Duration::from_secs(120);
/// Most records without a verifier: some 1 KiB each, and its keys.
const MOST: usize = 20_000;
/// Records that are written together. A change that is received meanwhile waits for them: some milliseconds.
const TOGETHER: usize = 64;
/// For marking records on the disk before a change counts as applied.
const DISK_WAIT: Duration = Duration::from_secs(5);
/// In the folder: the key, the records, and what SQLite leaves beside them.
const KEY_FILE: &str = "host.key";
const RECORDS_FILE: &str = "offline.db";
const JOURNAL_FILE: &str = "offline.db-journal";

/// The answer about a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// It is the one that was right when the directory was last asked.
    Right,
    /// It is not.
    Wrong,
    /// Too many attempts with this login.
    TooMany,
    /// This host keeps nothing that could be used, for this reason.
    Unknown(&'static str),
    /// Its turn in the queue did not come.
    Crowded,
}

/// How many logins could enter while the directory is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// All of them: by key, by cron.
    pub logins: usize,
    /// Those with a password that can be verified.
    pub with_password: usize,
}

/// Verification without the directory.
pub struct Verifiers {
    source: Arc<Source>,
    state: Mutex<State>,
    wake: Notify,
    turns: Semaphore,
    /// The disk has not taken something in time: nobody waits for it until it has taken all.
    slow: AtomicBool,
}

/// Both files.
struct Kept {
    key: HostKey,
    store: Store,
}

#[derive(Default)]
struct State {
    /// `None`: this host keeps nothing.
    kept: Option<Arc<Kept>>,
    records: Records,
    /// To be compared with the directory; with the groups of a login that has just entered.
    queue: HashMap<LoginName, Option<Groups>>,
    /// To be written.
    dirty: HashSet<LoginName>,
    /// Changes received lately.
    changed: HashMap<LoginName, Instant>,
    /// When everything became doubtful.
    doubted: Option<Instant>,
    attempts: HashMap<LoginName, (f64, Instant)>,
}

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifiers").field("records", &self.count()).finish_non_exhaustive()
    }
}

impl Verifiers {
    /// Keeps nothing and knows nobody, until it is told to.
    #[must_use]
    pub fn none(source: Arc<Source>) -> Arc<Self> {
        Arc::new(Self {
            source,
            state: Mutex::default(),
            wake: Notify::new(),
            turns: Semaphore::new(AT_ONCE),
            slow: AtomicBool::new(false),
        })
    }

    /// Opens `host.key` and `offline.db` in a folder, or makes them. What it finds is compared with the directory when that answers.
    ///
    /// # Errors
    /// A file cannot be used: with what to do.
    pub async fn open(&self, folder: &Path) -> Result<(), OfflineError> {
        let key = HostKey::open(&folder.join(KEY_FILE))?;
        let (store, records) = Store::open(&folder.join(RECORDS_FILE), &key).await?;
        let mut state = State { kept: Some(Arc::new(Kept { key, store })), ..State::default() };
        for (name, record) in records {
            state.queue.insert(name.clone(), None);
            let gone = state.records.insert(name, record, MOST);
            state.dirty.extend(gone);
        }
        *self.state() = state;
        self.wake.notify_one();
        Ok(())
    }

    /// Whether it keeps anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state().kept.is_some()
    }

    /// Forgets everybody and removes the files, the key too: what a copy of the records says is worth nothing then.
    ///
    /// Whether there was any.
    ///
    /// # Errors
    /// A file is still there: the first one. The others are gone.
    pub async fn close(&self, folder: &Path) -> Result<bool, OfflineError> {
        let was = std::mem::take(&mut *self.state());
        if let Some(kept) = was.kept {
            kept.store.close().await;
        }
        let mut result = Ok(false);
        for file in [RECORDS_FILE, JOURNAL_FILE, KEY_FILE] {
            let path = folder.join(file);
            result = match std::fs::remove_file(&path) {
                Ok(()) => result.map(|_| true),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => result,
                Err(error) => result.and_then(|_| Err(key::unusable(&path, format!("it cannot be removed: {error}")))),
            };
        }
        result
    }

    /// How many logins could enter while the directory is away.
    #[must_use]
    pub fn count(&self) -> Count {
        let state = self.state();
        let usable = || state.records.iter().filter(|(_, record)| !record.suspect);
        Count {
            logins: usable().count(),
            with_password: usable().filter(|(_, record)| record.verifier.is_some()).count(),
        }
    }

    /// What is known of a login that has entered this host at most `days` ago, while the directory cannot be reached.
    #[must_use]
    pub fn facts(&self, name: &LoginName, days: u32) -> Option<Arc<Facts>> {
        if self.source.is_reachable() {
            return None;
        }
        self.state().records.get(name)?.facts(days).ok().cloned()
    }

    /// The same by uid.
    #[must_use]
    pub fn facts_of_uid(&self, uid: UserId, days: u32) -> Option<Arc<Facts>> {
        if self.source.is_reachable() {
            return None;
        }
        self.state().records.of_uid(uid)?.facts(days).ok().cloned()
    }

    /// Verifies a password without the directory. Takes the same time whatever the answer.
    pub async fn verify(&self, name: Option<&LoginName>, password: Secret, days: u32, pool: &Pool) -> Offline {
        let Some(kept) = self.kept() else { return Offline::Unknown("this host keeps no verifiers") };
        let found = match name {
            Some(name) => self.verifier_of(name, days),
            None => Err("no such name"),
        };
        let may = found.is_err() || name.is_none_or(|name| self.state().take_attempt(name));
        let salt = found.as_ref().map_or([0; SALT], |verifier| verifier.salt);
        let made = self.compute(&kept, password, salt, pool).await;
        let (verifier, made) = match (found, made) {
            (_, None) => return Offline::Crowded,
            (Err(reason), _) => return Offline::Unknown(reason),
            (Ok(_), _) if !may => return Offline::TooMany,
            (Ok(_), Some(None)) => return Offline::Unknown("the verifier could not be computed"),
            (Ok(verifier), Some(Some(made))) => (verifier, made),
        };
        if !super::same(&*made, &*verifier.bytes) {
            return Offline::Wrong;
        }
        // A change may have come while it was computed.
        let still = name.is_some_and(|name| self.verifier_of(name, days).is_ok_and(|now| now.bytes == verifier.bytes));
        if !still {
            return Offline::Unknown("it has just been changed");
        }
        if let Some(name) = name {
            self.state().attempts.remove(name);
        }
        Offline::Right
    }

    fn verifier_of(&self, name: &LoginName, days: u32) -> Result<Verifier, &'static str> {
        let state = self.state();
        let record = state.records.get(name).ok_or("it has not logged in on this host")?;
        let verifier = record.verifier(days)?.clone();
        if record.facts.login.status == Status::Active { Ok(verifier) } else { Err("it was locked") }
    }

    /// The verifier of a password; `None`: its turn did not come, `Some(None)`: it cannot be computed.
    async fn compute(
        &self,
        kept: &Arc<Kept>,
        password: Secret,
        salt: [u8; SALT],
        pool: &Pool,
    ) -> Option<Option<Zeroizing<[u8; VERIFIER]>>> {
        let _turn = self.turns.acquire().await.ok()?;
        let kept = Arc::clone(kept);
        pool.run(move || kept.key.verifier(password.expose(), &salt)).await
    }

    /// Writes what has to be written, as it is by then. Whether that worked: if not, [`Verifiers::watch`] tries again.
    async fn save(&self, kept: &Arc<Kept>) -> bool {
        let saved = kept.store.save(|| self.state().take_dirty(kept)).await;
        let was_slow = self.slow.swap(false, Ordering::SeqCst);
        let Err(names) = saved else { return true };
        if was_slow {
            // It answers again, with an error: a restart must not believe what is there, as if it had been so at once.
            kept.store.suspect(Some(&names)).await;
        }
        self.still_dirty(kept, names);
        false
    }

    /// Has the mark of these records written, of all without names. `false`: it is not, and has to be; in memory they are marked already. What is published does not wait for a disk that is slow.
    async fn suspected(&self, kept: &Arc<Kept>, names: Option<&[LoginName]>) -> bool {
        if self.slow.load(Ordering::SeqCst) {
            return false;
        }
        let Ok(done) = tokio::time::timeout(DISK_WAIT, kept.store.suspect(names)).await else {
            self.slow.store(true, Ordering::SeqCst);
            tracing::warn!(
                "the disk is slow: who must not log in offline after a change is known here, and is noted when it takes it"
            );
            return false;
        };
        done
    }

    /// What could not be written has to be written yet.
    fn still_dirty(&self, kept: &Arc<Kept>, names: Vec<LoginName>) {
        let mut state = self.state();
        if state.is(kept) {
            state.dirty.extend(names);
            self.wake.notify_one();
        }
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        self.state().kept.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Witness for Verifiers {
    async fn changed(&self, changes: &[Change]) {
        let Some(kept) = self.kept() else { return };
        let touched: Vec<LoginName> = {
            let mut state = self.state();
            let at = Instant::now();
            state.changed.retain(|_, seen| seen.elapsed() < RECENT);
            let mut touched = Vec::new();
            for change in changes.iter().filter(|change| change.kind == Kind::Login) {
                let Ok(name) = change.name.parse::<LoginName>() else { continue };
                state.changed.insert(name.clone(), at);
                if state.doubt(&name) {
                    touched.push(name);
                }
            }
            touched
        };
        if !touched.is_empty() {
            if !self.suspected(&kept, Some(&touched)).await {
                self.still_dirty(&kept, touched);
            }
            self.wake.notify_one();
        }
    }

    async fn doubt(&self) {
        let Some(kept) = self.kept() else { return };
        let names = {
            let mut state = self.state();
            state.doubted = Some(Instant::now());
            let names: Vec<LoginName> = state.records.iter().map(|(name, _)| name.clone()).collect();
            for name in &names {
                state.doubt(name);
            }
            names
        };
        if !self.suspected(&kept, None).await {
            self.still_dirty(&kept, names);
        }
        self.wake.notify_one();
    }
}

impl State {
    /// Whether these files are still the ones that are kept.
    fn is(&self, kept: &Arc<Kept>) -> bool {
        self.kept.as_ref().is_some_and(|now| Arc::ptr_eq(now, kept))
    }

    /// Makes a record suspect; whether there is one.
    fn doubt(&mut self, name: &LoginName) -> bool {
        let known = self.records.doubt(name);
        if known {
            self.queue.entry(name.clone()).or_default();
        }
        known
    }

    /// Whether something was received since then that a question asked before does not know.
    fn has_changed_since(&self, name: &LoginName, asked: Instant) -> bool {
        self.changed.get(name).is_some_and(|at| *at >= asked) || self.doubted.is_some_and(|at| at >= asked)
    }

    /// Puts a record in the place of the one that is there. `None`: nothing is kept of it any more.
    fn put(&mut self, name: LoginName, record: Option<Record>) {
        if self.records.get(&name) == record.as_ref() {
            return;
        }
        match record {
            Some(record) => self.dirty.extend(self.records.insert(name.clone(), record, MOST)),
            None => drop(self.records.remove(&name)),
        }
        self.dirty.insert(name);
    }

    fn take_dirty(&mut self, kept: &Arc<Kept>) -> Vec<(LoginName, Option<Record>)> {
        if !self.is(kept) {
            return Vec::new();
        }
        let names: Vec<LoginName> = self.dirty.iter().take(TOGETHER).cloned().collect();
        let row = |name: LoginName| {
            self.dirty.remove(&name);
            let record = self.records.get(&name).cloned();
            (name, record)
        };
        names.into_iter().map(row).collect()
    }

    fn take_attempt(&mut self, name: &LoginName) -> bool {
        let refilled =
            |(left, at): (f64, Instant)| (left + at.elapsed().as_secs_f64() / PAUSE.as_secs_f64()).min(ATTEMPTS);
        let left = self.attempts.get(name).map_or(ATTEMPTS, |entry| refilled(*entry));
        let may = left >= 1.0;
        self.attempts.insert(name.clone(), (if may { left - 1.0 } else { left }, Instant::now()));
        may
    }
}
