//! Logins: adding, showing, listing, changing, locking, removing, and taking a retired id back.

mod change;
mod read;
mod retire;

use schema::capability::Capabilities;
use schema::date::Date;
use schema::hash::{Method, PasswordHash};
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName, MembershipName};
use schema::path::{HomePath, ShellPath};
use schema::record::{Aging, Login, SshKey, Status};
use schema::text::Gecos;

use super::Warning;

/// Where homes are unless a login says otherwise.
pub const HOMES: &str = "/home/members/users";

/// The shell of a new login unless it says otherwise.
pub const SHELL: &str = "/bin/bash";

/// NFS with AUTH_SYS passes so many groups besides the primary one (RFC 5531, appendix A).
pub const NFS_GROUPS: usize = 16;

/// What a new login is made of.
#[derive(Debug, Clone)]
pub struct NewLogin {
    /// Its name.
    pub name: LoginName,
    /// `None`: the next never-used id.
    pub uid: Option<UserId>,
    /// An existing group; `None`: a group of its own with its name and, if it is free, its uid.
    pub gid: Option<GroupId>,
    /// Full name.
    pub gecos: Gecos,
    /// `None`: [`HOMES`] and the name.
    pub home: Option<HomePath>,
    /// `None`: [`SHELL`].
    pub shell: Option<ShellPath>,
    /// Active or locked.
    pub status: Status,
    /// What it may do.
    pub capabilities: Capabilities,
    /// Aging and expiry.
    pub aging: Aging,
    /// The membership that it belongs to.
    pub membership: Option<MembershipName>,
    /// Its password's hash; `None`: no password.
    pub password: Option<PasswordHash>,
}

impl NewLogin {
    /// An active login of this name with everything else as it is by default.
    #[must_use]
    pub fn named(name: LoginName) -> Self {
        Self {
            name,
            uid: None,
            gid: None,
            gecos: Gecos::default(),
            home: None,
            shell: None,
            status: Status::Active,
            capabilities: Capabilities::new(),
            aging: Aging::default(),
            membership: None,
            password: None,
        }
    }
}

/// What to change of a login; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct LoginChange {
    /// A new name. The uid stays; its own group, if it has the same name, is renamed with it.
    pub name: Option<LoginName>,
    /// Full name.
    pub gecos: Option<Gecos>,
    /// Home directory. Nothing is moved on any server.
    pub home: Option<HomePath>,
    /// Shell.
    pub shell: Option<ShellPath>,
    /// Primary group, which exists.
    pub gid: Option<GroupId>,
    /// Another membership, or none. Changes nothing else.
    pub membership: Option<Option<MembershipName>>,
    /// Exactly these capabilities, before the two below.
    pub capabilities: Option<Capabilities>,
    /// Capabilities to add.
    pub add_capabilities: Capabilities,
    /// Capabilities to take away.
    pub remove_capabilities: Capabilities,
    /// Password aging.
    pub aging: AgingChange,
}

/// What to change of the password aging (chage(1)); `None` stays, `Some(None)` empties the field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgingChange {
    /// Day of the last change; 1970-01-01 forces one at the next login.
    pub last_change: Option<Option<Date>>,
    /// Days before it may be changed again.
    pub min_days: Option<Option<u32>>,
    /// Days after which it must be changed.
    pub max_days: Option<Option<u32>>,
    /// Days of warning.
    pub warn_days: Option<Option<u32>>,
    /// Days of grace.
    pub inactive_days: Option<Option<u32>>,
    /// The login is closed from this day on.
    pub expires: Option<Option<Date>>,
}

/// Which logins to list. All conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct LoginFilter {
    /// Of this membership.
    pub membership: Option<MembershipName>,
    /// With this status.
    pub status: Option<Status>,
    /// With this capability.
    pub capability: Option<schema::capability::Capability>,
    /// Whose name matches this pattern: `*`, `?`, `[a-c]` as in a shell.
    pub pattern: Option<String>,
    /// With a uid above this one; 0 begins.
    pub after: u32,
}

/// A login with what hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LoginDetails {
    /// The login.
    #[serde(flatten)]
    pub login: Login,
    /// Its primary group's name, if that group is served.
    pub group: Option<GroupName>,
    /// Its other groups, derived ones included, by gid.
    pub groups: Vec<GroupRef>,
    /// Its keys.
    pub keys: Vec<SshKey>,
    /// Method of its password's hash; `locked` when none can match.
    pub password: Method,
    /// What an administrator should know about it on this server.
    pub warnings: Vec<Warning>,
}

/// A group by id and name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GroupRef {
    /// Its gid.
    pub gid: GroupId,
    /// Its name.
    pub name: GroupName,
}

/// A deleted login.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RetiredLogin {
    /// The uid that it had, and that nobody else gets.
    pub uid: u32,
    /// Its last name.
    pub name: String,
    /// When it was deleted, UTC.
    pub retired: String,
    /// Its last home.
    pub home: String,
}
