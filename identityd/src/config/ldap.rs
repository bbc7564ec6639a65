//! `[directory] type = "ldap"`: where the entries are, what their attributes mean, and how connections are secured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schema::capability::Capability;

use super::Span;

/// A key and what is wrong with its value.
type Wrong = (&'static str, String);

/// An LDAP directory.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapConfig {
    /// `ldap://`, `ldaps://` or `ldapi://`, the nearest first. The first that can be written is the primary.
    pub servers: Vec<String>,
    /// The suffix below which everything is.
    pub base: String,
    /// Where logins are; empty: below `base`.
    #[serde(default)]
    pub login_bases: Vec<String>,
    /// Where groups are; empty: below `base`.
    #[serde(default)]
    pub group_bases: Vec<String>,
    /// Which entries are logins.
    #[serde(default = "login_filter")]
    pub login_filter: String,
    /// Which entries are groups.
    #[serde(default = "group_filter")]
    pub group_filter: String,
    /// How deep below a base.
    #[serde(default)]
    pub scope: LdapScope,
    /// As whom identityd binds; empty: anonymous.
    #[serde(default)]
    pub bind_dn: String,
    /// A file with its password on one line.
    #[serde(default)]
    pub bind_password_file: Option<PathBuf>,
    /// As whom identityctl binds; empty: over `ldapi://` as root (SASL EXTERNAL).
    #[serde(default)]
    pub admin_dn: String,
    /// A file with its password on one line: for root alone.
    #[serde(default = "admin_password_file")]
    pub admin_password_file: PathBuf,
    /// SASL EXTERNAL instead: over `ldapi://` as the user identityd.
    #[serde(default)]
    pub sasl: LdapSasl,
    /// What secures `ldap://`.
    #[serde(default)]
    pub tls: LdapTls,
    /// Certificates of the authorities that are trusted, PEM.
    #[serde(default = "ca_file")]
    pub ca_file: PathBuf,
    /// Passwords may go over the network in the clear.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Longest time for one question to the directory, all servers together.
    #[serde(default = "two_seconds")]
    pub timeout: Span,
    /// How often to look for changes where the server does not push them, and how often one that does is asked whether it is still there.
    #[serde(default = "one_second")]
    pub poll: Span,
    /// How often a server that does not push changes is asked for the list of all entries, to find those that were removed.
    #[serde(default = "one_minute")]
    pub poll_removed: Span,
    /// How changes are followed.
    #[serde(default)]
    pub feed: LdapFeed,
    /// Below this entry each host says what it has published; empty: nowhere. Not below `base`.
    #[serde(default)]
    pub fleet_base: String,
    /// What to do with entries that say "ask another server".
    #[serde(default)]
    pub referrals: LdapReferrals,
    /// `ldap://` or `ldaps://`: where they may lead besides `servers`. identityd binds there with its own password.
    #[serde(default)]
    pub referral_servers: Vec<String>,
    /// How deep groups may lie in groups; 0: members that are groups do not count.
    #[serde(default = "nesting")]
    pub nesting: u32,
    /// Names with capital letters.
    #[serde(default)]
    pub case: LdapCase,
    /// How a login changes its password.
    #[serde(default)]
    pub password_change: LdapPasswordChange,
    /// Names of attributes.
    #[serde(default)]
    pub attributes: LdapAttributes,
    /// For entries without the attribute; `{name}` and `{ATTRIBUTE}` are filled in.
    #[serde(default)]
    pub defaults: LdapTemplates,
    /// Whatever the entry says; `{name}` and `{ATTRIBUTE}` are filled in.
    #[serde(default)]
    pub overrides: LdapTemplates,
    /// Who may do what, for directories without our attributes.
    #[serde(default)]
    pub capabilities: Vec<LdapCapability>,
    /// Logins that are locked, besides those whose status says so.
    #[serde(default)]
    pub locked: Vec<LdapMatch>,
    /// Where identityctl puts new entries, and what they are.
    #[serde(default)]
    pub write: LdapWrite,
}

/// Where identityctl puts new entries, and what they are. Empty names follow from the bases.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LdapWrite {
    /// Below this, logins; empty: the first of `login_bases`, or `ou=logins` below `base`.
    pub logins: String,
    /// Below this, groups; empty: the first of `group_bases`, or `ou=groups` below `base`.
    pub groups: String,
    /// Below this, memberships; empty: `ou=memberships` below `base`.
    pub memberships: String,
    /// Below this, ids of deleted logins and groups; empty: `ou=retired` below `base`.
    pub retired: String,
    /// The entry that new ids come from; empty: `cn=next-id` below `base`.
    pub counter: String,
    /// Object classes of a login, the structural one first.
    pub login_classes: Vec<String>,
    /// Object classes of a group, the structural one first.
    pub group_classes: Vec<String>,
    /// How a group lists its members.
    pub members: LdapMembers,
}

