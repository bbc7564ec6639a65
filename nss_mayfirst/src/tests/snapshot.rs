//! A published snapshot and a socket: which of the two answers.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use schema::snapshot::changes::{Change, Owned};
use schema::snapshot::control::WORD;
use schema::snapshot::layout::{HEADER, Pair};
use schema::wire::frame::{Op, Status};

use super::initgroups::call as initgroups_of;
use super::lists::{logins, next};
use crate::abi::{
    _nss_mayfirst_getgrgid_r as getgrgid, _nss_mayfirst_getgrnam_r as getgrnam, _nss_mayfirst_getpwnam_r as getpwnam,
    _nss_mayfirst_getpwuid_r as getpwuid, _nss_mayfirst_getspnam_r as getspnam,
};
use crate::testing::World;
use crate::testing::caller::{Answer, by_id, by_name, end, found, not_found, too_small, unavailable};
use crate::testing::published::{Published, group, login, login_in, store};
use crate::testing::records::{page, passwd, shadow};

/// What the socket says, so that it can be told from the snapshot.
const OF_THE_SOCKET: u32 = 9000;

/// A daemon that knows `ana`, and a snapshot of `ana`, `luz` and their groups.
fn world() -> (World, Published, Vec<u8>) {
    let world = World::answering(|asked| match asked.op() {
        Op::ShadowByName => asked.reply(Status::Found, &shadow("ana")),
        Op::PasswdByName if asked.payload == b"ana" => asked.reply(Status::Found, &passwd("ana", OF_THE_SOCKET)),
        Op::PasswdList => asked.reply(Status::Found, &page(0, &[passwd("ana", OF_THE_SOCKET)])),
        _ => asked.reply(Status::Absent, &[]),
    });
    let published = world.publishing();
    let logins = [login_in("ana", 5000, &[5000, 6000, 6001]), login("luz", 5002)];
    let groups = [group("ana", 5000, &[]), group("radio", 6000, &["ana"]), group("web", 6001, &["ana", "luz"])];
    let base = published.base_of(1, &logins, &groups);
    published.flip(1, 0);
    (world, published, base)
}

fn line(name: &str, uid: u32) -> Answer {
    found(&format!("{name}:x:{uid}:{uid}:Ana:/home/members/users/ana:/bin/bash"))
}

fn of_the_socket() -> Answer {
    found("ana:x:9000:9001:Full Name:/home/members/users/ana:/bin/bash")
}

#[test]
fn what_the_snapshot_finds_and_what_it_does_not_is_final() {
    let (world, _published, _) = world();
    assert_eq!(by_name(getpwnam, "ana", 512), line("ana", 5000));
    assert_eq!(by_id(getpwuid, 5002, 512), line("luz", 5002));
    assert_eq!(by_name(getgrnam, "web", 512), found("web:x:6001:ana,luz"));
    assert_eq!(by_id(getgrgid, 6000, 512), found("radio:x:6000:ana"));
    assert_eq!(by_name(getpwnam, "nobody-here", 512), not_found());
    assert_eq!(by_id(getpwuid, 5001, 512), not_found());
    assert_eq!(by_name(getgrnam, "luz", 512), not_found());
    assert_eq!(by_id(getgrgid, 5002, 512), not_found());
    assert_eq!(
        initgroups_of("ana", 5000, &[5000], 4, 0),
        (1, crate::testing::caller::UNTOUCHED, vec![5000, 6000, 6001], 4)
    );
    assert_eq!(initgroups_of("nobody-here", 5000, &[5000], 4, 0).0, 0);
    assert_eq!(world.asked(), 0);
}

#[test]
fn a_buffer_too_small_for_an_answer_of_the_snapshot_is_erange() {
    let (world, _published, _) = world();
    let needed = "ana.x.Ana./home/members/users/ana./bin/bash.".len();
    for len in 0..needed {
        assert_eq!(by_name(getpwnam, "ana", len), too_small(), "{len} bytes");
    }
    assert_eq!(by_name(getpwnam, "ana", needed), line("ana", 5000));
    for len in 0..512 {
        let answer = by_name(getgrnam, "web", len);
        assert!(
            answer == too_small() || (len > 32 && answer == found("web:x:6001:ana,luz")),
            "{len} bytes: {answer:?}"
        );
    }
    assert_eq!(world.asked(), 0);
}

