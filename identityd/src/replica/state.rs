//! What there is to tell of the replica: for status, metrics and warnings.

use std::time::SystemTime;

use schema::snapshot::layout::Pair;
use schema::snapshot::write::Notes;

use super::compare::{Difference, is_too_much};
use crate::snapshot;

/// What is known beside the files.
#[derive(Debug, Default)]
pub(super) struct State {
    published_at: Option<SystemTime>,
    failure: Option<(String, SystemTime)>,
    kept: Option<(SystemTime, u64)>,
    not_kept: Option<String>,
    pub(super) loading: Option<Progress>,
    pub(super) load_failure: Option<String>,
    held: Option<Waiting>,
    /// uids that an administrator has let go, ascending.
    accepted: Vec<u32>,
    pub(super) accepted_now: bool,
    pub(super) notes: Option<Notes>,
    /// Everything has been gone through in this life.
    pub(super) knows_quarantined: bool,
}

#[derive(Debug)]
struct Waiting {
    uids: Vec<u32>,
    of: u64,
    since: SystemTime,
}

/// A removal that waits for an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Logins that would vanish.
    pub logins: u64,
    /// Logins that are published.
    pub of: u64,
    /// Since when nothing is published for it.
    pub since: SystemTime,
}

impl Waiting {
    fn held(&self) -> Held {
        Held { logins: self.uids.len() as u64, of: self.of, since: self.since }
    }
}

/// How far a load is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Why everything is read.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
    /// Logins and groups read.
    pub read: (u64, u64),
    /// About how many there will be.
    pub expected: (u64, u64),
}

/// For status and metrics.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `None`: nothing is published.
    pub published: Option<Published>,
    /// The last publication that failed since the last that succeeded.
    pub failure: Option<(String, SystemTime)>,
    /// When the copy on the disk was written, and up to which generation it goes.
    pub kept: Option<(SystemTime, u64)>,
    /// Why the copy on the disk is old.
    pub not_kept: Option<String>,
    /// A load under way.
    pub loading: Option<Progress>,
    /// Why the last load failed.
    pub load_failure: Option<String>,
    /// Nothing is published until an administrator has had a look at this.
    pub held: Option<Held>,
}

/// What is published.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// Numbers of base and delta.
    pub pair: Pair,
    /// All changes up to this are in it.
    pub generation: u64,
    /// Bytes of the base.
    pub base_bytes: u64,
    /// Bytes of the delta.
    pub delta_bytes: u64,
    /// How many logins.
    pub logins: u64,
    /// How many groups.
    pub groups: u64,
    /// When this life published last; `None`: it was taken over.
    pub at: Option<SystemTime>,
}

impl State {
    /// Whether this reading has to wait for an administrator; if so it is noted.
    pub(super) fn is_held(&mut self, difference: &Difference, max_percent: u32) -> bool {
        if !is_too_much(self.not_accepted(difference), difference.of, max_percent) {
            return false;
        }
        let (logins, of) = (difference.removed.len(), difference.of);
        if self.held.as_ref().is_none_or(|held| held.uids != difference.removed) {
            tracing::error!(
                logins,
                of,
                "held back: so many published logins would vanish at once. Nothing is published until that is mended in the directory, or let \
                 through with: identityctl snapshot accept"
            );
        }
        let since = self.held.as_ref().map_or_else(SystemTime::now, |held| held.since);
        self.held = Some(Waiting { uids: difference.removed.clone(), of, since });
        true
    }

    /// How many logins would vanish that no administrator has let go.
    pub(super) fn not_accepted(&self, difference: &Difference) -> usize {
        difference.removed.iter().filter(|uid| self.accepted.binary_search(uid).is_err()).count()
    }

    /// What was held back is published, or is no longer so.
    pub(super) fn let_through(&mut self) {
        self.accepted = Vec::new();
        if self.held.take().is_some() {
            tracing::info!("nothing is held back any more");
        }
    }

    pub(super) fn accept(&mut self) -> Option<Held> {
        let waiting = self.held.as_ref()?;
        let held = waiting.held();
        tracing::warn!(logins = held.logins, of = held.of, "an administrator has accepted that these logins vanish");
        self.accepted = waiting.uids.clone();
        self.accepted_now = true;
        Some(held)
    }

    pub(super) fn published_at(&mut self, at: SystemTime) {
        self.published_at = Some(at);
        self.failure = None;
    }

    pub(super) fn failed(&mut self, why: String) {
        self.failure = Some((why, SystemTime::now()));
    }

    pub(super) fn kept(&mut self, at: SystemTime, generation: u64) {
        self.kept = Some((at, generation));
        self.not_kept = None;
    }

    pub(super) fn not_kept(&mut self, why: String) {
        self.not_kept = Some(why);
    }

    pub(super) fn facts(&self, published: Option<&snapshot::Published>) -> Facts {
        Facts {
            published: published.map(|published| {
                let (logins, groups) = published.counts();
                let (base_bytes, delta_bytes) = published.bytes();
                let (pair, generation) = (published.pair, published.generation);
                Published { pair, generation, base_bytes, delta_bytes, logins, groups, at: self.published_at }
            }),
            failure: self.failure.clone(),
            kept: self.kept,
            not_kept: self.not_kept.clone(),
            loading: self.loading.clone(),
            load_failure: self.load_failure.clone(),
            held: self.held.as_ref().map(Waiting::held),
        }
    }
}
