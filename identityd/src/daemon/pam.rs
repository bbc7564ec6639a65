//! What PAM asks first: is this the password? And what the other stages share with it.
//!
//! Every refusal is logged with its reason; the caller gets the code.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::UserId;
use schema::name::LoginName;
use schema::record::{Login, Status};
use schema::wire::message::{Outcome, PamContext, Secret, Verdict};

use super::Host;
use crate::auth::offline::Seen;
use crate::auth::{self, Attempt, Crowded, Ticket};
use crate::cache::{Answer, Lane, Patience};
use crate::directory::DirectoryError;
use crate::policy::Decision;
use crate::server::Peer;
use crate::telemetry::meters;

/// For one question of the account stage: PAM gives up after 800 ms.
pub(super) const WAIT: Patience = Patience::reserved(Duration::from_millis(600));
/// For opening the directory: SQLite takes some 30 ms, a server a few round trips.
pub(super) const OPENING: Duration = Duration::from_millis(500);
/// The same within the patience of the account stage.
pub(super) const OPENING_ACCOUNT: Duration = Duration::from_millis(150);
/// A user (a screen locker) about itself: so many attempts at once, then one each pause.
const OWN_ATTEMPTS: u32 = 5;
const OWN_PAUSE: Duration = Duration::from_secs(2);

/// Questions of a user about itself that need no hash, but may leave a line in the log: so many at once, then one each pause.
const OWN_QUESTIONS: u32 = 30;
const OWN_QUESTION_PAUSE: Duration = Duration::from_secs(1);

/// Why a login and its hash are not known.
pub(super) enum Trouble {
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
        let origin = auth::origin(context);
        let attempt = Attempt { login: exists.then_some(user), origin: origin.as_deref(), began };
        self.pool.enter(attempt).map_err(|crowded| {
            let what = match crowded {
                Crowded::Login => "of this login are waiting (auth.queue_per_login)",
                Crowded::Nobody => "of names that do not exist are waiting (a quarter of auth.queue)",
                Crowded::Origin => "from there are waiting (auth.queue_per_address)",
                Crowded::Total => "are waiting (auth.queue)",
            };
            let (rhost, ruser) = (&context.remote_host, &context.remote_user);
            tracing::warn!(login = user, rhost, ruser, "refused: too many verifications {what}");
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
        self.cache().source().end_of_pause().await;
        let served = match self.login(&context.user).await {
            Answer::Found(login) => Some(login),
            Answer::Absent => None,
            Answer::Unknown(reason) if self.cache().source().is_reachable() => {
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
    pub(super) async fn pad(&self, began: Instant) {
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
    pub(super) async fn login_with_hash(&self, user: &str) -> Result<(Option<Login>, Option<PasswordHash>), Trouble> {
        let Ok(name) = user.parse::<LoginName>() else { return Ok((None, None)) };
        let login = match self.login_by_name(&name, WAIT).await {
            Answer::Found(served) => Some(served.answer.login.clone()),
            Answer::Absent => None,
            Answer::Unknown(reason) if self.cache().source().is_reachable() => return Err(Trouble::Other(reason)),
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
    pub(super) async fn first_look(&self, wait: Duration) {
        if !self.cache().source().is_open() {
            let _ = tokio::time::timeout(wait, self.feed().has_looked()).await;
        }
    }

    pub(super) async fn login(&self, user: &str) -> Answer<Arc<Login>> {
        match user.parse() {
            Ok(name) => self.login_by_name(&name, WAIT).await.map(|served| Arc::new(served.answer.login.clone())),
            Err(_) => Answer::Absent,
        }
    }
}

pub(super) fn today() -> Date {
    Date::of(SystemTime::now())
}

pub(super) fn verdict(context: &PamContext, stage: &'static str, login: &Login, decision: Decision) -> Verdict {
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
