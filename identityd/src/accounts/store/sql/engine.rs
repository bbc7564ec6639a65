//! Where the two databases differ.

use std::borrow::Cow;

use schema::record::Generation;

use super::statement::{Link, sql};
use crate::accounts::store::Stored;
use crate::directory::mysql::MysqlDirectory;
use crate::directory::mysql::queries as mysql;
use crate::directory::sql::Columns;
use crate::directory::sqlite::SqliteDirectory;
use crate::directory::sqlite::rows as sqlite;
use crate::directory::{Directory, DirectoryError};

/// Which database.
#[derive(Debug, Clone)]
pub(super) enum Engine {
    Sqlite(SqliteDirectory),
    Mysql(MysqlDirectory),
}

/// What changes so far: compared at the end, it tells whether an operation changed anything.
pub(super) type Mark = i64;

impl Engine {
    pub(super) fn directory(&self) -> &dyn Directory {
        match self {
            Self::Sqlite(directory) => directory,
            Self::Mysql(directory) => directory,
        }
    }

    /// Begins to write. In SQLite nobody else writes from here; in MySQL the constraints and triggers decide between two writers.
    pub(super) async fn write(&self) -> Stored<Link> {
        match self {
            Self::Sqlite(directory) => {
                directory.database(directory.writer().begin_with("BEGIN IMMEDIATE").await).map(Link::Sqlite)
            }
            Self::Mysql(_) => {
                self.number().await?;
                self.read().await
            }
        }
    }

    /// Begins to read; the first statement fixes the moment.
    pub(super) async fn read(&self) -> Stored<Link> {
        match self {
            Self::Sqlite(directory) => directory.database(directory.reader().begin().await).map(Link::Sqlite),
            // InnoDB's default, REPEATABLE READ.
            Self::Mysql(directory) => directory.database(directory.primary().await?.begin().await).map(Link::Mysql),
        }
    }

