//! Logins while the directory is away: after a successful verification this host keeps a verifier of its own and what the account stage needs.
//!
//! It is used only when the directory cannot be reached. A change of a login that has been received makes its record suspect at once, before the
//! change counts as applied: nobody enters by a suspect record. Then the directory is asked, and the record is refreshed or dropped.

mod key;
mod recheck;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::{GroupName, LoginName};
use schema::record::{Login, Status};
use schema::wire::message::Secret;
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use self::key::{HostKey, SALT, VERIFIER};
use self::store::Store;
use super::Pool;
use crate::cache::{Source, Witness};
use crate::directory::{Change, Kind};

pub use self::key::OfflineError;

/// Wrong passwords of one login at once, then one attempt each pause. A right one fills it again.
const ATTEMPTS: f64 = 5.0;
const PAUSE: Duration = Duration::from_secs(60);
/// A record that was verified less long ago is not written again for a newer time alone.
const FRESH: u64 = 3600;
/// Computed at one time, whatever the number of processors: each takes 19 MiB, and the unit has 1 GiB (`MemoryMax=`).
const AT_ONCE: usize = 8;
/// For so long a received change keeps a verification that began before it from being stored.
const RECENT: Duration = Duration::from_secs(120);

/// What the account stage needs to know of a login.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// The login as the directory had it.
    pub login: Login,
    /// All its groups, the primary first.
    pub gids: Vec<GroupId>,
    /// The names of all of them; `None`: some are not known, so `[access]` cannot be judged by them.
    pub groups: Option<Vec<GroupName>>,
}

/// What is kept of one login.
#[derive(Clone)]
struct Record {
    facts: Arc<Facts>,
    salt: [u8; SALT],
    verifier: Zeroizing<[u8; VERIFIER]>,
    /// Of the hash that was verified; `None`: the directory gives no hashes.
    mark: Option<[u8; 32]>,
    /// When the password was last verified with the directory, in seconds of Unix.
    verified: u64,
    /// When it ends, as the directory said then.
    ends: Option<u64>,
    /// Not to be used until it has been compared with the directory.
    suspect: bool,
}

/// A successful verification.
#[derive(Debug)]
pub struct Seen {
    /// Of which hash; `None`: the directory gives no hashes.
    pub hash: Option<PasswordHash>,
    /// The password.
    pub password: Secret,
    /// The password ends after this, as far as the directory says so.
    pub ends_in: Option<Duration>,
    /// When it began: a change that was received since may be another password.
    pub began: Instant,
}

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

/// Verification without the directory.
pub struct Verifiers {
    kept: Option<Kept>,
    source: Arc<Source>,
    state: Mutex<State>,
    wake: Notify,
    turns: Semaphore,
}

struct Kept {
    key: Arc<HostKey>,
    store: Store,
}

#[derive(Default)]
struct State {
    records: HashMap<LoginName, Record>,
    /// To be compared with the directory.
    queue: HashSet<LoginName>,
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
    /// Opens `host.key` and `offline.db` in a folder, or makes them. What it finds is compared with the directory when that answers.
    ///
    /// # Errors
    /// A file cannot be used: with what to do.
    pub async fn open(folder: &Path, source: Arc<Source>) -> Result<Arc<Self>, OfflineError> {
        let key = HostKey::open(&folder.join("host.key"))?;
        let (store, records) = Store::open(&folder.join("offline.db"), &key).await?;
        let queue = records.iter().map(|(name, _)| name.clone()).collect();
        let state = State { records: records.into_iter().collect(), queue, ..State::default() };
        let kept = Some(Kept { key: Arc::new(key), store });
        Ok(Arc::new(Self::of(kept, source, state)))
    }

    /// Keeps nothing and knows nobody.
    #[must_use]
    pub fn none(source: Arc<Source>) -> Arc<Self> {
        Arc::new(Self::of(None, source, State::default()))
    }

    fn of(kept: Option<Kept>, source: Arc<Source>, state: State) -> Self {
        Self { kept, source, state: Mutex::new(state), wake: Notify::new(), turns: Semaphore::new(AT_ONCE) }
    }

    /// The verifier of a password; `None`: its turn did not come, `Some(None)`: it cannot be computed.
    async fn compute(
        &self,
        kept: &Kept,
        password: Secret,
        salt: [u8; SALT],
        pool: &Pool,
    ) -> Option<Option<Zeroizing<[u8; VERIFIER]>>> {
        let _turn = self.turns.acquire().await.ok()?;
        let key = Arc::clone(&kept.key);
        pool.run(move || key.verifier(password.expose(), &salt)).await
    }

