//! The list of all hosts as the daemon gives it to `identityctl`: JSON of `docs/fleet.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use schema::record::Generation;

use crate::directory::fleet::{HostName, HostReport, Hosts, Reported};

/// All hosts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fleet {
    /// The newest change of the directory at the moment of asking.
    pub newest: Generation,
    /// By name.
    pub hosts: Vec<HostLine>,
    /// Why it is not all of them, and what to do; null: it is.
    #[serde(default)]
    pub incomplete: Option<String>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HostLine {
    /// Its name.
    pub host: HostName,
    /// All changes up to this one are visible there.
    pub generation: Generation,
    /// How far it is behind `newest`: changes, or with LDAP microseconds.
    pub behind: u64,
    /// For how many seconds it had been behind the directory when it reported.
    pub stale_seconds: u64,
    /// How many seconds ago it reported.
    pub reported_seconds: u64,
    /// Of identityd.
    pub version: String,
    /// What is wrong there, or null.
    pub trouble: Option<String>,
    /// This is the host that was asked; its line is of this moment.
    pub own: bool,
}

impl Fleet {
    /// The list of the directory, with this host's own state in place of what it reported last. `newest` is what is committed: nobody else is behind what this host alone has counted.
    #[must_use]
    pub fn new(newest: Generation, listed: Hosts, own: Option<HostReport>) -> Self {
        let mut hosts: BTreeMap<HostName, HostLine> = listed
            .reported
            .into_iter()
            .map(|Reported { report, age }| (report.host.clone(), line(report, age, false, newest)))
            .collect();
        if let Some(own) = own {
            hosts.insert(own.host.clone(), line(own, Duration::ZERO, true, newest));
        }
        Self { newest, hosts: hosts.into_values().collect(), incomplete: listed.incomplete }
    }

    /// As it goes over the socket.
    ///
    /// # Errors
    /// Never in practice; the reason.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }
}

impl HostLine {
    /// Whether it reported within this time.
    #[must_use]
    pub fn reported_within(&self, time: Duration) -> bool {
        Duration::from_secs(self.reported_seconds) <= time
    }
}

fn line(report: HostReport, age: Duration, own: bool, newest: Generation) -> HostLine {
    let report = report.bounded();
    HostLine {
        host: report.host,
        generation: report.generation,
        behind: newest.0.saturating_sub(report.generation.0),
        stale_seconds: report.stale.as_secs(),
        reported_seconds: age.as_secs(),
        version: report.version,
        trouble: Some(report.trouble).filter(|trouble| !trouble.is_empty()),
        own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(host: &str, generation: u64) -> HostReport {
        HostReport {
            host: host.parse().unwrap(),
            generation: Generation(generation),
            newest: Generation(generation),
            stale: Duration::ZERO,
            version: "0.1.0".into(),
            trouble: "bell\u{7}".into(),
            cursor: Vec::new(),
        }
    }

    #[test]
    fn the_own_line_is_of_this_moment() {
        let old = Reported { report: report("web1", 3), age: Duration::from_secs(20) };
        let other = Reported { report: report("web2", 5), age: Duration::from_secs(7) };
        let fleet = Fleet::new(Generation(8), vec![other, old].into(), Some(report("web1", 8)));
        let shown: Vec<_> =
            fleet.hosts.iter().map(|line| (line.host.as_str(), line.behind, line.reported_seconds, line.own)).collect();
        assert_eq!(shown, [("web1", 0, 0, true), ("web2", 3, 7, false)]);
        assert_eq!(fleet.hosts[1].trouble.as_deref(), Some("bell "));
    }

    #[test]
    fn nobody_is_behind_what_this_host_alone_has_counted() {
        let other = Reported { report: report("web2", 8), age: Duration::from_secs(7) };
        let fleet = Fleet::new(Generation(8), vec![other].into(), Some(report("web1", 9)));
        assert_eq!(fleet.newest, Generation(8));
        assert!(fleet.hosts.iter().all(|line| line.behind == 0), "{fleet:?}");
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let fleet = Fleet::new(Generation(8), Hosts::default(), Some(report("web1", 8)));
        assert_eq!(serde_json::from_str::<Fleet>(&serde_json::to_string(&fleet).unwrap()).unwrap(), fleet);
    }
}
