//! Records become entries: attributes of what is added, and differences of what is changed.

use std::collections::{BTreeSet, HashSet};

use ldap3::Mod;
use schema::capability::Capability;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::name::{LoginName, MembershipName};
use schema::record::{Aging, Login, Membership, SshKey, Status};
use serde_json::{Value, json};

use super::super::Retired;
use crate::config::LdapConfig;
use crate::directory::Kind;
use crate::directory::ldap::RawEntry;
use crate::directory::ldap::admin::{Attributes, NEXT_ID, crypt_value};
use crate::directory::ldap::dn;

/// What kind of id a retired one is.
pub(super) const KIND: &str = "mayfirstKind";
/// What brings a removed login back, as JSON.
pub(super) const RESTORE: &str = "mayfirstRestore";
/// A membership's title.
pub(super) const TITLE: &str = "o";
/// The class of a membership.
pub(super) const MEMBERSHIP: &str = "mayfirstOrganization";
/// The class of a retired id.
pub(super) const RETIRED: &str = "mayfirstRetiredId";

/// Attributes with their values; the same attribute under two headings is one.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, HashSet<Vec<u8>>)>);

impl Fields {
    pub(super) fn put(&mut self, attribute: &str, value: impl Into<Vec<u8>>) {
        let at = self.0.iter().position(|(name, _)| name.eq_ignore_ascii_case(attribute));
        match at.and_then(|at| self.0.get_mut(at)) {
            Some((_, values)) => drop(values.insert(value.into())),
            None => self.0.push((attribute.to_owned(), HashSet::from([value.into()]))),
        }
    }

    fn put_some(&mut self, attribute: &str, value: Option<impl Into<Vec<u8>>>) {
        if let Some(value) = value {
            self.put(attribute, value);
        }
    }

    fn has(&self, attribute: &str) -> bool {
        self.0.iter().any(|(name, _)| name.eq_ignore_ascii_case(attribute))
    }

    pub(super) fn into_attributes(self) -> Attributes {
        self.0.into_iter().map(|(name, values)| (name.into_bytes(), values)).collect()
    }
}

/// A name directly below `base`.
pub(super) fn below(attribute: &str, value: &str, base: &str) -> String {
    format!("{attribute}={},{base}", dn::escape(value))
}

/// The name of an entry after its first part is another one.
pub(super) fn sibling(entry: &str, rdn: &str) -> String {
    match dn::parent(entry) {
        Some(parent) => format!("{rdn},{parent}"),
        None => rdn.to_owned(),
    }
}

/// The name of the entry of a retired id.
pub(super) fn retired_dn(config: &LdapConfig, kind: Kind, id: i64) -> String {
    below("cn", &format!("{}-{id}", kind_text(kind)), &config.retired())
}

pub(super) const fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Login => "login",
        Kind::Group => "group",
    }
}

pub(super) const fn status_text(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Locked => "locked",
    }
}

/// A new login with its keys.
pub(super) fn login(config: &LdapConfig, login: &Login, password: &PasswordHash, keys: &[SshKey]) -> Attributes {
    let map = &config.attributes;
    let mut fields = Fields::default();
    for class in &config.write.login_classes {
        fields.put("objectClass", class.as_str());
    }
    fields.put(&map.name, login.name.as_str());
    fields.put(&map.uid, login.uid.to_string());
    fields.put(&map.gid, login.gid.to_string());
    let gecos = login.gecos.as_str();
    fields.put_some(&map.gecos, (!gecos.is_empty()).then_some(gecos));
    // RFC 2307 wants one; a name says that there is no full name.
    if !fields.has("cn") {
        fields.put("cn", if gecos.is_empty() { login.name.as_str() } else { gecos });
    }
    fields.put(&map.home, login.home.as_str());
    fields.put(&map.shell, login.shell.as_str());
    fields.put(&map.status, status_text(login.status));
    for capability in &login.capabilities {
        fields.put(&map.capability, capability.as_str());
    }
    fields.put_some(&map.membership, login.membership.as_ref().map(MembershipName::as_str));
    for (attribute, days) in aging(config, &login.aging) {
        fields.put_some(attribute, days.map(|days| days.to_string()));
    }
    fields.put_some(&map.password, crypt_value(password));
    for key in keys {
        fields.put(&map.ssh_key, key.line.as_str());
        fields.put_some(&map.key_added, key.added.map(|day| day_of_key(&key.fingerprint, day)));
    }
    fields.into_attributes()
}

