//! Packed records: one passwd, group, shadow or initgroups answer as bytes.
//!
//! A fixed head of little-endian integers, then the strings, each ended by one NUL, in the order in which libc's
//! struct wants them. So an answer is one copy of the strings into the caller's buffer and a few pointers. The page is
//! `docs/records.md`.
//!
//! Parsing borrows, allocates nothing and does not panic. It checks everything that a reader relies on: ids inside the
//! directory's range, exact lengths, valid names, absolute paths, a NUL where a string ends and nowhere else, no colon and no control
//! character (a caller may print the field into a file of that syntax, or to a terminal).

mod gids;
mod group;
mod passwd;
mod shadow;
#[cfg(all(test, feature = "std"))]
mod tests;
#[cfg(feature = "std")]
pub mod write;

pub use gids::Gids;
pub use group::GroupHead;
pub use passwd::PasswdHead;
pub use shadow::ShadowHead;

use crate::bytes::Names;

/// Longest gecos, home and shell in bytes, without the NUL.
pub const MAX_FIELD: usize = 255;
const _: () = assert!((MAX_FIELD + 1).is_power_of_two());
/// Longest password hash in bytes (libxcrypt: `CRYPT_OUTPUT_SIZE` is 384).
pub const MAX_HASH: usize = 384;
/// Most members of a group: a record stays below 16 MiB whatever the names.
pub const MAX_MEMBERS: usize = 400_000;
/// Most groups of a login: Linux' `NGROUPS_MAX`.
pub const MAX_GROUPS: usize = 65_536;

/// What passwd and group show where a password once was (passwd(5)): it is elsewhere.
pub const PASSWORD_ELSEWHERE: &[u8] = b"x";

/// A record that cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedError {
    /// Shorter or longer than its own head says.
    Length,
    /// A uid or gid outside the directory's range.
    Id,
    /// A string with a colon or control character inside, or without its NUL; a name that breaks [`crate::name`]'s rule; a
    /// path that is not absolute.
    Field,
}

impl core::fmt::Display for PackedError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Length => "packed record has the wrong length",
            Self::Id => "packed record has an id outside the directory's range",
            Self::Field => "packed record has a string that libc must not see",
        })
    }
}

impl core::error::Error for PackedError {}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> Result<u32, PackedError> {
    let end = at.checked_add(4).ok_or(PackedError::Length)?;
    let part = bytes.get(at..end).and_then(|part| <[u8; 4]>::try_from(part).ok());
    part.map(u32::from_le_bytes).ok_or(PackedError::Length)
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> Result<u16, PackedError> {
    let end = at.checked_add(2).ok_or(PackedError::Length)?;
    let part = bytes.get(at..end).and_then(|part| <[u8; 2]>::try_from(part).ok());
    part.map(u16::from_le_bytes).ok_or(PackedError::Length)
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    for (slot, byte) in out.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

/// Checks that a string of `len` bytes and its NUL stand at `at`; returns where the next starts.
fn check_field(strings: &[u8], at: usize, len: usize) -> Result<usize, PackedError> {
    let end = at.checked_add(len).ok_or(PackedError::Length)?;
    let field = strings.get(at..end).ok_or(PackedError::Length)?;
    if field.iter().any(|byte| matches!(byte, 0..=0x1f | 0x7f | b':')) || strings.get(end) != Some(&0) {
        return Err(PackedError::Field);
    }
    end.checked_add(1).ok_or(PackedError::Length)
}

/// Checks that a valid name of `len` bytes and its NUL stand at `at`; returns where the next string starts.
fn check_name(strings: &[u8], at: usize, len: usize) -> Result<usize, PackedError> {
    let end = at.checked_add(len).ok_or(PackedError::Length)?;
    if strings.get(end) != Some(&0) {
        return Err(PackedError::Field);
    }
    let name = strings.get(at..).and_then(|rest| rest.get(..len)).ok_or(PackedError::Length)?;
    crate::name::check(name).map_err(|_| PackedError::Field)?;
    end.checked_add(1).ok_or(PackedError::Length)
}

/// Checks that a list is nothing but valid names, each ended by its NUL, and returns how many. Calls `name` with the start of each in turn.
///
/// 64 bytes at a time: a group of 5,000 members is fifty thousand bytes.
#[inline(always)]
fn check_names(list: &[u8], mut name: impl FnMut(usize)) -> Result<usize, PackedError> {
    let (mut count, mut start) = (0_usize, 0_usize);
    // What the piece before ended with: the end of a name (as does nothing), and a byte that no name ends with.
    let (mut after_end, mut after_not_last) = (1, 0);
    let (pieces, tail) = list.as_chunks::<{ Names::PIECE }>();
    let mut rest = [0; Names::PIECE];
    for (slot, byte) in rest.iter_mut().zip(tail) {
        *slot = *byte;
    }
    // NULs fill up the last piece, and each would be an end.
    let of_tail = 1_u64.wrapping_shl(tail.len() as u32).wrapping_sub(1);
    let pieces = pieces.iter().map(|piece| (piece, u64::MAX)).chain([(&rest, of_tail)]);
    let mut at = 0_usize;
    for (piece, of_list) in pieces {
        let names = Names::of(piece);
        let ends = names.ends & of_list;
        let starts = (ends << 1 | after_end) & of_list;
        let bad = names.foreign | starts & (names.not_first | ends) | (names.not_last << 1 | after_not_last) & ends;
        let mut left = starts;
        while left != 0 {
            let next = at.wrapping_add(left.trailing_zeros() as usize);
            left &= left.wrapping_sub(1);
            // With its NUL.
            if next.wrapping_sub(start) > crate::name::MAX_LEN + 1 {
                return Err(PackedError::Field);
            }
            start = next;
            name(start);
            count = count.wrapping_add(1);
        }
        if bad != 0 {
            return Err(PackedError::Field);
        }
        at = at.wrapping_add(Names::PIECE);
        if of_list == u64::MAX {
            (after_end, after_not_last) = (ends >> 63, names.not_last >> 63);
        }
    }
    let last = list.len().wrapping_sub(start);
    if list.last().is_none_or(|byte| *byte == 0) && last <= crate::name::MAX_LEN + 1 {
        Ok(count)
    } else {
        Err(PackedError::Field)
    }
}

/// The words of a head.
#[inline(always)]
fn words_of(head: &[u8; 16]) -> [u32; 4] {
    let all = u128::from_le_bytes(*head);
    [all as u32, (all >> 32) as u32, (all >> 64) as u32, (all >> 96) as u32]
}
