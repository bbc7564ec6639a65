//! What has changed since a base: gathered entry by entry, written as a delta, read back from one, folded into the next base.

use super::Answer;
use super::hash::Key;
use super::layout::{Defect, FileKind, Header, Section};
use super::pair::{Snapshot, Spots};
use super::view::{ENTRY_HEAD, Group, Kind, Login, Lookup, View, skip_entry, split_entry};
use super::write::{Meta, Tombstones, WriteError, Writer};
use crate::id::{GroupId, UserId};
use crate::name::{GroupName, LoginName};
use crate::packed::{self, PackedError};
use crate::record;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek, Write};

/// An entry as it will be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    id: u32,
    name: Box<[u8]>,
    record: Box<[u8]>,
    gids: Box<[u8]>,
}

impl Owned {
    /// A login and its groups, the primary first.
    #[must_use]
    pub fn login(passwd: &record::Passwd, gids: &[GroupId]) -> Self {
        Self {
            id: passwd.uid.raw(),
            name: passwd.name.as_str().as_bytes().into(),
            record: packed::write::passwd(passwd).into(),
            gids: packed::write::gids(gids).into(),
        }
    }

    /// A group.
    ///
    /// # Errors
    /// [`PackedError::Length`] for too many members.
    pub fn group(group: &record::Group) -> Result<Self, PackedError> {
        Ok(Self {
            id: group.gid.raw(),
            name: group.name.as_str().as_bytes().into(),
            record: packed::write::group(group)?.into(),
            gids: Box::default(),
        })
    }

    /// Its uid or gid.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The packed record.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// The packed gids of a login.
    #[must_use]
    pub fn gids(&self) -> &[u8] {
        &self.gids
    }

    fn bytes(&self) -> usize {
        ENTRY_HEAD + self.record.len() + self.gids.len()
    }
}

/// Where its groups are damaged there are none, and no writer takes it.
impl From<Login<'_>> for Owned {
    fn from(login: Login<'_>) -> Self {
        Self {
            id: login.id(),
            name: login.name().into(),
            record: login.record.into(),
            gids: login.packed_gids().unwrap_or_default().into(),
        }
    }
}

impl From<Group<'_>> for Owned {
    fn from(group: Group<'_>) -> Self {
        Self { id: group.id(), name: group.name().into(), record: group.record.into(), gids: Box::default() }
    }
}

/// What the directory says about one entry now. Said of every name and id that a change concerns, in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is this login (made with [`Owned::login`]); whoever had its name or its uid before has lost it.
    Login(Owned),
    /// There is no login of this name.
    NoLoginNamed(LoginName),
    /// There is no login with this uid.
    NoLoginWith(UserId),
    /// There is this group (made with [`Owned::group`]).
    Group(Owned),
    /// There is no group of this name.
    NoGroupNamed(GroupName),
    /// There is no group with this gid.
    NoGroupWith(GroupId),
}

/// All changes since a base.
///
/// Of each sort: the entries that are new or other than in the base, and the names and ids of the base that are gone. Every
/// entry of the base that is no longer exactly so is covered under its name and under its id ([`super::pair`] relies on it).
#[derive(Debug, Clone, Default)]
pub struct Changes {
    logins: Sort,
    groups: Sort,
}

#[derive(Debug, Clone, Default)]
struct Sort {
    live: BTreeMap<u32, Owned>,
    names: HashMap<Box<[u8]>, u32>,
    dead_names: BTreeSet<Box<[u8]>>,
    dead_ids: BTreeSet<u32>,
    /// Of the live entries.
    bytes: usize,
}

