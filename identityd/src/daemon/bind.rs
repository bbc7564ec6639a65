//! Passwords that the directory checks itself: a bind in LDAP, and what its password policy says with it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use schema::date::Date;
use schema::name::LoginName;
use schema::record::{Login, Status};
use schema::wire::message::{Outcome, PamContext, Secret, Verdict};

use super::Host;
use super::password::unconfirmed;
use crate::auth;
use crate::cache::{Answer, Lane};
use crate::directory::{DirectoryError, Verified};
use crate::policy;

/// Asked for in place of a login that may not enter: it takes the same way.
const NOBODY: &str = "nobody-at-all";
/// Between the check of a password and the account stage of the same login. A person may be at a prompt in between.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Most logins that are remembered.
const MOST: usize = 10_000;

/// What the directory's policy said at the last right password of a login: the account stage has to act on it.
#[derive(Debug, Default)]
pub(super) struct Remarks(Mutex<HashMap<String, (Instant, Verified)>>);

impl Remarks {
    fn note(&self, login: &str, verified: Verified) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        if verified.must_change && all.len() < MOST {
            all.insert(login.into(), (Instant::now(), verified));
        } else {
            all.remove(login);
        }
    }

    fn of(&self, login: &str) -> Option<Verified> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(login).filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, verified)| *verified)
    }

    fn forget(&self, login: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(login);
    }
}

impl Host {
    /// Has the directory check a password. `Ok(None)`: it does not; the hash has to be fetched.
    ///
    /// # Errors
    /// It could not be asked. Nobody knows whether the password is right, and no other server is tried.
    pub(super) async fn bind(
        &self,
        login: Option<&Login>,
        password: &Secret,
    ) -> Result<Option<Verified>, DirectoryError> {
        let active = login.filter(|login| login.status == Status::Active);
        let nobody = || NOBODY.parse::<LoginName>().ok();
        let Some(name) = active.map(|login| login.name.clone()).or_else(nobody) else { return Ok(None) };
        let password = password.clone();
        let verified = self
            .cache()
            .source()
            .ask(Lane::Check, |directory| async move { directory.verify(&name, &password).await })
            .await?;
        Ok(verified.map(|verified| if active.is_some() { verified } else { Verified::default() }))
    }

    /// What becomes of a password that the directory has checked.
    pub(super) fn judge_bind(&self, context: &PamContext, login: Option<&Login>, verified: Verified) -> Verdict {
        let PamContext { user, service, remote_host: rhost, .. } = context;
        if let (true, Some(login)) = (verified.accepted, login) {
            self.remarks.note(login.name.as_str(), verified);
            tracing::info!(login = user, service, rhost, "authenticated");
            return Verdict { outcome: Outcome::Success, uid: Some(login.uid), info: remark(verified) };
        }
        let reason = match login {
            None => "no such login here",
            Some(login) if login.status == Status::Locked => "the login is locked",
            Some(_) if verified.locked => "the directory's password policy has locked the login",
            Some(_) if verified.expired => "the password has ended, and may not be used any more",
            Some(_) => "wrong password, or none is set",
        };
        tracing::warn!(login = user, service, rhost, reason, "not authenticated");
        match login {
            // The directory says so only of the right password, so it gives nothing away.
            Some(login) if verified.expired => Verdict {
                outcome: Outcome::PasswordExpired,
                uid: Some(login.uid),
                info: Some("Your password has ended. Ask an administrator for a new one.".into()),
            },
            _ => Verdict { outcome: Outcome::AuthError, uid: None, info: None },
        }
    }

    /// The account stage of a login whose password must be changed.
    pub(super) fn must_change(&self, login: &Login) -> Option<Verdict> {
        let verified = self.remarks.of(login.name.as_str())?;
        Some(Verdict { outcome: Outcome::NewPasswordRequired, uid: Some(login.uid), info: remark(verified) })
    }

