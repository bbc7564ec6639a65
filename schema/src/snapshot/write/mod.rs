//! Writes a base or a delta from entries in order of id.
//!
//! The entries stream into the file; of a million logins nothing stays in memory but one entry in sixteen's id. The indexes are built afterwards, two
//! at a time, from the file just written: at a million logins that is 26 MB, the most that the writer ever holds.

mod index;
mod output;

use self::index::{Full, Index};
use self::output::Output;
use super::hash::Key;
use super::layout::{CURSOR, Counts, FileKind, GONE, Header, Pair, SECTIONS, STRIDE, Section, Span, UNIT};
use super::view::{ENTRY_HEAD, Group, Kind, Login};
use crate::name;
use crate::packed::{Gids, GroupHead, PackedError, PasswdHead};
use std::collections::BTreeSet;
use std::io::{Read, Seek, Write};

/// How often another key is tried; each time the indexes become an eighth larger. One in seventy bases needs a second.
const KEYS: u32 = 24;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error("writing the snapshot: {0}")]
    Io(#[from] std::io::Error),
    /// This entry cannot be published; nothing of it was written, and the writer can go on without it.
    #[error("the entry cannot be published: {0}")]
    Entry(#[from] EntryError),
    /// Two entries have the same name.
    #[error("two entries have the name {0}; only one can be published")]
    DuplicateName(String),
    /// More than 32 GiB, or more entries than 2³².
    #[error("the snapshot would become larger than its format allows (32 GiB)")]
    TooLarge,
    /// No key was found under which the names fit. Cannot happen by chance.
    #[error("no key was found under which the indexes stay short; the source of random numbers is broken")]
    NoKey,
}

/// What is wrong with one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The packed record cannot be served.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// No group at all, not even the primary, one outside the directory's range, or one out of order.
    #[error("its list of groups is empty, out of order or has a gid outside the directory's range")]
    Groups,
    /// The name breaks the rules.
    #[error(transparent)]
    Name(#[from] name::NameError),
    /// The id is not above the one before, or a login came after a group.
    #[error("the id {0} is out of order")]
    Order(u32),
}

/// What a file says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// Which directory.
    pub directory: [u8; 16],
    /// Fresh random bytes.
    pub identity: [u8; 16],
    /// Of a delta: the identity of its base. Of a base: zero.
    pub base_identity: [u8; 16],
    /// Its numbers; a delta number above 0 makes it a delta.
    pub pair: Pair,
    /// All changes up to this are in it.
    pub generation: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// For the publisher's next life.
    pub notes: Notes,
}

/// What the publisher notes beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notes {
    /// Digest of the local accounts and rules that were applied.
    pub policy: [u8; 16],
    cursor: [u8; CURSOR],
    cursor_len: u8,
}

impl Notes {
    /// Nothing to note.
    pub const NONE: Self = Self { policy: [0; 16], cursor: [0; CURSOR], cursor_len: 0 };

    /// A cursor that is too long is left out: the next life then asks the directory by generation alone.
    #[must_use]
    pub fn new(policy: [u8; 16], cursor: &[u8]) -> Self {
        let cursor = if cursor.len() > CURSOR { &[] } else { cursor };
        let mut notes = Self { policy, cursor_len: cursor.len() as u8, ..Self::NONE };
        for (slot, byte) in notes.cursor.iter_mut().zip(cursor) {
            *slot = *byte;
        }
        notes
    }

    /// Where the directory goes on.
    #[must_use]
    pub fn cursor(&self) -> &[u8] {
        self.cursor.get(..usize::from(self.cursor_len)).unwrap_or_default()
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::NONE
    }
}

/// What a delta says is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tombstones {
    /// Login names.
    pub login_names: BTreeSet<Box<[u8]>>,
    /// Uids.
    pub uids: BTreeSet<u32>,
    /// Group names.
    pub group_names: BTreeSet<Box<[u8]>>,
    /// Gids.
    pub gids: BTreeSet<u32>,
}

/// Writes one file. Logins first, then groups, each in ascending order of id, then [`Writer::finish`].
///
/// Nothing reaches the file's header before `finish`, so that a file which was left half-way is not taken for a snapshot.
pub struct Writer<W> {
    out: Output<W>,
    meta: Meta,
    logins: Area,
    groups: Area,
    scratch: Vec<u8>,
}

