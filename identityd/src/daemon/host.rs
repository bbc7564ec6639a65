//! What this server answers: the cache, seen through its local accounts and its configuration.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::packed::write;
use schema::record::{Group, Login};

use super::bind::Remarks;
use super::harden;
use super::own::Attempts;
use super::sweep::Census;
use super::trimmed::Trimmed;
use crate::auth::Pool;
use crate::auth::offline::{Facts, Verifiers};
use crate::cache::{Answer, Cache, GroupAnswer, LoginAnswer, Patience};
use crate::config::{Config, Loaded};
use crate::directory::{Kind, Quarantined};
use crate::feed::Feed;
use crate::fleet::Behind;
use crate::local::{Local, LocalFiles, Stamp};
use crate::quarantine::{self, Serving};
use crate::replica::{self, Replica, Rules};
use crate::server::{Limits, Pages, Reply};
use crate::telemetry::Telemetry;
use crate::telemetry::meters::RequestMeters;

/// For a question to a directory that is away, where this host has an answer of its own.
const HURRIED: Duration = Duration::from_millis(100);

/// Everything that requests share.
#[derive(Debug)]
pub struct Host {
    cache: Arc<Cache>,
    feed: Arc<Feed>,
    replica: Option<Arc<Replica>>,
    limits: Arc<Limits>,
    local_files: LocalFiles,
    local: RwLock<(Stamp, Arc<Local>)>,
    loaded: RwLock<Arc<Loaded>>,
    reloads: tokio::sync::Mutex<()>,
    /// Of the directory that is open: one that the file names meanwhile is opened by the next start only.
    meaning: Arc<str>,
    meters: RequestMeters,
    pub(super) telemetry: Telemetry,
    pub(super) started: Instant,
    pub(super) pool: Arc<Pool>,
    pub(super) offline: Arc<Verifiers>,
    pub(super) own_attempts: Attempts,
    pub(super) own_questions: Attempts,
    pub(super) remarks: Remarks,
    census: RwLock<Option<Census>>,
    trimmed: Trimmed,
    pub(crate) pages: Pages,
    behind: Behind,
}

/// What a [`Host`] is made of.
#[derive(Debug)]
pub struct HostParts {
    /// The cache in front of the directory.
    pub cache: Arc<Cache>,
    /// What notices changes.
    pub feed: Arc<Feed>,
    /// What is published; `None` in lookup mode.
    pub replica: Option<Arc<Replica>>,
    /// Where the local accounts are.
    pub local_files: LocalFiles,
    /// The configuration.
    pub loaded: Loaded,
    /// The pool of verifications.
    pub pool: Arc<Pool>,
    /// Logins while the directory is away.
    pub offline: Arc<Verifiers>,
    /// Logs and metrics.
    pub telemetry: Telemetry,
}

/// A login that this server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedLogin {
    /// The login.
    pub answer: Arc<LoginAnswer>,
    /// How.
    pub serving: Serving,
}

impl ServedLogin {
    /// What libc gets.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self.serving {
            Serving::Plain => Reply::shared(&self.answer.passwd),
            Serving::WithoutShell => Reply::owned(write::passwd(&quarantine::passwd(&self.answer.login, self.serving))),
        }
    }
}

impl Host {
    /// Puts the parts together and reads the local accounts.
    ///
    /// # Errors
    /// The local accounts cannot be read: without them a local name could be answered for.
    pub fn new(parts: HostParts) -> std::io::Result<Arc<Self>> {
        let stamp = parts.local_files.stamp();
        let local = Local::read(&parts.local_files)?;
        parts.cache.tell(Arc::clone(&parts.offline) as _);
        Ok(Arc::new(Self {
            cache: parts.cache,
            feed: parts.feed,
            replica: parts.replica,
            limits: Limits::new(parts.loaded.config.server.clone()),
            local_files: parts.local_files,
            local: RwLock::new((stamp, Arc::new(local))),
            meaning: parts.loaded.config.directory.meaning().into(),
            loaded: RwLock::new(Arc::new(parts.loaded)),
            reloads: tokio::sync::Mutex::default(),
            meters: RequestMeters::new(),
            telemetry: parts.telemetry,
            started: Instant::now(),
            pool: parts.pool,
            offline: parts.offline,
            own_attempts: Attempts::default(),
            own_questions: Attempts::default(),
            remarks: Remarks::default(),
            census: RwLock::default(),
            trimmed: Trimmed::default(),
            pages: Pages::default(),
            behind: Behind::default(),
        }))
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// For how long changes of the directory have not come, and why; `None`: they come, as far as it is known.
    #[must_use]
    pub fn not_followed(&self) -> Option<(Duration, String)> {
        let here = self.feed.stands_still().map(|(since, step)| {
            (since, format!("a step of following them came to no end ({step}); report it with the journal"))
        });
        let there = self.cache.source().not_followed();
        here.into_iter().chain(there).max_by_key(|(since, _)| *since)
    }

    /// Since when it has been behind the directory.
    #[must_use]
    pub fn behind(&self) -> &Behind {
        &self.behind
    }

    /// What is published; `None` in lookup mode.
    #[must_use]
    pub fn replica(&self) -> Option<&Arc<Replica>> {
        self.replica.as_ref()
    }

    /// The rules under which this server publishes and answers now.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let unknown_shell = self.loaded().config.quarantine.unknown_shell;
        Rules { local: self.local(), unknown_shell, meaning: Arc::clone(&self.meaning) }
    }

