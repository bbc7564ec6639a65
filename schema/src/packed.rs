//! Packed records: one passwd, group, shadow or initgroups answer as bytes.
//!
//! A fixed head of little-endian integers, then the strings, each ended by one NUL, in the order in which libc's
//! struct wants them. So an answer is one copy of the strings into the caller's buffer and a few pointers. The page is
//! `docs/records.md`.
//!
//! Parsing borrows, allocates nothing and does not panic. It checks everything that a reader relies on: ids inside the
//! directory's range, exact lengths, valid names, absolute paths, a NUL where a string ends and nowhere else, no colon and no control
//! character (a caller may print the field into a file of that syntax, or to a terminal).

use core::ffi::c_char;
use core::mem::MaybeUninit;

use crate::bytes::Names;
use crate::id::is_usable;

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

/// The head of a passwd record. The strings follow: name, `x`, gecos, home, shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswdHead {
    /// pw_uid
    pub uid: u32,
    /// pw_gid
    pub gid: u32,
    /// Length of pw_name without its NUL, as all that follow.
    pub name_len: u16,
    /// Length of pw_gecos.
    pub gecos_len: u16,
    /// Length of pw_dir.
    pub dir_len: u16,
    /// Length of pw_shell.
    pub shell_len: u16,
}

impl PasswdHead {
    /// Bytes of the head.
    pub const SIZE: usize = 16;

    /// Reads a head; checks the ids and that the lengths are possible.
    ///
    /// # Errors
    /// [`PackedError::Length`] when `bytes` is shorter than [`Self::SIZE`] or a string is longer than [`MAX_FIELD`], [`PackedError::Id`].
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<Self, PackedError> {
        let words = words_of(bytes.first_chunk::<{ Self::SIZE }>().ok_or(PackedError::Length)?);
        let [uid, gid, name_and_gecos, dir_and_shell] = words;
        let head = Self {
            uid,
            gid,
            name_len: name_and_gecos as u16,
            gecos_len: (name_and_gecos >> 16) as u16,
            dir_len: dir_and_shell as u16,
            shell_len: (dir_and_shell >> 16) as u16,
        };
        if !is_usable(head.uid) | !is_usable(head.gid) {
            return Err(PackedError::Id);
        }
        // The largest is one less than a power of two, so no bit above it may be set in any.
        let longest = head.gecos_len | head.dir_len | head.shell_len;
        if usize::from(longest) > MAX_FIELD { Err(PackedError::Length) } else { Ok(head) }
    }

    /// The head as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        put(&mut out, 0, &self.uid.to_le_bytes());
        put(&mut out, 4, &self.gid.to_le_bytes());
        put(&mut out, 8, &self.name_len.to_le_bytes());
        put(&mut out, 10, &self.gecos_len.to_le_bytes());
        put(&mut out, 12, &self.dir_len.to_le_bytes());
        put(&mut out, 14, &self.shell_len.to_le_bytes());
        out
    }

    /// Bytes of the strings with their NULs.
    #[must_use]
    #[inline(always)]
    pub fn strings_len(&self) -> usize {
        // Four u16 and a constant cannot overflow a usize.
        usize::from(self.name_len)
            + usize::from(self.gecos_len)
            + usize::from(self.dir_len)
            + usize::from(self.shell_len)
            + PASSWORD_ELSEWHERE.len()
            + 5
    }

    /// Where each string starts, in bytes from the first: name, password, gecos, home, shell.
    ///
    /// # Errors
    /// [`PackedError`] when `strings` is not exactly what this head describes.
    pub fn check_strings(&self, strings: &[u8]) -> Result<[usize; 5], PackedError> {
        if strings.len() != self.strings_len() {
            return Err(PackedError::Length);
        }
        let name = strings.get(..usize::from(self.name_len)).unwrap_or_default();
        let good = self.keeps_rules(strings) && crate::name::check(name).is_ok();
        if good { Ok(self.starts()) } else { Err(PackedError::Field) }
    }

    /// Where each string starts, whatever `strings` are: name, password, gecos, home, shell.
    #[must_use]
    #[inline(always)]
    pub fn starts(&self) -> [usize; 5] {
        // Five u16 and small numbers cannot overflow a usize.
        let password = usize::from(self.name_len).wrapping_add(1);
        let gecos = password.wrapping_add(PASSWORD_ELSEWHERE.len()).wrapping_add(1);
        let dir = gecos.wrapping_add(usize::from(self.gecos_len)).wrapping_add(1);
        let shell = dir.wrapping_add(usize::from(self.dir_len)).wrapping_add(1);
        [0, password, gecos, dir, shell]
    }

    /// Whether `strings` is what this head describes, but for the rule of names.
    #[must_use]
    #[inline(always)]
    pub fn keeps_rules(&self, strings: &[u8]) -> bool {
        if strings.len() != self.strings_len() || usize::from(self.name_len) > crate::name::MAX_LEN {
            return false;
        }
        let [_, password, gecos, dir, shell] = self.starts();
        // Each string ends where the next starts; as many bytes that libc must not see as there are ends: so none inside.
        // All five are read whatever the first says: no jumps.
        let last = |end: usize| strings.get(end.wrapping_sub(1)).copied().unwrap_or(u8::MAX);
        let ended = last(password) | last(gecos) | last(dir) | last(shell) | last(strings.len()) == 0;
        // A relative or empty home or shell would be taken for the root, or looked up where the program happens to stand.
        let absolute = (strings.get(dir) == Some(&b'/')) & (strings.get(shell) == Some(&b'/'));
        ended & absolute & (crate::bytes::forbidden_in_few(strings) == ENDS)
    }
}

