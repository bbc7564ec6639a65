//! What PAM asks: authentication, the account stage, passwords, sessions.
//!
//! Every refusal is logged with its reason; the caller gets the code.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use schema::capability::SHELL;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::UserId;
use schema::name::{GroupName, LoginName};
use schema::record::{Login, SshKey, Status};
use schema::wire::frame;
use schema::wire::message::{Outcome, PamContext, Secret, Session, Verdict};

use super::Host;
use crate::accounts::key;
use crate::auth::offline::Seen;
use crate::auth::{self, Attempt, Crowded, Ticket};
use crate::cache::{Answer, Lane, Patience};
use crate::directory::{Directory, DirectoryError, Kind};
use crate::policy::{self, Case, Decision};
use crate::server::Peer;
use crate::telemetry::meters;

/// For one question of the account stage: PAM gives up after 800 ms.
pub(super) const WAIT: Patience = Patience::reserved(Duration::from_millis(600));
/// For opening the directory: SQLite takes some 30 ms, a server a few round trips.
const OPENING: Duration = Duration::from_millis(500);
/// The same within the patience of the account stage.
const OPENING_ACCOUNT: Duration = Duration::from_millis(150);
/// A user (a screen locker) about itself: so many attempts at once, then one each pause.
const OWN_ATTEMPTS: u32 = 5;
const OWN_PAUSE: Duration = Duration::from_secs(2);

/// Questions of a user about itself that need no hash, but may leave a line in the log: so many at once, then one each pause.
const OWN_QUESTIONS: u32 = 30;
const OWN_QUESTION_PAUSE: Duration = Duration::from_secs(1);

/// Why a login and its hash are not known.
enum Trouble {
    /// The directory cannot be reached.
    Away(String),
    /// It could be, but something else is wrong.
    Other(String),
}

/// The queue of verifications is full.
#[derive(Debug, Clone, Copy)]
pub struct Busy;

impl Host {
    /// A place in the queue of verifications.
    ///
    /// # Errors
    /// There is none.
    pub async fn enter(&self, context: &PamContext, peer: Peer) -> Result<Ticket, Busy> {
        if !peer.is_root() && !self.own_attempts.take(peer.uid, OWN_ATTEMPTS, OWN_PAUSE) {
            // Not louder: whoever asks in a loop must not fill the log.
            tracing::debug!(uid = peer.uid, "too many attempts of a user about itself");
            return Err(Busy);
        }
        let began = Instant::now();
        self.first_look(OPENING).await;
        // A hostile name must not become a large key.
        let user = context.user.get(..context.user.floor_char_boundary(64)).unwrap_or_default();
        let exists = !matches!(self.login(user).await, Answer::Absent);
        let attempt = Attempt { login: exists.then_some(user), origin: origin(context), began };
        self.pool.enter(attempt).map_err(|crowded| {
            let what = match crowded {
                Crowded::Login => "of this login",
                Crowded::Nobody => "of names that do not exist",
                Crowded::Origin => "from there",
                Crowded::Total => "of all logins",
            };
            let (rhost, ruser) = (&context.remote_host, &context.remote_user);
            tracing::warn!(login = user, rhost, ruser, "refused: too many verifications {what} are waiting");
            meters::authenticated("busy");
            Busy
        })
    }

    /// Whether this peer may put another question that leaves a line in the log.
    pub fn may_ask_again(&self, peer: Peer) -> bool {
        peer.is_root() || self.own_questions.take(peer.uid, OWN_QUESTIONS, OWN_QUESTION_PAUSE)
    }

    /// Is this the password? Unknown, locked and passwordless logins take the time of a wrong password.
    pub async fn authenticate(self: &Arc<Self>, context: &PamContext, password: Secret, place: Ticket) -> Verdict {
        let began = place.began;
        let verdict = self.check_password(context, password).await;
        drop(place);
        meters::authenticated(match verdict.outcome {
            Outcome::Success => "success",
            Outcome::Unavailable => "unavailable",
            _ => "refused",
        });
        if verdict.outcome != Outcome::Success {
            self.pad(began).await;
        }
        verdict
    }

