//! The operations against a real SQLite file, and the rules that the database holds against raw SQL.

mod files;
mod groups;
mod import;
mod memberships;
mod merge;
mod operations;
mod rules;
mod writers;

use schema::capability::Capabilities;
use schema::name::LoginName;

use super::host::Host;
use super::login::NewLogin;
use super::{Accounts, AccountsError};
use crate::directory::sqlite::SqliteDirectory;

/// A fresh directory in a folder of its own, on a server with the usual shells.
pub(super) struct World {
    pub(super) accounts: Accounts,
    pub(super) directory: SqliteDirectory,
    pub(super) folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for file in ["etc/shells", "bin/bash", "bin/sh", "usr/sbin/nologin", "bin/false"] {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), "/bin/bash\n/bin/sh\n").unwrap();
        }
        let directory = SqliteDirectory::create(&folder.path().join("directory.db")).await.unwrap();
        Self { accounts: Accounts::on_host(directory.clone(), Host::at(&root)), directory, folder }
    }

    pub(super) async fn login(&self, name: &str, capabilities: &str) -> schema::record::Login {
        self.accounts.login_add(&new_login(name, capabilities)).await.unwrap().value
    }

    /// Runs statements as a panel would: foreign keys are off.
    pub(super) async fn sql(&self, statement: &str) -> Result<(), String> {
        use sqlx::ConnectOptions;
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.folder.path().join("directory.db"))
            .foreign_keys(false);
        let mut panel = options.connect().await.unwrap();
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut panel).await;
        done.map(|_| ()).map_err(|error| error.to_string())
    }

    /// The first column of the first row, as text.
    pub(super) async fn ask(&self, question: &str) -> String {
        use sqlx::Row;
        let row =
            sqlx::query(sqlx::AssertSqlSafe(question.to_owned())).fetch_one(self.directory.reader()).await.unwrap();
        row.try_get_unchecked::<Option<String>, usize>(0).unwrap().unwrap_or_default()
    }
}

pub(super) fn name(text: &str) -> LoginName {
    text.parse().unwrap()
}

pub(super) fn capabilities(text: &str) -> Capabilities {
    text.split_whitespace().map(|token| token.parse().unwrap()).collect()
}

pub(super) fn new_login(text: &str, tokens: &str) -> NewLogin {
    NewLogin { capabilities: capabilities(tokens), ..NewLogin::named(name(text)) }
}

pub(super) fn message<T: std::fmt::Debug>(result: Result<T, AccountsError>) -> String {
    result.unwrap_err().to_string()
}
