//! What administrators do with the directory: rules and transactions for memberships, logins, groups and keys.
//!
//! Every operation is one transaction and returns the generation that it made. What the database refuses anyway is refused here first, with the
//! names that a constant text in a trigger cannot carry. Plain SQL by a panel obeys the same rules (`docs/directory.md`).

pub mod error;
pub mod export;
pub mod group;
pub mod host;
pub mod import;
pub mod key;
pub mod login;
pub mod membership;
mod transaction;

use schema::record::Generation;

pub use error::{AccountsError, Thing, Warning};

use crate::directory::sqlite::SqliteDirectory;

/// The administrators' operations on one directory.
#[derive(Debug, Clone)]
pub struct Accounts {
    directory: SqliteDirectory,
    host: host::Host,
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Done<T = ()> {
    /// What it made or changed, as it is now.
    pub value: T,
    /// The generation in which the change is visible; the newest one if nothing changed.
    pub generation: Generation,
    /// Whether anything changed.
    pub changed: bool,
    /// What an administrator should know.
    pub warnings: Vec<Warning>,
}

impl Accounts {
    /// Works on an open directory; warnings about shells and homes are about this server.
    #[must_use]
    pub fn new(directory: SqliteDirectory) -> Self {
        Self::on_host(directory, host::Host::local())
    }

    /// The same with a given view of the server, for tests and for imports of another server's files.
    #[must_use]
    pub fn on_host(directory: SqliteDirectory, host: host::Host) -> Self {
        Self { directory, host }
    }

    /// The directory under it.
    #[must_use]
    pub fn directory(&self) -> &SqliteDirectory {
        &self.directory
    }
}

#[cfg(test)]
mod tests;