/// How many strings a passwd record has.
const ENDS: usize = 5;

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

/// The head of a shadow record (shadow(5)); -1 is an empty field. The strings follow: name, hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowHead {
    /// sp_lstchg in days since 1970-01-01; 0: must be changed at the next login.
    pub last_change: i32,
    /// sp_min in days.
    pub min: i32,
    /// sp_max in days.
    pub max: i32,
    /// sp_warn in days.
    pub warn: i32,
    /// sp_inact in days.
    pub inactive: i32,
    /// sp_expire in days since 1970-01-01.
    pub expire: i32,
    /// Length of sp_namp without its NUL.
    pub name_len: u16,
    /// Length of sp_pwdp without its NUL.
    pub hash_len: u16,
}

impl ShadowHead {
    /// Bytes of the head.
    pub const SIZE: usize = 28;

    /// Reads a head.
    ///
    /// # Errors
    /// [`PackedError::Length`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, PackedError> {
        let head = Self {
            last_change: u32_at(bytes, 0)?.cast_signed(),
            min: u32_at(bytes, 4)?.cast_signed(),
            max: u32_at(bytes, 8)?.cast_signed(),
            warn: u32_at(bytes, 12)?.cast_signed(),
            inactive: u32_at(bytes, 16)?.cast_signed(),
            expire: u32_at(bytes, 20)?.cast_signed(),
            name_len: u16_at(bytes, 24)?,
            hash_len: u16_at(bytes, 26)?,
        };
        if usize::from(head.hash_len) > MAX_HASH { Err(PackedError::Length) } else { Ok(head) }
    }

    /// The head as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let days = [self.last_change, self.min, self.max, self.warn, self.inactive, self.expire];
        for (slot, value) in out.chunks_exact_mut(4).zip(days) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        put(&mut out, 24, &self.name_len.to_le_bytes());
        put(&mut out, 26, &self.hash_len.to_le_bytes());
        out
    }

    /// Bytes of the strings with their NULs.
    #[must_use]
    #[inline(always)]
    pub fn strings_len(&self) -> usize {
        usize::from(self.name_len) + usize::from(self.hash_len) + 2
    }

    /// Where name and hash start.
    ///
    /// # Errors
    /// [`PackedError`] when `strings` is not exactly what this head describes.
    pub fn check_strings(&self, strings: &[u8]) -> Result<[usize; 2], PackedError> {
        if strings.len() != self.strings_len() {
            return Err(PackedError::Length);
        }
        let hash = check_name(strings, 0, usize::from(self.name_len))?;
        check_field(strings, hash, usize::from(self.hash_len))?;
        Ok([0, hash])
    }
}

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

    /// The gids that may be served; one outside the directory's range is left out.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0
            .chunks_exact(4)
            .filter_map(|chunk| <[u8; 4]>::try_from(chunk).ok())
            .map(u32::from_le_bytes)
            .filter(|gid| is_usable(*gid))
    }
}

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

/// Writers, for identityd and tests.
#[cfg(feature = "std")]
pub mod write {
    use super::{Gids, GroupHead, MAX_FIELD, MAX_GROUPS, MAX_HASH, MAX_MEMBERS, PackedError, PasswdHead, ShadowHead};
    use crate::record::{Aging, Group, Passwd};

