//! `[services]`: which capability each PAM service needs.

use std::collections::{BTreeMap, BTreeSet};

use schema::capability::{CRON, Capabilities, Capability, FTP, MAIL, SFTP, SHELL};

/// What a service needs of a login.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "NeedText")]
pub enum Need {
    /// Every login may.
    Any,
    /// No login may.
    Nobody,
    /// One of these is enough.
    OneOf(BTreeSet<Capability>),
}

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "write \"any\", \"none\" or a list of capabilities such as [\"shell\", \"sftp\"]")]
enum NeedText {
    Word(String),
    List(BTreeSet<Capability>),
}

impl Need {
    /// Whether these capabilities are enough.
    #[must_use]
    pub fn is_met_by(&self, capabilities: &Capabilities) -> bool {
        match self {
            Self::Any => true,
            Self::Nobody => false,
            Self::OneOf(list) => list.iter().any(|need| capabilities.contains(need)),
        }
    }

    fn one_of(list: &[&str]) -> Self {
        Self::OneOf(list.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("nothing"),
            Self::Nobody => f.write_str("what no login has: it is closed"),
            Self::OneOf(list) => {
                let list: Vec<&str> = list.iter().map(Capability::as_str).collect();
                f.write_str(&list.join(" or "))
            }
        }
    }
}

impl TryFrom<NeedText> for Need {
    type Error = String;

    fn try_from(text: NeedText) -> Result<Self, String> {
        match text {
            NeedText::Word(word) if word == "any" => Ok(Self::Any),
            NeedText::Word(word) if word == "none" => Ok(Self::Nobody),
            NeedText::List(list) if list.is_empty() => Err("an empty list lets nobody in; write \"none\"".into()),
            NeedText::List(list) => Ok(Self::OneOf(list)),
            NeedText::Word(word) => {
                Err(format!("{word:?} is neither \"any\" nor \"none\"; a capability goes into a list: [{word:?}]"))
            }
        }
    }
}

/// The table. A line of the file replaces the default of that service; `"*"` stands for the services that are not listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "BTreeMap<String, Need>")]
pub struct Services {
    table: BTreeMap<String, Need>,
}

impl Services {
    /// What this service needs. Not listed: what `"*"` says, by default nobody may (fail closed).
    #[must_use]
    pub fn need(&self, service: &str) -> &Need {
        self.table.get(service).or_else(|| self.table.get("*")).unwrap_or(&Need::Nobody)
    }

    /// Whether the service has a line of its own.
    #[must_use]
    pub fn is_listed(&self, service: &str) -> bool {
        self.table.contains_key(service)
    }

    /// The whole table, for `identityd --check`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Need)> {
        self.table.iter().map(|(service, need)| (service.as_str(), need))
    }
}

impl From<BTreeMap<String, Need>> for Services {
    fn from(file: BTreeMap<String, Need>) -> Self {
        let mut services = Self::default();
        services.table.extend(file);
        services
    }
}

impl Default for Services {
    /// The services of Debian's packages.
    fn default() -> Self {
        let mut table = BTreeMap::from([("*".to_owned(), Need::Nobody)]);
        let mut add = |services: &[&str], need: Need| {
            table.extend(services.iter().map(|service| ((*service).to_owned(), need.clone())));
        };
        add(&["sshd"], Need::one_of(&[SHELL, SFTP]));
        add(
            &[
                "login",
                "remote",
                "su",
                "su-l",
                "sudo",
                "sudo-i",
                "runuser",
                "runuser-l",
                "chsh",
                "chfn",
                "newgrp",
                "screen",
                "vlock",
                "polkit-1",
            ],
            Need::one_of(&[SHELL]),
        );
        add(&["cron", "crond", "atd"], Need::one_of(&[CRON]));
        add(
            &[
                "dovecot",
                "imap",
                "imaps",
                "pop3",
                "pop3s",
                "smtp",
                "smtps",
                "submission",
                "sieve",
                "managesieve",
                "mail",
                "postfix",
                "exim4",
                "saslauthd",
            ],
            Need::one_of(&[MAIL]),
        );
        add(&["ftp", "proftpd", "vsftpd", "pure-ftpd"], Need::one_of(&[FTP]));
        // user@.service runs what lies in the home (~/.config/systemd/user), outside the chroot of an sftp-only session.
        add(&["systemd-user"], Need::one_of(&[SHELL]));
        // A password may be changed by whoever has one.
        add(&["passwd"], Need::Any);
        Self { table }
    }
}
