//! The log of changes, and what it is made from.
//!
//! A generation is the number of microseconds since 1970 of the newest change (its CSN), or one more than the last where two would be equal: it never goes back on one
//! host, and each host counts for itself. What means the same on every host is made from the CSNs (`position`).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schema::record::Generation;
use tokio::sync::watch;

use super::cookie::{self, Cookie};
use super::follow;
use super::map::Map;
use super::model::{Model, Touched, Uuid};
use super::node::Node;
use super::part::{parts, scope};
use super::pool::Pool;
use super::position::Position;
use crate::config::LdapConfig;
use crate::directory::{Change, Changes, Kind};

/// Changes that are kept: who is further behind takes everything anew.
const KEPT: usize = 100_000;
/// Cookies that are kept with the generations that they stand for.
const COOKIES: usize = 4096;
/// Changes that are told again when another server is followed, in microseconds: what they are was asked of one or the other.
const TOLD_AGAIN: u64 = 10_000_000;
/// A server that answered so long ago need not be asked whether it is there.
const FRESH: Duration = Duration::from_millis(2500);

/// The log, and what it is made from.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) state: Mutex<State>,
    pub(super) newest: watch::Sender<u64>,
    ready: watch::Sender<bool>,
    started: AtomicBool,
    /// Whether changes are found by lists.
    polled: AtomicBool,
    seen: Mutex<Option<Instant>>,
    /// By base: since when its changes do not come, and why.
    trouble: Mutex<BTreeMap<String, (Instant, String)>>,
}

/// What changes together.
#[derive(Debug)]
pub(super) struct State {
    pub(super) model: Model,
    log: VecDeque<Change>,
    /// Changes above this are in the log.
    floor: u64,
    newest: u64,
    pub(super) cookies: Vec<Cookie>,
    history: VecDeque<(u64, Vec<u8>)>,
    /// Which bases have been synchronised once.
    complete: Vec<bool>,
    /// What is in each.
    entries: Vec<HashSet<Uuid>>,
}

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Op {
    Put(Uuid, Option<Node>),
    Gone(Uuid),
}

impl Op {
    /// Which entry.
    pub(super) const fn uuid(&self) -> Uuid {
        let (Self::Put(uuid, _) | Self::Gone(uuid)) = self;
        *uuid
    }
}

impl Feed {
    pub(super) fn new(config: &LdapConfig) -> Arc<Self> {
        let parts = parts(config, &Map(Arc::new(config.clone()))).len();
        let state = State {
            model: Model::new(config.nesting),
            log: VecDeque::new(),
            floor: 0,
            newest: 0,
            cookies: vec![Cookie::default(); parts],
            history: VecDeque::new(),
            complete: vec![false; parts],
            entries: vec![HashSet::new(); parts],
        };
        Arc::new(Self {
            state: Mutex::new(state),
            newest: watch::Sender::new(0),
            ready: watch::Sender::new(false),
            started: AtomicBool::new(false),
            polled: AtomicBool::new(false),
            seen: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    pub(super) fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on changes are found by lists.
    pub(super) fn is_polled_now(&self) {
        self.polled.store(true, Ordering::Relaxed);
    }

    /// Whether a full reading takes an entry. Polling would never tell that one has gone which came after its last list: what it does not know yet is left to it.
    pub(super) fn takes(&self, uuid: Uuid) -> bool {
        !self.polled.load(Ordering::Relaxed) || self.locked().part_of(uuid).is_some()
    }

    /// Why it does not come to an end.
    pub(super) fn trouble(&self) -> String {
        let trouble = self.not_followed().map(|(_, reason)| reason);
        trouble.unwrap_or_else(|| "the first synchronisation is still under way".into())
    }

    /// For how long changes have not come, and why; `None`: they come.
    pub(super) fn not_followed(&self) -> Option<(Duration, String)> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let first = trouble.values().min_by_key(|(since, _)| *since);
        first.map(|(since, reason)| (since.elapsed(), reason.clone()))
    }

    pub(super) fn set_trouble(&self, base: &str, trouble: Option<String>) {
        let mut all = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(reason) => all.entry(base.into()).or_insert_with(|| (Instant::now(), String::new())).1 = reason,
            None => drop(all.remove(base)),
        }
    }

    /// The server that is followed has just answered.
    pub(super) fn saw_server(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it has answered a moment ago.
    pub(super) fn has_just_seen_server(&self) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < FRESH)
    }

    /// Whether every base has been synchronised once.
    pub(super) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub(super) async fn wait_ready(&self, limit: Duration) -> bool {
        let mut ready = self.ready.subscribe();
        matches!(tokio::time::timeout(limit, ready.wait_for(|ready| *ready)).await, Ok(Ok(_)))
    }

