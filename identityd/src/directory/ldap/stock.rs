//! A full reading: everything listed, then sorted. LDAP has no snapshots, so what changes meanwhile is in it or not; the feed tells of it afterwards either way.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use schema::id::GroupId;
use schema::name::LoginName;
use schema::record::{Generation, Group, Login};

use super::client::Search;
use super::entry::RawEntry;
use super::feed::{self, Node};
use super::filter;
use super::map::{Map, Seniority};
use super::model::{Model, Uuid};
use super::pages;
use super::pool::Pool;
use crate::directory::{DirectoryError, Entry, Kind, Stock, StockedLogin};

/// Entries handed over at a time.
const PORTION: usize = 500;

/// A reading.
pub(super) struct LdapStock {
    generation: Generation,
    expected: (u64, u64),
    logins: std::vec::IntoIter<StockedLogin>,
    groups: std::vec::IntoIter<Entry<Group>>,
}

/// Reads everything. `generation` was taken before.
pub(super) async fn read(pool: &Arc<Pool>, map: &Map, generation: Generation) -> Result<LdapStock, DirectoryError> {
    read_with(pool, map, generation, &[], &mut |_, _| ()).await
}

/// The same, and shows each entry as it is, with these further attributes of logins.
pub(super) async fn read_with(
    pool: &Arc<Pool>,
    map: &Map,
    generation: Generation,
    more: &[String],
    each: &mut (dyn FnMut(Kind, &RawEntry) + Send),
) -> Result<LdapStock, DirectoryError> {
    let config = &map.0;
    let search = |base: &String, of: &str, attributes: Vec<String>| Search {
        base: base.clone(),
        scope: feed::scope_of(config),
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
    let mut raw_groups = Vec::new();
    let mut seen = HashSet::new();
    pages::all(pool, &group_searches, |entry| {
        let uuid = feed::uuid_of(&entry);
        if let (true, Some(Node::Group(group))) = (seen.insert(uuid), feed::group(map, &entry)) {
            model.put_quietly(uuid, Node::Group(group));
            each(Kind::Group, &entry);
            raw_groups.push((uuid, map.seniority(&entry), map.group(&entry, Vec::new())));
        }
    })
    .await?;

    // Capabilities by group are known when all groups and all names are.
    let by_group = !config.group_rules().is_empty();
    let mut logins: Vec<(Uuid, Seniority, Entry<Login>)> = Vec::new();
    let mut entries = HashMap::new();
    seen.clear();
    pages::all(pool, &login_searches, |entry| {
        let uuid = feed::uuid_of(&entry);
        if let (true, Some(Node::Login(login))) = (seen.insert(uuid), feed::login(map, &entry)) {
            model.put_quietly(uuid, Node::Login(login));
            each(Kind::Login, &entry);
            logins.push((uuid, map.seniority(&entry), map.login(&entry, &BTreeSet::new())));
            if by_group {
                entries.insert(uuid, entry);
            }
        }
    })
    .await?;

    let mut stocked: Vec<(i64, Seniority, StockedLogin)> = Vec::with_capacity(logins.len());
    for (uuid, seniority, entry) in logins {
        let Some(node) = model.login_at(uuid).cloned() else { continue };
        let groups = model.groups_of(&node.name, node.dn, node.files_only);
        let mut entry = entry;
        if let Some(raw) = entries.get(&uuid) {
            entry = map.login(raw, &groups.iter().map(|(_, name)| name.to_string()).collect());
        }
        if let (Entry::Valid(_), Some(reason)) = (&entry, model.login_conflict(&node.name, node.uid, &seniority)) {
            entry = conflict(entry, &reason);
        }
        let gids = match &entry {
            Entry::Valid(login) => gids(login.gid, &groups),
            Entry::Quarantined(_) => Vec::new(),
        };
        stocked.push((node.uid, seniority, StockedLogin { entry, gids }));
    }
    stocked.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));

    let mut groups: Vec<(i64, Seniority, Entry<Group>)> = Vec::with_capacity(raw_groups.len());
    for (uuid, seniority, mut entry) in raw_groups {
        let Some((name, gid)) = model.group_name(uuid) else { continue };
        if let Entry::Valid(group) = &mut entry {
            group.members = names(model.expand(uuid).iter().map(|name| &**name));
        }
        if let (Entry::Valid(_), Some(reason)) = (&entry, model.group_conflict(&name, gid, &seniority)) {
            entry = conflict(entry, &reason);
        }
        groups.push((gid, seniority, entry));
    }
    groups.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));

    Ok(LdapStock {
        generation,
        expected: (stocked.len() as u64, groups.len() as u64),
        logins: stocked.into_iter().map(|(.., login)| login).collect::<Vec<_>>().into_iter(),
        groups: groups.into_iter().map(|(.., group)| group).collect::<Vec<_>>().into_iter(),
    })
}

impl LdapStock {
    /// All of it at once: logins by uid, groups by gid.
    pub(super) fn into_parts(self) -> (Vec<StockedLogin>, Vec<Entry<Group>>) {
        (self.logins.collect(), self.groups.collect())
    }
}

#[async_trait]
impl Stock for LdapStock {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn expected(&self) -> (u64, u64) {
        self.expected
    }

    async fn logins(&mut self) -> Result<Vec<StockedLogin>, DirectoryError> {
        Ok(self.logins.by_ref().take(PORTION).collect())
    }

    async fn groups(&mut self) -> Result<Vec<Entry<Group>>, DirectoryError> {
        Ok(self.groups.by_ref().take(PORTION).collect())
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
