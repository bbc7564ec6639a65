//! What is published is copied to the disk, beside publishing.

use schema::snapshot::layout::Pair;

use super::PublishError;
use super::files::Room;

/// A copy to the disk on its way.
pub struct Keep {
    pub(super) kept: Room,
    pub(super) files: Vec<(Pair, std::fs::File)>,
    pub(super) pair: Pair,
    pub(super) generation: u64,
}

impl Keep {
    /// Writes the copy, and returns up to which generation it goes. A base of a million logins takes as long as the disk needs for 212 MB.
    ///
    /// # Errors
    /// [`PublishError::Files`]; an older copy stays.
    pub fn run(self) -> Result<u64, PublishError> {
        let fails = |source| PublishError::Files { directory: self.kept.path(""), source };
        self.kept.make(0o700).map_err(fails)?;
        let there = self.kept.pairs().map_err(fails)?;
        for (pair, file) in &self.files {
            if !there.contains(pair) {
                self.kept.copy(file, *pair).map_err(fails)?;
            }
        }
        self.kept.sweep(&[self.pair]).map_err(fails)?;
        Ok(self.generation)
    }
}
