//! Reads all of a file, or of a base with its delta, and tells everything that is wrong with it, and where.
//!
//! What a reader relies on is proved here: the checksums, every entry and its strings, the way to it by name, by id and by the list, and the other
//! way round that nothing is found which is not there; of a delta, that it hides whatever it has changed.

use super::Answer;
use super::hash::{BodySum, Key};
use super::layout::{BUCKET, Defect, FREE, FileKind, GONE, HEADER, Header, STRIDE, STRIDE_ENTRY, Section, UNIT};
use super::pair::Snapshot;
use super::view::{Group, Kind, Login, Lookup, Spot, View, skip_entry, split_entry};
use crate::name;

/// So many faults of a file are told: the first few say what happened, and a lost page causes thousands.
pub const MOST: usize = 20;

/// The checksum is computed in pieces of this many bytes, a multiple of 32.
const PIECE: usize = 1 << 20;

/// No writer leaves so many zeros in a row, and a lost page or sector has at least so many.
const SECTOR: usize = 512;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Of which sort.
    pub defect: Defect,
    /// Bytes from the start of the file, where it has a place.
    pub at: Option<usize>,
    /// What is concerned, for people.
    pub what: String,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.at {
            Some(at) => write!(f, "byte {at}: {}: {}", self.what, self.defect),
            None => write!(f, "{}: {}", self.what, self.defect),
        }
    }
}

/// Checks a file in itself. `step` is called with bytes as they are done, [`work`] in all.
///
/// # Errors
/// What is wrong, at least one and at most [`MOST`].
pub fn file(file: &[u8], step: &mut dyn FnMut(usize)) -> Result<Header, Vec<Fault>> {
    let header = Header::parse(file).map_err(|defect| vec![Fault { defect, at: Some(0), what: "header".into() }])?;
    let mut faults = Faults::default();
    let body = file.get(HEADER..).unwrap_or_default();
    let mut sum = BodySum::default();
    for piece in body.chunks(PIECE) {
        sum.update(piece);
        step(piece.len());
    }
    if sum.finish() != header.body_sum {
        faults.add(Defect::BodySum, None, || "the whole file".into());
        zeros(file, &mut faults);
    }
    let Some(view) = View::new(file, &header) else {
        faults.add(Defect::Length, None, || "the whole file".into());
        return Err(faults.0);
    };
    content(&view, &mut faults, step);
    faults.ok(header)
}

/// Checks that a delta hides every entry of its base which is no longer exactly so, and that each entry of the two together is found in every way. Both
/// were checked in themselves.
///
/// # Errors
/// What is wrong, at least one and at most [`MOST`].
pub fn pair<'a>(base: View<'a>, delta: View<'a>, step: &mut dyn FnMut(usize)) -> Result<(), Vec<Fault>> {
    let foreign = |defect| vec![Fault { defect, at: None, what: "the delta on its base".into() }];
    let snapshot = Snapshot::new(base, Some(delta)).map_err(foreign)?;
    let mut faults = Faults::default();
    hides::<Login<'_>>(&base, &delta, &mut faults);
    hides::<Group<'_>>(&base, &delta, &mut faults);
    let areas = [Section::Logins, Section::Groups].map(|area| base.header().span(area).len);
    listed(
        &mut faults,
        |after| snapshot.login_after(after),
        |name| snapshot.login_by_name(name),
        |id| snapshot.login_by_uid(id),
    );
    step(areas[0]);
    listed(
        &mut faults,
        |after| snapshot.group_after(after),
        |name| snapshot.group_by_name(name),
        |id| snapshot.group_by_gid(id),
    );
    step(areas[1]);
    faults.ok(())
}

/// How many bytes the steps of [`file()`] and, for a base below a delta, of [`pair`] add up to: about.
#[must_use]
pub fn work(bytes: usize) -> u64 {
    2 * bytes as u64
}

