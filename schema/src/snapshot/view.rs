//! One file as a reader sees it: index, entries, listing. Every offset is checked where it is used; nothing is taken on trust but
//! the header.
//!
//! An entry is its length, the length of its packed record, the record, and in a login's the packed gids:
//!
//! | at | type | field |
//! |---|---|---|
//! | 0 | u32 | bytes of the entry, a multiple of 8 |
//! | 4 | u32 | bytes of the record (tombstone: of the name) |
//! | 8 | … | record ([`crate::packed`]) |
//! | next multiple of 4 | … | a login's packed gids |
//! | … | … | zeros up to the next multiple of 8 |

use super::hash::Hash;
use super::layout::{BUCKET, FREE, GONE, Header, PROBES, STRIDE, STRIDE_ENTRY, Section, Span, UNIT};
use crate::bytes::equal_words;
use crate::id::is_usable;
use crate::packed::{Gids, GroupHead, PasswdHead};

/// Bytes of an entry before its record.
pub const ENTRY_HEAD: usize = 8;

/// A file and its checked header.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a Header,
}

/// A login as it lies in the file. The strings are not checked yet: [`PasswdHead::check_strings`] is for who hands them on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// Checked: ids inside the directory's range.
    pub head: PasswdHead,
    /// The strings behind the head, as many bytes as the head says.
    pub strings: &'a [u8],
    /// The whole packed passwd record.
    pub record: &'a [u8],
    /// What is behind the record in the entry.
    rest: &'a [u8],
}

/// A group as it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    /// Checked: gid inside the directory's range.
    pub head: GroupHead,
    /// The strings behind the head, as many bytes as the head says.
    pub strings: &'a [u8],
    /// The whole packed group record.
    pub record: &'a [u8],
}

/// What one file knows of a name or id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It is here.
    Here(T),
    /// A delta says that it is gone, whatever the base says.
    Gone,
    /// This file says nothing about it.
    Nothing,
    /// The file is damaged.
    Damaged,
}

/// Where a list last was in a file: at the entry before the one that it gave. Only a hint: what is there is checked like all else, and of another file it is not
/// believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// [`View::mark`]
    file: u64,
    reference: u32,
}

impl Spot {
    /// At no place. No entry has this reference.
    pub const NOWHERE: Self = Self { file: 0, reference: 0 };
}

/// What an area holds: logins or groups.
pub trait Kind<'a>: Sized + Copy {
    /// Where the entries are.
    const AREA: Section;
    /// The stride table of the area.
    const STRIDES: Section;
    /// The index by name.
    const NAMES: Section;
    /// The index by id.
    const IDS: Section;
    /// Where in a record the length of the name is.
    const NAME_LEN: usize;

    /// Reads the entry at the front of `bytes`.
    fn parse(bytes: &'a [u8]) -> Option<Self>;
    /// Its uid or gid.
    fn id(&self) -> u32;
    /// Its name.
    fn name(&self) -> &'a [u8];
}

impl<'a> Login<'a> {
    /// Its groups, the primary first. `None`: damaged; a list with a gap would be a wrong answer.
    #[must_use]
    #[inline]
    pub fn gids(&self) -> Option<Gids<'a>> {
        Gids::parse(self.packed_gids()?).ok().filter(|gids| gids.keeps_rules())
    }

    /// The packed gids, the primary group first; not each of them is checked. `None`: damaged.
    #[must_use]
    #[inline(always)]
    pub fn packed_gids(&self) -> Option<&'a [u8]> {
        // They start at a multiple of four, so that no end of a lost page can fall inside one and leave a wrong gid.
        let filled = self.rest.get(self.record.len().wrapping_neg() % 4..)?;
        let count = u32::from_le_bytes(*filled.first_chunk::<4>()?) as usize;
        let gids = filled.get(..count.checked_mul(4)?.checked_add(Gids::HEAD)?)?;
        // Every login has its primary group: no count at all is a count that was lost.
        (count != 0 && filled.len().saturating_sub(gids.len()) < UNIT).then_some(gids)
    }
}

