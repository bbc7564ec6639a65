//! Logins while the directory is away, as PAM asks for them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use schema::name::LoginName;
use schema::paths::STATE_DIR;
use schema::record::{Login, Status};
use schema::wire::message::{Outcome, PamContext, Secret, Verdict};

use super::Host;
use super::pam::{WAIT, unavailable};
use crate::auth::offline::{Groups, Offline, Seen, Verifiers};
use crate::cache::{Answer, Source, Witness as _};
use crate::directory::Verified;

/// Opens what this host keeps.
pub(super) async fn open(days: u32, source: &Arc<Source>) -> Arc<Verifiers> {
    let offline = Verifiers::none(Arc::clone(source));
    keep(&offline, days).await;
    offline
}

/// Keeps something from now on, or nothing any more. What cannot be used is said, and logins then need the directory: answering look-ups is more important.
async fn keep(offline: &Verifiers, days: u32) {
    let folder = Path::new(STATE_DIR);
    if days == 0 {
        // Off means that nothing is kept.
        match offline.close(folder).await {
            Ok(true) => tracing::info!("[auth] offline_days is 0: what this host kept of logins has been removed"),
            Ok(false) => {}
            Err(error) => tracing::error!(
                %error,
                "[auth] offline_days is 0, and what this host kept of logins is still there; remove it, or reload to try again"
            ),
        }
    } else if let Err(error) = offline.open(folder).await {
        tracing::error!(%error, "nobody can log in while the directory is away");
    }
}

impl Host {
    /// Acts on `[auth] offline_days` at a reload.
    pub(super) async fn keep_offline(&self) {
        let days = self.offline_days();
        if days > 0 && self.offline.is_open() {
            return;
        }
        keep(&self.offline, days).await;
        if self.offline.is_open() {
            // Of an earlier life, if anything: nobody has compared it with the changes since.
            self.offline.doubt().await;
            tracing::info!(days, "[auth] offline_days: what is needed while the directory is away is kept from now on");
        }
    }

    /// The account stage lets a login in: keeps what it needs to do so while the directory is away, in the background.
    pub(super) fn note_entered(self: &Arc<Self>, login: &Login) {
        let source = self.cache().source();
        // While changes do not come, what the cache has confirms nothing.
        if self.offline_days() == 0 || !source.is_reachable() || self.not_followed().is_some() {
            return;
        }
        if self.offline.entered(login) {
            let (host, login) = (Arc::clone(self), login.clone());
            tokio::spawn(async move {
                if let Some(groups) = host.groups_of(&login.name).await {
                    host.offline.learn(&login, groups);
                }
            });
        }
    }

    async fn groups_of(&self, name: &LoginName) -> Option<Groups> {
        // With those gids that are a local group's here: the account stage wants them.
        let Answer::Found(gids) = self.cache().gids_of(name, WAIT).await else { return None };
        let mut names = Some(Vec::new());
        for gid in gids.iter() {
            match self.cache().group_by_gid(*gid, WAIT).await {
                Answer::Found(found) => names.iter_mut().for_each(|names| names.push((*gid, found.group.name.clone()))),
                Answer::Absent if !self.cache().source().quarantine().holds_gid(gid.raw()) => {}
                // Whether [access] names it cannot be told.
                Answer::Absent | Answer::Unknown(_) => names = None,
            }
        }
        Some(Groups { gids: gids.to_vec(), names })
    }

    /// Is this the password, as far as this host knows? The directory cannot be asked, for `reason`. Success or Unavailable, and nothing else.
    pub(super) async fn check_offline(&self, context: &PamContext, password: Secret, reason: &str) -> Verdict {
        let login = match self.login(&context.user).await {
            Answer::Found(login) => Some(login),
            Answer::Absent | Answer::Unknown(_) => None,
        };
        // What the cache has may be newer than what is kept.
        let active = login.as_ref().filter(|login| login.status == Status::Active);
        let name = active.map(|login| &login.name);
        let (user, service, rhost) = (&context.user, &context.service, &context.remote_host);
        match (self.offline.verify(name, password, self.offline_days(), &self.pool).await, login.as_ref()) {
            (Offline::Right, Some(login)) => {
                tracing::warn!(
                    login = user,
                    service,
                    rhost,
                    reason,
                    "authenticated by what this host keeps: the directory is away"
                );
                Verdict { outcome: Outcome::Success, uid: Some(login.uid), info: None }
            }
            // The same answer as for a name that is not there or was never here: only the log tells them apart.
            (wrong @ (Offline::Wrong | Offline::TooMany), Some(_)) => {
                let reason = if wrong == Offline::Wrong { "wrong password" } else { "too many attempts" };
                tracing::warn!(login = user, service, rhost, reason, "not authenticated while the directory is away");
                Verdict { outcome: Outcome::Unavailable, uid: None, info: None }
            }
            (Offline::Crowded, _) => unavailable(context, "authenticate", "its turn in the queue did not come in time"),
            (Offline::Unknown(why), _) => {
                unavailable(context, "authenticate", &format!("{reason}; and offline: {why}"))
            }
            (_, None) => unavailable(context, "authenticate", reason),
        }
    }

    /// Keeps what a successful bind has shown. Not where the password has to be changed first, or has ended: only the directory knows whether that was done.
    pub(super) async fn remember_bind(
        self: &Arc<Self>,
        login: &Login,
        verified: Verified,
        password: Secret,
        began: Instant,
    ) {
        if verified.must_change || verified.grace.is_some() {
            return self.offline.forget(&login.name).await;
        }
        self.remember(login, Seen { hash: None, password, ends_in: verified.ends_in, began });
    }

    /// Keeps what a successful verification has shown, in the background.
    pub(super) fn remember(self: &Arc<Self>, login: &Login, seen: Seen) {
        // A directory that lacks changes may let in with a password of before.
        if self.offline_days() == 0 || self.not_followed().is_some() {
            return;
        }
        let (host, login) = (Arc::clone(self), login.clone());
        tokio::spawn(async move {
            if let Some(groups) = host.groups_of(&login.name).await {
                host.offline.remember(login, groups, seen, &host.pool).await;
            }
        });
    }
}