/// An area while it is written.
#[derive(Default)]
struct Area {
    span: Span,
    count: u32,
    last: u32,
    strides: Vec<u8>,
}

impl<W: Read + Write + Seek> Writer<W> {
    /// Starts at the beginning of an empty file.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn new(file: W, meta: Meta) -> Result<Self, WriteError> {
        let out = Output::new(file)?;
        let start = out.position();
        let logins = Area { span: Span { start, len: 0 }, ..Area::default() };
        Ok(Self { out, meta, logins, groups: Area::default(), scratch: Vec::new() })
    }

    /// Adds a login: its packed passwd record and its packed gids.
    ///
    /// # Errors
    /// [`WriteError::Entry`]: leave this one out and go on; others: give up.
    pub fn login(&mut self, record: &[u8], gids: &[u8]) -> Result<(), WriteError> {
        let head = PasswdHead::parse(record).map_err(EntryError::Packed)?;
        let strings = record.get(PasswdHead::SIZE..).unwrap_or_default();
        head.check_strings(strings).map_err(EntryError::Packed)?;
        name::check(strings.get(..usize::from(head.name_len)).unwrap_or_default()).map_err(EntryError::Name)?;
        if !Gids::parse(gids).map_err(EntryError::Packed)?.keeps_rules() {
            return Err(EntryError::Groups.into());
        }
        if self.groups.span.start != 0 {
            return Err(EntryError::Order(head.uid).into());
        }
        push(&mut self.out, &mut self.logins, &mut self.scratch, head.uid, record, gids)
    }

    /// Adds a group: its packed record.
    ///
    /// # Errors
    /// As [`Self::login`].
    pub fn group(&mut self, record: &[u8]) -> Result<(), WriteError> {
        let head = GroupHead::parse(record).map_err(EntryError::Packed)?;
        let strings = record.get(GroupHead::SIZE..).unwrap_or_default();
        head.check_strings(strings, |_| ()).map_err(EntryError::Packed)?;
        name::check(strings.get(..usize::from(head.name_len)).unwrap_or_default()).map_err(EntryError::Name)?;
        self.begin_groups()?;
        push(&mut self.out, &mut self.groups, &mut self.scratch, head.gid, record, &[])
    }

    /// Writes tombstones, indexes and header. `keys` gives the first key to try and then as many fresh ones as it is asked for.
    ///
    /// The data is in the file when this returns, not yet on the disk: fsync is the caller's.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(mut self, gone: &Tombstones, mut keys: impl FnMut() -> Key) -> Result<(W, Header), WriteError> {
        self.begin_groups()?;
        self.groups.span.len = self.out.position() - self.groups.span.start;
        let mut sections = [Span::default(); SECTIONS];
        let mut put = |section: Section, span| {
            if let Some(slot) = sections.get_mut(section as usize) {
                *slot = span;
            }
        };
        put(Section::Logins, self.logins.span);
        put(Section::Groups, self.groups.span);
        put(Section::LoginStride, self.out.section(&self.logins.strides)?);
        put(Section::GroupStride, self.out.section(&self.groups.strides)?);
        let stones = self.stones(gone)?;
        put(Section::Tombstones, stones.span);

        let mark = self.out.mark()?;
        let mut attempt = 0;
        let (key, indexes) = loop {
            let key = keys();
            match self.indexes(gone, &stones, key, attempt)? {
                Some(spans) => break (key, spans),
                None if attempt == KEYS => return Err(WriteError::NoKey),
                None => self.out.rewind(mark)?,
            }
            attempt += 1;
        };
        let sorts = [Section::LoginNames, Section::LoginIds, Section::GroupNames, Section::GroupIds];
        for (section, span) in sorts.into_iter().zip(indexes) {
            put(section, span);
        }
        let delta = self.meta.pair.delta != 0;
        let (len, body_sum) = self.out.end()?;
        if len / UNIT >= GONE as usize {
            return Err(WriteError::TooLarge);
        }
        let header = Header {
            kind: if delta { FileKind::Delta } else { FileKind::Base },
            len,
            directory: self.meta.directory,
            identity: self.meta.identity,
            base_identity: self.meta.base_identity,
            pair: self.meta.pair,
            key,
            generation: self.meta.generation,
            created: self.meta.created,
            counts: Counts {
                logins: self.logins.count,
                groups: self.groups.count,
                dead_login_names: gone.login_names.len() as u32,
                dead_uids: gone.uids.len() as u32,
                dead_group_names: gone.group_names.len() as u32,
                dead_gids: gone.gids.len() as u32,
            },
            sections,
            policy: self.meta.notes.policy,
            cursor_len: self.meta.notes.cursor().len() as u32,
            body_sum,
        };
        Ok((self.out.header(&header.to_bytes(self.meta.notes.cursor()))?, header))
    }

    fn begin_groups(&mut self) -> Result<(), WriteError> {
        if self.groups.span.start == 0 {
            self.logins.span.len = self.out.position() - self.logins.span.start;
            self.out.align()?;
            self.groups.span.start = self.out.position();
        }
        Ok(())
    }

    /// Writes the names that are gone: logins' first, then groups'.
    fn stones(&mut self, gone: &Tombstones) -> Result<Stones, WriteError> {
        let mut bytes = Vec::new();
        let start = self.out.align()?;
        let mut offsets = |names: &BTreeSet<Box<[u8]>>| -> Vec<usize> {
            let mut at = Vec::with_capacity(names.len());
            for name in names {
                at.push(start + bytes.len());
                entry(&mut bytes, name, &[]);
            }
            at
        };
        let (logins, groups) = (offsets(&gone.login_names), offsets(&gone.group_names));
        let span = self.out.section(&bytes)?;
        Ok(Stones { span, logins: references(&logins)?, groups: references(&groups)? })
    }

    /// Writes the four indexes under this key; `None`: an entry would need too many probes.
    fn indexes(
        &mut self,
        gone: &Tombstones,
        stones: &Stones,
        key: Key,
        attempt: u32,
    ) -> Result<Option<[Span; 4]>, WriteError> {
        let logins = Wanted { area: self.logins.span, count: self.logins.count, identify: login_key };
        let dead = Dead { names: &gone.login_names, stones: &stones.logins, ids: &gone.uids };
        let Some([login_names, login_ids]) = self.area_indexes(&logins, &dead, key, attempt)? else {
            return Ok(None);
        };
        let groups = Wanted { area: self.groups.span, count: self.groups.count, identify: group_key };
        let dead = Dead { names: &gone.group_names, stones: &stones.groups, ids: &gone.gids };
        let groups = self.area_indexes(&groups, &dead, key, attempt)?;
        Ok(groups.map(|[group_names, group_ids]| [login_names, login_ids, group_names, group_ids]))
    }

    /// Reads an area back and writes its indexes by name and by id.
    fn area_indexes(
        &mut self,
        wanted: &Wanted,
        dead: &Dead<'_>,
        key: Key,
        attempt: u32,
    ) -> Result<Option<[Span; 2]>, WriteError> {
        let grow = |count: usize| count + count * attempt as usize / 8;
        let mut names = Index::for_entries(grow(wanted.count as usize + dead.names.len()));
        let mut ids = Index::for_entries(grow(wanted.count as usize + dead.ids.len()));
        let mut twins = Vec::new();
        let mut filled = dead.bury(key, &mut names, &mut ids);
        self.out.read_entries(wanted.area, |at, bytes| {
            if filled.is_err() {
                return Ok(());
            }
            let reference = reference(at)?;
            let (id, name) = (wanted.identify)(bytes).ok_or_else(|| std::io::Error::other(NOT_WHAT_WAS_WRITTEN))?;
            filled = names.insert(key.name(name), reference).and_then(|twin| {
                twins.extend(twin.map(|twin| (twin, reference)));
                ids.insert(key.id(id), reference).map(drop)
            });
            Ok(())
        })?;
        if filled.is_err() {
            return Ok(None);
        }
        self.refuse_twins(&twins, wanted.identify)?;
        Ok(Some([self.index(&names)?, self.index(&ids)?]))
    }

    fn index(&mut self, index: &Index) -> Result<Span, WriteError> {
        let start = self.out.align()?;
        for bucket in index.buckets() {
            self.out.write(&bucket)?;
        }
        Ok(Span { start, len: self.out.position() - start })
    }

    /// Two entries of one name have one tag; so have once in a while two names. Reads both to tell.
    fn refuse_twins(&mut self, twins: &[(u32, u32)], identify: Identify) -> Result<(), WriteError> {
        for (one, other) in twins {
            let one = self.out.read_entry(*one as usize * UNIT)?;
            let other = self.out.read_entry(*other as usize * UNIT)?;
            let name = identify(&one).map(|(_, name)| name);
            // A tombstone is no entry of the area and has no name here.
            if name.is_some() && name == identify(&other).map(|(_, name)| name) {
                return Err(WriteError::DuplicateName(String::from_utf8_lossy(name.unwrap_or_default()).into_owned()));
            }
        }
        Ok(())
    }
}

