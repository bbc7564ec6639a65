//! What a configuration may not say.

use super::super::{Span, sections};
use super::{LdapConfig, LdapSasl, LdapTls};

/// A key and what is wrong with its value.
type Wrong = (&'static str, String);

impl LdapConfig {
    pub(in crate::config) fn check(&self) -> Result<(), Wrong> {
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
        sections::between("directory.timeout", self.timeout, Span::millis(100), Span::secs(30))?;
        sections::between("directory.poll", self.poll, Span::millis(100), Span::secs(60))?;
        sections::between("directory.poll_removed", self.poll_removed, Span::secs(1), Span::secs(86_400))
    }
}
