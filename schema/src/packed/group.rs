//! A packed group record.

use core::ffi::c_char;
use core::mem::MaybeUninit;

use super::{MAX_MEMBERS, PASSWORD_ELSEWHERE, PackedError, check_field, check_name, check_names, put, words_of};
use crate::id::is_usable;

/// The head of a group record. The strings follow: name, `x`, then every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHead {
    /// gr_gid
    pub gid: u32,
    /// How many members.
    pub members: u32,
    /// Bytes of all member names with their NULs.
    pub members_len: u32,
    /// Length of gr_name without its NUL.
    pub name_len: u16,
}

impl GroupHead {
    /// Bytes of the head (two are reserved and zero).
    pub const SIZE: usize = 16;

    /// Reads a head; checks the gid and that the counts are possible.
    ///
    /// # Errors
    /// [`PackedError::Length`], [`PackedError::Id`].
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<Self, PackedError> {
        let words = words_of(bytes.first_chunk::<{ Self::SIZE }>().ok_or(PackedError::Length)?);
        let [gid, members, members_len, name_len] = words;
        let head = Self { gid, members, members_len, name_len: name_len as u16 };
        if !is_usable(head.gid) {
            return Err(PackedError::Id);
        }
        // A member is one byte and its NUL at least.
        let least = (head.members as usize).saturating_mul(2);
        let most = (head.members as usize).saturating_mul(crate::name::MAX_LEN + 1);
        let len = head.members_len as usize;
        if head.members as usize > MAX_MEMBERS || len < least || len > most {
            return Err(PackedError::Length);
        }
        Ok(head)
    }

    /// The head as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        put(&mut out, 0, &self.gid.to_le_bytes());
        put(&mut out, 4, &self.members.to_le_bytes());
        put(&mut out, 8, &self.members_len.to_le_bytes());
        put(&mut out, 12, &self.name_len.to_le_bytes());
        out
    }

    /// Bytes of the strings with their NULs.
    #[must_use]
    #[inline(always)]
    pub fn strings_len(&self) -> usize {
        (self.members_len as usize)
            .saturating_add(usize::from(self.name_len))
            .saturating_add(PASSWORD_ELSEWHERE.len() + 2)
    }

    /// Where name and password start. Checks every string; calls `member` with the start of each member in turn.
    ///
    /// # Errors
    /// [`PackedError`] when `strings` is not exactly what this head describes.
    #[inline]
    pub fn check_strings(&self, strings: &[u8], mut member: impl FnMut(usize)) -> Result<[usize; 2], PackedError> {
        if strings.len() != self.strings_len() {
            return Err(PackedError::Length);
        }
        let password = check_name(strings, 0, usize::from(self.name_len))?;
        let at = check_field(strings, password, PASSWORD_ELSEWHERE.len())?;
        let count = check_names(strings.get(at..).unwrap_or_default(), |start| member(at.wrapping_add(start)))?;
        if count == self.members as usize { Ok([0, password]) } else { Err(PackedError::Length) }
    }

    /// The same, and writes what libc wants: a pointer to each member and a null behind the last, given where the strings are or will be.
    ///
    /// # Errors
    /// As [`Self::check_strings`]; `pointers` may then hold anything.
    pub fn point_at_members(
        &self,
        strings: &[u8],
        base: *mut c_char,
        pointers: &mut [MaybeUninit<*mut c_char>],
    ) -> Result<[usize; 2], PackedError> {
        let mut slots = pointers.iter_mut();
        let starts = self.check_strings(strings, |at| {
            if let Some(slot) = slots.next() {
                slot.write(base.wrapping_add(at));
            }
        })?;
        for slot in slots {
            slot.write(core::ptr::null_mut());
        }
        Ok(starts)
    }
}
