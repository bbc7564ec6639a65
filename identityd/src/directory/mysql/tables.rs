//! For `identityctl schema`: applies the schema, and says what of it is missing or other than this version has it.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::migrate::{self, Applied, MIGRATIONS};
use super::node::options;
use super::parts::{self, Part};
use super::translate;
use crate::config::{Address, MysqlConfig};
use crate::directory::{DirectoryError, secret};

pub use super::migrate::script;

/// A connection as somebody who may change the schema.
pub struct SchemaConnection {
    server: String,
    database: String,
    connection: MySqlConnection,
    /// The others of the configuration.
    others: Vec<(String, MySqlConnectOptions)>,
    limit: Duration,
}

impl SchemaConnection {
    /// Connects to `server` (else the first of the configuration) as `user` with the password in `file`; without a file there is none.
    ///
    /// # Errors
    /// The password file cannot be used, or the server refused.
    pub async fn open(
        config: &MysqlConfig,
        server: Option<&str>,
        user: &str,
        file: Option<&std::path::Path>,
    ) -> Result<Self, DirectoryError> {
        let server = server.or(config.servers.first().map(String::as_str)).unwrap_or_default().to_owned();
        let unusable = |reason: String| DirectoryError::Unavailable { directory: server.clone(), reason };
        let password = file.map(secret::read).transpose().map_err(unusable)?.unwrap_or_default();
        let address = Address::parse(&server).map_err(unusable)?;
        // Not into the database: it may not be there yet.
        let mut entry = config.clone();
        entry.database = "information_schema".into();
        let connecting = options(&entry, &address, user, &password);
        let limit = config.timeout.0;
        let connection = match tokio::time::timeout(limit, connecting.connect()).await {
            Ok(connected) => connected.map_err(|error| translate(&server, &error))?,
            Err(_) => return Err(unusable(format!("no connection within {} ms", limit.as_millis()))),
        };
        let other = |name: &String| Some((name.clone(), options(&entry, &Address::parse(name).ok()?, user, &password)));
        // Another server by name is not one of those that identityd asks.
        let asked = config.servers.contains(&server);
        let others = config.servers.iter().filter(|name| asked && **name != server).filter_map(other).collect();
        Ok(Self { server, database: config.database.clone(), connection, others, limit })
    }

