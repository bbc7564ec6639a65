//! Answers that are kept: positive and negative lifetimes, joined loads, stale while refreshing.
//!
//! A load that began before an invalidation never puts its old value back after it. Every load is a *flight* with a ticket in one
//! table; invalidating a key takes its flight out of the table and its value out of the cache under the same lock, and a landing flight
//! stores its value under that lock only while its ticket is still in the table. So whoever asks after the invalidation starts a new load;
//! whoever asked before gets a value that was true at some moment of its call.

mod key;
mod source;

pub use key::{GroupAnswer, Key, LoginAnswer, Value};
pub use source::{Health, Lane, Patience, Source};

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use async_trait::async_trait;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::SshKey;
use tokio::sync::{Mutex, watch};

use crate::config;
use crate::directory::{Change, DirectoryError};
use crate::telemetry::meters::CacheMeters;

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It exists.
    Found(T),
    /// It does not: certain.
    Absent,
    /// It could not be found out, for this reason.
    Unknown(String),
}

impl<T> Answer<T> {
    /// The same answer about something made of the entry.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Found(value) => Answer::Found(with(value)),
            Self::Absent => Answer::Absent,
            Self::Unknown(reason) => Answer::Unknown(reason),
        }
    }
}

type Outcome = Result<Option<Value>, DirectoryError>;

/// The cache in front of a directory.
#[derive(Debug)]
pub struct Cache {
    source: Arc<Source>,
    kept: moka::future::Cache<Key, Kept>,
    absent: moka::future::Cache<Key, Instant>,
    flights: Mutex<HashMap<Key, Flight>>,
    tickets: AtomicU64,
    epoch: AtomicU64,
    lifetimes: RwLock<config::Cache>,
    meters: CacheMeters,
    witness: OnceLock<Arc<dyn Witness>>,
}

/// Keeps something of the directory elsewhere, and must hear of changes before they count as applied.
#[async_trait]
pub trait Witness: std::fmt::Debug + Send + Sync {
    /// These entries may have changed.
    async fn changed(&self, changes: &[Change]);

    /// Everything may have changed.
    async fn doubt(&self);
}

#[derive(Debug, Clone)]
struct Kept {
    value: Value,
    loaded: Instant,
}

#[derive(Debug)]
struct Flight {
    ticket: u64,
    landed: watch::Receiver<Option<Outcome>>,
}

/// Loads under way at one time; more than that is an attack with invented names, and waits in nobody's memory.
const MAX_FLIGHTS: usize = 4096;
/// Beyond those, for authentication and root.
const RESERVED_FLIGHTS: usize = 1024;

impl Cache {
    /// An empty cache in front of `source`. The capacities of `config` hold for its life, the lifetimes can be changed.
    #[must_use]
    pub fn new(source: Arc<Source>, config: config::Cache) -> Arc<Self> {
        Arc::new(Self {
            source,
            kept: moka::future::Cache::builder()
                .max_capacity(config.capacity_mib * 1024 * 1024)
                .weigher(|_, kept: &Kept| kept.value.weight())
                .build(),
            absent: moka::future::Cache::new(config.absent_entries),
            flights: Mutex::default(),
            tickets: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            lifetimes: RwLock::new(config),
            meters: CacheMeters::new(),
            witness: OnceLock::new(),
        })
    }

    /// The directory behind.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// How often what happened.
    #[must_use]
    pub fn meters(&self) -> &CacheMeters {
        &self.meters
    }

    /// Tells this one of changes as well; only the first is told.
    pub fn tell(&self, witness: Arc<dyn Witness>) {
        let _ = self.witness.set(witness);
    }