#[test]
fn what_is_changed_between_two_reads_is_not_handed_on() {
    let (_world, published, base) = world();
    let at = base.windows(6).position(|bytes| bytes == b"ana\0x\0").unwrap() as u64;
    let file = File::options().write(true).open(published.path.join("base.1")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for name in [b"a:a", b"ana", b"lua", b"ana"] {
                    file.write_all_at(name, at).unwrap();
                }
            }
        });
        for _ in 0..20_000 {
            let named = by_name(getpwnam, "ana", 512);
            assert!([line("ana", 5000), of_the_socket(), not_found()].contains(&named), "{named:?}");
            let numbered = by_id(getpwuid, 5000, 512);
            assert!([line("ana", 5000), line("lua", 5000), not_found()].contains(&numbered), "{numbered:?}");
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn shadow_is_always_asked_from_the_socket() {
    let (world, _published, _) = world();
    assert_eq!(by_name(getspnam, "ana", 512), found("ana:*:::90::::"));
    assert_eq!(world.asked(), 1);
}

#[test]
fn without_a_published_pair_the_socket_answers() {
    let (world, published, _) = world();
    store(&published.control, WORD, 0);
    assert_eq!(by_name(getpwnam, "ana", 512), of_the_socket());
    store(&published.control, WORD, Pair { base: 1, delta: 0 }.word());
    // The next try to map anything is a second away; the socket is asked until then.
    assert_eq!(by_name(getpwnam, "luz", 512), not_found());
    assert_eq!(world.asked(), 2);
}

#[test]
fn a_withdrawn_snapshot_does_not_answer_any_more() {
    let (world, published, _) = world();
    assert_eq!(by_name(getpwnam, "ana", 512), line("ana", 5000));
    store(&published.control, WORD, 0);
    assert_eq!(by_name(getpwnam, "ana", 512), of_the_socket());
    world.hang_up();
    assert_eq!(by_name(getpwnam, "ana", 512).status, -1);
}

#[test]
fn behind_a_pair_that_cannot_be_mapped_the_socket_answers_and_without_it_what_was_true_before() {
    let (world, published, _) = world();
    assert_eq!(by_name(getpwnam, "ana", 512), line("ana", 5000));
    published.flip(7, 0);
    assert_eq!(by_name(getpwnam, "ana", 512), of_the_socket());
    world.hang_up();
    assert_eq!(by_name(getpwnam, "ana", 512), line("ana", 5000));
    assert_eq!(by_name(getpwnam, "nobody-here", 512), not_found());
    assert_eq!(initgroups_of("ana", 5000, &[5000], 4, 0).2, [5000, 6000, 6001]);
    let walk = logins();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5000));
    assert_eq!(next::<libc::passwd>(&walk, 512), line("luz", 5002));
    assert_eq!(next::<libc::passwd>(&walk, 512), end());
}

#[test]
fn a_damaged_file_sends_the_question_to_the_socket() {
    let (world, published, mut base) = world();
    base[HEADER..].fill(0);
    published.put("base.1", &base);
    assert_eq!(by_name(getpwnam, "ana", 512), of_the_socket());
    assert_eq!(initgroups_of("luz", 5002, &[5002], 4, 0).0, 0);
    assert_eq!(next::<libc::passwd>(&logins(), 512), of_the_socket());
    assert_eq!(world.asked(), 3);
}

#[test]
fn a_captured_publisher_cannot_take_a_local_name_id_or_group() {
    let (world, published, base) = world();
    // Not "no such account": whoever asks here has just not found it in the files.
    let both = || unavailable(libc::EAGAIN);
    let world = world.with_local("ana:x:1:1:::\nother:x:5002:6000:::\n");
    assert_eq!(by_name(getpwnam, "ana", 512), both(), "a local name");
    assert_eq!(by_name(getpwnam, "luz", 512), both(), "a local uid");
    assert_eq!(by_id(getpwuid, 5000, 512), both(), "a local name, by uid");
    assert_eq!(by_name(getgrnam, "ana", 512), both(), "a local name of a group");
    assert_eq!(initgroups_of("ana", 5000, &[5000], 4, 0).0, 0, "the groups of a local name");
    let world = world.with_local("other:x:6001:1:::\n");
    published.delta_of(&base, 1, [Change::Login(login_in("eva", 5003, &[6001]))]);
    published.flip(1, 1);
    assert_eq!(by_name(getpwnam, "eva", 512), both(), "a local primary group");
    assert_eq!(by_name(getgrnam, "web", 512), both(), "a local gid");
    assert_eq!(initgroups_of("ana", 5000, &[5000], 4, 0).2, [5000, 6000], "without the local gid");
    let walk = logins();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5000));
    assert_eq!(next::<libc::passwd>(&walk, 512), line("luz", 5002));
    assert_eq!(next::<libc::passwd>(&walk, 512), end(), "without the login in a local group");
    assert_eq!(world.asked(), 0);
}

