//! The schema and its versions: `schema/sql/mysql/NNNN_*.sql`, in order, each recorded in the table `schema_migration`.
//!
//! A CREATE commits by itself in MySQL, so a file that was interrupted is recorded as begun and never taken for complete.

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor, Row};

use super::translate;
use crate::directory::DirectoryError;

/// A file of the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

macro_rules! migrations {
    ($($name:literal)*) => {
        &[$(Migration { name: $name, text: include_str!(concat!("../../../../schema/sql/mysql/", $name, ".sql")) }),*]
    };
}

/// All of it.
pub(super) const MIGRATIONS: &[Migration] =
    migrations!["0001_tables" "0002_rules" "0003_feed" "0004_users" "0005_fleet"];

const RECORD: &str = "CREATE TABLE IF NOT EXISTS schema_migration (
    name    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    begun   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    applied TIMESTAMP NULL
) ENGINE = InnoDB";

/// What a file is in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    Not,
    Begun,
    Whole,
}

/// The schema as one text for the program mariadb or mysql, which wants a delimiter that stands nowhere in it.
#[must_use]
pub fn script() -> String {
    let mut out = format!("DELIMITER @@@\n{RECORD};\n@@@\n");
    for migration in MIGRATIONS {
        let name = migration.name;
        out += &format!(
            "INSERT INTO schema_migration (name) VALUES ('{name}');\n@@@\n-- {name} ------------------------------------\n{}@@@\n\
             UPDATE schema_migration SET applied = now() WHERE name = '{name}';\n@@@\n",
            migration.text
        );
    }
    out + "DELIMITER ;\n"
}

/// Applies what is missing; the names of what was applied. The connection has the rights that `docs/mysql.md` lists.
///
/// # Errors
/// The server refused a statement, or an earlier run was interrupted.
pub(super) async fn apply(server: &str, connection: &mut MySqlConnection) -> Result<Vec<&'static str>, DirectoryError> {
    let database = |error: sqlx::Error| translate(server, &error);
    connection.execute(RECORD).await.map_err(database)?;
    let locked: Option<i64> = sqlx::query_scalar("SELECT get_lock(concat('schema of ', database()), 10)")
        .fetch_one(&mut *connection)
        .await
        .map_err(database)?;
    if locked != Some(1) {
        return Err(DirectoryError::Conflict);
    }
    let mut done = Vec::new();
    for migration in MIGRATIONS {
        match state(server, connection, migration).await? {
            Applied::Whole => continue,
            Applied::Begun => {
                return Err(DirectoryError::Damaged {
                    directory: server.into(),
                    reason: format!(
                        "{} was begun and not finished; look at what is there with `identityctl schema check`. In a new database: drop it and apply again. Else \
                         complete it by hand from `identityctl schema show`, then: UPDATE schema_migration SET applied = now() WHERE name = '{}'",
                        migration.name, migration.name
                    ),
                });
            }
            Applied::Not => {}
        }
        let begin = sqlx::query("INSERT INTO schema_migration (name) VALUES (?)").bind(migration.name);
        begin.execute(&mut *connection).await.map_err(database)?;
        if let Err(error) = sqlx::raw_sql(migration.text).execute(&mut *connection).await {
            return Err(DirectoryError::Unavailable {
                directory: server.into(),
                reason: format!(
                    "{} stopped in the middle: {error}; docs/mysql.md (Setting up) lists the rights that it needs",
                    migration.name
                ),
            });
        }
        let end = sqlx::query("UPDATE schema_migration SET applied = now() WHERE name = ?").bind(migration.name);
        end.execute(&mut *connection).await.map_err(database)?;
        done.push(migration.name);
    }
    let unlock = "DO release_lock(concat('schema of ', database()))";
    connection.execute(unlock).await.map_err(database)?;
    Ok(done)
}

/// How far a file was applied.
pub(super) async fn state(
    server: &str,
    connection: &mut MySqlConnection,
    migration: &Migration,
) -> Result<Applied, DirectoryError> {
    let query =
        sqlx::query("SELECT applied IS NOT NULL AS whole FROM schema_migration WHERE name = ?").bind(migration.name);
    let row = query.fetch_optional(connection).await.map_err(|error| translate(server, &error))?;
    Ok(match row.map(|row| row.try_get_unchecked::<i64, _>("whole")) {
        None => Applied::Not,
        Some(Ok(1)) => Applied::Whole,
        Some(_) => Applied::Begun,
    })
}

/// Makes the database if it is not there, and goes into it.
pub(super) async fn create_database(
    server: &str,
    connection: &mut MySqlConnection,
    name: &str,
) -> Result<(), DirectoryError> {
    let create = format!("CREATE DATABASE IF NOT EXISTS {}", quoted(name)?);
    let created = connection.execute(sqlx::raw_sql(AssertSqlSafe(create))).await;
    created.map_err(|error| translate(server, &error))?;
    enter(server, connection, name).await
}

/// Goes into the database.
pub(super) async fn enter(server: &str, connection: &mut MySqlConnection, name: &str) -> Result<(), DirectoryError> {
    let enter = format!("USE {}", quoted(name)?);
    let entered = connection.execute(sqlx::raw_sql(AssertSqlSafe(enter))).await;
    entered.map(drop).map_err(|error| translate(server, &error))
}

/// The only name that is ever written into a statement.
fn quoted(name: &str) -> Result<String, DirectoryError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(DirectoryError::Refused(format!(
            "{name:?} is no name for a database here: letters, digits and _ only"
        )));
    }
    Ok(format!("`{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_schema_is_in_the_list() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/sql/mysql");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| Some(entry.unwrap().path().file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        assert_eq!(names, MIGRATIONS.iter().map(|migration| migration.name).collect::<Vec<_>>());
    }

    #[test]
    fn the_delimiter_stands_nowhere_in_the_schema() {
        assert!(MIGRATIONS.iter().all(|migration| !migration.text.contains("@@@")));
    }
}