    async fn check_password(self: &Arc<Self>, context: &PamContext, password: Secret) -> Verdict {
        let began = Instant::now();
        let served = match self.login(&context.user).await {
            Answer::Found(login) => Some(login),
            Answer::Absent => None,
            Answer::Unknown(reason) if self.cache().source().health().reachable => {
                return unavailable(context, "authenticate", &reason);
            }
            Answer::Unknown(reason) => return self.check_offline(context, password, &reason).await,
        };
        match self.bind(served.as_deref(), &password).await {
            Ok(Some(verified)) => {
                let verdict = self.judge_bind(context, served.as_deref(), verified);
                if let (Outcome::Success, Some(login)) = (verdict.outcome, &served) {
                    self.remember_bind(login, verified, password, began).await;
                }
                return verdict;
            }
            Ok(None) => {}
            Err(error @ DirectoryError::Unavailable { .. }) => {
                return self.check_offline(context, password, &error.to_string()).await;
            }
            Err(error) => return unavailable(context, "authenticate", &error.to_string()),
        }
        let (login, hash) = match self.login_with_hash(&context.user).await {
            Ok(found) => found,
            Err(Trouble::Away(reason)) => return self.check_offline(context, password, &reason).await,
            Err(Trouble::Other(reason)) => return unavailable(context, "authenticate", &reason),
        };
        let active = login.as_ref().is_some_and(|login| login.status == Status::Active);
        let verified = self.pool.verify(password.clone(), hash.clone().filter(|_| active)).await;
        let reason = match (verified, &login) {
            (None, _) => return unavailable(context, "authenticate", "its turn in the queue did not come in time"),
            (Some(Ok(true)), Some(login)) => {
                tracing::info!(
                    login = context.user,
                    service = context.service,
                    rhost = context.remote_host,
                    "authenticated"
                );
                self.remember(login, Seen { hash, password, ends_in: None, began });
                return Verdict { outcome: Outcome::Success, uid: Some(login.uid), info: None };
            }
            (Some(_), None) => "no such login here".to_owned(),
            (Some(_), Some(login)) if login.status == Status::Locked => "the login is locked".to_owned(),
            (Some(Ok(_)), Some(_)) => "wrong password, or none is set".to_owned(),
            (Some(Err(reason)), Some(_)) => format!("the hash is not computed: {reason}"),
        };
        tracing::warn!(
            login = context.user,
            service = context.service,
            rhost = context.remote_host,
            reason,
            "not authenticated"
        );
        Verdict { outcome: Outcome::AuthError, uid: None, info: None }
    }

    /// Whether this uid is that login.
    pub async fn is_own(&self, uid: u32, user: &str) -> bool {
        // By its uid, which is in the cache after the first time: names that a user invents are not looked up in our lane.
        let Ok(uid) = UserId::try_from(uid) else { return false };
        let login = self.login_by_uid(uid, WAIT.wait).await;
        matches!(login, Answer::Found(served) if served.answer.login.name.as_str() == user)
    }

