//! The schema and its versions: `schema/sql/sqlite/NNNN_*.sql`, applied in one transaction, counted in `user_version`.

use std::path::Path;

use sqlx::sqlite::SqlitePool;
use sqlx::{Row, SqliteConnection};

use super::error::translate;
use crate::directory::DirectoryError;

/// `application_id` of the file: "MFdi" in ASCII, so that file(1) and we tell it from other SQLite databases.
pub(crate) const APPLICATION_ID: i64 = 0x4D46_6469;

pub(super) const MIGRATIONS: [&str; 3] = [
    include_str!("../../../../schema/sql/sqlite/0001_tables.sql"),
    include_str!("../../../../schema/sql/sqlite/0002_rules.sql"),
    include_str!("../../../../schema/sql/sqlite/0003_feed.sql"),
];

/// Whether a database without our mark may become a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    /// Yes, if it has no table.
    Allowed,
    /// No.
    Refused,
}

/// Brings the schema to this version. One transaction: an interruption leaves what was there.
pub(super) async fn run(path: &Path, writer: &SqlitePool, fresh: Fresh) -> Result<(), Refusal> {
    let database = |error: sqlx::Error| Refusal::of(path, &error);
    let mut connection = writer.acquire().await.map_err(database)?;
    if state(path, &mut connection).await? == State::Version(MIGRATIONS.len()) {
        return Ok(());
    }
    // Again under the write lock: another process may be first.
    let mut transaction = sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await.map_err(database)?;
    let applied = match state(path, &mut transaction).await? {
        State::Version(version) => version,
        State::Blank if fresh == Fresh::Allowed => 0,
        State::Blank => {
            return Err(super::files::unavailable(path, "it is empty; create it with: identityctl init".into()).into());
        }
    };
    for migration in MIGRATIONS.iter().skip(applied) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(database)?;
    }
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};", MIGRATIONS.len());
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(database)?;
    transaction.commit().await.map_err(database)
}

/// Whether a directory that can only be read has the schema of this version.
pub(super) async fn check(path: &Path, reader: &SqlitePool) -> Result<(), DirectoryError> {
    let mut connection = reader.acquire().await.map_err(|error| translate(path, &error))?;
    match state(path, &mut connection).await.map_err(|refusal| refusal.error)? {
        State::Version(version) if version == MIGRATIONS.len() => Ok(()),
        State::Version(_) | State::Blank => Err(super::files::unavailable(
            path,
            "its schema is older than this program, and cannot be changed now".into(),
        )),
    }
}

/// Why it was not opened.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: DirectoryError,
    /// Something could not be written; reading may do.
    pub(super) for_writing: bool,
}

impl Refusal {
    pub(super) fn of(path: &Path, error: &sqlx::Error) -> Self {
        Self { error: translate(path, error), for_writing: super::error::is_about_writing(error) }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        Self { error, for_writing: false }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// No table at all.
    Blank,
    /// Ours, with so many migrations applied.
    Version(usize),
}

async fn state(path: &Path, connection: &mut SqliteConnection) -> Result<State, Refusal> {
    let row = sqlx::query(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), \
         (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| Refusal::of(path, &error))?;
    let number = |at| row.try_get_unchecked::<i64, usize>(at).unwrap_or(-1);
    let (application, version, tables) = (number(0), number(1), number(2));
    let damaged =
        |reason: String| Refusal::from(DirectoryError::Damaged { directory: path.display().to_string(), reason });
    if application == 0 && version == 0 && tables == 0 {
        return Ok(State::Blank);
    }
    if application != APPLICATION_ID {
        return Err(damaged(
            "it is an SQLite database of another program; move it away and create a directory with: identityctl init"
                .into(),
        ));
    }
    match usize::try_from(version) {
        Ok(version) if (1..=MIGRATIONS.len()).contains(&version) => Ok(State::Version(version)),
        _ => Err(damaged(format!(
            "its schema has version {version}, this program knows {}; install the version of identityd that wrote it, or a newer one",
            MIGRATIONS.len()
        ))),
    }
}
