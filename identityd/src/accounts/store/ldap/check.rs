//! What `identityctl doctor` has to say of a directory in LDAP: nothing there keeps entries together but who writes them.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::Stored;
use super::{ids, membership, read};
use crate::directory::ldap::admin::NEXT_ID;
use crate::directory::ldap::{LdapDirectory, RawEntry, filter};
use crate::directory::{Entry, Kind};

/// So many of one kind are named.
const NAMED: usize = 5;

pub(super) async fn check(directory: &LdapDirectory) -> Stored<Vec<String>> {
    let (map, config) = (directory.map(), directory.config());
    let names = &config.attributes;
    let mut found = Vec::new();
    for (what, dn) in [
        ("new logins", config.new_logins()),
        ("new groups", config.new_groups()),
        ("memberships", config.memberships()),
        ("ids of deleted entries", config.retired()),
    ] {
        if directory.entry(&dn, &["1.1"]).await?.is_none() {
            found.push(format!("there is no entry {dn} for {what}: load it (schema/ldap/tree.ldif)"));
        }
    }
    let counter = directory.entry(&config.counter(), &[NEXT_ID]).await?;
    if counter.and_then(|entry| entry.text(NEXT_ID)).and_then(|text| text.parse::<i64>().ok()).is_none() {
        found.push(format!("there is no counter of new ids at {}: load it (schema/ldap/tree.ldif)", config.counter()));
    }
    let mut listed: Vec<(String, String)> = Vec::new();
    let mut primary: Vec<(String, i64)> = Vec::new();
    let (mut logins, mut gids) = (HashSet::new(), HashSet::new());
    let mut uids: HashMap<i64, String> = HashMap::new();
    let mut belonging = BTreeSet::new();
    let mut weak = Vec::new();
    let mut each = |kind: Kind, entry: &RawEntry| match kind {
        Kind::Login => {
            let name = map.login_name(entry);
            if let Some(gid) = entry.text(&names.gid).and_then(|text| text.trim().parse().ok()) {
                primary.push((name.clone(), gid));
            }
            belonging.extend(entry.text(&names.membership).map(|membership| (membership, name.clone())));
            uids.insert(map.uid(entry), name.clone());
            if map.password(entry).is_des() {
                weak.push(name.clone());
            }
            logins.insert(name);
        }
        Kind::Group => {
            let name = map.group_name(entry);
            let members = entry.all(&names.member_name).iter();
            listed.extend(members.map(|member| (name.clone(), map.fold(&String::from_utf8_lossy(member)))));
            gids.insert(map.gid(entry));
        }
    };
    let (served_logins, served_groups) = directory.read_all(std::slice::from_ref(&names.password), &mut each).await?;
    let mut broken = Vec::new();
    for stocked in &served_logins {
        if let Entry::Quarantined(entry) = &stocked.entry {
            broken.push(format!("login {}: {}", entry.name, entry.reason));
        }
    }
    for group in &served_groups {
        if let Entry::Quarantined(entry) = group {
            broken.push(format!("group {}: {}", entry.name, entry.reason));
        }
    }
    some(&mut found, "not served", broken);
    let homeless = primary.into_iter().filter(|(_, gid)| !gids.contains(gid));
    some(&mut found, "with a primary group that is not there", homeless.map(|(name, gid)| format!("{name} ({gid})")));
    let strangers = listed.into_iter().filter(|(_, member)| !logins.contains(member));
    some(
        &mut found,
        "listed in a group, but no login: take the name out before somebody else gets it",
        strangers.map(|(group, member)| format!("{member} in {group}")),
    );
    some(
        &mut found,
        "with a password that is stored as DES, or as nothing that crypt(5) knows: set olcPasswordCryptSaltFormat (schema/ldap/README.md), and then the password anew",
        weak,
    );
    let known: HashSet<String> =
        membership::all(directory).await?.into_iter().map(|one| one.name.to_string()).collect();
    let lost = belonging.into_iter().filter(|(membership, _)| !known.contains(membership));
    some(
        &mut found,
        "of a membership that is not there",
        lost.map(|(membership, login)| format!("{login} ({membership})")),
    );
    let retired = ids::retired(directory, Kind::Login, None, None).await?;
    let again =
        retired.iter().filter_map(|one| uids.get(&one.id).map(|now| format!("{} ({}, now {now})", one.id, one.name)));
    some(&mut found, "an id that was used before by somebody else", again);
    let marked = read::groups(directory, &format!("(description={}*)", filter::value(read::MARK.as_bytes()))).await?;
    let left = marked.iter().map(|entry| map.group_name(entry));
    some(&mut found, "a group of a login that was not added to the end: add it again, or remove the group", left);
    Ok(found)
}

fn some(found: &mut Vec<String>, what: &str, all: impl IntoIterator<Item = String>) {
    let all: Vec<String> = all.into_iter().collect();
    if all.is_empty() {
        return;
    }
    let first = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    found.push(format!("{} {what}: {first}{more}", all.len()));
}
