//! Entries become records: the map of attributes, templates, and the rules of who may do what.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use schema::capability::Capability;
use schema::date::Date;
use schema::id::{GroupId, UserId};
use schema::name::LoginName;
use schema::record::{Aging, Group, Login, SshKey, Status};

use super::cookie::micros;
use super::entry::RawEntry;
use super::model::Uuid;
use super::{dn, node};
use crate::accounts::key::AuthorizedKey;
use crate::config::{LdapCapability, LdapCase, LdapConfig};
use crate::directory::{Entry, Kind, Quarantined};

/// Operational attributes that say which entry was there first, and what a password policy has to say.
const OPERATIONAL: [&str; 5] = ["entryUUID", "createTimestamp", "pwdReset", "pwdAccountLockedTime", "pwdChangedTime"];

/// What passwd(5) means by an empty shell.
const SHELL: &str = "/bin/sh";

/// Reads entries as the configuration says.
#[derive(Debug, Clone)]
pub(crate) struct Map(pub(crate) Arc<LdapConfig>);

/// Which entry was there first: by when it was created (in microseconds since 1970), then by its UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seniority(u64, Uuid);

impl Seniority {
    /// For tests.
    #[cfg(test)]
    pub(crate) const fn new(created: u64) -> Self {
        Self(created, Uuid([0; 16]))
    }
}

impl Map {
    /// The attributes of a login that are asked for; keys only where they are wanted.
    pub(crate) fn login_attributes(&self) -> Vec<String> {
        let map = &self.0.attributes;
        let mut all: Vec<String> = [
            &map.name,
            &map.uid,
            &map.gid,
            &map.gecos,
            &map.home,
            &map.shell,
            &map.status,
            &map.capability,
            &map.membership,
            &map.last_change,
            &map.min_days,
            &map.max_days,
            &map.warn_days,
            &map.inactive_days,
            &map.expires,
        ]
        .into_iter()
        .cloned()
        .chain(["cn".to_owned()])
        .chain(OPERATIONAL.map(str::to_owned))
        .chain(self.0.capabilities.iter().filter_map(|rule| rule.attribute.clone()))
        .chain(self.0.locked.iter().map(|rule| rule.attribute.clone()))
        .chain(self.templates().flat_map(placeholders))
        .collect();
        all.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        all.dedup_by_key(|name| name.to_ascii_lowercase());
        all
    }

    /// The attributes of a group that are asked for.
    pub(crate) fn group_attributes(&self) -> Vec<String> {
        let map = &self.0.attributes;
        [
            &map.group_name,
            &map.group_gid,
            &map.group_rule,
            &map.member_name,
            &map.member_dn,
            "entryUUID",
            "createTimestamp",
        ]
        .map(str::to_owned)
        .into()
    }

    fn templates(&self) -> impl Iterator<Item = &str> {
        let (one, other) = (&self.0.defaults, &self.0.overrides);
        [&one.home, &one.shell, &one.gid, &one.gecos, &other.home, &other.shell, &other.gid, &other.gecos]
            .into_iter()
            .filter_map(Option::as_deref)
    }

    /// A name as it is served.
    pub(crate) fn fold(&self, name: &str) -> String {
        match self.0.case {
            LdapCase::Exact => name.into(),
            LdapCase::Fold => name.to_lowercase(),
        }
    }

    /// The name of a login: of several values the one in the entry's own name, else the first.
    pub(crate) fn login_name(&self, entry: &RawEntry) -> String {
        self.name(entry, &self.0.attributes.name)
    }

    /// The name of a group, likewise.
    pub(crate) fn group_name(&self, entry: &RawEntry) -> String {
        self.name(entry, &self.0.attributes.group_name)
    }

    fn name(&self, entry: &RawEntry, attribute: &str) -> String {
        let values = entry.all(attribute);
        let own = dn::first(&entry.dn).filter(|(name, _)| name.eq_ignore_ascii_case(attribute)).map(|(_, value)| value);
        let name = match (values, own) {
            ([_, _, ..], Some(own)) if values.iter().any(|value| value.eq_ignore_ascii_case(own.as_bytes())) => own,
            _ => entry.text(attribute).unwrap_or_default(),
        };
        self.fold(&name)
    }

