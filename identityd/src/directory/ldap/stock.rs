//! A full reading: everything listed, then sorted. LDAP has no snapshots, so what changes meanwhile is in it or not; the feed tells of it afterwards either way. Polling would not tell of an entry that came
//! and went between two of its lists: there an entry that the feed does not know yet is left to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use schema::id::GroupId;
use schema::name::LoginName;
use schema::record::{Generation, Group, Login};

use super::client::Search;
use super::entry::RawEntry;
use super::map::{Map, Seniority};
use super::model::{Model, Uuid};
use super::node::Node;
use super::pool::Pool;
use super::{filter, node, pages, part};
use crate::directory::{DirectoryError, Entry, Kind, Stock, StockedLogin};

/// Entries handed over at a time.
const PORTION: usize = 500;

/// A reading. What has come of each entry is put together when it is handed over.
pub(super) struct LdapStock {
    generation: Generation,
    map: Map,
    model: Model,
    logins: std::vec::IntoIter<Read<Login>>,
    groups: std::vec::IntoIter<Read<Group>>,
}

/// An entry that was read, without what follows from others.
struct Read<T> {
    /// As stored: they are handed over in this order, and then by who was there first.
    id: i64,
    seniority: Seniority,
    uuid: Uuid,
    entry: Entry<T>,
    /// Rules of capabilities by group that are still to be looked at.
    rules: Box<[usize]>,
}

/// Reads everything that is `wanted`. `generation` was taken before.
pub(super) async fn read(
    pool: &Arc<Pool>,
    map: &Map,
    generation: Generation,
    wanted: &(dyn Fn(Uuid) -> bool + Sync),
) -> Result<LdapStock, DirectoryError> {
    read_with(pool, map, generation, wanted, &[], &mut |_, _| ()).await
}

/// The same, and shows each entry as it is, with these further attributes of logins.
pub(super) async fn read_with(
    pool: &Arc<Pool>,
    map: &Map,
    generation: Generation,
    wanted: &(dyn Fn(Uuid) -> bool + Sync),
    more: &[String],
    each: &mut (dyn FnMut(Kind, &RawEntry) + Send),
) -> Result<LdapStock, DirectoryError> {
    let config = &map.0;
    let search = |base: &String, of: &str, attributes: Vec<String>| Search {
        base: base.clone(),
        scope: part::scope_of(config),
        filter: filter::wrapped(of),
        attributes,
        limit: 0,
        optional: false,
    };
    let login_attributes = [map.login_attributes(), more.to_vec()].concat();
    let login_searches: Vec<Search> =
        config.login_bases().iter().map(|base| search(base, &config.login_filter, login_attributes.clone())).collect();
    let group_searches: Vec<Search> =
        config.group_bases().iter().map(|base| search(base, &config.group_filter, map.group_attributes())).collect();

    let mut model = Model::new(config.nesting);
    let mut groups = Vec::new();
    pages::all(pool, &group_searches, |entry| {
        let uuid = node::uuid_of(&entry);
        if model.group_at(uuid).is_some() || !wanted(uuid) {
            return;
        }
        if let Some(Node::Group(group)) = node::group(map, &entry, uuid) {
            each(Kind::Group, &entry);
            let (id, seniority) = (group.gid, group.seniority);
            model.put_quietly(Node::Group(group));
            groups.push(Read { id, seniority, uuid, entry: map.group(&entry, Vec::new()), rules: Box::default() });
        }
    })
    .await?;

    // Capabilities by group are known when all groups and all names are.
    let mut logins = Vec::new();
    pages::all(pool, &login_searches, |entry| {
        let uuid = node::uuid_of(&entry);
        if model.login_at(uuid).is_some() || !wanted(uuid) {
            return;
        }
        if let Some(Node::Login(login)) = node::login(map, &entry, uuid) {
            each(Kind::Login, &entry);
            let (id, seniority) = (login.uid, login.seniority);
            model.put_quietly(Node::Login(login));
            let rules = map.rules_by_group(&entry);
            logins.push(Read { id, seniority, uuid, entry: map.login(&entry, &BTreeSet::new()), rules });
        }
    })
    .await?;
    logins.sort_unstable_by_key(|read| (read.id, read.seniority));
    groups.sort_unstable_by_key(|read| (read.id, read.seniority));
    Ok(LdapStock { generation, map: map.clone(), model, logins: logins.into_iter(), groups: groups.into_iter() })
}