/// Faults up to [`MOST`].
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, defect: Defect, at: Option<usize>, what: impl FnOnce() -> String) {
        if self.0.len() < MOST {
            self.0.push(Fault { defect, at, what: what() });
        }
    }

    fn ok<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// Where zeros are that nobody wrote.
fn zeros(file: &[u8], faults: &mut Faults) {
    let mut run = 0;
    for (n, sector) in file.chunks(SECTOR).chain(core::iter::once([1].as_slice())).enumerate() {
        if sector.len() == SECTOR && sector.iter().all(|byte| *byte == 0) {
            run += SECTOR;
        } else if run > 0 {
            faults.add(Defect::BodySum, Some((n * SECTOR).saturating_sub(run)), || {
                format!("{run} bytes of zeros, as a lost page leaves")
            });
            run = 0;
        }
    }
}

fn content(view: &View<'_>, faults: &mut Faults, step: &mut dyn FnMut(usize)) {
    let header = view.header();
    let counts = header.counts;
    let stones = [counts.dead_login_names, counts.dead_uids, counts.dead_group_names, counts.dead_gids];
    if header.kind == FileKind::Base && stones.iter().any(|count| *count != 0) {
        faults.add(Defect::Field, Some(120), || "a base that says something is gone".into());
    }
    let logins = area::<Login<'_>>(view, counts.logins, faults, step, |login| {
        login.head.check_strings(login.strings).is_ok() && login.gids().is_some()
    });
    let groups = area::<Group<'_>>(view, counts.groups, faults, step, |group| {
        group.head.check_strings(group.strings, |_| ()).is_ok()
    });
    let (dead_logins, dead_groups) = tombstones(view, faults);
    names::<Login<'_>>(view, &logins, &dead_logins, faults);
    names::<Group<'_>>(view, &groups, &dead_groups, faults);
    step(
        view.section(Section::LoginNames).unwrap_or_default().len()
            + view.section(Section::GroupNames).unwrap_or_default().len(),
    );
    ids::<Login<'_>>(view, &logins, counts.dead_uids, faults);
    ids::<Group<'_>>(view, &groups, counts.dead_gids, faults);
    step(
        view.section(Section::LoginIds).unwrap_or_default().len()
            + view.section(Section::GroupIds).unwrap_or_default().len(),
    );
}

/// What an entry is called in a fault.
fn label<'a, K: Kind<'a>>(entry: &K) -> String {
    let (kind, id) = if K::AREA == Section::Logins { ("login", "uid") } else { ("group", "gid") };
    format!("{kind} {} ({id} {})", String::from_utf8_lossy(entry.name()).escape_default(), entry.id())
}

fn plural(area: Section) -> &'static str {
    if area == Section::Logins { "logins" } else { "groups" }
}