    /// A passwd record.
    #[must_use]
    pub fn passwd(entry: &Passwd) -> Vec<u8> {
        // Every length is bounded by its type: names by 32, the others by `MAX_FIELD`.
        let head = PasswdHead {
            uid: entry.uid.raw(),
            gid: entry.gid.raw(),
            name_len: len16(entry.name.as_str()),
            gecos_len: len16(entry.gecos.as_str()),
            dir_len: len16(entry.home.as_str()),
            shell_len: len16(entry.shell.as_str()),
        };
        let mut out = Vec::with_capacity(PasswdHead::SIZE + head.strings_len());
        out.extend_from_slice(&head.to_bytes());
        for field in [entry.name.as_str(), "x", entry.gecos.as_str(), entry.home.as_str(), entry.shell.as_str()] {
            push(&mut out, field);
        }
        out
    }

    /// A group record.
    ///
    /// # Errors
    /// [`PackedError::Length`] for more than [`MAX_MEMBERS`] members.
    pub fn group(entry: &Group) -> Result<Vec<u8>, PackedError> {
        if entry.members.len() > MAX_MEMBERS {
            return Err(PackedError::Length);
        }
        let members_len: usize = entry.members.iter().map(|member| member.as_str().len() + 1).sum();
        let head = GroupHead {
            gid: entry.gid.raw(),
            members: u32::try_from(entry.members.len()).map_err(|_| PackedError::Length)?,
            members_len: u32::try_from(members_len).map_err(|_| PackedError::Length)?,
            name_len: len16(entry.name.as_str()),
        };
        let mut out = Vec::with_capacity(GroupHead::SIZE + head.strings_len());
        out.extend_from_slice(&head.to_bytes());
        push(&mut out, entry.name.as_str());
        push(&mut out, "x");
        for member in &entry.members {
            push(&mut out, member.as_str());
        }
        Ok(out)
    }

    /// A shadow record with this text where the hash stands (`*` unless policy says otherwise).
    ///
    /// # Errors
    /// [`PackedError`] for a hash that is too long or holds a character that shadow(5) cannot.
    pub fn shadow(name: &str, hash: &str, aging: &Aging) -> Result<Vec<u8>, PackedError> {
        if hash.len() > MAX_HASH {
            return Err(PackedError::Length);
        }
        if hash.bytes().any(|byte| matches!(byte, 0..=0x1f | 0x7f | b':')) {
            return Err(PackedError::Field);
        }
        let head = ShadowHead {
            last_change: days(aging.last_change.map(crate::date::Date::days)),
            min: days(aging.min_days),
            max: days(aging.max_days),
            warn: days(aging.warn_days),
            inactive: days(aging.inactive_days),
            expire: days(aging.expires.map(crate::date::Date::days)),
            name_len: len16(name),
            hash_len: len16(hash),
        };
        let mut out = Vec::with_capacity(ShadowHead::SIZE + head.strings_len());
        out.extend_from_slice(&head.to_bytes());
        push(&mut out, name);
        push(&mut out, hash);
        Ok(out)
    }

    /// The gids of a login. More than [`MAX_GROUPS`] cannot be used by the kernel; what is above is cut.
    #[must_use]
    pub fn gids(gids: &[crate::id::GroupId]) -> Vec<u8> {
        let gids = gids.get(..MAX_GROUPS).unwrap_or(gids);
        let mut out = Vec::with_capacity(Gids::HEAD + gids.len() * 4);
        out.extend_from_slice(&(gids.len() as u32).to_le_bytes());
        for gid in gids {
            out.extend_from_slice(&gid.raw().to_le_bytes());
        }
        out
    }

    fn days(value: Option<u32>) -> i32 {
        value.and_then(|days| i32::try_from(days).ok()).unwrap_or(-1)
    }

    fn len16(text: &str) -> u16 {
        debug_assert!(text.len() <= MAX_FIELD.max(MAX_HASH));
        text.len() as u16
    }