    /// Begins, once.
    pub(super) fn start(self: &Arc<Self>, pool: &Arc<Pool>, map: &Map) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(follow::follow(Arc::downgrade(self), Arc::downgrade(pool), map.clone()));
    }

    /// Goes on after this, if it has not begun yet and the cursor is of this configuration.
    pub(super) fn resume(&self, generation: Generation, cursor: &[u8], config: &LdapConfig) {
        let mut state = self.locked();
        state.newest = state.newest.max(generation.0);
        if self.started.load(Ordering::Acquire) {
            return;
        }
        let bases = state.cookies.len();
        if let Some(cookies) = cookie::unpack(cursor, scope(config), bases) {
            state.cookies = cookies;
            state.floor = generation.0;
        }
    }

    /// The cursor of a generation, or of an earlier one: what comes twice does no harm.
    pub(super) fn cursor(&self, generation: Generation) -> Vec<u8> {
        let state = self.locked();
        state
            .history
            .iter()
            .rev()
            .find(|(at, _)| *at <= generation.0)
            .map(|(_, cursor)| cursor.clone())
            .unwrap_or_default()
    }

    /// What has come; `None`: the server does not number its changes by their CSN, or is polled.
    pub(super) fn position(&self) -> Option<Position> {
        Position::of(&self.locked().cookies)
    }

    pub(super) fn generation(&self) -> Generation {
        Generation(self.locked().newest.max(1))
    }

    pub(super) fn changes_after(&self, since: Generation, limit: u32) -> Changes {
        let state = self.locked();
        if since.0 < state.floor || since.0 > state.newest {
            return Changes::Gap;
        }
        let at = state.log.partition_point(|change| change.generation <= since);
        Changes::List(state.log.iter().skip(at).take(limit as usize).cloned().collect())
    }

    /// Takes in what became of some entries, all of it up to `newest`. The first time only the outcome counts.
    pub(super) fn apply(&self, part: usize, ops: Vec<Op>, newest: u64, scope: u64) {
        let mut state = self.locked();
        let mut touched = Touched::new();
        let known = state.is_complete(part);
        for op in ops {
            if known {
                // Not `append`: it builds the whole set anew each time.
                touched.extend(state.take_in(part, op));
            } else {
                state.take_in_quietly(part, op);
            }
        }
        if known {
            let before = state.newest;
            state.log_changes(touched, newest);
            let cursor = cookie::pack(&state.cookies, scope);
            if state.newest == before && state.history.back().is_some_and(|(_, last)| *last != cursor) {
                // Another search had told of this change before: only now it is here for all of them, and to be reported.
                state.put(before + 1, Kind::Login, String::new(), 0);
            }
        } else {
            state.newest = (state.newest + 1).max(newest);
            state.floor = state.newest;
            state.model.shrink();
        }
        if let Some(flag) = state.complete.get_mut(part) {
            *flag = true;
        }
        self.publish(state, scope);
    }

    /// What is in this part is known now, and what changed before is told from here on.
    pub(super) fn mark(&self, part: usize) {
        if let Some(flag) = self.locked().complete.get_mut(part) {
            *flag = true;
        }
    }

    /// Another server is followed, which has all that has come: the last changes are told again. An entry may have been asked for at a server that had not heard of its change.
    pub(super) fn tell_again(&self, scope: u64) {
        let mut state = self.locked();
        let since = Generation(state.newest.saturating_sub(TOLD_AGAIN));
        let at = state.log.partition_point(|change| change.generation <= since);
        let told: HashSet<_> =
            state.log.iter().skip(at).map(|change| (change.kind, change.name.clone(), change.id)).collect();
        for (kind, name, id) in told {
            let next = state.newest + 1;
            state.put(next, kind, name, id);
        }
        self.publish(state, scope);
    }

    /// All changes so far are unknown: who follows takes everything anew.
    pub(super) fn gap(&self) {
        let mut state = self.locked();
        state.newest += 1;
        state.floor = state.newest;
        state.log.clear();
        state.history.clear();
    }

    fn publish(&self, mut state: std::sync::MutexGuard<'_, State>, scope: u64) {
        let complete = state.complete.iter().all(|complete| *complete);
        let (newest, cursor) = (state.newest, cookie::pack(&state.cookies, scope));
        if complete && state.history.back().is_none_or(|(at, last)| *at != newest || *last != cursor) {
            state.history.push_back((newest, cursor));
            while state.history.len() > COOKIES {
                state.history.pop_front();
            }
        }
        drop(state);
        if complete {
            self.newest.send_if_modified(|known| std::mem::replace(known, newest) != newest);
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
    }
}

impl State {
    /// Whether entries of this part are known.
    pub(super) fn is_complete(&self, part: usize) -> bool {
        self.complete.get(part).copied().unwrap_or(false)
    }

    /// Which part an entry is in.
    pub(super) fn part_of(&self, uuid: Uuid) -> Option<usize> {
        self.entries.iter().position(|all| all.contains(&uuid))
    }

    /// The gids of the groups that list an entry by the name that it has no more after this.
    pub(super) fn left_behind(&self, op: &Op) -> Vec<i64> {
        let now = match op {
            Op::Put(_, Some(Node::Login(login))) => Some(login.dn),
            Op::Put(_, Some(Node::Group(group))) => Some(group.dn),
            Op::Put(_, None) | Op::Gone(_) => None,
        };
        self.model
            .dn_of(op.uuid())
            .filter(|old| Some(*old) != now)
            .map(|old| self.model.listing(old))
            .unwrap_or_default()
    }

