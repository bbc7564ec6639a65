//! The face that every directory has, over indexed statements.

use std::collections::BTreeSet;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Generation, Group, Login, SshKey};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Connection, Row, SqliteConnection};

use super::rows::{bytes, group, login, select_group, select_login};
use super::stock::SqliteStock;
use super::{SqliteDirectory, history};
use crate::accounts::key::AuthorizedKey;
use crate::directory::fleet::Hosts;
use crate::directory::sql::bounded_keys;
use crate::directory::{Change, Changes, Directory, DirectoryError, Entry, Kind, Stock};

#[async_trait]
impl Directory for SqliteDirectory {
    async fn login_by_name(&self, name: &LoginName) -> Result<Option<Entry<Login>>, DirectoryError> {
        let query = sqlx::query(select_login!("WHERE l.name = ?1 ORDER BY l.rowid LIMIT 1")).bind(name.as_str());
        Ok(self.database(query.fetch_optional(self.reader()).await)?.map(|row| login(&row)))
    }

    async fn login_by_uid(&self, uid: UserId) -> Result<Option<Entry<Login>>, DirectoryError> {
        let query = sqlx::query(select_login!("WHERE l.uid = ?1 ORDER BY l.rowid LIMIT 1")).bind(i64::from(uid.raw()));
        Ok(self.database(query.fetch_optional(self.reader()).await)?.map(|row| login(&row)))
    }

    async fn logins_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Login>>, DirectoryError> {
        let query =
            sqlx::query(select_login!("WHERE l.uid > ?1 ORDER BY l.uid LIMIT ?2")).bind(i64::from(after)).bind(limit);
        Ok(self.database(query.fetch_all(self.reader()).await)?.iter().map(login).collect())
    }

    async fn group_by_name(&self, name: &GroupName) -> Result<Option<Entry<Group>>, DirectoryError> {
        let query = sqlx::query(select_group!("WHERE g.name = ?1 ORDER BY g.rowid LIMIT 1")).bind(name.as_str());
        Ok(self.database(query.fetch_optional(self.reader()).await)?.map(|row| group(&row)))
    }

    async fn group_by_gid(&self, gid: GroupId) -> Result<Option<Entry<Group>>, DirectoryError> {
        let query = sqlx::query(select_group!("WHERE g.gid = ?1 ORDER BY g.rowid LIMIT 1")).bind(i64::from(gid.raw()));
        Ok(self.database(query.fetch_optional(self.reader()).await)?.map(|row| group(&row)))
    }

    async fn groups_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Group>>, DirectoryError> {
        let query =
            sqlx::query(select_group!("WHERE g.gid > ?1 ORDER BY g.gid LIMIT ?2")).bind(i64::from(after)).bind(limit);
        Ok(self.database(query.fetch_all(self.reader()).await)?.iter().map(group).collect())
    }

    async fn gids_of(&self, name: &LoginName) -> Result<Option<Vec<GroupId>>, DirectoryError> {
        let query = sqlx::query(select_login!(
            also ", (SELECT group_concat(x.gid, ',') FROM (SELECT m.gid AS gid FROM group_member AS m WHERE m.uid = l.uid \
             UNION ALL SELECT g.gid FROM unix_group AS g WHERE g.rule = 'sftp-only' \
             AND EXISTS (SELECT 1 FROM login_capability AS c WHERE c.uid = l.uid AND c.capability = 'sftp') \
             AND NOT EXISTS (SELECT 1 FROM login_capability AS c WHERE c.uid = l.uid AND c.capability = 'shell')) AS x) AS gids",
            "WHERE l.rowid = (SELECT min(rowid) FROM login WHERE name = ?1)"
        ))
        .bind(name.as_str());
        let row = self.database(query.fetch_optional(self.reader()).await)?;
        // A quarantined login is nobody here, so it is in no group.
        let Some((row, Entry::Valid(login))) = row.map(|row| {
            let entry = login(&row);
            (row, entry)
        }) else {
            return Ok(None);
        };
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
        let others: BTreeSet<GroupId> = bytes(&row, "gids")
            .split(|byte| *byte == b',')
            .filter_map(|gid| GroupId::try_from(number(gid)?).ok())
            .filter(|gid| *gid != login.gid)
            .collect();
        Ok(Some(std::iter::once(login.gid).chain(others).collect()))
    }

