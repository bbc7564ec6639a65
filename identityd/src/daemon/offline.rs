//! Logins while the directory is away, as PAM asks for them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use schema::paths::STATE_DIR;
use schema::record::{Login, Status};
use schema::wire::message::{Outcome, PamContext, Secret, Verdict};

use super::Host;
use super::pam::{WAIT, unavailable};
use crate::auth::offline::{Facts, Offline, Seen, Verifiers};
use crate::cache::{Answer, Source};
use crate::directory::Verified;

/// Opens what this host keeps. What cannot be used is said, and logins then need the directory: answering look-ups is more important.
pub(super) async fn open(days: u32, source: &Arc<Source>) -> Arc<Verifiers> {
    let folder = Path::new(STATE_DIR);
    if days == 0 {
        // Off means that nothing is kept.
        let _ = std::fs::remove_file(folder.join("offline.db"));
        return Verifiers::none(Arc::clone(source));
    }
    Verifiers::open(folder, Arc::clone(source)).await.unwrap_or_else(|error| {
        tracing::error!(%error, "nobody can log in with a password while the directory is away");
        Verifiers::none(Arc::clone(source))
    })
}

impl Host {
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
        if self.offline_days() == 0 {
            return;
        }
        let (host, login) = (Arc::clone(self), login.clone());
        tokio::spawn(async move {
            let Answer::Found(gids) = host.gids_of(&login.name, WAIT).await else { return };
            let mut groups = Some(Vec::new());
            for gid in &gids {
                match host.cache().group_by_gid(*gid, WAIT).await {
                    Answer::Found(found) => groups.iter_mut().for_each(|groups| groups.push(found.group.name.clone())),
                    Answer::Absent => {}
                    Answer::Unknown(_) => groups = None,
                }
            }
            let facts = Facts { login, gids, groups };
            host.offline.remember(facts, seen, &host.pool).await;
        });
    }
}
