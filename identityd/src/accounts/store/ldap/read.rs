//! Entries as they are stored, for what is written next: each question at the server that is written.

use std::time::{SystemTime, UNIX_EPOCH};

use schema::date::Date;

use super::super::Stored;
use super::refused;
use crate::directory::ldap::client::Search;
use crate::directory::ldap::{LdapDirectory, RawEntry, dn, filter};

/// Marks the group of a login that is being added: what follows is its name. Without that login it is left over from an interruption.
pub(super) const MARK: &str = "identityctl is adding the login ";
/// So long somebody may still be at it.
const AT_IT: u64 = 60;

/// The logins that a filter finds, the first that was created first.
pub(super) async fn logins(directory: &LdapDirectory, wanted: &str) -> Stored<Vec<RawEntry>> {
    let (map, config) = (directory.map(), directory.config());
    let mut attributes = map.login_attributes();
    attributes.extend(["objectClass", &config.attributes.ssh_key, &config.attributes.key_added].map(str::to_owned));
    let mut found = directory.entries(config.login_bases(), &config.login_filter, wanted, attributes).await?;
    found.sort_by_key(|entry| map.seniority(entry));
    Ok(found)
}

/// The groups that a filter finds, the first that was created first.
pub(super) async fn groups(directory: &LdapDirectory, wanted: &str) -> Stored<Vec<RawEntry>> {
    let (map, config) = (directory.map(), directory.config());
    let mut attributes = map.group_attributes();
    attributes.extend(["description", "objectClass"].map(str::to_owned));
    let mut found = directory.entries(config.group_bases(), &config.group_filter, wanted, attributes).await?;
    found.sort_by_key(|entry| map.seniority(entry));
    Ok(found)
}

/// The login of this name; of several the one that is served.
pub(super) async fn login_named(directory: &LdapDirectory, name: &str) -> Stored<Option<RawEntry>> {
    let found = logins(directory, &filter::equal(&directory.config().attributes.name, name.as_bytes())).await?;
    Ok(found.into_iter().find(|entry| directory.map().login_name(entry).eq_ignore_ascii_case(name)))
}

/// The group of this name; of several the one that is served.
pub(super) async fn group_named(directory: &LdapDirectory, name: &str) -> Stored<Option<RawEntry>> {
    let found = groups(directory, &filter::equal(&directory.config().attributes.group_name, name.as_bytes())).await?;
    Ok(found.into_iter().find(|entry| directory.map().group_name(entry).eq_ignore_ascii_case(name)))
}

/// The logins with this primary group.
pub(super) async fn primary_of(directory: &LdapDirectory, gid: i64) -> Stored<Vec<RawEntry>> {
    logins(directory, &filter::equal(&directory.config().attributes.gid, gid.to_string().as_bytes())).await
}

/// The groups without a rule that list this login by itself.
pub(super) async fn listing(directory: &LdapDirectory, name: &str, login: Option<&str>) -> Stored<Vec<RawEntry>> {
    let names = &directory.config().attributes;
    let by_name = filter::equal(&names.member_name, name.as_bytes());
    let by_dn = login.map(|login| filter::equal(&names.member_dn, login.as_bytes())).unwrap_or_default();
    let mut found = groups(directory, &format!("(|{by_name}{by_dn})")).await?;
    found.retain(|group| directory.map().rule(group) != Ok(true));
    Ok(found)
}

/// The values of a group by which it lists this login: attributes and values.
pub(super) fn listed_as(
    directory: &LdapDirectory,
    group: &RawEntry,
    name: &str,
    login: Option<&str>,
) -> Vec<(String, String)> {
    let names = &directory.config().attributes;
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    let by_name = group.all(&names.member_name).iter().map(text).filter(|value| value == name);
    let by_name = by_name.map(|value| (names.member_name.clone(), value));
    let by_dn = group.all(&names.member_dn).iter().map(text);
    let by_dn = by_dn.filter(|value| login.is_some_and(|login| dn::same(value, login)));
    by_name.chain(by_dn.map(|value| (names.member_dn.clone(), value))).collect()
}

/// Whether a group is left over from a login that was not added to the end: it says so, and nobody is in it. One whose login may still come is refused.
pub(super) async fn left_over(directory: &LdapDirectory, group: &RawEntry) -> Stored<bool> {
    let (map, names) = (directory.map(), &directory.config().attributes);
    let name = map.group_name(group);
    let marked = group.text("description").is_some_and(|text| text == format!("{MARK}{name}"));
    let listed = group.all(&names.member_name).len() + group.all(&names.member_dn).len();
    if !marked || listed > 0 {
        return Ok(false);
    }
    if !primary_of(directory, directory.map().gid(group)).await?.is_empty() {
        return Ok(false);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let began = group.text("createTimestamp").and_then(|stamp| seconds(&stamp)).unwrap_or(0);
    if now < began.saturating_add(AT_IT) {
        return refused(format!(
            "somebody else is adding the login {name} at this moment; if that was interrupted, run this again in a minute"
        ));
    }
    Ok(true)
}

/// Seconds since 1970 of `20260921141320Z`.
fn seconds(stamp: &str) -> Option<u64> {
    let part = |from: usize, to: usize| stamp.get(from..to);
    let day: Date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?).parse().ok()?;
    let number = |from: usize| part(from, from + 2)?.parse::<u64>().ok();
    Some(u64::from(day.days()) * 86_400 + number(8)? * 3600 + number(10)? * 60 + number(12)?)
}

/// Entries directly below one that need not be there.
pub(super) async fn children(
    directory: &LdapDirectory,
    base: String,
    filter: String,
    attributes: &[&str],
) -> Stored<Vec<RawEntry>> {
    if directory.entry(&base, &["1.1"]).await?.is_none() {
        return Ok(Vec::new());
    }
    let search = Search {
        base,
        scope: ldap3::Scope::OneLevel,
        filter,
        attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
        limit: 0,
        optional: false,
    };
    let mut found = Vec::new();
    directory.find_all(search, |entry| found.push(entry)).await?;
    Ok(found)
}
