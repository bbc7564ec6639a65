//! A base and its delta become a new base, beside what is being published.

use std::sync::Arc;

use schema::snapshot::changes;
use schema::snapshot::pair::Snapshot;
use schema::snapshot::write::Meta;

use super::PublishError;
use super::base::{Base, map, random_key};
use super::files::{Room, name_of};

/// A fold on its way: everything that it needs, so that it can run in another thread.
pub struct Fold {
    pub(super) live: Room,
    pub(super) base: Arc<Base>,
    pub(super) delta: Option<Base>,
    pub(super) meta: Meta,
}

/// A folded base, not yet current.
pub struct Folded {
    pub(super) base: Base,
}

impl Fold {
    /// Writes the new base. Takes seconds for a million logins; may run in any thread.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn run(self) -> Result<Folded, PublishError> {
        let failed = |source| PublishError::Files { directory: self.live.path(""), source };
        let delta = match &self.delta {
            Some(delta) => Some(delta.view()?),
            None => None,
        };
        let old = Snapshot::new(self.base.view()?, delta)?;
        let name = name_of(self.meta.pair);
        let file = self.live.create(&name).map_err(failed)?;
        let (mut file, _) = changes::fold(&old, file, self.meta, random_key)?;
        self.live.publish(&mut file, &name).map_err(failed)?;
        Ok(Folded { base: map(&self.live, self.meta.pair)? })
    }
}
