//! LDAP: one entry changes at a time, and no trigger helps. So what a database holds together is held by the order of the writes (`docs/decisions.md`, "Writing to LDAP"): an interruption
//! between any two leaves nothing dangerous, and the same command again goes on from there.

mod bulk;
mod check;
mod fields;
mod glob;
mod group;
mod ids;
mod lists;
mod login;
mod membership;
mod read;
mod whole;
mod work;

use std::sync::{Arc, Mutex};

use schema::record::{Group, Login};

use super::{Store, Stored};
use crate::directory::ldap::LdapDirectory;
use crate::directory::ldap::client::LdapFailure;
use crate::directory::{DirectoryError, Entry};

/// A directory in LDAP, opened as the administrator.
#[derive(Debug)]
pub(crate) struct LdapStore {
    directory: Arc<LdapDirectory>,
    /// What a listing in pages goes through: one reading, not one a page.
    listed: Mutex<Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    logins: Option<Vec<Entry<Login>>>,
    groups: Option<Vec<Entry<Group>>>,
}

/// Opened as the administrator.
impl From<LdapDirectory> for Arc<dyn Store> {
    fn from(directory: LdapDirectory) -> Self {
        Arc::new(LdapStore { directory: Arc::new(directory), listed: Mutex::default() })
    }
}

/// A refusal in the words of the other stores, as far as they say the same.
fn refused<T>(reason: impl Into<String>) -> Stored<T> {
    Err(DirectoryError::Refused(reason.into()))
}

/// Why a write was not done.
fn failed(directory: &LdapDirectory, what: &str, failure: &LdapFailure) -> DirectoryError {
    let hint = match failure {
        LdapFailure::Said { code: 10, text } => {
            return DirectoryError::Refused(format!(
                "{what}: the server is a copy that cannot be written; changes go to {text}"
            ));
        }
        LdapFailure::Said { code: 17 | 65, .. } => {
            "; the server's schema lacks something: load schema/ldap (docs/directory.md)"
        }
        LdapFailure::Said { code: 19, .. } => {
            "; another entry has this name or id, or the server has a rule of its own"
        }
        LdapFailure::Said { code: 21, .. } => {
            "; the schema of LDAP takes fewer characters there than the other directories"
        }
        LdapFailure::Said { code: 32, .. } => {
            "; what it belongs below is not there: see [directory.write] and schema/ldap/tree.ldif"
        }
        LdapFailure::Said { code: 50, .. } => "; give the administrator the right (olcAccess, schema/ldap/slapd.ldif)",
        LdapFailure::Said { .. } => "",
        LdapFailure::Away(reason) | LdapFailure::NotLetIn(reason) => {
            return DirectoryError::Unavailable {
                directory: directory.config().location(),
                reason: format!("{what}: {reason}"),
            };
        }
    };
    DirectoryError::Refused(format!("{what}: {failure}{hint}"))
}

/// Whether an answer says only that it is so already, or no longer.
fn unless(result: Result<(), LdapFailure>, fine: &[u32]) -> Result<bool, LdapFailure> {
    match result {
        Ok(()) => Ok(true),
        Err(LdapFailure::Said { code, .. }) if fine.contains(&code) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// RFC 4511 appendix A: the value is not there.
const NO_SUCH_ATTRIBUTE: u32 = 16;
/// The value is there.
const VALUE_EXISTS: u32 = 20;
/// The entry is not there.
const NO_SUCH_OBJECT: u32 = 32;
/// The entry is there.
const ENTRY_EXISTS: u32 = 68;