    /// The uid as stored; −1 when it is none.
    pub(crate) fn uid(&self, entry: &RawEntry) -> i64 {
        entry.text(&self.0.attributes.uid).and_then(|text| text.trim().parse().ok()).unwrap_or(-1)
    }

    /// The gid of a group as stored; −1 when it is none.
    pub(crate) fn gid(&self, entry: &RawEntry) -> i64 {
        entry.text(&self.0.attributes.group_gid).and_then(|text| text.trim().parse().ok()).unwrap_or(-1)
    }

    /// Whether the members of a group follow from the rule `sftp-only`; another rule is an error.
    pub(crate) fn rule(&self, entry: &RawEntry) -> Result<bool, String> {
        match entry.text(&self.0.attributes.group_rule).as_deref() {
            None => Ok(false),
            Some("sftp-only") => Ok(true),
            Some(other) => Err(format!("{} {other:?} is not sftp-only", self.0.attributes.group_rule)),
        }
    }

    /// When it was created, so that of two with one name or id the first can be told.
    #[allow(clippy::unused_self, reason = "it reads an entry like the others")]
    pub(crate) fn seniority(&self, entry: &RawEntry) -> Seniority {
        let created = entry.text("createTimestamp").and_then(|time| micros(&time));
        Seniority(created.unwrap_or(u64::MAX), node::uuid_of(entry))
    }

    /// What a login may do, by its attributes and by the groups of the rules that it is in.
    pub(crate) fn capabilities(
        &self,
        entry: &RawEntry,
        groups: &BTreeSet<String>,
    ) -> Result<BTreeSet<Capability>, String> {
        let mut all = BTreeSet::new();
        for value in entry.all(&self.0.attributes.capability) {
            all.insert(String::from_utf8_lossy(value).parse::<Capability>().map_err(|error| error.to_string())?);
        }
        for rule in &self.0.capabilities {
            let by_group = rule.group.as_ref().is_none_or(|group| groups.contains(group.as_str()));
            let by_attribute = rule.attribute.as_ref().is_none_or(|name| matches(entry, name, rule.value.as_deref()));
            if by_group && by_attribute {
                all.insert(rule.capability.clone());
            }
        }
        Ok(all)
    }

    /// The rules of capabilities by group that an entry would fall under in such a group.
    pub(crate) fn rules_by_group(&self, entry: &RawEntry) -> Box<[usize]> {
        let rules = self.0.capabilities.iter().enumerate().filter(|(_, rule)| rule.group.is_some());
        let fits = |name: &String, value: Option<&str>| matches(entry, name, value);
        rules
            .filter(|(_, rule)| rule.attribute.as_ref().is_none_or(|name| fits(name, rule.value.as_deref())))
            .map(|(at, _)| at)
            .collect()
    }

