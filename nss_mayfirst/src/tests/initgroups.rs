//! `initgroups_dyn`.

use std::ffi::{CString, c_int, c_long};

use proptest::prelude::*;
use schema::wire::frame::Status;

use crate::abi::_nss_mayfirst_initgroups_dyn as initgroups_dyn;
use crate::testing::World;
use crate::testing::caller::UNTOUCHED;
use crate::testing::records::gids;

/// One call as glibc makes it (grp/initgroups.c): an array of `size` with `there` in it.
fn initgroups(there: &[u32], size: usize, limit: c_long) -> (c_int, c_int, Vec<u32>, c_long) {
    call("ana", 5000, there, size, limit)
}

pub(super) fn call(
    name: &str,
    primary: u32,
    there: &[u32],
    size: usize,
    limit: c_long,
) -> (c_int, c_int, Vec<u32>, c_long) {
    let name = CString::new(name).unwrap();
    // SAFETY: has no conditions.
    let mut array = unsafe { libc::malloc(size * 4) }.cast::<u32>();
    // SAFETY: `size` is at least as large.
    unsafe { array.copy_from_nonoverlapping(there.as_ptr(), there.len()) };
    let (mut start, mut room, mut errno) = (there.len() as c_long, size as c_long, UNTOUCHED);
    // SAFETY: what glibc hands over.
    let status =
        unsafe { initgroups_dyn(name.as_ptr(), primary, &mut start, &mut room, &mut array, limit, &mut errno) };
    assert!(room >= size as c_long, "the array was shrunk");
    assert!(start <= room, "more gids than room");
    // SAFETY: `start` gids have a value.
    let result = unsafe { std::slice::from_raw_parts(array, start as usize) }.to_vec();
    // SAFETY: from malloc or realloc.
    unsafe { libc::free(array.cast()) };
    (status, errno, result, room)
}

fn finding(ids: &[u32]) -> World {
    let record = gids(ids);
    World::answering(move |asked| asked.reply(Status::Found, &record))
}

#[test]
fn every_limit_is_respected_and_no_gid_comes_twice() {
    let groups: Vec<u32> = (0..20).map(|n| 6000 + n).collect();
    let _world = finding(&[&[5000][..], &groups].concat());
    for limit in 0..=22 {
        for size in [1, 2, 7, 64] {
            // glibc's first entry is the primary group, and its array is no larger than the limit.
            if limit != 0 && size > limit {
                continue;
            }
            let (status, errno, result, room) = initgroups(&[5000], size as usize, limit);
            let most = if limit == 0 { 21 } else { 21.min(limit as usize) };
            let wanted: Vec<u32> = [5000].iter().chain(&groups).copied().take(most).collect();
            assert_eq!((status, errno, result), (1, UNTOUCHED, wanted), "limit {limit}, size {size}");
            assert!(limit == 0 || room <= limit.max(size), "the array outgrew the limit");
        }
    }
}

#[test]
fn the_servers_own_groups_are_left_out_wherever_they_are() {
    let groups: Vec<u32> = (0..200).map(|n| 6000 + n).collect();
    let _world = finding(&[&[5000][..], &groups].concat()).with_local("a:x:6000:\nb:x:6063:u\nc:x:6064:\nd:x:6199:");
    let wanted: Vec<u32> =
        [5000].iter().chain(&groups).copied().filter(|gid| ![6000, 6063, 6064, 6199].contains(gid)).collect();
    assert_eq!(initgroups(&[5000], 1, -1).2, wanted);
}

#[test]
fn a_limit_below_what_is_there_adds_nothing() {
    let _world = finding(&[5000, 6000]);
    assert_eq!(initgroups(&[5000, 7000, 7001], 8, 2).2, [5000, 7000, 7001]);
}

#[test]
fn groups_that_are_there_already_are_not_added_again() {
    let _world = finding(&[5000, 6000, 6001, 6002]);
    assert_eq!(initgroups(&[5000, 6001], 2, -1).2, [5000, 6001, 6000, 6002]);
}