    /// Makes the database if need be and applies what is missing; the names of what was applied.
    ///
    /// # Errors
    /// The server refused a statement, or an earlier run was interrupted.
    pub async fn apply(&mut self) -> Result<Vec<&'static str>, DirectoryError> {
        migrate::create_database(&self.server, &mut self.connection, &self.database).await?;
        migrate::apply(&self.server, &mut self.connection).await
    }

    /// What is missing or different, one sentence each. Empty: it is as this version wants it.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn check(&mut self) -> Result<Vec<String>, DirectoryError> {
        let mut found = Vec::new();
        let there =
            "SELECT table_name AS name, column_name AS part FROM information_schema.columns WHERE table_schema = ?";
        let columns = self.names(there).await?;
        if columns.is_empty() {
            return Ok(vec![format!(
                "the database {} is not there or empty; run: identityctl schema apply",
                self.database
            )]);
        }
        self.check_record(&columns, &mut found).await?;
        let bodies = self
            .names(
                "SELECT trigger_name AS name, action_statement AS part FROM information_schema.triggers WHERE trigger_schema = ? \
                 UNION ALL SELECT routine_name, coalesce(routine_definition, '') FROM information_schema.routines WHERE routine_schema = ?",
            )
            .await?;
        for made in MIGRATIONS.iter().flat_map(|migration| statements(migration.text)).filter_map(Made::parse) {
            match made {
                Made::Table { name, columns: wanted } => match columns.get(name) {
                    None => found.push(format!("the table {name} is missing")),
                    Some(there) => found.extend(
                        wanted
                            .iter()
                            .filter(|column| !there.iter().any(|have| have == *column))
                            .map(|column| format!("the table {name} has no column {column}")),
                    ),
                },
                Made::Code { kind, name, text } => match bodies.get(name).and_then(|parts| parts.first()) {
                    None => found.push(format!("the {kind} {name} is missing")),
                    // Who is not its owner does not see a procedure's text.
                    Some(body) if body.is_empty() => {}
                    Some(body) if squeeze(text).ends_with(squeeze(body).trim_end_matches(';')) => {}
                    Some(_) => found.push(format!("the {kind} {name} is another than that of this version")),
                },
            }
        }
        found.extend(self.settings().await?);
        found.extend(self.writable().await?);
        for (table, rows) in ORPHANS {
            // Missing columns are told above.
            if columns.contains_key(table) && columns.contains_key("login") && columns.contains_key("unix_group") {
                self.orphans(table, rows, &mut found).await?;
            }
        }
        Ok(found)
    }

    /// Rows whose parent row does not exist: a session without foreign keys wrote them before the triggers asked, or took part in a race.
    async fn orphans(
        &mut self,
        table: &str,
        rows: &'static str,
        found: &mut Vec<String>,
    ) -> Result<(), DirectoryError> {
        let counted = sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT count(*) FROM {rows}")))
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| translate(&self.server, &error))?;
        if counted > 0 {
            found.push(format!(
                "{table} has {counted} rows of a login, group or membership that does not exist: look at them (SELECT * FROM {rows}) and delete or mend them"
            ));
        }
        Ok(())
    }

    async fn check_record(
        &mut self,
        columns: &BTreeMap<String, Vec<String>>,
        found: &mut Vec<String>,
    ) -> Result<(), DirectoryError> {
        if !columns.contains_key("schema_migration") {
            found.push("the table schema_migration is missing: these tables were not made by identityctl".into());
            return Ok(());
        }
        migrate::enter(&self.server, &mut self.connection, &self.database).await?;
        for migration in MIGRATIONS {
            match migrate::state(&self.server, &mut self.connection, migration).await? {
                Applied::Whole => {}
                Applied::Begun => found.push(format!("{} was begun and not finished", migration.name)),
                Applied::Not => found.push(format!("{} is not applied; run: identityctl schema apply", migration.name)),
            }
        }
        Ok(())
    }

    /// More than one server that can be written. Those that do not let this account in are left out: `identityctl directory check` asks them as identityd.
    async fn writable(&mut self) -> Result<Option<String>, DirectoryError> {
        if self.others.is_empty() {
            return Ok(None);
        }
        let rows = sqlx::query(parts::ASK).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| translate(&self.server, &error))?;
        let mut servers = vec![(self.server.clone(), Part::read(&rows))];
        for (name, options) in &self.others {
            let asked = async { sqlx::query(parts::ASK).fetch_all(&mut options.connect().await?).await };
            if let Ok(Ok(rows)) = tokio::time::timeout(self.limit, asked).await {
                servers.push((name.clone(), Part::read(&rows)));
            }
        }
        Ok(parts::judge(&servers))
    }

    /// What the server is set to that would do harm.
    async fn settings(&mut self) -> Result<Vec<String>, DirectoryError> {
        let query = "SELECT @@global.log_bin AS log_bin, @@global.binlog_format AS format";
        let row = sqlx::query(query)
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| translate(&self.server, &error))?;
        let format = text(&row, "format");
        let logs = row.try_get_unchecked::<i64, _>("log_bin").unwrap_or(0) == 1;
        let mut found = Vec::new();
        if logs && format != "ROW" {
            found.push(format!(
                "binlog_format is {format}: a transaction that stays open can hold up others that delete or rename; set binlog_format = ROW in my.cnf"
            ));
        }
        // MariaDB's; MySQL has no such limit.
        let query = "SHOW GLOBAL VARIABLES LIKE 'idle_transaction_timeout'";
        let rows = sqlx::query(query)
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| translate(&self.server, &error))?;
        if rows.first().is_some_and(|row| text(row, "Value") == "0") {
            found.push(
                "idle_transaction_timeout is 0: a connection that forgets its transaction keeps its locks for ever; set idle_transaction_timeout = 300 in my.cnf"
                    .into(),
            );
        }
        Ok(found)
    }

    /// Two columns, grouped by the first.
    async fn names(&mut self, query: &'static str) -> Result<BTreeMap<String, Vec<String>>, DirectoryError> {
        let mut asked = sqlx::query(query);
        for _ in 0..query.matches('?').count() {
            asked = asked.bind(&self.database);
        }
        let rows = asked.fetch_all(&mut self.connection).await.map_err(|error| translate(&self.server, &error))?;
        let mut names = BTreeMap::<String, Vec<String>>::new();
        for row in &rows {
            names.entry(text(row, "name")).or_default().push(text(row, "part"));
        }
        Ok(names)
    }
}