impl<'a> Kind<'a> for Login<'a> {
    const AREA: Section = Section::Logins;
    const STRIDES: Section = Section::LoginStride;
    const NAMES: Section = Section::LoginNames;
    const IDS: Section = Section::LoginIds;
    const NAME_LEN: usize = 8;

    #[inline(always)]
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (record, rest) = split_entry(bytes)?;
        let head = PasswdHead::parse(record).ok()?;
        let strings = record.get(PasswdHead::SIZE..)?;
        if strings.len() != head.strings_len() || strings.get(usize::from(head.name_len)) != Some(&0) {
            return None;
        }
        Some(Self { head, strings, record, rest })
    }

    #[inline(always)]
    fn id(&self) -> u32 {
        self.head.uid
    }

    #[inline(always)]
    fn name(&self) -> &'a [u8] {
        self.strings.get(..usize::from(self.head.name_len)).unwrap_or_default()
    }
}

impl<'a> Kind<'a> for Group<'a> {
    const AREA: Section = Section::Groups;
    const STRIDES: Section = Section::GroupStride;
    const NAMES: Section = Section::GroupNames;
    const IDS: Section = Section::GroupIds;
    const NAME_LEN: usize = 12;

    #[inline(always)]
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (record, _) = split_entry(bytes)?;
        let head = GroupHead::parse(record).ok()?;
        let strings = record.get(GroupHead::SIZE..)?;
        if strings.len() != head.strings_len() || strings.get(usize::from(head.name_len)) != Some(&0) {
            return None;
        }
        Some(Self { head, strings, record })
    }

    #[inline(always)]
    fn id(&self) -> u32 {
        self.head.gid
    }

    #[inline(always)]
    fn name(&self) -> &'a [u8] {
        self.strings.get(..usize::from(self.head.name_len)).unwrap_or_default()
    }
}

impl<'a> View<'a> {
    /// A view on a file whose header was parsed from the very same bytes. `None`: it was not.
    #[must_use]
    #[inline(always)]
    pub fn new(bytes: &'a [u8], header: &'a Header) -> Option<Self> {
        (bytes.len() == header.len).then_some(Self { bytes, header })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// The entry of this name, whose hash under [this file's key](Header::key) is `hash`.
    #[must_use]
    #[inline(always)]
    pub fn by_name<K: Kind<'a>>(&self, name: &[u8], hash: Hash) -> Lookup<K> {
        self.read(self.find_name::<K>(name, hash))
    }

