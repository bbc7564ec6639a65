//! What every directory can do, whatever holds it: SQLite, MySQL or LDAP.

pub mod fleet;
pub mod ldap;
pub mod mysql;
pub(crate) mod secret;
pub mod servers;
pub(crate) mod sql;
pub mod sqlite;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Generation, Group, Login, SshKey};
use schema::wire::message::Secret;

use fleet::{HostName, HostReport, Hosts};

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

    /// The same of several logins, in no order; who is not there is missing. Few questions, where the directory can: each change is read by every host.
    async fn logins_with_gids(&self, names: &[LoginName]) -> Result<Vec<NamedLogin>, DirectoryError> {
        let mut found = Vec::new();
        for name in names {
            let login = self.login_with_gids(name).await?;
            found.extend(login.map(|(entry, gids)| NamedLogin { name: name.clone(), entry, gids }));
        }
        Ok(found)
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

    /// Whether this is the password, where the directory checks passwords itself (a bind in LDAP). `None`: it does not; fetch the hash. One attempt
    /// on one server. A name that there is not takes as long as a wrong password.
    async fn verify(&self, _name: &LoginName, _password: &Secret) -> Result<Option<Verified>, DirectoryError> {
        Ok(None)
    }

    /// Changes a password where the directory does that itself, after `old` was found right; without it a reset by root. `None`: it does not; use
    /// [`set_password`](Self::set_password). [`DirectoryError::Refused`] is in words for the person.
    async fn change_password(
        &self,
        _name: &LoginName,
        _old: Option<&Secret>,
        _new: &Secret,
        _today: Date,
    ) -> Result<Option<Generation>, DirectoryError> {
        Ok(None)
    }

    /// The newest committed change.
    async fn generation(&self) -> Result<Generation, DirectoryError>;

    /// Up to `limit` changes after `since`, in order of commit.
    async fn changes_after(&self, since: Generation, limit: u32) -> Result<Changes, DirectoryError>;

    /// Opens a reading of the whole directory as of one moment.
    async fn stock(&self) -> Result<Box<dyn Stock>, DirectoryError> {
        Err(DirectoryError::Refused("this directory does not let itself be listed".into()))
    }

    /// What to keep beside a published generation so that [`resume`](Self::resume) can go on after it, at most [`MAX_CURSOR`] bytes. Empty where
    /// the generation alone says it.
    fn cursor(&self, _generation: Generation) -> Vec<u8> {
        Vec::new()
    }

    /// Goes on after a generation that was published earlier, maybe by another process. Called after opening, before the first
    /// [`changes_after`](Self::changes_after). Where that is impossible `changes_after` says [`Changes::Gap`]. `false`: it is another directory, or one with
    /// another history, whose generations say nothing about what was published.
    async fn resume(&self, _generation: Generation, _cursor: &[u8]) -> Result<bool, DirectoryError> {
        Ok(true)
    }

    /// Waits until there may be a change after `since`. A directory that is not told of changes waits for ever: who follows it polls as well.
    async fn changed(&self, _since: Generation) {
        std::future::pending::<()>().await;
    }

    /// A generation that has everything in it that is committed now: what a reader that may be behind has not seen yet is asked of the primary.
    async fn committed(&self) -> Result<Generation, DirectoryError> {
        self.generation().await
    }

    /// The number up to which a host has everything that has published this generation with this cursor: it means the same on every host, and a write's own number can be compared with
    /// it. The same number where the directory counts its changes itself.
    async fn common(&self, generation: Generation, _cursor: &[u8]) -> Result<Generation, DirectoryError> {
        Ok(generation)
    }

    /// Puts down what this host says of itself, in place of what it said before. A directory of one host keeps nothing.
    async fn report(&self, _report: &HostReport) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// What each host said last, at most [`fleet::MAX_HOSTS`], each generation as [`common`](Self::common) gives it. Empty for a directory of one host only: else somebody would wait for nobody.
    async fn fleet(&self) -> Result<Hosts, DirectoryError> {
        Err(DirectoryError::Refused("it keeps no list of hosts: wait on each host by itself".into()))
    }

    /// Takes a host off the list; `false`: it was not on it. A host that runs reports again.
    async fn forget_host(&self, _host: &HostName) -> Result<bool, DirectoryError> {
        Err(DirectoryError::Refused("this directory is of one host and keeps no list of hosts".into()))
    }

    /// For how long its changes have not come, and why, though it may answer look-ups; `None`: they come.
    fn not_followed(&self) -> Option<(std::time::Duration, String)> {
        None
    }

    /// Each server of it and whether it answers, the nearest first; empty: it has none.
    fn servers(&self) -> Vec<servers::ServerReport> {
        Vec::new()
    }

    /// Why it can only be read at present, and what to do; `None`: it can be written as well.
    fn read_only(&self) -> Option<String> {
        None
    }
}

/// Longest cursor in bytes: it stands in the header of the snapshot.
pub const MAX_CURSOR: usize = 160;

/// A reading of the whole directory as of one generation: all logins in ascending order of uid, then all groups in ascending order of gid.
#[async_trait]
pub trait Stock: Send {
    /// All changes up to this are in it, and none after.
    fn generation(&self) -> Generation;

    /// About how many logins and groups there will be, to show progress.
    fn expected(&self) -> (u64, u64);

    /// The next logins, some hundreds at a time; empty: that was all.
    async fn logins(&mut self) -> Result<Vec<StockedLogin>, DirectoryError>;

    /// The next groups; empty: that was all. After the last login.
    async fn groups(&mut self) -> Result<Vec<Entry<Group>>, DirectoryError>;
}

/// A login and all its groups as [`Directory::gids_of`] gives them; a quarantined one is in none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockedLogin {
    /// The login.
    pub entry: Entry<Login>,
    /// The primary first, then the others ascending.
    pub gids: Vec<GroupId>,
}

/// A login that was asked for by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedLogin {
    /// Under which it was asked for.
    pub name: LoginName,
    /// The entry.
    pub entry: Entry<Login>,
    /// As [`Directory::gids_of`] gives them.
    pub gids: Vec<GroupId>,
}

/// What a directory says that checks passwords itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// It is the password, and may be used.
    pub accepted: bool,
    /// It was right, but has ended.
    pub expired: bool,
    /// Too many wrong ones, or an administrator: no password is taken.
    pub locked: bool,
    /// It must be changed before anything else.
    pub must_change: bool,
    /// So many more times it will be taken although it has ended.
    pub grace: Option<u32>,
    /// It ends after this.
    pub ends_in: Option<std::time::Duration>,
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
    /// Those that answer have this in an older state than was read here.
    #[error("the directory {directory} has an older state of this: {reason}")]
    Outdated {
        /// Which one.
        directory: String,
        /// What is missing there, and what to do.
        reason: String,
    },
    /// Under numbers that were read here it has other changes: everything has to be read anew.
    #[error("the directory {directory} has another history of changes than was read here: {reason}")]
    Turned {
        /// Which one.
        directory: String,
        /// How that shows.
        reason: String,
    },
    /// It refused the change.
    #[error("the directory refused the change: {0}")]
    Refused(String),
    /// Somebody else changed the same entry at the same time.
    #[error("the entry was changed by somebody else meanwhile; try again")]
    Conflict,
}