impl Default for LdapWrite {
    fn default() -> Self {
        let classes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            logins: String::new(),
            groups: String::new(),
            memberships: String::new(),
            retired: String::new(),
            counter: String::new(),
            login_classes: classes(&["account", "posixAccount", "shadowAccount", "ldapPublicKey", "mayfirstLogin"]),
            group_classes: classes(&["mayfirstGroup", "posixGroup"]),
            members: LdapMembers::default(),
        }
    }
}

/// How a group lists its members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapMembers {
    /// By their names (RFC 2307).
    #[default]
    Name,
    /// By their DNs (RFC 2307bis).
    Dn,
}

/// How deep below a base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapScope {
    /// However deep.
    #[default]
    Sub,
    /// Directly below.
    One,
}

/// How identityd says who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapSasl {
    /// By `bind_dn` and a password, or not at all.
    #[default]
    None,
    /// By what the connection says of it.
    External,
}

/// What secures `ldap://`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapTls {
    /// StartTLS first; without it, nothing.
    #[default]
    Starttls,
    /// Nothing: `allow_plaintext` decides about passwords.
    None,
}

/// How changes are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapFeed {
    /// By content synchronisation where the server has it, else by polling.
    #[default]
    Auto,
    /// By content synchronisation (RFC 4533).
    Sync,
    /// By polling.
    Poll,
    /// Not at all: for servers that may not be listed. Answers are kept as long as `[cache]` says.
    Off,
}

/// What to do with referrals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapReferrals {
    /// Leave out what lies elsewhere.
    #[default]
    Ignore,
    /// Ask there, one step, for look-ups: if it is one of `servers` or `referral_servers`.
    Follow,
}

/// Names with capital letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapCase {
    /// Are not served: a name has none.
    #[default]
    Exact,
    /// Are served in small letters.
    Fold,
}

/// How a login changes its password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapPasswordChange {
    /// By the operation of RFC 3062: the server hashes.
    #[default]
    Exop,
    /// By replacing the attribute with `{CRYPT}` and a hash that is made here.
    Attribute,
    /// Elsewhere.
    Refuse,
}

/// Names of attributes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "each is the field of the record that it fills")]
pub struct LdapAttributes {
    pub name: String,
    pub uid: String,
    pub gid: String,
    pub gecos: String,
    pub home: String,
    pub shell: String,
    pub status: String,
    pub capability: String,
    pub membership: String,
    pub ssh_key: String,
    pub key_added: String,
    pub password: String,
    pub last_change: String,
    pub min_days: String,
    pub max_days: String,
    pub warn_days: String,
    pub inactive_days: String,
    pub expires: String,
    pub group_name: String,
    pub group_gid: String,
    pub group_rule: String,
    pub member_name: String,
    pub member_dn: String,
}

impl Default for LdapAttributes {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            name: text("uid"),
            uid: text("uidNumber"),
            gid: text("gidNumber"),
            gecos: text("gecos"),
            home: text("homeDirectory"),
            shell: text("loginShell"),
            status: text("mayfirstStatus"),
            capability: text("mayfirstCapability"),
            membership: text("mayfirstMembership"),
            ssh_key: text("sshPublicKey"),
            key_added: text("mayfirstKeyAdded"),
            password: text("userPassword"),
            last_change: text("shadowLastChange"),
            min_days: text("shadowMin"),
            max_days: text("shadowMax"),
            warn_days: text("shadowWarning"),
            inactive_days: text("shadowInactive"),
            expires: text("shadowExpire"),
            group_name: text("cn"),
            group_gid: text("gidNumber"),
            group_rule: text("mayfirstRule"),
            member_name: text("memberUid"),
            member_dn: text("member"),
        }
    }
}

