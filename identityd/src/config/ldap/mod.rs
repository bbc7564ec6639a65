//! `[directory] type = "ldap"`: where the entries are, what their attributes mean, and how connections are secured.

mod attributes;
mod check;
mod choices;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schema::capability::Capability;

pub use self::attributes::{LdapAttributes, LdapCapability, LdapMatch, LdapTemplates};
pub use self::choices::{
    LdapCase, LdapFeed, LdapMembers, LdapPasswordChange, LdapReferrals, LdapSasl, LdapScope, LdapTls,
};
use super::Span;

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
    pub(in crate::config) fn meaning(&self) -> String {
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
