//! Import of passwd(5), shadow(5) and group(5): read → plan → apply. The page for administrators is `docs/import.md`.
//!
//! 1. [`Files::read`] turns text into [`Candidates`]; every line becomes a candidate or a [`Finding`]. Other sources can make candidates too.
//! 2. [`Accounts::import_plan`](super::Accounts::import_plan) compares candidates with the directory: what is new is planned, what is there stays as it is.
//! 3. [`Accounts::import_apply`](super::Accounts::import_apply) writes the plan: into SQL in one transaction, into LDAP entry by entry. A dry run ends after the plan.

mod apply;
mod group;
mod lines;
mod passwd;
mod plan;
mod read;
mod shadow;
mod stock;

use std::path::{Path, PathBuf};

use schema::capability::{self, Capabilities};
use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::{LoginName, MembershipName};
use schema::record::{Group, Login};
use zeroize::Zeroizing;

/// The files of one server.
#[derive(Default)]
pub struct Files {
    /// passwd(5).
    pub passwd: Option<File>,
    /// shadow(5).
    pub shadow: Option<File>,
    /// group(5).
    pub group: Option<File>,
}

/// One file.
pub struct File {
    /// How reports call it, such as `passwd`.
    pub name: String,
    /// Its content; cleared when dropped.
    pub content: Zeroizing<Vec<u8>>,
}

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}; give a folder with passwd, shadow and group, readable by you")]
pub struct ReadError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// How to import.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ids below are of the system and are passed over. At least 1000.
    pub floor: u32,
    /// Take the membership out of homes of the old layout, `/home/members/MEMBERSHIP/sites/ID/users/LOGIN`; homes stay as they are.
    pub membership_from_home: bool,
    /// Membership of all others.
    pub membership: Option<MembershipName>,
    /// What a login with a real shell may do.
    pub with_shell: Capabilities,
    /// What a login may do whose shell only transfers files (sftp-server, scponly, rssh, MySecureShell).
    pub transfer_only: Capabilities,
    /// What a login with nologin or false may do.
    pub without_shell: Capabilities,
    /// A login whose primary group is one of the system (such as users, 100) gets a group of its own instead of being refused.
    pub own_group_for_system_gid: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            floor: schema::id::FLOOR,
            membership_from_home: true,
            membership: None,
            with_shell: tokens(&[
                capability::SHELL,
                capability::SFTP,
                capability::MAIL,
                capability::FTP,
                capability::CRON,
            ]),
            transfer_only: tokens(&[capability::SFTP, capability::MAIL]),
            without_shell: tokens(&[capability::MAIL]),
            own_group_for_system_gid: false,
        }
    }
}

/// What a source holds, checked, before the directory is asked.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Logins in order of the source.
    pub logins: Vec<LoginCandidate>,
    /// Groups in order of the source.
    pub groups: Vec<GroupCandidate>,
    /// What was not taken or was altered.
    pub findings: Vec<Finding>,
    /// How many lines each file has.
    pub lines: Vec<(String, u64)>,
}

/// Where something came from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Origin {
    /// File, as it is called in reports.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
}

/// A login that a source holds.
#[derive(Debug, Clone)]
pub struct LoginCandidate {
    /// Where it came from.
    pub origin: Origin,
    /// Where its password and aging came from.
    pub shadow: Option<Origin>,
    /// The login.
    pub login: Login,
    /// Its password's hash.
    pub password: PasswordHash,
    /// It needs a group of its own: no group of the source has its gid.
    pub own_group: bool,
}

/// A group that a source holds.
#[derive(Debug, Clone)]
pub struct GroupCandidate {
    /// Where it came from.
    pub origin: Origin,
    /// The group; its members are logins of the source.
    pub group: Group,
}

/// What became of a line that is not simply taken.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Where.
    #[serde(flatten)]
    pub origin: Origin,
    /// Which fate.
    pub fate: Fate,
    /// The entry's name as far as it can be shown.
    pub name: Option<String>,
    /// Why, and what to do.
    pub reason: String,
}

/// The fate of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is not taken: something is wrong with it.
    Refused,
    /// It is not taken and needs nothing: a system account, a comment, an empty line, NIS.
    Skipped,
    /// It is taken, but not exactly as it was, or somebody should look at it.
    Noted,
    /// It is in the directory already and stays as it is there, which differs from the file.
    Kept,
}

/// What an import would do. Nothing in it prints a hash.
#[derive(Debug, serde::Serialize)]
pub struct Plan {
    /// The directory's generation when the plan was made; [`Accounts::import_apply`](super::Accounts::import_apply) refuses another.
    pub generation: schema::record::Generation,
    /// What it comes to.
    pub summary: Summary,
    /// Every line that is not simply taken, by file and line.
    pub findings: Vec<Finding>,
    /// Memberships to be created.
    pub memberships: Vec<MembershipName>,
    /// Groups to be created; their members are in `members`.
    #[serde(skip)]
    pub groups: Vec<Group>,
    /// Logins to be created.
    #[serde(skip)]
    pub logins: Vec<PlannedLogin>,
    /// Members to be added, to new groups and to those that exist.
    #[serde(skip)]
    pub members: Vec<(GroupId, LoginName)>,
}

/// A login to be created.
#[derive(Debug, Clone)]
pub struct PlannedLogin {
    /// The login.
    pub login: Login,
    /// Its password's hash.
    pub password: PasswordHash,
}

/// Counts of a plan. `changes` is 0 for a second run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Entries that would be created or extended.
    pub changes: u64,
    /// New logins.
    pub logins: u64,
    /// New groups.
    pub groups: u64,
    /// New memberships.
    pub memberships: u64,
    /// Members of groups, new ones and those of groups that exist.
    pub members: u64,
    /// Entries that are in the directory exactly so.
    pub unchanged: u64,
    /// For each file, what became of its lines.
    pub files: Vec<Tally>,
}

/// What became of the lines of one file: `lines = taken + kept + skipped + refused`. `noted` lines are among the taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// The file.
    pub file: String,
    /// All lines.
    pub lines: u64,
    /// Taken, or in the directory exactly so.
    pub taken: u64,
    /// In the directory already and different there.
    pub kept: u64,
    /// Passed over.
    pub skipped: u64,
    /// Refused.
    pub refused: u64,
    /// Taken with a remark.
    pub noted: u64,
}

impl Plan {
    /// Whether applying it would change anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.summary.changes == 0
    }

    /// How many steps [`Accounts::import_apply`](super::Accounts::import_apply) reports.
    #[must_use]
    pub fn steps(&self) -> u64 {
        u64::try_from(self.memberships.len() + self.groups.len() + self.logins.len()).unwrap_or(u64::MAX)
    }
}

impl Files {
    /// `passwd`, `shadow` and `group` of a folder; `passwd` must be there.
    ///
    /// # Errors
    /// One that is there cannot be read.
    pub fn in_folder(folder: &Path) -> Result<Self, ReadError> {
        let file = |name: &str| match File::open(&folder.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound && name != "passwd" => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self { passwd: file("passwd")?, shadow: file("shadow")?, group: file("group")? })
    }
}

impl File {
    /// Reads a file; reports call it by its last component.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let content = std::fs::read(path).map_err(|source| ReadError { path: path.into(), source })?;
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, content: Zeroizing::new(content) })
    }

    /// A file from memory.
    #[must_use]
    pub fn new(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), content: Zeroizing::new(content.into()) }
    }
}

fn tokens(tokens: &[&str]) -> Capabilities {
    tokens.iter().filter_map(|token| token.parse().ok()).collect()
}
