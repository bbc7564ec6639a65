//! Publishes the directory as files that every process maps: `docs/snapshot.md`.
//!
//! Files are written under a temporary name, brought to the disk, renamed; then one word of the control page names the new pair. A
//! publisher that dies anywhere in between leaves the pair that was current. One thread owns the [`Publisher`]; only
//! [`Fold::run`] may run elsewhere.
//!
//! The published files lie in memory (`/run`); [`Publisher::keep`] copies them to the disk, now and then, and a publisher that finds
//! no usable files in memory starts with the copy.

mod base;
mod files;
mod fold;
mod keep;
mod load;
pub mod open;
mod published;
mod publisher;
mod record;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use schema::snapshot::control::Visibility;
use schema::snapshot::layout::Defect;
use schema::snapshot::write::WriteError;

pub use self::files::Output as SnapshotFile;
pub use self::fold::{Fold, Folded};
pub use self::keep::Keep;
pub use self::load::{Load, Loaded};
pub use self::published::Published;
pub use self::publisher::Publisher;
pub use self::record::Record;

/// Where the files are and who may read them.
#[derive(Debug, Clone)]
pub struct Places {
    /// What readers map: a directory on a file system in memory.
    pub live: PathBuf,
    /// The copy that survives a reboot.
    pub kept: PathBuf,
    /// Who may read the live files.
    pub visibility: Visibility,
}

impl Places {
    /// Of the directory that readers map.
    const fn mode(&self) -> u32 {
        match self.visibility {
            Visibility::Open => 0o755,
            Visibility::Members => 0o700,
        }
    }
}

/// Why a snapshot could not be published. What was published before still is.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file operation failed.
    #[error(
        "publishing the snapshot in {directory}: {source}; look-ups go on with the snapshot before. Is there room, and does it belong to identityd?"
    )]
    Files {
        /// Which directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A published file is not what was written.
    #[error("the published snapshot is damaged ({0}); publish everything anew")]
    Damaged(#[from] Defect),
    /// There is no base that changes could be added to.
    #[error("nothing is published yet; publish everything first")]
    NoBase,
}
