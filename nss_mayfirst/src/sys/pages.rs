//! Memory for a page of a list, straight from the kernel: the program's malloc may be failing, or held by the thread that forked.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::{Errno, call};
use crate::buffer::Space;

/// Anonymous memory, given back when it goes. A child after a fork has its own copy.
pub(crate) struct Pages {
    start: NonNull<MaybeUninit<u8>>,
    len: usize,
}

impl Pages {
    /// `len` bytes, at least 1.
    pub(crate) fn new(len: usize) -> Result<Self, Errno> {
        NonNull::new(call::map(len, None)?.cast()).map(|start| Self { start, len }).ok_or(Errno::ENOMEM)
    }

    /// All of it, to be written.
    pub(crate) fn space(&mut self) -> Space<'_> {
        // SAFETY: `len` bytes of ours, exclusively borrowed.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// All of it. What was not written is 0.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes of ours; the kernel gives them as zeros.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody afterwards.
        unsafe { call::unmap(self.start.as_ptr().cast(), self.len) };
    }
}
