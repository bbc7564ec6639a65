//! The embedded directory: one SQLite file, by default `/var/lib/identityd/directory.db`. Its page is `docs/directory.md`.

mod error;
mod files;
mod migrate;
mod owner;
pub(crate) mod reading;
pub(crate) mod rows;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

pub use owner::{AsOwner, OwnerError};

use super::DirectoryError;
use files::Found;
use migrate::Fresh;

/// An open SQLite directory. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct SqliteDirectory {
    path: PathBuf,
    reader: SqlitePool,
    writer: SqlitePool,
}

/// Look-ups take tens of microseconds; four at once saturate one disk's page cache.
const READERS: u32 = 4;
/// A look-up that gets no connection in this time is answered "unknown", not later.
const ACQUIRE: Duration = Duration::from_secs(1);
/// In WAL a reader waits for nobody but a recovery or a checkpoint's last step.
const READER_BUSY: Duration = Duration::from_millis(500);
/// A writer waits for another one: an import of 100,000 lines takes seconds.
const WRITER_BUSY: Duration = Duration::from_secs(10);

impl SqliteDirectory {
    /// Opens an existing directory; never creates the file. Brings an older schema to this version.
    ///
    /// # Errors
    /// It is missing, damaged, of another program or of a newer version, or its owner or mode are wrong: each with what to do.
    pub async fn open(path: &Path) -> Result<Self, DirectoryError> {
        match files::inspect(path)? {
            Found::File => Self::connect(path, Fresh::Refused).await,
            Found::Empty | Found::Nothing => {
                Err(files::unavailable(path, "it does not exist yet; create it with: identityctl init".into()))
            }
        }
    }

    /// Creates the directory, or opens it if it is there; an interrupted creation is completed.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and when the file cannot be created.
    pub async fn create(path: &Path) -> Result<Self, DirectoryError> {
        if files::inspect(path)? == Found::Nothing {
            files::create(path)?;
        }
        Self::connect(path, Fresh::Allowed).await
    }

    async fn connect(path: &Path, fresh: Fresh) -> Result<Self, DirectoryError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .foreign_keys(true)
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON");
        let writing = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            // An id that was given out is given out, whatever the power does.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(WRITER_BUSY);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(WRITER_BUSY)
            .test_before_acquire(false)
            .connect_lazy_with(writing);
        if let Err(error) = migrate::run(path, &writer, fresh).await {
            writer.close().await;
            return Err(error);
        }
        let reader = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_with(options.read_only(true).busy_timeout(READER_BUSY))
            .await
            .map_err(|error| error::translate(path, &error))?;
        Ok(Self { path: path.to_owned(), reader, writer })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the connections; SQLite folds the write-ahead log into the file when the last one closes.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// Reads the whole file and returns what is broken in it: for `identityctl doctor`. Empty: nothing.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub async fn check(&self) -> Result<Vec<String>, DirectoryError> {
        let found: Vec<(String,)> =
            self.database(sqlx::query_as("PRAGMA integrity_check(20)").fetch_all(&self.reader).await)?;
        Ok(found.into_iter().map(|(line,)| line).filter(|line| line != "ok").collect())
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// Gives an error of sqlx the words of this directory.
    pub(crate) fn database<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, DirectoryError> {
        result.map_err(|error| error::translate(&self.path, &error))
    }
}