    /// The limits of the socket.
    #[must_use]
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The counters of requests.
    #[must_use]
    pub fn meters(&self) -> &RequestMeters {
        &self.meters
    }

    /// The configuration and where it is from.
    #[must_use]
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> impl std::ops::Deref<Target = Config> {
        ConfigRef(self.loaded())
    }

    /// The local accounts.
    #[must_use]
    pub fn local(&self) -> Arc<Local> {
        Arc::clone(&self.local.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// The state of the files that the local accounts were read from.
    #[must_use]
    pub fn local_stamp(&self) -> Stamp {
        self.local.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// What the last sweep found; `None`: none has come to its end yet.
    pub(super) fn census(&self) -> Option<Census> {
        self.census.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_census(&self, census: Census) {
        *self.census.write().unwrap_or_else(PoisonError::into_inner) = Some(census);
    }

    /// Where the local accounts are.
    #[must_use]
    pub fn local_files(&self) -> &LocalFiles {
        &self.local_files
    }

    /// Reads the local accounts again. What cannot be read leaves the old in force.
    ///
    /// # Errors
    /// Which file and why.
    pub fn read_local(&self) -> Result<(), String> {
        // Before the files: a change while we read makes another stamp, and is read again.
        let stamp = self.local_files.stamp();
        let local = Local::read(&self.local_files).map_err(|error| error.to_string())?;
        *self.local.write().unwrap_or_else(PoisonError::into_inner) = (stamp, Arc::new(local));
        self.feed.alter();
        Ok(())
    }

    /// Reads the configuration and the local accounts again. A configuration with a mistake leaves the old one in force.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn reload(&self) -> Result<(), String> {
        // One after the other: the last one decides.
        let _turn = self.reloads.lock().await;
        let path = self.loaded().path.clone();
        let result = self.read_config(&path);
        match &result {
            Ok(()) => {
                self.keep_offline().await;
                tracing::info!(config = %path.display(), "read the configuration and the local accounts again");
            }
            Err(reason) => tracing::error!(reason, "the new configuration was refused; the old one stays in force"),
        }
        result
    }

    fn read_config(&self, path: &Path) -> Result<(), String> {
        let mut loaded = Loaded::from_file(path).map_err(|error| error.to_string())?;
        self.read_local()?;
        harden::fit(&mut loaded.config.server);
        self.cache.set_lifetimes(loaded.config.cache.clone());
        self.limits.set(loaded.config.server.clone());
        self.pool.set(loaded.config.auth.clone());
        self.telemetry.set_level(loaded.config.log.level);
        if let Some(replica) = &self.replica {
            replica.show_to(loaded.config.snapshot.visibility);
        }
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    /// Lets through a removal of many logins that is held back.
    ///
    /// # Errors
    /// Nothing is held back.
    pub fn accept_removal(&self) -> Result<(), String> {
        let Some(replica) = &self.replica else {
            return Err("nothing is held back: there is no snapshot in lookup mode".into());
        };
        replica.accept().map_err(|error| error.to_string())?;
        self.feed.wake();
        Ok(())
    }

    /// The login of this name, if this server serves it.
    pub async fn login_by_name(&self, name: &LoginName, wait: impl Into<Patience>) -> Answer<ServedLogin> {
        if self.local().has_login(name.as_str()) {
            return Answer::Absent;
        }
        let facts = || self.offline.facts(name, self.offline_days());
        let answer = match self.cache.login_by_name(name, hurried(wait.into(), facts().is_some())).await {
            Answer::Unknown(reason) => kept(facts(), reason),
            answer => answer,
        };
        self.served(answer)
    }

    /// The login of this uid, if this server serves it.
    pub async fn login_by_uid(&self, uid: UserId, wait: impl Into<Patience>) -> Answer<ServedLogin> {
        if self.local().login_of_uid(uid.raw()).is_some() {
            return Answer::Absent;
        }
        let facts = || self.offline.facts_of_uid(uid, self.offline_days());
        let answer = match self.cache.login_by_uid(uid, hurried(wait.into(), facts().is_some())).await {
            Answer::Unknown(reason) => kept(facts(), reason),
            answer => answer,
        };
        self.served(answer)
    }

    pub(super) fn offline_days(&self) -> u32 {
        self.loaded().config.auth.offline_days
    }

    fn served(&self, answer: Answer<Arc<LoginAnswer>>) -> Answer<ServedLogin> {
        match answer {
            Answer::Found(answer) => match self.serving(&answer.login) {
                Ok(serving) => Answer::Found(ServedLogin { answer, serving }),
                Err(_) => Answer::Absent,
            },
            Answer::Absent => Answer::Absent,
            Answer::Unknown(reason) => Answer::Unknown(reason),
        }
    }

    /// Whether and how this login is served here; what is not goes on the list.
    ///
    /// # Errors
    /// The reason.
    pub fn serving(&self, login: &Login) -> Result<Serving, String> {
        let result = quarantine::login(login, &self.local(), self.loaded().config.quarantine.unknown_shell);
        self.note(Kind::Login, login.name.as_str(), login.uid.raw(), result.as_ref().err());
        result
    }

    /// The group of this name, if this server serves it, as libc gets it.
    pub async fn group_by_name(&self, name: &GroupName, wait: impl Into<Patience>) -> Answer<Reply> {
        if self.local().has_group(name.as_str()) {
            return Answer::Absent;
        }
        self.group(self.cache.group_by_name(name, wait).await)
    }

    /// The group of this gid, if this server serves it, as libc gets it.
    pub async fn group_by_gid(&self, gid: GroupId, wait: impl Into<Patience>) -> Answer<Reply> {
        if self.local().group_of_gid(gid.raw()).is_some() {
            return Answer::Absent;
        }
        self.group(self.cache.group_by_gid(gid, wait).await)
    }

    fn group(&self, answer: Answer<Arc<GroupAnswer>>) -> Answer<Reply> {
        let found = match answer {
            Answer::Found(found) => found,
            Answer::Absent => return Answer::Absent,
            Answer::Unknown(reason) => return Answer::Unknown(reason),
        };
        if let Some(packed) = self.trimmed.find(&found, &self.local()) {
            return Answer::Found(Reply::shared(&packed));
        }
        match self.served_group(&found.group) {
            None => Answer::Absent,
            Some(std::borrow::Cow::Borrowed(_)) => Answer::Found(Reply::shared(&found.packed)),
            Some(std::borrow::Cow::Owned(group)) => match write::group(&group) {
                Ok(packed) => Answer::Found(Reply::shared(&self.trimmed.keep(&found, &self.local(), packed.into()))),
                Err(_) => Answer::Absent,
            },
        }
    }

    /// The group as this server serves it: without members whose name is a local account, which the directory does not speak for.
    #[must_use]
    pub fn served_group<'a>(&self, group: &'a Group) -> Option<std::borrow::Cow<'a, Group>> {
        let local = self.local();
        let result = quarantine::group(group, &local);
        self.note(Kind::Group, group.name.as_str(), group.gid.raw(), result.as_ref().err());
        result.ok()?;
        Some(replica::trimmed(group, &local))
    }

    /// All groups of a login that this server serves, the primary first, without gids of local groups.
    pub async fn gids_of(&self, name: &LoginName, wait: impl Into<Patience>) -> Answer<Vec<GroupId>> {
        let served = match self.login_by_name(name, wait).await {
            Answer::Found(served) => served,
            Answer::Absent => return Answer::Absent,
            Answer::Unknown(reason) => return Answer::Unknown(reason),
        };
        let Some(gids) = &served.answer.gids else { return Answer::Unknown("its groups are not known".into()) };
        let local = self.local();
        Answer::Found(gids.iter().copied().filter(|gid| local.group_of_gid(gid.raw()).is_none()).collect())
    }

    fn note(&self, kind: Kind, name: &str, id: u32, reason: Option<&String>) {
        let source = self.cache.source();
        match reason {
            Some(reason) => {
                source.note_quarantined(Quarantined { kind, name: name.into(), id: id.into(), reason: reason.clone() });
            }
            None => source.quarantine().clear(kind, name),
        }
    }
}

/// A directory that is away may be silent, and the caller's patience is for all its questions: where there is another answer, it is not waited for as long.
pub(super) fn hurried(patience: Patience, has_other: bool) -> Patience {
    if has_other { Patience { wait: patience.wait.min(HURRIED), ..patience } } else { patience }
}

/// What this host keeps of a login, while the directory is away and the cache does not have it.
pub(super) fn kept(facts: Option<Arc<Facts>>, reason: String) -> Answer<Arc<LoginAnswer>> {
    match facts {
        Some(facts) => Answer::Found(Arc::new(LoginAnswer::new(facts.login.clone(), Some(facts.gids.clone())))),
        None => Answer::Unknown(reason),
    }
}

struct ConfigRef(Arc<Loaded>);

impl std::ops::Deref for ConfigRef {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0.config
    }
}
