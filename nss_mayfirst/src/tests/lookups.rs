//! Look-ups by name and by id.

use schema::wire::frame::{Op, Status};

use crate::abi::{
    _nss_mayfirst_getgrgid_r as getgrgid, _nss_mayfirst_getgrnam_r as getgrnam, _nss_mayfirst_getpwnam_r as getpwnam,
    _nss_mayfirst_getpwuid_r as getpwuid, _nss_mayfirst_getspnam_r as getspnam,
};
use crate::testing::caller::{Answer, by_id, by_name, call, found, not_found, too_small, unavailable};
use crate::testing::records::{group, passwd, shadow};
use crate::testing::{Asked, World};

const ANA: &str = "ana:x:5000:5001:Full Name:/home/members/users/ana:/bin/bash";
const RADIO: &str = "radio:x:6000:ana,luz,marisol";

/// A directory with the login ana and the group radio.
fn directory() -> World {
    World::answering(|asked: &Asked| {
        let record = match asked.op() {
            Op::PasswdByName | Op::PasswdByUid => passwd("ana", 5000),
            Op::GroupByName | Op::GroupByGid => group("radio", 6000, &["ana", "luz", "marisol"]),
            Op::ShadowByName => shadow("ana"),
            other => panic!("not expected: {other:?}"),
        };
        let there = match asked.op() {
            Op::PasswdByUid => asked.id() == 5000,
            Op::GroupByGid => asked.id() == 6000,
            _ => [&b"ana"[..], b"radio"].contains(&&asked.payload[..]),
        };
        if there { asked.reply(Status::Found, &record) } else { asked.reply(Status::Absent, b"") }
    })
}

fn every_size_is_enough_or_erange(needed: usize, alignment: usize, line: &str, ask: impl Fn(usize) -> Answer) {
    let _world = directory();
    for len in 0..needed + 64 {
        // The guarded buffer ends on a page boundary, so its start is aligned when its length is.
        let pad = len % alignment;
        let wanted = if len < needed + pad { too_small() } else { found(line) };
        assert_eq!(ask(len), wanted, "{len} bytes, {needed} needed");
    }
}

#[test]
fn passwd_takes_every_buffer_that_is_large_enough_and_no_other() {
    let needed = "ana.x.Full Name./home/members/users/ana./bin/bash.".len();
    every_size_is_enough_or_erange(needed, 1, ANA, |len| by_name(getpwnam, "ana", len));
    every_size_is_enough_or_erange(needed, 1, ANA, |len| by_id(getpwuid, 5000, len));
}

#[test]
fn group_takes_every_buffer_that_is_large_enough_and_no_other() {
    let needed = "radio.x.ana.luz.marisol.".len() + 4 * size_of::<usize>();
    every_size_is_enough_or_erange(needed, size_of::<usize>(), RADIO, |len| by_name(getgrnam, "radio", len));
    every_size_is_enough_or_erange(needed, size_of::<usize>(), RADIO, |len| by_id(getgrgid, 6000, len));
}

#[test]
fn shadow_takes_every_buffer_that_is_large_enough_and_no_other() {
    every_size_is_enough_or_erange("ana.*.".len(), 1, "ana:*:::90::::", |len| by_name(getspnam, "ana", len));
}

#[test]
fn no_buffer_at_all_is_too_small() {
    let _world = directory();
    let name = c"ana";
    // SAFETY: null is what is tested.
    let answer = call(0, |entry, _, errno| unsafe { getpwnam(name.as_ptr(), entry, std::ptr::null_mut(), 100, errno) });
    assert_eq!(answer, too_small());
}

#[test]
fn what_the_directory_does_not_have_is_not_found() {
    let world = directory();
    assert_eq!(by_name(getpwnam, "nobody-here", 1024), not_found());
    assert_eq!(by_name(getgrnam, "nobody-here", 1024), not_found());
    assert_eq!(by_name(getspnam, "nobody-here", 1024), not_found());
    assert_eq!(by_id(getpwuid, 7777, 1024), not_found());
    assert_eq!(by_id(getgrgid, 7777, 1024), not_found());
    assert_eq!(world.asked(), 5);
}

#[test]
fn ids_below_the_floor_and_names_that_cannot_be_are_not_asked_about() {
    let world = directory();
    for id in [0, 1, 999, 60000, 65534, 65535, 1 << 31, u32::MAX] {
        assert_eq!(by_id(getpwuid, id, 1024), not_found(), "{id}");
        assert_eq!(by_id(getgrgid, id, 1024), not_found(), "{id}");
    }
    for name in ["", "-rf", "a:b", "1000", "Ana", "josé", "a\nb", &"a".repeat(300)] {
        assert_eq!(by_name(getpwnam, name, 1024), not_found(), "{name}");
        assert_eq!(by_name(getgrnam, name, 1024), not_found(), "{name}");
        assert_eq!(by_name(getspnam, name, 1024), not_found(), "{name}");
    }
    assert_eq!(world.asked(), 0);
}