#[test]
fn the_primary_group_of_the_call_is_left_to_the_caller() {
    let _world = finding(&[5000, 6000]);
    assert_eq!(initgroups(&[], 4, -1).2, [6000]);
    assert_eq!(call("ana", 6000, &[], 4, -1).2, [5000]);
}

#[test]
fn gids_of_the_system_are_left_out() {
    let _world = finding(&[5000, 0, 27, 999, 6000, 65534, u32::MAX]);
    assert_eq!(initgroups(&[5000], 1, -1), (1, UNTOUCHED, vec![5000, 6000], 16));
}

#[test]
fn more_groups_than_one_read_all_come() {
    let groups: Vec<u32> = (0..1000).map(|n| 100_000 + n).collect();
    let _world = finding(&[&[5000][..], &groups].concat());
    assert_eq!(initgroups(&[5000], 1, -1).2, [&[5000][..], &groups].concat());
}

#[test]
fn a_login_that_does_not_exist_is_not_found() {
    let _world = World::answering(|asked| asked.reply(Status::Absent, b""));
    assert_eq!(initgroups(&[5000], 1, -1), (0, libc::ENOENT, vec![5000], 1));
}

#[test]
fn root_and_local_users_are_not_asked_about() {
    let world = finding(&[5000, 6000]).with_local("root:x:0:0::/root:/bin/sh\nana:x:5000:5000::/:/bin/sh\n");
    for name in ["root", "ana", "Not A Name", ""] {
        assert_eq!(call(name, 0, &[0], 1, -1), (0, libc::ENOENT, vec![0], 1), "{name}");
    }
    assert_eq!(world.asked(), 0);
}

#[test]
fn lists_that_cannot_be_are_no_answer() {
    for record in [
        vec![],
        vec![0, 0, 0],
        gids(&[5000, 6000])[..11].to_vec(),
        [gids(&[5000]), vec![0; 4]].concat(),
        u32::MAX.to_le_bytes().to_vec(),
        // Not ascending, or twice the same: see docs/records.md.
        gids(&[5000, 6001, 6000]),
        gids(&[5000, 6000, 6000]),
    ] {
        let _world = World::answering(move |asked| asked.reply(Status::Found, &record));
        let (status, errno, groups, _) = initgroups(&[5000], 1, -1);
        assert_eq!((status, errno, groups), (-1, libc::EPROTO, vec![5000]));
    }
}

#[test]
fn half_an_answer_adds_no_group() {
    let groups: Vec<u32> = (0..200).map(|n| 100_000 + n).collect();
    let record = gids(&[&[5000][..], &groups].concat());
    let _world = World::answering(move |asked| {
        let mut reply = asked.reply(Status::Found, &record);
        reply.truncate(reply.len() - 1);
        reply
    });
    let (status, errno, groups, _) = initgroups(&[5000], 1, -1);
    assert_eq!((status, errno, groups), (-1, libc::ECONNREFUSED, vec![5000]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_no_gid_is_below_the_floor_or_there_twice(
        ids in prop::collection::btree_set(any::<u32>(), 0..100),
        first in 0..2000_u32,
        limit in -1..120_i64,
        there in 1..5_usize,
    ) {
        let record = gids(&std::iter::once(first).chain(ids).collect::<Vec<_>>());
        let _world = World::answering(move |asked| asked.reply(Status::Found, &record));
        let there: Vec<u32> = (5000..).take(there).collect();
        let (_, _, groups, _) = initgroups(&there, there.len(), limit);
        prop_assert_eq!(&groups[..there.len()], &there[..]);
        prop_assert!(limit < 1 || groups.len() <= there.len().max(limit as usize));
        let mut unique = groups.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), groups.len());
        prop_assert!(groups.iter().all(|gid| schema::id::is_usable(*gid)));
    }
}

#[test]
fn counts_that_cannot_be_are_refused() {
    let _world = finding(&[5000]);
    let (mut start, mut size, mut array, mut errno) = (-1, 4, std::ptr::null_mut(), UNTOUCHED);
    // SAFETY: the array is not touched.
    let status = unsafe { initgroups_dyn(c"ana".as_ptr(), 1, &mut start, &mut size, &mut array, -1, &mut errno) };
    assert_eq!((status, errno), (-1, libc::EINVAL));
}
