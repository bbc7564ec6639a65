//! The list of hosts: one entry each below `fleet_base`, in a database without persistent searches (`schema/ldap/fleet.ldif`, `docs/fleet.md`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ldap3::{Mod, Scope};
use schema::record::Generation;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::LdapDirectory;
use super::client::{Client, LdapFailure, Search};
use super::cookie::{Csn, micros};
use super::entry::RawEntry;
use super::position::Position;
use crate::directory::DirectoryError;
use crate::directory::fleet::{HostName, HostReport, Hosts, MAX_HOSTS, Reported};

/// How long the feed may need for what the server says is committed. It is pushed within milliseconds; a change of entries that nobody follows is never.
const PUSHED: Duration = Duration::from_secs(1);

/// As far the clocks of servers may be apart.
const CLOCKS: Duration = Duration::from_secs(60);

/// What is kept from one report, or one list, to the next.
#[derive(Debug, Default)]
pub(super) struct Reporting {
    /// The connection that reports go over: a new one for each would cost a bind, and TLS.
    connection: Mutex<Option<Client>>,
    /// Servers that have no list of hosts: while one of them does not answer nobody is missing.
    without: Mutex<BTreeSet<usize>>,
}

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
        let mut slot = self.reporting.connection.lock().await;
        let mut kept = slot.take().filter(Client::is_usable);
        let mut writers = self.pool.writers();
        loop {
            let was_kept = kept.is_some();
            let mut client = match kept.take() {
                Some(client) => client,
                None => writers.next().await?,
            };
            let mut stored = client.modify(&dn, changes()).await;
            if is_not_there(&stored) {
                stored = client.add(&dn, entry(report, &values)).await;
            }
            match stored {
                // A connection that was kept may have died unnoticed.
                Err(failure) if failure.is_away() && was_kept => {}
                Err(failure) if failure.is_away() => return Err(self.pool.unavailable(failure.to_string())),
                // A copy; or one without the list (32), or even its schema (17), which another one has.
                Err(failure @ LdapFailure::Said { code: 10 | 17 | 32 | 53, .. }) => {
                    let _ = self.pool.takes_no_changes(client.server, &failure);
                    writers.leave(client.server, &failure);
                }
                stored => {
                    *slot = Some(client);
                    return stored.map_err(|failure| self.refused(&failure));
                }
            }
        }
    }

    /// All hosts: what each server has of them, since each host reports to the nearest one that takes it.
    pub(super) async fn hosts(&self) -> Result<Hosts, DirectoryError> {
        let base = self.fleet_base()?;
        let names = ["cn", GENERATION, NEWEST, STALE, VERSION, TROUBLE, SEEN, "modifyTimestamp"];
        let search = Search {
            base: base.into(),
            scope: Scope::OneLevel,
            filter: "(objectClass=mayfirstHost)".into(),
            attributes: names.map(String::from).into(),
            limit: i32::try_from(MAX_HOSTS).unwrap_or(0),
            optional: false,
        };
        let answers = self.pool.search_each(&search).await;
        let committed = if self.feed.position().is_some() { Some(self.pool.committed().await?) } else { None };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut hosts = BTreeMap::<HostName, Vec<Reported>>::new();
        let (mut lists, mut incomplete, mut heard) = (0, Vec::new(), BTreeSet::new());
        let mut without = self.reporting.without.lock().await;
        for (server, answer) in answers {
            let url = self.pool.url(server);
            if !matches!(&answer, Err(failure) if failure.is_away()) {
                heard.insert(server);
            }
            match answer {
                // The base lies elsewhere: as for 32, this one does not have the list.
                Ok(found) if found.entries.is_empty() && !found.references.is_empty() => drop(without.insert(server)),
                Ok(found) => {
                    lists += 1;
                    without.remove(&server);
                    if found.cut {
                        incomplete.push(format!(
                            "{url} has more than {} entries below {base}, and gives these: remove those that are no hosts, or raise the limit of identityd's account (olcLimits, schema/ldap/fleet.ldif)",
                            found.entries.len()
                        ));
                    }
                    for line in found.entries.iter().filter_map(|entry| reported(entry, now, committed.as_ref())) {
                        hosts.entry(line.report.host.clone()).or_default().push(line);
                    }
                }
                Err(LdapFailure::Said { code: 32, .. }) => drop(without.insert(server)),
                Err(failure) if failure.is_away() => {}
                Err(failure) => incomplete.push(format!("{url} does not give its list: {failure}")),
            }
        }
        heard.extend(&*without);
        let mut silent = self.pool.unheard(&heard);
        if lists == 0 {
            return Err(match incomplete.pop().or_else(|| silent.pop()) {
                Some(reason) => self.pool.unavailable(reason),
                None => DirectoryError::Refused(format!(
                    "no server has {base}, or identityd may not see it: load schema/ldap/fleet.ldif (schema/ldap/README.md)"
                )),
            });
        }
        if !silent.is_empty() {
            // Not even after a while: those that it is not silent for go on reporting to it alone.
            incomplete.push(format!(
                "a server does not answer, and hosts may report to it alone ({}): mend it; if it is gone for good, take it out of [directory] servers on every host; or wait for hosts by name (wait --hosts)",
                silent.join("; ")
            ));
        }
        Ok(Hosts {
            reported: hosts.into_values().filter_map(newest).collect(),
            incomplete: (!incomplete.is_empty()).then(|| incomplete.join("; ")),
        })
    }

    /// Removes a host's entry from each server that has it.
    pub(super) async fn remove_host(&self, host: &HostName) -> Result<bool, DirectoryError> {
        let dn = format!("cn={host},{}", self.fleet_base()?);
        let (mut removed, mut known, mut closed) = (false, false, String::new());
        for server in self.pool.order.candidates() {
            let until = Instant::now() + self.map.0.timeout.0;
            let Ok(mut client) = self.pool.connect_first(&[server], true, until).await else { continue };
            let answer = tokio::time::timeout_at(until, client.delete(&dn)).await;
            match answer.unwrap_or_else(|_| Err(LdapFailure::Away("it is silent".into()))) {
                Ok(()) => (removed, known) = (true, true),
                Err(LdapFailure::Said { code: 32, .. }) => known = true,
                // Another server's entry, if it has one.
                Err(failure) if self.pool.takes_no_changes(server, &failure) => {
                    closed = format!("{}: {failure}", self.pool.url(server));
                }
                Err(failure) if failure.is_away() => drop(self.pool.down(server, &failure)),
                Err(failure) => return Err(self.refused(&failure)),
            }
        }
        let silent = self.pool.who_is_silent(&*self.reporting.without.lock().await).into_iter().next();
        match (silent, removed) {
            (Some(silent), true) => Err(self.pool.unavailable(format!(
                "{host} is off the list of each server that answers, and one that does not may have it as well: {silent}; run this again when it does"
            ))),
            (Some(silent), false) => Err(self.pool.unavailable(silent)),
            (None, false) if !known => Err(self.pool.unavailable(closed)),
            (None, removed) => Ok(removed),
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

    fn fleet_base(&self) -> Result<&str, DirectoryError> {
        match self.map.0.fleet_base.as_str() {
            "" => Err(DirectoryError::Refused(
                "there is no list of hosts: name its base in [directory] fleet_base (docs/fleet.md)".into(),
            )),
            base => Ok(base),
        }
    }

    fn refused(&self, failure: &LdapFailure) -> DirectoryError {
        let base = &self.map.0.fleet_base;
        DirectoryError::Refused(format!("the list of hosts below {base}: {failure}; see schema/ldap/fleet.ldif"))
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

fn is_not_there(answer: &Result<(), LdapFailure>) -> bool {
    matches!(answer, Err(LdapFailure::Said { code: 32, .. }))
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

/// The newest of what one host said at several servers. Their clocks differ: of lines as young as each other the one that has seen most. (By that alone a host that was set up anew would never
/// get rid of what it had said before.)
fn newest(lines: Vec<Reported>) -> Option<Reported> {
    let youngest = lines.iter().map(|line| line.age).min()?;
    let young = lines.into_iter().filter(|line| line.age <= youngest + CLOCKS);
    young.max_by_key(|line| (line.report.newest, line.report.generation, Reverse(line.age)))
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

    #[test]
    fn of_what_a_host_said_at_several_servers_the_newest_counts_though_their_clocks_differ() {
        let line = |newest: u64, age: u64| Reported {
            report: HostReport {
                host: "web3".parse().unwrap(),
                generation: Generation(newest),
                newest: Generation(newest),
                stale: Duration::ZERO,
                version: String::new(),
                trouble: String::new(),
                cursor: Vec::new(),
            },
            age: Duration::from_secs(age),
        };
        let seen = |lines: &[(u64, u64)]| {
            let newest = newest(lines.iter().map(|(newest, age)| line(*newest, *age)).collect()).unwrap();
            (newest.report.newest.0, newest.age.as_secs())
        };
        assert_eq!(seen(&[(7, 3)]), (7, 3));
        assert_eq!(seen(&[(7, 300), (9, 3)]), (9, 3));
        assert_eq!(seen(&[(9, 8), (7, 3)]), (9, 8), "the clock of the second server is ahead");
        assert_eq!(seen(&[(9, 8), (9, 3)]), (9, 3));
        assert_eq!(seen(&[(9, 300), (7, 3)]), (7, 3), "it has been set up anew");
    }
}