/// Every entry is well formed, in order, in the stride table, and found by its name and by its id. Gives the references of all.
fn area<'a, K: Kind<'a> + PartialEq>(
    view: &View<'a>,
    count: u32,
    faults: &mut Faults,
    step: &mut dyn FnMut(usize),
    well: impl Fn(&K) -> bool,
) -> Vec<u32> {
    let key = view.header().key;
    let end = view.header().span(K::AREA).end();
    let (strides, _) = view.section(K::STRIDES).unwrap_or_default().as_chunks::<STRIDE_ENTRY>();
    let mut starts = Vec::with_capacity(count.min(1 << 24) as usize);
    let mut rest = view.section(K::AREA).unwrap_or_default();
    let mut last = 0;
    while !rest.is_empty() {
        let at = end.saturating_sub(rest.len());
        let next = skip_entry(rest);
        step(rest.len().saturating_sub(next.map_or(0, <[u8]>::len)));
        let parsed = K::parse(rest);
        let Some(entry) = parsed else {
            faults.add(Defect::Entry, Some(at), || format!("an entry of the {} behind id {last}", plural(K::AREA)));
            // Its length may be right all the same.
            match next {
                Some(next) => rest = next,
                None => break,
            }
            continue;
        };
        rest = next.unwrap_or_default();
        let reference = (at / UNIT) as u32;
        if !well(&entry) || name::check(entry.name()).is_err() {
            faults.add(Defect::Entry, Some(at), || label(&entry) + ", its strings or its groups");
        }
        if entry.id() <= last {
            faults.add(Defect::Entry, Some(at), || format!("{} comes after id {last}", label(&entry)));
        }
        if view.by_name(entry.name(), key.name(entry.name())) != Lookup::Here(entry) {
            faults.add(Defect::Index, Some(at), || label(&entry) + ", looked up by name");
        }
        if view.by_id(entry.id(), key.id(entry.id())) != Lookup::Here(entry) {
            faults.add(Defect::Index, Some(at), || label(&entry) + ", looked up by id");
        }
        if starts.len().is_multiple_of(STRIDE as usize) {
            let mut expected = [0; STRIDE_ENTRY];
            expected
                .iter_mut()
                .zip(entry.id().to_le_bytes().into_iter().chain(reference.to_le_bytes()))
                .for_each(|(to, from)| *to = from);
            if strides.get(starts.len() / STRIDE as usize) != Some(&expected) {
                let table = view.header().span(K::STRIDES).start + starts.len() / STRIDE as usize * STRIDE_ENTRY;
                faults.add(Defect::Index, Some(table), || label(&entry) + " in the stride table");
            }
        }
        if view.next::<K>(entry.id().saturating_sub(1), &mut { Spot::NOWHERE }) != Lookup::Here(entry) {
            faults.add(Defect::Index, Some(at), || label(&entry) + ", in the list");
        }
        last = entry.id();
        starts.push(reference);
    }
    if starts.len() != count as usize {
        faults.add(Defect::Entry, None, || format!("{} {}, the header says {count}", starts.len(), plural(K::AREA)));
    }
    starts
}

