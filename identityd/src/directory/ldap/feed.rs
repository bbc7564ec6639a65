//! The log of changes, and the task that follows the server: by content synchronisation where there is one, else by polling.
//!
//! A generation is the number of microseconds since 1970 of the newest change (its CSN), or one more than the last where two would be equal: it never goes back on one
//! host, and each host counts for itself. What means the same on every host is made from the CSNs (`position`).

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use schema::record::Generation;
use tokio::sync::watch;

use super::client::{LdapFailure, Search};
use super::cookie::{self, Cookie};
use super::dn;
use super::entry::RawEntry;
use super::map::Map;
use super::model::{GroupNode, LoginNode, Model, Touched, Uuid};
use super::pool::Pool;
use super::position::Position;
use super::{poll, sync};
use crate::config::{LdapConfig, LdapFeed, LdapScope};
use crate::directory::{Change, Changes, DirectoryError, Kind};

/// Changes that are kept: who is further behind takes everything anew.
const KEPT: usize = 100_000;
/// Cookies that are kept with the generations that they stand for.
const COOKIES: usize = 4096;
/// Between two tries to follow.
const AGAIN: Duration = Duration::from_millis(200);
/// The longest pause, where a server refuses.
const LONG: Duration = Duration::from_secs(30);
/// A server that has less than was seen is waited for so long where no other one answers.
const PATIENT: Duration = Duration::from_secs(5);
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

/// One base that is followed, and what is in it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) number: usize,
    pub(super) search: Search,
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
            seen: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    pub(super) fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        tokio::spawn(follow(Arc::downgrade(self), Arc::downgrade(pool), map.clone()));
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
                self.model.put_quietly(uuid, node);
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
            Op::Put(uuid, Some(Node::Login(login))) => self.model.put_login(uuid, login),
            Op::Put(uuid, Some(Node::Group(group))) => self.model.put_group(uuid, group),
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

static STAMP: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A login or a group, as the model holds it.
#[derive(Debug)]
pub(super) enum Node {
    Login(LoginNode),
    Group(GroupNode),
}

/// What an entry is; `None`: neither. The server has applied the filters; one entry may pass both, and then a login it is.
pub(super) fn node(map: &Map, entry: &RawEntry) -> Option<Node> {
    login(map, entry).or_else(|| group(map, entry))
}

/// An entry as a login.
pub(super) fn login(map: &Map, entry: &RawEntry) -> Option<Node> {
    let names = &map.0.attributes;
    if entry.first(&names.uid).is_none() || entry.first(&names.name).is_none() {
        return None;
    }
    let capabilities = map.capabilities(entry, &BTreeSet::new()).unwrap_or_default();
    Some(Node::Login(LoginNode {
        name: map.login_name(entry).into(),
        uid: map.uid(entry),
        dn: dn::key(&entry.dn),
        seniority: map.seniority(entry),
        files_only: capabilities.contains(schema::capability::SFTP)
            && !capabilities.contains(schema::capability::SHELL),
        stamp: stamp(entry),
    }))
}

/// An entry as a group.
pub(super) fn group(map: &Map, entry: &RawEntry) -> Option<Node> {
    let names = &map.0.attributes;
    if entry.first(&names.group_gid).is_none() || entry.first(&names.group_name).is_none() {
        return None;
    }
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    Some(Node::Group(GroupNode {
        name: map.group_name(entry).into(),
        gid: map.gid(entry),
        dn: dn::key(&entry.dn),
        seniority: map.seniority(entry),
        rule: map.rule(entry) == Ok(true),
        names: entry.all(&names.member_name).iter().map(|name| map.fold(&text(name)).into()).collect(),
        dns: entry.all(&names.member_dn).iter().map(|name| dn::key(&text(name))).collect(),
        stamp: stamp(entry),
    }))
}

fn stamp(entry: &RawEntry) -> u64 {
    STAMP.hash_one((entry.first("entryCSN"), entry.first("modifyTimestamp")))
}

/// What is followed: each base once, logins and groups together where both are in it.
pub(super) fn parts(config: &LdapConfig, map: &Map) -> Vec<Part> {
    let mut filters: Vec<(String, Vec<String>)> = Vec::new();
    let logins = config.login_bases().iter().map(|base| (base, &config.login_filter));
    let groups = config.group_bases().iter().map(|base| (base, &config.group_filter));
    for (base, filter) in logins.chain(groups) {
        let filter = super::filter::wrapped(filter);
        match filters.iter_mut().find(|(known, _)| dn::key(known) == dn::key(base)) {
            Some((_, all)) => all.push(filter),
            None => filters.push((base.clone(), vec![filter])),
        }
    }
    filters
        .into_iter()
        .zip(0..)
        .map(|((base, filters), number)| Part {
            number,
            search: Search {
                base,
                scope: scope_of(config),
                filter: format!("(|{})", filters.concat()),
                attributes: index_attributes(map),
                limit: 0,
                optional: false,
            },
        })
        .collect()
}

pub(super) const fn scope_of(config: &LdapConfig) -> ldap3::Scope {
    match config.scope {
        LdapScope::Sub => ldap3::Scope::Subtree,
        LdapScope::One => ldap3::Scope::OneLevel,
    }
}

