//! A base and its delta as one directory: what the delta says counts, for the rest the base.
//!
//! The writer of a delta guarantees that every entry of the base which is no longer exactly so is shadowed under its name *and* under its id, by
//! a newer entry or by a tombstone. So a look-up by either key needs one question to the delta and at most one to the base.

use super::Answer;
use super::hash::Hash;
use super::layout::{Defect, Header};
use super::view::{Group, Kind, Login, Lookup, View};
use crate::name::MAX_LEN;
use crate::packed::Gids;

/// The files of one generation.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    base: View<'a>,
    delta: Option<View<'a>>,
}

impl<'a> Snapshot<'a> {
    /// Puts a delta on its base.
    ///
    /// # Errors
    /// [`Defect::Foreign`] when they do not belong together.
    pub fn new(base: View<'a>, delta: Option<View<'a>>) -> Result<Self, Defect> {
        if base.header().kind != super::layout::FileKind::Base {
            return Err(Defect::Foreign);
        }
        if let Some(delta) = &delta {
            base.header().check_delta(delta.header())?;
        }
        Ok(Self { base, delta })
    }

    /// As [`Self::new`], for a pair that was checked when it was mapped: a look-up need not do it again.
    #[must_use]
    #[inline(always)]
    pub fn checked_before(base: View<'a>, delta: Option<View<'a>>) -> Self {
        Self { base, delta }
    }

    /// All changes up to this are in it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.newest().generation
    }

    /// The header of the delta, or of the base where there is none.
    #[must_use]
    pub fn newest(&self) -> &'a Header {
        self.delta.as_ref().unwrap_or(&self.base).header()
    }

    /// The base.
    #[must_use]
    pub fn base(&self) -> View<'a> {
        self.base
    }

    /// The delta.
    #[must_use]
    pub fn delta(&self) -> Option<View<'a>> {
        self.delta
    }

    /// The packed gids of the login of this name, each inside the directory's range (`initgroups`).
    #[must_use]
    #[inline(never)]
    pub fn initgroups(&self, name: &[u8]) -> Answer<Gids<'a>> {
        match self.login_by_name(name).map(|login| login.gids()) {
            Answer::Found(Some(gids)) => Answer::Found(gids),
            Answer::Found(None) | Answer::Unusable => Answer::Unusable,
            Answer::Absent => Answer::Absent,
        }
    }

    /// The login of this name (`getpwnam`).
    #[must_use]
    #[inline(always)]
    pub fn login_by_name(&self, name: &[u8]) -> Answer<Login<'a>> {
        self.by_name(name)
    }

    /// The login of this uid (`getpwuid`).
    #[must_use]
    #[inline(always)]
    pub fn login_by_uid(&self, uid: u32) -> Answer<Login<'a>> {
        self.by_id(uid)
    }

    /// The group of this name (`getgrnam`).
    #[must_use]
    #[inline(never)]
    pub fn group_by_name(&self, name: &[u8]) -> Answer<Group<'a>> {
        self.by_name(name)
    }

    /// The group of this gid (`getgrgid`).
    #[must_use]
    #[inline(never)]
    pub fn group_by_gid(&self, gid: u32) -> Answer<Group<'a>> {
        self.by_id(gid)
    }

    /// The login with the lowest uid above `after` (`getpwent`). [`Answer::Absent`]: that was the last.
    #[must_use]
    #[inline(never)]
    pub fn login_after(&self, after: u32) -> Answer<Login<'a>> {
        self.after(after)
    }

    /// The group with the lowest gid above `after` (`getgrent`).
    #[must_use]
    #[inline(never)]
    pub fn group_after(&self, after: u32) -> Answer<Group<'a>> {
        self.after(after)
    }

    #[inline(always)]
    fn by_name<K: Kind<'a>>(&self, name: &[u8]) -> Answer<K> {
        if name.is_empty() || name.len() > MAX_LEN {
            return Answer::Absent;
        }
        let hash = self.base.header().key.name(name);
        self.ask(hash, |view| view.header().key.name_seldom(name), |view, hash| view.find_name::<K>(name, hash))
    }

    #[inline(always)]
    fn by_id<K: Kind<'a>>(&self, id: u32) -> Answer<K> {
        let hash = self.base.header().key.id(id);
        match self.ask::<K>(hash, |view| view.header().key.id(id), View::find_id::<K>) {
            Answer::Found(entry) if entry.id() != id => Answer::Unusable,
            answer => answer,
        }
    }

    /// The delta, then the base. A delta has the key of its base unless its names would not fit, so one hash does for both.
    #[inline(always)]
    fn ask<K: Kind<'a>>(
        &self,
        hash: Hash,
        hash_for: impl Fn(&View<'a>) -> Hash,
        find: impl Fn(&View<'a>, Hash) -> Lookup<u32>,
    ) -> Answer<K> {
        let mut view = &self.base;
        let mut found = Lookup::Nothing;
        if let Some(delta) = &self.delta {
            let same_key = delta.header().key == self.base.header().key;
            found = find(delta, if same_key { hash } else { hash_for(delta) });
            view = delta;
        }
        if found == Lookup::Nothing {
            view = &self.base;
            found = find(view, hash);
        }
        match view.read(found) {
            Lookup::Here(entry) => Answer::Found(entry),
            Lookup::Gone | Lookup::Nothing => Answer::Absent,
            Lookup::Damaged => Answer::Unusable,
        }
    }

    fn after<K: Kind<'a>>(&self, after: u32) -> Answer<K> {
        let in_delta = match self.delta.map_or(Lookup::Nothing, |delta| delta.next::<K>(after)) {
            Lookup::Here(entry) => Some(entry),
            Lookup::Nothing => None,
            Lookup::Gone | Lookup::Damaged => return Answer::Unusable,
        };
        let mut from = after;
        let in_base = loop {
            match self.base.next::<K>(from) {
                Lookup::Here(entry) => match self.shadowed::<K>(entry.id()) {
                    Some(false) => break Some(entry),
                    // Ids rise, so this ends.
                    Some(true) => from = entry.id(),
                    None => return Answer::Unusable,
                },
                Lookup::Nothing => break None,
                Lookup::Gone | Lookup::Damaged => return Answer::Unusable,
            }
        };
        match (in_base, in_delta) {
            (Some(base), Some(delta)) => Answer::Found(if base.id() < delta.id() { base } else { delta }),
            (Some(entry), None) | (None, Some(entry)) => Answer::Found(entry),
            (None, None) => Answer::Absent,
        }
    }

    /// Whether the delta has another opinion about an id of the base.
    fn shadowed<K: Kind<'a>>(&self, id: u32) -> Option<bool> {
        let Some(delta) = &self.delta else {
            return Some(false);
        };
        match delta.by_id::<K>(id, delta.header().key.id(id)) {
            Lookup::Here(_) | Lookup::Gone => Some(true),
            Lookup::Nothing => Some(false),
            Lookup::Damaged => None,
        }
    }
}
