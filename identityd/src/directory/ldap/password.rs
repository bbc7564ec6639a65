//! Passwords: checked by a bind as the login, changed by RFC 3062 or by attribute. One attempt, on one server.

use std::collections::HashSet;
use std::time::Duration;

use ldap3::Mod;
use ldap3::exop::{Exop, PasswordModify};
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::name::LoginName;
use schema::record::Generation;
use schema::wire::message::Secret;
use tokio::time::Instant;

use super::LdapDirectory;
use super::client::{Client, Identity, LdapFailure, Search, said};
use super::control::{self, PolicyAnswer};
use super::cookie::written;
use super::entry::RawEntry;
use crate::config::LdapPasswordChange;
use crate::directory::{DirectoryError, Entry, Verified};

/// For the bind itself: the server hashes, and may have a queue.
const BIND: Duration = Duration::from_secs(5);
/// For a change.
const CHANGE: Duration = Duration::from_secs(8);

impl LdapDirectory {
    /// Binds as this login. A login that there is not costs the same: a bind as nobody.
    pub(super) async fn bind_as(&self, name: &LoginName, password: &Secret) -> Result<Verified, DirectoryError> {
        let entry = match self.login_named(name).await? {
            Some((raw, Entry::Valid(_))) => Some(raw),
            _ => None,
        };
        let Identity::Simple(nobody, dummy) = self.pool.dummy() else { return Ok(Verified::default()) };
        let dn = entry.as_ref().map_or(nobody.as_str(), |entry| entry.dn.as_str());
        // A password that cannot be sent is wrong, and costs a bind as well.
        let sendable =
            std::str::from_utf8(password.expose()).is_ok_and(|text| !text.is_empty() && !text.contains('\0'));
        let (_, verified) = self.bind_once(dn, if sendable { password } else { &dummy }, false).await?;
        Ok(if entry.is_some() && sendable { verified } else { Verified::default() })
    }

    /// One bind on a fresh connection. Servers are tried until one takes the connection; the password is sent once.
    async fn bind_once(
        &self,
        dn: &str,
        password: &Secret,
        to_write: bool,
    ) -> Result<(Client, Verified), DirectoryError> {
        let until = Instant::now() + self.map.0.timeout.0;
        let away = |failure: LdapFailure| self.pool.unavailable(failure.to_string());
        self.pool.may_send_passwords().map_err(away)?;
        let mut client = self.pool.connect_unbound(to_write, until).await.map_err(away)?;
        let server = client.server;
        let bound = tokio::time::timeout(BIND, client.bind_simple(dn, password, vec![control::policy_request()])).await;
        let result = match bound {
            Ok(Ok(result)) => result,
            Ok(Err(LdapFailure::Said { .. })) => return Ok((client, Verified::default())),
            // Nobody knows whether the server has counted it: no other one is asked.
            Ok(Err(failure)) => {
                self.pool.down(server, &failure);
                return Err(away(failure));
            }
            // Others may wait for a hash before this one. Whether the server answers at all, the search for the entry has just told.
            Err(_) => {
                let reason = format!("{} has not answered a bind within {} s", self.pool.url(server), BIND.as_secs());
                return Err(away(LdapFailure::Away(reason)));
            }
        };
        let controls: Vec<_> = result.ctrls.iter().map(|control| control.1.clone()).collect();
        let policy = control::policy_answer(&controls).unwrap_or_default();
        match result.rc {
            0 => Ok((client, verified(true, policy))),
            // Wrong, unknown, locked, no password stored, the server's own rules.
            49 | 50 | 32 | 34 | 48 | 53 | 19 => Ok((client, verified(false, policy))),
            _ => Err(away(said(&result).err().unwrap_or_else(|| LdapFailure::Away(String::new())))),
        }
    }

