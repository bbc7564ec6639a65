//! What the daemon says about itself: the JSON of `docs/status.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::sweep::Census;
use super::{Host, published};
use crate::auth::offline::Count;

/// Quarantined entries that a report names; the rest is counted.
const NAMED: usize = 200;
/// A change of servers takes less.
const UNFOLLOWED: Duration = Duration::from_secs(10);

impl Host {
    /// The JSON of `Request::Status`; details for root only.
    pub async fn status(&self, details: bool) -> String {
        let loaded = self.loaded();
        let health = self.cache().source().health();
        let (quarantined, entries) = self.cache().source().quarantine().snapshot(NAMED);
        let (applied, seen) = self.feed().generations();
        let read_only = self.cache().source().read_only();
        let facts = self.facts();
        let published = facts.as_ref().is_some_and(|facts| facts.published.is_some());
        let word = match (health.reachable, self.cache().sizes().await) {
            (true, _) if read_only.is_some() || self.is_not_followed().is_some() => "degraded",
            (true, _) if !facts.as_ref().is_none_or(Self::is_publishing_well) => "degraded",
            (true, _) => "ok",
            (false, (0, _)) if !published => "down",
            (false, _) => "degraded",
        };
        let mut status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "health": word,
            "host": self.fleet_name(),
            "mode": if facts.is_some() { "replica" } else { "lookup" },
            "snapshot": facts.as_ref().map(published::json),
            "generation": { "seen": applied.0, "directory": seen.0 },
            "data_age_seconds": self.data_age().as_secs(),
            "quarantined": quarantined,
            "details": details,
        });
        let configured = &loaded.config.directory;
        let mut directory =
            json!({ "kind": configured.kind(), "reachable": health.reachable, "since": seconds(health.since) });
        if details {
            directory["location"] = json!(configured.location());
            directory["error"] =
                if health.reachable { Value::Null } else { json!(health.error.as_ref().map(|(text, _)| text)) };
            directory["last_error"] =
                json!(health.error.as_ref().map(|(text, at)| json!({ "text": text, "at": seconds(*at) })));
            let servers = self.cache().source().servers();
            if !servers.is_empty() {
                directory["servers"] = json!(servers);
            }
            let [hits, misses, stale, joined] = self.cache().meters().totals();
            let (kept, absent) = self.cache().sizes().await;
            status["cache"] = json!({ "entries": kept, "absent": absent, "hits": hits, "misses": misses, "stale": stale, "joined": joined });
            status["connections"] = json!(self.limits().connections());
            status["quarantine"] = json!(entries);
            let census = self.census();
            status["entries"] = json!(census.map(|census| json!({ "logins": census.logins, "groups": census.groups })));
            let mut warnings = self.warnings();
            warnings.extend(read_only);
            status["warnings"] = json!(warnings);
            status["config"] = json!({ "path": loaded.path, "loaded": seconds(loaded.at) });
        }
        status["directory"] = directory;
        status.to_string()
    }

    /// What an administrator should know and do; empty when all is well.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let health = self.cache().source().health();
        if !health.reachable {
            let away = health.since.elapsed().unwrap_or_default().as_secs();
            let stale = self.loaded().config.cache.stale;
            let Count { logins, with_password } = self.offline.count();
            warnings.push(format!(
                "the directory has not answered for {away} s; known entries are served as they were then, for at most {stale}; \
                 {logins} logins can still enter, {with_password} of them with their passwords (auth.offline_days). directory.error has the reason"
            ));
        }
        if let Some((since, reason)) = self.is_not_followed().filter(|_| health.reachable) {
            warnings.push(format!(
                "the directory answers, but for {} s its changes have not come: {reason}. Known entries are served as they were then",
                since.as_secs()
            ));
        }
        for server in self.cache().source().servers().iter().filter(|server| health.reachable && !server.up) {
            warnings.push(format!(
                "a server of the directory does not serve, others do: {}: {}",
                server.name, server.reason
            ));
        }
        warnings.extend(self.facts().iter().flat_map(published::warnings));
        let (quarantined, _) = self.cache().source().quarantine().snapshot(0);
        if quarantined > 0 {
            warnings.push(format!(
                "entries that are not served: {quarantined}; quarantine has each with its reason and what to do"
            ));
        }
        if let Some(Census { in_many_groups: many @ 1.., such_as: Some(login), .. }) = self.census() {
            warnings.push(format!(
                "{many} logins are in more than 16 groups, such as {login}: NFS with AUTH_SYS carries only 16. Take them out of some, or \
                 use --manage-gids on the NFS server"
            ));
        }
        let wanted = self.loaded().config.server.connections;
        let possible = self.limits().config().connections;
        if possible < wanted {
            warnings.push(format!(
                "the limit of open files allows {possible} connections, [server] connections asks for {wanted}: raise LimitNOFILE="
            ));
        }
        if let Some((uid, holds)) = self.limits().crowded_by() {
            warnings.push(format!(
                "the places of the socket run out; uid {uid} held {holds} connections, more than anybody else. ss -xp names the processes; \
                 connections that only wait are closed for others, and more places are [server] connections"
            ));
        }
        warnings
    }

    /// Changes have not come for longer than a change of servers takes.
    fn is_not_followed(&self) -> Option<(Duration, String)> {
        self.not_followed().filter(|(since, _)| *since >= UNFOLLOWED)
    }

    /// What is wrong here, in a few words: for the list of the fleet. Empty: nothing.
    pub(crate) fn trouble(&self) -> String {
        let source = self.cache().source();
        let mut words = Vec::new();
        if !source.health().reachable {
            words.push("its directory does not answer".to_owned());
        } else if self.is_not_followed().is_some() {
            words.push("changes of its directory do not come".to_owned());
        }
        if source.read_only().is_some() {
            words.push("its directory can only be read".to_owned());
        }
        if let Some(facts) = self.facts().filter(|facts| !Self::is_publishing_well(facts)) {
            words.push(
                if facts.held.is_some() { "a removal is held back" } else { "its snapshot is not published" }
                    .to_owned(),
            );
        }
        let (quarantined, _) = source.quarantine().snapshot(0);
        if quarantined > 0 {
            words.push(format!("{quarantined} entries not served"));
        }
        words.join("; ")
    }

    /// The Prometheus text.
    pub async fn metrics_text(&self) -> String {
        let (kept, absent) = self.cache().sizes().await;
        let (quarantined, _) = self.cache().source().quarantine().snapshot(0);
        let (applied, _) = self.feed().generations();
        let census = self.census().unwrap_or_default();
        let mut gauges = self.facts().as_ref().map(published::gauges).unwrap_or_default();
        gauges.extend([
            ("identityd_directory_logins", census.logins as f64),
            ("identityd_directory_groups", census.groups as f64),
            ("identityd_cache_entries", kept as f64),
            ("identityd_cache_absent_entries", absent as f64),
            ("identityd_quarantined_entries", quarantined as f64),
            ("identityd_generation", applied.0 as f64),
            ("identityd_connections", f64::from(self.limits().connections())),
            ("identityd_data_age_seconds", self.data_age().as_secs_f64()),
            ("identityd_uptime_seconds", self.started.elapsed().as_secs() as f64),
        ]);
        self.telemetry.render(&gauges)
    }
}

pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
