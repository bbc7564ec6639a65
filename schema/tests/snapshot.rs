//! The snapshot format against a model: whatever is written and changed, every look-up says what a plain map says; and whatever is
//! broken in a file, a reader does not crash and does not lie.

use proptest::prelude::*;
use schema::id::{GroupId, UserId};
use schema::packed::MAX_FIELD;
use schema::record::{Group, Passwd};
use schema::snapshot::changes::{Change, Changes, Owned, fold};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::{Defect, Header, Pair};
use schema::snapshot::pair::{Snapshot, Spots};
use schema::snapshot::view::{Kind, View};
use schema::snapshot::write::{EntryError, Meta, Tombstones, WriteError, Writer};
use schema::snapshot::{Answer, verify};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Cursor;

/// What the directory holds, as plain maps: uid → name and gids, gid → name and members.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    logins: BTreeMap<u32, (String, Vec<u32>)>,
    groups: BTreeMap<u32, (String, Vec<String>)>,
}

impl Model {
    fn of(logins: u32) -> Self {
        let mut model = Self::default();
        for n in 0..logins {
            model.logins.insert(100_000 + n, (format!("login{n}"), vec![100_000 + n, 200_000]));
            model.groups.insert(100_000 + n, (format!("login{n}"), Vec::new()));
        }
        model.groups.insert(200_000 + logins, ("everybody".into(), (0..logins).map(|n| format!("login{n}")).collect()));
        model
    }

    fn login(&self, uid: u32) -> Owned {
        let (name, gids) = &self.logins[&uid];
        let gids: Vec<_> = gids.iter().map(|gid| GroupId::try_from(*gid).unwrap()).collect();
        Owned::login(&passwd(name, uid), &gids)
    }

    fn group(&self, gid: u32) -> Owned {
        let (name, members) = &self.groups[&gid];
        let members = members.iter().map(|member| member.parse().unwrap()).collect();
        let group = Group { name: name.parse().unwrap(), gid: gid.try_into().unwrap(), members };
        Owned::group(&group).unwrap()
    }

    fn base(&self, number: u32, key: Key) -> Vec<u8> {
        let mut writer = Writer::new(Cursor::new(Vec::new()), meta(number, 0)).unwrap();
        for uid in self.logins.keys() {
            let login = self.login(*uid);
            writer.login(login.record(), login.gids()).unwrap();
        }
        for gid in self.groups.keys() {
            writer.group(self.group(*gid).record()).unwrap();
        }
        writer.finish(&Tombstones::default(), keys(key)).unwrap().0.into_inner()
    }

