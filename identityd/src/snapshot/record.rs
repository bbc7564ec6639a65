//! A record of what is published, where it lies.

use std::ops::Range;
use std::sync::Arc;

use super::Published;

/// A record in the mapping, which stays as long as this lives: a large group is not copied for each of those who ask for it.
#[derive(Debug, Clone)]
pub struct Record {
    published: Arc<Published>,
    in_delta: bool,
    range: Range<usize>,
}

impl Record {
    /// Of bytes that a look-up in `published` has given. `None`: they are from somewhere else.
    #[must_use]
    pub fn of(published: &Arc<Published>, record: &[u8]) -> Option<Self> {
        [false, true].into_iter().find_map(|in_delta| {
            let start = record.as_ptr().addr().checked_sub(published.file(in_delta)?.as_ptr().addr())?;
            let found =
                Self { published: Arc::clone(published), in_delta, range: start..start.checked_add(record.len())? };
            std::ptr::eq(found.bytes(), record).then_some(found)
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.published.file(self.in_delta).and_then(|file| file.get(self.range.clone())).unwrap_or_default()
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Record {}
