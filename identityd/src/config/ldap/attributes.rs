//! What attributes mean: their names, what replaces them, and rules by them.

use schema::capability::Capability;

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
    pub(super) fn all(&self) -> [&str; 23] {
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