/// A fingerprint and the day on which its key was added.
pub(super) fn day_of_key(fingerprint: &str, day: Date) -> String {
    format!("{fingerprint} {day}")
}

/// A new group with its members, as their names or DNs.
pub(super) fn group(config: &LdapConfig, gid: i64, name: &str, members: &[String], note: Option<&str>) -> Attributes {
    let map = &config.attributes;
    let mut fields = Fields::default();
    for class in &config.write.group_classes {
        fields.put("objectClass", class.as_str());
    }
    fields.put(&map.group_name, name);
    fields.put(&map.group_gid, gid.to_string());
    for member in members {
        fields.put(member_attribute(config), member.as_str());
    }
    fields.put_some("description", note);
    fields.into_attributes()
}

/// Which attribute lists members.
pub(super) fn member_attribute(config: &LdapConfig) -> &str {
    match config.write.members {
        crate::config::LdapMembers::Name => &config.attributes.member_name,
        crate::config::LdapMembers::Dn => &config.attributes.member_dn,
    }
}

/// How a login that identityctl adds is listed.
pub(super) fn member_value(config: &LdapConfig, name: &LoginName) -> String {
    match config.write.members {
        crate::config::LdapMembers::Name => name.to_string(),
        crate::config::LdapMembers::Dn => below(&config.attributes.name, name.as_str(), &config.new_logins()),
    }
}

/// A membership.
pub(super) fn membership(membership: &Membership) -> Attributes {
    let mut fields = Fields::default();
    fields.put("objectClass", MEMBERSHIP);
    fields.put("cn", membership.name.as_str());
    let title = membership.title.as_str();
    fields.put_some(TITLE, (!title.is_empty()).then_some(title));
    fields.into_attributes()
}

/// A membership from its entry; the error says what is wrong with it.
pub(super) fn read_membership(entry: &RawEntry) -> Result<Membership, String> {
    let name = entry.text("cn").unwrap_or_default();
    let wrong = |error: &dyn std::fmt::Display| format!("membership {name:?}: {error}; correct the entry {}", entry.dn);
    Ok(Membership {
        name: name.parse().map_err(|error| wrong(&error))?,
        title: entry.text(TITLE).unwrap_or_default().parse().map_err(|error| wrong(&error))?,
    })
}

/// An id that was used once.
pub(super) fn retired(kind: Kind, retired: &Retired) -> Attributes {
    let mut fields = Fields::default();
    fields.put("objectClass", RETIRED);
    fields.put("cn", format!("{}-{}", kind_text(kind), retired.id));
    fields.put(KIND, kind_text(kind));
    fields.put("uid", retired.name.as_str());
    let restore = match kind {
        Kind::Login => {
            let Retired { gid, gecos, home, shell, when, .. } = retired;
            json!({"when": when, "gid": gid, "gecos": gecos, "home": home, "shell": shell})
        }
        Kind::Group => json!({"when": retired.when}),
    };
    fields.put(retired_number(kind), retired.id.to_string());
    fields.put(RESTORE, restore.to_string());
    fields.into_attributes()
}

/// The attribute that holds a retired id: the one that living entries have it in.
pub(super) const fn retired_number(kind: Kind) -> &'static str {
    match kind {
        Kind::Login => "uidNumber",
        Kind::Group => "gidNumber",
    }
}

