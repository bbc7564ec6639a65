//! The whole directory as of one moment: one connection, one snapshot of InnoDB, page after page.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use schema::id::GroupId;
use schema::name::LoginName;
use schema::record::{Generation, Group};
use sqlx::mysql::MySqlRow;
use sqlx::{Executor, MySqlConnection};

use super::queries::{FeedQueries, Query, Value};
use super::{Inner, MysqlDirectory, Node, State, translate};
use crate::directory::sql::{Columns, group, login};
use crate::directory::{DirectoryError, Entry, Stock, StockedLogin};

/// Entries in one answer of the server.
const PAGE: u32 = 4000;
/// Bytes of one page: 75 groups of 100,000 members each, and the one connection that reads everything.
const LARGEST: usize = 256 << 20;
/// Entries handed on at a time.
const HANDED: usize = 500;
/// How many there are, for who shows progress. The server gives it up by itself after 5 s (MariaDB and MySQL say that in different words): InnoDB reads an index for it,
/// and that may come from a cold disk.
const COUNT: &str = "/*M! SET STATEMENT max_statement_time = 5 FOR */ SELECT /*+ MAX_EXECUTION_TIME(5000) */ \
     (SELECT count(*) FROM login) AS logins, (SELECT count(*) FROM unix_group) AS `groups`";
/// Longest time for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// An open reading. The groups are read first and kept, so that each login's are known.
pub(super) struct MysqlStock {
    directory: MysqlDirectory,
    server: String,
    connection: MySqlConnection,
    generation: Generation,
    expected: (u64, u64),
    groups: VecDeque<Entry<Group>>,
    gids: HashMap<LoginName, BTreeSet<GroupId>>,
    /// `None`: the groups are still to be read.
    after: Option<i64>,
    ended: bool,
    logins: VecDeque<StockedLogin>,
}

impl MysqlStock {
    pub(super) async fn open(directory: &MysqlDirectory) -> Result<Box<dyn Stock>, DirectoryError> {
        let inner = &directory.inner;
        // Numbered first, so that as little as possible of what is read comes again as a change.
        let made_up = match &inner.queries.feed {
            FeedQueries::Updated { .. } => Some(inner.generation().await?),
            _ => None,
        };
        let mut stock = inner
            .servers
            .ask(async |at| {
                let node = inner.node(at)?;
                inner.vet(at, node).await?;
                Ok(begin(directory, node, made_up).await?)
            })
            .await?;
        // Not within the time in which a server must answer a look-up: a slow count says nothing about the server.
        if let FeedQueries::Own { .. } = &inner.queries.feed {
            stock.count().await?;
        }
        Ok(Box::new(stock))
    }