    /// How many logins could enter while the directory is away.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().records.values().filter(|record| !record.suspect).count()
    }

    /// What is known of a login that was verified at most `days` ago, while the directory cannot be reached.
    #[must_use]
    pub fn facts(&self, name: &LoginName, days: u32) -> Option<Arc<Facts>> {
        if self.source.health().reachable {
            return None;
        }
        self.usable(name, days).ok().map(|record| record.facts)
    }

    /// The same by uid.
    #[must_use]
    pub fn facts_of_uid(&self, uid: schema::id::UserId, days: u32) -> Option<Arc<Facts>> {
        if self.kept.is_none() || self.source.health().reachable {
            return None;
        }
        let state = self.state();
        let name = state.records.values().find(|record| record.facts.login.uid == uid)?.facts.login.name.clone();
        drop(state);
        self.facts(&name, days)
    }

    fn usable(&self, name: &LoginName, days: u32) -> Result<Record, &'static str> {
        let state = self.state();
        let record = state.records.get(name).ok_or("it has not logged in on this host with a password")?;
        if days == 0 {
            Err("[auth] offline_days is 0")
        } else if record.suspect {
            Err("it has been changed, and the directory could not be asked how")
        } else if now().saturating_sub(record.verified) > u64::from(days) * 86_400 {
            Err("its last login on this host is longer ago than [auth] offline_days")
        } else if record.ends.is_some_and(|ends| now() >= ends) {
            Err("its password has ended since")
        } else {
            Ok(record.clone())
        }
    }

    /// Verifies a password without the directory. Takes the same time whatever the answer.
    pub async fn verify(&self, name: Option<&LoginName>, password: Secret, days: u32, pool: &Pool) -> Offline {
        let Some(kept) = &self.kept else { return Offline::Unknown("this host keeps no verifiers") };
        let found = match name {
            Some(name) => self.usable(name, days).and_then(|record| {
                if record.facts.login.status == Status::Active { Ok(record) } else { Err("it was locked") }
            }),
            None => Err("no such name"),
        };
        let may = found.is_err() || name.is_none_or(|name| self.state().take_attempt(name));
        let salt = found.as_ref().map_or([0; SALT], |record| record.salt);
        let made = self.compute(kept, password, salt, pool).await;
        let (record, made) = match (found, made) {
            (_, None) => return Offline::Crowded,
            (Err(reason), _) => return Offline::Unknown(reason),
            (Ok(_), _) if !may => return Offline::TooMany,
            (Ok(_), Some(None)) => return Offline::Unknown("the verifier could not be computed"),
            (Ok(record), Some(Some(made))) => (record, made),
        };
        if !super::same(&*made, &*record.verifier) {
            return Offline::Wrong;
        }
        // A change may have come while it was computed.
        let still = name.is_some_and(|name| self.usable(name, days).is_ok_and(|now| now.verifier == record.verifier));
        if !still {
            return Offline::Unknown("it has just been changed");
        }
        if let Some(name) = name {
            self.state().attempts.remove(name);
        }
        Offline::Right
    }

    /// Keeps what a successful verification has shown.
    pub async fn remember(&self, facts: Facts, seen: Seen, pool: &Pool) {
        let Some(kept) = &self.kept else { return };
        let Seen { hash, password, ends_in, began } = seen;
        let name = facts.login.name.clone();
        let mark = hash.map(|hash| kept.key.mark_of(&hash));
        let ends = ends_in.map(|left| now().saturating_add(left.as_secs()));
        let old = self.state().records.get(&name).filter(|old| old.mark.is_some() && old.mark == mark).cloned();
        let record = match old {
            // The same password: only what is known of it may be newer.
            Some(old) if !old.suspect && *old.facts == facts && now().saturating_sub(old.verified) < FRESH => return,
            Some(old) => Record { facts: Arc::new(facts), verified: now(), ends, suspect: false, ..old },
            None => {
                let Some(salt) = HostKey::salt() else { return };
                let made = self.compute(kept, password, salt, pool).await;
                let Some(Some(verifier)) = made else { return };
                Record { facts: Arc::new(facts), salt, verifier, mark, verified: now(), ends, suspect: false }
            }
        };
        {
            let mut state = self.state();
            // What has been received since then may be another password.
            if state.changed.get(&name).is_some_and(|at| *at >= began) || state.doubted.is_some_and(|at| at >= began) {
                return;
            }
            state.attempts.remove(&name);
            state.records.insert(name.clone(), record.clone());
        }
        kept.store.keep(&name, &record).await;
        self.settle(&name, kept).await;
    }

    /// Keeps nothing of this login any more: its password may be used, but not without what the directory has to say of it.
    pub async fn forget(&self, name: &LoginName) {
        let Some(kept) = &self.kept else { return };
        let known = {
            let mut state = self.state();
            // What is being computed is of no use either.
            state.changed.insert(name.clone(), Instant::now());
            state.queue.remove(name);
            state.records.remove(name).is_some()
        };
        if known {
            kept.store.drop(name).await;
        }
    }

    /// Writes what is in memory, if it has changed while something else was being written.
    async fn settle(&self, name: &LoginName, kept: &Kept) {
        let now = self.state().records.get(name).cloned();
        match now {
            Some(record) if record.suspect => kept.store.keep(name, &record).await,
            Some(_) => {}
            None => kept.store.drop(name).await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Witness for Verifiers {
    async fn changed(&self, changes: &[Change]) {
        let Some(kept) = &self.kept else { return };
        let touched: Vec<LoginName> = {
            let mut state = self.state();
            let at = Instant::now();
            state.changed.retain(|_, seen| seen.elapsed() < RECENT);
            let mut touched = Vec::new();
            for change in changes.iter().filter(|change| change.kind == Kind::Login) {
                let Ok(name) = change.name.parse::<LoginName>() else { continue };
                state.changed.insert(name.clone(), at);
                touched.extend(state.doubt(name));
            }
            touched
        };
        if !touched.is_empty() {
            kept.store.suspect(Some(&touched)).await;
            self.wake.notify_one();
        }
    }

    async fn doubt(&self) {
        let Some(kept) = &self.kept else { return };
        {
            let mut state = self.state();
            state.doubted = Some(Instant::now());
            let names: Vec<LoginName> = state.records.keys().cloned().collect();
            for name in names {
                state.doubt(name);
            }
        }
        kept.store.suspect(None).await;
        self.wake.notify_one();
    }
}

impl State {
    /// Makes a record suspect; its name, if there is one.
    fn doubt(&mut self, name: LoginName) -> Option<LoginName> {
        let record = self.records.get_mut(&name)?;
        record.suspect = true;
        self.queue.insert(name.clone());
        Some(name)
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

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