impl LdapAttributes {
    fn all(&self) -> [&str; 23] {
        [
            &self.name,
            &self.uid,
            &self.gid,
            &self.gecos,
            &self.home,
            &self.shell,
            &self.status,
            &self.capability,
            &self.membership,
            &self.ssh_key,
            &self.key_added,
            &self.password,
            &self.last_change,
            &self.min_days,
            &self.max_days,
            &self.warn_days,
            &self.inactive_days,
            &self.expires,
            &self.group_name,
            &self.group_gid,
            &self.group_rule,
            &self.member_name,
            &self.member_dn,
        ]
    }
}

/// Values that are made up or replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LdapTemplates {
    /// Home.
    pub home: Option<String>,
    /// Shell.
    pub shell: Option<String>,
    /// Primary group, a number.
    pub gid: Option<String>,
    /// Full name.
    pub gecos: Option<String>,
}

/// A capability and who has it. A rule without a condition gives it to everybody.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapCapability {
    /// The capability.
    pub capability: Capability,
    /// Members of this group.
    #[serde(default)]
    pub group: Option<schema::name::GroupName>,
    /// Entries with this attribute …
    #[serde(default)]
    pub attribute: Option<String>,
    /// … and this value; `*`, or none given: any.
    #[serde(default)]
    pub value: Option<String>,
}

/// An attribute, and maybe its value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapMatch {
    /// The attribute.
    pub attribute: String,
    /// Its value; `*`, or none given: any.
    #[serde(default)]
    pub value: Option<String>,
}

impl LdapConfig {
    /// The bases of logins.
    #[must_use]
    pub fn login_bases(&self) -> &[String] {
        if self.login_bases.is_empty() { std::slice::from_ref(&self.base) } else { &self.login_bases }
    }

    /// The bases of groups.
    #[must_use]
    pub fn group_bases(&self) -> &[String] {
        if self.group_bases.is_empty() { std::slice::from_ref(&self.base) } else { &self.group_bases }
    }

    /// Below which entry identityctl puts new logins.
    #[must_use]
    pub fn new_logins(&self) -> String {
        self.place(&self.write.logins, self.login_bases.first(), "ou=logins")
    }

    /// Below which entry identityctl puts new groups.
    #[must_use]
    pub fn new_groups(&self) -> String {
        self.place(&self.write.groups, self.group_bases.first(), "ou=groups")
    }

    /// Below which entry memberships are.
    #[must_use]
    pub fn memberships(&self) -> String {
        self.place(&self.write.memberships, None, "ou=memberships")
    }

    /// Below which entry the ids of deleted logins and groups are.
    #[must_use]
    pub fn retired(&self) -> String {
        self.place(&self.write.retired, None, "ou=retired")
    }

    /// The entry that new ids come from.
    #[must_use]
    pub fn counter(&self) -> String {
        self.place(&self.write.counter, None, "cn=next-id")
    }

