//! Pages of lists that are kept, and whose turn it is to have one made.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schema::snapshot::layout::Pair;
use schema::wire::frame::Op;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Loaded;
use crate::daemon::Host;
use crate::local::Local;

/// All pages of 100,000 logins; `after` is the client's, so there could be any number.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// However sure we are that nothing has changed.
const MOST_AGE: Duration = Duration::from_secs(60);
/// Of all users who see a part, 4 bytes each; one that sees more is kept alone.
const MOST_IDS: usize = 1024 * 1024;
/// Users who list at one time before those who are done are forgotten.
const MOST_USERS: usize = 64;
/// Pages of one user that are held until they are taken: each may have a group of megabytes in it.
const UNREAD: usize = 8;

/// What pages are made of. Pages of other states are never given out.
#[derive(Debug, Clone)]
pub(super) struct MadeOf {
    epoch: u64,
    local: Arc<Local>,
    loaded: Arc<Loaded>,
}

impl MadeOf {
    /// To be taken before the directory is asked: a change that comes in between makes the page old, never young.
    pub(super) fn now(host: &Host) -> Self {
        Self { epoch: host.cache().epoch(), local: host.local(), loaded: host.loaded() }
    }

    fn is(&self, other: &Self) -> bool {
        self.epoch == other.epoch && Arc::ptr_eq(&self.local, &other.local) && Arc::ptr_eq(&self.loaded, &other.loaded)
    }
}

/// Whom a caller sees that does not see everybody, by id, ascending: in one pair of files.
#[derive(Debug)]
pub(super) struct Own {
    pair: Pair,
    logins: Box<[u32]>,
    groups: Box<[u32]>,
}

impl Own {
    pub(super) fn new(pair: Pair, logins: BTreeSet<u32>, groups: BTreeSet<u32>) -> Self {
        Self { pair, logins: logins.into_iter().collect(), groups: groups.into_iter().collect() }
    }

    pub(super) fn login_after(&self, after: u32) -> Option<u32> {
        next(&self.logins, after)
    }

    pub(super) fn group_after(&self, after: u32) -> Option<u32> {
        next(&self.groups, after)
    }

    fn len(&self) -> usize {
        self.logins.len() + self.groups.len()
    }
}

fn next(ids: &[u32], after: u32) -> Option<u32> {
    ids.get(ids.partition_point(|id| *id <= after)).copied()
}

/// The right to have a page made, until it is dropped.
pub(super) type Turn = OwnedSemaphorePermit;

/// The pages of one state of the directory and of this server.
#[derive(Debug, Default)]
pub struct Pages {
    kept: Mutex<Kept>,
    own: Mutex<HashMap<u32, Arc<Own>>>,
    turns: Turns<1>,
    unread: Turns<UNREAD>,
}

/// So many turns for each user.
#[derive(Debug, Default)]
struct Turns<const EACH: usize>(Mutex<HashMap<u32, Arc<Semaphore>>>);

impl<const EACH: usize> Turns<EACH> {
    async fn take(&self, uid: u32) -> Option<Turn> {
        let own = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= MOST_USERS {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(EACH))))
        };
        own.acquire_owned().await.ok()
    }
}

#[derive(Debug, Default)]
struct Kept {
    of: Option<(MadeOf, Instant)>,
    pages: HashMap<(u16, u32), Arc<[u8]>>,
    bytes: usize,
}

impl Pages {
    /// Whom this user sees, if that is known of these files.
    pub(super) fn own(&self, uid: u32, pair: Pair) -> Option<Arc<Own>> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get(&uid).filter(|own| own.pair == pair).cloned()
    }

    /// Keeps whom this user sees, until something else is published.
    pub(super) fn keep_own(&self, uid: u32, own: &Arc<Own>) {
        let mut all = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, old| old.pair == own.pair);
        if all.values().map(|old| old.len()).sum::<usize>() + own.len() > MOST_IDS || all.len() >= MOST_USERS {
            all.clear();
        }
        all.insert(uid, Arc::clone(own));
    }

    /// Waits until this user's other pages are made.
    pub(super) async fn turn(&self, uid: u32) -> Option<Turn> {
        self.turns.take(uid).await
    }

    /// Waits until few enough pages are held for this user that it has not taken yet.
    pub(super) async fn unread(&self, uid: u32) -> Option<Turn> {
        self.unread.take(uid).await
    }

    /// The page after an id, if it is here.
    pub(super) fn find(&self, op: Op, after: u32, now: &MadeOf) -> Option<Arc<[u8]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, since) = kept.of.as_ref()?;
        if !of.is(now) || since.elapsed() >= MOST_AGE {
            return None;
        }
        kept.pages.get(&(op as u16, after)).cloned()
    }

    /// Keeps a page, for as long as nothing changes. Not those of shadow: they may hold hashes.
    pub(super) fn keep(&self, op: Op, after: u32, of: MadeOf, page: &Arc<[u8]>) {
        if op == Op::ShadowList {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same = kept.of.as_ref().is_some_and(|(old, since)| old.is(&of) && since.elapsed() < MOST_AGE);
        if !same || kept.bytes + page.len() > MOST_BYTES {
            *kept = Kept { of: Some((of, Instant::now())), ..Kept::default() };
        }
        if let Some(old) = kept.pages.insert((op as u16, after), Arc::clone(page)) {
            kept.bytes -= old.len();
        }
        kept.bytes += page.len();
    }
}
