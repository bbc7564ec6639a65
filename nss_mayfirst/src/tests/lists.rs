//! Lists.

use proptest::prelude::*;
use schema::wire::frame::{Op, Status};

use crate::buffer::Buffer;
use crate::enumerate::Walk;
use crate::local;
use crate::status::Failure;
use crate::testing::caller::{Answer, Line, call, end, found, too_small, unavailable};
use crate::testing::records::{group, page, passwd, shadow};
use crate::testing::{Asked, World};

/// As the exported `get*ent_r`, but on a list of this test's own.
pub(super) fn next<E: crate::entry::Entry + Line>(walk: &Walk, len: usize) -> Answer {
    call(len, |entry: *mut E, buffer, errno| {
        // SAFETY: a place for it.
        let into = unsafe { &mut *entry.cast::<std::mem::MaybeUninit<E>>() };
        // SAFETY: `len` bytes.
        match walk.next(unsafe { Buffer::new(buffer, len) }, into) {
            Ok(()) => 1,
            Err(failure) => {
                if let Some(value) = failure.errno() {
                    // SAFETY: a place for it.
                    unsafe { errno.write(value.raw()) };
                }
                failure.status()
            }
        }
    })
}

pub(super) fn logins() -> Walk {
    Walk::new(Op::PasswdList, local::PASSWD)
}

fn line(name: &str, uid: u32) -> Answer {
    found(&format!("{name}:x:{uid}:{}:Full Name:/home/members/users/{name}:/bin/bash", uid + 1))
}

/// Three logins, two to a page.
fn directory() -> World {
    World::answering(|asked: &Asked| {
        assert_eq!(asked.op(), Op::PasswdList);
        let page = match asked.id() {
            0 => page(5002, &[passwd("ana", 5000), passwd("luz", 5002)]),
            // After a fork in the middle of a page.
            5000 => page(5002, &[passwd("luz", 5002)]),
            5002 => page(0, &[passwd("marisol", 5004)]),
            other => panic!("a page after {other}"),
        };
        asked.reply(Status::Found, &page)
    })
}

#[test]
fn a_list_gives_every_entry_once_without_being_begun() {
    let world = directory();
    let walk = logins();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5000));
    assert_eq!(next::<libc::passwd>(&walk, 512), line("luz", 5002));
    assert_eq!(next::<libc::passwd>(&walk, 512), line("marisol", 5004));
    assert_eq!(next::<libc::passwd>(&walk, 512), end());
    assert_eq!(next::<libc::passwd>(&walk, 512), end());
    assert_eq!(world.asked(), 2);
}

#[test]
fn a_buffer_too_small_loses_no_entry() {
    let _world = directory();
    let walk = logins();
    for (name, uid) in [("ana", 5000), ("luz", 5002), ("marisol", 5004)] {
        let needed = format!("{name}.x.Full Name./home/members/users/{name}./bin/bash.").len();
        for len in 0..needed {
            assert_eq!(next::<libc::passwd>(&walk, len), too_small(), "{name}, {len} bytes");
        }
        assert_eq!(next::<libc::passwd>(&walk, needed), line(name, uid));
    }
    assert_eq!(next::<libc::passwd>(&walk, 0), end());
}

#[test]
fn a_list_begins_anew_when_told_to() {
    let _world = directory();
    let walk = logins();
    for entries in 0..4 {
        for _ in 0..entries {
            next::<libc::passwd>(&walk, 512);
        }
        assert_eq!(walk.rewind(), Ok(()));
        assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5000));
        assert_eq!(walk.rewind(), Ok(()));
    }
}

#[test]
fn beginning_and_ending_a_list_asks_nobody() {
    let world = directory();
    let walk = logins();
    assert_eq!(walk.rewind(), Ok(()));
    assert_eq!(walk.rewind(), Ok(()));
    assert_eq!(world.asked(), 0);
}

#[test]
fn groups_and_shadow_are_listed_too() {
    let _world = World::answering(|asked| {
        let page = match asked.op() {
            Op::GroupList => page(0, &[group("radio", 6000, &["ana"]), group("web", 6001, &[])]),
            _ => page(0, &[shadow("ana")]),
        };
        asked.reply(Status::Found, &page)
    });
    let walk = Walk::new(Op::GroupList, local::GROUP);
    assert_eq!(next::<libc::group>(&walk, 512), found("radio:x:6000:ana"));
    assert_eq!(next::<libc::group>(&walk, 512), found("web:x:6001:"));
    assert_eq!(next::<libc::group>(&walk, 512), end());
    let walk = Walk::new(Op::ShadowList, local::PASSWD);
    assert_eq!(next::<libc::spwd>(&walk, 512), found("ana:*:::90::::"));
    assert_eq!(next::<libc::spwd>(&walk, 512), end());
}

#[test]
fn an_empty_directory_ends_at_once() {
    let _world = World::answering(|asked| asked.reply(Status::Found, &page(0, &[])));
    assert_eq!(next::<libc::passwd>(&logins(), 512), end());
}