    /// What a part held last.
    pub(super) fn known(&self, part: usize) -> Vec<Uuid> {
        self.entries.get(part).map(|all| all.iter().copied().collect()).unwrap_or_default()
    }

    /// Takes in an entry of which nobody has to be told.
    pub(super) fn take_in_quietly(&mut self, part: usize, op: Op) {
        match op {
            Op::Put(uuid, Some(node)) => {
                if let Some(all) = self.entries.get_mut(part) {
                    all.insert(uuid);
                }
                self.model.put_quietly(node);
            }
            other => drop(self.take_in(part, other)),
        }
    }

    /// The newest change that has come for every part, in microseconds since 1970: what one search tells of is not here before the others have come so far.
    pub(super) fn reached(&self) -> u64 {
        self.cookies.iter().map(Cookie::newest).min().unwrap_or(0)
    }

    /// Takes in what became of an entry.
    pub(super) fn take_in(&mut self, part: usize, op: Op) -> Touched {
        let uuid = op.uuid();
        // Moved from one base to another it is gone here and new there, in whichever order the two searches tell.
        let elsewhere = self.entries.iter().zip(0..).any(|(all, number)| number != part && all.contains(&uuid));
        if let Some(all) = self.entries.get_mut(part) {
            if matches!(op, Op::Put(..)) {
                all.insert(uuid)
            } else {
                all.remove(&uuid)
            };
        }
        match op {
            Op::Gone(_) if elsewhere => Touched::new(),
            Op::Put(_, Some(Node::Login(login))) => self.model.put_login(login),
            Op::Put(_, Some(Node::Group(group))) => self.model.put_group(group),
            Op::Put(uuid, None) | Op::Gone(uuid) => self.model.remove(uuid),
        }
    }

    fn put(&mut self, number: u64, kind: Kind, name: String, id: u32) {
        self.log.push_back(Change { generation: Generation(number), kind, name, id });
        self.newest = number;
    }

    /// Writes changes into the log. They get the numbers up to `newest`, or the next ones.
    fn log_changes(&mut self, touched: Touched, newest: u64) {
        let count = touched.len() as u64;
        let first = newest.saturating_sub(count).max(self.newest) + 1;
        for (next, (kind, name, id)) in (first..).zip(touched) {
            self.put(next, kind.into(), name.into(), id);
        }
        if newest > self.newest {
            // A change of something that nobody is served. Whoever waits for its number must see it in the log all the same.
            self.put(newest, Kind::Login, String::new(), 0);
        }
        while self.log.len() > KEPT {
            if let Some(dropped) = self.log.pop_front() {
                self.floor = dropped.generation.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::RawEntry;
    use super::super::node;
    use super::*;

    const BASES: &str = "servers = [\"ldaps://a\"]\nbase = \"dc=x\"\nlogin_bases = [\"ou=one,dc=x\", \"ou=two,dc=x\"]\ngroup_bases = [\"ou=one,dc=x\"]";

    fn map() -> Map {
        Map(Arc::new(toml::from_str(BASES).unwrap()))
    }

    fn ana(map: &Map, below: &str) -> Op {
        let mut entry = RawEntry::default().with("uid", "ana").with("uidNumber", "2001").with("gidNumber", "2001");
        entry.dn = format!("uid=ana,{below}");
        Op::Put(Uuid([1; 16]), node::of(map, &entry, Uuid([1; 16])))
    }

    #[test]
    fn an_entry_that_moves_between_bases_stays_in_whichever_order_it_is_told() {
        let map = map();
        for new_first in [true, false] {
            let feed = Feed::new(&map.0);
            feed.apply(0, vec![ana(&map, "ou=one,dc=x")], 10, 0);
            feed.apply(1, Vec::new(), 10, 0);
            let (there, gone) = (ana(&map, "ou=two,dc=x"), Op::Gone(Uuid([1; 16])));
            if new_first {
                feed.apply(1, vec![there], 10, 0);
                feed.apply(0, vec![gone], 11, 0);
            } else {
                feed.apply(0, vec![gone], 10, 0);
                feed.apply(1, vec![there], 11, 0);
            }
            assert!(feed.locked().model.login("ana").is_some(), "{new_first}");
            feed.apply(1, vec![Op::Gone(Uuid([1; 16]))], 12, 0);
            assert!(feed.locked().model.login("ana").is_none(), "{new_first}");
        }
    }

    #[test]
    fn what_one_search_tells_of_is_here_when_the_others_have_come_so_far() {
        let feed = Feed::new(&map().0);
        let cookie = |csn: &str| {
            let mut cookie = Cookie::default();
            cookie.merge(format!("rid=000,csn=20261123045155.{csn}Z#000000#000#000000").as_bytes());
            cookie
        };
        feed.locked().cookies = vec![cookie("000005"), cookie("000009")];
        assert_eq!(feed.locked().reached() % 1_000_000, 5);
    }
}
