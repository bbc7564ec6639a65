//! The array that `initgroups_dyn` fills: glibc's, from malloc, grown with realloc.

use core::ffi::c_long;

use super::{Errno, count};

/// Smallest size to grow to.
const LEAST: usize = 16;

/// glibc's array of gids, its fill and its size.
pub(crate) struct GidArray<'a> {
    start: &'a mut c_long,
    size: &'a mut c_long,
    array: &'a mut *mut libc::gid_t,
    limit: Option<usize>,
}

impl<'a> GidArray<'a> {
    /// Takes the arguments of `initgroups_dyn`; a `limit` below 1 is none. `None`: arguments that cannot be.
    ///
    /// # Safety
    /// The pointers are null or valid for `'a`, and `*array` is null or from malloc with room for `*size` gids, of which `*start` have a
    /// value.
    pub(crate) unsafe fn from_c(
        start: *mut c_long,
        size: *mut c_long,
        array: *mut *mut libc::gid_t,
        limit: c_long,
    ) -> Option<Self> {
        // SAFETY: null or valid, and three different things.
        let start = unsafe { start.as_mut() }?;
        // SAFETY: as above.
        let size = unsafe { size.as_mut() }?;
        // SAFETY: as above.
        let array = unsafe { array.as_mut() }?;
        if *start < 0 || *size < *start || (array.is_null() && *size != 0) {
            return None;
        }
        let limit = (limit > 0).then_some(count(limit));
        Some(Self { start, size, array, limit })
    }

    /// How many gids there are.
    pub(crate) fn len(&self) -> usize {
        count(*self.start)
    }

    /// Whether `gid` is among the first `len`.
    pub(crate) fn contains(&self, len: usize, gid: u32) -> bool {
        let len = len.min(self.len());
        if len == 0 {
            return false;
        }
        // SAFETY: not null when its length is not 0, and `start` gids have a value (promise of `from_c`, kept by `push`).
        unsafe { core::slice::from_raw_parts(*self.array, len) }.contains(&gid)
    }

    /// Appends; `false` when the limit is reached.
    ///
    /// # Errors
    /// ENOMEM; the array is then as it was.
    pub(crate) fn push(&mut self, gid: u32) -> Result<bool, Errno> {
        let len = self.len();
        if self.limit.is_some_and(|limit| len >= limit) {
            return Ok(false);
        }
        if len >= count(*self.size) {
            self.grow()?;
        }
        // SAFETY: `len` is below the size, for which there is room.
        unsafe { self.array.wrapping_add(len).write(gid) };
        *self.start = self.start.saturating_add(1);
        Ok(true)
    }

    /// Takes back what was appended after the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        *self.start = (*self.start).min(c_long::try_from(len).unwrap_or(c_long::MAX));
    }

    /// Doubles, as glibc's own modules do, up to the limit (nss/nss_files/files-initgroups.c).
    fn grow(&mut self) -> Result<(), Errno> {
        let doubled = count(*self.size).saturating_mul(2).max(LEAST);
        let wanted = self.limit.map_or(doubled, |limit| doubled.min(limit));
        let bytes = wanted.checked_mul(size_of::<libc::gid_t>()).ok_or(Errno::ENOMEM)?;
        let size = c_long::try_from(wanted).map_err(|_| Errno::ENOMEM)?;
        let errno = Errno::last();
        // SAFETY: null or from malloc (promise of `from_c`); `bytes` is not 0, since the limit is above the fill.
        let grown = unsafe { libc::realloc((*self.array).cast(), bytes) };
        errno.set();
        if grown.is_null() {
            return Err(Errno::ENOMEM);
        }
        *self.array = grown.cast();
        *self.size = size;
        Ok(())
    }
}
