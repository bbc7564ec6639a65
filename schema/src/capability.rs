//! What a login may do: tokens such as `shell`, `sftp`, `mail`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// May have a shell.
pub const SHELL: &str = "shell";
/// May transfer files over ssh.
pub const SFTP: &str = "sftp";
/// May read and send mail.
pub const MAIL: &str = "mail";
/// May use FTP.
pub const FTP: &str = "ftp";
/// May have scheduled jobs.
pub const CRON: &str = "cron";

/// One capability: `[a-z][a-z0-9-]{0,31}`. The panel may invent its own; the configuration of a host gives them meaning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(Box<str>);

/// A set of capabilities, ordered by name.
pub type Capabilities = BTreeSet<Capability>;

/// The text is not a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a capability: use a letter (a-z), then up to 31 of a-z, 0-9 and -")]
pub struct CapabilityError(String);

impl Capability {
    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        let ok = text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if ok { Ok(Self(text.into())) } else { Err(CapabilityError(text.into())) }
    }
}

impl TryFrom<String> for Capability {
    type Error = CapabilityError;

    fn try_from(text: String) -> Result<Self, CapabilityError> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> String {
        capability.0.into()
    }
}

impl std::borrow::Borrow<str> for Capability {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