    async fn ssh_keys(&self, name: &LoginName) -> Result<Vec<SshKey>, DirectoryError> {
        let query = sqlx::query(select_login!(
            also ", k.id, k.line, k.fingerprint, k.added",
            "JOIN ssh_key AS k ON k.uid = l.uid WHERE l.rowid = (SELECT min(rowid) FROM login WHERE name = ?1) ORDER BY k.id LIMIT 101"
        ))
        .bind(name.as_str());
        let rows = self.database(query.fetch_all(self.reader()).await)?;
        // A quarantined login does not enter with a key either.
        let served = bounded_keys(name, &rows).filter(|row| matches!(login(*row), Entry::Valid(_)));
        Ok(served.filter_map(|row| key(name, row)).collect())
    }

    async fn password_hash(&self, name: &LoginName) -> Result<Option<PasswordHash>, DirectoryError> {
        let query =
            sqlx::query("SELECT password_hash FROM login WHERE name = ?1 ORDER BY rowid LIMIT 1").bind(name.as_str());
        let Some(row) = self.database(query.fetch_optional(self.reader()).await)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes(&row, "password_hash")).unwrap_or_default();
        // A hash that breaks the rules matches no password.
        Ok(Some(PasswordHash::try_from(text).unwrap_or_else(|_| PasswordHash::none())))
    }

    async fn set_password(
        &self,
        name: &LoginName,
        old: Option<&PasswordHash>,
        new: &PasswordHash,
        today: Date,
    ) -> Result<Generation, DirectoryError> {
        if let Some(why) = self.read_only() {
            // Refused, not unavailable: look-ups go on.
            return Err(DirectoryError::Refused(why));
        }
        let mut connection = self.database(self.writer().acquire().await)?;
        let stored = self.store_password(&mut connection, name, old, new, today).await;
        if stored.is_err() {
            // A commit that fails on a full disk rolls back by itself; sqlx then counts a transaction that is not there, for ever.
            connection.close_on_drop();
        }
        stored
    }

    async fn generation(&self) -> Result<Generation, DirectoryError> {
        let query = sqlx::query("SELECT generation FROM directory");
        let row = self.database(query.fetch_one(self.reader()).await)?;
        self.database(generation(&row, 0))
    }

    async fn changes_after(&self, since: Generation, limit: u32) -> Result<Changes, DirectoryError> {
        let rows = self.database(changes(self.reader(), since, limit).await)?;
        let Some(state) = rows.first() else {
            return Err(DirectoryError::Damaged {
                directory: self.path().display().to_string(),
                reason: "the row of the table directory is gone; restore a backup".into(),
            });
        };
        let newest = self.database(generation(state, 0))?;
        let oldest = self.database(generation(state, 1))?;
        // Newer than the newest: the directory was replaced by an older copy.
        if since > newest || oldest.0 > since.0 + 1 {
            return Ok(Changes::Gap);
        }
        let changes: Vec<Change> = rows.iter().filter_map(change_of).collect();
        self.history.remember(&changes);
        Ok(Changes::List(changes))
    }

    async fn stock(&self) -> Result<Box<dyn Stock>, DirectoryError> {
        let stock = SqliteStock::open(self).await?;
        self.change_numbered(stock.generation()).await?;
        Ok(Box::new(stock))
    }

    fn cursor(&self, generation: Generation) -> Vec<u8> {
        self.history.cursor(generation)
    }

    async fn resume(&self, generation: Generation, cursor: &[u8]) -> Result<bool, DirectoryError> {
        let now = self.change_numbered(generation).await?;
        // Where the log was trimmed, or nothing was noted, the numbers alone must do.
        Ok(now.is_none_or(|now| cursor.is_empty() || now == cursor))
    }

    async fn fleet(&self) -> Result<Hosts, DirectoryError> {
        Ok(Hosts::default())
    }

    fn read_only(&self) -> Option<String> {
        self.read_only.as_deref().map(Into::into)
    }
}

