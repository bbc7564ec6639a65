//! The records of the directory: what a membership, a login, a group and a key are.

use crate::capability::Capabilities;
use crate::date::Date;
use crate::id::{GroupId, UserId};
use crate::name::{GroupName, LoginName, MembershipName};
use crate::path::{HomePath, ShellPath};
use crate::text::Gecos;

/// The number of a committed change. Ordered by commit: who has seen n has seen all below n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who pays and owns.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Membership {
    /// Short name, unique.
    pub name: MembershipName,
    /// Full name of the organisation.
    pub title: Gecos,
}

/// Whether a login may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In use.
    Active,
    /// Locked by an administrator: known, owns its files, may not enter.
    Locked,
}

/// Password aging and account expiry (shadow(5)); `None` is an empty field.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Aging {
    /// Day of the last password change; 1970-01-01 means that it must be changed at the next login.
    pub last_change: Option<Date>,
    /// Days before it may be changed again.
    pub min_days: Option<u32>,
    /// Days after which it must be changed.
    pub max_days: Option<u32>,
    /// Days of warning before.
    pub warn_days: Option<u32>,
    /// Days of grace after, then the login is closed.
    pub inactive_days: Option<u32>,
    /// The login is closed from this day on.
    pub expires: Option<Date>,
}

/// A login, without its password.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Login {
    /// Unique name.
    pub name: LoginName,
    /// Unique for ever.
    pub uid: UserId,
    /// Primary group.
    pub gid: GroupId,
    /// Full name.
    pub gecos: Gecos,
    /// Home directory.
    pub home: HomePath,
    /// The shell it has if it may have one; see [`Login::passwd`].
    pub shell: ShellPath,
    /// Active or locked.
    pub status: Status,
    /// What it may do.
    pub capabilities: Capabilities,
    /// Password aging and expiry.
    pub aging: Aging,
    /// The membership that it belongs to, if any.
    pub membership: Option<MembershipName>,
}

/// What libc sees of a login (passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Passwd {
    /// pw_name
    pub name: LoginName,
    /// pw_uid
    pub uid: UserId,
    /// pw_gid
    pub gid: GroupId,
    /// pw_gecos
    pub gecos: Gecos,
    /// pw_dir
    pub home: HomePath,
    /// pw_shell
    pub shell: ShellPath,
}

impl Login {
    /// What libc sees. Without the capability `shell` the shell is nologin(8), so that no service that forgets to ask hands one out.
    #[must_use]
    pub fn passwd(&self) -> Passwd {
        let shell = if self.capabilities.contains(crate::capability::SHELL) { self.shell.clone() } else { nologin() };
        Passwd {
            name: self.name.clone(),
            uid: self.uid,
            gid: self.gid,
            gecos: self.gecos.clone(),
            home: self.home.clone(),
            shell,
        }
    }
}

/// A group (group(5)). Members are sorted by name and unique; primary membership is not listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Group {
    /// gr_name
    pub name: GroupName,
    /// gr_gid
    pub gid: GroupId,
    /// gr_mem
    pub members: Vec<LoginName>,
}

/// A public key that may open a session.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SshKey {
    /// Number inside the directory, to remove it by.
    pub id: i64,
    /// One line of authorized_keys(5): options, type, base64, comment.
    pub line: String,
    /// `SHA256:…` as ssh-keygen(1) prints it.
    pub fingerprint: String,
    /// Day it was added.
    pub added: Option<Date>,
}

fn nologin() -> ShellPath {
    match crate::paths::NOLOGIN.parse() {
        Ok(path) => path,
        Err(_) => unreachable!("a constant that parses"),
    }
}
