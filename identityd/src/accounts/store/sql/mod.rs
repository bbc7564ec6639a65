//! SQLite and MySQL: one set of statements. What they do in their triggers (private groups, retired ids, the feed) is not done here.

mod bulk;
mod lists;
mod statement;
mod work;

use std::sync::Arc;

use schema::record::Generation;

use self::statement::{Link, Row, Statement, sql};
use super::{Store, Stored};
use crate::directory::sql::Columns;
use crate::directory::sqlite::SqliteDirectory;
use crate::directory::sqlite::rows::{select_group, select_login};
use crate::directory::{Directory, DirectoryError};

/// A directory in SQL.
#[derive(Debug, Clone)]
pub(crate) struct SqlStore {
    engine: Engine,
}

/// Which database.
#[derive(Debug, Clone)]
enum Engine {
    Sqlite(SqliteDirectory),
}

impl From<SqliteDirectory> for Arc<dyn Store> {
    fn from(directory: SqliteDirectory) -> Self {
        Arc::new(SqlStore { engine: Engine::Sqlite(directory) })
    }
}

impl Engine {
    fn directory(&self) -> &dyn Directory {
        match self {
            Self::Sqlite(directory) => directory,
        }
    }

    /// Begins to write: from here no other administrator writes.
    async fn write(&self) -> Stored<Link> {
        match self {
            Self::Sqlite(directory) => {
                directory.database(directory.writer().begin_with("BEGIN IMMEDIATE").await).map(Link::Sqlite)
            }
        }
    }

    /// Begins to read; the first statement fixes the moment.
    async fn read(&self) -> Stored<Link> {
        match self {
            Self::Sqlite(directory) => directory.database(directory.reader().begin().await).map(Link::Sqlite),
        }
    }

    /// Gives an error of sqlx the words of this directory.
    fn database<T>(&self, result: Result<T, sqlx::Error>) -> Stored<T> {
        match self {
            Self::Sqlite(directory) => directory.database(result),
        }
    }

    fn damaged(&self, reason: String) -> DirectoryError {
        let directory = match self {
            Self::Sqlite(directory) => directory.path().display().to_string(),
        };
        DirectoryError::Damaged { directory, reason }
    }

    /// The statement that gives logins; conditions go behind it.
    fn select_login(&self, rest: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("{} {rest}", select_login!("")),
        }
    }

    /// The statement that gives groups with their members.
    fn select_group(&self, rest: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("{} {rest}", select_group!("")),
        }
    }

    /// Whether a name matches a pattern of a shell.
    fn matches(&self, column: &str, parameter: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("{column} GLOB {parameter}"),
        }
    }

    /// Rows with the columns c0, c1 … out of one parameter, a JSON array of arrays: one trip for a thousand rows.
    fn rows_of_json(&self, columns: usize) -> String {
        match self {
            Self::Sqlite(_) => {
                let columns: Vec<String> = (0..columns).map(|at| format!("value ->> {at} AS c{at}")).collect();
                format!("(SELECT {} FROM json_each(?1)) AS j", columns.join(", "))
            }
        }
    }

    async fn newest(&self, link: &mut Link) -> Stored<Generation> {
        let rows = self.database(link.rows(sql("SELECT generation FROM directory")).await)?;
        let newest = rows.first().and_then(|row| row.number("generation").ok().flatten());
        let newest = newest.ok_or_else(|| self.damaged("the row of the table directory is gone".into()))?;
        Ok(Generation(u64::try_from(newest).unwrap_or(0)))
    }
}