    fn place(&self, said: &str, base: Option<&String>, usual: &str) -> String {
        match base {
            _ if !said.is_empty() => said.into(),
            Some(base) => base.clone(),
            None if self.base.is_empty() => usual.into(),
            None => format!("{usual},{}", self.base),
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        format!("{} {}", self.servers.first().map_or("", String::as_str), self.base)
    }

    /// What decides which entries there are and what they say: also as whom they are read, since a server shows not everything to everybody. A new key has to
    /// choose its side here.
    pub(super) fn meaning(&self) -> String {
        let Self {
            base,
            login_bases,
            group_bases,
            login_filter,
            group_filter,
            scope,
            bind_dn,
            sasl,
            referrals,
            referral_servers,
            nesting,
            case,
            attributes,
            defaults,
            overrides,
            capabilities,
            locked,
            servers: _,
            bind_password_file: _,
            admin_dn: _,
            admin_password_file: _,
            tls: _,
            ca_file: _,
            allow_plaintext: _,
            timeout: _,
            poll: _,
            poll_removed: _,
            feed: _,
            fleet_base: _,
            password_change: _,
            write: _,
        } = self;
        let entries =
            (base, login_bases, group_bases, login_filter, group_filter, scope, nesting, (referrals, referral_servers));
        let fields = (attributes, defaults, overrides, capabilities, locked, case);
        format!("ldap {entries:?} {fields:?} {:?}", (bind_dn, sasl))
    }

    /// Groups whose members have capabilities, and which.
    #[must_use]
    pub fn group_rules(&self) -> BTreeMap<&str, Vec<&Capability>> {
        let mut rules: BTreeMap<&str, Vec<&Capability>> = BTreeMap::new();
        for rule in &self.capabilities {
            if let Some(group) = &rule.group {
                rules.entry(group.as_str()).or_default().push(&rule.capability);
            }
        }
        rules
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        if self.servers.is_empty() {
            return Err(("directory.servers", "name at least one server, such as \"ldaps://ldap.example.org\"".into()));
        }
        for server in &self.referral_servers {
            if !server.starts_with("ldap://") && !server.starts_with("ldaps://") {
                return Err(("directory.referral_servers", format!("{server:?} is not ldap://HOST or ldaps://HOST")));
            }
        }
        for server in self.servers.iter().chain(&self.referral_servers) {
            let scheme = server.split_once("://").map(|(scheme, rest)| (scheme, rest.is_empty()));
            match scheme {
                Some(("ldap" | "ldaps", false)) | Some(("ldapi", _)) => {}
                _ => {
                    return Err((
                        "directory.servers",
                        format!("{server:?} is not ldap://HOST, ldaps://HOST or ldapi://%2Fpath%2Fto%2Fsocket"),
                    ));
                }
            }
            if self.sasl == LdapSasl::External && !server.starts_with("ldapi://") {
                return Err(("directory.sasl", format!("\"external\" works over ldapi:// only, not with {server}")));
            }
            let clear = server.starts_with("ldap://") && self.tls == LdapTls::None && !self.allow_plaintext;
            if clear {
                return Err((
                    "directory.tls",
                    format!(
                        "with \"none\" passwords would go to {server} in the clear; use \"starttls\" or ldaps://, or say allow_plaintext = true"
                    ),
                ));
            }
        }
        if self.base.is_empty() && (self.login_bases.is_empty() || self.group_bases.is_empty()) {
            return Err(("directory.base", "name the suffix, such as \"dc=example,dc=org\"".into()));
        }
        if !self.bind_dn.is_empty() && self.bind_password_file.is_none() && self.sasl == LdapSasl::None {
            return Err(("directory.bind_password_file", "bind_dn needs a file with its password".into()));
        }
        for (key, path) in [
            ("directory.ca_file", Some(&self.ca_file)),
            ("directory.bind_password_file", self.bind_password_file.as_ref()),
            ("directory.admin_password_file", Some(&self.admin_password_file)),
        ] {
            if let Some(path) = path.filter(|path| !path.is_absolute()) {
                return Err((key, format!("{} is not an absolute path", path.display())));
            }
        }
        for (key, filter) in
            [("directory.login_filter", &self.login_filter), ("directory.group_filter", &self.group_filter)]
        {
            if ldap3::parse_filter(filter).is_err() {
                return Err((
                    key,
                    format!("{filter:?} is not a filter of RFC 4515, such as \"(objectClass=posixAccount)\""),
                ));
            }
        }
        let rules = self.capabilities.iter().filter_map(|rule| rule.attribute.as_deref());
        let locked = self.locked.iter().map(|rule| rule.attribute.as_str());
        for name in self.attributes.all().into_iter().chain(rules).chain(locked) {
            let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b';' | b'.'));
            if name.is_empty() || !good {
                return Err(("directory.attributes", format!("{name:?} is not the name of an attribute")));
            }
        }
        for (key, classes) in [
            ("directory.write.login_classes", &self.write.login_classes),
            ("directory.write.group_classes", &self.write.group_classes),
        ] {
            let good = |name: &String| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
            };
            if classes.is_empty() || !classes.iter().all(good) {
                return Err((key, "name object classes, the structural one first".into()));
            }
        }
        if self.nesting > 64 {
            return Err(("directory.nesting", format!("{} is out of range: use 0 to 64", self.nesting)));
        }
        super::sections::between("directory.timeout", self.timeout, Span::millis(100), Span::secs(30))?;
        super::sections::between("directory.poll", self.poll, Span::millis(100), Span::secs(60))?;
        super::sections::between("directory.poll_removed", self.poll_removed, Span::secs(1), Span::secs(86_400))
    }
}

fn login_filter() -> String {
    "(objectClass=posixAccount)".into()
}

fn group_filter() -> String {
    "(objectClass=posixGroup)".into()
}

fn admin_password_file() -> PathBuf {
    "/etc/identityd/ldap-admin.password".into()
}

fn ca_file() -> PathBuf {
    "/etc/ssl/certs/ca-certificates.crt".into()
}

const fn two_seconds() -> Span {
    Span::secs(2)
}

const fn one_second() -> Span {
    Span::secs(1)
}

const fn one_minute() -> Span {
    Span::secs(60)
}

const fn nesting() -> u32 {
    8
}