/// A retired id from its entry; `None`: it is none. While its own name takes it back the entry has it in its name only.
pub(super) fn read_retired(entry: &RawEntry) -> Option<(Kind, Retired)> {
    let kind = match entry.text(KIND)?.as_str() {
        "login" => Kind::Login,
        "group" => Kind::Group,
        _ => return None,
    };
    let named = || entry.text("cn")?.rsplit_once('-').map(|(_, id)| id.to_owned());
    let restore: Value = entry.text(RESTORE).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let text = |key: &str| restore.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut when = text("when");
    if when.is_empty() {
        when = entry.text("createTimestamp").map(|stamp| readable(&stamp)).unwrap_or_default();
    }
    let retired = Retired {
        id: entry.text(retired_number(kind)).or_else(named)?.parse().ok()?,
        name: entry.text("uid").unwrap_or_default(),
        when,
        gid: restore.get("gid").and_then(Value::as_i64),
        gecos: text("gecos"),
        home: text("home"),
        shell: text("shell"),
    };
    Some((kind, retired))
}

/// `20260921141320Z` as `2026-09-21T14:13:20Z`.
fn readable(stamp: &str) -> String {
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or("00");
    format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14))
}

/// The fields of shadow(5) and their values.
fn aging<'a>(config: &'a LdapConfig, aging: &Aging) -> [(&'a str, Option<u32>); 6] {
    let map = &config.attributes;
    [
        (&map.last_change, aging.last_change.map(Date::days)),
        (&map.min_days, aging.min_days),
        (&map.max_days, aging.max_days),
        (&map.warn_days, aging.warn_days),
        (&map.inactive_days, aging.inactive_days),
        (&map.expires, aging.expires.map(Date::days)),
    ]
}

/// What makes one login of another, but for its name. `entry` is as it is stored.
pub(super) fn changes(
    config: &LdapConfig,
    entry: &RawEntry,
    old: &Login,
    new: &Login,
) -> Result<Vec<Mod<Vec<u8>>>, String> {
    let (map, overrides) = (&config.attributes, &config.overrides);
    let mut mods = Vec::new();
    let fixed = |what: &str, template: &Option<String>| match template {
        Some(_) => {
            Err(format!("the {what} follows from [directory.overrides] in the configuration, whatever the entry says"))
        }
        None => Ok(()),
    };
    if old.gid != new.gid {
        fixed("primary group", &overrides.gid)?;
        mods.push(replace(&map.gid, Some(new.gid.to_string())));
    }
    if old.gecos != new.gecos {
        fixed("full name", &overrides.gecos)?;
        let gecos = new.gecos.as_str();
        mods.push(replace(&map.gecos, (!gecos.is_empty()).then(|| gecos.to_owned())));
        let named_by_cn = dn::first(&entry.dn).is_some_and(|(attribute, _)| attribute == "cn");
        if !named_by_cn && !map.name.eq_ignore_ascii_case("cn") {
            let cn = if gecos.is_empty() { new.name.as_str() } else { gecos };
            mods.push(replace("cn", Some(cn.to_owned())));
        }
    }
    if old.home != new.home {
        fixed("home", &overrides.home)?;
        mods.push(replace(&map.home, Some(new.home.to_string())));
    }
    if old.shell != new.shell {
        fixed("shell", &overrides.shell)?;
        mods.push(replace(&map.shell, Some(new.shell.to_string())));
    }
    if old.membership != new.membership {
        mods.push(replace(&map.membership, new.membership.as_ref().map(ToString::to_string)));
    }
    let before = aging(config, &old.aging);
    for ((attribute, now), (_, then)) in aging(config, &new.aging).into_iter().zip(before) {
        if now != then {
            mods.push(replace(attribute, now.map(|days| days.to_string())));
        }
    }
    let stored: BTreeSet<String> =
        entry.all(&map.capability).iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    let gone: Vec<&str> = old.capabilities.difference(&new.capabilities).map(Capability::as_str).collect();
    if let Some(by_rule) = gone.iter().find(|one| !stored.contains(**one)) {
        return Err(format!(
            "the capability {by_rule} of {} follows from a rule ([[directory.capabilities]] in the configuration): change what the rule looks at",
            old.name
        ));
    }
    let values = |list: Vec<&str>| list.into_iter().map(|one| one.as_bytes().to_vec()).collect::<HashSet<_>>();
    if !gone.is_empty() {
        mods.push(Mod::Delete(map.capability.clone().into_bytes(), values(gone)));
    }
    let added: Vec<&str> = new.capabilities.difference(&old.capabilities).map(Capability::as_str).collect();
    if !added.is_empty() {
        mods.push(Mod::Add(map.capability.clone().into_bytes(), values(added)));
    }
    Ok(mods)
}

/// Puts the object classes in front that a change needs and the entry lacks. The structural one stays as it is.
pub(super) fn with_classes(classes: &[String], entry: &RawEntry, mut mods: Vec<Mod<Vec<u8>>>) -> Vec<Mod<Vec<u8>>> {
    let has = entry.all("objectClass");
    let lacking: HashSet<Vec<u8>> = classes
        .iter()
        .skip(1)
        .filter(|class| !has.iter().any(|has| has.eq_ignore_ascii_case(class.as_bytes())))
        .map(|class| class.as_bytes().to_vec())
        .collect();
    if !mods.is_empty() && !lacking.is_empty() {
        mods.insert(0, Mod::Add("objectClass".into(), lacking));
    }
    mods
}

/// This value only; without one the attribute goes.
pub(super) fn replace(attribute: &str, value: Option<impl Into<Vec<u8>>>) -> Mod<Vec<u8>> {
    Mod::Replace(attribute.as_bytes().to_vec(), value.into_iter().map(Into::into).collect())
}

/// One value more.
pub(super) fn one_more(attribute: &str, value: &str) -> Mod<Vec<u8>> {
    Mod::Add(attribute.as_bytes().to_vec(), HashSet::from([value.as_bytes().to_vec()]))
}

/// One value less.
pub(super) fn one_less(attribute: &str, value: &str) -> Mod<Vec<u8>> {
    Mod::Delete(attribute.as_bytes().to_vec(), HashSet::from([value.as_bytes().to_vec()]))
}

/// From one number to another, if nobody else was there in between.
pub(super) fn counted(old: i64, new: i64) -> Vec<Mod<Vec<u8>>> {
    vec![one_less(NEXT_ID, &old.to_string()), one_more(NEXT_ID, &new.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LdapConfig {
        toml::from_str("servers = [\"ldap://a\"]\nbase = \"dc=example,dc=org\"\n").unwrap()
    }

    fn raw(attributes: Attributes) -> RawEntry {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        attributes.iter().fold(RawEntry::default(), |entry, (name, values)| {
            values.iter().fold(entry, |entry, value| entry.with(&text(name), &text(value)))
        })
    }

    #[test]
    fn a_retired_id_is_read_as_it_was_written() {
        let login = Retired {
            id: 2001,
            name: "ana".into(),
            when: "2026-09-21T14:13:20Z".into(),
            gid: Some(2002),
            gecos: "Ana \"A.\" Flores".into(),
            home: "/home/ana".into(),
            shell: "/bin/sh".into(),
        };
        assert_eq!(read_retired(&raw(retired(Kind::Login, &login))), Some((Kind::Login, login)));
        let group = Retired { id: 2002, name: "ana".into(), when: "2026-09-21T14:13:20Z".into(), ..Retired::default() };
        assert_eq!(read_retired(&raw(retired(Kind::Group, &group))), Some((Kind::Group, group)));
        let by_hand =
            RawEntry::default().with(KIND, "group").with("gidNumber", "7").with("createTimestamp", "20260921141320Z");
        assert_eq!(read_retired(&by_hand).unwrap().1.when, "2026-09-21T14:13:20Z");
    }

    #[test]
    fn names_are_escaped_where_they_become_names_of_entries() {
        let at = below("cn", "a,b=c+d", &config().memberships());
        assert_eq!(at, "cn=a\\,b\\=c\\+d,ou=memberships,dc=example,dc=org");
        assert_eq!(retired_dn(&config(), Kind::Login, 7), "cn=login-7,ou=retired,dc=example,dc=org");
    }

    #[test]
    fn a_membership_without_a_title_has_no_empty_value() {
        let coop = Membership { name: "coop".parse().unwrap(), title: schema::text::Gecos::default() };
        let entry = raw(membership(&coop));
        assert!(entry.all(TITLE).is_empty());
        assert_eq!(read_membership(&entry), Ok(coop));
    }
}
