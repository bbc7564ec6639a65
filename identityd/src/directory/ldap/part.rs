//! What is followed: the bases, what is asked for below each, and a digest of it.

use super::client::Search;
use super::dn;
use super::map::Map;
use crate::config::{LdapConfig, LdapScope};

/// One base that is followed, and what is in it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) number: usize,
    pub(super) search: Search,
}

/// What is followed: each base once, logins and groups together where both are in it.
pub(super) fn parts(config: &LdapConfig, map: &Map) -> Vec<Part> {
    let mut filters: Vec<(String, Vec<String>)> = Vec::new();
    let logins = config.login_bases().iter().map(|base| (base, &config.login_filter));
    let groups = config.group_bases().iter().map(|base| (base, &config.group_filter));
    for (base, filter) in logins.chain(groups) {
        let filter = super::filter::wrapped(filter);
        match filters.iter_mut().find(|(known, _)| dn::key(known) == dn::key(base)) {
            Some((_, all)) => all.push(filter),
            None => filters.push((base.clone(), vec![filter])),
        }
    }
    filters
        .into_iter()
        .zip(0..)
        .map(|((base, filters), number)| Part {
            number,
            search: Search {
                base,
                scope: scope_of(config),
                filter: format!("(|{})", filters.concat()),
                attributes: index_attributes(map),
                limit: 0,
                optional: false,
            },
        })
        .collect()
}

pub(super) const fn scope_of(config: &LdapConfig) -> ldap3::Scope {
    match config.scope {
        LdapScope::Sub => ldap3::Scope::Subtree,
        LdapScope::One => ldap3::Scope::OneLevel,
    }
}

/// What the model needs of an entry.
pub(super) fn index_attributes(map: &Map) -> Vec<String> {
    let names = &map.0.attributes;
    let mut all = map.group_attributes();
    all.extend([&names.name, &names.uid, &names.gid, &names.capability].map(String::clone));
    all.extend(["entryCSN", "modifyTimestamp"].map(str::to_owned));
    all.extend(map.0.capabilities.iter().filter_map(|rule| rule.attribute.clone()));
    all.sort_unstable_by_key(|name| name.to_ascii_lowercase());
    all.dedup_by_key(|name| name.to_ascii_lowercase());
    all
}

/// A digest of what is synchronised.
pub(super) fn scope(config: &LdapConfig) -> u64 {
    use sha2::{Digest, Sha256};
    let text = format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}{}{:?}",
        config.login_bases(),
        config.group_bases(),
        config.login_filter,
        config.group_filter,
        config.scope,
        config.attributes,
        config.nesting,
        config.case,
    );
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}
