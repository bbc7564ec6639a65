//! A packed answer to initgroups.

use super::{MAX_GROUPS, PackedError, u32_at};
use crate::id::is_usable;

/// The gids of a login, its primary group among them: `u32` count, then as many `u32`.
#[derive(Debug, Clone, Copy)]
pub struct Gids<'a>(&'a [u8]);

impl<'a> Gids<'a> {
    /// Bytes before the first gid.
    pub const HEAD: usize = 4;

    /// Checks the length; the ids are checked one by one by [`Self::iter`].
    ///
    /// # Errors
    /// [`PackedError::Length`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PackedError> {
        let count = u32_at(bytes, 0)? as usize;
        let gids = bytes.get(Self::HEAD..).ok_or(PackedError::Length)?;
        if count > MAX_GROUPS || gids.len() != count.saturating_mul(4) {
            return Err(PackedError::Length);
        }
        Ok(Self(gids))
    }

    /// Whether it is what a reader takes: each in the directory's range, the primary group first, the others strictly ascending. An empty list is none.
    #[must_use]
    pub fn keeps_rules(self) -> bool {
        let mut others = self.iter().skip(1);
        let mut last = others.next();
        let ascending = others.all(|gid| last.replace(gid).is_none_or(|last| last < gid));
        ascending && !self.0.is_empty() && self.iter().count() == self.0.len() / 4
    }

    /// The gids that may be served; one outside the directory's range is left out.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0
            .chunks_exact(4)
            .filter_map(|chunk| <[u8; 4]>::try_from(chunk).ok())
            .map(u32::from_le_bytes)
            .filter(|gid| is_usable(*gid))
    }
}
