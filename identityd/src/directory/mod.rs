//! What every directory can do, whatever holds it: SQLite now; MySQL and LDAP have the same face.

pub mod sqlite;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Generation, Group, Login, SshKey};

/// The reading side, and the one thing that a daemon writes: a password that its owner changes.
///
/// Every look-up goes to the directory; caching is the caller's. Dropping a future abandons the question. A row that breaks the rules of
/// `schema` is an [`Entry::Quarantined`], never an error: one bad entry must not hide the others.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The login of this name.
    async fn login_by_name(&self, name: &LoginName) -> Result<Option<Entry<Login>>, DirectoryError>;

    /// The login of this uid.
    async fn login_by_uid(&self, uid: UserId) -> Result<Option<Entry<Login>>, DirectoryError>;

    /// Up to `limit` logins with a uid above `after`, ascending.
    async fn logins_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Login>>, DirectoryError>;

    /// The group of this name, with its members.
    async fn group_by_name(&self, name: &GroupName) -> Result<Option<Entry<Group>>, DirectoryError>;

    /// The group of this gid, with its members.
    async fn group_by_gid(&self, gid: GroupId) -> Result<Option<Entry<Group>>, DirectoryError>;

    /// Up to `limit` groups with a gid above `after`, ascending.
    async fn groups_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Group>>, DirectoryError>;

    /// All groups of a login: the primary first, then the others ascending. `None`: there is no such login, or it is quarantined.
    async fn gids_of(&self, name: &LoginName) -> Result<Option<Vec<GroupId>>, DirectoryError>;

    /// The login of this name, and all its groups as [`gids_of`](Self::gids_of) gives them.
    async fn login_with_gids(&self, name: &LoginName) -> Result<Option<(Entry<Login>, Vec<GroupId>)>, DirectoryError> {
        let Some(entry) = self.login_by_name(name).await? else { return Ok(None) };
        // Gone in between: it is absent now.
        Ok(self.gids_of(name).await?.map(|gids| (entry, gids)))
    }

    /// The keys of a login. Empty for a login that does not exist or is quarantined.
    async fn ssh_keys(&self, name: &LoginName) -> Result<Vec<SshKey>, DirectoryError>;

    /// The hash of one login's password, for a verification in progress. Never kept.
    async fn password_hash(&self, name: &LoginName) -> Result<Option<PasswordHash>, DirectoryError>;

    /// Stores a new password, changed on `today`, if the stored one is still `old` (`None`: whatever it is). Returns the generation of the change.
    async fn set_password(
        &self,
        name: &LoginName,
        old: Option<&PasswordHash>,
        new: &PasswordHash,
        today: Date,
    ) -> Result<Generation, DirectoryError>;

    /// The newest committed change.
    async fn generation(&self) -> Result<Generation, DirectoryError>;

    /// Up to `limit` changes after `since`, in order of commit.
    async fn changes_after(&self, since: Generation, limit: u32) -> Result<Changes, DirectoryError>;

    /// Why it can only be read at present, and what to do; `None`: it can be written as well.
    fn read_only(&self) -> Option<String> {
        None
    }
}

/// An entry as the directory holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    /// It keeps the rules.
    Valid(T),
    /// It does not, and is not served.
    Quarantined(Quarantined),
}

/// An entry that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quarantined {
    /// `login` or `group`.
    pub kind: Kind,
    /// Its name as stored, for people.
    pub name: String,
    /// Its id as stored, so that a listing can go on after it.
    pub id: i64,
    /// What is wrong and what to do.
    pub reason: String,
}

/// What an entry or a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A login.
    Login,
    /// A group.
    Group,
}

/// The changes after a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// In order of commit. Empty: nothing has changed.
    List(Vec<Change>),
    /// The feed does not reach back that far: take everything anew.
    Gap,
}

/// One change: which answers it may have altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub generation: Generation,
    /// What kind of entry.
    pub kind: Kind,
    /// The name concerned, as stored (an old name and a new one are two changes).
    pub name: String,
    /// The id concerned.
    pub id: u32,
}

/// Why the directory gave no answer. None of these means that an entry does not exist.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DirectoryError {
    /// Cannot be reached, or did not answer in time.
    #[error("the directory {directory} does not answer: {reason}")]
    Unavailable {
        /// Which one.
        directory: String,
        /// What the library said.
        reason: String,
    },
    /// It is there, but too many ask at once.
    #[error("too many questions wait for the directory {directory}")]
    Crowded {
        /// Which one.
        directory: String,
    },
    /// It answered with something that cannot be.
    #[error("the directory {directory} is damaged: {reason}")]
    Damaged {
        /// Which one.
        directory: String,
        /// What was found, and what to do.
        reason: String,
    },
    /// It refused the change.
    #[error("the directory refused the change: {0}")]
    Refused(String),
    /// Somebody else changed the same entry at the same time.
    #[error("the entry was changed by somebody else meanwhile; try again")]
    Conflict,
}