    /// What a login may do besides by the groups that it is in, of these rules.
    pub(crate) fn by_group<'a>(
        &'a self,
        rules: &'a [usize],
        is_in: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = Capability> + 'a {
        let rules = rules.iter().filter_map(|at| self.0.capabilities.get(*at));
        let holds = move |rule: &&LdapCapability| rule.group.as_ref().is_some_and(|group| is_in(group.as_str()));
        rules.filter(holds).map(|rule| rule.capability.clone())
    }

    /// A login. `groups`: those of the capability rules that it is in.
    pub(crate) fn login(&self, entry: &RawEntry, groups: &BTreeSet<String>) -> Entry<Login> {
        match self.parse_login(entry, groups) {
            Ok(login) => Entry::Valid(login),
            Err(reason) => self.quarantined_login(entry, &reason),
        }
    }

    /// A login that is not served.
    pub(crate) fn quarantined_login<T>(&self, entry: &RawEntry, reason: &str) -> Entry<T> {
        quarantined(Kind::Login, self.login_name(entry), self.uid(entry), &entry.dn, reason)
    }

    /// A group that is not served.
    pub(crate) fn quarantined_group<T>(&self, entry: &RawEntry, reason: &str) -> Entry<T> {
        quarantined(Kind::Group, self.group_name(entry), self.gid(entry), &entry.dn, reason)
    }

    fn parse_login(&self, entry: &RawEntry, groups: &BTreeSet<String>) -> Result<Login, String> {
        let map = &self.0.attributes;
        let name: LoginName = self.login_name(entry).parse().map_err(|error| format!("{}: {error}", map.name))?;
        let (defaults, overrides) = (&self.0.defaults, &self.0.overrides);
        let field =
            |attribute: &str, template: &Option<String>, default: &Option<String>| -> Result<Option<String>, String> {
                if let Some(template) = template {
                    return fill(template, entry, &name).map(Some);
                }
                if let Some(value) = entry.first(attribute).filter(|value| !value.is_empty()) {
                    let text = String::from_utf8(value.to_vec()).map_err(|_| format!("{attribute} is not UTF-8"))?;
                    return Ok(Some(text));
                }
                default.as_ref().map(|template| fill(template, entry, &name)).transpose()
            };
        let gid = field(&map.gid, &overrides.gid, &defaults.gid)?.ok_or_else(|| format!("{} is missing", map.gid))?;
        let gecos =
            field(&map.gecos, &overrides.gecos, &defaults.gecos)?.or_else(|| self.full_name(entry)).unwrap_or_default();
        let home =
            field(&map.home, &overrides.home, &defaults.home)?.ok_or_else(|| format!("{} is missing", map.home))?;
        let shell = field(&map.shell, &overrides.shell, &defaults.shell)?.unwrap_or_else(|| SHELL.into());
        let membership = entry.text(&map.membership);
        Ok(Login {
            uid: UserId::try_from(id(&entry.text(&map.uid).unwrap_or_default(), &map.uid)?)
                .map_err(|error| format!("{}: {error}", map.uid))?,
            gid: GroupId::try_from(id(&gid, &map.gid)?).map_err(|error| format!("{}: {error}", map.gid))?,
            gecos: gecos.parse().map_err(|error| format!("{}: {error}", map.gecos))?,
            home: home.parse().map_err(|error| format!("{}: {error}", map.home))?,
            shell: shell.parse().map_err(|error| format!("{}: {error}", map.shell))?,
            status: self.status(entry)?,
            capabilities: self.capabilities(entry, groups)?,
            aging: self.aging(entry)?,
            membership: membership
                .map(|name| name.parse().map_err(|error| format!("{}: {error}", map.membership)))
                .transpose()?,
            name,
        })
    }

    /// `cn` must be there (RFC 2307), so who has no full name has its name there.
    fn full_name(&self, entry: &RawEntry) -> Option<String> {
        entry.text("cn").filter(|cn| *cn != self.login_name(entry))
    }

    fn status(&self, entry: &RawEntry) -> Result<Status, String> {
        let status = &self.0.attributes.status;
        let said = match entry.text(status).as_deref() {
            None | Some("active") => Status::Active,
            Some("locked") => Status::Locked,
            Some(other) => return Err(format!("{status} {other:?} is neither active nor locked")),
        };
        let by_rule = self.0.locked.iter().any(|rule| matches(entry, &rule.attribute, rule.value.as_deref()));
        // draft-behera-ldap-password-policy §5.3.3: locked until an administrator unlocks it. Other times end by themselves: the bind says.
        let for_ever = entry.first("pwdAccountLockedTime") == Some(b"000001010000Z");
        Ok(if by_rule || for_ever { Status::Locked } else { said })
    }

    fn aging(&self, entry: &RawEntry) -> Result<Aging, String> {
        let map = &self.0.attributes;
        let days = |attribute: &str| -> Result<Option<u32>, String> {
            let Some(text) = entry.text(attribute) else { return Ok(None) };
            match text.trim().parse::<i64>() {
                // shadow(3) writes −1 for an empty field.
                Ok(-1) => Ok(None),
                Ok(days) => u32::try_from(days)
                    .ok()
                    .filter(|days| i32::try_from(*days).is_ok())
                    .map(Some)
                    .ok_or_else(|| format!("{attribute} {days} is not a number of days")),
                Err(_) => Err(format!("{attribute} {text:?} is not a number of days")),
            }
        };
        let shadow = days(&map.last_change)?;
        let policy = entry.text("pwdChangedTime").and_then(|time| day(&time));
        // draft-behera §5.3.7: set by an administrator, to be changed by its owner.
        let reset = entry.first("pwdReset") == Some(b"TRUE");
        // So does a zero in shadow(5), whatever the server says besides.
        let last_change = if reset || shadow == Some(0) { Some(0) } else { shadow.max(policy) };
        Ok(Aging {
            last_change: last_change.map(Date::from_days),
            min_days: days(&map.min_days)?,
            max_days: days(&map.max_days)?,
            warn_days: days(&map.warn_days)?,
            inactive_days: days(&map.inactive_days)?,
            expires: days(&map.expires)?.map(Date::from_days),
        })
    }

    /// A group with these members.
    pub(crate) fn group(&self, entry: &RawEntry, members: Vec<LoginName>) -> Entry<Group> {
        let parsed = self.rule(entry).and_then(|_| {
            let map = &self.0.attributes;
            Ok(Group {
                name: self.group_name(entry).parse().map_err(|error| format!("{}: {error}", map.group_name))?,
                gid: GroupId::try_from(id(&entry.text(&map.group_gid).unwrap_or_default(), &map.group_gid)?)
                    .map_err(|error| format!("{}: {error}", map.group_gid))?,
                members,
            })
        });
        parsed.map_or_else(|reason| self.quarantined_group(entry, &reason), Entry::Valid)
    }

    /// Keys that sshd would take; the others are named in the log.
    pub(crate) fn keys(&self, login: &LoginName, entry: &RawEntry) -> Vec<SshKey> {
        let mut lines: Vec<String> = entry
            .all(&self.0.attributes.ssh_key)
            .iter()
            .map(|line| String::from_utf8_lossy(line).trim().to_owned())
            .collect();
        // Values have no order in LDAP.
        lines.sort_unstable();
        lines.dedup();
        let days: HashMap<String, Date> =
            entry.all(&self.0.attributes.key_added).iter().filter_map(|value| day_of_key(value)).collect();
        let parsed = lines.into_iter().zip(1..).filter_map(|(line, number)| match line.parse::<AuthorizedKey>() {
            Ok(key) => {
                let fingerprint = key.fingerprint().to_owned();
                Some(SshKey { id: number, added: days.get(&fingerprint).copied(), fingerprint, line })
            }
            Err(error) => {
                tracing::warn!(%login, key = number, %error, "a stored ssh key is not served; remove it from the entry");
                None
            }
        });
        parsed.collect()
    }
}