impl Changes {
    /// Reads the changes back from a delta that was [verified](super::verify).
    ///
    /// # Errors
    /// [`Defect`] when it is none or is damaged after all.
    pub fn from_delta(delta: &View<'_>) -> Result<Self, Defect> {
        if delta.header().kind != FileKind::Delta {
            return Err(Defect::Foreign);
        }
        let counts = delta.header().counts;
        let mut changes = Self::default();
        delta.entries::<Login<'_>>().for_each(|login| changes.logins.put(login.into()));
        delta.entries::<Group<'_>>().for_each(|group| changes.groups.put(group.into()));
        let mut stones = delta.section(Section::Tombstones).unwrap_or_default();
        let mut names = Vec::new();
        while !stones.is_empty() {
            names.push(Box::from(split_entry(stones).ok_or(Defect::Entry)?.0));
            stones = skip_entry(stones).ok_or(Defect::Entry)?;
        }
        let groups = names.split_off(names.len().min(counts.dead_login_names as usize));
        changes.logins.dead_names = names.into_iter().collect();
        changes.groups.dead_names = groups.into_iter().collect();
        changes.logins.dead_ids = delta.dead_ids(Section::LoginIds).collect();
        changes.groups.dead_ids = delta.dead_ids(Section::GroupIds).collect();
        let complete = changes.logins.live.len() == counts.logins as usize
            && changes.groups.live.len() == counts.groups as usize
            && changes.logins.dead_ids.len() == counts.dead_uids as usize
            && changes.groups.dead_ids.len() == counts.dead_gids as usize
            && changes.groups.dead_names.len() == counts.dead_group_names as usize;
        if complete { Ok(changes) } else { Err(Defect::Entry) }
    }

    /// Adds one change over this base, always the same one. What is already so costs nothing.
    ///
    /// # Errors
    /// [`Defect::Index`] when the base is damaged.
    pub fn apply(&mut self, base: &View<'_>, change: Change) -> Result<(), Defect> {
        match change {
            Change::Login(login) => self.logins.set::<Login<'_>>(base, login),
            Change::NoLoginNamed(name) => self.logins.remove_name::<Login<'_>>(base, name.as_str().as_bytes()),
            Change::NoLoginWith(uid) => self.logins.remove_id::<Login<'_>>(base, uid.raw()),
            Change::Group(group) => self.groups.set::<Group<'_>>(base, group),
            Change::NoGroupNamed(name) => self.groups.remove_name::<Group<'_>>(base, name.as_str().as_bytes()),
            Change::NoGroupWith(gid) => self.groups.remove_id::<Group<'_>>(base, gid.raw()),
        }
    }

    /// Entries and tombstones: what writing a delta costs grows with it.
    #[must_use]
    pub fn len(&self) -> usize {
        let count = |sort: &Sort| sort.live.len() + sort.dead_names.len() + sort.dead_ids.len();
        count(&self.logins) + count(&self.groups)
    }

    /// Bytes of the entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.logins.bytes + self.groups.bytes
    }

    /// Whether everything is as in the base.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the delta. Its indexes have the key of the base if the names fit under it, else one of `keys`.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write<W: Read + Write + Seek>(
        &self,
        file: W,
        base: &Header,
        meta: Meta,
        mut keys: impl FnMut() -> Key,
    ) -> Result<(W, Header), WriteError> {
        let mut writer = Writer::new(file, Meta { base_identity: base.identity, directory: base.directory, ..meta })?;
        for login in self.logins.live.values() {
            writer.login(&login.record, &login.gids)?;
        }
        for group in self.groups.live.values() {
            writer.group(&group.record)?;
        }
        let gone = Tombstones {
            login_names: self.logins.dead_names.clone(),
            uids: self.logins.dead_ids.clone(),
            group_names: self.groups.dead_names.clone(),
            gids: self.groups.dead_ids.clone(),
        };
        let mut first = Some(base.key);
        writer.finish(&gone, || first.take().unwrap_or_else(&mut keys))
    }
}

/// Writes a new base out of a base and its delta.
///
/// # Errors
/// [`WriteError`]; damage in the old files is an [`WriteError::Io`] of kind `InvalidData`.
pub fn fold<W: Read + Write + Seek>(
    old: &Snapshot<'_>,
    file: W,
    meta: Meta,
    keys: impl FnMut() -> Key,
) -> Result<(W, Header), WriteError> {
    let damaged = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the snapshot to be folded is damaged");
    let mut writer = Writer::new(file, meta)?;
    let (mut after, mut spots) = (0, Spots::NOWHERE);
    loop {
        match old.next_login(after, &mut spots) {
            Answer::Found(login) => {
                writer.login(login.record, login.packed_gids().ok_or_else(damaged)?)?;
                after = login.id();
            }
            Answer::Absent => break,
            Answer::Unusable => return Err(damaged().into()),
        }
    }
    (after, spots) = (0, Spots::NOWHERE);
    loop {
        match old.next_group(after, &mut spots) {
            Answer::Found(group) => {
                writer.group(group.record)?;
                after = group.id();
            }
            Answer::Absent => break,
            Answer::Unusable => return Err(damaged().into()),
        }
    }
    writer.finish(&Tombstones::default(), keys)
}

