//! A feed for tables without a log of changes: what has a newer time of update is noticed, what was deleted is found when everything is read again.
//!
//! Generations are made up here: microseconds since 1970 of the moment at which something was noticed. Who asks for changes from before we began to look is told of a
//! gap, and so is everybody when it is time to read everything again: the replica then compares with what it has published.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use schema::record::Generation;
use tokio::time::Instant;

use super::Inner;
use super::feed::named;
use super::node::Role;
use super::queries::{Query, Value};
use crate::directory::sql::Columns;
use crate::directory::{Change, Changes, DirectoryError, Kind};

/// Most changes that are remembered; more, and everything is read again.
const REMEMBERED: usize = 20_000;

#[derive(Debug)]
pub(super) struct Noticed {
    log: Mutex<Log>,
    resync: Duration,
}

#[derive(Debug, Default)]
struct Log {
    /// Changes up to this are not known one by one. 0: nobody has looked yet.
    floor: u64,
    newest: u64,
    changes: VecDeque<Change>,
    /// The newest time of an update, and what was updated then: that second may not be over.
    latest: i64,
    at_latest: HashSet<(Kind, String, u32)>,
    due: Option<Instant>,
}

impl Noticed {
    pub(super) fn new(resync: Duration) -> Self {
        Self { log: Mutex::default(), resync }
    }

    /// Looks, and gives the newest generation.
    pub(super) async fn look(&self, inner: &Inner, since: Option<&Query>) -> Result<u64, DirectoryError> {
        let (due, latest) = {
            let log = self.lock();
            (log.due.is_none_or(|due| due <= Instant::now()), log.latest)
        };
        let ask = async |latest: i64| match since {
            Some(query) => inner.ask(Role::Reader, query, &[("since", Value::Number(latest))]).await,
            None => Ok(Vec::new()),
        };
        if due {
            // Before everything is read: what is updated meanwhile is noticed afterwards.
            let clock = Query { text: "SELECT unix_timestamp() AS now".into(), parameters: Vec::new() };
            let rows = inner.ask(Role::Reader, &clock, &[]).await?;
            let now = rows.first().and_then(|row| row.number("now").ok().flatten()).unwrap_or(0);
            let mut log = self.lock();
            log.begin(now - 1);
            log.due = Some(Instant::now() + self.resync);
            return Ok(log.newest);
        }
        let rows = ask(latest).await?;
        let found = rows.iter().filter_map(|row| Some((named(row)?, row.number("updated").ok().flatten()?)));
        let mut log = self.lock();
        log.take(found);
        Ok(log.newest)
    }

    /// The changes after a generation.
    pub(super) fn after(&self, since: Generation, limit: u32) -> Changes {
        let log = self.lock();
        if since.0 < log.floor || since.0 > log.newest {
            return Changes::Gap;
        }
        let newer = log.changes.iter().filter(|change| change.generation > since);
        Changes::List(newer.take(limit as usize).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// From now on; everything from before is a gap.
    fn begin(&mut self, latest: i64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        self.newest = u64::try_from(now).unwrap_or(0).max(self.newest + 1);
        self.floor = self.newest;
        self.changes.clear();
        self.latest = latest;
        self.at_latest.clear();
    }

    /// Adds what is new among what was updated at `latest` or later.
    fn take(&mut self, found: impl Iterator<Item = ((Kind, String, u32), i64)>) {
        let before = self.latest;
        for (entry, updated) in found {
            if updated < before || (updated == before && self.at_latest.contains(&entry)) {
                continue;
            }
            self.newest += 1;
            let (kind, name, id) = entry.clone();
            self.changes.push_back(Change { generation: Generation(self.newest), kind, name, id });
            if updated > self.latest {
                self.latest = updated;
                self.at_latest.clear();
            }
            if updated == self.latest {
                self.at_latest.insert(entry);
            }
        }
        while self.changes.len() > REMEMBERED {
            self.floor = self.changes.pop_front().map_or(self.floor, |change| change.generation.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ana() -> (Kind, String, u32) {
        (Kind::Login, "ana".into(), 2000)
    }

    fn names(noticed: &Noticed, since: u64) -> Option<Vec<String>> {
        match noticed.after(Generation(since), 100) {
            Changes::Gap => None,
            Changes::List(changes) => Some(changes.into_iter().map(|change| change.name).collect()),
        }
    }

    #[test]
    fn two_updates_within_one_second_are_both_noticed_and_none_twice() {
        let noticed = Noticed::new(Duration::from_secs(60));
        noticed.lock().begin(100);
        let began = noticed.lock().newest;
        noticed.lock().take([(ana(), 101)].into_iter());
        noticed.lock().take([(ana(), 101), ((Kind::Login, "bea".into(), 2001), 101)].into_iter());
        noticed.lock().take([(ana(), 101), ((Kind::Login, "bea".into(), 2001), 101)].into_iter());
        assert_eq!(names(&noticed, began).unwrap(), ["ana", "bea"]);
        noticed.lock().take([(ana(), 102)].into_iter());
        assert_eq!(names(&noticed, began).unwrap(), ["ana", "bea", "ana"]);
        assert_eq!(names(&noticed, began + 2).unwrap(), ["ana"]);
    }

    #[test]
    fn what_was_before_is_a_gap() {
        let noticed = Noticed::new(Duration::from_secs(60));
        noticed.lock().begin(100);
        let began = noticed.lock().newest;
        assert_eq!(names(&noticed, began - 1), None);
        noticed.lock().begin(200);
        assert_eq!(names(&noticed, began), None);
    }
}
