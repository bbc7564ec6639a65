//! The embedded directory: one SQLite file, by default `/var/lib/identityd/directory.db`. Its page is `docs/directory.md`.

mod error;
mod files;
mod history;
mod migrate;
mod names;
mod owner;
pub(crate) mod reading;
pub(crate) mod rows;
mod stock;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

pub use owner::{AsOwner, OwnerError};

use super::DirectoryError;
use files::Found;
use migrate::{Fresh, Refusal};

/// An open SQLite directory. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct SqliteDirectory {
    path: PathBuf,
    reader: SqlitePool,
    writer: SqlitePool,
    /// Why it can only be read.
    read_only: Option<Arc<str>>,
    history: Arc<history::History>,
}

/// One for each question that identityd has under way at one time (`cache::Source`), and one that is still ending after its caller has left.
const READERS: u32 = 8;
/// A look-up that gets no connection in this time is answered "unknown", not later.
const ACQUIRE: Duration = Duration::from_secs(1);
/// How long opening the directory is tried; `status` tells of trouble after that.
const OPENING: Duration = Duration::from_secs(10);
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
            Found::File => Self::connect(path, Fresh::Refused).await.map_err(|refusal| refusal.error),
            Found::Empty | Found::Nothing => Err(missing(path)),
        }
    }

    /// Opens an existing directory, if need be to be read only: on a full disk, or on a file system that is mounted read-only, SQLite cannot
    /// make the files that it keeps beside the database. Then nobody can write there, and the file is read as it stands.
    ///
    /// # Errors
    /// As for [`open`](Self::open), also when the newest changes are in a log that cannot be folded into the file.
    pub async fn open_at_least_to_read(path: &Path) -> Result<Self, DirectoryError> {
        match files::inspect(path)? {
            Found::File => match Self::connect(path, Fresh::Refused).await {
                Err(refusal) if refusal.for_writing && files::is_folded(path) => {
                    Self::read_as_it_stands(path, refusal.error).await
                }
                result => result.map_err(|refusal| refusal.error),
            },
            Found::Empty | Found::Nothing => Err(missing(path)),
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
        Self::connect(path, Fresh::Allowed).await.map_err(|refusal| refusal.error)
    }

    async fn connect(path: &Path, fresh: Fresh) -> Result<Self, Refusal> {
        let writer = writer(path);
        if let Err(refusal) = migrate::run(path, &writer, fresh).await {
            writer.close().await;
            return Err(refusal);
        }
        let reader = readers(options(path)).await.map_err(|error| Refusal::of(path, &error))?;
        Ok(Self { path: path.to_owned(), reader, writer, read_only: None, history: Arc::default() })
    }

    async fn read_as_it_stands(path: &Path, why: DirectoryError) -> Result<Self, DirectoryError> {
        // https://www.sqlite.org/uri.html, "immutable": no locks, no log, no files beside it.
        let reader = readers(options(path).immutable(true)).await.map_err(|error| error::translate(path, &error))?;
        migrate::check(path, &reader).await?;
        let why = format!("{why}. Until then it is only read: look-ups and logins go on, changes are refused");
        Ok(Self {
            path: path.to_owned(),
            reader,
            writer: writer(path),
            read_only: Some(why.into()),
            history: Arc::default(),
        })
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

/// The schema as one text, for people.
#[must_use]
pub fn schema() -> String {
    migrate::MIGRATIONS.join("\n")
}

fn missing(path: &Path) -> DirectoryError {
    files::unavailable(path, "it does not exist yet; create it with: identityctl init".into())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
}

fn writer(path: &Path) -> SqlitePool {
    let writing = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        // An id that was given out is given out, whatever the power does.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(WRITER_BUSY);
    SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(WRITER_BUSY)
        .test_before_acquire(false)
        .connect_lazy_with(writing)
}

/// The pool of the readers, with its first connection. A busy machine may need longer for that one than a look-up may wait, and no look-up waits for all of it (`OPENING` in `daemon/pam.rs`).
async fn readers(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let options = options.read_only(true).busy_timeout(READER_BUSY);
    let began = Instant::now();
    loop {
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await;
        match pool {
            Err(sqlx::Error::PoolTimedOut) if began.elapsed() < OPENING => {}
            pool => return pool,
        }
    }
}