fn text(row: &MySqlRow, column: &str) -> String {
    let bytes = row.try_get_unchecked::<Option<Vec<u8>>, _>(column).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Tables, and which of their rows have no parent.
const ORPHANS: [(&str, &str); 4] = [
    ("ssh_key", "ssh_key WHERE uid NOT IN (SELECT uid FROM login)"),
    ("login_capability", "login_capability WHERE uid NOT IN (SELECT uid FROM login)"),
    (
        "group_member",
        "group_member WHERE uid NOT IN (SELECT uid FROM login) OR gid NOT IN (SELECT gid FROM unix_group)",
    ),
    (
        "login",
        "login WHERE gid NOT IN (SELECT gid FROM unix_group) OR (membership_id IS NOT NULL AND membership_id NOT IN (SELECT id FROM membership))",
    ),
];

/// What a statement of the schema makes.
enum Made<'a> {
    Table { name: &'a str, columns: Vec<&'a str> },
    Code { kind: &'static str, name: &'a str, text: &'a str },
}

impl<'a> Made<'a> {
    fn parse(statement: &'a str) -> Option<Self> {
        let rest = statement.strip_prefix("CREATE ")?;
        if let Some(rest) = rest.strip_prefix("TABLE ") {
            let (name, body) = rest.split_once(" (\n")?;
            let columns = body.lines().map_while(|line| line.strip_prefix("    "));
            // Columns are written in lower case, keys and constraints in capitals; a deeper indent goes on.
            let columns = columns
                .filter_map(|line| line.split(' ').next())
                .filter(|word| word.bytes().next().is_some_and(|first| first.is_ascii_lowercase()));
            return Some(Self::Table { name: name.trim_matches('`'), columns: columns.collect() });
        }
        for (kind, word) in [("trigger", "TRIGGER "), ("procedure", "PROCEDURE ")] {
            if let Some((_, rest)) = rest.lines().next()?.split_once(word) {
                return Some(Self::Code { kind, name: rest.split([' ', '(']).next()?, text: statement });
            }
        }
        None
    }
}

/// The statements of a file: each begins at the beginning of a line, in capitals.
fn statements(text: &str) -> Vec<&str> {
    let starts = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| {
        text.get(*at..).is_some_and(|rest| {
            ["CREATE ", "INSERT ", "GRANT ", "CALL ", "SET ", "-- "].iter().any(|word| rest.starts_with(word))
        })
    });
    let mut cuts: Vec<usize> = std::iter::once(0).chain(starts).collect();
    cuts.push(text.len());
    cuts.windows(2).filter_map(|pair| text.get(pair[0]..pair[1])).map(str::trim).collect()
}

/// Without comments, line ends, indents and the semicolon: the server keeps a body as it was sent, but not every client sends it alike (mariadb leaves
/// comments out).
fn squeeze(text: &str) -> String {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    code.join(" ").split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_schema_makes_is_found_in_its_text() {
        let mut tables = Vec::new();
        let mut codes = Vec::new();
        for made in MIGRATIONS.iter().flat_map(|migration| statements(migration.text)).filter_map(Made::parse) {
            match made {
                Made::Table { name, columns } => tables.push((name, columns)),
                Made::Code { name, .. } => codes.push(name),
            }
        }
        let login = tables.iter().find(|(name, _)| *name == "login").unwrap();
        assert_eq!(login.1.first().copied(), Some("uid"));
        assert!(
            login.1.contains(&"membership_id") && login.1.contains(&"password_hash") && login.1.len() == 15,
            "{login:?}"
        );
        assert!(tables.iter().any(|(name, _)| *name == "change"));
        for wanted in ["number_changes", "login_inserted", "password_hash", "take_id", "refuse"] {
            assert!(codes.contains(&wanted), "{wanted} in {codes:?}");
        }
    }
}
