//! One server: its connections, and questions that can be abandoned at any moment.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow, MySqlSslMode};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, MySql, MySqlConnection, Row};

use super::error::translate;
use super::queries::{Query, Value};
use crate::config::{Address, MysqlConfig};
use crate::directory::DirectoryError;

/// One for each question that identityd has under way at one time (`cache::Source`), and one for the feed.
const READERS: u32 = 8;
/// Verifications are few: each is followed by a hash that takes longer.
const AUTHENTICATORS: u32 = 4;
/// A connection is closed after this, so that one through a firewall that forgot it is not kept for ever.
const IDLE: Duration = Duration::from_secs(300);

/// For a call: what waits for locks has given up long before (`prepare`), and a server that was cut off does not say that it has ended.
const CALL: Duration = Duration::from_secs(30);

/// Bytes of one answer, with what a row costs beside its text: above the largest that our questions have (a group of 100,000 members is 3.3 MB), and for all
/// connections together below what systemd allows us (`MemoryMax=1G`).
pub(super) const ANSWER: usize = 64 << 20;
/// What a row and a column of it take in memory beside their bytes, about.
const ROW: usize = 128;
const COLUMN: usize = 24;

/// As whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `user`, or for identityctl `admin_user`.
    Reader,
    /// `authentication_user`.
    Authentication,
}

/// How long a statement waits for a lock of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// identityd: 2 s, less than its `timeout`. A numbering that was abandoned would wait on in the server, and the next one beside it.
    Short,
    /// identityctl: as long as the server says (50 s).
    OfServer,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) name: String,
    options: MySqlConnectOptions,
    patience: Patience,
    reader: MySqlPool,
    authentication: MySqlPool,
    /// The newest generation that it has shown.
    shown: AtomicU64,
    limit: Duration,
    /// Held while a call is under way.
    calling: Arc<tokio::sync::Mutex<()>>,
}

/// The same as [`Value`], for a call that outlives who asked for it.
enum Owned {
    Text(String),
    Number(i64),
    Null,
}

impl From<Value<'_>> for Owned {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Number(number) => Self::Number(number),
            Value::Null => Self::Null,
        }
    }
}

impl Owned {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Number(number) => Value::Number(*number),
            Self::Null => Value::Null,
        }
    }
}

impl Node {
    pub(super) fn new(
        config: &MysqlConfig,
        server: &str,
        reader: MySqlConnectOptions,
        authentication: MySqlConnectOptions,
        patience: Patience,
    ) -> Self {
        let limit = config.server_timeout.0;
        let pool = |options: MySqlConnectOptions, most: u32| {
            MySqlPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(limit)
                .idle_timeout(IDLE)
                .max_lifetime(4 * IDLE)
                .test_before_acquire(false)
                .after_connect(move |connection, _| Box::pin(prepare(connection, patience)))
                .connect_lazy_with(options)
        };
        Self {
            name: server.into(),
            reader: pool(reader.clone(), READERS),
            authentication: pool(authentication, AUTHENTICATORS),
            options: reader,
            patience,
            shown: AtomicU64::new(0),
            limit,
            calling: Arc::default(),
        }
    }

