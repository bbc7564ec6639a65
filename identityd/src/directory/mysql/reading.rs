//! The face that every directory has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Generation, Group, Login, SshKey};
use sqlx::mysql::MySqlRow;

use super::node::Role;
use super::queries::{Many, Query, Value};
use super::stock::MysqlStock;
use super::{FeedQueries, MysqlDirectory, history};
use crate::accounts::key::AuthorizedKey;
use crate::directory::fleet::{HostName, HostReport, Hosts};
use crate::directory::servers::ServerReport;
use crate::directory::sql::{Columns, bounded_keys, group, login};
use crate::directory::{Changes, Directory, DirectoryError, Entry, MAX_CURSOR, NamedLogin, Stock};

/// Logins in one question.
const MOST: usize = 128;

/// What root reads where this server may not reset passwords.
const NO_RESET: &str = "this server may not set a password without the old one; use identityctl login passwd, or grant EXECUTE on reset_password (docs/mysql.md, Trust)";

impl MysqlDirectory {
    async fn look(&self, query: &Query, values: &[(&str, Value<'_>)]) -> Result<Vec<MySqlRow>, DirectoryError> {
        self.inner.look_up(Role::Reader, query, values).await
    }

    /// Two questions for all of them.
    async fn many_logins(&self, many: &Many, names: &[LoginName]) -> Result<Vec<NamedLogin>, DirectoryError> {
        let (Some(many), Some(last)) = (many.fitting(names.len()), names.last()) else { return Ok(Vec::new()) };
        let filled = names.iter().chain(std::iter::repeat(last));
        let values: Vec<_> =
            many.names.iter().map(String::as_str).zip(filled.map(|name| Value::Text(name.as_str()))).collect();
        let rows = self.look(&many.logins, &values).await?;
        let mut gids: BTreeMap<Vec<u8>, Vec<GroupId>> = BTreeMap::new();
        for row in &self.look(&many.gids, &values).await? {
            gids.entry(row.bytes("name")).or_default().extend(gid(row));
        }
        let named = |row: &MySqlRow| {
            let name = LoginName::from_bytes(&row.bytes("name")).ok().filter(|name| names.contains(name))?;
            let entry = login(row);
            let gids = match &entry {
                Entry::Valid(login) => in_order(login.gid, gids.remove(name.as_str().as_bytes()).unwrap_or_default()),
                Entry::Quarantined(_) => Vec::new(),
            };
            Some(NamedLogin { name, entry, gids })
        };
        Ok(rows.iter().filter_map(named).collect())
    }
}

/// The gid of a row.
fn gid(row: &MySqlRow) -> Option<GroupId> {
    GroupId::try_from(u32::try_from(row.number("gid").ok()??).ok()?).ok()
}

/// The primary group first, then the others ascending.
fn in_order(primary: GroupId, others: impl IntoIterator<Item = GroupId>) -> Vec<GroupId> {
    let others: BTreeSet<GroupId> = others.into_iter().filter(|gid| *gid != primary).collect();
    std::iter::once(primary).chain(others).collect()
}

#[async_trait]
impl Directory for MysqlDirectory {
    async fn login_by_name(&self, name: &LoginName) -> Result<Option<Entry<Login>>, DirectoryError> {
        let rows = self.look(&self.inner.queries.login_by_name, &[("name", Value::Text(name.as_str()))]).await?;
        Ok(rows.iter().map(login).find(|entry| is_named(entry, name.as_str(), |login| login.name.as_str())))
    }

    async fn login_by_uid(&self, uid: UserId) -> Result<Option<Entry<Login>>, DirectoryError> {
        let rows = self.look(&self.inner.queries.login_by_uid, &[("uid", number(uid.raw()))]).await?;
        Ok(rows.first().map(login))
    }

    async fn logins_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Login>>, DirectoryError> {
        let values = [("after", number(after)), ("limit", number(limit))];
        Ok(self.look(&self.inner.queries.logins_after, &values).await?.iter().map(login).collect())
    }

    async fn group_by_name(&self, name: &GroupName) -> Result<Option<Entry<Group>>, DirectoryError> {
        let rows = self.look(&self.inner.queries.group_by_name, &[("name", Value::Text(name.as_str()))]).await?;
        Ok(rows.iter().map(group).find(|entry| is_named(entry, name.as_str(), |group| group.name.as_str())))
    }

    async fn group_by_gid(&self, gid: GroupId) -> Result<Option<Entry<Group>>, DirectoryError> {
        let rows = self.look(&self.inner.queries.group_by_gid, &[("gid", number(gid.raw()))]).await?;
        Ok(rows.first().map(group))
    }

    async fn groups_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Group>>, DirectoryError> {
        let values = [("after", number(after)), ("limit", number(limit))];
        Ok(self.look(&self.inner.queries.groups_after, &values).await?.iter().map(group).collect())
    }

    async fn gids_of(&self, name: &LoginName) -> Result<Option<Vec<GroupId>>, DirectoryError> {
        Ok(self.login_with_gids(name).await?.and_then(|(entry, gids)| matches!(entry, Entry::Valid(_)).then_some(gids)))
    }

    async fn login_with_gids(&self, name: &LoginName) -> Result<Option<(Entry<Login>, Vec<GroupId>)>, DirectoryError> {
        let Some(entry) = self.login_by_name(name).await? else { return Ok(None) };
        // A quarantined login is nobody here, so it is in no group.
        let Entry::Valid(login) = &entry else { return Ok(Some((entry, Vec::new()))) };
        let rows = self.look(&self.inner.queries.gids_of, &[("name", Value::Text(name.as_str()))]).await?;
        let gids = in_order(login.gid, rows.iter().filter_map(gid));
        Ok(Some((entry, gids)))
    }

    async fn logins_with_gids(&self, names: &[LoginName]) -> Result<Vec<NamedLogin>, DirectoryError> {
        let mut found = Vec::new();
        match &self.inner.queries.many {
            Some(many) if names.len() > 1 => {
                for names in names.chunks(MOST) {
                    found.extend(self.many_logins(many, names).await?);
                }
            }
            _ => {
                for name in names {
                    let login = self.login_with_gids(name).await?;
                    found.extend(login.map(|(entry, gids)| NamedLogin { name: name.clone(), entry, gids }));
                }
            }
        }
        Ok(found)
    }

    async fn ssh_keys(&self, name: &LoginName) -> Result<Vec<SshKey>, DirectoryError> {
        let Some(query) = &self.inner.queries.ssh_keys else { return Ok(Vec::new()) };
        // A quarantined login does not enter with a key either.
        if !matches!(self.login_by_name(name).await?, Some(Entry::Valid(_))) {
            return Ok(Vec::new());
        }
        let rows = self.look(query, &[("name", Value::Text(name.as_str()))]).await?;
        Ok(bounded_keys(name, &rows).filter_map(|row| key(name, row)).collect())
    }

    async fn password_hash(&self, name: &LoginName) -> Result<Option<PasswordHash>, DirectoryError> {
        let query = &self.inner.queries.password_hash;
        let rows = self.inner.look_up(Role::Authentication, query, &[("name", Value::Text(name.as_str()))]).await?;
        Ok(rows.first().map(hash))
    }

    async fn set_password(
        &self,
        name: &LoginName,
        old: Option<&PasswordHash>,
        new: &PasswordHash,
        today: Date,
    ) -> Result<Generation, DirectoryError> {
        // Without an old hash it is root's reset, a right of its own (`docs/mysql.md`, Trust).
        let query = match (old, &self.inner.queries.reset_password) {
            (None, Some(reset)) => Some(reset),
            _ => self.inner.queries.set_password.as_ref(),
        };
        let Some(query) = query else {
            return Err(DirectoryError::Refused("passwords are changed in the panel, not here".into()));
        };
        let at = self.inner.find_primary().await?;
        let Some(node) = self.inner.nodes.get(at) else { return Err(self.inner.nowhere("no such server")) };
        let values = [
            ("name", Value::Text(name.as_str())),
            ("old", old.map_or(Value::Null, |old| Value::Text(old.expose()))),
            ("new", Value::Text(new.expose())),
            ("today", number(today.days())),
        ];
        let rows = match node.write(Role::Authentication, query, &values).await {
            Err(DirectoryError::Damaged { reason, .. }) if old.is_none() && reason.contains("reset_password") => {
                return Err(DirectoryError::Refused(NO_RESET.into()));
            }
            rows => rows?,
        };
        let said = |row: &MySqlRow, column: &str| row.number(column) == Ok(Some(1));
        let (there, stored) = match rows.first() {
            Some(row) => (said(row, "there"), said(row, "stored")),
            // Somebody else's UPDATE says nothing: look.
            None => {
                let values = [("name", Value::Text(name.as_str()))];
                let rows = node.rows(Role::Authentication, &self.inner.queries.password_hash, &values).await?;
                (!rows.is_empty(), rows.first().is_some_and(|row| hash(row) == *new))
            }
        };
        match (there, stored) {
            (_, true) => {}
            (true, false) => return Err(DirectoryError::Conflict),
            (false, false) => return Err(DirectoryError::Refused(format!("there is no login {name}"))),
        }
        // It is stored, whatever becomes of its number: the next poll finds that.
        let numbered = match self.inner.queries.feed {
            FeedQueries::Own { .. } => self.inner.number().await,
            _ => self.inner.generation().await,
        };
        match numbered {
            Ok(generation) => Ok(Generation(generation)),
            Err(_) => Ok(Generation(self.inner.seen.load(std::sync::atomic::Ordering::Relaxed))),
        }
    }

    async fn generation(&self) -> Result<Generation, DirectoryError> {
        self.inner.generation().await.map(Generation)
    }

    async fn committed(&self) -> Result<Generation, DirectoryError> {
        self.number_changes().await
    }

    async fn report(&self, report: &HostReport) -> Result<(), DirectoryError> {
        self.store_report(report).await
    }

    async fn fleet(&self) -> Result<Hosts, DirectoryError> {
        self.hosts().await.map(Hosts::from)
    }

    async fn forget_host(&self, host: &HostName) -> Result<bool, DirectoryError> {
        self.remove_host(host).await
    }

    async fn changes_after(&self, since: Generation, limit: u32) -> Result<Changes, DirectoryError> {
        self.inner.changes(since, limit).await
    }

    async fn stock(&self) -> Result<Box<dyn Stock>, DirectoryError> {
        MysqlStock::open(self).await
    }

    /// Which directory it is, and which change has this number: the number means nothing in another directory, or another history of this one.
    fn cursor(&self, generation: Generation) -> Vec<u8> {
        match self.inner.queries.feed {
            FeedQueries::Own { .. } => {
                let identity = self.inner.identity.lock().unwrap_or_else(PoisonError::into_inner);
                history::cursor(identity.as_deref().unwrap_or_default(), self.inner.history.mark(generation.0))
            }
            // Somebody else's tables have no name of their own.
            _ => self.inner.label.bytes().take(MAX_CURSOR).collect(),
        }
    }

    async fn resume(&self, generation: Generation, cursor: &[u8]) -> Result<bool, DirectoryError> {
        if let FeedQueries::Own { .. } = self.inner.queries.feed {
            return self.inner.go_on(generation, cursor).await;
        }
        self.inner.generation().await?;
        Ok(self.cursor(generation) == cursor)
    }

    async fn common(&self, generation: Generation, cursor: &[u8]) -> Result<Generation, DirectoryError> {
        self.in_this_history(generation, cursor).await
    }

    fn servers(&self) -> Vec<ServerReport> {
        self.inner.servers.report()
    }

    fn not_followed(&self) -> Option<(Duration, String)> {
        self.inner.numbering.not_followed()
    }
}

fn number(value: u32) -> Value<'static> {
    Value::Number(value.into())
}

/// Whether the server meant the same name: a foreign table may compare without case, or without spaces at the end.
fn is_named<T>(entry: &Entry<T>, name: &str, of: impl Fn(&T) -> &str) -> bool {
    match entry {
        Entry::Valid(value) => of(value) == name,
        Entry::Quarantined(quarantined) => quarantined.name == name,
    }
}

/// A hash that breaks the rules matches no password.
fn hash(row: &MySqlRow) -> PasswordHash {
    let text = String::from_utf8(row.bytes("password_hash")).unwrap_or_default();
    PasswordHash::try_from(text).unwrap_or_else(|_| PasswordHash::none())
}

/// A key whose line parses; another is not given to sshd.
fn key(login: &LoginName, row: &MySqlRow) -> Option<SshKey> {
    let id = row.number("id").ok().flatten().unwrap_or(0);
    let line = String::from_utf8(row.bytes("line")).unwrap_or_default();
    match line.parse::<AuthorizedKey>() {
        Ok(parsed) => Some(SshKey {
            id,
            line,
            fingerprint: parsed.fingerprint().to_owned(),
            added: row.number("added").ok().flatten().and_then(|days| u32::try_from(days).ok()).map(Date::from_days),
        }),
        Err(error) => {
            tracing::warn!(%login, key = id, %error, "a stored ssh key is not served; remove it with identityctl key remove");
            None
        }
    }
}