impl SqliteDirectory {
    /// What the change of this number is about, if the log still has it.
    async fn change_numbered(&self, generation: Generation) -> Result<Option<[u8; 16]>, DirectoryError> {
        let before = Generation(generation.0.saturating_sub(1));
        let rows = self.database(changes(self.reader(), before, 1).await)?;
        let found: Vec<Change> =
            rows.iter().filter_map(change_of).filter(|change| change.generation == generation).collect();
        self.history.remember(&found);
        Ok(found.first().map(history::of))
    }

    async fn store_password(
        &self,
        connection: &mut SqliteConnection,
        name: &LoginName,
        old: Option<&PasswordHash>,
        new: &PasswordHash,
        today: Date,
    ) -> Result<Generation, DirectoryError> {
        let mut transaction = self.database(connection.begin_with("BEGIN IMMEDIATE").await)?;
        let update = sqlx::query(
            "UPDATE login SET password_hash = ?2, last_change = ?3 WHERE name = ?1 AND (?4 IS NULL OR password_hash = ?4)",
        )
        .bind(name.as_str())
        .bind(new.expose())
        .bind(today.days())
        .bind(old.map(PasswordHash::expose));
        if self.database(update.execute(&mut *transaction).await)?.rows_affected() == 0 {
            let there = sqlx::query("SELECT 1 FROM login WHERE name = ?1").bind(name.as_str());
            return match self.database(there.fetch_optional(&mut *transaction).await)? {
                Some(_) => Err(DirectoryError::Conflict),
                None => Err(DirectoryError::Refused(format!("there is no login {name}"))),
            };
        }
        let generation = self.database(newest(&mut transaction).await)?;
        self.database(transaction.commit().await)?;
        Ok(generation)
    }
}

/// The newest change as this connection sees it, inside its transaction.
pub(crate) async fn newest(connection: &mut SqliteConnection) -> Result<Generation, sqlx::Error> {
    let row = sqlx::query("SELECT generation FROM directory").fetch_one(connection).await?;
    generation(&row, 0)
}

/// One statement, so that the counters and the list are of one moment. Without a change there is one row with NULLs.
async fn changes(pool: &SqlitePool, since: Generation, limit: u32) -> Result<Vec<SqliteRow>, sqlx::Error> {
    sqlx::query(
        "SELECT d.generation, coalesce((SELECT min(generation) FROM change), d.generation + 1), c.generation, c.kind, c.name, c.id \
         FROM directory AS d LEFT JOIN (SELECT * FROM change WHERE generation > ?1 ORDER BY generation LIMIT ?2) AS c \
         ORDER BY c.generation",
    )
    .bind(i64::try_from(since.0).unwrap_or(i64::MAX))
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// A row of `changes`.
fn change_of(row: &SqliteRow) -> Option<Change> {
    let number = generation(row, 2).ok().filter(|generation| generation.0 > 0)?;
    let kind = if bytes(row, "kind") == b"group" { Kind::Group } else { Kind::Login };
    let id = row.try_get_unchecked::<i64, &str>("id").ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    Some(Change { generation: number, kind, name: String::from_utf8_lossy(&bytes(row, "name")).into_owned(), id })
}

fn generation(row: &SqliteRow, at: usize) -> Result<Generation, sqlx::Error> {
    let number = row.try_get_unchecked::<Option<i64>, usize>(at)?.unwrap_or(0);
    Ok(Generation(u64::try_from(number).unwrap_or(0)))
}

/// A key whose line parses; another is not given to sshd.
fn key(login: &LoginName, row: &SqliteRow) -> Option<SshKey> {
    let id = row.try_get_unchecked::<i64, &str>("id").ok()?;
    let line = String::from_utf8(bytes(row, "line")).unwrap_or_default();
    match line.parse::<AuthorizedKey>() {
        Ok(parsed) => Some(SshKey {
            id,
            line,
            fingerprint: parsed.fingerprint().to_owned(),
            added: row
                .try_get_unchecked::<Option<i64>, &str>("added")
                .ok()
                .flatten()
                .and_then(|days| u32::try_from(days).ok())
                .map(Date::from_days),
        }),
        Err(error) => {
            tracing::warn!(%login, key = id, %error, "a stored ssh key is not served; remove it with identityctl key remove");
            None
        }
    }
}
