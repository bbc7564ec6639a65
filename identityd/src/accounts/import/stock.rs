//! What the directory holds, of one moment, for a plan to be compared with.

use std::collections::{HashMap, HashSet};

use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Generation, Group, Login};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::accounts::AccountsError;
use crate::directory::Entry;
use crate::directory::sqlite::SqliteDirectory;
use crate::directory::sqlite::reading::newest;
use crate::directory::sqlite::rows::{bytes, group, login, select_group, select_login};

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
    pub(super) async fn load(directory: &SqliteDirectory) -> Result<Self, AccountsError> {
        // Deferred: the first statement fixes the moment.
        let mut moment = directory.database(directory.reader().begin().await)?;
        let generation = directory.database(newest(&mut moment).await)?;
        let mut stock = Self {
            generation,
            logins: HashMap::new(),
            uids: HashMap::new(),
            gids: HashMap::new(),
            names: HashSet::new(),
            groups: HashMap::new(),
            group_names: HashSet::new(),
            retired_uids: HashMap::new(),
            retired_gids: HashMap::new(),
            reserved: HashSet::new(),
            memberships: HashSet::new(),
        };
        let hashes = sqlx::query("SELECT uid, password_hash FROM login").fetch_all(&mut *moment).await;
        let mut hashes: HashMap<u32, PasswordHash> = directory
            .database(hashes)?
            .iter()
            .filter_map(|row| Some((id(row, "uid")?, text(row, "password_hash").parse().ok()?)))
            .collect();
        let rows = sqlx::query(select_login!("")).fetch_all(&mut *moment).await;
        for row in &directory.database(rows)? {
            let name = text(row, "name");
            stock.uids.extend(id(row, "uid").map(|uid| (uid, name.clone())));
            stock.names.insert(name.clone());
            if let Entry::Valid(login) = login(row) {
                let hash = hashes.remove(&login.uid.raw()).unwrap_or_else(PasswordHash::none);
                stock.logins.insert(name, (login, hash));
            }
        }
        let rows = sqlx::query(select_group!("")).fetch_all(&mut *moment).await;
        for row in &directory.database(rows)? {
            let name = text(row, "name");
            stock.gids.extend(id(row, "gid").map(|gid| (gid, name.clone())));
            stock.group_names.insert(name.clone());
            if let Entry::Valid(group) = group(row) {
                stock.groups.insert(name, group);
            }
        }
        let rows = sqlx::query("SELECT kind, id, name FROM retired_id").fetch_all(&mut *moment).await;
        for row in &directory.database(rows)? {
            let retired = if text(row, "kind") == "login" { &mut stock.retired_uids } else { &mut stock.retired_gids };
            retired.extend(id(row, "id").map(|id| (id, text(row, "name"))));
        }
        let rows = sqlx::query("SELECT name FROM reserved_name").fetch_all(&mut *moment).await;
        stock.reserved = directory.database(rows)?.iter().map(|row| text(row, "name")).collect();
        let rows = sqlx::query("SELECT name FROM membership").fetch_all(&mut *moment).await;
        stock.memberships = directory.database(rows)?.iter().map(|row| text(row, "name")).collect();
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

fn text(row: &SqliteRow, column: &str) -> String {
    String::from_utf8_lossy(&bytes(row, column)).into_owned()
}

fn id(row: &SqliteRow, column: &str) -> Option<u32> {
    row.try_get_unchecked::<i64, &str>(column).ok().and_then(|id| u32::try_from(id).ok())
}
