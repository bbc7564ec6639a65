//! For `identityctl directory check`: asks every question once and says what is missing in the answers.

use schema::record::Generation;
use sqlx::{AssertSqlSafe, Column, Executor, SqlStr, Statement};

use super::node::Role;
use super::queries::{FeedQueries, Queries, Query};
use super::{MysqlDirectory, translate};
use crate::directory::{Changes, Directory, DirectoryError, Entry};

const LOGIN: (&[&str], &[&str]) = (
    &["uid", "name", "gid", "home", "shell", "status"],
    &[
        "gecos",
        "last_change",
        "min_days",
        "max_days",
        "warn_days",
        "inactive_days",
        "expires",
        "membership",
        "capabilities",
    ],
);
const GROUP: (&[&str], &[&str]) = (&["gid", "name", "members"], &[]);
/// How many logins are looked up one by one.
const SAMPLE: u32 = 20;

/// What was found about one question.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Checked {
    /// The key in `[directory.queries]`.
    pub query: &'static str,
    /// What is wrong. Empty: nothing.
    pub wrong: Vec<String>,
    /// What could be there and is not.
    pub absent: Vec<String>,
}

impl MysqlDirectory {
    /// Asks every question. A server that does not answer makes every one wrong.
    pub async fn check(&self) -> Vec<Checked> {
        let mut found = Vec::new();
        for (name, role, query, required, optional) in questions(&self.inner.queries) {
            found.push(self.check_columns(name, role, query, required, optional).await);
        }
        found.push(self.check_answers().await);
        found.push(self.check_feed().await);
        if self.inner.nodes.len() > 1 {
            let (wrong, silent) = self.parts().await;
            let absent = silent.iter().map(ToString::to_string).collect();
            found.push(Checked { query: "servers", wrong: Vec::from_iter(wrong), absent });
        }
        found
    }

    async fn check_columns(
        &self,
        name: &'static str,
        role: Role,
        query: &Query,
        required: &[&str],
        optional: &[&str],
    ) -> Checked {
        let mut checked = Checked { query: name, wrong: Vec::new(), absent: Vec::new() };
        match self.columns(role, query).await {
            Err(error) => checked.wrong.push(error.to_string()),
            // A CALL tells its columns only when it is executed.
            Ok(columns) if columns.is_empty() => {}
            Ok(columns) => {
                let missing = |wanted: &&&str| !columns.iter().any(|have| have == **wanted);
                checked.wrong =
                    required.iter().filter(missing).map(|column| format!("no column {column} in the result")).collect();
                checked.absent = optional.iter().filter(missing).map(|column| (*column).to_owned()).collect();
            }
        }
        checked
    }

