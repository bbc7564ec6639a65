//! The list of hosts: one entry each below `fleet_base`, in a database without persistent searches (`schema/ldap/fleet.ldif`, `docs/fleet.md`).

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ldap3::{Mod, Scope};
use schema::record::Generation;
use tokio::sync::Mutex;

use super::LdapDirectory;
use super::client::{Client, LdapFailure, Search};
use super::cookie::{Csn, micros};
use super::entry::RawEntry;
use super::position::Position;
use crate::directory::DirectoryError;
use crate::directory::fleet::{HostName, HostReport, Hosts, MAX_HOSTS, Reported};

/// How long the feed may need for what the server says is committed. It is pushed within milliseconds; a change of entries that nobody follows is never.
const PUSHED: Duration = Duration::from_secs(1);

/// The connection that reports go over: a new one for each would cost a bind, and TLS.
#[derive(Debug, Default)]
pub(super) struct Reporting(Mutex<Option<Client>>);

impl LdapDirectory {
    /// Writes this host's entry, or adds it.
    pub(super) async fn store_report(&self, report: &HostReport) -> Result<(), DirectoryError> {
        let base = &self.map.0.fleet_base;
        if base.is_empty() {
            return Ok(());
        }
        let dn = format!("cn={},{base}", report.host);
        let values = values(report);
        let changes = || values.iter().map(|(name, value)| Mod::Replace(bytes(name), value.clone())).collect();
        let mut slot = self.reporting.0.lock().await;
        let mut client = match slot.take().filter(Client::is_usable) {
            Some(client) => client,
            None => self.writer().await?,
        };
        let mut stored = client.modify(&dn, changes()).await;
        if matches!(&stored, Err(failure) if failure.is_away()) {
            // A connection that was kept may have died unnoticed.
            client = self.writer().await?;
            stored = client.modify(&dn, changes()).await;
        }
        if matches!(stored, Err(LdapFailure::Said { code: 32, .. })) {
            stored = client.add(&dn, entry(report, &values)).await;
        }
        let stored = self.stored(stored);
        if !matches!(stored, Err(DirectoryError::Unavailable { .. })) {
            *slot = Some(client);
        }
        stored
    }

    /// All hosts.
    pub(super) async fn hosts(&self) -> Result<Hosts, DirectoryError> {
        let base = &self.map.0.fleet_base;
        if base.is_empty() {
            return Err(DirectoryError::Refused(
                "there is no list of hosts: name its base in [directory] fleet_base (docs/fleet.md)".into(),
            ));
        }
        let names = ["cn", GENERATION, NEWEST, STALE, VERSION, TROUBLE, SEEN, "modifyTimestamp"];
        let search = Search {
            base: base.clone(),
            scope: Scope::OneLevel,
            filter: "(objectClass=mayfirstHost)".into(),
            attributes: names.map(String::from).into(),
            limit: i32::try_from(MAX_HOSTS).unwrap_or(0),
            optional: false,
        };
        let found = self.pool.find(&search).await?;
        let committed = if self.feed.position().is_some() { Some(self.pool.committed().await?) } else { None };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let incomplete = found.cut.then(|| {
            format!(
                "there are more than {} entries below {base}, and these are some of them: remove those that are no hosts, or raise the limit of identityd's account (olcLimits, schema/ldap/fleet.ldif)",
                found.entries.len()
            )
        });
        let hosts = found.entries.iter().filter_map(|entry| reported(entry, now, committed.as_ref()));
        Ok(Hosts { reported: hosts.collect(), incomplete })
    }

    /// Removes a host's entry.
    pub(super) async fn remove_host(&self, host: &HostName) -> Result<bool, DirectoryError> {
        let base = &self.map.0.fleet_base;
        if base.is_empty() {
            return self.hosts().await.map(|_| false);
        }
        match self.writer().await?.delete(&format!("cn={host},{base}")).await {
            Err(LdapFailure::Said { code: 32, .. }) => Ok(false),
            other => self.stored(other).map(|()| true),
        }
    }

    /// What is committed: the newest change that any server knows of. Where changes have no CSN, or are polled, it is what has come here after a while: a change of an entry that nobody follows
    /// (a policy) never comes.
    pub(super) async fn committed_generation(&self) -> Result<Generation, DirectoryError> {
        let committed = self.pool.committed().await?.newest();
        if let Some(own) = self.feed.position() {
            return Ok(committed.max(own.newest()).map_or(self.feed.generation(), Generation));
        }
        if let Some(newest) = committed {
            let mut seen = self.feed.newest.subscribe();
            let _ = tokio::time::timeout(PUSHED, seen.wait_for(|seen| *seen >= newest)).await;
        }
        Ok(committed.map_or(self.feed.generation(), |newest| self.feed.generation().min(Generation(newest))))
    }

    /// See [`Directory::common`](crate::directory::Directory::common).
    pub(super) async fn common_number(
        &self,
        generation: Generation,
        cursor: &[u8],
    ) -> Result<Generation, DirectoryError> {
        match Position::read(cursor).filter(|_| self.feed.position().is_some()) {
            Some(seen) => Ok(Generation(seen.up_to(&self.pool.committed().await?))),
            None => Ok(generation),
        }
    }

