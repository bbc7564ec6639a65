//! One operation, one transaction: everything that an operation asks and writes is of one moment, and dropping it half-way leaves nothing.

use schema::record::Generation;
use sqlx::sqlite::SqliteArguments;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::{Accounts, AccountsError, Done, Warning};
use crate::directory::sqlite::{SqliteDirectory, reading};

/// A query of sqlx for SQLite.
pub(super) type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// An open write transaction.
pub(super) struct Work {
    directory: SqliteDirectory,
    transaction: Transaction<'static, Sqlite>,
    before: Generation,
}

impl Accounts {
    /// Begins: from here nobody else writes.
    pub(super) async fn begin(&self) -> Result<Work, AccountsError> {
        let directory = self.directory().clone();
        let mut transaction = directory.database(directory.writer().begin_with("BEGIN IMMEDIATE").await)?;
        let before = directory.database(reading::newest(&mut transaction).await)?;
        Ok(Work { directory, transaction, before })
    }
}

impl Work {
    pub(super) async fn execute(&mut self, query: Query<'_>) -> Result<u64, AccountsError> {
        let done = query.execute(&mut *self.transaction).await;
        Ok(self.directory.database(done)?.rows_affected())
    }

    pub(super) async fn row(&mut self, query: Query<'_>) -> Result<Option<SqliteRow>, AccountsError> {
        let row = query.fetch_optional(&mut *self.transaction).await;
        Ok(self.directory.database(row)?)
    }

    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<SqliteRow>, AccountsError> {
        let rows = query.fetch_all(&mut *self.transaction).await;
        Ok(self.directory.database(rows)?)
    }

    /// The first column of the first row.
    pub(super) async fn number(&mut self, query: Query<'_>) -> Result<Option<i64>, AccountsError> {
        let row = self.row(query).await?;
        Ok(row.and_then(|row| row.try_get_unchecked::<Option<i64>, usize>(0).ok().flatten()))
    }

    /// The generation at which the operation began.
    pub(super) fn before(&self) -> Generation {
        self.before
    }

    /// Commits.
    pub(super) async fn finish<T>(mut self, value: T, warnings: Vec<Warning>) -> Result<Done<T>, AccountsError> {
        let after = reading::newest(&mut self.transaction).await;
        let generation = self.directory.database(after)?;
        self.directory.database(self.transaction.commit().await)?;
        Ok(Done { value, generation, changed: generation != self.before, warnings })
    }
}