impl LdapStock {
    fn login(&self, read: Read<Login>) -> StockedLogin {
        let mut entry = read.entry;
        let Some(node) = self.model.login_at(read.uuid) else { return StockedLogin { entry, gids: Vec::new() } };
        let groups = self.model.groups_of(&node.name, node.dn, node.files_only);
        if let Entry::Valid(login) = &mut entry {
            let is_in = |wanted: &str| groups.iter().any(|(_, name)| **name == *wanted);
            login.capabilities.extend(self.map.by_group(&read.rules, is_in));
        }
        if let (Entry::Valid(_), Some(reason)) =
            (&entry, self.model.login_conflict(&node.name, node.uid, &read.seniority))
        {
            entry = conflict(entry, &reason);
        }
        let gids = match &entry {
            Entry::Valid(login) => gids(login.gid, &groups),
            Entry::Quarantined(_) => Vec::new(),
        };
        StockedLogin { entry, gids }
    }

    fn group(&self, read: Read<Group>) -> Entry<Group> {
        let mut entry = read.entry;
        let Some(node) = self.model.group_at(read.uuid) else { return entry };
        if let Entry::Valid(group) = &mut entry {
            group.members = names(self.model.expand(read.uuid).iter().map(|name| &**name));
        }
        match (&entry, self.model.group_conflict(&node.name, node.gid, &read.seniority)) {
            (Entry::Valid(_), Some(reason)) => conflict(entry, &reason),
            _ => entry,
        }
    }

    fn next_logins(&mut self, most: usize) -> Vec<StockedLogin> {
        let portion: Vec<_> = self.logins.by_ref().take(most).collect();
        portion.into_iter().map(|read| self.login(read)).collect()
    }

    fn next_groups(&mut self, most: usize) -> Vec<Entry<Group>> {
        let portion: Vec<_> = self.groups.by_ref().take(most).collect();
        portion.into_iter().map(|read| self.group(read)).collect()
    }

    /// All of it at once: logins by uid, groups by gid.
    pub(super) fn into_parts(mut self) -> (Vec<StockedLogin>, Vec<Entry<Group>>) {
        (self.next_logins(usize::MAX), self.next_groups(usize::MAX))
    }
}

#[async_trait]
impl Stock for LdapStock {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn expected(&self) -> (u64, u64) {
        (self.logins.len() as u64, self.groups.len() as u64)
    }

    async fn logins(&mut self) -> Result<Vec<StockedLogin>, DirectoryError> {
        Ok(self.next_logins(PORTION))
    }

    async fn groups(&mut self) -> Result<Vec<Entry<Group>>, DirectoryError> {
        Ok(self.next_groups(PORTION))
    }
}

/// Names that keep the rules, sorted, each once.
pub(super) fn names<'a>(all: impl Iterator<Item = &'a str>) -> Vec<LoginName> {
    let mut names: Vec<LoginName> = all.filter_map(|name| name.parse().ok()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The primary group, then the others ascending. Those whose id breaks the rules are quarantined themselves.
pub(super) fn gids(primary: GroupId, groups: &[(i64, Box<str>)]) -> Vec<GroupId> {
    let others: BTreeSet<GroupId> = groups
        .iter()
        .filter_map(|(gid, _)| u32::try_from(*gid).ok().and_then(|gid| GroupId::try_from(gid).ok()))
        .filter(|gid| *gid != primary)
        .collect();
    std::iter::once(primary).chain(others).collect()
}

/// An entry whose name or id another one had first.
pub(super) fn conflict<T: Named>(entry: Entry<T>, reason: &str) -> Entry<T> {
    match entry {
        Entry::Valid(value) => Entry::Quarantined(value.quarantined(format!("{reason}; give one of the two another"))),
        quarantined @ Entry::Quarantined(_) => quarantined,
    }
}

/// What a quarantined record is called.
pub(super) trait Named {
    fn quarantined(&self, reason: String) -> crate::directory::Quarantined;
}

impl Named for Login {
    fn quarantined(&self, reason: String) -> crate::directory::Quarantined {
        let (name, id) = (self.name.to_string(), self.uid.raw().into());
        crate::directory::Quarantined { kind: Kind::Login, name, id, reason }
    }
}

impl Named for Group {
    fn quarantined(&self, reason: String) -> crate::directory::Quarantined {
        let (name, id) = (self.name.to_string(), self.gid.raw().into());
        crate::directory::Quarantined { kind: Kind::Group, name, id, reason }
    }
}
