//! References to other servers (RFC 4511 §4.5.3), one step: only to servers that the configuration names, because identityd binds there with its own password.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::client::{Found, Search};
use super::dial::{self, Endpoint};
use super::pool::{ATTEMPT, Pool};

/// References of one answer that are looked at.
const MOST: usize = 8;
/// Servers that are named in the log, once each.
const NAMED: usize = 32;

/// Servers that references have led to and that the configuration does not name.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<BTreeSet<String>>);

impl Strangers {
    fn warn(&self, url: &str) {
        let server = url.split('/').take(3).collect::<Vec<_>>().join("/");
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < NAMED && known.insert(server) {
            tracing::warn!(
                url,
                "a referral leads to a server that is neither in [directory] servers nor in referral_servers, and is not followed"
            );
        }
    }
}

impl Pool {
    /// What is where these references lead. What cannot be had there is left out.
    pub(super) async fn follow(&self, found: &mut Found, search: &Search, until: Instant) {
        for url in std::mem::take(&mut found.references).iter().take(MOST) {
            let endpoint = Endpoint::parse(url, &self.config).ok();
            let server = endpoint.and_then(|there| self.endpoints.iter().position(|known| known.is_same(&there)));
            let Some(server) = server else {
                self.strangers.warn(url);
                continue;
            };
            let base = base_of(url).unwrap_or_else(|| search.base.clone());
            let search = Search { base, ..search.clone() };
            match self.search_at(server, &search, until.min(Instant::now() + ATTEMPT)).await {
                Ok(there) => found.entries.extend(there.entries),
                Err(error) => tracing::warn!(url, %error, "a referral leads to nothing"),
            }
        }
    }
}

/// The name in a URL (RFC 4516): `ldap://host:port/NAME?…`.
fn base_of(url: &str) -> Option<String> {
    let name = url.splitn(4, '/').nth(3)?.split('?').next()?;
    dial::unescape(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LdapConfig;

    #[test]
    fn a_server_is_the_same_by_scheme_host_and_port() {
        let config: LdapConfig = toml::from_str("servers = [\"ldaps://a\"]\nbase = \"dc=x\"").unwrap();
        let same = |one: &str, other: &str| {
            let parse = |url| Endpoint::parse(url, &config).unwrap();
            parse(one).is_same(&parse(other))
        };
        assert!(same("ldaps://Ldap1.example.org", "ldaps://ldap1.example.org:636/ou=x?uid?sub"));
        assert!(same("ldap://a:1389", "ldap://a:1389/"));
        assert!(!same("ldap://a", "ldaps://a"));
        assert!(!same("ldap://a:1389", "ldap://a:1390"));
        assert!(!same("ldap://a", "ldap://b"));
        assert!(!same("ldapi://%2Frun%2Fldapi", "ldapi://%2Frun%2Fldapi"), "no server may lead to a local socket");
    }

    #[test]
    fn the_name_in_a_url_is_read_without_its_signs() {
        assert_eq!(base_of("ldap://a/ou=far%20away,dc=x??sub").as_deref(), Some("ou=far away,dc=x"));
        assert_eq!(base_of("ldap://a/"), None);
        assert_eq!(base_of("ldap://a"), None);
    }
}
