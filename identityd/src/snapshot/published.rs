//! What is published, as identityd itself reads it.

use std::sync::Arc;

use schema::snapshot::layout::Pair;
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::{Group, Kind, Login, Lookup, View};

use super::base::Base;

/// The files of one generation, mapped as long as this lives.
pub struct Published {
    pub(super) base: Arc<Base>,
    pub(super) delta: Option<Base>,
    /// Their numbers.
    pub pair: Pair,
    /// All changes up to this are in them.
    pub generation: u64,
}

impl Published {
    /// To look things up in.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot<'_>> {
        let delta = match &self.delta {
            Some(delta) => Some(delta.view().ok()?),
            None => None,
        };
        Some(Snapshot::checked_before(self.base.view().ok()?, delta))
    }

    /// The bytes of one of the two files.
    pub(super) fn file(&self, delta: bool) -> Option<&[u8]> {
        if delta { self.delta.as_ref().map(|delta| delta.file.bytes()) } else { Some(self.base.file.bytes()) }
    }

    /// Bytes of the base and of the delta.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.base.header.len as u64, self.delta.as_ref().map_or(0, |delta| delta.header.len as u64))
    }

    /// All logins in order of uid. `None`: damaged.
    #[must_use]
    pub fn logins(&self) -> Option<impl Iterator<Item = Login<'_>>> {
        self.entries()
    }

    /// All groups in order of gid. `None`: damaged.
    #[must_use]
    pub fn groups(&self) -> Option<impl Iterator<Item = Group<'_>>> {
        self.entries()
    }

    /// From the front to the end of both files: a fraction of what asking for each next entry costs.
    fn entries<'a, K: Kind<'a>>(&'a self) -> Option<impl Iterator<Item = K>> {
        let base = self.base.view().ok()?;
        let delta = match &self.delta {
            Some(delta) => Some(delta.view().ok()?),
            None => None,
        };
        let shadowed = move |entry: &K| {
            let key = |view: &View<'_>| view.header().key.id(entry.id());
            delta.is_some_and(|delta| !matches!(delta.by_id::<K>(entry.id(), key(&delta)), Lookup::Nothing))
        };
        let mut old = base.entries::<K>().filter(move |entry| !shadowed(entry)).peekable();
        let mut new = delta.into_iter().flat_map(|delta| delta.entries::<K>()).peekable();
        Some(std::iter::from_fn(move || match (old.peek(), new.peek()) {
            (Some(one), Some(other)) if one.id() > other.id() => new.next(),
            (Some(_), _) => old.next(),
            (None, _) => new.next(),
        }))
    }

    /// How many logins and groups.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let base = self.base.header.counts;
        let (logins, groups) = (u64::from(base.logins), u64::from(base.groups));
        let (Some(delta), Ok(view)) = (&self.delta, self.base.view()) else { return (logins, groups) };
        let Ok(changes) = delta.view() else { return (logins, groups) };
        // An id of the base that is dead has left it, one that is in both is the same entry, others have come.
        let key = self.base.header.key;
        let is_new = |found: bool| u64::from(!found);
        let in_base = |id| matches!(view.by_id::<Login<'_>>(id, key.id(id)), Lookup::Here(_));
        let new_logins: u64 = changes.entries::<Login<'_>>().map(|login| is_new(in_base(login.id()))).sum();
        let in_base = |id| matches!(view.by_id::<Group<'_>>(id, key.id(id)), Lookup::Here(_));
        let new_groups: u64 = changes.entries::<Group<'_>>().map(|group| is_new(in_base(group.id()))).sum();
        let dead = delta.header.counts;
        let logins = (logins + new_logins).saturating_sub(dead.dead_uids.into());
        let groups = (groups + new_groups).saturating_sub(dead.dead_gids.into());
        (logins, groups)
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published")
            .field("pair", &self.pair)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
