//! Servers that push nothing: what was changed is asked for by its number or its time, and what is gone is found by a list of all that is there.

use std::collections::HashSet;
use std::sync::Weak;

use tokio::time::Instant;

use super::client::Search;
use super::cookie::{Csn, micros};
use super::entry::RawEntry;
use super::feed::{Feed, Op};
use super::map::Map;
use super::model::Uuid;
use super::part::Part;
use super::pool::Pool;
use super::{filter, node, pages, part};
use crate::directory::DirectoryError;

/// Clocks of servers differ, and an entry with an earlier time may be committed later: look back so far.
const OVERLAP: u64 = 5_000_000;

/// Follows all bases.
pub(super) async fn follow(feed: Weak<Feed>, pool: Weak<Pool>, map: Map, parts: Vec<Part>) {
    let mut poller = Poller { map, parts, newest: 0, seen: HashSet::new(), listed: None };
    loop {
        let every = {
            let (Some(feed), Some(pool)) = (feed.upgrade(), pool.upgrade()) else { return };
            let looked = poller.look(&feed, &pool).await;
            if let Err(error) = &looked {
                tracing::debug!(%error, "polling failed; again");
            }
            feed.set_trouble("", looked.err().map(|error| format!("polling fails: {error}")));
            poller.map.0.poll.0
        };
        tokio::time::sleep(every).await;
    }
}

struct Poller {
    map: Map,
    parts: Vec<Part>,
    /// Microseconds of the newest change that was seen.
    newest: u64,
    /// Changes inside the overlap that were seen already.
    seen: HashSet<(Uuid, String)>,
    listed: Option<Instant>,
}

impl Poller {
    async fn look(&mut self, feed: &Feed, pool: &Pool) -> Result<(), DirectoryError> {
        let scope = part::scope(&self.map.0);
        let list = self.listed.is_none_or(|at| at.elapsed() >= self.map.0.poll_removed.0);
        let mut looked = Vec::new();
        for part in self.parts.clone() {
            let mut entries = Vec::new();
            if list {
                pages::all(pool, std::slice::from_ref(&part.search), |entry| entries.push(entry)).await?;
            } else {
                pages::all(pool, &[self.since(&part.search)], |entry| entries.push(entry)).await?;
            }
            let first = !feed.locked().is_complete(part.number);
            let mut ops = Vec::new();
            if list {
                let there: HashSet<Uuid> = entries.iter().map(node::uuid_of).collect();
                let known = feed.locked().known(part.number);
                ops.extend(known.into_iter().filter(|uuid| !there.contains(uuid)).map(Op::Gone));
            }
            for entry in entries {
                let uuid = node::uuid_of(&entry);
                let stamp = stamp(&entry);
                self.newest = self.newest.max(stamp.as_deref().and_then(time).unwrap_or(0));
                if first || stamp.is_none_or(|stamp| self.seen.insert((uuid, stamp))) {
                    ops.push(Op::Put(uuid, node::of(&self.map, &entry, uuid)));
                }
            }
            if first || !ops.is_empty() {
                looked.push((part.number, ops));
            }
        }
        // The number of what was found is reached with the last of it.
        let last = looked.len().saturating_sub(1);
        for (at, (part, ops)) in looked.into_iter().enumerate() {
            feed.apply(part, ops, if at == last { self.newest.max(1) } else { 1 }, scope);
        }
        let oldest = self.newest.saturating_sub(2 * OVERLAP);
        self.seen.retain(|(_, stamp)| time(stamp).is_none_or(|at| at >= oldest));
        if list {
            self.listed = Some(Instant::now());
        }
        Ok(())
    }

    /// What was changed since, with some overlap.
    fn since(&self, search: &Search) -> Search {
        let from = self.newest.saturating_sub(OVERLAP);
        let time = generalized(from);
        Search { filter: filter::and(&search.filter, &format!("(modifyTimestamp>={time})")), ..search.clone() }
    }
}

/// What tells one state of an entry from another.
fn stamp(entry: &RawEntry) -> Option<String> {
    entry.text("entryCSN").or_else(|| entry.text("modifyTimestamp"))
}

fn time(stamp: &str) -> Option<u64> {
    Csn::parse(stamp).map(|csn| csn.micros).or_else(|| micros(stamp))
}

/// Generalized time in seconds.
fn generalized(at: u64) -> String {
    let seconds = at / 1_000_000;
    let (year, month, day) = schema::date::Date::from_days(u32::try_from(seconds / 86_400).unwrap_or(0)).civil();
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}