    /// A refusal leaves after a fixed time, or a multiple of it: its reason cannot be measured.
    async fn pad(&self, began: Instant) {
        let unit = self.config().auth.refusal_after.0;
        if unit.is_zero() {
            return;
        }
        let units = began.elapsed().as_nanos() / unit.as_nanos() + 1;
        let until = unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX));
        tokio::time::sleep(until.saturating_sub(began.elapsed())).await;
    }

    /// The login, and its hash as the directory has it now: never from memory. The hash is asked for whoever it is, so that an unknown name costs
    /// the same.
    async fn login_with_hash(&self, user: &str) -> Result<(Option<Login>, Option<PasswordHash>), Trouble> {
        let Ok(name) = user.parse::<LoginName>() else { return Ok((None, None)) };
        let login = match self.login_by_name(&name, WAIT).await {
            Answer::Found(served) => Some(served.answer.login.clone()),
            Answer::Absent => None,
            Answer::Unknown(reason) if self.cache().source().health().reachable => return Err(Trouble::Other(reason)),
            Answer::Unknown(reason) => return Err(Trouble::Away(reason)),
        };
        let asked = name.clone();
        let hash = self
            .cache()
            .source()
            .ask(Lane::Reserved, |directory| async move { directory.password_hash(&asked).await })
            .await;
        let hash = hash.map_err(|error| match error {
            DirectoryError::Unavailable { .. } => Trouble::Away(error.to_string()),
            other => Trouble::Other(other.to_string()),
        })?;
        // A local account of this name is not ours, whatever the directory has.
        Ok(if login.is_some() { (login, hash) } else { (None, None) })
    }

    /// Waits, at the beginning of identityd's life, until the directory has been looked at once: published names are answered for before that, and a
    /// directory that was not asked yet is not away.
    async fn first_look(&self, wait: Duration) {
        if !self.cache().source().is_open() {
            let _ = tokio::time::timeout(wait, self.feed().has_looked()).await;
        }
    }

    /// The account stage.
    pub async fn account(&self, context: &PamContext) -> Verdict {
        self.first_look(OPENING_ACCOUNT).await;
        match self.login(&context.user).await {
            Answer::Absent => Verdict { outcome: Outcome::UserUnknown, uid: None, info: None },
            Answer::Unknown(reason) => unavailable(context, "account", &reason),
            Answer::Found(login) => match self.decide(&login, &context.service).await {
                Ok(decision) => match self.must_change(&login).filter(|_| decision.outcome == Outcome::Success) {
                    Some(must_change) => must_change,
                    None => verdict(context, "account", &login, decision),
                },
                Err(reason) => unavailable(context, "account", &reason),
            },
        }
    }

    /// The decision of the account stage with its steps. Groups that cannot be looked up are no permission: `Err`.
    pub(super) async fn decide(&self, login: &Login, service: &str) -> Result<Decision, String> {
        let loaded = self.loaded();
        self.confinement(login).await?;
        let groups = self.access_groups(login).await?;
        Ok(policy::account(Case { login, groups: &groups, service, today: today() }, &loaded.config))
    }

    /// sshd confines a login without `shell` by its groups (`Match Group sftp-only`), and does not when it cannot look them up. So such a login
    /// enters only while its groups are known.
    async fn confinement(&self, login: &Login) -> Result<(), String> {
        if login.capabilities.iter().any(|has| has.as_str() == "shell") {
            return Ok(());
        }
        let unknown = |what: String, reason: String| Err(format!("{what} not known, and may confine it: {reason}"));
        let gids = match self.gids_of(&login.name, WAIT).await {
            Answer::Found(gids) => gids,
            Answer::Absent => return unknown("its groups are".into(), "it has just been removed".into()),
            Answer::Unknown(reason) => return unknown("its groups are".into(), reason),
        };
        let began = Instant::now();
        for gid in gids {
            let left = WAIT.wait.saturating_sub(began.elapsed());
            if let Answer::Unknown(reason) = self.cache().group_by_gid(gid, Patience::reserved(left)).await {
                return unknown(format!("its group {gid} is"), reason);
            }
        }
        Ok(())
    }

    /// Those groups of `[access]` that the login is in.
    async fn access_groups(&self, login: &Login) -> Result<Vec<GroupName>, String> {
        let loaded = self.loaded();
        let access = &loaded.config.access;
        let mut member = Vec::new();
        if access.allow_groups.is_empty() && access.deny_groups.is_empty() {
            return Ok(member);
        }
        // With the gids that are a local group's here: no name shows them, but who is in "suspended" is suspended.
        let gids = match self.cache().gids_of(&login.name, WAIT).await {
            Answer::Found(gids) => gids,
            Answer::Absent => return Err("its groups are not known".into()),
            Answer::Unknown(reason) => return Err(reason),
        };
        let of_here = self.local();
        for (denies, name) in access
            .allow_groups
            .iter()
            .map(|name| (false, name))
            .chain(access.deny_groups.iter().map(|name| (true, name)))
        {
            match self.cache().group_by_name(name, WAIT).await {
                Answer::Found(group) if gids.contains(&group.group.gid) => {
                    if denies || of_here.group_of_gid(group.group.gid.raw()).is_none() {
                        member.push(name.clone());
                    }
                }
                Answer::Absent if denies && self.cache().source().quarantine().holds(Kind::Group, name.as_str()) => {
                    return Err(format!(
                        "the group {name} of [access] deny_groups is quarantined, so nobody knows who is in it"
                    ));
                }
                Answer::Found(_) | Answer::Absent => {}
                Answer::Unknown(reason) => {
                    let facts = self.offline.facts(&login.name, self.offline_days());
                    let Some(groups) = facts.and_then(|facts| facts.groups.clone()) else { return Err(reason) };
                    member.extend(groups.into_iter().filter(|group| group == name));
                }
            }
        }
        Ok(member)
    }

    pub(super) async fn login(&self, user: &str) -> Answer<Arc<Login>> {
        match user.parse() {
            Ok(name) => self.login_by_name(&name, WAIT).await.map(|served| Arc::new(served.answer.login.clone())),
            Err(_) => Answer::Absent,
        }
    }

    /// May the password be changed now?
    pub async fn may_change_password(&self, context: &PamContext, by_root: bool) -> Verdict {
        match self.login(&context.user).await {
            Answer::Absent => Verdict { outcome: Outcome::UserUnknown, uid: None, info: None },
            Answer::Unknown(reason) => unavailable(context, "password", &reason),
            Answer::Found(login) => {
                verdict(context, "password", &login, policy::change_password(&login, by_root, today()))
            }
        }
    }

    /// Sets a new password. Without the old one it is a reset by root, which only has to be a password at all.
    pub async fn change_password(
        &self,
        context: &PamContext,
        old: Option<Secret>,
        new: Secret,
        place: Ticket,
    ) -> Verdict {
        let began = place.began;
        let verdict = self.set_password(context, old, new).await;
        drop(place);
        if verdict.outcome == Outcome::AuthError {
            self.pad(began).await;
        }
        verdict
    }

    async fn set_password(&self, context: &PamContext, old: Option<Secret>, new: Secret) -> Verdict {
        if let Some(verdict) = self.change_by_bind(context, old.as_ref(), &new).await {
            return verdict;
        }
        let (login, hash) = match self.login_with_hash(&context.user).await {
            Ok((Some(login), hash)) => (login, hash),
            Ok((None, _)) if old.is_none() => return Verdict { outcome: Outcome::UserUnknown, uid: None, info: None },
            Ok((None, _)) => {
                let _ = self.pool.verify(new, None).await;
                return Verdict { outcome: Outcome::AuthError, uid: None, info: None };
            }
            Err(Trouble::Away(reason) | Trouble::Other(reason)) => return unavailable(context, "password", &reason),
        };
        let by_root = old.is_none();
        let may = policy::change_password(&login, by_root, today());
        if may.outcome != Outcome::Success {
            return verdict(context, "password", &login, may);
        }
        if let Some(old) = &old {
            match self.pool.verify(old.clone(), hash.clone()).await {
                Some(Ok(true)) => {}
                Some(_) => {
                    tracing::warn!(
                        login = context.user,
                        service = context.service,
                        "password not changed: the old one is wrong"
                    );
                    return Verdict { outcome: Outcome::AuthError, uid: None, info: None };
                }
                None => return unavailable(context, "password", "its turn in the queue did not come in time"),
            }
            if let Err(reason) = auth::rules(&new, old, &login.name, self.config().password.min_length) {
                return rejected(&login, reason);
            }
        }
        let made = match self.pool.run(move || auth::new_hash(new.expose())).await {
            Some(Ok(made)) => made,
            Some(Err(error)) => return rejected(&login, error.to_string()),
            None => return unavailable(context, "password", "its turn in the queue did not come in time"),
        };
        // A reset overwrites whatever is there; a change only what was verified.
        let expected = if by_root { None } else { hash };
        let name = login.name.clone();
        let write = |directory: Arc<dyn Directory>| async move {
            directory.set_password(&name, expected.as_ref(), &made, today()).await
        };
        match self.cache().source().write(write).await {
            None => {
                let info = "The directory has not confirmed the new password in time. It may still be stored: try the new one first, then the old one.";
                tracing::error!(
                    login = context.user,
                    service = context.service,
                    "a new password was not confirmed in time"
                );
                Verdict { outcome: Outcome::Unavailable, uid: Some(login.uid), info: Some(info.into()) }
            }
            Some(Ok(generation)) => {
                // Aging is part of the cached login: the next question must see the change.
                let _ = self.refresh(generation, Duration::from_secs(1)).await;
                tracing::info!(login = context.user, service = context.service, by_root, "password changed");
                Verdict { outcome: Outcome::Success, uid: Some(login.uid), info: None }
            }
            Some(Err(error @ (DirectoryError::Refused(_) | DirectoryError::Conflict))) => {
                rejected(&login, error.to_string())
            }
            Some(Err(error)) => {
                let info = "The directory cannot be written now. The password has not been changed.";
                Verdict { info: Some(info.into()), ..unavailable(context, "password", &error.to_string()) }
            }
        }
    }

    /// What a session finds; `None`: the login is not there. Only a home below `[home] root` is to be created.
    ///
    /// # Errors
    /// The login cannot be looked up.
    pub async fn open_session(&self, context: &PamContext) -> Result<Option<Session>, String> {
        let login = match self.login(&context.user).await {
            Answer::Found(login) => login,
            Answer::Absent => return Ok(None),
            Answer::Unknown(reason) => return Err(reason),
        };
        let loaded = self.loaded();
        let home = &loaded.config.home;
        tracing::info!(
            login = context.user,
            service = context.service,
            rhost = context.remote_host,
            "a session begins"
        );
        Ok(Some(Session {
            uid: login.uid,
            gid: login.gid,
            create: home.create && std::path::Path::new(login.home.as_str()).starts_with(&home.root),
            home: login.home.clone(),
            mode: home.mode_bits(),
            skeleton: home.skeleton.to_string_lossy().into_owned(),
            shell: login.capabilities.contains(SHELL),
        }))
    }

    /// Lines for authorized_keys(5). A locked or expired login has none here: sshd asks before the account stage, and says less this way.
    ///
    /// # Errors
    /// The status to answer with.
    pub async fn ssh_keys(&self, user: &str, wait: Duration) -> Result<Vec<String>, frame::Status> {
        self.first_look(wait.min(OPENING)).await;
        let login = match self.login(user).await {
            Answer::Found(login) => login,
            Answer::Absent => return Ok(Vec::new()),
            Answer::Unknown(_) => return Err(frame::Status::Unknown),
        };
        if let Some(reason) = policy::closed(&login, today()) {
            tracing::warn!(login = user, reason, "no keys given");
            return Ok(Vec::new());
        }
        match self.cache().ssh_keys(&login.name, Patience::reserved(wait)).await {
            Answer::Found(keys) if login.capabilities.contains(SHELL) => {
                Ok(keys.iter().map(|key| key.line.clone()).collect())
            }
            Answer::Found(keys) => Ok(keys.iter().filter_map(|key| for_files_only(user, key)).collect()),
            Answer::Absent => Ok(Vec::new()),
            Answer::Unknown(_) => Err(frame::Status::Unknown),
        }
    }
}