    /// The newest generation that it has shown.
    pub(super) fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }

    pub(super) fn shows(&self, generation: u64) {
        self.shown.store(generation, Ordering::Relaxed);
    }

    /// The connections that read, for who has more to say than one statement.
    pub(crate) fn pool(&self) -> &MySqlPool {
        &self.reader
    }

    /// Asks one question. An idle connection may have been closed meanwhile (the server was restarted): then once more, over a new one.
    pub(super) async fn rows(
        &self,
        role: Role,
        query: &Query,
        values: &[(&str, Value<'_>)],
    ) -> Result<Vec<MySqlRow>, DirectoryError> {
        let mut held = self.hold(role).await?;
        match held.rows(query, values).await {
            Ok(rows) => {
                held.give_back();
                return Ok(rows);
            }
            Err(sqlx::Error::Io(_)) => drop(held),
            Err(error) => return Err(self.judge(held, &error)),
        }
        self.forget_idle(role);
        let mut held = self.hold(role).await?;
        match held.rows(query, values).await {
            Ok(rows) => {
                held.give_back();
                Ok(rows)
            }
            Err(error) => Err(self.judge(held, &error)),
        }
    }

    /// Has something written: asked once, over a connection that lives. What it returned.
    pub(super) async fn write(
        &self,
        role: Role,
        query: &Query,
        values: &[(&str, Value<'_>)],
    ) -> Result<Vec<MySqlRow>, DirectoryError> {
        let mut held = self.hold(role).await?;
        if held.connection().ping().await.is_err() {
            drop(held);
            self.forget_idle(role);
            held = self.hold(role).await?;
        }
        match held.rows(query, values).await {
            Ok(done) => {
                held.give_back();
                Ok(done)
            }
            Err(error) => Err(self.judge(held, &error)),
        }
    }

    /// Has a procedure called that writes and waits for locks. It goes on in the server when we have given it up, so it is waited for to its end, whoever
    /// still wants to know, and until then no other one is sent.
    pub(super) async fn call(
        self: &Arc<Self>,
        query: &Query,
        values: &[(&str, Value<'_>)],
    ) -> Result<Vec<MySqlRow>, DirectoryError> {
        let turn = Arc::clone(&self.calling).lock_owned().await;
        let (node, query) = (Arc::clone(self), query.clone());
        let values: Vec<(String, Owned)> =
            values.iter().map(|(name, value)| ((*name).to_owned(), Owned::from(*value))).collect();
        let lost = |reason: String| DirectoryError::Unavailable { directory: self.name.clone(), reason };
        let called = tokio::spawn(async move {
            let _turn = turn;
            let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_value())).collect();
            tokio::time::timeout(CALL, node.write(Role::Reader, &query, &values)).await
        });
        match called.await {
            Ok(Ok(rows)) => rows,
            Ok(Err(_)) => Err(lost(format!("no answer to a call within {} s", CALL.as_secs()))),
            Err(_) => Err(lost("a call has ended without an answer".into())),
        }
    }

    /// A connection of its own, outside the pool: for a reading of everything.
    pub(super) async fn connect(&self) -> Result<MySqlConnection, DirectoryError> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            prepare(&mut connection, self.patience).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        match tokio::time::timeout(self.limit, connect).await {
            Ok(connected) => connected.map_err(|error| translate(&self.name, &error)),
            Err(_) => Err(DirectoryError::Unavailable {
                directory: self.name.clone(),
                reason: format!("no connection within {} ms", self.limit.as_millis()),
            }),
        }
    }

    pub(super) async fn close(&self) {
        self.reader.close().await;
        self.authentication.close().await;
    }

    /// What a failed question says; a connection on which the server answered is still good.
    fn judge(&self, held: Held, error: &sqlx::Error) -> DirectoryError {
        if matches!(error, sqlx::Error::Database(_)) {
            held.give_back();
        }
        translate(&self.name, error)
    }

    async fn hold(&self, role: Role) -> Result<Held, DirectoryError> {
        let pool = self.pool_of(role);
        match pool.acquire().await {
            Ok(connection) => Ok(Held { connection: Some(connection) }),
            Err(sqlx::Error::PoolTimedOut) if pool.size() >= pool.options().get_max_connections() => {
                Err(DirectoryError::Crowded { directory: self.name.clone() })
            }
            Err(error) => Err(translate(&self.name, &error)),
        }
    }

    fn forget_idle(&self, role: Role) {
        while let Some(connection) = self.pool_of(role).try_acquire() {
            drop(connection.detach());
        }
    }

    /// The connections of this role.
    pub(super) fn pool_of(&self, role: Role) -> &MySqlPool {
        match role {
            Role::Reader => &self.reader,
            Role::Authentication => &self.authentication,
        }
    }
}

/// How to reach `server` as `user`. TCP is encrypted and the server's certificate checked, unless the configuration says otherwise.
pub(super) fn options(config: &MysqlConfig, address: &Address, user: &str, password: &str) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .username(user)
        .password(password)
        .database(&config.database)
        .pipes_as_concat(false)
        .disable_statement_logging();
    match address {
        Address::Socket(path) => options.socket(path).ssl_mode(MySqlSslMode::Disabled),
        Address::Tcp(host, port) => {
            let options = options.host(host).port(*port);
            if config.plaintext {
                return options.ssl_mode(MySqlSslMode::Preferred);
            }
            let options = options.ssl_mode(MySqlSslMode::VerifyIdentity);
            config.ca.as_ref().map_or_else(|| options.clone(), |ca| options.clone().ssl_ca(ca))
        }
    }
}

/// A group may have 100,000 members (MySQL 8 cuts GROUP_CONCAT at 1024 bytes). What we have abandoned must not run for ever; MySQL has another name for it.
async fn prepare(connection: &mut MySqlConnection, patience: Patience) -> Result<(), sqlx::Error> {
    connection
        .execute("SET SESSION group_concat_max_len = 67108864 /*M!, max_statement_time = 120 */ /*!80000 , max_execution_time = 120000 */")
        .await?;
    if patience == Patience::Short {
        // The second is for LOCK TABLES and ALTER TABLE; the server's default is a day.
        connection.execute("SET SESSION innodb_lock_wait_timeout = 2, lock_wait_timeout = 2").await?;
    }
    Ok(())
}

/// A connection in use. Dropped in the middle of a question it is closed at once: given back it would first have to read an answer that a stalled server
/// never sends, and hold a place of the pool until then.
struct Held {
    connection: Option<PoolConnection<MySql>>,
}

impl Held {
    fn connection(&mut self) -> &mut MySqlConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("taken only when it is dropped"),
        }
    }

    async fn rows(&mut self, query: &Query, values: &[(&str, Value<'_>)]) -> Result<Vec<MySqlRow>, sqlx::Error> {
        query.rows(values, self.connection(), ANSWER).await
    }

    /// The answer has been read to its end.
    fn give_back(mut self) {
        drop(self.connection.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl Query {
    /// The answer, if it has at most `most` bytes. A server that sends more is not what it should be, and must not fill our memory: the caller drops the
    /// connection with the error, as after every one that is not the server's own.
    pub(super) async fn rows(
        &self,
        values: &[(&str, Value<'_>)],
        connection: &mut MySqlConnection,
        most: usize,
    ) -> Result<Vec<MySqlRow>, sqlx::Error> {
        let mut answer = self.bound(values).fetch(connection);
        let mut rows = Vec::new();
        let mut bytes = 0;
        while let Some(row) = poll_fn(|context| answer.as_mut().poll_next(context)).await {
            let row = row?;
            bytes += size(&row);
            if bytes > most {
                return Err(sqlx::Error::Protocol(format!(
                    "an answer of more than {} MiB, {} rows so far: the connection was closed; check that this server is the one it should be, and its query",
                    most >> 20,
                    rows.len()
                )));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// The statement with its parameters.
    pub(super) fn bound<'q>(
        &'q self,
        values: &[(&str, Value<'q>)],
    ) -> sqlx::query::Query<'q, MySql, sqlx::mysql::MySqlArguments> {
        self.parameters.iter().fold(sqlx::query(AssertSqlSafe(self.text.clone())), |query, wanted| {
            let value = values.iter().find(|(name, _)| name == wanted).map_or(Value::Null, |(_, value)| *value);
            match value {
                Value::Text(text) => query.bind(text.to_owned()),
                Value::Number(number) => query.bind(number),
                Value::Null => query.bind(None::<String>),
            }
        })
    }
}

fn size(row: &MySqlRow) -> usize {
    let bytes = |column| row.try_get_unchecked::<Option<&[u8]>, _>(column).ok().flatten().map_or(0, <[u8]>::len);
    ROW + (0..row.len()).map(|column| COLUMN + bytes(column)).sum::<usize>()
}
