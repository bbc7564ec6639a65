//! Files mapped for reading, shared with every other process, and the page that a fork wipes.

use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use super::call::{self, call};
use super::{Errno, Link, open_to_read};

/// A whole file, mapped read-only. The descriptor is closed at once.
///
/// Nothing is unmapped when it goes: who shares it decides that, with [`Mapping::unmap`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// Which file: device and inode.
    file: (u64, u64),
}

// SAFETY: an address and numbers; the memory behind is only read.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a regular file that is not empty; a link to one is none.
    pub(crate) fn open(path: &CStr) -> Result<Self, Errno> {
        let fd = open_to_read(path, Link::Refused)?;
        let stat = call::stat_of(&fd)?;
        let len = usize::try_from(stat.st_size).unwrap_or(0);
        if len == 0 || stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(Errno::EINVAL);
        }
        let start = NonNull::new(call::map(len, Some(&fd))?).ok_or(Errno::ENOMEM)?;
        Ok(Self { start, len, file: (stat.st_dev, stat.st_ino) })
    }

    /// Its bytes.
    ///
    /// # Safety
    /// It stays mapped for `'a`, and nobody changes these bytes: a published base or delta.
    #[inline]
    pub(crate) unsafe fn bytes<'a>(&self) -> &'a [u8] {
        // SAFETY: mapped, `len` bytes (the caller's promise for how long).
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Its first bytes.
    ///
    /// # Safety
    /// It stays mapped for `'a`, and nobody changes these bytes: the fixed part of a control page.
    pub(crate) unsafe fn front<'a, const N: usize>(&self) -> Option<&'a [u8; N]> {
        // SAFETY: mapped, at least `N` bytes (the caller's promise for how long); bytes need no alignment.
        (self.len >= N).then(|| unsafe { self.start.cast::<[u8; N]>().as_ref() })
    }

    /// The word at a multiple of eight inside the first page of a file of a page or more. Others may store it at any time.
    ///
    /// # Safety
    /// It stays mapped for `'a`.
    #[inline]
    pub(crate) unsafe fn word<'a>(&self, at: usize) -> Option<&'a AtomicU64> {
        if at.checked_add(8)? > self.len || !at.is_multiple_of(8) {
            return None;
        }
        let word = self.start.as_ptr().wrapping_add(at).cast::<AtomicU64>();
        // SAFETY: inside the mapping, aligned; only ever accessed as an atomic. A load of a read-only page is allowed for this width.
        Some(unsafe { &*word })
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether this very file, not a link to it, is at a path. `None`: it cannot be seen.
    pub(crate) fn is_at(&self, path: &CStr) -> Option<bool> {
        call::stat_at(path, Link::Refused).ok().map(|stat| (stat.st_dev, stat.st_ino) == self.file)
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// Nobody uses it any more, through any copy.
    pub(crate) unsafe fn unmap(self) {
        // SAFETY: mapped by `open`, and used by nobody (the caller's promise).
        unsafe { call::unmap(self.start.as_ptr(), self.len) };
    }
}

/// A page of zeros that is zeros again in the child of a fork (MADV_WIPEONFORK, Linux 4.14). Stays for ever.
pub(crate) fn page_wiped_by_fork(len: usize) -> Option<NonNull<u8>> {
    let at = call::map(len, None).ok()?;
    let advice = libc::MADV_WIPEONFORK as usize;
    // SAFETY: our own new mapping.
    if unsafe { call(libc::SYS_madvise, [at.expose_provenance(), len, advice]) }.is_err() {
        // SAFETY: ours, and used by nobody.
        unsafe { call::unmap(at, len) };
        return None;
    }
    NonNull::new(at)
}

/// Gives back a page that lost the race to be the first.
///
/// # Safety
/// From [`page_wiped_by_fork`] with the same length, and used by nobody.
pub(crate) unsafe fn give_back(page: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { call::unmap(page.as_ptr(), len) };
}

/// A number that differs between most threads that run at the same time: from the address of the thread's control block.
#[inline]
pub(crate) fn thread_number() -> usize {
    // SAFETY: has no conditions.
    let thread = unsafe { libc::pthread_self() } as usize;
    // Control blocks lie at the end of stacks, megabytes apart: mix the upper bits down.
    thread.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> (usize::BITS - 8)
}