    /// Every name and id of the model, and some that are not in it, asked in every way.
    fn assert_same(&self, snapshot: &Snapshot<'_>, names: &[String], ids: &[u32]) {
        let names: Vec<&String> = names.iter().collect();
        for name in names.iter().copied().chain(self.logins.values().map(|(name, _)| name)) {
            let expected =
                self.logins.iter().find(|(_, login)| login.0 == *name).map(|(uid, login)| (*uid, login.1.clone()));
            let found = match snapshot.login_by_name(name.as_bytes()) {
                Answer::Found(login) => Some((login.id(), login.gids().unwrap().iter().collect())),
                Answer::Absent => None,
                Answer::Unusable => panic!("unusable: login {name}"),
            };
            assert_eq!(found, expected, "login {name}");
        }
        for uid in ids.iter().chain(self.logins.keys()) {
            let expected = self.logins.get(uid).map(|login| login.0.clone());
            assert_eq!(name_of(snapshot.login_by_uid(*uid)), expected, "uid {uid}");
        }
        for name in names.iter().copied().chain(self.groups.values().map(|(name, _)| name)) {
            let expected = self
                .groups
                .iter()
                .find(|(_, group)| group.0 == *name)
                .map(|(gid, _)| self.group(*gid).record().to_vec());
            let found = match snapshot.group_by_name(name.as_bytes()) {
                Answer::Found(group) => Some(group.record.to_vec()),
                Answer::Absent => None,
                Answer::Unusable => panic!("unusable: group {name}"),
            };
            assert_eq!(found, expected, "group {name}");
        }
        for gid in ids.iter().chain(self.groups.keys()) {
            let expected = self.groups.get(gid).map(|group| group.0.clone());
            assert_eq!(name_of(snapshot.group_by_gid(*gid)), expected, "gid {gid}");
        }
        assert_eq!(listing(0, |after| snapshot.login_after(after)), self.logins.keys().copied().collect::<Vec<_>>());
        assert_eq!(listing(0, |after| snapshot.group_after(after)), self.groups.keys().copied().collect::<Vec<_>>());
        let spots = Cell::new(Spots::NOWHERE);
        let with = |next: &dyn Fn(&mut Spots) -> Option<u32>| {
            let mut now = spots.get();
            let found = next(&mut now);
            spots.set(now);
            found
        };
        let id_of = |found: Answer<u32>| match found {
            Answer::Found(id) => Some(id),
            Answer::Absent => None,
            Answer::Unusable => panic!("unusable"),
        };
        let login = |after| with(&|spots| id_of(snapshot.next_login(after, spots).map(|login| login.id())));
        let listed = |next: &dyn Fn(u32) -> Option<u32>| {
            std::iter::successors(next(0), |after| next(*after)).collect::<Vec<_>>()
        };
        assert_eq!(listed(&login), self.logins.keys().copied().collect::<Vec<_>>());
        // Where the spots are of the other sort, or behind or before what is asked for, it is looked for.
        let group = |after| with(&|spots| id_of(snapshot.next_group(after, spots).map(|group| group.id())));
        assert_eq!(listed(&group), self.groups.keys().copied().collect::<Vec<_>>());
        for id in ids {
            let expected = self.logins.range(id + 1..).next();
            assert_eq!(
                name_of(snapshot.login_after(*id)),
                expected.map(|(_, login)| login.0.clone()),
                "after uid {id}"
            );
            assert_eq!(login(*id), expected.map(|(uid, _)| *uid), "after uid {id}, with spots");
        }
    }
}

fn name_of<'a, K: Kind<'a>>(answer: Answer<K>) -> Option<String> {
    match answer {
        Answer::Found(entry) => Some(String::from_utf8(entry.name().to_vec()).unwrap()),
        Answer::Absent => None,
        Answer::Unusable => panic!("unusable"),
    }
}

fn listing<'a, K: Kind<'a>>(start: u32, next: impl Fn(u32) -> Answer<K>) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut after = start;
    while let Answer::Found(entry) = next(after) {
        after = entry.id();
        ids.push(after);
    }
    ids
}

fn passwd(name: &str, uid: u32) -> Passwd {
    Passwd {
        name: name.parse().unwrap(),
        uid: uid.try_into().unwrap(),
        gid: uid.try_into().unwrap(),
        gecos: format!("Member {uid}").parse().unwrap(),
        home: format!("/home/members/users/{name}").parse().unwrap(),
        shell: "/bin/bash".parse().unwrap(),
    }
}

fn meta(base: u32, delta: u32) -> Meta {
    let mut identity = [0; 16];
    identity[..4].copy_from_slice(&base.to_le_bytes());
    identity[4..8].copy_from_slice(&delta.to_le_bytes());
    Meta {
        directory: [9; 16],
        identity,
        base_identity: [0; 16],
        pair: Pair { base, delta },
        generation: 7,
        created: 1,
        notes: Default::default(),
    }
}

fn keys(first: Key) -> impl FnMut() -> Key {
    let mut n = 0;
    move || {
        n += 1;
        Key(first.0.wrapping_mul(n), first.1.wrapping_add(n))
    }
}

const KEY: Key = Key(0x0123_4567_89ab_cdef, 0x0fed_cba9_8765_4321);