#[test]
fn local_names_and_ids_are_not_asked_about() {
    let world = directory().with_local("root:x:0:0::/root:/bin/sh\nana:x:5000:5000::/:/bin/sh\nradio:x:6000:\n");
    assert_eq!(by_name(getpwnam, "ana", 1024), not_found());
    assert_eq!(by_name(getspnam, "ana", 1024), not_found());
    assert_eq!(by_name(getgrnam, "radio", 1024), not_found());
    assert_eq!(by_id(getpwuid, 5000, 1024), not_found());
    assert_eq!(by_id(getgrgid, 6000, 1024), not_found());
    assert_eq!(world.asked(), 0);
}

#[test]
fn an_answer_may_not_give_a_local_id_to_a_name_nor_a_local_name_to_an_id() {
    let _world = directory().with_local("someone:x:5000:\nother:x:6000:\n");
    assert_eq!(by_name(getpwnam, "ana", 1024), not_found());
    assert_eq!(by_name(getgrnam, "radio", 1024), not_found());
    drop(_world);
    let _world = directory().with_local("ana:x:1:1::/:/bin/sh\nradio:x:2:\n");
    assert_eq!(by_id(getpwuid, 5000, 1024), not_found());
    assert_eq!(by_id(getgrgid, 6000, 1024), not_found());
}

#[test]
fn without_a_daemon_nothing_is_known_and_local_users_are_as_ever() {
    let _world = World::empty().with_local("root:x:0:0::/root:/bin/sh\n");
    assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(libc::ECONNREFUSED));
    assert_eq!(by_id(getgrgid, 6000, 1024), unavailable(libc::ECONNREFUSED));
    assert_eq!(by_name(getpwnam, "root", 1024), not_found());
}

#[test]
fn a_socket_that_nobody_listens_on_is_unavailable() {
    let world = World::empty();
    drop(std::os::unix::net::UnixListener::bind(world.socket()).unwrap());
    assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(libc::ECONNREFUSED));
}

#[test]
fn only_absent_means_that_there_is_no_such_entry() {
    for (status, errno) in [
        (Status::Unknown, libc::EAGAIN),
        (Status::Busy, libc::EAGAIN),
        (Status::Denied, libc::EACCES),
        (Status::Malformed, libc::EPROTO),
        (Status::Version, libc::EPROTO),
        (Status::Working, libc::EPROTO),
    ] {
        let _world = World::answering(move |asked| asked.reply(status, b""));
        assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(errno), "{status:?}");
        assert_eq!(by_id(getgrgid, 6000, 1024), unavailable(errno), "{status:?}");
        assert_eq!(by_name(getspnam, "ana", 1024), unavailable(errno), "{status:?}");
    }
}

#[test]
fn errno_survives_a_call_that_succeeds() {
    let _world = directory();
    let place = || {
        // SAFETY: this thread's errno.
        unsafe { libc::__errno_location() }
    };
    // SAFETY: as above.
    unsafe { *place() = libc::EXDEV };
    let mut seen = 0;
    let answer = call(1024, |entry, buffer, errno| {
        // SAFETY: what glibc would hand over.
        let status = unsafe { getpwnam(c"ana".as_ptr(), entry, buffer, 1024, errno) };
        // SAFETY: this thread's errno.
        seen = unsafe { *place() };
        status
    });
    assert_eq!((answer, seen), (found(ANA), libc::EXDEV));
}

#[test]
fn a_program_without_standard_descriptors_gets_none_from_us() {
    let world = World::serving(|asked, stream| {
        use std::io::Write;
        let peer = peer_of(stream);
        for fd in 0..3 {
            assert!(!std::path::Path::new(&format!("/proc/{peer}/fd/{fd}")).exists(), "descriptor {fd} was used");
        }
        stream.write_all(&asked.reply(Status::Found, &passwd("ana", 5000))).unwrap();
    });
    // SAFETY: the child only makes system calls and one look-up, and leaves without destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        for fd in 0..3 {
            // SAFETY: the child's own.
            unsafe { libc::close(fd) };
        }
        let right = by_name(getpwnam, "ana", 1024) == found(ANA);
        // SAFETY: ends the child.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((status, world.asked()), (0, 1));
}

fn peer_of(stream: &std::os::unix::net::UnixStream) -> libc::pid_t {
    use std::os::fd::AsRawFd;
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let place: *mut libc::ucred = &mut peer;
    // SAFETY: a place of that length.
    unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place.cast(), &mut len);
    };
    peer.pid
}