    /// New lifetimes, for entries already here too.
    pub fn set_lifetimes(&self, config: config::Cache) {
        *self.lifetimes.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Grows with every change that is applied: what was made of the directory's answers before is old.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Entries that exist, and names and ids remembered as absent.
    pub async fn sizes(&self) -> (u64, u64) {
        self.kept.run_pending_tasks().await;
        self.absent.run_pending_tasks().await;
        (self.kept.entry_count(), self.absent.entry_count())
    }

    /// The login of this name.
    pub async fn login_by_name(
        self: &Arc<Self>,
        name: &LoginName,
        wait: impl Into<Patience>,
    ) -> Answer<Arc<LoginAnswer>> {
        self.login(Key::LoginByName(name.clone()), wait.into()).await
    }

    /// The login of this uid.
    pub async fn login_by_uid(self: &Arc<Self>, uid: UserId, wait: impl Into<Patience>) -> Answer<Arc<LoginAnswer>> {
        self.login(Key::LoginByUid(uid), wait.into()).await
    }

    async fn login(self: &Arc<Self>, key: Key, wait: Patience) -> Answer<Arc<LoginAnswer>> {
        match self.entry(key, wait).await {
            Answer::Found(Value::Login(login)) => Answer::Found(login),
            other => wrong_kind(Some(other)),
        }
    }

    /// The group of this name.
    pub async fn group_by_name(
        self: &Arc<Self>,
        name: &GroupName,
        wait: impl Into<Patience>,
    ) -> Answer<Arc<GroupAnswer>> {
        self.group(Key::GroupByName(name.clone()), wait.into()).await
    }

    /// The group of this gid.
    pub async fn group_by_gid(self: &Arc<Self>, gid: GroupId, wait: impl Into<Patience>) -> Answer<Arc<GroupAnswer>> {
        self.group(Key::GroupByGid(gid), wait.into()).await
    }

    async fn group(self: &Arc<Self>, key: Key, wait: Patience) -> Answer<Arc<GroupAnswer>> {
        match self.entry(key, wait).await {
            Answer::Found(Value::Group(group)) => Answer::Found(group),
            other => wrong_kind(Some(other)),
        }
    }

    /// All groups of a login, the primary first.
    pub async fn gids_of(self: &Arc<Self>, name: &LoginName, wait: impl Into<Patience>) -> Answer<Arc<[GroupId]>> {
        match self.login_by_name(name, wait).await {
            Answer::Found(login) => login.gids.clone().map_or_else(|| wrong_kind(None), Answer::Found),
            Answer::Absent => Answer::Absent,
            Answer::Unknown(reason) => Answer::Unknown(reason),
        }
    }

    /// The keys of a login.
    pub async fn ssh_keys(self: &Arc<Self>, name: &LoginName, wait: impl Into<Patience>) -> Answer<Arc<[SshKey]>> {
        match self.entry(Key::SshKeys(name.clone()), wait.into()).await {
            Answer::Found(Value::SshKeys(keys)) => Answer::Found(keys),
            other => wrong_kind(Some(other)),
        }
    }

    async fn entry(self: &Arc<Self>, key: Key, Patience { wait, lane }: Patience) -> Answer<Value> {
        let now = Instant::now();
        let (positive, negative, stale) = {
            let lifetimes = self.lifetimes.read().unwrap_or_else(PoisonError::into_inner);
            (lifetimes.positive.0, lifetimes.negative.0, lifetimes.stale.0)
        };
        if let Some(kept) = self.kept.get(&key).await {
            let age = now.saturating_duration_since(kept.loaded);
            if age < positive {
                self.meters.hit();
                return Answer::Found(kept.value);
            }
            if age < stale {
                self.meters.stale();
                // The refresh goes on by itself; nobody waits for it.
                let _ = self.start(key, lane).await;
                return Answer::Found(kept.value);
            }
        }
        if let Some(since) = self.absent.get(&key).await
            && now.saturating_duration_since(since) < negative
        {
            self.meters.hit();
            return Answer::Absent;
        }
        self.meters.miss();
        let Some(mut landed) = self.start(key, lane).await else {
            return Answer::Unknown(format!("more than {MAX_FLIGHTS} look-ups are waiting for the directory"));
        };
        let arrived = tokio::time::timeout(wait, landed.wait_for(Option::is_some)).await;
        match arrived.map(|result| result.map(|outcome| outcome.clone())) {
            Ok(Ok(Some(Ok(Some(value))))) => Answer::Found(value),
            Ok(Ok(Some(Ok(None)))) => Answer::Absent,
            Ok(Ok(Some(Err(error)))) => Answer::Unknown(error.to_string()),
            Ok(Ok(None) | Err(_)) => Answer::Unknown("the look-up was given up".into()),
            Err(_) => Answer::Unknown(format!("the directory did not answer within {} ms", wait.as_millis())),
        }
    }

    /// Joins the load of this key that is under way, or starts one. `None`: too many are under way.
    async fn start(self: &Arc<Self>, key: Key, lane: Lane) -> Option<watch::Receiver<Option<Outcome>>> {
        let mut flights = self.flights.lock().await;
        if let Some(flight) = flights.get(&key)
            // The other end is gone only when its task panicked.
            && flight.landed.has_changed().is_ok()
        {
            self.meters.joined();
            return Some(flight.landed.clone());
        }
        let most = if lane == Lane::Reserved { MAX_FLIGHTS + RESERVED_FLIGHTS } else { MAX_FLIGHTS };
        if flights.len() >= most {
            return None;
        }
        let (tell, landed) = watch::channel(None);
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        flights.insert(key.clone(), Flight { ticket, landed: landed.clone() });
        drop(flights);
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = key.load(&cache.source, lane).await;
            cache.land(&key, ticket, &outcome).await;
            let next = outcome.iter().flatten().flat_map(Key::follow_up).collect::<Vec<_>>();
            let _ = tell.send(Some(outcome));
            cache.follow(next, lane).await;
        });
        Some(landed)
    }

    /// Loads what is not here yet.
    fn follow(self: Arc<Self>, keys: Vec<Key>, lane: Lane) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            for key in keys {
                if !self.kept.contains_key(&key) && !self.absent.contains_key(&key) {
                    self.start(key, lane).await;
                }
            }
        })
    }

    async fn land(&self, key: &Key, ticket: u64, outcome: &Outcome) {
        let mut flights = self.flights.lock().await;
        if flights.get(key).is_none_or(|flight| flight.ticket != ticket) {
            return;
        }
        flights.remove(key);
        let loaded = Instant::now();
        match outcome {
            Ok(Some(value)) => {
                self.absent.invalidate(key).await;
                self.kept.insert(key.clone(), Kept { value: value.clone(), loaded }).await;
            }
            Ok(None) => {
                self.kept.invalidate(key).await;
                self.absent.insert(key.clone(), loaded).await;
            }
            // What was there stays, for as long as `stale` says.
            Err(_) => {}
        }
    }

    /// Drops what these changes may have altered, and nothing else. The feed names every entry concerned: a new member of a group is a
    /// change of the group and one of the login (`schema/sql/sqlite/0003_feed.sql`).
    pub async fn apply(&self, changes: &[Change]) {
        if let Some(witness) = self.witness.get() {
            witness.changed(changes).await;
        }
        let mut keys = Vec::with_capacity(changes.len() * 4);
        for change in changes {
            Key::altered_by(change, &mut keys);
        }
        let mut flights = self.flights.lock().await;
        for key in &keys {
            flights.remove(key);
            self.kept.invalidate(key).await;
            self.absent.invalidate(key).await;
        }
        self.epoch.fetch_add(1, Ordering::Release);
        self.meters.invalidated(keys.len() as u64);
    }

    /// What is kept elsewhere may have changed while nobody listened.
    pub async fn doubt(&self) {
        if let Some(witness) = self.witness.get() {
            witness.doubt().await;
        }
    }

    /// Drops everything: the feed cannot say what has changed.
    pub async fn flush(&self) {
        self.doubt().await;
        let mut flights = self.flights.lock().await;
        flights.clear();
        self.kept.invalidate_all();
        self.absent.invalidate_all();
        self.epoch.fetch_add(1, Ordering::Release);
        self.meters.flushed();
    }
}

fn wrong_kind<T>(answer: Option<Answer<Value>>) -> Answer<T> {
    match answer {
        Some(Answer::Absent) => Answer::Absent,
        Some(Answer::Unknown(reason)) => Answer::Unknown(reason),
        Some(Answer::Found(_)) | None => Answer::Unknown("the cache holds another kind of entry under this key".into()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