    /// Has the directory change a password. `None`: it does not; a hash has to be stored.
    pub(super) async fn change_by_bind(
        &self,
        context: &PamContext,
        old: Option<&Secret>,
        new: &Secret,
    ) -> Option<Verdict> {
        let login = match self.login(&context.user).await {
            Answer::Found(login) => login,
            Answer::Absent | Answer::Unknown(_) => return self.absent(context, old).await,
        };
        if let Some(old) = old {
            match self.bind(Some(&login), old).await {
                Ok(None) => return None,
                Ok(Some(verified)) if verified.accepted => {}
                Ok(Some(verified)) => return Some(self.judge_bind(context, Some(&login), verified)),
                Err(error) => return Some(self.cannot(context, &error.to_string())),
            }
        }
        let today = Date::of(SystemTime::now());
        let may = policy::change_password(&login, old.is_none(), today);
        if may.outcome != Outcome::Success {
            // The ordinary way says why.
            return if old.is_none() {
                None
            } else {
                Some(Verdict { outcome: may.outcome, uid: Some(login.uid), info: may.info })
            };
        }
        if let Some(old) = old
            && let Err(reason) = auth::rules(new, old, &login.name, self.config().password.min_length)
        {
            return Some(Verdict { outcome: Outcome::PasswordRejected, uid: Some(login.uid), info: Some(reason) });
        }
        let (name, old_given, new) = (login.name.clone(), old.cloned(), new.clone());
        let change = |directory: std::sync::Arc<dyn crate::directory::Directory>| async move {
            directory.change_password(&name, old_given.as_ref(), &new, today).await
        };
        let uid = Some(login.uid);
        match self.cache().source().write(change).await {
            Some(Ok(None)) => None,
            Some(Ok(Some(generation))) => {
                self.remarks.forget(login.name.as_str());
                let _ = self.refresh(generation, Duration::from_secs(1)).await;
                tracing::info!(
                    login = context.user,
                    service = context.service,
                    by_root = old.is_none(),
                    "password changed"
                );
                Some(Verdict { outcome: Outcome::Success, uid, info: None })
            }
            Some(Err(DirectoryError::Refused(reason))) => {
                tracing::info!(login = context.user, reason, "the new password was not accepted");
                let info = Some(format!("The directory did not take the new password: {reason}."));
                Some(Verdict { outcome: Outcome::PasswordRejected, uid, info })
            }
            Some(Err(error)) => Some(self.cannot(context, &error.to_string())),
            None => Some(unconfirmed(context, uid)),
        }
    }

    /// A login that there is not, or that cannot be looked up: the ordinary way answers, after the time that a bind takes.
    async fn absent(&self, context: &PamContext, old: Option<&Secret>) -> Option<Verdict> {
        if let Some(old) = old
            && let Ok(Some(verified)) = self.bind(None, old).await
        {
            return Some(self.judge_bind(context, None, verified));
        }
        None
    }

    fn cannot(&self, context: &PamContext, reason: &str) -> Verdict {
        tracing::error!(login = context.user, service = context.service, reason, "a password could not be changed");
        let info = "The directory cannot be asked now. The password has not been changed.";
        Verdict { outcome: Outcome::Unavailable, uid: None, info: Some(info.into()) }
    }
}

/// What a person should know.
fn remark(verified: Verified) -> Option<String> {
    if let Some(grace) = verified.grace {
        return Some(format!("Your password has ended; it will be taken {grace} more times. Change it now."));
    }
    if verified.must_change {
        return Some("You must change your password.".into());
    }
    let left = verified.ends_in?;
    let (days, hours) = (left.as_secs() / 86_400, left.as_secs() / 3600);
    Some(match (days, hours) {
        (0, 0) => "Your password ends within an hour.".into(),
        (0, 1) => "Your password ends in an hour.".into(),
        (0, hours) => format!("Your password ends in {hours} hours."),
        (1, _) => "Your password ends in a day.".into(),
        (days, _) => format!("Your password ends in {days} days."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_says_is_put_into_words() {
        let ends = |seconds| remark(Verified { ends_in: Some(Duration::from_secs(seconds)), ..Verified::default() });
        assert_eq!(remark(Verified::default()), None);
        assert_eq!(ends(3 * 86_400).as_deref(), Some("Your password ends in 3 days."));
        assert_eq!(ends(59).as_deref(), Some("Your password ends within an hour."));
        let grace = Verified { grace: Some(2), must_change: true, ..Verified::default() };
        assert!(remark(grace).unwrap().contains("2 more times"));
    }

    #[test]
    fn only_a_password_that_must_be_changed_is_remembered() {
        let remarks = Remarks::default();
        remarks.note("ana", Verified { accepted: true, must_change: true, ..Verified::default() });
        assert!(remarks.of("ana").is_some());
        remarks.note("ana", Verified { accepted: true, ..Verified::default() });
        assert_eq!(remarks.of("ana"), None);
    }
}