    /// Has what is committed counted in the generation. Not inside a transaction.
    pub(super) async fn number(&self) -> Stored<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Mysql(directory) => directory.number_changes().await.map(|_| ()),
        }
    }

    /// Gives an error of sqlx the words of this directory.
    pub(super) fn database<T>(&self, result: Result<T, sqlx::Error>) -> Stored<T> {
        match self {
            Self::Sqlite(directory) => directory.database(result),
            Self::Mysql(directory) => directory.database(result),
        }
    }

    pub(super) fn damaged(&self, reason: String) -> DirectoryError {
        let directory = match self {
            Self::Sqlite(directory) => directory.path().display().to_string(),
            Self::Mysql(directory) => directory.label().to_owned(),
        };
        DirectoryError::Damaged { directory, reason }
    }

    /// The statement that gives logins; conditions go behind it.
    pub(super) fn select_login(&self, rest: &str) -> String {
        let select = match self {
            Self::Sqlite(_) => sqlite::select_login!(""),
            Self::Mysql(_) => mysql::select_login!(""),
        };
        format!("{select} {rest}")
    }

    /// The statement that gives groups with their members.
    pub(super) fn select_group(&self, rest: &str) -> String {
        let select = match self {
            Self::Sqlite(_) => sqlite::select_group!(""),
            Self::Mysql(_) => mysql::select_group!(""),
        };
        format!("{select} {rest}")
    }

    /// How a name is compared with a pattern of a shell.
    pub(super) fn matches(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "GLOB",
            Self::Mysql(_) => "REGEXP",
        }
    }

    /// The pattern as [`matches`](Self::matches) wants it.
    pub(super) fn pattern<'a>(&self, pattern: &'a str) -> Cow<'a, str> {
        match self {
            Self::Sqlite(_) => pattern.into(),
            Self::Mysql(_) => expression(pattern).into(),
        }
    }

    /// Rows with the columns c0, c1 … out of one parameter, a JSON array of arrays: one trip for a thousand rows.
    pub(super) fn rows_of_json(&self, columns: usize) -> String {
        let list = |column: fn(usize) -> String| (0..columns).map(column).collect::<Vec<_>>().join(", ");
        match self {
            Self::Sqlite(_) => {
                format!("(SELECT {} FROM json_each(?1)) AS j", list(|at| format!("value ->> {at} AS c{at}")))
            }
            Self::Mysql(_) => format!(
                "JSON_TABLE(?1, '$[*]' COLUMNS ({})) AS j",
                list(|at| format!("c{at} VARCHAR(400) PATH '$[{at}]'"))
            ),
        }
    }

    /// A name out of such a row, so that an index of names serves.
    pub(super) fn name_of_json(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => column.into(),
            Self::Mysql(_) => format!("CONVERT({column} USING ascii)"),
        }
    }

    /// When an id was retired, as a text.
    pub(super) fn when_retired(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "retired",
            Self::Mysql(_) => "DATE_FORMAT(retired, '%Y-%m-%dT%H:%i:%sZ')",
        }
    }

    /// Such a text as a value.
    pub(super) fn time(&self, parameter: &str) -> String {
        match self {
            Self::Sqlite(_) => parameter.into(),
            Self::Mysql(_) => format!("STR_TO_DATE({parameter}, '%Y-%m-%dT%H:%i:%sZ')"),
        }
    }

    /// The next id that was never a uid or gid, and nobody else gets. `None`: none is left.
    pub(super) async fn next_id(&self, link: &mut Link) -> Stored<Option<i64>> {
        let text = match self {
            Self::Sqlite(_) => "SELECT id FROM next_id",
            Self::Mysql(_) => "CALL fresh_id()",
        };
        let rows = self.database(link.rows(sql(text)).await)?;
        let id = rows.first().and_then(|row| row.number("id").ok().flatten());
        if let (Self::Sqlite(_), Some(id)) = (self, id) {
            self.database(link.execute(sql("UPDATE directory SET next_id = ?1").with(id)).await)?;
        }
        Ok(id)
    }

    /// Where the search for a never-used id begins.
    pub(super) async fn next_id_begins(&self, link: &mut Link) -> Stored<i64> {
        match self {
            Self::Sqlite(_) => self.one(link, "SELECT next_id AS found FROM directory").await,
            Self::Mysql(_) => self.one(link, "SELECT coalesce(max(id) + 1, 1000000) AS found FROM fresh_id").await,
        }
    }

    /// Has the search begin at `id`, or above it.
    pub(super) async fn begin_ids_at(&self, link: &mut Link, id: i64) -> Stored<()> {
        if self.next_id_begins(link).await? >= id {
            return Ok(());
        }
        let statement = match self {
            Self::Sqlite(_) => sql("UPDATE directory SET next_id = ?1").with(id),
            Self::Mysql(_) => sql("INSERT INTO fresh_id (id) VALUES (?1)").with(id - 1),
        };
        self.database(link.execute(statement).await).map(|_| ())
    }

    /// The newest change as this transaction sees it.
    pub(super) async fn newest(&self, link: &mut Link) -> Stored<Generation> {
        let newest = self.one(link, "SELECT generation AS found FROM directory").await?;
        Ok(Generation(u64::try_from(newest).unwrap_or(0)))
    }

    /// What this transaction has changed shows in the difference of two marks.
    pub(super) async fn mark(&self, link: &mut Link) -> Stored<Mark> {
        match self {
            Self::Sqlite(_) => self.one(link, "SELECT generation AS found FROM directory").await,
            // Of one moment, and our own: others' rows come and go unseen.
            Self::Mysql(_) => self.one(link, "SELECT count(*) AS found FROM touched").await,
        }
    }

    /// Commits: the generation in which it is visible.
    pub(super) async fn commit(&self, mut link: Link) -> Stored<Generation> {
        match self {
            Self::Sqlite(_) => {
                let newest = self.newest(&mut link).await?;
                self.database(link.commit().await)?;
                Ok(newest)
            }
            Self::Mysql(directory) => {
                self.database(link.commit().await)?;
                directory.number_changes().await
            }
        }
    }

    async fn one(&self, link: &mut Link, question: &'static str) -> Stored<i64> {
        let rows = self.database(link.rows(sql(question)).await)?;
        let found = rows.first().and_then(|row| row.number("found").ok().flatten());
        found.ok_or_else(|| self.damaged("the row of the table directory is gone; restore a backup".into()))
    }
}

/// A pattern of a shell as a regular expression.
fn expression(pattern: &str) -> String {
    let mut text = String::from("^");
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' => text.push_str(".*"),
            '?' => text.push('.'),
            '[' if rest.len() > 1 && rest[1..].contains(']') => {
                let negated = rest.starts_with(['^', '!']);
                let set = if negated { &rest[1..] } else { rest };
                let end = set.char_indices().skip(1).find(|(_, next)| *next == ']').map_or(set.len(), |(at, _)| at);
                text.push_str(if negated { "[^" } else { "[" });
                for inner in set[..end].chars() {
                    if matches!(inner, '\\' | '[' | ']' | '^' | '&') {
                        text.push('\\');
                    }
                    text.push(inner);
                }
                text.push(']');
                rest = set.get(end + 1..).unwrap_or_default();
            }
            other => {
                if !other.is_ascii_alphanumeric() && other.is_ascii() {
                    text.push('\\');
                }
                text.push(other);
            }
        }
    }
    text.push('$');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_a_shell_become_expressions() {
        for (pattern, wanted) in [
            ("ana*", "^ana.*$"),
            ("a.b?", "^a\\.b.$"),
            ("[a-c]x", "^[a-c]x$"),
            ("[^a]*", "^[^a].*$"),
            ("a[", "^a\\[$"),
            ("$6$", "^\\$6\\$$"),
        ] {
            assert_eq!(expression(pattern), wanted, "{pattern}");
        }
    }
}