/// Where the tombstones of names are.
struct Stones {
    span: Span,
    logins: Vec<u32>,
    groups: Vec<u32>,
}

/// An area to be indexed.
struct Wanted {
    area: Span,
    count: u32,
    identify: Identify,
}

/// What is gone of one sort.
struct Dead<'a> {
    names: &'a BTreeSet<Box<[u8]>>,
    stones: &'a [u32],
    ids: &'a BTreeSet<u32>,
}

impl Dead<'_> {
    fn bury(&self, key: Key, names: &mut Index, ids: &mut Index) -> Result<(), Full> {
        for (name, stone) in self.names.iter().zip(self.stones) {
            // The caller keeps living and dead names apart, so a twin here is a chance meeting of tags.
            names.insert(key.name(name), *stone)?;
        }
        self.ids.iter().try_for_each(|id| ids.insert(key.id(*id), GONE).map(drop))
    }
}

/// Id and name of the entry at the front of the bytes.
type Identify = fn(&[u8]) -> Option<(u32, &[u8])>;

const NOT_WHAT_WAS_WRITTEN: &str =
    "the file is not what was just written into it; somebody else writes it too, or the disk fails";

fn login_key(entry: &[u8]) -> Option<(u32, &[u8])> {
    Login::parse(entry).map(|login| (login.id(), login.name()))
}

