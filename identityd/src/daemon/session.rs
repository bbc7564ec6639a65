//! What sshd and a session ask for after the account stage, and before: keys, and the home.

use std::sync::Arc;
use std::time::Duration;

use schema::capability::SHELL;
use schema::name::LoginName;
use schema::record::SshKey;
use schema::wire::frame;
use schema::wire::message::{PamContext, Session};

use super::Host;
use super::host::hurried;
use super::pam::{OPENING, today};
use crate::accounts::key;
use crate::cache::{Answer, Patience};
use crate::policy;

impl Host {
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
        let kept = || self.kept_keys(&login.name);
        let patience = hurried(Patience::reserved(wait), kept().is_some());
        let keys = match self.cache().ssh_keys(&login.name, patience).await {
            Answer::Unknown(reason) => kept().map_or(Answer::Unknown(reason), Answer::Found),
            keys => keys,
        };
        match keys {
            Answer::Found(keys) if login.capabilities.contains(SHELL) => {
                Ok(keys.iter().map(|key| key.line.clone()).collect())
            }
            Answer::Found(keys) => Ok(keys.iter().filter_map(|key| for_files_only(user, key)).collect()),
            Answer::Absent => Ok(Vec::new()),
            Answer::Unknown(_) => Err(frame::Status::Unknown),
        }
    }

    /// The keys that this host keeps of a login, while the directory is away.
    fn kept_keys(&self, name: &LoginName) -> Option<Arc<[SshKey]>> {
        let facts = self.offline.facts(name, self.offline_days())?;
        Some(facts.keys.as_ref()?.as_slice().into())
    }
}

/// The line of a key for a login without `shell`.
fn for_files_only(user: &str, key: &SshKey) -> Option<String> {
    let line = key::files_only(&key.line);
    if let Err(error) = &line {
        tracing::warn!(login = user, key = key.id, %error, "a key is not given to sshd: the login has no shell");
    }
    line.ok()
}