/// What the model needs of an entry.
fn index_attributes(map: &Map) -> Vec<String> {
    let names = &map.0.attributes;
    let mut all = map.group_attributes();
    all.extend([&names.name, &names.uid, &names.gid, &names.capability].map(String::clone));
    all.extend(["entryCSN", "modifyTimestamp"].map(str::to_owned));
    all.extend(map.0.capabilities.iter().filter_map(|rule| rule.attribute.clone()));
    all.sort_unstable_by_key(|name| name.to_ascii_lowercase());
    all.dedup_by_key(|name| name.to_ascii_lowercase());
    all
}

/// A digest of what is synchronised.
pub(super) fn scope(config: &LdapConfig) -> u64 {
    use sha2::{Digest, Sha256};
    let text = format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}{}{:?}",
        config.login_bases(),
        config.group_bases(),
        config.login_filter,
        config.group_filter,
        config.scope,
        config.attributes,
        config.nesting,
        config.case,
    );
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// The UUID of an entry that was found by an ordinary search; where the server has none, its name must do.
pub(super) fn uuid_of(entry: &RawEntry) -> Uuid {
    let text: String = entry.text("entryUUID").unwrap_or_default().chars().filter(|c| *c != '-').collect();
    let mut bytes = [0; 16];
    let parsed = text.len() == 32
        && bytes.iter_mut().enumerate().all(|(at, byte)| {
            let digits = text.get(at * 2..at * 2 + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            digits.inspect(|digits| *byte = *digits).is_some()
        });
    if !parsed {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(entry.dn.to_lowercase().as_bytes());
        bytes.iter_mut().zip(digest.iter()).for_each(|(byte, digest)| *byte = *digest);
    }
    Uuid(bytes)
}

/// Follows until the directory is dropped.
async fn follow(feed: Weak<Feed>, pool: Weak<Pool>, map: Map) {
    let by_sync = loop {
        let Some(strong) = pool.upgrade() else { return };
        match map.0.feed {
            LdapFeed::Off => return,
            LdapFeed::Sync => break true,
            LdapFeed::Poll => break false,
            LdapFeed::Auto => match offers_sync(&strong).await {
                Ok(offers) => break offers,
                Err(error) => tracing::debug!(%error, "no server to follow yet"),
            },
        }
        drop(strong);
        tokio::time::sleep(AGAIN).await;
    };
    let parts = parts(&map.0, &map);
    if !by_sync {
        tracing::info!("the LDAP server does not push changes: polling");
        return poll::follow(feed, pool, map, parts).await;
    }
    let mut running = tokio::task::JoinSet::new();
    for part in parts {
        running.spawn(sync::follow(feed.clone(), pool.clone(), map.clone(), part));
    }
    while running.join_next().await.is_some() {}
}

async fn offers_sync(pool: &Pool) -> Result<bool, DirectoryError> {
    let search = Search {
        base: String::new(),
        scope: ldap3::Scope::Base,
        filter: "(objectClass=*)".into(),
        attributes: vec!["supportedControl".into()],
        limit: 0,
        optional: false,
    };
    let entries = pool.search(&search).await?;
    Ok(entries.first().is_some_and(|entry| super::control::offers_sync(entry.all("supportedControl"))))
}

/// What went wrong last, so that it is said once, and tried again less and less often.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    count: u32,
    said: String,
    /// Since when a server is behind what was seen.
    behind: Option<Instant>,
}

impl Troubles {
    /// It works.
    pub(super) fn over(&mut self, feed: &Feed, base: &str) {
        *self = Self::default();
        feed.set_trouble(base, None);
    }

    /// A server is behind what was seen. `true`: for so long that it will not catch up any more.
    pub(super) fn is_behind_for_long(&mut self) -> bool {
        let long = self.behind.get_or_insert_with(Instant::now).elapsed() >= PATIENT;
        if long {
            self.behind = None;
        }
        long
    }

    /// It does not.
    pub(super) fn note(feed: &Feed, base: &str, failure: &LdapFailure) {
        feed.set_trouble(base, Some(format!("the synchronisation below {base:?} fails: {failure}")));
    }

    /// A pause before trying again: soon where another server may do, seldom where this one refuses.
    pub(super) async fn rest(&mut self, base: &str, failure: &LdapFailure) {
        let text = failure.to_string();
        let (refused, longest) = match failure {
            // 53: OpenLDAP says so when it has not yet what we have seen at another provider.
            LdapFailure::Said { code, .. } if !matches!(code, 0 | 51..=53 | 4096) => (true, LONG),
            _ => (false, LONG / 20),
        };
        if refused && self.said != text {
            tracing::warn!(base, reason = text, "the LDAP server does not let identityd follow its changes");
            self.said = text;
        } else {
            tracing::debug!(base, reason = text, "the synchronisation ended; again");
        }
        let pause = AGAIN.saturating_mul(1 << self.count.min(10)).min(longest);
        self.count += 1;
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASES: &str = "servers = [\"ldaps://a\"]\nbase = \"dc=x\"\nlogin_bases = [\"ou=one,dc=x\", \"ou=two,dc=x\"]\ngroup_bases = [\"ou=one,dc=x\"]";

    fn map() -> Map {
        Map(Arc::new(toml::from_str(BASES).unwrap()))
    }

    fn ana(map: &Map, below: &str) -> Op {
        let mut entry = RawEntry::default().with("uid", "ana").with("uidNumber", "2001").with("gidNumber", "2001");
        entry.dn = format!("uid=ana,{below}");
        Op::Put(Uuid([1; 16]), node(map, &entry))
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
