//! What administrators do with the directory: rules for memberships, logins, groups and keys.
//!
//! Every operation is one transaction, in LDAP a sequence of writes that an interruption cannot harm (`docs/directory.md`), and returns the generation that it made. What the database refuses anyway is refused here first, with the
//! names that a constant text in a trigger cannot carry. Plain SQL by a panel obeys the same rules (`docs/directory.md`).

pub mod copy;
pub mod error;
pub mod export;
pub mod group;
pub mod host;
pub mod import;
pub mod key;
pub mod login;
pub mod membership;
pub mod store;
mod transaction;

use std::sync::Arc;

use schema::record::Generation;

pub use error::{AccountsError, Thing, Warning};
use store::Store;

use crate::directory::Directory;

/// The administrators' operations on one directory.
#[derive(Debug, Clone)]
pub struct Accounts {
    store: Arc<dyn Store>,
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
    pub fn new(store: impl Into<Arc<dyn Store>>) -> Self {
        Self::on_host(store, host::Host::local())
    }

    /// The same with a given view of the server, for tests and for imports of another server's files.
    #[must_use]
    pub fn on_host(store: impl Into<Arc<dyn Store>>, host: host::Host) -> Self {
        Self { store: store.into(), host }
    }

    /// The look-ups of the directory under it.
    #[must_use]
    pub fn directory(&self) -> &dyn Directory {
        self.store.directory()
    }

    /// The directory under it.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }
}

#[cfg(test)]
mod tests;
