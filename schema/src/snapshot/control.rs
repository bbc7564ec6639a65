//! The control page: the only file that is written after it was published, and only in three words of eight bytes.
//!
//! | at | type | field |
//! |---|---|---|
//! | 0 | 8 bytes | [`MAGIC`] |
//! | 8 | u32 | [`VERSION`] |
//! | 12 | u32 | visibility: 1 open, 2 members |
//! | 16 | 16 bytes | the directory |
//! | 32 | 24 bytes | zero |
//! | 56 | u64 | checksum of bytes 0 to 56 |
//! | 64 | atomic u64 | the current pair: number of the base in the upper half, of the delta in the lower; [`NOTHING`], [`RETIRED`] |
//! | 72 | atomic u64 | heartbeat: seconds of `CLOCK_MONOTONIC` |
//! | 80 | atomic u64 | generation of the pair; stored after the word |
//! | 88 | … | zero, up to [`SIZE`] |
//!
//! The words are loaded and stored whole by the room that maps the page; this room knows the fixed part.

use super::hash::Checksum;
use super::layout::{Defect, Fields, VERSION};

/// The first bytes.
pub const MAGIC: [u8; 8] = *b"mfctrl\r\n";
/// Bytes of the file: one page.
pub const SIZE: usize = 4096;
/// Where the word of the current pair is.
pub const WORD: usize = 64;
/// Where the heartbeat is. In the same line of the cache: a look-up reads both.
pub const HEARTBEAT: usize = 72;
/// Where the generation is.
pub const GENERATION: usize = 80;
/// A word: nothing is published yet, ask the socket.
pub const NOTHING: u64 = 0;
/// A word: this page is out of use, open the directory anew.
pub const RETIRED: u64 = u64::MAX;
/// A heartbeat older than this many seconds: nobody maintains the page, or another has taken its place; look at the directory again.
pub const STALE_SECONDS: u64 = 30;

/// Who may read the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody, as /etc/passwd.
    Open = 1,
    /// identityd alone; it answers on the socket.
    Members = 2,
}

/// The part of the page that never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Which directory.
    pub directory: [u8; 16],
    /// Who may read.
    pub visibility: Visibility,
}

impl Control {
    /// Bytes of the fixed part.
    pub const FIXED: usize = 64;

    /// Reads and checks the fixed part.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn parse(fixed: &[u8; Self::FIXED]) -> Result<Self, Defect> {
        let mut fields = Fields(fixed);
        if fields.array::<8>()? != MAGIC {
            return Err(Defect::Magic);
        }
        let version = fields.u32()?;
        if version != VERSION {
            return Err(Defect::Version(version));
        }
        let covered = fixed.get(..Self::FIXED - 8).ok_or(Defect::Short)?;
        let sum = fixed.last_chunk::<8>().ok_or(Defect::Short)?;
        if Checksum::of(covered) != u64::from_le_bytes(*sum) {
            return Err(Defect::HeaderSum);
        }
        let visibility = match fields.u32()? {
            1 => Visibility::Open,
            2 => Visibility::Members,
            _ => return Err(Defect::Field),
        };
        Ok(Self { directory: fields.array()?, visibility })
    }

    /// A new page with this fixed part and nothing published.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn to_page(self) -> Vec<u8> {
        let mut page = Vec::with_capacity(SIZE);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&(self.visibility as u32).to_le_bytes());
        page.extend_from_slice(&self.directory);
        page.resize(Self::FIXED - 8, 0);
        let sum = Checksum::of(&page);
        page.extend_from_slice(&sum.to_le_bytes());
        page.resize(SIZE, 0);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_survives_the_way_to_bytes_and_back() {
        let control = Control { directory: *b"0123456789abcdef", visibility: Visibility::Members };
        let page = control.to_page();
        assert_eq!(page.len(), SIZE);
        assert_eq!(Control::parse(page.first_chunk().unwrap()), Ok(control));
    }

    #[test]
    fn a_damaged_page_is_noticed() {
        let page = Control { directory: [7; 16], visibility: Visibility::Open }.to_page();
        for at in 0..Control::FIXED {
            let mut fixed = *page.first_chunk::<64>().unwrap();
            fixed[at] ^= 0x10;
            assert!(Control::parse(&fixed).is_err(), "byte {at}");
        }
        assert_eq!(Control::parse(&[0; 64]), Err(Defect::Magic));
    }
}