    /// The entry of this id, whose hash under this file's key is `hash`.
    #[must_use]
    #[inline(always)]
    pub fn by_id<K: Kind<'a>>(&self, id: u32, hash: Hash) -> Lookup<K> {
        match self.read::<K>(self.find_id::<K>(hash)) {
            Lookup::Here(entry) if entry.id() != id => Lookup::Damaged,
            found => found,
        }
    }

    /// A reference to the entry of this name: its name is the one that was asked for, the rest is still to be [read](Self::read).
    #[inline(always)]
    pub(super) fn find_name<K: Kind<'a>>(&self, name: &[u8], hash: Hash) -> Lookup<u32> {
        self.find_name_in(K::NAMES, K::AREA, K::NAME_LEN, name, hash)
    }

    /// A reference to what may be the entry of this id.
    #[inline(always)]
    pub(super) fn find_id<K: Kind<'a>>(&self, hash: Hash) -> Lookup<u32> {
        self.find_id_in(K::IDS, hash)
    }

    /// The entry that was found.
    #[inline(always)]
    pub(super) fn read<K: Kind<'a>>(&self, found: Lookup<u32>) -> Lookup<K> {
        match found {
            Lookup::Here(reference) => self.entry(reference).map_or(Lookup::Damaged, Lookup::Here),
            Lookup::Gone => Lookup::Gone,
            Lookup::Nothing => Lookup::Nothing,
            Lookup::Damaged => Lookup::Damaged,
        }
    }

    /// One function for logins and groups, whose answer fits into registers.
    #[inline(never)]
    fn find_name_in(&self, index: Section, area: Section, name_len: usize, name: &[u8], hash: Hash) -> Lookup<u32> {
        let area = self.header.span(area);
        self.probe(index, hash, |reference| {
            if self.name_at(area, reference, name_len).is_some_and(|found| same(found, name)) {
                Lookup::Here(reference)
            } else {
                self.other_name(area, reference, name_len, name, hash)
            }
        })
    }

    #[inline(never)]
    pub(super) fn find_id_in(&self, index: Section, hash: Hash) -> Lookup<u32> {
        self.probe(index, hash, |reference| if reference == GONE { Lookup::Gone } else { Lookup::Here(reference) })
    }

    /// The name of an entry of which nothing else is looked at.
    #[inline(always)]
    fn name_at(&self, area: Span, reference: u32, name_len: usize) -> Option<&'a [u8]> {
        const STRINGS: usize = ENTRY_HEAD + PasswdHead::SIZE;
        const _: () = assert!(PasswdHead::SIZE == GroupHead::SIZE);
        let entry = self.in_span(area, reference)?;
        let (head, strings) = entry.split_first_chunk::<STRINGS>()?;
        let len = u16::from_le_bytes(*head.get(ENTRY_HEAD + name_len..)?.first_chunk()?);
        strings.get(..usize::from(len))
    }

    /// What a reference under the right tag means that does not lead to the name: a tombstone; another name, once in four thousand million a chance meeting; else
    /// damage.
    #[cold]
    #[inline(never)]
    fn other_name(&self, area: Span, reference: u32, name_len: usize, name: &[u8], hash: Hash) -> Lookup<u32> {
        let stone = self.tombstone(reference);
        match stone.or_else(|| self.name_at(area, reference, name_len)) {
            Some(other) if other == name && stone.is_some() => Lookup::Gone,
            Some(other) if self.header.key.name_seldom(other).tag == hash.tag => Lookup::Nothing,
            _ => Lookup::Damaged,
        }
    }

    /// The first entry with an id above `after`. [`Lookup::Nothing`]: there is none. Where the list was here when it was last asked, that is one step; else it is looked
    /// for.
    #[must_use]
    #[inline(always)]
    pub fn next<K: Kind<'a>>(&self, after: u32, spot: &mut Spot) -> Lookup<K> {
        self.read(match self.find_after(K::AREA, K::STRIDES, after, spot) {
            Lookup::Here((_, reference)) => Lookup::Here(reference),
            Lookup::Nothing => Lookup::Nothing,
            Lookup::Gone | Lookup::Damaged => Lookup::Damaged,
        })
    }

    /// Its id, and a reference to what is still to be [read](Self::read). One function for logins and groups.
    #[inline(never)]
    pub(super) fn find_after(
        &self,
        area: Section,
        strides: Section,
        after: u32,
        spot: &mut Spot,
    ) -> Lookup<(u32, u32)> {
        let known = if spot.file == self.mark() { self.at(area, spot.reference) } else { None };
        let mut looked_for = known.is_none();
        let mut rest = known;
        loop {
            if looked_for {
                rest = self.area_near(area, strides, after);
            }
            let Some(rest) = rest else {
                return Lookup::Damaged;
            };
            match self.step(self.header.span(area), rest, after, spot) {
                Some((found, passed)) if passed || looked_for => return found,
                None if looked_for => return Lookup::Damaged,
                // The spot did not lie before it.
                _ => looked_for = true,
            }
        }
    }

    /// The same from an entry on that lies before it, and whether one does; of what lies before it only the ids are looked at. `None`: damaged, or too far away.
    #[inline(always)]
    fn step(&self, span: Span, mut rest: &'a [u8], after: u32, spot: &mut Spot) -> Option<(Lookup<(u32, u32)>, bool)> {
        // As small as the references in the file, which its writer has kept below 2³².
        let reference = |rest: &[u8]| (span.end().wrapping_sub(rest.len()) / UNIT) as u32;
        let mut passed = None;
        // The stride table brings us to at most this many entries before it.
        for _ in 0..=STRIDE {
            if rest.is_empty() {
                return Some((Lookup::Nothing, passed.is_some()));
            }
            let next = skip_entry(rest)?;
            let id = u32::from_le_bytes(*rest.get(ENTRY_HEAD..)?.first_chunk()?);
            if !is_usable(id) {
                return None;
            }
            if id > after {
                if let Some(passed) = passed {
                    *spot = Spot { file: self.mark(), reference: passed };
                }
                return Some((Lookup::Here((id, reference(rest))), passed.is_some()));
            }
            passed = Some(reference(rest));
            rest = next;
        }
        None
    }

    /// What tells this file from every other: its random identity and its numbers.
    #[inline(always)]
    fn mark(&self) -> u64 {
        let identity = self.header.identity.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        identity ^ self.header.pair.word()
    }

    /// All entries of a sort in order of id. Ends early at damage: for programs that have [verified](super::verify) the file.
    pub fn entries<K: Kind<'a>>(&self) -> impl Iterator<Item = K> + use<'a, K> {
        let mut rest = self.section(K::AREA).unwrap_or_default();
        core::iter::from_fn(move || {
            let entry = K::parse(rest)?;
            rest = skip_entry(rest)?;
            Some(entry)
        })
    }

    /// The names that a delta says are gone, of logins or of groups. Ends early at damage.
    #[cfg(feature = "std")]
    pub fn dead_names(&self, area: Section) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.section(Section::Tombstones).unwrap_or_default();
        let all = core::iter::from_fn(move || {
            let (name, _) = split_entry(rest)?;
            rest = skip_entry(rest)?;
            Some(name)
        });
        // Those of logins come first.
        let (logins, groups) = (self.header.counts.dead_login_names, self.header.counts.dead_group_names);
        let (skip, take) = if area == Section::Logins { (0, logins) } else { (logins, groups) };
        all.skip(skip as usize).take(take as usize)
    }

    /// The ids that an index says are gone.
    #[cfg(feature = "std")]
    pub fn dead_ids(&self, index: Section) -> impl Iterator<Item = u32> + use<'a> {
        let (buckets, _) = self.section(index).unwrap_or_default().as_chunks::<BUCKET>();
        buckets.iter().flat_map(|bucket| {
            let (tags, references) = bucket.split_at(BUCKET / 2);
            let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
            let slots = tags.as_chunks().0.iter().map(word).zip(references.as_chunks().0.iter().map(word));
            slots.filter(|(_, reference)| *reference == GONE).map(|(id, _)| id)
        })
    }

    /// The bytes of a section.
    #[must_use]
    #[inline(always)]
    pub fn section(&self, section: Section) -> Option<&'a [u8]> {
        let span = self.header.span(section);
        self.bytes.get(span.start..span.end())
    }

    /// Reads the buckets of one hash until `judge` says something else than [`Lookup::Nothing`] of a slot with its tag.
    #[inline(always)]
    fn probe<T>(&self, index: Section, hash: Hash, judge: impl Fn(u32) -> Lookup<T>) -> Lookup<T> {
        let Some(table) = self.section(index) else {
            return Lookup::Damaged;
        };
        let buckets = (table.len() / BUCKET) as u64;
        let mut place = hash.place;
        for _ in 0..PROBES {
            let at = bucket_of(place, buckets).wrapping_mul(BUCKET);
            let Some(rest) = table.get(at..) else {
                return Lookup::Damaged;
            };
            let Some(bucket) = rest.first_chunk::<BUCKET>() else {
                return Lookup::Damaged;
            };
            let (Some(tags), Some(references)) = (bucket.first_chunk(), bucket.last_chunk::<{ BUCKET / 2 }>()) else {
                return Lookup::Damaged;
            };
            let (references, _) = references.as_chunks::<4>();
            let mut hits = equal_words(tags, hash.tag);
            while let Some(reference) = references.get(hits.trailing_zeros() as usize) {
                hits &= hits.wrapping_sub(1);
                match u32::from_le_bytes(*reference) {
                    FREE => {}
                    0 => return Lookup::Damaged,
                    reference => match judge(reference) {
                        Lookup::Nothing => {}
                        found => return found,
                    },
                }
            }
            // The writer fills a bucket from the front: a free last slot ends the search.
            match references.last().map(|reference| u32::from_le_bytes(*reference)) {
                Some(FREE) => return Lookup::Nothing,
                Some(0) | None => return Lookup::Damaged,
                Some(_) => place = place.wrapping_add(hash.step),
            }
        }
        Lookup::Nothing
    }

    /// The entry that a reference leads to, if it leads into the area of this sort.
    #[inline(always)]
    fn entry<K: Kind<'a>>(&self, reference: u32) -> Option<K> {
        K::parse(self.at(K::AREA, reference)?)
    }

    /// The name of the tombstone that a reference leads to.
    #[inline]
    pub(super) fn tombstone(&self, reference: u32) -> Option<&'a [u8]> {
        let (name, _) = split_entry(self.at(Section::Tombstones, reference)?)?;
        Some(name)
    }

    /// The rest of a section from where a reference leads.
    #[inline(always)]
    fn at(&self, section: Section, reference: u32) -> Option<&'a [u8]> {
        self.in_span(self.header.span(section), reference)
    }

    #[inline(always)]
    fn in_span(&self, span: Span, reference: u32) -> Option<&'a [u8]> {
        let at = (reference as usize).checked_mul(UNIT)?;
        if at < span.start { None } else { self.bytes.get(at..span.end()) }
    }

    /// The area from the last entry on that the stride table names with an id of at most `after`.
    fn area_near(&self, area: Section, strides: Section, after: u32) -> Option<&'a [u8]> {
        let (table, _) = self.section(strides)?.as_chunks::<STRIDE_ENTRY>();
        let id_of = |entry: &[u8; STRIDE_ENTRY]| u32::from_le_bytes(*entry.first_chunk::<4>().unwrap_or(&[0xff; 4]));
        let above = table.partition_point(|entry| id_of(entry) <= after);
        match above.checked_sub(1).and_then(|last| table.get(last)) {
            Some(entry) => self.at(area, u32::from_le_bytes(*entry.last_chunk::<4>()?)),
            None => self.section(area),
        }
    }
}