/// Where an attempt comes from: the remote host for sshd, the local user for su and sudo.
fn origin(context: &PamContext) -> Option<&str> {
    let known = [&context.remote_host, &context.remote_user].into_iter().flatten().find(|origin| !origin.is_empty())?;
    Some(known.get(..256).unwrap_or(known))
}

/// The line of a key for a login without `shell`.
fn for_files_only(user: &str, key: &SshKey) -> Option<String> {
    let line = key::files_only(&key.line);
    if let Err(error) = &line {
        tracing::warn!(login = user, key = key.id, %error, "a key is not given to sshd: the login has no shell");
    }
    line.ok()
}

fn today() -> Date {
    Date::of(SystemTime::now())
}

fn verdict(context: &PamContext, stage: &'static str, login: &Login, decision: Decision) -> Verdict {
    let PamContext { service, user, remote_host, .. } = context;
    match decision.outcome {
        Outcome::Success => tracing::debug!(login = user, service, stage, "permitted"),
        outcome => {
            let reason = decision.reason();
            tracing::warn!(login = user, service, rhost = remote_host, stage, ?outcome, reason, "refused");
        }
    }
    Verdict { outcome: decision.outcome, uid: Some(login.uid), info: decision.info }
}

pub(super) fn unavailable(context: &PamContext, stage: &'static str, reason: &str) -> Verdict {
    tracing::error!(login = context.user, service = context.service, stage, reason, "could not be decided");
    Verdict { outcome: Outcome::Unavailable, uid: None, info: None }
}

fn rejected(login: &Login, reason: String) -> Verdict {
    tracing::info!(login = %login.name, reason, "the new password was not accepted");
    Verdict { outcome: Outcome::PasswordRejected, uid: Some(login.uid), info: Some(reason) }
}
