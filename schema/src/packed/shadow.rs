//! A packed shadow record.

use super::{MAX_HASH, PackedError, check_field, check_name, put, u16_at, u32_at};

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
