//! SQLite and MySQL: one set of statements. What they do in their triggers (private groups, retired ids, the feed) is not done here.

mod bulk;
mod engine;
mod lists;
mod statement;
mod take_over;
mod work;

use std::sync::Arc;

use self::engine::Engine;
use self::statement::{Link, Row, Statement, sql};
use super::Store;
use crate::directory::mysql::MysqlDirectory;
use crate::directory::sqlite::SqliteDirectory;

/// A directory in SQL.
#[derive(Debug, Clone)]
pub(crate) struct SqlStore {
    engine: Engine,
}

impl From<SqliteDirectory> for Arc<dyn Store> {
    fn from(directory: SqliteDirectory) -> Self {
        Arc::new(SqlStore { engine: Engine::Sqlite(directory) })
    }
}

/// Opened as the administrator.
impl From<MysqlDirectory> for Arc<dyn Store> {
    fn from(directory: MysqlDirectory) -> Self {
        Arc::new(SqlStore { engine: Engine::Mysql(directory) })
    }
}
