//! What becomes of an entry of the directory on this server: published, in which form, or not, and why.

use std::borrow::Cow;
use std::sync::Arc;

use schema::id::GroupId;
use schema::packed::write;
use schema::record::{Group, Login};
use schema::snapshot::changes::Owned;
use sha2::{Digest, Sha256};

use crate::config::UnknownShell;
use crate::directory::{Kind, Quarantined};
use crate::local::Local;
use crate::quarantine;

/// The rules of this server, as they were when something was published under them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The local accounts.
    pub local: Arc<Local>,
    /// From the configuration.
    pub unknown_shell: UnknownShell,
    /// What makes entries of the directory, as it was opened: [`DirectoryConfig::meaning`](crate::config::DirectoryConfig::meaning).
    pub meaning: Arc<str>,
}

/// An entry in the form of its files.
pub(super) struct Packed {
    pub(super) record: Vec<u8>,
    pub(super) gids: Vec<u8>,
}

impl Rules {
    /// Tells whether something was published under the same rules: those of this version, applied to what these settings make of the directory and to these local
    /// accounts.
    #[must_use]
    pub fn policy(&self) -> [u8; 16] {
        let mut digest = Sha256::new();
        digest.update(env!("CARGO_PKG_VERSION"));
        digest.update(format!("\n{:?}\n{}\n", self.unknown_shell, self.meaning));
        self.local.digest(&mut digest);
        let mut policy = [0; 16];
        for (slot, byte) in policy.iter_mut().zip(digest.finalize()) {
            *slot = byte;
        }
        policy
    }

    /// The login as this server publishes it: with nologin for an unknown shell if the configuration says so, without gids of the system's groups.
    ///
    /// # Errors
    /// Why it is not published.
    pub fn login(&self, login: &Login, gids: &[GroupId]) -> Result<Owned, Quarantined> {
        let (passwd, gids) = self.judge_login(login, gids)?;
        Ok(Owned::login(&passwd, &gids))
    }

    /// The same, packed for a base.
    pub(super) fn pack_login(&self, login: &Login, gids: &[GroupId]) -> Result<Packed, Quarantined> {
        let (passwd, gids) = self.judge_login(login, gids)?;
        Ok(Packed { record: write::passwd(&passwd), gids: write::gids(&gids) })
    }

    fn judge_login<'a>(
        &self,
        login: &Login,
        gids: &'a [GroupId],
    ) -> Result<(schema::record::Passwd, Cow<'a, [GroupId]>), Quarantined> {
        let serving = quarantine::published_login(login, &self.local, self.unknown_shell)
            .map_err(|reason| quarantined_login(login, reason))?;
        let local = |gid: &GroupId| self.local.group_of_gid(gid.raw()).is_some_and(never_the_directorys);
        let gids = match gids.iter().any(local) {
            true => gids.iter().copied().filter(|gid| !local(gid)).collect::<Vec<_>>().into(),
            false => Cow::Borrowed(gids),
        };
        Ok((quarantine::passwd(login, serving), gids))
    }

    /// The group as this server publishes it: without members whose name is a local account, which the directory does not speak for. One that is local as
    /// well has all of them, since what it says is not asked yet.
    ///
    /// # Errors
    /// Why it is not published.
    pub fn group(&self, group: &Group) -> Result<Owned, Quarantined> {
        let served = self.judge_group(group)?;
        Owned::group(&served).map_err(|error| quarantined_group(group, error.to_string()))
    }

    /// What is published although it is local, because it is the same there: for the list of what is not served.
    #[must_use]
    pub fn local_login(&self, login: &Login) -> Option<Quarantined> {
        if !self.local.has_the_same_login(login) {
            return None;
        }
        let reason = quarantine::login(login, &self.local, self.unknown_shell).err()?;
        Some(quarantined_login(login, reason))
    }

    /// The same of a group.
    #[must_use]
    pub fn local_group(&self, group: &Group) -> Option<Quarantined> {
        if !self.local.has_the_same_group(group) {
            return None;
        }
        Some(quarantined_group(group, quarantine::group(group, &self.local).err()?))
    }

    /// The same, packed for a base.
    pub(super) fn pack_group(&self, group: &Group) -> Result<Packed, Quarantined> {
        let served = self.judge_group(group)?;
        let record = write::group(&served).map_err(|error| quarantined_group(group, error.to_string()))?;
        Ok(Packed { record, gids: Vec::new() })
    }

    fn judge_group<'a>(&self, group: &'a Group) -> Result<Cow<'a, Group>, Quarantined> {
        let judged = quarantine::published_group(group, &self.local).and_then(|()| {
            // In the moment in which its line goes it has the members that it had.
            let same = self.local.has_the_same_group(group);
            let served = if same { Cow::Borrowed(group) } else { trimmed(group, &self.local) };
            // Packing every group only to see whether it fits would cost more than all the rest.
            if served.members.len() >= LARGE { quarantine::packed(&served).map(|_| served) } else { Ok(served) }
        });
        judged.map_err(|reason| quarantined_group(group, reason))
    }
}

/// Whether a local group is certainly none of the directory's. Of the others a login keeps the gid: the group may be the same in both, and must be there in the
/// moment in which its line goes. Whoever reads what is published leaves out what is in `/etc/group` then.
fn never_the_directorys(group: &str) -> bool {
    schema::name::check(group.as_bytes()).is_err() || schema::name::is_reserved(group)
}

/// Members of a group that may be too large for a reply: 32 bytes each make 16 MiB of half a million.
const LARGE: usize = 10_000;

/// The group without members whose name is a local account.
#[must_use]
pub fn trimmed<'a>(group: &'a Group, local: &Local) -> Cow<'a, Group> {
    if group.members.is_empty() {
        return Cow::Borrowed(group);
    }
    // Members are sorted; a server has some dozens of local accounts, a group may have 100,000 members.
    let is_member = |name: &str| group.members.binary_search_by(|member| member.as_str().cmp(name)).is_ok();
    if !local.logins().any(is_member) {
        return Cow::Borrowed(group);
    }
    let mut group = group.clone();
    group.members.retain(|member| !local.has_login(member.as_str()));
    Cow::Owned(group)
}

fn quarantined_login(login: &Login, reason: String) -> Quarantined {
    Quarantined { kind: Kind::Login, name: login.name.to_string(), id: login.uid.raw().into(), reason }
}

fn quarantined_group(group: &Group, reason: String) -> Quarantined {
    Quarantined { kind: Kind::Group, name: group.name.to_string(), id: group.gid.raw().into(), reason }
}
