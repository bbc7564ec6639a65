//! The file of the records: SQLite, of its owner alone.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use schema::name::LoginName;
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use zeroize::Zeroizing;

use super::key::{HostKey, OfflineError, SALT, VERIFIER, private, unusable};
use super::{Facts, Record};

/// One row for each login; `facts` is JSON. Rows under another key than this host's mean nothing and go.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS host (id BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS record (
    name     TEXT NOT NULL PRIMARY KEY,
    facts    TEXT NOT NULL,
    salt     BLOB NOT NULL,
    verifier BLOB NOT NULL,
    mark     BLOB,
    verified INTEGER NOT NULL,
    suspect  INTEGER NOT NULL DEFAULT 0,
    ends     INTEGER
) STRICT, WITHOUT ROWID;";

pub(super) struct Store {
    path: PathBuf,
    pool: SqlitePool,
}

impl Store {
    /// Opens the file, or makes it, and reads what is in it.
    pub(super) async fn open(path: &Path, key: &HostKey) -> Result<(Self, Vec<(LoginName, Record)>), OfflineError> {
        if private(path)?.is_none() {
            let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            made.map_err(|error| unusable(path, format!("it cannot be made: {error}")))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            // One file, and no bytes of a verifier that has been dropped are left in it.
            .journal_mode(SqliteJournalMode::Truncate)
            .pragma("secure_delete", "ON")
            .pragma("trusted_schema", "OFF")
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_lazy_with(options);
        let store = Self { path: path.into(), pool };
        let records = store.load(key).await.map_err(|error| {
            unusable(path, format!("{error}; remove it, then logins are kept again as they are verified online"))
        })?;
        Ok((store, records))
    }

    async fn load(&self, key: &HostKey) -> Result<Vec<(LoginName, Record)>, sqlx::Error> {
        sqlx::raw_sql(TABLES).execute(&self.pool).await?;
        let columns = sqlx::query("SELECT count(*) FROM pragma_table_info('record') WHERE name = 'ends'");
        if columns.fetch_one(&self.pool).await?.try_get::<i64, _>(0)? == 0 {
            // Of a version that did not know when a password ends.
            sqlx::query("ALTER TABLE record ADD COLUMN ends INTEGER").execute(&self.pool).await?;
        }
        let id = key.id();
        let host = sqlx::query("SELECT id FROM host").fetch_optional(&self.pool).await?;
        if host.is_none_or(|row| row.try_get::<Vec<u8>, _>(0).is_ok_and(|found| found != id)) {
            let mut anew = self.pool.begin().await?;
            let gone = sqlx::query("DELETE FROM record").execute(&mut *anew).await?.rows_affected();
            sqlx::query("DELETE FROM host").execute(&mut *anew).await?;
            sqlx::query("INSERT INTO host (id) VALUES (?1)").bind(id.to_vec()).execute(&mut *anew).await?;
            anew.commit().await?;
            if gone > 0 {
                tracing::warn!(file = %self.path.display(), gone, "the records of logins were made with another host's key, and are dropped");
            }
        }
        let rows = sqlx::query("SELECT name, facts, salt, verifier, mark, verified, suspect, ends FROM record");
        Ok(rows.fetch_all(&self.pool).await?.iter().filter_map(record).collect())
    }

    pub(super) async fn keep(&self, name: &LoginName, record: &Record) {
        let facts = serde_json::to_string(&*record.facts).unwrap_or_default();
        let done = sqlx::query(
            "INSERT OR REPLACE INTO record (name, facts, salt, verifier, mark, verified, suspect, ends) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(name.as_str())
        .bind(facts)
        .bind(record.salt.to_vec())
        .bind(record.verifier.to_vec())
        .bind(record.mark.map(|mark| mark.to_vec()))
        .bind(i64::try_from(record.verified).unwrap_or(i64::MAX))
        .bind(record.suspect)
        .bind(record.ends.map(|ends| i64::try_from(ends).unwrap_or(i64::MAX)))
        .execute(&self.pool)
        .await;
        self.said(done.map(|_| ()));
    }

    /// Marks records as not to be used until they have been compared with the directory. `None`: all.
    pub(super) async fn suspect(&self, names: Option<&[LoginName]>) {
        let done = match names {
            None => sqlx::query("UPDATE record SET suspect = 1").execute(&self.pool).await,
            Some(names) => {
                let names = serde_json::json!(names.iter().map(LoginName::as_str).collect::<Vec<_>>()).to_string();
                sqlx::query("UPDATE record SET suspect = 1 WHERE name IN (SELECT value FROM json_each(?1))")
                    .bind(names)
                    .execute(&self.pool)
                    .await
            }
        };
        self.said(done.map(|_| ()));
    }

    pub(super) async fn drop(&self, name: &LoginName) {
        let done = sqlx::query("DELETE FROM record WHERE name = ?1").bind(name.as_str()).execute(&self.pool).await;
        self.said(done.map(|_| ()));
    }

    fn said(&self, done: Result<(), sqlx::Error>) {
        if let Err(error) = done {
            tracing::error!(file = %self.path.display(), %error, "what this host keeps for the time when the directory is away cannot be written");
        }
    }
}

fn record(row: &SqliteRow) -> Option<(LoginName, Record)> {
    let facts: Facts = serde_json::from_str(row.try_get("facts").ok()?).ok()?;
    let verifier: [u8; VERIFIER] = row.try_get::<Vec<u8>, _>("verifier").ok()?.try_into().ok()?;
    let record = Record {
        facts: facts.into(),
        salt: <[u8; SALT]>::try_from(row.try_get::<Vec<u8>, _>("salt").ok()?).ok()?,
        verifier: Zeroizing::new(verifier),
        mark: row.try_get::<Option<Vec<u8>>, _>("mark").ok()?.and_then(|mark| mark.try_into().ok()),
        verified: row.try_get::<i64, _>("verified").ok()?.try_into().ok()?,
        suspect: row.try_get("suspect").ok()?,
        ends: row.try_get::<Option<i64>, _>("ends").ok()?.and_then(|ends| ends.try_into().ok()),
    };
    Some((row.try_get::<String, _>("name").ok()?.parse().ok()?, record))
}
