//! The directory in MariaDB or MySQL, on one server or on a primary with replicas. Its page is `docs/mysql.md`.
//!
//! Look-ups and the feed are read from the nearest server that is up and not behind what was seen already; writes, and the numbering of changes, go to the primary.

mod check;
mod error;
mod feed;
mod fleet;
mod history;
mod migrate;
mod node;
mod noticed;
mod parts;
pub(crate) mod queries;
mod reading;
mod rows;
mod stock;
pub mod tables;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use schema::record::Generation;
use sqlx::mysql::{MySqlPool, MySqlRow};

pub use check::Checked;
pub(crate) use error::translate;
use feed::{Numbering, State};
use history::{History, Standing};
use node::{Node, Patience, Role, options};
use noticed::Noticed;
use queries::{FeedQueries, Queries, Query, Value};

use super::DirectoryError;
use super::secret;
use super::servers::{Fault, Servers};
use super::sql::Columns;
use crate::config::{Address, MysqlConfig};

/// An open MySQL directory. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct MysqlDirectory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: MysqlConfig,
    label: String,
    servers: Arc<Servers>,
    nodes: Vec<Arc<Node>>,
    queries: Queries,
    /// Which server was the primary last time.
    primary: AtomicUsize,
    /// The newest generation that was seen on any server: an answer from a server that is behind it would be an old one.
    seen: AtomicU64,
    history: History,
    /// Which directory it is. A server that has another one is not asked.
    identity: Mutex<Option<String>>,
    noticed: Noticed,
    numbering: Numbering,
}

impl MysqlDirectory {
    /// For identityd. Connects at the first question.
    ///
    /// # Errors
    /// A password file that cannot be used, a query that cannot be read: each with what to do.
    pub fn open(config: MysqlConfig) -> Result<Self, DirectoryError> {
        let (user, file) = (config.user.clone(), config.password_file.clone());
        Self::open_as(config, &user, &file)
    }

    /// For identityctl: reads and writes as `admin_user`.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_as_admin(config: MysqlConfig) -> Result<Self, DirectoryError> {
        let (user, file) = (config.admin_user.clone(), config.admin_password_file.clone());
        Self::open_as(config, &user, &file)
    }

    fn open_as(config: MysqlConfig, user: &str, file: &std::path::Path) -> Result<Self, DirectoryError> {
        let label = config.location();
        let unusable = |reason: String| DirectoryError::Unavailable { directory: label.clone(), reason };
        let queries = Queries::new(config.queries.as_ref())?;
        let password = secret::read(file).map_err(unusable)?;
        // identityctl does without: it reads and stores hashes as the administrator.
        let authentication = secret::read(&config.authentication_password_file);
        let patience = if user == config.admin_user { Patience::OfServer } else { Patience::Short };
        let authentication = if user == config.admin_user {
            authentication.unwrap_or_default()
        } else {
            authentication.map_err(unusable)?
        };
        let node = |server: &String| {
            let address = Address::parse(server).map_err(unusable)?;
            let reader = options(&config, &address, user, &password);
            let authentication = options(&config, &address, &config.authentication_user, &authentication);
            Ok(Arc::new(Node::new(&config, server, reader, authentication, patience)))
        };
        let nodes = config.servers.iter().map(node).collect::<Result<Vec<_>, DirectoryError>>()?;
        let servers = Servers::new(config.servers.clone(), config.server_timeout.0);
        let noticed = Noticed::new(config.resync.0);
        let inner = Arc::new(Inner {
            config,
            label,
            servers,
            nodes,
            queries,
            primary: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            history: History::default(),
            identity: Mutex::new(None),
            noticed,
            numbering: Numbering::default(),
        });
        inner.keep_trying();
        Ok(Self { inner })
    }

    /// Database and servers, for messages.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// Numbers what is committed, on the primary; the newest generation there. Call it after a commit: never inside a transaction.
    ///
    /// # Errors
    /// The primary does not answer, or this is a directory without numbers.
    pub async fn number_changes(&self) -> Result<Generation, DirectoryError> {
        match self.inner.queries.feed {
            FeedQueries::Own { .. } => self.inner.number().await.map(Generation),
            _ => self.inner.generation().await.map(Generation),
        }
    }

    /// The connections to the primary, which is looked for again if need be.
    ///
    /// # Errors
    /// No server that can be written answers.
    pub async fn primary(&self) -> Result<&MySqlPool, DirectoryError> {
        let at = self.inner.find_primary().await?;
        self.inner.nodes.get(at).map(|node| node.pool()).ok_or_else(|| self.inner.nowhere("no server is configured"))
    }

    /// Gives an error of sqlx the words of this directory.
    ///
    /// # Errors
    /// The same one.
    pub fn database<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, DirectoryError> {
        result.map_err(|error| translate(&self.inner.label, &error))
    }

    /// Closes the connections.
    pub async fn close(&self) {
        for node in &self.inner.nodes {
            node.close().await;
        }
    }
}

