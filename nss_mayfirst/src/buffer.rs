//! The caller's buffer: all strings and pointer arrays of an answer lie in it, and not a byte outside is touched.

use core::ffi::c_char;
use core::mem::{MaybeUninit, align_of, size_of};

use crate::status::Failure;

/// Bytes of the caller, not yet written.
pub(crate) type Space<'a> = &'a mut [MaybeUninit<u8>];

/// Room for pointers to strings, aligned.
pub(crate) type Pointers<'a> = &'a mut [MaybeUninit<*mut c_char>];

/// The buffer that a call got.
pub(crate) struct Buffer<'a>(Space<'a>);

impl<'a> Buffer<'a> {
    /// Takes the buffer as C hands it over; it need not be initialised, nor aligned.
    ///
    /// # Safety
    /// Unless `start` is null or `len` 0, `len` bytes at `start` are the caller's to write for as long as `'a`.
    pub(crate) unsafe fn new(start: *mut c_char, len: usize) -> Self {
        if start.is_null() || len == 0 {
            return Self(&mut []);
        }
        // No object is longer than isize::MAX: a caller who says so means "enough".
        let len = len.min(isize::MAX.cast_unsigned());
        // SAFETY: not null, `len` writable bytes (the caller's promise), and MaybeUninit<u8> needs neither alignment nor a value.
        Self(unsafe { core::slice::from_raw_parts_mut(start.cast(), len) })
    }

    /// The same buffer once more, for the next try.
    pub(crate) fn again(&mut self) -> Buffer<'_> {
        Buffer(self.0)
    }

    /// Exactly `len` bytes for strings.
    pub(crate) fn strings(self, len: usize) -> Result<Space<'a>, Failure> {
        let (strings, _) = self.0.split_at_mut_checked(len).ok_or(Failure::TooSmall)?;
        Ok(strings)
    }

    /// `count` aligned pointers and exactly `len` bytes for strings.
    pub(crate) fn pointers_and_strings(self, count: usize, len: usize) -> Result<(Pointers<'a>, Space<'a>), Failure> {
        let pad = self.0.as_ptr().addr().wrapping_neg() & (align_of::<*mut c_char>().wrapping_sub(1));
        let bytes = count.checked_mul(size_of::<*mut c_char>()).ok_or(Failure::TooSmall)?;
        let (_, aligned) = self.0.split_at_mut_checked(pad).ok_or(Failure::TooSmall)?;
        let (array, rest) = aligned.split_at_mut_checked(bytes).ok_or(Failure::TooSmall)?;
        let (strings, _) = rest.split_at_mut_checked(len).ok_or(Failure::TooSmall)?;
        // SAFETY: every pattern of MaybeUninit<u8>s is a MaybeUninit pointer.
        let (_, pointers, _) = unsafe { array.align_to_mut::<MaybeUninit<*mut c_char>>() };
        if pointers.len() == count { Ok((pointers, strings)) } else { Err(Failure::TooSmall) }
    }
}