/// Whether two names are the same: two words of each, of most names that is all. memcmp(3) takes longer.
#[inline(always)]
fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    if let (Some(first), Some(last)) = (one.first_chunk::<8>(), one.last_chunk::<8>()) {
        other.first_chunk() == Some(first) && other.last_chunk() == Some(last) && (one.len() <= 16 || one == other)
    } else if let (Some(first), Some(last)) = (one.first_chunk::<4>(), one.last_chunk::<4>()) {
        other.first_chunk() == Some(first) && other.last_chunk() == Some(last)
    } else {
        one.iter().zip(other).all(|(one, other)| one == other)
    }
}

/// Which bucket a place falls into: as large a part of the table as the place is of 2³².
#[inline(always)]
pub(super) fn bucket_of(place: u32, buckets: u64) -> usize {
    (u64::from(place).wrapping_mul(buckets) >> 32) as usize
}

/// The record of the entry at the front of `bytes`, and what is behind it in the entry.
#[inline(always)]
pub(super) fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, record_len) = entry_head(bytes)?;
    bytes.get(ENTRY_HEAD..len)?.split_at_checked(record_len)
}

/// What is behind the entry at the front of `bytes`.
#[inline]
pub(super) fn skip_entry(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(entry_head(bytes)?.0..)
}

/// The lengths of the entry at the front: never less than a head, so that a walk always moves on.
#[inline(always)]
fn entry_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = u64::from_le_bytes(*bytes.first_chunk::<ENTRY_HEAD>()?);
    let (len, record_len) = (head as u32 as usize, (head >> 32) as usize);
    (len > ENTRY_HEAD && len.is_multiple_of(UNIT)).then_some((len, record_len))
}
