//! A daemon that hangs.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;

use schema::wire::frame::{HEADER, Status};

use crate::abi::{_nss_mayfirst_getgrgid_r as getgrgid, _nss_mayfirst_getpwnam_r as getpwnam};
use crate::source::Deadline;
use crate::sys::{Errno, Fd};
use crate::testing::caller::{by_id, by_name, found, unavailable};
use crate::testing::records::passwd;
use crate::testing::{Asked, World};

const ANA: &str = "ana:x:5000:5001:Full Name:/home/members/users/ana:/bin/bash";

/// A peer that sends the first bytes of a right answer and then holds the connection until the test ends.
fn stops_after(len: usize) -> (World, mpsc::Sender<()>) {
    let (end, ended) = mpsc::channel::<()>();
    let world = World::serving(move |asked, stream| {
        let reply = asked.reply(Status::Found, &passwd("ana", 5000));
        stream.write_all(&reply[..len]).unwrap();
        let _ = ended.recv();
    });
    (world.in_earnest(), end)
}

#[test]
fn a_daemon_that_stops_anywhere_is_a_timeout_and_not_an_absent_user() {
    for len in [0, 1, HEADER - 1, HEADER, HEADER + 1, HEADER + 16, HEADER + 17] {
        let (_world, end) = stops_after(len);
        assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(libc::ETIMEDOUT), "{len} bytes");
        drop(end);
    }
}

#[test]
fn after_a_timeout_the_next_calls_are_short() {
    let (_world, end) = stops_after(0);
    assert!(Deadline::new().left_ms().unwrap() > 25);
    assert_eq!(by_id(getgrgid, 6000, 1024), unavailable(libc::ETIMEDOUT));
    assert!(Deadline::new().left_ms().unwrap() <= 25);
    assert_eq!(by_id(getgrgid, 6000, 1024), unavailable(libc::ETIMEDOUT));
    drop(end);
}

#[test]
fn a_late_unknown_is_as_bad_as_no_answer() {
    let _world = World::serving(|asked, stream| {
        // What a daemon does that waits for its directory: here as long as a short patience and some.
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 40 {
            std::thread::yield_now();
        }
        let _ = stream.write_all(&asked.reply(Status::Unknown, b""));
    })
    .in_earnest();
    assert_eq!(by_name(getpwnam, "ana", 1024).status, -1);
    assert!(Deadline::new().left_ms().unwrap() <= 25);
}

#[test]
fn the_daemon_is_told_how_long_we_wait() {
    let (send, waits) = mpsc::channel();
    let _world = World::answering(move |asked| {
        send.send(asked.header.wait_ms).unwrap();
        asked.reply(Status::Absent, b"")
    })
    .in_earnest();
    by_name(getpwnam, "ana", 1024);
    assert!((1..=200).contains(&waits.recv().unwrap()));
}

#[test]
fn a_full_backlog_is_waited_for() {
    let world = World::empty().in_earnest();
    let (_listener, _waiting) = full_backlog(&world);
    assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(libc::ETIMEDOUT));
}

#[test]
fn a_backlog_that_clears_in_time_is_no_failure() {
    let world = World::empty();
    let (listener, waiting) = full_backlog(&world);
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Those that filled the backlog have gone without a question.
            drop(waiting);
            while let Ok((mut stream, _)) = listener.accept() {
                if let Some(asked) = Asked::read(&mut stream) {
                    stream.write_all(&asked.reply(Status::Found, &passwd("ana", 5000))).unwrap();
                    break;
                }
            }
        });
        by_name(getpwnam, "ana", 1024)
    });
    assert_eq!(answer, found(ANA));
}

/// A listener to which nobody can connect any more.
fn full_backlog(world: &World) -> (UnixListener, Vec<Fd>) {
    let listener = UnixListener::bind(world.socket()).unwrap();
    // SAFETY: a listening socket; a second listen(2) changes its backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
    let path = CString::new(world.socket().into_os_string().into_encoded_bytes()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = Fd::unix_socket().unwrap();
        match socket.connect(&path) {
            Ok(()) => waiting.push(socket),
            Err(errno) => {
                assert_eq!(errno, Errno::EAGAIN);
                return (listener, waiting);
            }
        }
    }
}
