//! Choices between a few ways.

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