impl Inner {
    /// Beside the questions, as long as anybody has the directory: so a question never waits for a server that was down a moment ago.
    fn keep_trying(self: &Arc<Self>) {
        let (weak, servers) = (Arc::downgrade(self), Arc::downgrade(&self.servers));
        tokio::spawn(Servers::keep_trying(servers, move |at| {
            let weak = weak.clone();
            async move {
                let Some(inner) = weak.upgrade() else { return Ok(()) };
                let Some(node) = inner.nodes.get(at) else { return Ok(()) };
                // A connection of its own: those in the pool may be the ones that are stalled.
                node.connect().await.map(drop)
            }
        }));
    }

    /// Asks the nearest server that is up and not behind.
    async fn ask(
        &self,
        role: Role,
        query: &Query,
        values: &[(&str, Value<'_>)],
    ) -> Result<Vec<MySqlRow>, DirectoryError> {
        self.servers
            .ask(async |at| {
                let node = self.node(at)?;
                self.vet(at, node).await?;
                Ok(node.rows(role, query, values).await?)
            })
            .await
    }

    /// Asks about one entry. Where for long no other server answers, one that lacks changes may: not about what is known to have changed since, so that a lock or a
    /// password that was seen here is not undone by it.
    async fn look_up(
        &self,
        role: Role,
        query: &Query,
        values: &[(&str, Value<'_>)],
    ) -> Result<Vec<MySqlRow>, DirectoryError> {
        match self.ask(role, query, values).await {
            Err(DirectoryError::Unavailable { .. })
                if self.history.left() == Some(true) && history::is_about_one(values) => {}
            answer => return answer,
        }
        self.servers
            .ask(async |at| {
                let node = self.node(at)?;
                if self.history.has_changed(values, node.shown()) {
                    let reason = "it has changed since, and no server answers that has the change".into();
                    return Err(Fault::Final(DirectoryError::Outdated { directory: node.name.clone(), reason }));
                }
                Ok(node.rows(role, query, values).await?)
            })
            .await
    }

    fn node(&self, at: usize) -> Result<&Node, Fault> {
        self.nodes.get(at).map(Arc::as_ref).ok_or_else(|| Fault::Elsewhere(self.nowhere("no such server")))
    }

    /// A server that has not yet shown what another one has is looked at first, and passed over while it is behind.
    async fn vet(&self, at: usize, node: &Node) -> Result<(), Fault> {
        let seen = self.seen.load(Ordering::Relaxed);
        if node.shown() >= seen {
            return Ok(());
        }
        let state = self.state(at, node).await?;
        if state.standing == Standing::Whole || state.writable { Ok(()) } else { Err(self.lacks(node, &state)) }
    }

    fn lacks(&self, node: &Node, state: &State) -> Fault {
        let (has, seen) = (state.generation, self.seen.load(Ordering::Relaxed));
        let reason = match state.standing {
            Standing::Other => {
                format!("it has other changes than the primary had (generation {has}): set it up anew as a replica")
            }
            _ => format!("it is behind: generation {has} of {seen}; see SHOW SLAVE STATUS there"),
        };
        Fault::Elsewhere(DirectoryError::Unavailable { directory: node.name.clone(), reason })
    }

    /// What a server says of itself; nothing but that it answers, where there are no numbers.
    async fn state(&self, at: usize, node: &Node) -> Result<State, DirectoryError> {
        let (seen, known) = (self.seen.load(Ordering::Relaxed), self.history.newest());
        let mut state = match &self.queries.feed {
            FeedQueries::Own { state, .. } => {
                let known = known.and_then(|known| i64::try_from(known).ok()).map_or(Value::Null, Value::Number);
                State::read(&node.name, &node.rows(Role::Reader, state, &[("known", known)]).await?)?
            }
            FeedQueries::Log { generation, .. } => {
                let mut state = State::read(&node.name, &node.rows(Role::Reader, generation, &[]).await?)?;
                // Their question does not say it; it matters where something is missing.
                state.writable = state.generation < seen && Self::is_primary(node).await?;
                state
            }
            FeedQueries::Updated { .. } => State::default(),
        };
        self.recognise(node, &state)?;
        state.standing = self.history.standing(&state, known, seen);
        // What it has of another history is none of this one.
        node.shows(if state.standing == Standing::Other { 0 } else { state.generation });
        if state.writable {
            self.primary.store(at, Ordering::Relaxed);
        }
        Ok(state)
    }

    /// Refuses a server with another directory than the one that was read until now.
    fn recognise(&self, node: &Node, state: &State) -> Result<(), DirectoryError> {
        if state.identity.is_empty() {
            return Ok(());
        }
        let mut known = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(known) if *known != state.identity => Err(DirectoryError::Unavailable {
                directory: node.name.clone(),
                reason: format!(
                    "it holds another directory ({}) than before ({known}); restart identityd if that is meant",
                    state.identity
                ),
            }),
            _ => {
                *known = Some(state.identity.clone());
                Ok(())
            }
        }
    }

    /// The server that can be written.
    async fn find_primary(&self) -> Result<usize, DirectoryError> {
        let last = self.primary.load(Ordering::Relaxed);
        let mut order = self.servers.order();
        order.sort_by_key(|at| *at != last);
        let mut why = None;
        for at in order {
            let Some(node) = self.nodes.get(at) else { continue };
            let asked = tokio::time::timeout(self.config.server_timeout.0, self.is_writable(at, node)).await;
            match asked {
                Ok(Ok(true)) => {
                    self.primary.store(at, Ordering::Relaxed);
                    return Ok(at);
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    if matches!(error, DirectoryError::Unavailable { .. }) {
                        self.servers.down(at, &error.to_string());
                    }
                    why = Some(error);
                }
                Err(_) => self.servers.down(at, "no answer in time"),
            }
        }
        Err(why
            .unwrap_or_else(|| self.nowhere("none of the servers that answer can be written (read_only is 1 on each)")))
    }

    async fn is_writable(&self, at: usize, node: &Node) -> Result<bool, DirectoryError> {
        if let FeedQueries::Own { .. } = self.queries.feed {
            return Ok(self.state(at, node).await?.writable);
        }
        Self::is_primary(node).await
    }

    async fn is_primary(node: &Node) -> Result<bool, DirectoryError> {
        let query = Query { text: "SELECT @@global.read_only AS read_only".into(), parameters: Vec::new() };
        let rows = node.rows(Role::Authentication, &query, &[]).await?;
        Ok(rows.first().is_some_and(|row| row.number("read_only") == Ok(Some(0))))
    }

    fn nowhere(&self, reason: &str) -> DirectoryError {
        DirectoryError::Unavailable { directory: self.label.clone(), reason: reason.into() }
    }
}
