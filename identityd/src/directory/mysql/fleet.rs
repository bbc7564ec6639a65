//! The list of hosts: the table `fleet`, written through a procedure (`schema/sql/mysql/0005_fleet.sql`, `docs/fleet.md`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use schema::record::Generation;
use sqlx::mysql::MySqlRow;

use super::node::Role;
use super::queries::{Query, Value};
use super::{FeedQueries, MysqlDirectory, history};
use crate::directory::DirectoryError;
use crate::directory::fleet::{HostName, HostReport, Reported};
use crate::directory::sql::Columns;

impl MysqlDirectory {
    /// One statement to the primary of last time; it is looked for only when that one refuses.
    pub(super) async fn store_report(&self, report: &HostReport) -> Result<(), DirectoryError> {
        if !self.has_own_tables() {
            return Ok(());
        }
        // What was published of another history is nothing in this one, although its number may be higher.
        let query = query(
            "CALL fleet_report(?, coalesce((SELECT 0 FROM directory AS d LEFT JOIN `change` AS c ON c.generation = ? \
             WHERE d.generation < ? OR CAST(c.seq AS CHAR) <> ?), ?), ?, ?, ?, ?)",
            &["host", "generation", "generation", "mark", "generation", "newest", "stale", "version", "trouble"],
        );
        let mark = history::parts(&report.cursor).1.map(|mark| mark.to_string());
        let number = |number: u64| Value::Number(i64::try_from(number).unwrap_or(i64::MAX));
        let values = [
            ("host", Value::Text(report.host.as_str())),
            ("generation", number(report.generation.0)),
            ("mark", mark.as_deref().map_or(Value::Null, Value::Text)),
            ("newest", number(report.newest.0)),
            ("stale", number(report.stale.as_secs().min(u32::MAX.into()))),
            ("version", Value::Text(&report.version)),
            ("trouble", Value::Text(&report.trouble)),
        ];
        self.on_primary(&query, &values).await.map(drop)
    }

    /// As [`common`](crate::directory::Directory::common): 0 for what was published of another history.
    pub(super) async fn in_this_history(
        &self,
        generation: Generation,
        cursor: &[u8],
    ) -> Result<Generation, DirectoryError> {
        let (history, (_, Some(mark))) = (&self.inner.history, history::parts(cursor)) else { return Ok(generation) };
        if !self.has_own_tables() {
            return Ok(generation);
        }
        if generation.0 > self.inner.seen.load(Ordering::Relaxed) {
            return Ok(Generation(0));
        }
        let there = match history.mark(generation.0) {
            Some(there) => Some(there),
            None => {
                let query =
                    query("SELECT CAST(seq AS CHAR) AS mark FROM `change` WHERE generation = ?", &["generation"]);
                let number = i64::try_from(generation.0).unwrap_or(i64::MAX);
                let rows = self.inner.ask(Role::Reader, &query, &[("generation", Value::Number(number))]).await?;
                rows.first().and_then(|row| super::feed::mark(row, "mark"))
            }
        };
        // The log may not reach back so far: then nothing contradicts it.
        Ok(if there.is_none_or(|there| there == mark) { generation } else { Generation(0) })
    }

    /// All hosts, as the nearest server has them: one that is behind makes somebody wait longer, never too short.
    pub(super) async fn hosts(&self) -> Result<Vec<Reported>, DirectoryError> {
        if !self.has_own_tables() {
            return Err(DirectoryError::Refused(
                "tables of somebody else ([directory.queries]) have no list of hosts: wait on each host by itself"
                    .into(),
            ));
        }
        let query = query(
            "SELECT host, generation, newest, stale, version, trouble, \
             greatest(0, timestampdiff(SECOND, reported_at, utc_timestamp(6))) AS age FROM fleet ORDER BY host LIMIT 10000",
            &[],
        );
        Ok(self.inner.ask(Role::Reader, &query, &[]).await?.iter().filter_map(reported).collect())
    }

    /// Removes a host's row.
    pub(super) async fn remove_host(&self, host: &HostName) -> Result<bool, DirectoryError> {
        let there = self.hosts().await?.iter().any(|reported| reported.report.host == *host);
        let query = query("CALL fleet_forget(?)", &["host"]);
        self.on_primary(&query, &[("host", Value::Text(host.as_str()))]).await?;
        Ok(there)
    }

    fn has_own_tables(&self) -> bool {
        matches!(self.inner.queries.feed, FeedQueries::Own { .. })
    }

    async fn on_primary(&self, query: &Query, values: &[(&str, Value<'_>)]) -> Result<Vec<MySqlRow>, DirectoryError> {
        let last = self.inner.primary.load(Ordering::Relaxed);
        let node = |at: usize| self.inner.nodes.get(at).ok_or_else(|| self.inner.nowhere("no such server"));
        match node(last)?.call(query, values).await {
            Ok(rows) => Ok(rows),
            // It is away, or has become a replica. Saying the same twice is no harm.
            Err(_) => node(self.inner.find_primary().await?)?.call(query, values).await,
        }
    }
}

fn query(text: &str, parameters: &[&str]) -> Query {
    Query { text: text.into(), parameters: parameters.iter().map(|name| (*name).to_owned()).collect() }
}

/// A host as it is in the directory, if it is one.
fn reported(row: &MySqlRow) -> Option<Reported> {
    let text = |name: &str| String::from_utf8_lossy(&row.bytes(name)).into_owned();
    let number = |name: &str| row.number(name).ok().flatten().and_then(|number| u64::try_from(number).ok());
    let report = HostReport {
        host: text("host").parse().ok()?,
        generation: Generation(number("generation")?),
        newest: Generation(number("newest").unwrap_or(0)),
        stale: Duration::from_secs(number("stale").unwrap_or(0)),
        version: text("version"),
        trouble: text("trouble"),
        cursor: Vec::new(),
    };
    Some(Reported { report: report.bounded(), age: Duration::from_secs(number("age")?) })
}