impl Sort {
    /// There is this entry now.
    fn set<'a, K: Kind<'a> + Into<Owned>>(&mut self, base: &View<'a>, new: Owned) -> Result<(), Defect> {
        let by_id = base_by_id::<K>(base, new.id)?;
        let by_name = base_by_name::<K>(base, &new.name)?;
        // Who has its id in the delta, under another name? Who its name, under another id?
        if let Some(old) = self.live.get(&new.id).filter(|old| old.name != new.name).map(|old| old.name.clone()) {
            self.remove_name::<K>(base, &old)?;
        }
        if self.names.get(&new.name).is_some_and(|id| *id != new.id) {
            self.remove_name::<K>(base, &new.name)?;
        }
        // The same in the base: what the new entry takes away from another must not be found there under the other's second key.
        if let Some(old) = by_id.filter(|old| old.name() != &*new.name && !self.names.contains_key(old.name())) {
            self.dead_names.insert(old.name().into());
        }
        if let Some(old) = by_name.filter(|old| old.id() != new.id && !self.live.contains_key(&old.id())) {
            self.dead_ids.insert(old.id());
        }
        let untouched = !self.live.contains_key(&new.id)
            && !self.dead_names.contains(&new.name)
            && !self.dead_ids.contains(&new.id);
        if untouched && by_id.is_some_and(|old| old.into() == new) {
            return Ok(());
        }
        self.dead_names.remove(&new.name);
        self.dead_ids.remove(&new.id);
        self.put(new);
        Ok(())
    }

    fn remove_name<'a, K: Kind<'a>>(&mut self, base: &View<'a>, name: &[u8]) -> Result<(), Defect> {
        if let Some(id) = self.names.remove(name) {
            self.drop_live(id);
            if base_by_id::<K>(base, id)?.is_some() {
                self.dead_ids.insert(id);
            }
        }
        if let Some(old) = base_by_name::<K>(base, name)? {
            self.dead_names.insert(name.into());
            if !self.live.contains_key(&old.id()) {
                self.dead_ids.insert(old.id());
            }
        }
        Ok(())
    }

    fn remove_id<'a, K: Kind<'a>>(&mut self, base: &View<'a>, id: u32) -> Result<(), Defect> {
        if let Some(name) = self.live.get(&id).map(|old| old.name.clone()) {
            return self.remove_name::<K>(base, &name);
        }
        if let Some(old) = base_by_id::<K>(base, id)? {
            self.dead_ids.insert(id);
            if !self.names.contains_key(old.name()) {
                self.dead_names.insert(old.name().into());
            }
        }
        Ok(())
    }

    fn put(&mut self, new: Owned) {
        self.drop_live(new.id);
        self.bytes += new.bytes();
        self.names.insert(new.name.clone(), new.id);
        self.live.insert(new.id, new);
    }

    fn drop_live(&mut self, id: u32) {
        if let Some(old) = self.live.remove(&id) {
            self.bytes = self.bytes.saturating_sub(old.bytes());
        }
    }
}

fn base_by_id<'a, K: Kind<'a>>(base: &View<'a>, id: u32) -> Result<Option<K>, Defect> {
    known(base.by_id(id, base.header().key.id(id)))
}

fn base_by_name<'a, K: Kind<'a>>(base: &View<'a>, name: &[u8]) -> Result<Option<K>, Defect> {
    known(base.by_name(name, base.header().key.name(name)))
}

fn known<K>(found: Lookup<K>) -> Result<Option<K>, Defect> {
    match found {
        Lookup::Here(entry) => Ok(Some(entry)),
        Lookup::Nothing => Ok(None),
        Lookup::Gone | Lookup::Damaged => Err(Defect::Index),
    }
}