/// A fingerprint and the day on which its key was added.
fn day_of_key(value: &[u8]) -> Option<(String, Date)> {
    let (fingerprint, day) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some((fingerprint.to_owned(), day.parse().ok()?))
}

fn quarantined<T>(kind: Kind, name: String, id: i64, dn: &str, reason: &str) -> Entry<T> {
    let reason = format!("{reason}; correct the entry {dn}");
    Entry::Quarantined(Quarantined { kind, name, id, reason })
}

/// Whether an entry has the attribute, with this value if one is asked for.
fn matches(entry: &RawEntry, attribute: &str, value: Option<&str>) -> bool {
    let values = entry.all(attribute);
    match value {
        None | Some("*") => !values.is_empty(),
        Some(value) => values.iter().any(|has| has.eq_ignore_ascii_case(value.as_bytes())),
    }
}

fn id(text: &str, attribute: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Err(format!("{attribute} is missing"));
    }
    text.trim().parse().map_err(|_| format!("{attribute} {text:?} is outside 1000-2147483647"))
}

/// Names in braces, other than `name`.
fn placeholders(template: &str) -> Vec<String> {
    template
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "name")
        .collect()
}

/// Fills a template in. A value with a slash would lead elsewhere.
fn fill(template: &str, entry: &RawEntry, name: &LoginName) -> Result<String, String> {
    let mut parts = template.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (key, rest) =
            part.split_once('}').ok_or_else(|| format!("the template {template:?} has a brace that does not close"))?;
        let value = if key == "name" { name.to_string() } else { entry.text(key).unwrap_or_default() };
        if value.is_empty() || value.contains('/') {
            return Err(format!("{key} is missing or has a slash, and {template:?} needs it"));
        }
        text.push_str(&value);
        text.push_str(rest);
    }
    Ok(text)
}

/// The day of a generalized time (RFC 4517 §3.3.13).
fn day(time: &str) -> Option<u32> {
    let (year, month, day) = (time.get(..4)?, time.get(4..6)?, time.get(6..8)?);
    format!("{year}-{month}-{day}").parse::<Date>().ok().map(Date::days)
}