#[test]
fn a_list_begun_with_one_goes_on_with_the_other() {
    let world = World::answering(|asked| match asked.id() {
        5002 => asked.reply(Status::Found, &page(5005, &[passwd("marisol", 5004), passwd("noe", 5005)])),
        5005 => asked.reply(Status::Found, &page(0, &[passwd("pia", 5006)])),
        other => panic!("a page after {other}"),
    });
    let published = world.publishing();
    let base: Vec<_> =
        [("ana", 5000), ("luz", 5002), ("omar", 5006), ("rosa", 5008)].map(|(name, uid)| login(name, uid)).into();
    published.base_of(1, &base, &[]);
    published.flip(1, 0);
    let walk = logins();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("ana", 5000));
    assert_eq!(next::<libc::passwd>(&walk, 512), line("luz", 5002));
    store(&published.control, WORD, 0);
    let of_the_socket = |name: &str, uid: u32| {
        found(&format!("{name}:x:{uid}:{}:Full Name:/home/members/users/{name}:/bin/bash", uid + 1))
    };
    assert_eq!(next::<libc::passwd>(&walk, 512), of_the_socket("marisol", 5004));
    published.flip(1, 0);
    assert_eq!(next::<libc::passwd>(&walk, 512), of_the_socket("noe", 5005));
    assert_eq!(next::<libc::passwd>(&walk, 512), line("omar", 5006));
    // Another thread held the list when this process was forked.
    walk.held_by_another_process();
    assert_eq!(next::<libc::passwd>(&walk, 512), line("rosa", 5008));
    assert_eq!(next::<libc::passwd>(&walk, 512), end());
    assert_eq!(world.asked(), 1);
}

#[test]
fn a_list_goes_on_where_it_was_while_generations_come_and_go() {
    let world = World::answering(|_| panic!("the snapshot knows"));
    let published = world.publishing();
    let of = |uids: &[u32]| -> Vec<Owned> { uids.iter().map(|uid| login(&format!("u{uid}"), *uid)).collect() };
    let walk = logins();
    let listed = |count: usize| -> Vec<u32> {
        let lines = (0..count).map_while(|_| next::<libc::passwd>(&walk, 512).line);
        lines.map(|line| line.split(':').nth(2).unwrap().parse().unwrap()).collect()
    };
    let even: Vec<u32> = (5000..5200).step_by(2).collect();
    let base = published.base_of(1, &of(&even), &[]);
    published.flip(1, 0);
    assert_eq!(listed(40), (5000..5080).step_by(2).collect::<Vec<_>>());
    // A delta: one that comes, one that goes, one that comes where the list has been.
    let there = |uid| Change::Login(login(&format!("u{uid}"), uid));
    let gone = Change::NoLoginWith(5082.try_into().unwrap());
    published.delta_of(&base, 1, [there(5001), there(5081), gone, there(5085)]);
    published.flip(1, 1);
    assert_eq!(listed(4), [5080, 5081, 5084, 5085]);
    // Another base, whose entries lie elsewhere.
    let odd: Vec<u32> = (5003..5200).step_by(2).collect();
    published.base_of(2, &of(&odd), &[]);
    published.flip(2, 0);
    assert_eq!(listed(2), [5087, 5089]);
    // The first again, and in a child that was forked while another thread held the list.
    published.flip(1, 0);
    assert_eq!(listed(2), [5090, 5092]);
    walk.held_by_another_process();
    assert_eq!(listed(2), [5094, 5096]);
    assert_eq!(listed(1000), (5098..5200).step_by(2).collect::<Vec<_>>());
}
