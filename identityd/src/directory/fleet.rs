//! What each host tells the directory about itself. Nothing in it is trusted for more than being shown and waited for: every text is bounded
//! and printable, on the way in and on the way out.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schema::record::Generation;

/// Longest version in characters.
pub const MAX_VERSION: usize = 32;
/// Longest trouble in characters.
pub const MAX_TROUBLE: usize = 200;
/// Longest host name in bytes (RFC 1035 §2.3.4).
pub const MAX_HOST: usize = 253;
/// More hosts than this are not read: somebody fills the list.
pub const MAX_HOSTS: usize = 10_000;

/// The name of a host: letters of ASCII, digits, `.`, `-` and `_`, in lower case, 1 to 253 bytes, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The name that the kernel has for this host, if it is one.
    #[must_use]
    pub fn own() -> Option<Self> {
        rustix::system::uname().nodename().to_str().ok()?.parse().ok()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let fits = (1..=MAX_HOST).contains(&text.len())
            && text.bytes().all(allowed)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !fits {
            let shown: String = text.chars().take(60).collect();
            return Err(format!(
                "{shown:?} is no name of a host: letters, digits, '.', '-' and '_', at most {MAX_HOST}"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// Who.
    pub host: HostName,
    /// All changes up to this one are visible there.
    pub generation: Generation,
    /// The newest change that it has seen in the directory.
    pub newest: Generation,
    /// For how long it has been behind the directory; zero: it is not.
    pub stale: Duration,
    /// Of identityd.
    pub version: String,
    /// What is wrong there; empty: nothing.
    pub trouble: String,
    /// The directory's cursor of `generation`: where the directory has no number of its own, this says what is there (docs/fleet.md).
    pub cursor: Vec<u8>,
}

impl HostReport {
    /// The report with every text inside its bounds.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.version = bounded(&self.version, MAX_VERSION);
        self.trouble = bounded(&self.trouble, MAX_TROUBLE);
        self
    }
}

/// A report as the directory holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What was said.
    pub report: HostReport,
    /// How long ago, by the directory's clock.
    pub age: Duration,
}

/// The list of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// What they said.
    pub reported: Vec<Reported>,
    /// Why it is not all of them, and what to do; `None`: it is.
    pub incomplete: Option<String>,
}

impl From<Vec<Reported>> for Hosts {
    fn from(reported: Vec<Reported>) -> Self {
        Self { reported, ..Self::default() }
    }
}

/// The text without control characters and cut after so many characters.
#[must_use]
pub fn bounded(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_short_plain_and_in_lower_case() {
        assert_eq!("Web3.MayFirst.org".parse::<HostName>().unwrap().as_str(), "web3.mayfirst.org");
        for bad in ["", "-web", ".web", "web 3", "web\n3", "wéb", "a;b", "a'b", "a,b", "a=b", &"x".repeat(254)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_report_carries_no_control_character_and_no_long_text() {
        let report = HostReport {
            host: "web3".parse().unwrap(),
            generation: Generation(7),
            newest: Generation(7),
            stale: Duration::ZERO,
            version: "9".repeat(400),
            trouble: format!("\u{1b}[2J\n{}", "é".repeat(400)),
            cursor: Vec::new(),
        }
        .bounded();
        assert_eq!(report.version.len(), MAX_VERSION);
        assert_eq!(report.trouble.chars().count(), MAX_TROUBLE);
        assert!(report.trouble.starts_with(" [2J é"));
    }
}