    fn push(out: &mut Vec<u8>, text: &str) {
        out.extend_from_slice(text.as_bytes());
        out.push(0);
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::record::{Group, Passwd};
    use proptest::prelude::*;

    fn ana() -> Passwd {
        Passwd {
            name: "ana".parse().unwrap(),
            uid: 5000.try_into().unwrap(),
            gid: 5001.try_into().unwrap(),
            gecos: "Ana".parse().unwrap(),
            home: "/home/ana".parse().unwrap(),
            shell: "/bin/sh".parse().unwrap(),
        }
    }

    fn passwd_strings(record: &[u8]) -> Result<Vec<&[u8]>, PackedError> {
        let (head, strings) = record.split_at_checked(PasswdHead::SIZE).ok_or(PackedError::Length)?;
        let starts = PasswdHead::parse(head)?.check_strings(strings)?;
        Ok(starts.iter().map(|at| strings[*at..].split(|byte| *byte == 0).next().unwrap()).collect())
    }

    fn group_members(record: &[u8]) -> Result<Vec<&[u8]>, PackedError> {
        let (head, strings) = record.split_at_checked(GroupHead::SIZE).ok_or(PackedError::Length)?;
        let mut members = Vec::new();
        GroupHead::parse(head)?.check_strings(strings, |at| members.push(at))?;
        Ok(members.iter().map(|at| strings[*at..].split(|byte| *byte == 0).next().unwrap()).collect())
    }

    fn replaced(record: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let at = record.windows(from.len()).position(|part| part == from).unwrap();
        let mut record = record.to_vec();
        record[at..at + to.len()].copy_from_slice(to);
        record
    }

    #[test]
    fn a_passwd_record_gives_its_strings_in_the_order_of_libc() {
        let record = write::passwd(&ana());
        let strings: [&[u8]; 5] = [b"ana", b"x", b"Ana", b"/home/ana", b"/bin/sh"];
        assert_eq!(passwd_strings(&record).unwrap(), strings);
    }

    #[test]
    fn a_record_cut_or_longer_than_its_head_says_is_refused() {
        let record = write::passwd(&ana());
        for len in 0..record.len() {
            assert!(passwd_strings(&record[..len]).is_err(), "{len}");
        }
        assert_eq!(passwd_strings(&[&record[..], b"\0"].concat()), Err(PackedError::Length));
    }

    #[test]
    fn fields_that_break_a_line_a_name_or_a_path_are_refused() {
        let record = write::passwd(&ana());
        for (from, to) in [
            (&b"Ana"[..], &b"A:a"[..]),
            (b"Ana", b"A\na"),
            (b"Ana", b"A\0a"),
            (b"ana", b"Ana"),
            (b"ana", b"-na"),
            (b"/home/ana", b"home//ana"),
            (b"/bin/sh", b"bin//sh"),
        ] {
            assert_eq!(passwd_strings(&replaced(&record, from, to)), Err(PackedError::Field), "{to:?}");
        }
    }

    #[test]
    fn members_must_be_names() {
        let members = ["ana", "luz"].map(|name| name.parse().unwrap()).to_vec();
        let group = Group { name: "radio".parse().unwrap(), gid: 6000.try_into().unwrap(), members };
        let record = write::group(&group).unwrap();
        let names: [&[u8]; 2] = [b"ana", b"luz"];
        assert_eq!(group_members(&record).unwrap(), names);
        for to in [b"l,z", b"l z", b"l\0z", b"\0uz"] {
            assert!(group_members(&replaced(&record, b"luz", to)).is_err(), "{to:?}");
        }
    }

    #[test]
    fn ids_of_the_system_are_refused() {
        for id in [0, 999, 65534, u32::MAX] {
            for at in [0, 4] {
                let mut record = write::passwd(&ana());
                record[at..at + 4].copy_from_slice(&id.to_le_bytes());
                assert_eq!(passwd_strings(&record), Err(PackedError::Id));
            }
        }
    }

    /// What a list of members is, told without [`check_names`].
    fn names_one_by_one(list: &[u8]) -> Option<Vec<usize>> {
        let mut starts = Vec::new();
        let mut at = 0;
        while at < list.len() {
            let len = list[at..].iter().position(|byte| *byte == 0)?;
            crate::name::check(&list[at..at + len]).ok()?;
            starts.push(at);
            at += len + 1;
        }
        Some(starts)
    }

    proptest! {
        #[test]
        fn a_list_is_judged_as_its_names_are_one_by_one(
            names in prop::collection::vec("[a-z_][a-z0-9_.-]{0,33}", 0..40),
            change in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"\0-.9/aZ:\x7f\xe9".to_vec()))),
        ) {
            let mut list: Vec<u8> = names.iter().flat_map(|name| name.bytes().chain([0])).collect();
            if let Some((at, byte)) = change.filter(|_| !list.is_empty()) {
                let at = at.index(list.len());
                list[at] = byte;
            }
            let mut starts = Vec::new();
            let count = check_names(&list, |at| starts.push(at));
            match names_one_by_one(&list) {
                Some(expected) => prop_assert_eq!((count, starts), (Ok(expected.len()), expected)),
                None => prop_assert_eq!(count, Err(PackedError::Field)),
            }
        }

        #[test]
        fn nonsense_is_refused_and_nothing_else_happens(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = passwd_strings(&bytes);
            let _ = group_members(&bytes);
            let _ = ShadowHead::parse(&bytes).map(|head| head.check_strings(bytes.get(ShadowHead::SIZE..).unwrap_or_default()));
            let _ = Gids::parse(&bytes).map(|gids| gids.iter().count());
        }
    }
}
