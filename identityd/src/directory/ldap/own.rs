//! Who identityd is to the servers, and what to do when one does not let it in.
//!
//! A bind with each question would be a flood of wrong passwords from a whole fleet, and where a policy counts them it would lock the account. So a server that has refused is left alone for
//! half a minute to a minute, or until the file of the password is another one.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schema::wire::message::Secret;
use tokio::time::Instant;

use super::client::{Identity, LdapFailure};
use crate::config::{LdapConfig, LdapSasl};
use crate::directory::secret;

/// The shortest pause after a refusal; the longest is twice that, so that hosts do not come back together.
const PAUSE: Duration = Duration::from_secs(30);

/// The identity, and the servers that have refused it.
#[derive(Debug)]
pub(super) struct Own {
    name: String,
    file: Option<PathBuf>,
    /// Of identityctl, which does not wait.
    admin: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    identity: Arc<Identity>,
    /// Of the file when it was read.
    stamp: Option<Stamp>,
    /// By server.
    refused: Vec<Option<Refused>>,
}

#[derive(Debug)]
struct Refused {
    until: Instant,
    reason: String,
}

fn password(file: &Path) -> Result<Secret, String> {
    secret::read(file).map(|password| Secret::new(password.as_bytes().to_vec()))
}

/// Tells one state of a file from another.
type Stamp = (u64, u64, i64, i64, u64);

impl Own {
    /// The account of identityd, or of an administrator, at so many servers.
    pub(super) fn new(config: &LdapConfig, admin: bool, servers: usize) -> Result<Self, String> {
        let (name, file) = match (admin, config.sasl) {
            (true, _) if config.admin_dn.is_empty() => (String::new(), None),
            (true, _) => (config.admin_dn.clone(), Some(config.admin_password_file.clone())),
            (false, LdapSasl::External) => (String::new(), None),
            (false, LdapSasl::None) if config.bind_dn.is_empty() => (String::new(), None),
            (false, LdapSasl::None) => (config.bind_dn.clone(), config.bind_password_file.clone()),
        };
        let by_socket = if admin { file.is_none() } else { config.sasl == LdapSasl::External };
        let identity = match &file {
            Some(path) => Identity::Simple(name.clone(), password(path)?),
            None if by_socket => Identity::External,
            None => Identity::Anonymous,
        };
        let own = Self {
            name,
            file,
            admin,
            state: Mutex::new(State {
                identity: Arc::new(identity),
                stamp: None,
                refused: (0..servers).map(|_| None).collect(),
            }),
        };
        own.locked().stamp = own.stamp();
        Ok(own)
    }

    /// Who to be at this server.
    ///
    /// # Errors
    /// It has refused, and the pause is not over.
    pub(super) fn at(&self, server: usize, now: Instant) -> Result<Arc<Identity>, LdapFailure> {
        let mut state = self.locked();
        if state.refused.iter().any(Option::is_some) && self.stamp() != state.stamp {
            self.read_again(&mut state);
        }
        if let Some(Some(refused)) = state.refused.get_mut(server) {
            if now < refused.until {
                return Err(LdapFailure::NotLetIn(refused.reason.clone()));
            }
            // One question tries; the others hear what came of it.
            refused.until = now + pause();
        }
        Ok(Arc::clone(&state.identity))
    }

    /// A server has let it in.
    pub(super) fn accepted(&self, server: usize) {
        if let Some(refused) = self.locked().refused.get_mut(server) {
            *refused = None;
        }
    }

    /// A server has not; what to say of it.
    pub(super) fn refused(&self, server: usize, url: &str, failure: &LdapFailure, now: Instant) -> LdapFailure {
        let whom = match (&self.name, &*self.locked().identity) {
            (_, Identity::External) => "who this process is on its local socket (SASL EXTERNAL)",
            (name, _) => name.as_str(),
        }
        .to_owned();
        let remedy = match (&self.file, self.admin) {
            (Some(file), true) => format!("correct the password in {}", file.display()),
            (Some(file), false) => {
                format!(
                    "correct the password in {}: it is read again when it changes, and tried again within a minute",
                    file.display()
                )
            }
            (None, _) => "see its olcAuthzRegexp and olcAccess".into(),
        };
        let reason = format!("{url} does not let in {whom}: {failure}; {remedy}");
        if let Some(place) = self.locked().refused.get_mut(server) {
            *place = Some(Refused { until: now + pause(), reason: reason.clone() });
        }
        LdapFailure::NotLetIn(reason)
    }

    /// The file is another one.
    fn read_again(&self, state: &mut State) {
        let Some(path) = &self.file else { return };
        state.stamp = self.stamp();
        match password(path) {
            Ok(password) => {
                tracing::info!(file = %path.display(), "the password of identityd's own account has changed: it is tried at once");
                state.identity = Arc::new(Identity::Simple(self.name.clone(), password));
                state.refused.iter_mut().for_each(|refused| *refused = None);
            }
            Err(reason) => tracing::warn!(reason, "the password of identityd's own account cannot be read again"),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let meta = std::fs::metadata(self.file.as_ref()?).ok()?;
        Some((meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.size()))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause() -> Duration {
    PAUSE.mul_f64(rand::random_range(1.0..2.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn write(path: &Path, password: &str) {
        let new = path.with_extension("new");
        std::fs::write(&new, password).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    fn own(path: &Path) -> Own {
        write(path, "wrong");
        let text = format!(
            "servers = [\"ldaps://a\", \"ldaps://b\"]\nbase = \"dc=x\"\nbind_dn = \"cn=i\"\nbind_password_file = {path:?}"
        );
        Own::new(&toml::from_str(&text).unwrap(), false, 2).unwrap()
    }

    fn wrong() -> LdapFailure {
        LdapFailure::Said { code: 49, text: String::new() }
    }

    #[test]
    fn a_server_that_refuses_is_left_alone_for_half_a_minute_and_then_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let own = own(&folder.path().join("password"));
        let now = Instant::now();
        assert!(own.at(0, now).is_ok());
        let said = own.refused(0, "ldaps://a", &wrong(), now).to_string();
        assert!(said.contains("ldaps://a") && said.contains("cn=i") && said.contains("invalidCredentials"), "{said}");
        assert!(own.at(0, now).is_err() && own.at(1, now).is_ok());
        assert!(own.at(0, now + PAUSE - Duration::from_secs(1)).is_err());
        let later = now + 2 * PAUSE;
        assert!(own.at(0, later).is_ok());
        assert!(own.at(0, later).is_err(), "a second question is not a second bind");
        own.accepted(0);
        assert!(own.at(0, later).is_ok());
    }

    #[test]
    fn another_password_in_the_file_ends_the_pause_and_one_that_cannot_be_used_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let own = own(&path);
        let now = Instant::now();
        own.refused(0, "ldaps://a", &wrong(), now);
        own.refused(1, "ldaps://b", &wrong(), now);
        write(&path, "\n");
        assert!(own.at(0, now).is_err());
        write(&path, "right");
        let Ok(identity) = own.at(0, now) else { panic!("it is paused") };
        let Identity::Simple(name, password) = &*identity else { panic!("{identity:?}") };
        assert_eq!((name.as_str(), password.expose()), ("cn=i", b"right".as_slice()));
        assert!(own.at(1, now).is_ok());
    }
}
