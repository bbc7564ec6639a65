//! Everything: for an export, a plan, a copy. LDAP has no moment that a long reading is of: who copies lets nobody write meanwhile.

use std::collections::{HashMap, HashSet};

use schema::hash::PasswordHash;
use schema::record::{Group, Login};

use super::super::{Parts, Ref, Stored, Whole, WholeGroup, WholeLogin};
use super::{fields, ids, membership, read, refused};
use crate::directory::ldap::admin::StoredPassword;
use crate::directory::ldap::client::Search;
use crate::directory::ldap::{LdapDirectory, RawEntry, filter};
use crate::directory::{Entry, Kind};

/// What is kept of an entry besides its record.
#[derive(Debug)]
struct Beside {
    password: StoredPassword,
    keys: Vec<schema::record::SshKey>,
}

pub(super) async fn whole(directory: &LdapDirectory, parts: Parts) -> Stored<Whole> {
    let (map, names) = (directory.map(), &directory.config().attributes);
    let mut whole = Whole { generation: directory.newest_change().await?, ..Whole::default() };
    let mut beside: HashMap<(i64, String), Beside> = HashMap::new();
    let mut rules: HashMap<(i64, String), String> = HashMap::new();
    let more = [names.password.clone(), names.ssh_key.clone(), names.key_added.clone()];
    let mut each = |kind: Kind, entry: &RawEntry| match kind {
        Kind::Login => {
            let name = map.login_name(entry);
            let keys = name.parse().map(|name| map.keys(&name, entry)).unwrap_or_default();
            beside.entry((map.uid(entry), name)).or_insert(Beside { password: map.password(entry), keys });
        }
        Kind::Group => {
            if let Some(rule) = entry.text(&names.group_rule) {
                rules.insert((map.gid(entry), map.group_name(entry)), rule);
            }
        }
    };
    let (logins, groups) = directory.read_all(&more, &mut each).await?;
    let mut unseen = HashSet::new();
    for stocked in logins {
        let at = login_ref(&stocked.entry);
        let found = beside.remove(&(at.id, at.name.clone()));
        let (password, keys) = found.map_or((StoredPassword::Unseen, Vec::new()), |found| (found.password, found.keys));
        let password = match password {
            StoredPassword::Hash(hash) => hash,
            StoredPassword::Unseen => {
                unseen.insert(at.name.clone());
                PasswordHash::none()
            }
            StoredPassword::Foreign(form) => {
                whole.foreign.push((at.name.clone(), form));
                PasswordHash::none()
            }
        };
        if parts == Parts::All {
            whole.keys.extend(keys.into_iter().map(|key| (at.id, key)));
        }
        whole.logins.push(WholeLogin { at, entry: stocked.entry, password });
    }
    if parts != Parts::Names {
        really_without(directory, unseen).await?;
    }
    for entry in groups {
        let at = group_ref(&entry);
        let rule = rules.remove(&(at.id, at.name.clone()));
        whole.groups.push(WholeGroup { at, entry, rule });
    }
    if parts == Parts::Accounts {
        return Ok(whole);
    }
    whole.memberships = membership::all(directory).await?;
    retired(directory, &mut whole).await?;
    whole.reserved = schema::name::RESERVED.iter().map(|name| (*name).to_owned()).collect();
    if parts == Parts::All {
        whole.next_id = ids::begins(directory).await?;
    }
    Ok(whole)
}

/// A server leaves out what may not be read, without a word. It also answers whether there is nothing; that it does not know where it may not look. So no hash is lost silently.
async fn really_without(directory: &LdapDirectory, mut unseen: HashSet<String>) -> Stored<()> {
    if unseen.is_empty() {
        return Ok(());
    }
    let config = directory.config();
    let none = format!("(!({}=*))", config.attributes.password);
    for base in config.login_bases() {
        let search = Search {
            base: base.clone(),
            scope: directory.scope(),
            filter: filter::and(&config.login_filter, &none),
            attributes: vec![config.attributes.name.clone()],
            limit: 0,
            optional: false,
        };
        let each = |entry| {
            unseen.remove(&directory.map().login_name(&entry));
        };
        directory.find_all(search, each).await?;
    }
    match unseen.iter().min() {
        None => Ok(()),
        Some(name) => refused(format!(
            "{} may not read {} of {name} and {} more, so their hashes would be lost; give it the right (olcAccess, schema/ldap/slapd.ldif)",
            directory.whom(),
            config.attributes.password,
            unseen.len() - 1
        )),
    }
}

async fn retired(directory: &LdapDirectory, whole: &mut Whole) -> Stored<()> {
    let living = |kind: Kind, id: i64, name: &str, whole: &Whole| match kind {
        Kind::Login => whole.logins.iter().any(|login| login.at.id == id && login.at.name == name),
        Kind::Group => whole.groups.iter().any(|group| group.at.id == id && group.at.name == name),
    };
    let wanted = format!("(objectClass={})", fields::RETIRED);
    let entries = read::children(directory, directory.config().retired(), wanted, &ids::ATTRIBUTES).await?;
    let mut all: Vec<_> = entries.iter().filter_map(fields::read_retired).collect();
    all.sort_by_key(|(kind, one)| (*kind == Kind::Group, one.id));
    for (kind, one) in all {
        if !living(kind, one.id, &one.name, whole) {
            whole.retired.push((kind, one));
        }
    }
    Ok(())
}

fn login_ref(entry: &Entry<Login>) -> Ref {
    match entry {
        Entry::Valid(login) => Ref { id: login.uid.raw().into(), name: login.name.to_string() },
        Entry::Quarantined(entry) => Ref { id: entry.id, name: entry.name.clone() },
    }
}

fn group_ref(entry: &Entry<Group>) -> Ref {
    match entry {
        Entry::Valid(group) => Ref { id: group.gid.raw().into(), name: group.name.to_string() },
        Entry::Quarantined(entry) => Ref { id: entry.id, name: entry.name.clone() },
    }
}
