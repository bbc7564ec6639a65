//! The header of a base or delta: what it says, how it is written and what must hold before anything else is read.
//!
//! | at | type | field |
//! |---|---|---|
//! | 0 | 8 bytes | [`MAGIC`] |
//! | 8 | u32 | [`VERSION`] |
//! | 12 | u32 | kind: 1 base, 2 delta |
//! | 16 | u64 | bytes of the file |
//! | 24 | 16 bytes | the directory it was made from |
//! | 40 | 16 bytes | identity of this file, random |
//! | 56 | 16 bytes | delta: identity of its base; base: zero |
//! | 72 | u32, u32 | number of the base, number of the delta (base: 0) |
//! | 80 | u64, u64 | key of the indexes |
//! | 96 | u64 | generation |
//! | 104 | u64 | written at (seconds since 1970) |
//! | 112 | 6 × u32 | logins, groups, dead login names, dead uids, dead group names, dead gids |
//! | 136 | 9 × (u64, u64) | offset and bytes of each [`Section`] |
//! | 280 | 16 bytes | digest of the rules that were applied (policy) |
//! | 296 | u32 | bytes of the cursor, at most [`CURSOR`] |
//! | 300 | … | the directory's cursor, then zero |
//! | 496 | u64 | checksum of the body, from 512 on ([`BodySum`](super::hash::BodySum)) |
//! | 504 | u64 | checksum of the header: bytes 0 to 504 |
//!
//! All little-endian.

use super::hash::{Checksum, Key};

/// The first bytes. The line ends notice a transfer in text mode.
pub const MAGIC: [u8; 8] = *b"mfsnap\r\n";
/// This version of the format. A reader takes no other: it asks the socket.
pub const VERSION: u32 = 1;
/// Bytes of a header.
pub const HEADER: usize = 512;
/// Longest cursor in bytes.
pub const CURSOR: usize = 160;
/// Where the cursor stands in a header.
const CURSOR_AT: usize = 300;
/// Every section starts at a multiple of this: a bucket is one line of the processor's cache.
pub const ALIGN: usize = 64;

/// Bytes of a bucket: eight tags, then the eight references that belong to them.
pub const BUCKET: usize = 64;
/// Slots in a bucket.
pub const SLOTS: usize = 8;
/// Most buckets that a look-up reads, whatever the names are. At five entries a bucket 87 % of all buckets have a free slot, so an entry in a
/// million needs a ninth once in seventy bases; then the writer takes another key.
pub const PROBES: usize = 8;
/// Mean number of entries in a bucket that the writer aims at: 12.8 bytes of index an entry.
pub const FILL: usize = 5;

/// A reference that says: free slot, and none after it. Not zero, so that a page of zeros (a hole, a lost write) is noticed instead of being read as "no such
/// entry".
pub const FREE: u32 = u32::MAX;
/// A reference that says: this id is gone (delta only).
pub const GONE: u32 = u32::MAX - 1;
/// A reference counts in units of this many bytes from the start of the file: up to 32 GiB.
pub const UNIT: usize = 8;

/// Every how many entries of an area the stride table names one.
pub const STRIDE: u32 = 16;
/// Bytes of an entry of a stride table: id and reference.
pub const STRIDE_ENTRY: usize = 8;

/// The parts of a file, in the order in which they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Entries of logins, ascending by uid.
    Logins = 0,
    /// Entries of groups, ascending by gid.
    Groups = 1,
    /// Every sixteenth login: uid, reference.
    LoginStride = 2,
    /// Every sixteenth group.
    GroupStride = 3,
    /// Names that are gone (delta only).
    Tombstones = 4,
    /// Index of logins by name.
    LoginNames = 5,
    /// Index of logins by uid.
    LoginIds = 6,
    /// Index of groups by name.
    GroupNames = 7,
    /// Index of groups by gid.
    GroupIds = 8,
}

/// How many sections there are.
pub const SECTIONS: usize = 9;

/// Whether a file is complete in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Every entry.
    Base = 1,
    /// What has changed since its base.
    Delta = 2,
}

/// Which pair is current: the word of the control page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Pair {
    /// Number of the base; 0: nothing is published.
    pub base: u32,
    /// Number of the delta; 0: there is none.
    pub delta: u32,
}

impl Pair {
    /// The pair that a word names.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { base: (word >> 32) as u32, delta: word as u32 }
    }

    /// The word that names this pair.
    #[must_use]
    pub const fn word(self) -> u64 {
        ((self.base as u64) << 32) | self.delta as u64
    }
}

/// How many entries of each sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Logins.
    pub logins: u32,
    /// Groups.
    pub groups: u32,
    /// Login names that are gone.
    pub dead_login_names: u32,
    /// Uids that are gone.
    pub dead_uids: u32,
    /// Group names that are gone.
    pub dead_group_names: u32,
    /// Gids that are gone.
    pub dead_gids: u32,
}

/// Where a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Bytes from the start of the file.
    pub start: usize,
    /// Bytes.
    pub len: usize,
}