    async fn columns(&self, role: Role, query: &Query) -> Result<Vec<String>, DirectoryError> {
        self.inner
            .servers
            .ask(async |at| {
                let node = self.inner.node(at)?;
                let mut connection =
                    node.pool_of(role).acquire().await.map_err(|error| translate(&node.name, &error))?;
                let text: SqlStr = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(query.text.to_string()));
                let prepared = (&mut *connection).prepare(text).await.map_err(|error| translate(&node.name, &error))?;
                Ok(prepared.columns().iter().map(|column| column.name().to_owned()).collect())
            })
            .await
    }

    /// Whether look-ups, lists and the groups of a login agree, on the first logins.
    async fn check_answers(&self) -> Checked {
        let mut checked = Checked { query: "answers", wrong: Vec::new(), absent: Vec::new() };
        if let Err(error) = self.compare(&mut checked.wrong).await {
            checked.wrong.push(error.to_string());
        }
        checked
    }

    async fn compare(&self, wrong: &mut Vec<String>) -> Result<(), DirectoryError> {
        let logins = self.logins_after(0, SAMPLE).await?;
        if logins.is_empty() {
            wrong.push("logins_after finds no login at all".into());
        }
        let mut last = 0;
        for entry in logins {
            let login = match entry {
                Entry::Valid(login) => login,
                Entry::Quarantined(broken) => {
                    wrong.push(format!("login {} ({}) is not served: {}", broken.name, broken.id, broken.reason));
                    continue;
                }
            };
            if login.uid.raw() <= last {
                wrong.push(format!("logins_after is not in ascending order of uid at {}", login.name));
            }
            last = login.uid.raw();
            let name = &login.name;
            if self.login_by_name(name).await? != Some(Entry::Valid(login.clone())) {
                wrong.push(format!("login_by_name gives something else for {name} than logins_after"));
            }
            if self.login_by_uid(login.uid).await? != Some(Entry::Valid(login.clone())) {
                wrong.push(format!("login_by_uid gives something else for uid {} than logins_after", login.uid.raw()));
            }
            if self.group_by_gid(login.gid).await?.is_none() {
                wrong.push(format!("group_by_gid finds no group {}, the primary group of {name}", login.gid.raw()));
            }
            for gid in self.gids_of(name).await?.unwrap_or_default().into_iter().skip(1) {
                match self.group_by_gid(gid).await? {
                    Some(Entry::Valid(group)) if group.members.contains(name) => {}
                    Some(_) => wrong.push(format!(
                        "gids_of says that {name} is in group {}, whose members do not have it",
                        gid.raw()
                    )),
                    None => wrong.push(format!(
                        "gids_of gives group {} for {name}, which group_by_gid does not find",
                        gid.raw()
                    )),
                }
            }
            self.ssh_keys(name).await?;
            self.password_hash(name).await?;
        }
        for entry in self.groups_after(0, SAMPLE).await? {
            match entry {
                Entry::Valid(group) if self.group_by_name(&group.name).await? != Some(Entry::Valid(group.clone())) => {
                    wrong.push(format!("group_by_name gives something else for {} than groups_after", group.name));
                }
                Entry::Valid(_) => {}
                Entry::Quarantined(broken) => {
                    wrong.push(format!("group {} ({}) is not served: {}", broken.name, broken.id, broken.reason));
                }
            }
        }
        Ok(())
    }

    async fn check_feed(&self) -> Checked {
        let mut checked = Checked { query: "feed", wrong: Vec::new(), absent: Vec::new() };
        let asked = async {
            let newest = self.generation().await?;
            self.changes_after(Generation(newest.0.saturating_sub(10)), 100).await
        };
        match asked.await {
            Ok(Changes::List(changes)) if !changes.is_sorted_by(|one, next| one.generation < next.generation) => {
                checked.wrong.push("changes_after is not in ascending order of generation, or repeats one".into());
            }
            Ok(_) => {}
            Err(error) => checked.wrong.push(error.to_string()),
        }
        if let FeedQueries::Updated { since } = &self.inner.queries.feed {
            let resync = self.inner.config.resync;
            let how = if since.is_some() { "deletions are" } else { "changes are" };
            checked
                .absent
                .push(format!("a log of changes: {how} found every {resync} (resync), by reading everything"));
        }
        checked
    }
}

type Question<'q> = (&'static str, Role, &'q Query, &'static [&'static str], &'static [&'static str]);

fn questions(queries: &Queries) -> Vec<Question<'_>> {
    let read = Role::Reader;
    let mut all: Vec<Question<'_>> = vec![
        ("login_by_name", read, &queries.login_by_name, LOGIN.0, LOGIN.1),
        ("login_by_uid", read, &queries.login_by_uid, LOGIN.0, LOGIN.1),
        ("logins_after", read, &queries.logins_after, LOGIN.0, LOGIN.1),
        ("group_by_name", read, &queries.group_by_name, GROUP.0, GROUP.1),
        ("group_by_gid", read, &queries.group_by_gid, GROUP.0, GROUP.1),
        ("groups_after", read, &queries.groups_after, GROUP.0, GROUP.1),
        ("gids_of", read, &queries.gids_of, &["gid"], &[]),
        ("password_hash", Role::Authentication, &queries.password_hash, &["password_hash"], &[]),
    ];
    if let Some(query) = &queries.ssh_keys {
        all.push(("ssh_keys", read, query, &["line"], &["id", "added"]));
    }
    match &queries.feed {
        FeedQueries::Own { state, changes, .. } => {
            all.push(("generation", read, state, &["generation", "identity", "pending", "read_only"], &[]));
            all.push(("changes_after", read, changes, &["newest", "oldest", "generation", "kind", "name", "id"], &[]));
        }
        FeedQueries::Log { generation, changes } => {
            all.push(("generation", read, generation, &["generation"], &[]));
            all.push(("changes_after", read, changes, &["generation", "kind", "name", "id"], &["oldest"]));
        }
        FeedQueries::Updated { since } => {
            all.extend(
                since.as_ref().map(|query| {
                    ("updated_since", read, query, &["kind", "name", "id", "updated"] as &[_], &[] as &[_])
                }),
            );
        }
    }
    all
}
