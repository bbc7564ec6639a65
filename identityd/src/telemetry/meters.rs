//! What is counted. The page is `docs/metrics.md`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge, histogram};
use schema::wire::frame::{Op, Status};

/// Counters of the cache, readable for status too.
pub struct CacheMeters {
    hits: (AtomicU64, Counter),
    misses: (AtomicU64, Counter),
    stale: (AtomicU64, Counter),
    joined: (AtomicU64, Counter),
    invalidated: Counter,
    flushes: Counter,
}

impl std::fmt::Debug for CacheMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheMeters").field("totals", &self.totals()).finish()
    }
}

impl Default for CacheMeters {
    fn default() -> Self {
        Self::new()
    }
}

impl CacheMeters {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let one =
            |result: &'static str| (AtomicU64::new(0), counter!("identityd_cache_requests_total", "result" => result));
        Self {
            hits: one("hit"),
            misses: one("miss"),
            stale: one("stale"),
            joined: one("joined"),
            invalidated: counter!("identityd_cache_invalidated_total"),
            flushes: counter!("identityd_cache_flushes_total"),
        }
    }

    pub(crate) fn hit(&self) {
        bump(&self.hits);
    }

    pub(crate) fn miss(&self) {
        bump(&self.misses);
    }

    pub(crate) fn stale(&self) {
        bump(&self.stale);
    }

    pub(crate) fn joined(&self) {
        bump(&self.joined);
    }

    pub(crate) fn invalidated(&self, keys: u64) {
        self.invalidated.increment(keys);
    }

    pub(crate) fn flushed(&self) {
        self.flushes.increment(1);
    }

    /// Hits, misses, stale answers, joined loads.
    #[must_use]
    pub fn totals(&self) -> [u64; 4] {
        [&self.hits, &self.misses, &self.stale, &self.joined].map(|(count, _)| count.load(Ordering::Relaxed))
    }
}

fn bump((count, meter): &(AtomicU64, Counter)) {
    count.fetch_add(1, Ordering::Relaxed);
    meter.increment(1);
}

/// Counters of requests, found by number instead of by label: a warm look-up is some microseconds.
pub struct RequestMeters {
    counts: [[Counter; STATUSES.len()]; OPS.len()],
    latency: [Histogram; OPS.len()],
}

const OPS: [(Op, &str); 10] = [
    (Op::PasswdByName, "passwd_by_name"),
    (Op::PasswdByUid, "passwd_by_uid"),
    (Op::PasswdList, "passwd_list"),
    (Op::GroupByName, "group_by_name"),
    (Op::GroupByGid, "group_by_gid"),
    (Op::GroupList, "group_list"),
    (Op::ShadowByName, "shadow_by_name"),
    (Op::ShadowList, "shadow_list"),
    (Op::Initgroups, "initgroups"),
    (Op::Message, "message"),
];

const STATUSES: [(Status, &str); 7] = [
    (Status::Found, "found"),
    (Status::Absent, "absent"),
    (Status::Unknown, "unknown"),
    (Status::Denied, "denied"),
    (Status::Malformed, "malformed"),
    (Status::Busy, "busy"),
    (Status::Version, "version"),
];

impl std::fmt::Debug for RequestMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestMeters")
    }
}

impl Default for RequestMeters {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestMeters {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: OPS.map(|(_, op)| {
                STATUSES.map(|(_, result)| counter!("identityd_requests_total", "op" => op, "result" => result))
            }),
            latency: OPS.map(|(_, op)| histogram!("identityd_request_seconds", "op" => op)),
        }
    }

    /// One request has been answered.
    pub fn answered(&self, op: Op, status: Status, took: Duration) {
        let Some(row) = OPS.iter().position(|(known, _)| *known == op) else { return };
        if let Some(column) = STATUSES.iter().position(|(known, _)| *known == status) {
            self.counts[row][column].increment(1);
        }
        self.latency[row].record(took);
    }
}

/// The directory gave an answer, or none.
pub fn directory_answered(took: Duration, ok: bool) {
    counter!("identityd_directory_questions_total", "result" => if ok { "ok" } else { "error" }).increment(1);
    histogram!("identityd_directory_seconds").record(took);
}

/// Following the changes, or a full reading, had come to a standstill, and is begun anew.
pub fn stood_still(what: &'static str) {
    counter!("identityd_standstills_total", "what" => what).increment(1);
}

/// The directory answers, or not.
pub fn directory_up(up: bool) {
    gauge!("identityd_directory_up").set(if up { 1.0 } else { 0.0 });
}

/// A connection was refused.
pub fn refused(limit: &'static str) {
    counter!("identityd_connections_refused_total", "limit" => limit).increment(1);
}

/// A connection that waited for its client was closed for another.
pub fn gave_way(limit: &'static str) {
    counter!("identityd_connections_closed_for_others_total", "limit" => limit).increment(1);
}

/// A frame was refused before it was read as a request.
pub fn frame_refused(reason: &'static str) {
    counter!("identityd_frames_refused_total", "reason" => reason).increment(1);
}

/// A verification has ended.
pub fn authenticated(result: &'static str) {
    counter!("identityd_authentications_total", "result" => result).increment(1);
}

/// A publication of the snapshot has failed.
pub fn publication_failed() {
    counter!("identityd_snapshot_failures_total").increment(1);
}