impl Span {
    /// The first byte after it. Cannot overflow in a header that was [parsed](Header::parse).
    #[inline(always)]
    #[must_use]
    pub const fn end(self) -> usize {
        self.start.saturating_add(self.len)
    }
}

/// A header that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Base or delta.
    pub kind: FileKind,
    /// Bytes of the file.
    pub len: usize,
    /// Which directory it was made from: a delta of another is never put on a base.
    pub directory: [u8; 16],
    /// Random, different for every file ever written.
    pub identity: [u8; 16],
    /// Of a delta: the identity of its base.
    pub base_identity: [u8; 16],
    /// Its numbers.
    pub pair: Pair,
    /// Key of the indexes.
    pub key: Key,
    /// All changes up to this are in it: where to go on in the feed.
    pub generation: u64,
    /// When it was written, in seconds since 1970, for people.
    pub created: u64,
    /// How many entries.
    pub counts: Counts,
    /// Where each section is; see [`Header::span`].
    pub sections: [Span; SECTIONS],
    /// Digest of the local accounts and rules under which it was made. For the publisher; readers have no use for it.
    pub policy: [u8; 16],
    /// Bytes of the cursor; see [`Header::cursor`].
    pub cursor_len: u32,
    /// Checksum of everything behind the header ([`BodySum`](super::hash::BodySum)).
    pub body_sum: u64,
}

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Shorter than a header.
    Short,
    /// Not a file of ours.
    Magic,
    /// Another version.
    Version(u32),
    /// The header does not match its checksum.
    HeaderSum,
    /// The file has not the length that its header states.
    Length,
    /// A section does not lie where sections may lie, or has an impossible length.
    Sections,
    /// A field has a value that it cannot have.
    Field,
    /// It belongs to another base, directory or pair.
    Foreign,
    /// The body does not match its checksum.
    BodySum,
    /// An entry is not what the format says.
    Entry,
    /// An entry is not found, or found twice, by its name or id.
    Index,
}

impl core::fmt::Display for Defect {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Short => "the file is shorter than a header",
            Self::Magic => "the file is not a snapshot",
            Self::Version(version) => {
                return write!(f, "the file has version {version} of the format; this program reads version {VERSION}");
            }
            Self::HeaderSum => "the header does not match its checksum",
            Self::Length => "the file has another length than its header states",
            Self::Sections => "a section lies outside the file or has an impossible length",
            Self::Field => "a field of the header has an impossible value",
            Self::Foreign => "the file belongs to another directory, base or pair",
            Self::BodySum => "the body does not match its checksum",
            Self::Entry => "an entry is malformed",
            Self::Index => "an index does not agree with the entries",
        })
    }
}

impl core::error::Error for Defect {}

