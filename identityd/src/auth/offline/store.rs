//! The file of the records: SQLite, of its owner alone.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schema::name::LoginName;
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use zeroize::Zeroizing;

use super::JOURNAL_FILE;
use super::key::{HostKey, OfflineError, SALT, VERIFIER, private, unusable};
use super::record::{Facts, Record, Verifier};

/// One row for each login; `facts` is JSON, and without a verifier the last five are NULL. Rows under another key than this host's mean nothing and go.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS host (id BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS record (
    name     TEXT NOT NULL PRIMARY KEY,
    facts    TEXT NOT NULL,
    known    INTEGER NOT NULL,
    suspect  INTEGER NOT NULL DEFAULT 0,
    salt     BLOB,
    verifier BLOB,
    mark     BLOB,
    verified INTEGER,
    ends     INTEGER
) STRICT, WITHOUT ROWID;";
/// Of these tables. The records of another version go: they come back as people log in.
const VERSION: i64 = 3;

/// For one's turn. A disk that is slow for a while is no reason to remove what is on it.
const TURN: Duration = Duration::from_secs(600);

pub(super) struct Store {
    path: PathBuf,
    pool: SqlitePool,
    /// The last write failed: it is said once.
    failing: AtomicBool,
    /// A change could not be noted in the file, so it was removed: what is known is in memory alone, until the next start.
    removed: AtomicBool,
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
        // One connection: who has it, writes; what is taken from memory after that is newer than what was written before.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        let store = Self { path: path.into(), pool, failing: AtomicBool::new(false), removed: AtomicBool::new(false) };
        let records = store.load(key).await.map_err(|error| {
            unusable(path, format!("{error}; remove it, then logins are kept again as they are verified online"))
        })?;
        Ok((store, records))
    }

    async fn load(&self, key: &HostKey) -> Result<Vec<(LoginName, Record)>, sqlx::Error> {
        let version = sqlx::query("PRAGMA user_version").fetch_one(&self.pool).await?.try_get::<i64, _>(0)?;
        if version != VERSION {
            let anew = format!("DROP TABLE IF EXISTS record; PRAGMA user_version = {VERSION}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(anew)).execute(&self.pool).await?;
        }
        sqlx::raw_sql(TABLES).execute(&self.pool).await?;
        // What cannot be written is not read either: changes that are received could not be noted in it, and may not have been. Writes nothing.
        sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK").execute(&self.pool).await?;
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
        let rows = sqlx::query("SELECT * FROM record");
        Ok(rows.fetch_all(&self.pool).await?.iter().filter_map(record).collect())
    }

    /// Writes what memory has of these logins once it is our turn; `None`: nothing any more. So a later change cannot be overwritten by what was there before it.
    ///
    /// # Errors
    /// Those that were to be written, and are not.
    pub(super) async fn save(
        &self,
        rows: impl FnOnce() -> Vec<(LoginName, Option<Record>)> + Send,
    ) -> Result<(), Vec<LoginName>> {
        if self.removed.load(Ordering::SeqCst) {
            drop(rows());
            return Ok(());
        }
        let mut names = Vec::new();
        let taken = || {
            let rows = rows();
            names.extend(rows.iter().map(|(name, _)| name.clone()));
            rows
        };
        let done = self.write(taken).await;
        if self.said(done) { Ok(()) } else { Err(names) }
    }

    async fn write(&self, rows: impl FnOnce() -> Vec<(LoginName, Option<Record>)> + Send) -> Result<(), sqlx::Error> {
        let mut turn = self.pool.begin().await?;
        for (name, record) in rows() {
            let Some(record) = record else {
                sqlx::query("DELETE FROM record WHERE name = ?1").bind(name.as_str()).execute(&mut *turn).await?;
                continue;
            };
            let Ok(facts) = serde_json::to_string(&*record.facts) else { continue };
            let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
            let verifier = record.verifier.as_ref();
            sqlx::query(
                "INSERT OR REPLACE INTO record (name, facts, known, suspect, salt, verifier, mark, verified, ends) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .bind(name.as_str())
            .bind(facts)
            .bind(seconds(record.known))
            .bind(record.suspect)
            .bind(verifier.map(|verifier| verifier.salt.to_vec()))
            .bind(verifier.map(|verifier| verifier.bytes.to_vec()))
            .bind(verifier.and_then(|verifier| verifier.mark).map(|mark| mark.to_vec()))
            .bind(verifier.map(|verifier| seconds(verifier.verified)))
            .bind(verifier.and_then(|verifier| verifier.ends).map(seconds))
            .execute(&mut *turn)
            .await?;
        }
        turn.commit().await
    }

    /// Marks records as not to be used until they have been compared with the directory. `None`: all. If that cannot be written, the file goes: after a restart nobody is to
    /// enter by what it says. `false`: it could not be removed either.
    pub(super) async fn suspect(&self, names: Option<&[LoginName]>) -> bool {
        if self.removed.load(Ordering::SeqCst) {
            return true;
        }
        let query = match names {
            None => sqlx::query("UPDATE record SET suspect = 1"),
            Some(names) => {
                let names = serde_json::json!(names.iter().map(LoginName::as_str).collect::<Vec<_>>()).to_string();
                sqlx::query("UPDATE record SET suspect = 1 WHERE name IN (SELECT value FROM json_each(?1))").bind(names)
            }
        };
        let done = query.execute(&self.pool).await;
        self.said(done.map(|_| ())) || self.remove().await
    }

    /// Removes the file, whatever else fails: that needs no space.
    async fn remove(&self) -> bool {
        // Nobody is writing.
        let _turn = self.pool.acquire().await;
        let mut done = true;
        for path in [self.path.clone(), self.path.with_file_name(JOURNAL_FILE)] {
            if let Err(error) = tokio::fs::remove_file(&path).await
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::error!(file = %path.display(), %error, "a change could be noted in it no more, and it cannot be removed: a restart now would believe it; remove it");
                done = false;
            }
        }
        if done {
            self.removed.store(true, Ordering::SeqCst);
            tracing::error!(file = %self.path.display(), "a change could not be noted in it, so it was removed: who has entered this host is known until identityd is restarted, and learned anew after that");
        }
        done
    }

    /// Waits for who is writing, and closes the file.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Nobody else's turn comes until this is dropped, as on a disk that is slow.
    #[cfg(test)]
    pub(super) async fn hold(&self) -> sqlx::pool::PoolConnection<sqlx::Sqlite> {
        self.pool.acquire().await.unwrap()
    }

    /// Somebody was at the file.
    #[cfg(test)]
    pub(super) async fn spoil(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
    }

    /// Whether it worked. A failure is said when it begins and when it ends.
    fn said(&self, done: Result<(), sqlx::Error>) -> bool {
        match done {
            Err(sqlx::Error::PoolClosed) => true,
            Ok(()) => {
                if self.failing.swap(false, Ordering::SeqCst) {
                    tracing::info!(file = %self.path.display(), "what this host keeps for the time when the directory is away is written again");
                }
                true
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::SeqCst) {
                    tracing::error!(file = %self.path.display(), %error, "what this host keeps for the time when the directory is away cannot be written; it is tried again each second");
                }
                false
            }
        }
    }
}

fn record(row: &SqliteRow) -> Option<(LoginName, Record)> {
    let facts: Facts = serde_json::from_str(row.try_get("facts").ok()?).ok()?;
    let record = Record {
        facts: facts.into(),
        known: row.try_get::<i64, _>("known").ok()?.try_into().ok()?,
        verifier: verifier(row),
        suspect: row.try_get("suspect").ok()?,
    };
    Some((row.try_get::<String, _>("name").ok()?.parse().ok()?, record))
}

fn verifier(row: &SqliteRow) -> Option<Verifier> {
    let bytes = |column| row.try_get::<Option<Vec<u8>>, _>(column).ok().flatten();
    let seconds = |column| row.try_get::<Option<i64>, _>(column).ok().flatten().and_then(|time| time.try_into().ok());
    Some(Verifier {
        salt: <[u8; SALT]>::try_from(bytes("salt")?).ok()?,
        bytes: Zeroizing::new(<[u8; VERIFIER]>::try_from(bytes("verifier")?).ok()?),
        mark: bytes("mark").and_then(|mark| mark.try_into().ok()),
        verified: seconds("verified")?,
        ends: seconds("ends"),
    })
}