/// The tombstones of names: well formed, and found. References of those of logins, of groups.
fn tombstones(view: &View<'_>, faults: &mut Faults) -> (Vec<u32>, Vec<u32>) {
    let counts = view.header().counts;
    let end = view.header().span(Section::Tombstones).end();
    let (mut logins, mut groups) = (Vec::new(), Vec::new());
    let mut rest = view.section(Section::Tombstones).unwrap_or_default();
    while !rest.is_empty() {
        let at = end.saturating_sub(rest.len());
        let (Some((gone, _)), Some(next)) = (split_entry(rest), skip_entry(rest)) else {
            faults.add(Defect::Entry, Some(at), || "a name that is gone".into());
            break;
        };
        rest = next;
        let of_logins = logins.len() < counts.dead_login_names as usize;
        let hash = view.header().key.name(gone);
        let found = match of_logins {
            true => matches!(view.by_name::<Login<'_>>(gone, hash), Lookup::Gone),
            false => matches!(view.by_name::<Group<'_>>(gone, hash), Lookup::Gone),
        };
        let what = || format!("the name {}, which is gone", String::from_utf8_lossy(gone).escape_default());
        if name::check(gone).is_err() {
            faults.add(Defect::Entry, Some(at), what);
        } else if !found {
            faults.add(Defect::Index, Some(at), what);
        }
        if of_logins { &mut logins } else { &mut groups }.push((at / UNIT) as u32);
    }
    let wanted = (counts.dead_login_names as usize, counts.dead_group_names as usize);
    if (logins.len(), groups.len()) != wanted {
        let found = logins.len() + groups.len();
        faults.add(Defect::Entry, None, || format!("{found} names are gone, the header says {}", wanted.0 + wanted.1));
    }
    (logins, groups)
}

/// The index by name has one slot for each entry and each tombstone, and none else.
fn names<'a, K: Kind<'a>>(view: &View<'a>, entries: &[u32], stones: &[u32], faults: &mut Faults) {
    let key = view.header().key;
    let found = slots(view, K::NAMES, faults, |_, tag, reference| {
        let named = if stones.binary_search(&reference).is_ok() {
            view.tombstone(reference)
        } else if entries.binary_search(&reference).is_ok() {
            at::<K>(view, reference).map(|entry| entry.name())
        } else {
            None
        };
        named.is_some_and(|name| key.name(name).tag == tag)
    });
    if found != entries.len() + stones.len() {
        let wanted = entries.len() + stones.len();
        faults.add(Defect::Index, None, || {
            format!("the index of {} by name has {found} entries, not {wanted}", plural(K::AREA))
        });
    }
}

/// The index by id has one slot for each entry and each id that is gone, and none else.
fn ids<'a, K: Kind<'a>>(view: &View<'a>, entries: &[u32], gone: u32, faults: &mut Faults) {
    let key = view.header().key;
    let found = slots(view, K::IDS, faults, |_, tag, reference| {
        if reference == GONE {
            return matches!(view.by_id::<K>(tag, key.id(tag)), Lookup::Gone);
        }
        entries.binary_search(&reference).is_ok() && at::<K>(view, reference).is_some_and(|entry| entry.id() == tag)
    });
    let wanted = entries.len() + gone as usize;
    if found != wanted {
        faults.add(Defect::Index, None, || {
            format!("the index of {} by id has {found} entries, not {wanted}", plural(K::AREA))
        });
    }
}

/// Asks `right` about the key, tag and reference of each slot in use, and counts them.
fn slots(view: &View<'_>, index: Section, faults: &mut Faults, right: impl Fn(Key, u32, u32) -> bool) -> usize {
    let start = view.header().span(index).start;
    let key = view.header().key;
    let mut count = 0;
    for (n, bucket) in view.section(index).unwrap_or_default().as_chunks::<BUCKET>().0.iter().enumerate() {
        let (tags, references) = bucket.split_at(BUCKET / 2);
        let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let mut ended = false;
        for (slot, (tag, reference)) in
            tags.as_chunks().0.iter().map(word).zip(references.as_chunks().0.iter().map(word)).enumerate()
        {
            if reference == FREE {
                ended = true;
                continue;
            }
            count += 1;
            if ended || reference == 0 || !right(key, tag, reference) {
                faults.add(Defect::Index, Some(start + n * BUCKET + slot * 4), || {
                    format!("slot {slot} of bucket {n} of the {}", title(index))
                });
            }
        }
    }
    count
}

fn title(index: Section) -> &'static str {
    match index {
        Section::LoginNames => "login names",
        Section::LoginIds => "uids",
        Section::GroupNames => "group names",
        _ => "gids",
    }
}

/// The entry at a reference that was found to be the start of one.
fn at<'a, K: Kind<'a>>(view: &View<'a>, reference: u32) -> Option<K> {
    let span = view.header().span(K::AREA);
    let into = (reference as usize).checked_mul(UNIT)?.checked_sub(span.start)?;
    view.section(K::AREA)?.get(into..).and_then(K::parse)
}

/// What the delta has under a name or an id, the base must not answer for under the other key.
fn hides<'a, K: Kind<'a>>(base: &View<'a>, delta: &View<'a>, faults: &mut Faults) {
    let in_base_by_id = |id: u32| base.by_id::<K>(id, base.header().key.id(id));
    let in_base_by_name = |name: &[u8]| base.by_name::<K>(name, base.header().key.name(name));
    let knows_id = |id: u32| !matches!(delta.by_id::<K>(id, delta.header().key.id(id)), Lookup::Nothing);
    let knows_name = |name: &[u8]| !matches!(delta.by_name::<K>(name, delta.header().key.name(name)), Lookup::Nothing);
    let mut old = |found: Lookup<K>| {
        if let Lookup::Here(old) = found
            && !(knows_id(old.id()) && knows_name(old.name()))
        {
            faults
                .add(Defect::Index, None, || label(&old) + " of the base, changed and not wholly hidden by the delta");
        }
    };
    for entry in delta.entries::<K>() {
        old(in_base_by_id(entry.id()));
        old(in_base_by_name(entry.name()));
    }
    delta.dead_ids(K::IDS).for_each(|id| old(in_base_by_id(id)));
    delta.dead_names(K::AREA).for_each(|name| old(in_base_by_name(name)));
}

/// Every entry that the list gives is the answer to its name and to its id.
fn listed<'a, K: Kind<'a> + PartialEq>(
    faults: &mut Faults,
    next: impl Fn(u32) -> Answer<K>,
    by_name: impl Fn(&[u8]) -> Answer<K>,
    by_id: impl Fn(u32) -> Answer<K>,
) {
    let mut after = 0;
    loop {
        match next(after) {
            Answer::Found(entry) => {
                if by_name(entry.name()) != Answer::Found(entry) || by_id(entry.id()) != Answer::Found(entry) {
                    faults.add(Defect::Index, None, || label(&entry) + ", base and delta together");
                }
                after = entry.id();
            }
            Answer::Absent => return,
            Answer::Unusable => {
                faults.add(Defect::Entry, None, || format!("the list of {} after id {after}", plural(K::AREA)));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Passwd;
    use crate::snapshot::changes::{Change, Changes, Owned};
    use crate::snapshot::layout::Pair;
    use crate::snapshot::write::{Meta, Notes, Tombstones, Writer};
    use std::io::Cursor;

    fn login(name: &str, uid: u32) -> Owned {
        let passwd = Passwd {
            name: name.parse().unwrap(),
            uid: uid.try_into().unwrap(),
            gid: uid.try_into().unwrap(),
            gecos: "A member".parse().unwrap(),
            home: format!("/home/members/users/{name}").parse().unwrap(),
            shell: "/bin/bash".parse().unwrap(),
        };
        Owned::login(&passwd, &[passwd.gid])
    }

    fn base() -> Vec<u8> {
        let meta = Meta { pair: Pair { base: 1, delta: 0 }, ..META };
        let mut writer = Writer::new(Cursor::new(Vec::new()), meta).unwrap();
        for n in 0..100 {
            let login = login(&format!("m{n}"), 5000 + n);
            writer.login(login.record(), login.gids()).unwrap();
        }
        writer.finish(&Tombstones::default(), || Key(3, 5)).unwrap().0.into_inner()
    }

    fn delta(base: &[u8], changes: impl IntoIterator<Item = Change>) -> Vec<u8> {
        let header = Header::parse(base).unwrap();
        let mut gathered = Changes::default();
        for change in changes {
            gathered.apply(&View::new(base, &header).unwrap(), change).unwrap();
        }
        let meta = Meta { pair: Pair { base: 1, delta: 1 }, ..META };
        gathered.write(Cursor::new(Vec::new()), &header, meta, || Key(7, 9)).unwrap().0.into_inner()
    }

    const META: Meta = Meta {
        directory: [1; 16],
        identity: [2; 16],
        base_identity: [0; 16],
        pair: Pair { base: 1, delta: 0 },
        generation: 7,
        created: 1,
        notes: Notes::NONE,
    };

    fn faults(bytes: &[u8]) -> Vec<Fault> {
        file(bytes, &mut |_| ()).expect_err("a fault")
    }

    /// Makes the checksums right again, as a writer with a mistake would.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let header = Header { body_sum: BodySum::of(&bytes[HEADER..], 1), ..Header::parse(&bytes).unwrap() };
        bytes[..HEADER].copy_from_slice(&header.to_bytes(&[]));
        bytes
    }

    fn pair_of(base: &[u8], delta: &[u8]) -> Result<(), Vec<Fault>> {
        let headers = (Header::parse(base).unwrap(), Header::parse(delta).unwrap());
        pair(View::new(base, &headers.0).unwrap(), View::new(delta, &headers.1).unwrap(), &mut |_| ())
    }

    #[test]
    fn a_whole_pair_has_no_fault() {
        let base = base();
        assert!(file(&base, &mut |_| ()).is_ok());
        let gone = Change::NoLoginNamed("m7".parse().unwrap());
        let delta = delta(&base, [gone, Change::Login(login("m8", 5001)), Change::Login(login("new", 9000))]);
        assert!(file(&delta, &mut |_| ()).is_ok());
        assert_eq!(pair_of(&base, &delta), Ok(()));
    }

    #[test]
    fn a_lost_page_is_located() {
        let mut bytes = base();
        bytes[1024..2048].fill(0);
        let found = faults(&bytes);
        assert!(
            found.iter().any(|fault| fault.at == Some(1024) && fault.what.contains("1024 bytes of zeros")),
            "{found:?}"
        );
        assert!(found.iter().any(|fault| fault.defect == Defect::Entry), "{found:?}");
        assert!(found.len() <= MOST);
    }

    #[test]
    fn a_wrong_bit_is_traced_to_the_entry_slot_or_stride_that_has_it() {
        let whole = base();
        let header = Header::parse(&whole).unwrap();
        let spot = |section| header.span(section).start;
        let broken = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            faults(&sealed(bytes))
        };
        let entry = broken(spot(Section::Logins) + 16 + 1);
        assert!(entry.iter().any(|fault| fault.at == Some(spot(Section::Logins))), "{entry:?}");
        let stride = broken(spot(Section::LoginStride) + STRIDE_ENTRY + 4);
        assert!(stride.iter().any(|fault| fault.what.contains("m16 (uid 5016) in the stride table")), "{stride:?}");
        for index in [Section::LoginNames, Section::LoginIds] {
            let slot = broken(spot(index) + BUCKET / 2 + 1);
            let known = |fault: &Fault| fault.what.contains("slot 0 of bucket 0") && fault.at == Some(spot(index));
            assert!(slot.iter().any(known), "{slot:?}");
        }
    }

    #[test]
    fn a_delta_that_leaves_an_old_name_standing_is_found() {
        let base = base();
        // Renames 5007 without saying that m7 is gone.
        let meta = Meta { pair: Pair { base: 1, delta: 1 }, base_identity: META.identity, ..META };
        let mut writer = Writer::new(Cursor::new(Vec::new()), meta).unwrap();
        writer.login(login("other", 5007).record(), login("other", 5007).gids()).unwrap();
        let delta = writer.finish(&Tombstones::default(), || Key(7, 9)).unwrap().0.into_inner();
        assert!(file(&delta, &mut |_| ()).is_ok());
        let found = pair_of(&base, &delta).unwrap_err();
        assert!(found.iter().any(|fault| fault.what.contains("m7 (uid 5007) of the base")), "{found:?}");
    }

    #[test]
    fn a_name_that_is_found_twice_is_a_fault() {
        let whole = base();
        let header = Header::parse(&whole).unwrap();
        let start = header.span(Section::LoginNames).start;
        let buckets = header.span(Section::LoginNames).len / BUCKET;
        let mut bytes = whole.clone();
        let free = (0..buckets).find(|n| bytes[start + n * BUCKET + 60..][..4] == FREE.to_le_bytes()).unwrap();
        let (tag, reference) = (start + free * BUCKET, start + free * BUCKET + 32);
        let slot = (0..8).find(|slot| bytes[reference + slot * 4..][..4] == FREE.to_le_bytes()).unwrap();
        let first: Vec<u8> = bytes[start..start + 4].to_vec();
        let first_reference: Vec<u8> = bytes[start + 32..start + 36].to_vec();
        bytes[tag + slot * 4..][..4].copy_from_slice(&first);
        bytes[reference + slot * 4..][..4].copy_from_slice(&first_reference);
        let found = faults(&sealed(bytes));
        assert!(found.iter().any(|fault| fault.what.contains("101 entries, not 100")), "{found:?}");
    }
}