impl Header {
    /// Reads and checks the header of a file, given all of the file. Touches the first 512 bytes and no other.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn parse(file: &[u8]) -> Result<Self, Defect> {
        let head = file.first_chunk::<HEADER>().ok_or(Defect::Short)?;
        let mut fields = Fields(head);
        if fields.array::<8>()? != MAGIC {
            return Err(Defect::Magic);
        }
        let version = fields.u32()?;
        if version != VERSION {
            return Err(Defect::Version(version));
        }
        let (sums, covered) = (head.last_chunk::<16>(), head.get(..HEADER - 8));
        let (Some(sums), Some(covered)) = (sums, covered) else {
            return Err(Defect::Short);
        };
        let mut sums = Fields(sums);
        let (body_sum, header_sum) = (sums.u64()?, sums.u64()?);
        if Checksum::of(covered) != header_sum {
            return Err(Defect::HeaderSum);
        }
        let kind = match fields.u32()? {
            1 => FileKind::Base,
            2 => FileKind::Delta,
            _ => return Err(Defect::Field),
        };
        let len = fields.usize()?;
        if len != file.len() {
            return Err(Defect::Length);
        }
        let mut header = Self {
            kind,
            len,
            directory: fields.array()?,
            identity: fields.array()?,
            base_identity: fields.array()?,
            pair: Pair { base: fields.u32()?, delta: fields.u32()? },
            key: Key(fields.u64()?, fields.u64()?),
            generation: fields.u64()?,
            created: fields.u64()?,
            counts: Counts {
                logins: fields.u32()?,
                groups: fields.u32()?,
                dead_login_names: fields.u32()?,
                dead_uids: fields.u32()?,
                dead_group_names: fields.u32()?,
                dead_gids: fields.u32()?,
            },
            sections: [Span::default(); SECTIONS],
            policy: [0; 16],
            cursor_len: 0,
            body_sum,
        };
        for span in &mut header.sections {
            *span = Span { start: fields.usize()?, len: fields.usize()? };
        }
        header.policy = fields.array()?;
        header.cursor_len = fields.u32()?;
        if header.cursor_len as usize > CURSOR {
            return Err(Defect::Field);
        }
        header.check()?;
        Ok(header)
    }

    /// The directory's cursor, out of the file that this header was parsed from: where to go on beside the generation.
    #[must_use]
    pub fn cursor<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        file.get(CURSOR_AT..).and_then(|rest| rest.get(..self.cursor_len as usize)).unwrap_or_default()
    }

    /// Where a section is.
    #[must_use]
    #[inline(always)]
    pub const fn span(&self, section: Section) -> Span {
        // As an array pattern, because indexing could panic.
        let [logins, groups, login_stride, group_stride, tombstones, login_names, login_ids, group_names, group_ids] =
            self.sections;
        match section {
            Section::Logins => logins,
            Section::Groups => groups,
            Section::LoginStride => login_stride,
            Section::GroupStride => group_stride,
            Section::Tombstones => tombstones,
            Section::LoginNames => login_names,
            Section::LoginIds => login_ids,
            Section::GroupNames => group_names,
            Section::GroupIds => group_ids,
        }
    }

    /// Whether a delta belongs to this base.
    ///
    /// # Errors
    /// [`Defect::Foreign`].
    pub fn check_delta(&self, delta: &Self) -> Result<(), Defect> {
        let fits = self.kind == FileKind::Base
            && delta.kind == FileKind::Delta
            && self.directory == delta.directory
            && self.identity == delta.base_identity
            && self.pair.base == delta.pair.base;
        if fits { Ok(()) } else { Err(Defect::Foreign) }
    }

    /// Sections follow each other without overlap, start at [`ALIGN`], end inside the file, and have lengths that their content can have.
    fn check(&self) -> Result<(), Defect> {
        let numbered = match self.kind {
            FileKind::Base => self.pair.delta == 0 && self.base_identity == [0; 16],
            FileKind::Delta => self.pair.delta != 0,
        };
        if !numbered || self.pair.base == 0 {
            return Err(Defect::Field);
        }
        let mut at = HEADER;
        for span in &self.sections {
            let end = span.start.checked_add(span.len).ok_or(Defect::Sections)?;
            if span.start < at || !span.start.is_multiple_of(ALIGN) || end > self.len {
                return Err(Defect::Sections);
            }
            at = end;
        }
        let multiple = |section, of: usize| self.span(section).len.is_multiple_of(of);
        let indexes = [Section::LoginNames, Section::LoginIds, Section::GroupNames, Section::GroupIds];
        let whole = indexes.iter().all(|index| multiple(*index, BUCKET) && self.span(*index).len >= BUCKET)
            && [Section::LoginStride, Section::GroupStride].iter().all(|table| multiple(*table, STRIDE_ENTRY))
            && [Section::Logins, Section::Groups, Section::Tombstones].iter().all(|area| multiple(*area, UNIT));
        let strides = [(Section::LoginStride, self.counts.logins), (Section::GroupStride, self.counts.groups)]
            .iter()
            .all(|(table, count)| self.span(*table).len / STRIDE_ENTRY == count.div_ceil(STRIDE) as usize);
        if whole && strides { Ok(()) } else { Err(Defect::Sections) }
    }
}

/// Takes little-endian fields off the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Defect> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Defect::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Defect> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Defect> {
        self.array().map(u64::from_le_bytes)
    }

    /// A 64-bit field that this machine can hold in a pointer.
    pub(super) fn usize(&mut self) -> Result<usize, Defect> {
        usize::try_from(self.u64()?).map_err(|_| Defect::Field)
    }
}

#[cfg(feature = "std")]
impl Header {
    /// The header as bytes, with its checksum, and with as many bytes of `cursor` as it says.
    #[must_use]
    pub fn to_bytes(&self, cursor: &[u8]) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.kind as u32).to_le_bytes());
        out.extend_from_slice(&(self.len as u64).to_le_bytes());
        for id in [self.directory, self.identity, self.base_identity] {
            out.extend_from_slice(&id);
        }
        for number in [self.pair.base, self.pair.delta] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for word in [self.key.0, self.key.1, self.generation, self.created] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let counts = &self.counts;
        let dead = [counts.dead_login_names, counts.dead_uids, counts.dead_group_names, counts.dead_gids];
        for count in [counts.logins, counts.groups].into_iter().chain(dead) {
            out.extend_from_slice(&count.to_le_bytes());
        }
        for span in &self.sections {
            out.extend_from_slice(&(span.start as u64).to_le_bytes());
            out.extend_from_slice(&(span.len as u64).to_le_bytes());
        }
        out.extend_from_slice(&self.policy);
        out.extend_from_slice(&self.cursor_len.to_le_bytes());
        debug_assert_eq!(out.len(), CURSOR_AT);
        out.extend_from_slice(cursor.get(..self.cursor_len as usize).unwrap_or_default());
        out.resize(HEADER - 16, 0);
        out.extend_from_slice(&self.body_sum.to_le_bytes());
        let sum = Checksum::of(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        let mut header = [0; HEADER];
        header.copy_from_slice(&out);
        header
    }
}
