use super::*;
use crate::record::{Group, Passwd};
use proptest::prelude::*;

fn ana() -> Passwd {
    Passwd {
        name: "ana".parse().unwrap(),
        uid: 5000.try_into().unwrap(),
        gid: 5001.try_into().unwrap(),
        gecos: "Ana".parse().unwrap(),
        home: "/home/ana".parse().unwrap(),
        shell: "/bin/sh".parse().unwrap(),
    }
}

fn passwd_strings(record: &[u8]) -> Result<Vec<&[u8]>, PackedError> {
    let (head, strings) = record.split_at_checked(PasswdHead::SIZE).ok_or(PackedError::Length)?;
    let starts = PasswdHead::parse(head)?.check_strings(strings)?;
    Ok(starts.iter().map(|at| strings[*at..].split(|byte| *byte == 0).next().unwrap()).collect())
}

fn group_members(record: &[u8]) -> Result<Vec<&[u8]>, PackedError> {
    let (head, strings) = record.split_at_checked(GroupHead::SIZE).ok_or(PackedError::Length)?;
    let mut members = Vec::new();
    GroupHead::parse(head)?.check_strings(strings, |at| members.push(at))?;
    Ok(members.iter().map(|at| strings[*at..].split(|byte| *byte == 0).next().unwrap()).collect())
}

fn replaced(record: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = record.windows(from.len()).position(|part| part == from).unwrap();
    let mut record = record.to_vec();
    record[at..at + to.len()].copy_from_slice(to);
    record
}

#[test]
fn a_passwd_record_gives_its_strings_in_the_order_of_libc() {
    let record = write::passwd(&ana());
    let strings: [&[u8]; 5] = [b"ana", b"x", b"Ana", b"/home/ana", b"/bin/sh"];
    assert_eq!(passwd_strings(&record).unwrap(), strings);
}

#[test]
fn a_record_cut_or_longer_than_its_head_says_is_refused() {
    let record = write::passwd(&ana());
    for len in 0..record.len() {
        assert!(passwd_strings(&record[..len]).is_err(), "{len}");
    }
    assert_eq!(passwd_strings(&[&record[..], b"\0"].concat()), Err(PackedError::Length));
}

#[test]
fn fields_that_break_a_line_a_name_or_a_path_are_refused() {
    let record = write::passwd(&ana());
    for (from, to) in [
        (&b"Ana"[..], &b"A:a"[..]),
        (b"Ana", b"A\na"),
        (b"Ana", b"A\0a"),
        (b"ana", b"Ana"),
        (b"ana", b"-na"),
        (b"/home/ana", b"home//ana"),
        (b"/bin/sh", b"bin//sh"),
    ] {
        assert_eq!(passwd_strings(&replaced(&record, from, to)), Err(PackedError::Field), "{to:?}");
    }
}

#[test]
fn members_must_be_names() {
    let members = ["ana", "luz"].map(|name| name.parse().unwrap()).to_vec();
    let group = Group { name: "radio".parse().unwrap(), gid: 6000.try_into().unwrap(), members };
    let record = write::group(&group).unwrap();
    let names: [&[u8]; 2] = [b"ana", b"luz"];
    assert_eq!(group_members(&record).unwrap(), names);
    for to in [b"l,z", b"l z", b"l\0z", b"\0uz"] {
        assert!(group_members(&replaced(&record, b"luz", to)).is_err(), "{to:?}");
    }
}

#[test]
fn ids_of_the_system_are_refused() {
    for id in [0, 999, 65534, u32::MAX] {
        for at in [0, 4] {
            let mut record = write::passwd(&ana());
            record[at..at + 4].copy_from_slice(&id.to_le_bytes());
            assert_eq!(passwd_strings(&record), Err(PackedError::Id));
        }
    }
}

/// What a list of members is, told without [`check_names`].
fn names_one_by_one(list: &[u8]) -> Option<Vec<usize>> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let len = list[at..].iter().position(|byte| *byte == 0)?;
        crate::name::check(&list[at..at + len]).ok()?;
        starts.push(at);
        at += len + 1;
    }
    Some(starts)
}

proptest! {
    #[test]
    fn a_list_is_judged_as_its_names_are_one_by_one(
        names in prop::collection::vec("[a-z_][a-z0-9_.-]{0,33}", 0..40),
        change in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"\0-.9/aZ:\x7f\xe9".to_vec()))),
    ) {
        let mut list: Vec<u8> = names.iter().flat_map(|name| name.bytes().chain([0])).collect();
        if let Some((at, byte)) = change.filter(|_| !list.is_empty()) {
            let at = at.index(list.len());
            list[at] = byte;
        }
        let mut starts = Vec::new();
        let count = check_names(&list, |at| starts.push(at));
        match names_one_by_one(&list) {
            Some(expected) => prop_assert_eq!((count, starts), (Ok(expected.len()), expected)),
            None => prop_assert_eq!(count, Err(PackedError::Field)),
        }
    }

    #[test]
    fn nonsense_is_refused_and_nothing_else_happens(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = passwd_strings(&bytes);
        let _ = group_members(&bytes);
        let _ = ShadowHead::parse(&bytes).map(|head| head.check_strings(bytes.get(ShadowHead::SIZE..).unwrap_or_default()));
        let _ = Gids::parse(&bytes).map(|gids| gids.iter().count());
    }
}

#[test]
fn gids_are_written_in_the_order_that_readers_demand() {
    let written = |gids: &[u32]| {
        let gids: Vec<crate::id::GroupId> = gids.iter().map(|gid| (*gid).try_into().unwrap()).collect();
        let packed = write::gids(&gids);
        let read = Gids::parse(&packed).unwrap();
        assert!(read.keeps_rules(), "{gids:?}");
        read.iter().collect::<Vec<_>>()
    };
    assert_eq!(written(&[5000, 6000, 5500, 6000]), [5000, 5500, 6000]);
    assert_eq!(written(&[7000, 6000, 7000, 5000]), [7000, 5000, 6000, 7000]);
    assert_eq!(written(&[5000]), [5000]);
    let packed = |gids: &[u32]| {
        let words = [gids.len() as u32].into_iter().chain(gids.iter().copied());
        words.flat_map(u32::to_le_bytes).collect::<Vec<_>>()
    };
    for broken in [&[][..], &[5000, 6000, 5500], &[5000, 6000, 6000], &[5000, 5], &[5000, u32::MAX]] {
        assert!(!Gids::parse(&packed(broken)).unwrap().keeps_rules(), "{broken:?}");
    }
}
