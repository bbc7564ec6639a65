//! A base and its delta as one directory: what the delta says counts, for the rest the base.
//!
//! The writer of a delta guarantees that every entry of the base which is no longer exactly so is shadowed under its name *and* under its id, by
//! a newer entry or by a tombstone. So a look-up by either key needs one question to the delta and at most one to the base.

use super::Answer;
use super::hash::Hash;
use super::layout::{Defect, Header, Section};
use super::view::{Group, Kind, Login, Lookup, Spot, View};
use crate::name::MAX_LEN;
use crate::packed::Gids;

/// The files of one generation.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    base: View<'a>,
    delta: Option<View<'a>>,
}

/// Where a list last was in the files of a generation, so that its next entry is a step away. Of other files it is not believed, so it may be kept across generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spots {
    base: Spot,
    delta: Spot,
}

impl Spots {
    /// Nothing was listed yet.
    pub const NOWHERE: Self = Self { base: Spot::NOWHERE, delta: Spot::NOWHERE };
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

    /// The login with the lowest uid above `after`. [`Answer::Absent`]: that was the last.
    #[must_use]
    pub fn login_after(&self, after: u32) -> Answer<Login<'a>> {
        self.next_login(after, &mut { Spots::NOWHERE })
    }

    /// The group with the lowest gid above `after`. [`Answer::Absent`]: that was the last.
    #[must_use]
    pub fn group_after(&self, after: u32) -> Answer<Group<'a>> {
        self.next_group(after, &mut { Spots::NOWHERE })
    }

    /// As [`Self::login_after`], for who asks for one after the other (`getpwent`).
    #[must_use]
    #[inline(never)]
    pub fn next_login(&self, after: u32, spots: &mut Spots) -> Answer<Login<'a>> {
        self.next(after, spots)
    }

    /// As [`Self::group_after`], for who asks for one after the other (`getgrent`).
    #[must_use]
    #[inline(never)]
    pub fn next_group(&self, after: u32, spots: &mut Spots) -> Answer<Group<'a>> {
        self.next(after, spots)
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

    #[inline(always)]
    fn next<K: Kind<'a>>(&self, after: u32, spots: &mut Spots) -> Answer<K> {
        let (view, found) = self.find_next(K::AREA, K::STRIDES, K::IDS, after, spots);
        match view.read(found) {
            Lookup::Here(entry) => Answer::Found(entry),
            Lookup::Nothing => Answer::Absent,
            Lookup::Gone | Lookup::Damaged => Answer::Unusable,
        }
    }

    /// Where the next one is. One function for logins and groups.
    #[inline(never)]
    fn find_next(
        &self,
        area: Section,
        strides: Section,
        ids: Section,
        after: u32,
        spots: &mut Spots,
    ) -> (&View<'a>, Lookup<u32>) {
        let mut in_delta = None;
        if let Some(delta) = &self.delta {
            match delta.find_after(area, strides, after, &mut spots.delta) {
                Lookup::Here(found) => in_delta = Some((delta, found)),
                Lookup::Nothing => {}
                Lookup::Gone | Lookup::Damaged => return (delta, Lookup::Damaged),
            }
        }
        let mut from = after;
        loop {
            let in_base = match self.base.find_after(area, strides, from, &mut spots.base) {
                Lookup::Here(found) => Some(found),
                Lookup::Nothing => None,
                Lookup::Gone | Lookup::Damaged => return (&self.base, Lookup::Damaged),
            };
            let (id, reference) = match (in_base, in_delta) {
                (None, None) => return (&self.base, Lookup::Nothing),
                (Some((id, _)), Some((delta, (other, reference)))) if other <= id => {
                    return (delta, Lookup::Here(reference));
                }
                (None, Some((delta, (_, reference)))) => return (delta, Lookup::Here(reference)),
                (Some(found), _) => found,
            };
            // Whether the delta has another opinion about it.
            match self.delta.map(|delta| delta.find_id_in(ids, delta.header().key.id(id))) {
                None | Some(Lookup::Nothing) => return (&self.base, Lookup::Here(reference)),
                // Ids rise, so this ends.
                Some(Lookup::Here(_) | Lookup::Gone) => from = id,
                Some(Lookup::Damaged) => return (&self.base, Lookup::Damaged),
            }
        }
    }
}