    async fn count(&mut self) -> Result<(), DirectoryError> {
        let asked = sqlx::query(COUNT).fetch_one(&mut self.connection);
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(row)) => {
                let number =
                    |column| row.number(column).ok().flatten().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                self.expected = (number("logins"), number("groups"));
                Ok(())
            }
            // It took too long: nobody sees how far the reading is.
            Ok(Err(sqlx::Error::Database(error))) => {
                tracing::debug!(server = self.server, reason = error.message(), "the logins are not counted");
                Ok(())
            }
            Ok(Err(error)) => Err(translate(&self.server, &error)),
            Err(_) => Err(stopped(&self.server)),
        }
    }

    async fn rows(&mut self, query: &Query, values: &[(&str, Value<'_>)]) -> Result<Vec<MySqlRow>, DirectoryError> {
        answer(&self.server, query.rows(values, &mut self.connection, LARGEST)).await
    }

    async fn read_groups(&mut self) -> Result<(), DirectoryError> {
        let directory = self.directory.clone();
        let query = &directory.inner.queries.groups_after;
        let mut after = -1;
        loop {
            let rows = self.rows(query, &page(after)).await?;
            for row in &rows {
                let entry = group(row);
                if let Entry::Valid(group) = &entry {
                    for member in &group.members {
                        self.gids.entry(member.clone()).or_default().insert(group.gid);
                    }
                }
                self.groups.push_back(entry);
            }
            match rows.last().and_then(|row| row.number("gid").ok().flatten()) {
                Some(last) if last > after => after = last,
                _ => return Ok(()),
            }
            if rows.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    async fn read_logins(&mut self, after: i64) -> Result<(), DirectoryError> {
        let directory = self.directory.clone();
        let rows = self.rows(&directory.inner.queries.logins_after, &page(after)).await?;
        for row in &rows {
            let entry = login(row);
            let gids = match &entry {
                Entry::Valid(login) => {
                    let others = self.gids.get(&login.name).into_iter().flatten().copied();
                    std::iter::once(login.gid).chain(others.filter(|gid| *gid != login.gid)).collect()
                }
                Entry::Quarantined(_) => Vec::new(),
            };
            self.logins.push_back(StockedLogin { entry, gids });
        }
        let last = rows.last().and_then(|row| row.number("uid").ok().flatten()).filter(|last| *last > after);
        self.ended = rows.len() < PAGE as usize || last.is_none();
        self.after = last.or(self.after);
        Ok(())
    }
}

#[async_trait]
impl Stock for MysqlStock {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn expected(&self) -> (u64, u64) {
        self.expected
    }

    async fn logins(&mut self) -> Result<Vec<StockedLogin>, DirectoryError> {
        if self.after.is_none() {
            self.read_groups().await?;
            self.after = Some(-1);
        }
        if let Some(after) = self.after
            && self.logins.is_empty()
            && !self.ended
        {
            self.read_logins(after).await?;
        }
        let some = self.logins.len().min(HANDED);
        Ok(self.logins.drain(..some).collect())
    }

    async fn groups(&mut self) -> Result<Vec<Entry<Group>>, DirectoryError> {
        let some = self.groups.len().min(HANDED);
        Ok(self.groups.drain(..some).collect())
    }
}

async fn begin(directory: &MysqlDirectory, node: &Node, made_up: Option<u64>) -> Result<MysqlStock, DirectoryError> {
    let inner: &Inner = &directory.inner;
    let mut connection = node.connect().await?;
    let name = &node.name;
    // Two statements: sqlx sends raw texts as they are, and the level counts for transactions that begin after it.
    answer(name, connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")).await?;
    answer(name, connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")).await?;
    let generation = match &inner.queries.feed {
        FeedQueries::Own { state, .. } => {
            let rows = answer(name, state.rows(&[], &mut connection, super::node::ANSWER)).await?;
            let state = State::read(name, &rows)?;
            inner.history.note(state.generation, state.mark);
            state.generation
        }
        FeedQueries::Log { generation, .. } => {
            let rows = answer(name, generation.rows(&[], &mut connection, super::node::ANSWER)).await?;
            State::read(name, &rows)?.generation
        }
        FeedQueries::Updated { .. } => made_up.unwrap_or(0),
    };
    Ok(MysqlStock {
        directory: directory.clone(),
        server: name.clone(),
        connection,
        generation: Generation(generation),
        expected: (0, 0),
        groups: VecDeque::new(),
        gids: HashMap::new(),
        after: None,
        ended: false,
        logins: VecDeque::new(),
    })
}

fn page(after: i64) -> [(&'static str, Value<'static>); 2] {
    [("after", Value::Number(after)), ("limit", Value::Number(PAGE.into()))]
}

async fn answer<T>(server: &str, question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, DirectoryError> {
    match tokio::time::timeout(ANSWER, question).await {
        Ok(answer) => answer.map_err(|error| translate(server, &error)),
        Err(_) => Err(stopped(server)),
    }
}

fn stopped(server: &str) -> DirectoryError {
    let reason = format!("it stopped sending in the middle of a full reading ({} s)", ANSWER.as_secs());
    DirectoryError::Unavailable { directory: server.into(), reason }
}
