//! What there is to tell of the replica: for status, metrics and warnings.

use std::time::SystemTime;

use schema::snapshot::layout::Pair;
use schema::snapshot::write::Notes;

use super::compare::Removed;
use super::window::{Count, Window};
use crate::snapshot;

/// What is known beside the files.
#[derive(Debug, Default)]
pub(super) struct State {
    published_at: Option<SystemTime>,
    failure: Option<(String, SystemTime)>,
    kept: Option<(SystemTime, u64)>,
    not_kept: Option<String>,
    pub(super) loading: Option<Progress>,
    load_failure: Option<String>,
    /// Of the last load that was begun: one that was given up may end later than the next begins.
    load: u64,
    held: Option<Waiting>,
    /// What an administrator has let go.
    accepted: Removed,
    pub(super) accepted_now: bool,
    pub(super) notes: Option<Notes>,
    /// Everything has been gone through in this life.
    pub(super) knows_quarantined: bool,
}

#[derive(Debug)]
struct Waiting {
    removed: Removed,
    gone: Count,
    of: Count,
    since: SystemTime,
}

/// A removal that waits for an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Logins that would vanish.
    pub logins: u64,
    /// Logins that have vanished of late (`[snapshot] removed_within`), beside them.
    pub gone: u64,
    /// Logins that are published, with those.
    pub of: u64,
    /// Groups that would vanish.
    pub groups: u64,
    /// Groups that have vanished of late.
    pub groups_gone: u64,
    /// Groups that are published, with those.
    pub of_groups: u64,
    /// Since when nothing is published for it.
    pub since: SystemTime,
}

impl Waiting {
    fn held(&self) -> Held {
        let Count { logins, groups } = self.removed.count();
        Held {
            logins: logins as u64,
            gone: self.gone.logins as u64,
            of: self.of.logins as u64,
            groups: groups as u64,
            groups_gone: self.gone.groups as u64,
            of_groups: self.of.groups as u64,
            since: self.since,
        }
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
    /// This reading has to wait for an administrator.
    pub(super) fn hold(&mut self, removed: &Removed, window: &Window, published: &snapshot::Published) {
        let (logins, groups) = published.counts();
        let of = window.gone() + Count { logins: logins as usize, groups: groups as usize };
        let since = self.held.as_ref().map_or_else(SystemTime::now, |held| held.since);
        let waiting = Waiting { removed: removed.clone(), gone: window.gone(), of, since };
        if self.held.as_ref().is_none_or(|held| held.removed != waiting.removed) {
            let Held { logins, gone, of, groups, groups_gone, of_groups, .. } = waiting.held();
            tracing::error!(
                logins,
                gone,
                of,
                groups,
                groups_gone,
                of_groups,
                "held back: so many published logins or groups would vanish, beside those gone of late. No removal is published until that is mended in \
                 the directory, or let through with: identityctl snapshot accept"
            );
        }
        self.held = Some(waiting);
    }

    /// What would vanish that no administrator has let go.
    pub(super) fn not_accepted(&self, removed: &Removed) -> Removed {
        removed.without(&self.accepted)
    }

    /// What was held back is published, or is no longer so.
    pub(super) fn let_through(&mut self) {
        self.accepted = Removed::default();
        if self.held.take().is_some() {
            tracing::info!("nothing is held back any more");
        }
    }

    pub(super) fn accept(&mut self) -> Option<Held> {
        let waiting = self.held.as_ref()?;
        let held = waiting.held();
        let Held { logins, of, groups, of_groups, .. } = held;
        tracing::warn!(
            logins,
            of,
            groups,
            of_groups,
            "an administrator has accepted that these logins and groups vanish"
        );
        self.accepted = waiting.removed.clone();
        self.accepted_now = true;
        Some(held)
    }

    /// A load begins, under this number.
    pub(super) fn begin_load(&mut self, reason: &str) -> u64 {
        self.load += 1;
        self.loading =
            Some(Progress { reason: reason.into(), since: SystemTime::now(), read: (0, 0), expected: (0, 0) });
        self.load
    }

    pub(super) fn progress(&mut self, number: u64, read: (u64, u64), expected: (u64, u64)) {
        if let Some(loading) = self.loading.as_mut().filter(|_| number == self.load) {
            (loading.read, loading.expected) = (read, expected);
        }
    }

    pub(super) fn end_load(&mut self, number: u64, failure: Option<String>) {
        if number == self.load {
            self.loading = None;
            self.load_failure = failure;
        }
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
