//! Errors and warnings of the administrators' operations: what happened, to what, what to do next.

use schema::id::UserId;
use schema::name::LoginName;
use schema::path::{HomePath, ShellPath};

use crate::directory::DirectoryError;

/// What an operation was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Thing {
    /// A membership.
    Membership,
    /// A login.
    Login,
    /// A group.
    Group,
    /// A public key.
    Key,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Membership => "membership",
            Self::Login => "login",
            Self::Group => "group",
            Self::Key => "key",
        })
    }
}

/// Why an operation was not done. Nothing has changed then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccountsError {
    /// There is none of this name.
    #[error("there is no {thing} {name}; list them with: identityctl {thing} list{}", if *thing == Thing::Key { " LOGIN" } else { "" })]
    NotFound {
        /// What was looked for.
        thing: Thing,
        /// Its name.
        name: String,
    },
    /// The name or id is in use.
    #[error("there is a {thing} {name} already{}", exists_remedy(*thing))]
    Exists {
        /// What exists.
        thing: Thing,
        /// Its name or id.
        name: String,
    },
    /// The id had another owner.
    #[error(
        "{thing} id {id} was used before by {name:?}: ids are never given out again; leave the id out to get a new one"
    )]
    IdUsed {
        /// A login or a group.
        thing: Thing,
        /// The id.
        id: u32,
        /// Who had it.
        name: String,
    },
    /// Others depend on it.
    #[error("{thing} {name} is in use: {by}; {remedy}")]
    InUse {
        /// What was to be removed.
        thing: Thing,
        /// Its name.
        name: String,
        /// By whom.
        by: String,
        /// What to do first.
        remedy: &'static str,
    },
    /// A retired name had several ids.
    #[error("{name} was deleted more than once and had the uids {uids:?}; say which with --uid")]
    Ambiguous {
        /// The name.
        name: LoginName,
        /// Its former uids.
        uids: Vec<u32>,
    },
    /// It breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The entry as it is stored breaks the rules.
    #[error("{thing} {name} is quarantined: {reason}")]
    Quarantined {
        /// A login or a group.
        thing: Thing,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory refused or did not answer.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

fn exists_remedy(thing: Thing) -> String {
    match thing {
        Thing::Key => String::new(),
        _ => format!("; choose another, or change that one with: identityctl {thing} set"),
    }
}

impl AccountsError {
    pub(super) fn not_found(thing: Thing, name: impl std::fmt::Display) -> Self {
        Self::NotFound { thing, name: name.to_string() }
    }

    pub(super) fn exists(thing: Thing, name: impl std::fmt::Display) -> Self {
        Self::Exists { thing, name: name.to_string() }
    }
}

/// What was done all the same, but an administrator should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The shell is not a program on this server.
    #[error("the shell {0} does not exist on this server: nobody can work with it here")]
    ShellMissing(ShellPath),
    /// The shell is not in shells(5).
    #[error("the shell {0} is not listed in /etc/shells of this server: pam_shells and FTP servers refuse it")]
    ShellNotListed(ShellPath),
    /// The home belongs to another login too.
    #[error("the home {home} is also the home of {other}")]
    HomeShared {
        /// The home.
        home: HomePath,
        /// Another login that has it.
        other: String,
    },
    /// NFS with AUTH_SYS passes 16 groups only (RFC 5531, appendix A).
    #[error("{login} is in {count} groups besides its own: NFS with AUTH_SYS passes only 16")]
    ManyGroups {
        /// The login.
        login: LoginName,
        /// In how many groups.
        count: usize,
    },
    /// It was retired under this name, and the new one is somebody else as far as files go.
    #[error(
        "the name {name} was used before with uid {uid}; if it is the same person, use `identityctl login restore {name}` instead"
    )]
    NameUsedBefore {
        /// The name.
        name: LoginName,
        /// Its former uid.
        uid: UserId,
    },
    /// The group of a renamed login kept its name.
    #[error("{0}")]
    Note(String),
}

impl serde::Serialize for Warning {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