    /// A new password. With the old one as the login itself; without it (a reset by root) as identityd, if the server lets it.
    pub(super) async fn replace_password(
        &self,
        name: &LoginName,
        old: Option<&Secret>,
        new: &Secret,
        today: Date,
    ) -> Result<Option<Generation>, DirectoryError> {
        let refused = |text: &str| DirectoryError::Refused(text.into());
        if std::str::from_utf8(new.expose()).is_err() {
            return Err(refused("the new password is not UTF-8"));
        }
        if self.map.0.password_change == LdapPasswordChange::Refuse {
            return Err(refused("passwords of this directory are changed elsewhere"));
        }
        let entry =
            self.login_named(name).await?.map(|(raw, _)| raw).ok_or_else(|| refused("there is no such login"))?;
        // A copy that cannot be written says so, and another one is asked: what is sent again is the right password.
        let mut closed = None;
        for _ in &self.map.0.servers {
            match self.replace_at_one(&entry, old, new).await? {
                Replaced::Done(client) => {
                    self.changed_today(&entry, today, old.map(|_| client)).await;
                    return Ok(Some(self.generation_of(&entry).await));
                }
                Replaced::Closed(error) => closed = Some(error),
            }
        }
        Err(closed.unwrap_or_else(|| self.pool.unavailable("no server is configured".into())))
    }

    /// At one server.
    async fn replace_at_one(
        &self,
        entry: &RawEntry,
        old: Option<&Secret>,
        new: &Secret,
    ) -> Result<Replaced, DirectoryError> {
        let refused = |text: &str| DirectoryError::Refused(text.into());
        let mut client = match old {
            Some(old) => {
                let (client, verified) = self.bind_once(&entry.dn, old, true).await?;
                if !verified.accepted {
                    return Err(refused("the old password is wrong"));
                }
                client
            }
            None => self.pool.connect(true).await?,
        };
        let server = client.server;
        let work = async {
            match self.map.0.password_change {
                LdapPasswordChange::Attribute => {
                    let hash = crate::auth::new_hash(new.expose())
                        .map_err(|error| LdapFailure::Said { code: 19, text: error.to_string() })?;
                    let value = format!("{{CRYPT}}{}", hash.expose()).into_bytes();
                    let attribute = self.map.0.attributes.password.clone().into_bytes();
                    client.modify(&entry.dn, vec![Mod::Replace(attribute, HashSet::from([value]))]).await
                }
                _ => {
                    let text = |secret: &'_ Secret| std::str::from_utf8(secret.expose()).unwrap_or_default().to_owned();
                    let (old, new) = (old.map(text), text(new));
                    let request = Exop::from(PasswordModify {
                        user_id: Some(&entry.dn),
                        old_pass: old.as_deref(),
                        new_pass: Some(&new),
                    });
                    let result = client.extended(request, vec![control::policy_request()]).await?;
                    let controls: Vec<_> = result.ctrls.iter().map(|control| control.1.clone()).collect();
                    let policy = control::policy_answer(&controls).unwrap_or_default();
                    said(&result).map(drop).map_err(|failure| explained(failure, policy))
                }
            }
        };
        match tokio::time::timeout(CHANGE, work).await {
            Ok(Ok(())) => Ok(Replaced::Done(client)),
            Ok(Err(failure)) if self.pool.takes_no_changes(server, &failure) => Ok(Replaced::Closed(match failure {
                // Or it is this change that it does not want: in its words.
                LdapFailure::Said { code: 53, text } if !text.is_empty() => refused(&text),
                _ => self.pool.unavailable(
                    "each of its servers is a copy that cannot be written: name the provider in [directory] servers"
                        .into(),
                ),
            })),
            Ok(Err(LdapFailure::Said { code: 50, .. })) if old.is_none() => {
                Err(refused("identityd may not set passwords there: run identityctl login passwd"))
            }
            Ok(Err(LdapFailure::Said { text, code })) => {
                Err(refused(&if text.is_empty() { LdapFailure::Said { code, text }.to_string() } else { text }))
            }
            Ok(Err(failure)) => Err(self.pool.unavailable(failure.to_string())),
            Err(_) => Err(self.pool.unavailable("the server has not confirmed the change in time".into())),
        }
    }