/// Calls `with` with the files opened.
fn open<T>(base: &[u8], delta: Option<&[u8]>, with: impl FnOnce(&Snapshot<'_>) -> T) -> Result<T, Defect> {
    let header = Header::parse(base)?;
    let base = View::new(base, &header).unwrap();
    let Some(delta) = delta else {
        return Ok(with(&Snapshot::new(base, None)?));
    };
    let header = Header::parse(delta)?;
    let delta = View::new(delta, &header).unwrap();
    Ok(with(&Snapshot::new(base, Some(delta))?))
}

#[test]
fn an_empty_directory_answers_absent_to_everything() {
    let model = Model::default();
    let base = model.base(1, KEY);
    verify::full(&base).unwrap();
    open(&base, None, |snapshot| model.assert_same(snapshot, &["ana".into()], &[0, 1000, 2000])).unwrap();
}

#[test]
fn every_login_and_group_is_found_by_name_and_id_and_listed_in_order() {
    for count in [1, 5, 6, 16, 17, 1000] {
        let model = Model::of(count);
        let base = model.base(1, KEY);
        verify::full(&base).unwrap();
        let strangers = ["login", "login1001", "nobody", "a234567890123456789012345678901bc"].map(String::from);
        open(&base, None, |snapshot| model.assert_same(snapshot, &strangers, &[0, 99_999, 100_500, u32::MAX - 1]))
            .unwrap();
    }
}

#[test]
fn the_longest_fields_fit() {
    let mut entry = passwd("a234567890123456789012345678901b", 2_147_483_647);
    entry.gecos = "g".repeat(MAX_FIELD).parse().unwrap();
    entry.home = format!("/{}", "h".repeat(MAX_FIELD - 1)).parse().unwrap();
    let login = Owned::login(&entry, &[entry.gid]);
    let mut writer = Writer::new(Cursor::new(Vec::new()), meta(1, 0)).unwrap();
    writer.login(login.record(), login.gids()).unwrap();
    let base = writer.finish(&Tombstones::default(), keys(KEY)).unwrap().0.into_inner();
    verify::full(&base).unwrap();
    let record = open(&base, None, |snapshot| match snapshot.login_by_name(entry.name.as_str().as_bytes()) {
        Answer::Found(login) => login.record.to_vec(),
        other => panic!("{other:?}"),
    });
    assert_eq!(record.unwrap(), login.record());
}

#[test]
fn a_bad_entry_is_refused_and_the_writer_goes_on() {
    let model = Model::of(3);
    let mut writer = Writer::new(Cursor::new(Vec::new()), meta(1, 0)).unwrap();
    let login = |n: u32| model.login(100_000 + n);
    writer.login(login(1).record(), login(1).gids()).unwrap();
    let refused = writer.login(login(0).record(), login(0).gids());
    assert!(matches!(refused, Err(WriteError::Entry(EntryError::Order(100_000)))), "{refused:?}");
    let mut bad = login(2).record().to_vec();
    bad[20] = b':';
    assert!(matches!(writer.login(&bad, login(2).gids()), Err(WriteError::Entry(EntryError::Packed(_)))));
    writer.login(login(2).record(), login(2).gids()).unwrap();
    let (file, header) = writer.finish(&Tombstones::default(), keys(KEY)).unwrap();
    assert_eq!(header.counts.logins, 2);
    verify::full(&file.into_inner()).unwrap();
}

#[test]
fn two_entries_of_one_name_are_refused() {
    let mut writer = Writer::new(Cursor::new(Vec::new()), meta(1, 0)).unwrap();
    for uid in [5000, 5001] {
        let login = Owned::login(&passwd("ana", uid), &[uid.try_into().unwrap()]);
        writer.login(login.record(), login.gids()).unwrap();
    }
    let refused = writer.finish(&Tombstones::default(), keys(KEY)).map(|(_, header)| header);
    assert!(matches!(refused, Err(WriteError::DuplicateName(ref name)) if name == "ana"), "{refused:?}");
}

#[test]
fn a_delta_of_another_base_is_not_put_on_it() {
    let model = Model::of(3);
    let (one, other) = (model.base(1, KEY), model.base(2, KEY));
    let header = Header::parse(&other).unwrap();
    let delta =
        Changes::default().write(Cursor::new(Vec::new()), &header, meta(2, 1), keys(KEY)).unwrap().0.into_inner();
    assert!(open(&other, Some(&delta), |_| ()).is_ok());
    assert_eq!(open(&one, Some(&delta), |_| ()), Err(Defect::Foreign));
    assert_eq!(open(&delta, None, |_| ()), Err(Defect::Foreign));
    assert_eq!(open(&one, Some(&other), |_| ()), Err(Defect::Foreign));
}

#[test]
fn every_truncation_is_noticed() {
    let base = Model::of(20).base(1, KEY);
    for len in 0..base.len() {
        assert!(Header::parse(&base[..len]).is_err(), "{len} bytes");
    }
    let mut longer = base;
    longer.push(0);
    assert_eq!(Header::parse(&longer), Err(Defect::Length));
}

#[test]
fn every_flipped_byte_of_a_file_is_noticed_by_its_checksums() {
    let base = Model::of(4).base(1, KEY);
    for at in 0..base.len() {
        let mut broken = base.clone();
        broken[at] ^= 0x40;
        assert!(verify::checksum(&broken).is_err(), "byte {at}");
    }
}

/// A lost write or a punched hole: pages of zeros. What lies in them is not "absent".
#[test]
fn a_page_of_zeros_may_cost_an_answer_and_never_makes_a_wrong_one() {
    let model = Model::of(500);
    let base = model.base(1, KEY);
    for hole in (512..base.len()).step_by(512) {
        let mut broken = base.clone();
        let end = broken.len().min(hole + 4096);
        broken[hole..end].fill(0);
        open(&broken, None, |snapshot| {
            for (uid, (name, _)) in &model.logins {
                if let Answer::Found(login) = snapshot.login_by_name(name.as_bytes()) {
                    assert!(login.id() == *uid && login.name() == name.as_bytes());
                    let served = login.head.check_strings(login.strings).is_ok();
                    assert!(!served || login.record == model.login(*uid).record(), "{name}, hole at {hole}");
                }
                match snapshot.initgroups(name.as_bytes()) {
                    Answer::Found(gids) => assert!(gids.iter().eq([*uid, 200_000]), "{name}, hole at {hole}"),
                    answer => assert!(matches!(answer, Answer::Unusable), "{name}, hole at {hole}"),
                }
                assert_ne!(snapshot.login_by_name(name.as_bytes()), Answer::Absent, "{name}, hole at {hole}");
                assert_ne!(snapshot.login_by_uid(*uid), Answer::Absent, "{uid}, hole at {hole}");
                assert_ne!(snapshot.group_by_name(name.as_bytes()), Answer::Absent, "{name}, hole at {hole}");
                assert_ne!(snapshot.group_by_gid(*uid), Answer::Absent, "{uid}, hole at {hole}");
            }
            // A list breaks off at the hole, or it is whole; with spots and without.
            let mut spots = Spots::NOWHERE;
            for hinted in [true, false] {
                let mut uids = model.logins.keys().copied();
                let mut after = 0;
                let end = loop {
                    let next =
                        if hinted { snapshot.next_login(after, &mut spots) } else { snapshot.login_after(after) };
                    let Answer::Found(login) = next else { break next };
                    after = login.id();
                    assert_eq!(Some(after), uids.next(), "hole at {hole}");
                };
                assert!(end == Answer::Unusable || uids.next().is_none(), "hole at {hole}");
            }
        })
        .unwrap();
    }
}

/// A change of the model, by small numbers so that names and ids meet often.
#[derive(Debug, Clone)]
enum Step {
    Login { uid: u32, name: u32, gids: Vec<u32> },
    NoLogin { name: u32 },
    NoUid { uid: u32 },
    Group { gid: u32, name: u32, members: u32 },
    NoGroup { name: u32 },
    NoGid { gid: u32 },
}

fn name(n: u32) -> String {
    // Short and long ones: the hash has a path for each.
    ["n", "name", "longer-name", "a-name-of-more-than-sixteen"][n as usize % 4].to_owned() + &n.to_string()
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 5000_u32..5040;
    prop_oneof![
        4 => (id(), 0..60_u32, prop::collection::vec(5000..5100_u32, 1..4)).prop_map(|(uid, name, gids)| Step::Login { uid, name, gids }),
        1 => (0..60_u32).prop_map(|name| Step::NoLogin { name }),
        1 => id().prop_map(|uid| Step::NoUid { uid }),
        2 => (id(), 0..60_u32, 0..4_u32).prop_map(|(gid, name, members)| Step::Group { gid, name, members }),
        1 => (0..60_u32).prop_map(|name| Step::NoGroup { name }),
        1 => id().prop_map(|gid| Step::NoGid { gid }),
    ]
}

impl Model {
    fn step(&mut self, step: &Step) -> Change {
        match step.clone() {
            Step::Login { uid, name: n, gids } => {
                self.logins.retain(|_, login| login.0 != name(n));
                let mut gids = gids;
                // As they are written: the primary group first, the others ascending and each once.
                gids[1..].sort_unstable();
                gids.dedup();
                self.logins.insert(uid, (name(n), gids));
                Change::Login(self.login(uid))
            }
            Step::NoLogin { name: n } => {
                self.logins.retain(|_, login| login.0 != name(n));
                Change::NoLoginNamed(name(n).parse().unwrap())
            }
            Step::NoUid { uid } => {
                self.logins.remove(&uid);
                Change::NoLoginWith(UserId::try_from(uid).unwrap())
            }
            Step::Group { gid, name: n, members } => {
                self.groups.retain(|_, group| group.0 != name(n));
                self.groups.insert(gid, (name(n), (0..members).map(name).collect()));
                Change::Group(self.group(gid))
            }
            Step::NoGroup { name: n } => {
                self.groups.retain(|_, group| group.0 != name(n));
                Change::NoGroupNamed(name(n).parse().unwrap())
            }
            Step::NoGid { gid } => {
                self.groups.remove(&gid);
                Change::NoGroupWith(GroupId::try_from(gid).unwrap())
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Logins are renamed, renumbered, swapped, removed and come back: the delta over the base, the delta read back and written
    /// again, and the base folded out of both say what the model says.
    #[test]
    fn any_changes_over_any_base_say_what_the_model_says(
        before in prop::collection::vec(step(), 0..60),
        after in prop::collection::vec(step(), 0..60),
        seed in any::<(u64, u64)>(),
    ) {
        let mut model = Model::default();
        before.iter().for_each(|step| drop(model.step(step)));
        let base = model.base(1, Key(seed.0, seed.1));
        let header = verify::full(&base).unwrap();
        let view = View::new(&base, &header).unwrap();
        let names: Vec<String> = (0..60).map(name).collect();
        let ids: Vec<u32> = (4999..5041).collect();

        let mut changes = Changes::default();
        for (n, step) in after.iter().enumerate() {
            changes.apply(&view, model.step(step)).unwrap();
            if n % 16 == 0 || n + 1 == after.len() {
                let written = changes.write(Cursor::new(Vec::new()), &header, meta(1, 1), keys(KEY)).unwrap();
                let delta = written.0.into_inner();
                let header = verify::full(&delta).unwrap();
                open(&base, Some(&delta), |snapshot| model.assert_same(snapshot, &names, &ids)).unwrap();
                // As after a restart.
                let read_back = Changes::from_delta(&View::new(&delta, &header).unwrap()).unwrap();
                prop_assert_eq!(read_back.len(), changes.len());
                changes = read_back;
            }
        }
        let delta = changes.write(Cursor::new(Vec::new()), &header, meta(1, 2), keys(KEY)).unwrap().0.into_inner();
        let folded = open(&base, Some(&delta), |snapshot| fold(snapshot, Cursor::new(Vec::new()), meta(2, 0), keys(KEY)));
        let folded = folded.unwrap().unwrap().0.into_inner();
        verify::full(&folded).unwrap();
        open(&folded, None, |snapshot| model.assert_same(snapshot, &names, &ids)).unwrap();
    }

    /// Bytes are changed behind the header's back: nothing panics, everything ends, and what is found can be handed on or is refused.
    #[test]
    fn a_file_changed_anywhere_does_not_crash_its_reader(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let model = Model::of(40);
        let mut base = model.base(1, KEY);
        let body = base.len() - 512;
        for (at, byte) in changes {
            base[512 + at.index(body)] = byte;
        }
        open(&base, None, |snapshot| {
            for (id, (name, _)) in &model.logins {
                for login in [snapshot.login_by_name(name.as_bytes()), snapshot.login_by_uid(*id)] {
                    if let Answer::Found(login) = login {
                        let _ = login.head.check_strings(login.strings);
                        prop_assert!(login.name() == name.as_bytes() || login.id() == *id);
                    }
                }
                if let Answer::Found(group) = snapshot.group_by_gid(*id) {
                    let _ = group.head.check_strings(group.strings, |_| ());
                }
            }
            // Ids rise, so a listing ends whatever the file says.
            listing(0, |after| snapshot.login_after(after));
            listing(0, |after| snapshot.group_after(after));
            let _ = verify::full(&base);
            Ok(())
        }).unwrap()?;
    }

    /// Bytes that were never a snapshot.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Header::parse(&bytes).is_err());
    }
}