#[test]
fn local_accounts_and_bad_entries_are_left_out_and_hide_no_other() {
    let mut root = passwd("minted", 5001);
    root[0..4].copy_from_slice(&0_u32.to_le_bytes());
    let records = [passwd("local", 5000), root, b"short".to_vec(), passwd("same-id", 5002), passwd("ana", 5003)];
    let _world = World::answering(move |asked| asked.reply(Status::Found, &page(0, &records)))
        .with_local("local:x:1:1::/:/bin/sh\nsomeone:x:5002:5002::/:/bin/sh\n");
    let walk = logins();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5003));
    assert_eq!(next::<libc::passwd>(&walk, 512), end());
}

#[test]
fn a_list_that_breaks_off_is_not_a_list_that_ends() {
    let _world = World::answering(|asked| match asked.id() {
        0 => asked.reply(Status::Found, &page(5000, &[passwd("ana", 5000)])),
        _ => asked.reply(Status::Unknown, b""),
    });
    let walk = logins();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5000));
    assert_eq!(next::<libc::passwd>(&walk, 512), unavailable(libc::EAGAIN));
}

#[test]
fn pages_that_cannot_be_are_no_answer() {
    let cut = page(0, &[passwd("ana", 5000)]);
    for bytes in
        [vec![], vec![0; 7], cut[..cut.len() - 1].to_vec(), [0_u32, 1, u32::MAX].map(u32::to_le_bytes).concat()]
    {
        let _world = World::answering(move |asked| asked.reply(Status::Found, &bytes));
        assert_eq!(next::<libc::passwd>(&logins(), 512), unavailable(libc::EPROTO));
    }
    let _world = World::answering(|asked| asked.reply(Status::Absent, b""));
    assert_eq!(next::<libc::passwd>(&logins(), 512), unavailable(libc::EPROTO));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_in_a_page_is_never_a_wrong_entry(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9)) {
        let mut bytes = page(0, &[passwd("ana", 5000), passwd("luz", 5002), passwd("marisol", 5004)]);
        for (at, byte) in flips {
            // Not in the first word: another page would follow.
            let at = 4 + at.index(bytes.len() - 4);
            bytes[at] = byte;
        }
        let _world = World::answering(move |asked| asked.reply(Status::Found, &bytes));
        let walk = logins();
        // At most what was there, and then an end or a failure; `next` asserts that an entry lies inside its buffer.
        let entries: Vec<_> = std::iter::from_fn(|| next::<libc::passwd>(&walk, 2048).line).take(4).collect();
        prop_assert!(entries.len() < 4);
        for line in entries {
            let uid: u32 = line.split(':').nth(2).unwrap().parse().unwrap();
            prop_assert!(schema::id::is_usable(uid));
        }
    }
}

#[test]
fn pages_that_lead_round_in_circles_are_noticed() {
    let _world = World::answering(|asked| asked.reply(Status::Found, &page(7000, &[])));
    assert_eq!(next::<libc::passwd>(&logins(), 512), unavailable(libc::EPROTO));
}

#[test]
fn shadow_is_not_listed_for_those_who_may_not() {
    let _world = World::answering(|asked| asked.reply(Status::Denied, b""));
    assert_eq!(next::<libc::spwd>(&Walk::new(Op::ShadowList, local::PASSWD), 512), unavailable(libc::EACCES));
}

#[test]
fn a_child_forked_in_the_middle_of_a_call_goes_on_where_the_list_was() {
    let _world = directory();
    let walk = logins();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5000));
    walk.held_by_another_process();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("luz", 5002));
    assert_eq!(next::<libc::passwd>(&walk, 512), line("marisol", 5004));
    assert_eq!(next::<libc::passwd>(&walk, 512), end());
}

#[test]
fn a_call_from_inside_itself_does_not_wait_for_ever() {
    let _world = directory();
    let walk = logins();
    walk.held_by_this_thread();
    assert_eq!(walk.rewind().map_err(Failure::status), Err(-1));
    assert_eq!(next::<libc::passwd>(&walk, 512), unavailable(libc::EAGAIN));
}

#[test]
fn threads_that_list_at_once_share_the_entries() {
    let world = World::answering(|asked| {
        let after = asked.id().max(9999);
        let records: Vec<_> = (after + 1..=after + 10).map(|uid| passwd(&format!("u{uid}"), uid)).collect();
        asked.reply(Status::Found, &page(if after < 10_089 { after + 10 } else { 0 }, &records))
    });
    let walk = logins();
    let mut lines: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    world.enter();
                    std::iter::from_fn(|| next::<libc::passwd>(&walk, 512).line).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    lines.sort_unstable();
    let uids: Vec<u32> = lines.iter().map(|line| line.split(':').nth(2).unwrap().parse().unwrap()).collect();
    assert_eq!(uids, (10_000..10_100).collect::<Vec<_>>());
}
