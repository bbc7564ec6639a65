//! Everything is written anew, beside what is being published.

use std::sync::Arc;

use schema::snapshot::layout::Defect;
use schema::snapshot::pair::Snapshot;
use schema::snapshot::write::{Meta, Tombstones, WriteError, Writer};

use super::base::{Base, map_file, random_key, seconds_now};
use super::files::{Room, name_of};
use super::{PublishError, SnapshotFile};

/// A new base about to be written, in whatever thread.
pub struct Load {
    pub(super) live: Room,
    pub(super) meta: Meta,
}

/// A new base, complete and not yet published. Dropped, it is removed.
pub struct Loaded {
    pub(super) file: SnapshotFile,
    pub(super) base: Arc<Base>,
}

impl Load {
    /// Writes the base: `fill` writes all logins in order of uid, then all groups in order of gid, as they are at `generation`.
    ///
    /// # Errors
    /// [`PublishError`]. It may be written again.
    pub fn write(
        &self,
        generation: u64,
        fill: impl FnOnce(&mut Writer<SnapshotFile>) -> Result<(), WriteError>,
    ) -> Result<Loaded, PublishError> {
        let failed = |source| PublishError::Files { directory: self.live.path(""), source };
        let name = name_of(self.meta.pair);
        let temporary = self.live.path(&format!("new.{name}"));
        let created = seconds_now();
        let meta = Meta { generation, created, identity: rand::random(), ..self.meta };
        let mut writer = Writer::new(self.live.create(&name).map_err(failed)?, meta)?;
        fill(&mut writer)?;
        let (file, _) = writer.finish(&Tombstones::default(), random_key)?;
        let base = map_file(&temporary, self.meta.pair).map_err(|error| match error {
            PublishError::Files { source, .. } => failed(source),
            other => other,
        })?;
        Ok(Loaded { file, base: Arc::new(base) })
    }
}

impl Loaded {
    /// What is in it.
    ///
    /// # Errors
    /// [`Defect`]: it is not what was written.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, Defect> {
        Ok(Snapshot::checked_before(self.base.view()?, None))
    }
}