    fn stored(&self, stored: Result<(), LdapFailure>) -> Result<(), DirectoryError> {
        stored.map_err(|failure| match failure {
            LdapFailure::Said { .. } if !failure.is_away() => DirectoryError::Refused(format!(
                "the list of hosts below {}: {failure}; see schema/ldap/fleet.ldif",
                self.map.0.fleet_base
            )),
            failure => self.pool.unavailable(failure.to_string()),
        })
    }
}

const GENERATION: &str = "mayfirstGeneration";
const NEWEST: &str = "mayfirstNewest";
const STALE: &str = "mayfirstStale";
const VERSION: &str = "mayfirstVersion";
const TROUBLE: &str = "mayfirstTrouble";
/// The newest change of each provider that is visible there, as CSNs.
const SEEN: &str = "mayfirstSeen";

type Values = HashSet<Vec<u8>>;

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// Attributes and their values; without a value the attribute goes.
fn values(report: &HostReport) -> Vec<(&'static str, Values)> {
    let stale = u32::try_from(report.stale.as_secs()).unwrap_or(u32::MAX);
    [
        (GENERATION, report.generation.to_string()),
        (NEWEST, report.newest.to_string()),
        (STALE, stale.to_string()),
        (VERSION, report.version.clone()),
        (TROUBLE, report.trouble.clone()),
    ]
    .into_iter()
    .map(|(name, value)| (name, (!value.is_empty()).then(|| value.into_bytes()).into_iter().collect()))
    .chain([(SEEN, Position::read(&report.cursor).iter().flat_map(Position::csns).map(String::into_bytes).collect())])
    .collect()
}

fn entry(report: &HostReport, values: &[(&str, Values)]) -> Vec<(Vec<u8>, Values)> {
    let one = |text: &str| HashSet::from([bytes(text)]);
    let mut entry = vec![(bytes("objectClass"), one("mayfirstHost")), (bytes("cn"), one(report.host.as_str()))];
    entry
        .extend(values.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (bytes(name), value.clone())));
    entry
}

/// A host as it is in the directory, if it is one, with the number that its CSNs mean. Its age is by this host's clock: slapd has no "now" to ask for.
fn reported(entry: &RawEntry, now: Duration, committed: Option<&Position>) -> Option<Reported> {
    let number = |name: &str| entry.text(name).and_then(|text| text.parse::<u64>().ok());
    let at = entry.text("modifyTimestamp").and_then(|text| micros(&text)).map(Duration::from_micros)?;
    let mut seen = Position::default();
    seen.take(entry.all(SEEN).iter().filter_map(|csn| Csn::parse(std::str::from_utf8(csn).ok()?)));
    let known = committed.filter(|_| seen != Position::default());
    let report = HostReport {
        host: entry.text("cn")?.parse().ok()?,
        generation: Generation(known.map_or(number(GENERATION), |committed| Some(seen.up_to(committed)))?),
        newest: Generation(number(NEWEST).unwrap_or(0)),
        stale: Duration::from_secs(number(STALE).unwrap_or(0)),
        version: entry.text(VERSION).unwrap_or_default(),
        trouble: entry.text(TROUBLE).unwrap_or_default(),
        cursor: Vec::new(),
    };
    Some(Reported { report: report.bounded(), age: now.saturating_sub(at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_as_it_was_written_and_a_strange_entry_is_none() {
        let report = HostReport {
            host: "web3".parse().unwrap(),
            generation: Generation(1_790_000_000_000_001),
            newest: Generation(1_790_000_000_000_002),
            stale: Duration::from_secs(4),
            version: "0.1.0".into(),
            trouble: String::new(),
            cursor: Vec::new(),
        };
        let written = entry(&report, &values(&report));
        assert!(written.iter().all(|(_, values)| !values.is_empty()), "no attribute without a value: RFC 4511 §4.7");
        let raw = written.iter().fold(RawEntry::default(), |raw, (name, values)| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            raw.with(&text(name), &text(values.iter().next().unwrap()))
        });
        assert_eq!(reported(&raw, Duration::ZERO, None), None, "without a time");
        let raw = raw.with("modifyTimestamp", "20260921141320Z");
        let now = Duration::from_secs(1_790_000_007);
        assert_eq!(reported(&raw, now, None), Some(Reported { report, age: Duration::from_secs(7) }));
        assert_eq!(reported(&RawEntry::default().with("cn", "web3"), now, None), None);
        // What it counts for itself does not matter where it says what it has.
        let mut committed = Position::default();
        let csn = "20260921141320.000005Z#000000#001#000000";
        committed.take(Csn::parse(csn).into_iter());
        let known = |raw: &RawEntry| reported(raw, now, Some(&committed)).unwrap().report.generation;
        assert_eq!(known(&raw), Generation(1_790_000_000_000_001));
        assert_eq!(known(&raw.clone().with(SEEN, csn)), Generation(1_790_000_000_000_005));
        let behind = raw.with(SEEN, "20260921141320.000003Z#000000#001#000000");
        assert_eq!(known(&behind), Generation(1_790_000_000_000_002));
    }
}
