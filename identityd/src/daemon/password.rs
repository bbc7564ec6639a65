//! New passwords: of their owner, who shows the old one, and of root, who resets one.

use std::sync::Arc;
use std::time::Duration;

use schema::id::UserId;
use schema::record::Login;
use schema::wire::message::{Outcome, PamContext, Secret, Verdict};

use super::Host;
use super::pam::{Trouble, today, unavailable, verdict};
use crate::auth::{self, Ticket};
use crate::cache::Answer;
use crate::directory::{Directory, DirectoryError};
use crate::policy;

impl Host {
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
        self.cache().source().end_of_pause().await;
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
            None => unconfirmed(context, Some(login.uid)),
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
}

/// The directory was told the new password, and nobody knows whether it has it.
pub(super) fn unconfirmed(context: &PamContext, uid: Option<UserId>) -> Verdict {
    tracing::error!(login = context.user, service = context.service, "a new password was not confirmed in time");
    let info = "The directory has not confirmed the new password in time. It may still be stored: try the new one first, then the old one.";
    Verdict { outcome: Outcome::Unavailable, uid, info: Some(info.into()) }
}

fn rejected(login: &Login, reason: String) -> Verdict {
    tracing::info!(login = %login.name, reason, "the new password was not accepted");
    Verdict { outcome: Outcome::PasswordRejected, uid: Some(login.uid), info: Some(reason) }
}
