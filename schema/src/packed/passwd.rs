//! A packed passwd record.

use super::{MAX_FIELD, PASSWORD_ELSEWHERE, PackedError, put, words_of};
use crate::id::is_usable;

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
