//! Large groups as this server serves them, packed once and not for each request.
//!
//! A group of the directory whose members include a local name is served without it: a copy of the whole group. The copy is kept for as long as
//! the group in the cache and the local accounts are the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::cache::GroupAnswer;
use crate::local::Local;

/// Groups that have a local name among their members are few.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Trimmed {
    kept: Mutex<HashMap<u32, Kept>>,
}

/// Weak: what the cache drops is not held here, and its address is not used again meanwhile.
#[derive(Debug)]
struct Kept {
    group: Weak<GroupAnswer>,
    local: Weak<Local>,
    packed: Arc<[u8]>,
}

impl Trimmed {
    pub(super) fn find(&self, group: &Arc<GroupAnswer>, local: &Arc<Local>) -> Option<Arc<[u8]>> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let gid = group.group.gid.raw();
        let kept = all.get(&gid)?;
        if std::ptr::eq(kept.group.as_ptr(), Arc::as_ptr(group))
            && std::ptr::eq(kept.local.as_ptr(), Arc::as_ptr(local))
        {
            return Some(Arc::clone(&kept.packed));
        }
        all.remove(&gid);
        None
    }

    pub(super) fn keep(&self, group: &Arc<GroupAnswer>, local: &Arc<Local>, packed: Arc<[u8]>) -> Arc<[u8]> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        let kept = Kept { group: Arc::downgrade(group), local: Arc::downgrade(local), packed: Arc::clone(&packed) };
        all.insert(group.group.gid.raw(), kept);
        packed
    }
}