    /// Stores a hash as it is, as identityd.
    pub(super) async fn store_hash(
        &self,
        name: &LoginName,
        new: &PasswordHash,
        today: Date,
    ) -> Result<Generation, DirectoryError> {
        let entry = self.login_named(name).await?.map(|(raw, _)| raw);
        let entry = entry.ok_or_else(|| DirectoryError::Refused(format!("there is no login {name}")))?;
        let value = format!("{{CRYPT}}{}", new.expose()).into_bytes();
        let change = Mod::Replace(self.map.0.attributes.password.clone().into_bytes(), HashSet::from([value]));
        let mut writers = self.pool.writers();
        loop {
            let mut client = writers.next().await?;
            let stored = tokio::time::timeout(CHANGE, client.modify(&entry.dn, vec![change.clone()])).await;
            match stored {
                Ok(Ok(())) => break,
                Ok(Err(failure)) if self.pool.takes_no_changes(client.server, &failure) => {
                    writers.leave(client.server, &failure);
                }
                Ok(Err(failure @ LdapFailure::Said { .. })) => {
                    return Err(DirectoryError::Refused(failure.to_string()));
                }
                Ok(Err(failure)) => return Err(self.pool.unavailable(failure.to_string())),
                Err(_) => return Err(self.pool.unavailable("the server has not confirmed the change in time".into())),
            }
        }
        self.changed_today(&entry, today, None).await;
        Ok(self.generation_of(&entry).await)
    }

    /// The day of the change, where the entry has one. identityd writes it if it may. If not, and the server notes the moment of each change itself, its owner takes the day away: a zero
    /// would ask for another password for ever. Not worth failing for.
    async fn changed_today(&self, entry: &RawEntry, today: Date, owner: Option<Client>) {
        let attribute = &self.map.0.attributes.last_change;
        if entry.first(attribute).is_none() {
            return;
        }
        let Ok(mut client) = self.pool.connect(true).await else { return };
        let day = HashSet::from([today.days().to_string().into_bytes()]);
        let change = vec![Mod::Replace(attribute.clone().into_bytes(), day)];
        let written = tokio::time::timeout(CHANGE, async {
            match (client.modify(&entry.dn, change).await, owner) {
                (Err(LdapFailure::Said { code: 50, .. }), Some(mut owner)) if noted(&mut client, &entry.dn).await => {
                    owner.modify(&entry.dn, vec![Mod::Delete(attribute.clone().into_bytes(), HashSet::new())]).await
                }
                (written, _) => written,
            }
        });
        if let Ok(Err(failure)) = written.await {
            tracing::warn!(dn = entry.dn, %failure, "{attribute} is not up to date: let its owner delete it, as schema/ldap/slapd.ldif does, or identityd write it");
        }
    }

    /// The number of the newest change of an entry, at the server that was written.
    async fn generation_of(&self, entry: &RawEntry) -> Generation {
        let search = Search {
            base: entry.dn.clone(),
            scope: ldap3::Scope::Base,
            filter: "(objectClass=*)".into(),
            attributes: vec!["entryCSN".into(), "modifyTimestamp".into()],
            limit: 0,
            optional: true,
        };
        let found = match self.pool.connect(true).await {
            Ok(mut client) => client.search(&search).await.map(|found| found.entries).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        found.first().and_then(written).unwrap_or_else(|| self.feed.generation())
    }
}

/// How the change of a password ended at one server.
enum Replaced {
    /// It is another one.
    Done(Client),
    /// This server takes no changes; what to say if no other one does.
    Closed(DirectoryError),
}

/// Whether the server notes itself when a password was changed.
async fn noted(client: &mut Client, dn: &str) -> bool {
    let search = Search {
        base: dn.into(),
        scope: ldap3::Scope::Base,
        filter: "(pwdChangedTime=*)".into(),
        attributes: vec!["1.1".into()],
        limit: 0,
        optional: true,
    };
    client.search(&search).await.is_ok_and(|found| !found.entries.is_empty())
}

fn verified(accepted: bool, policy: PolicyAnswer) -> Verified {
    Verified {
        accepted,
        expired: policy.error == Some(0),
        locked: policy.error == Some(1),
        must_change: policy.error == Some(2) || policy.grace.is_some(),
        grace: policy.grace,
        ends_in: policy.ends_in.map(|seconds| Duration::from_secs(seconds.into())),
    }
}

/// draft-behera §6.2, in words for the person.
fn explained(failure: LdapFailure, policy: PolicyAnswer) -> LdapFailure {
    let text = match policy.error {
        Some(3) => "this password may not be changed by its owner",
        Some(4) => "the old password is needed",
        Some(5) => "the new password is too simple",
        Some(6) => "the new password is too short",
        Some(7) => "the password was changed too recently",
        Some(8) => "the new password was used before",
        _ => return failure,
    };
    LdapFailure::Said { code: 19, text: text.into() }
}
