//! What the directory holds, of one moment, for a plan to be compared with.

use std::collections::{HashMap, HashSet};

use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Generation, Group, Login};

use crate::accounts::AccountsError;
use crate::accounts::store::{Parts, Store};
use crate::directory::{Entry, Kind};

pub(super) struct Stock {
    pub(super) generation: Generation,
    /// Valid logins with their hashes, by name.
    pub(super) logins: HashMap<String, (Login, PasswordHash)>,
    /// Names by uid and gid, quarantined entries included.
    uids: HashMap<u32, String>,
    gids: HashMap<u32, String>,
    names: HashSet<String>,
    /// Valid groups by name.
    pub(super) groups: HashMap<String, Group>,
    group_names: HashSet<String>,
    retired_uids: HashMap<u32, String>,
    retired_gids: HashMap<u32, String>,
    reserved: HashSet<String>,
    pub(super) memberships: HashSet<String>,
}

impl Stock {
    pub(super) async fn load(store: &dyn Store) -> Result<Self, AccountsError> {
        let whole = store.whole(Parts::Names).await?;
        let mut stock = Self {
            generation: whole.generation,
            logins: HashMap::with_capacity(whole.logins.len()),
            uids: HashMap::with_capacity(whole.logins.len()),
            gids: HashMap::with_capacity(whole.groups.len()),
            names: HashSet::with_capacity(whole.logins.len()),
            groups: HashMap::with_capacity(whole.groups.len()),
            group_names: HashSet::with_capacity(whole.groups.len()),
            retired_uids: HashMap::new(),
            retired_gids: HashMap::new(),
            reserved: whole.reserved.into_iter().collect(),
            memberships: whole.memberships.into_iter().map(|membership| membership.name.as_str().to_owned()).collect(),
        };
        for stored in whole.logins {
            let name = stored.at.name;
            stock.uids.extend(u32::try_from(stored.at.id).map(|uid| (uid, name.clone())));
            stock.names.insert(name.clone());
            if let Entry::Valid(login) = stored.entry {
                stock.logins.insert(name, (login, stored.password));
            }
        }
        for stored in whole.groups {
            let name = stored.at.name;
            stock.gids.extend(u32::try_from(stored.at.id).map(|gid| (gid, name.clone())));
            stock.group_names.insert(name.clone());
            if let Entry::Valid(group) = stored.entry {
                stock.groups.insert(name, group);
            }
        }
        for (kind, retired) in whole.retired {
            let ids = if kind == Kind::Login { &mut stock.retired_uids } else { &mut stock.retired_gids };
            ids.extend(u32::try_from(retired.id).map(|id| (id, retired.name)));
        }
        Ok(stock)
    }

    /// Whether the group is there already; or why it cannot be.
    pub(super) fn judge_group(&self, name: &GroupName, gid: GroupId) -> Result<bool, String> {
        if self.reserved.contains(name.as_str()) {
            return Err(format!("the name {name} is reserved for the system"));
        }
        match (self.gids.get(&gid.raw()), self.group_names.contains(name.as_str())) {
            (Some(owner), _) if owner == name.as_str() => Ok(true),
            (Some(owner), _) => Err(format!("the directory has the gid {gid} for the group {owner}")),
            (None, true) => Err(format!("the directory has another group {name}, with another gid than {gid}")),
            (None, false) => match self.retired_gids.get(&gid.raw()) {
                Some(owner) if owner != name.as_str() => {
                    Err(format!("the gid {gid} was used before by the group {owner:?}: ids are never given out again"))
                }
                _ => Ok(false),
            },
        }
    }

    /// Why a login that is not there under its name cannot be added.
    pub(super) fn judge_login(&self, name: &LoginName, uid: UserId) -> Result<(), String> {
        if self.reserved.contains(name.as_str()) {
            return Err(format!("the name {name} is reserved for the system"));
        }
        if self.names.contains(name.as_str()) {
            return Err(format!("the directory has a login {name} that is quarantined; mend that one first"));
        }
        if let Some(owner) = self.uids.get(&uid.raw()) {
            return Err(format!("the directory has the uid {uid} for the login {owner}"));
        }
        match self.retired_uids.get(&uid.raw()) {
            Some(owner) if owner != name.as_str() => {
                Err(format!("the uid {uid} was used before by {owner:?}: ids are never given out again"))
            }
            _ => Ok(()),
        }
    }
}