fn group_key(entry: &[u8]) -> Option<(u32, &[u8])> {
    Group::parse(entry).map(|group| (group.id(), group.name()))
}

/// Appends an entry to its area.
fn push<W: Read + Write + Seek>(
    out: &mut Output<W>,
    area: &mut Area,
    scratch: &mut Vec<u8>,
    id: u32,
    record: &[u8],
    gids: &[u8],
) -> Result<(), WriteError> {
    if area.count > 0 && id <= area.last {
        return Err(EntryError::Order(id).into());
    }
    let reference = reference(out.position())?;
    if area.count.is_multiple_of(STRIDE) {
        area.strides.extend_from_slice(&id.to_le_bytes());
        area.strides.extend_from_slice(&reference.to_le_bytes());
    }
    scratch.clear();
    entry(scratch, record, gids);
    out.write(scratch)?;
    area.count = area.count.checked_add(1).ok_or(WriteError::TooLarge)?;
    area.last = id;
    Ok(())
}

/// An entry as bytes: see [`super::view`].
fn entry(out: &mut Vec<u8>, record: &[u8], gids: &[u8]) {
    let start = out.len();
    let gids_at = ENTRY_HEAD + record.len().next_multiple_of(4);
    let len = (gids_at + gids.len()).next_multiple_of(UNIT);
    out.extend_from_slice(&(len as u32).to_le_bytes());
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(record);
    out.resize(start + gids_at, 0);
    out.extend_from_slice(gids);
    out.resize(start + len, 0);
}

fn reference(at: usize) -> Result<u32, WriteError> {
    u32::try_from(at / UNIT).ok().filter(|reference| *reference < GONE).ok_or(WriteError::TooLarge)
}

fn references(at: &[usize]) -> Result<Vec<u32>, WriteError> {
    at.iter().map(|at| reference(*at)).collect()
}
