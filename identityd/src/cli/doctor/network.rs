//! May identityd's unit reach the servers of the directory? As it is shipped it reaches this machine only (`systemd.resource-control(5)`).

use super::Finding;
use crate::config::{Address, DirectoryConfig};

const CHECK: &str = "network";

/// `unit`: the unit and behind it its drop-ins, in the order in which systemd reads them.
pub(super) fn check(config: &DirectoryConfig, unit: &str) -> Option<Finding> {
    let servers = elsewhere(config);
    let first = servers.first()?;
    if reaches_others(unit) {
        return Some(Finding::ok(CHECK, format!("identityd's unit lets it reach other machines, such as {first}")));
    }
    Some(Finding::error(
        CHECK,
        format!(
            "identityd's unit keeps it from every other machine (IPAddressDeny=any), also from {}",
            servers.join(", ")
        ),
        "write /etc/systemd/system/identityd.service.d/directory.conf: [Service] and a line IPAddressAllow= with the addresses of these servers, and of the \
         resolver in /etc/resolv.conf if they are named; then run: systemctl daemon-reload && systemctl restart identityd (docs/mysql.md)",
    ))
}

/// The hosts of the servers that are not this machine.
fn elsewhere(config: &DirectoryConfig) -> Vec<String> {
    let hosts: Vec<String> = match config {
        DirectoryConfig::Sqlite { .. } => Vec::new(),
        DirectoryConfig::Mysql(mysql) => mysql
            .servers
            .iter()
            .filter_map(|server| match Address::parse(server) {
                Ok(Address::Tcp(host, _)) => Some(host),
                Ok(Address::Socket(_)) | Err(_) => None,
            })
            .collect(),
        DirectoryConfig::Ldap(ldap) => ldap.servers.iter().filter_map(|url| host_of(url)).collect(),
    };
    hosts.into_iter().filter(|host| !is_here(host)).collect()
}

/// Of `ldap://host:port`; `ldapi://` has none.
fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.split('/').next()?;
    let host = match rest.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => rest.split(':').next()?,
    };
    (!scheme.eq_ignore_ascii_case("ldapi") && !host.is_empty()).then(|| host.to_owned())
}

fn is_here(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.split('/').next().is_some_and(|host| host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

/// Whether anything but this machine is allowed. Which addresses is not held against the servers: a name may have others tomorrow.
fn reaches_others(unit: &str) -> bool {
    let (mut denied, mut allowed) = (false, false);
    for line in unit.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        // An empty value takes back what stood before.
        match key.trim() {
            "IPAddressDeny" => denied = !value.trim().is_empty(),
            "IPAddressAllow" => {
                let mut words = value.split_whitespace();
                allowed = !value.trim().is_empty() && (allowed || words.any(|word| !is_here(word)));
            }
            _ => {}
        }
    }
    !denied || allowed
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Severity;
    use super::*;
    use crate::config::Config;

    const UNIT: &str = include_str!("../../../../packaging/systemd/identityd.service");

    fn judged(directory: &str, drop_in: &str) -> Option<Severity> {
        let config = Config::parse(&format!("[directory]\n{directory}\n"), Path::new("identityd.toml")).unwrap();
        check(&config.directory, &format!("{UNIT}\n{drop_in}")).map(|finding| finding.severity)
    }

    #[test]
    fn a_server_elsewhere_needs_a_drop_in_with_its_address() {
        let mysql = "type = \"mysql\"\nservers = [\"/run/mysqld/mysqld.sock\", \"db.example.org:3307\"]";
        let ldap = "type = \"ldap\"\nservers = [\"ldaps://[2001:db8::1]:636\"]\nbase = \"dc=example,dc=org\"";
        for directory in [mysql, ldap] {
            assert_eq!(judged(directory, ""), Some(Severity::Error));
            assert_eq!(judged(directory, "IPAddressAllow=127.0.0.1 ::1/128"), Some(Severity::Error));
            assert_eq!(judged(directory, "[Service]\nIPAddressAllow=192.0.2.10"), Some(Severity::Ok));
            assert_eq!(judged(directory, "[Service]\nIPAddressDeny="), Some(Severity::Ok));
            assert_eq!(judged(directory, "IPAddressAllow=192.0.2.10\nIPAddressAllow="), Some(Severity::Error));
        }
    }

    #[test]
    fn a_directory_of_this_machine_needs_none() {
        for directory in [
            "type = \"sqlite\"",
            "type = \"mysql\"\nservers = [\"/run/mysqld/mysqld.sock\", \"127.0.0.1\", \"[::1]:3307\"]",
            "type = \"ldap\"\nservers = [\"ldapi://%2Frun%2Fslapd%2Fldapi\", \"ldap://localhost\"]\nbase = \"dc=example,dc=org\"",
        ] {
            assert_eq!(judged(directory, ""), None, "{directory}");
        }
    }
}
