//! The client against daemons that misbehave.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use super::*;

/// For an answer that comes; the thread that gives it has to have its turn.
const PATIENT: Duration = Duration::from_secs(30);
/// For one that does not.
const SHORT: Duration = Duration::from_millis(300);

/// A daemon that answers one connection with `answer`.
fn daemon(answer: impl FnOnce(UnixStream, Header) + Send + 'static) -> (tempfile::TempDir, Client, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, header) = take_question(&listener);
        answer(stream, header);
    });
    (dir, Client::at(socket).within(PATIENT), thread)
}

fn take_question(listener: &UnixListener) -> (UnixStream, Header) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = [0; 24];
    stream.read_exact(&mut head).unwrap();
    let header = Header::parse(&head).unwrap();
    let mut payload = vec![0; header.len as usize];
    stream.read_exact(&mut payload).unwrap();
    (stream, header)
}

fn send(stream: &mut UnixStream, status: Status, id: u64, payload: &[u8]) {
    let mut frame = Header::reply(status, id, payload.len() as u32).to_bytes().to_vec();
    frame.extend_from_slice(payload);
    stream.write_all(&frame).unwrap();
}

#[test]
fn an_interim_frame_is_passed_over() {
    let (_dir, client, thread) = daemon(|mut stream, header| {
        send(&mut stream, Status::Working, header.id, b"");
        send(&mut stream, Status::Found, header.id, &postcard::to_allocvec(&Reply::Done).unwrap());
    });
    assert_eq!(client.ask(&Request::Reload).unwrap(), Reply::Done);
    thread.join().unwrap();
}

#[test]
fn absent_and_unknown_are_different_answers() {
    for (status, expected) in [(Status::Absent, LookUp::Absent), (Status::Unknown, LookUp::Unknown)] {
        let (_dir, client, thread) = daemon(move |mut stream, header| send(&mut stream, status, header.id, b""));
        assert_eq!(client.look_up(Op::PasswdByName, b"alice").unwrap(), expected);
        thread.join().unwrap();
    }
}

#[test]
fn a_daemon_that_is_not_there_is_told_apart_from_one_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::at(dir.path().join("socket")).ask(&Request::Status).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");

    let (_dir, client, thread) = daemon(|stream, _| {
        // Holds the connection until the client has given up.
        let _ = (&stream).read(&mut [0; 1]);
    });
    let error = client.within(SHORT).ask(&Request::Status).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    thread.join().unwrap();
}

#[test]
fn interim_frames_for_ever_do_not_extend_the_deadline() {
    let (_dir, client, thread) = daemon(|mut stream, header| {
        let frame = Header::reply(Status::Working, header.id, 0).to_bytes();
        while stream.write_all(&frame).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let error = client.within(SHORT).ask(&Request::Status).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    thread.join().unwrap();
}

#[test]
fn an_invented_length_costs_no_memory() {
    let (_dir, client, thread) = daemon(|mut stream, header| {
        stream.write_all(&Header::reply(Status::Found, header.id, u32::MAX).to_bytes()).unwrap();
    });
    assert!(matches!(client.ask(&Request::Status).unwrap_err(), ClientError::Protocol(_)));
    thread.join().unwrap();
}

#[test]
fn a_reply_cut_short_is_a_broken_connection() {
    let (_dir, client, thread) = daemon(|mut stream, header| {
        stream.write_all(&Header::reply(Status::Found, header.id, 100).to_bytes()).unwrap();
        stream.write_all(b"short").unwrap();
    });
    assert!(matches!(client.ask(&Request::Status).unwrap_err(), ClientError::Broken { .. }));
    thread.join().unwrap();
}

#[test]
fn garbage_another_version_and_another_id_are_refused() {
    let (_dir, client, thread) = daemon(|mut stream, _| stream.write_all(&[b'x'; 64]).unwrap());
    assert!(matches!(client.ask(&Request::Status).unwrap_err(), ClientError::Protocol(_)));
    thread.join().unwrap();

    let (_dir, client, thread) = daemon(|mut stream, header| {
        let reply = Header { version: 9, ..Header::reply(Status::Version, header.id, 0) };
        stream.write_all(&reply.to_bytes()).unwrap();
    });
    assert!(matches!(client.ask(&Request::Status).unwrap_err(), ClientError::Version { theirs: 9 }));
    thread.join().unwrap();

    let (_dir, client, thread) =
        daemon(|mut stream, header| send(&mut stream, Status::Found, header.id.wrapping_add(1), b""));
    assert!(matches!(client.ask(&Request::Status).unwrap_err(), ClientError::Protocol(_)));
    thread.join().unwrap();
}

#[test]
fn refusals_have_their_own_errors() {
    let (_dir, client, thread) = daemon(|mut stream, header| send(&mut stream, Status::Denied, header.id, b""));
    assert!(matches!(client.ask(&Request::Status).unwrap_err(), ClientError::Denied));
    thread.join().unwrap();

    let (_dir, client, thread) = daemon(|mut stream, header| send(&mut stream, Status::Busy, header.id, b""));
    assert!(matches!(client.ask(&Request::Status).unwrap_err(), ClientError::Busy));
    thread.join().unwrap();
}

#[test]
fn who_gets_no_place_or_loses_it_asks_again_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let client = Client::at(socket).within(PATIENT);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut refused, _) = listener.accept().unwrap();
            send(&mut refused, Status::Busy, 0, b"");
            drop(refused);
            drop(listener.accept().unwrap());
            let (mut served, header) = take_question(&listener);
            send(&mut served, Status::Found, header.id, &postcard::to_allocvec(&Reply::Done).unwrap());
        });
        assert_eq!(client.ask(&Request::Status).unwrap(), Reply::Done);
    });
    // What changes something is not asked again when it may have been done, and a look-up not at all.
    for asks in [
        |client: &Client| client.ask(&Request::Reload).map(drop),
        |client: &Client| client.look_up(Op::PasswdByName, b"ana").map(drop),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| drop(take_question(&listener)));
            assert!(matches!(asks(&client).unwrap_err(), ClientError::Broken { .. }));
        });
    }
    // Never a place.
    std::thread::scope(|scope| {
        // Gone with this closure, also by a failed assertion.
        let (_asking, end) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            listener.set_nonblocking(true).unwrap();
            while end.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                match listener.accept() {
                    Ok((mut stream, _)) => send(&mut stream, Status::Busy, 0, b""),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        let error = client.ask(&Request::Status).unwrap_err();
        assert!(matches!(error, ClientError::Crowded { .. }), "{error}");
    });
}

#[test]
fn a_question_that_is_too_long_is_not_sent() {
    let client = Client::at("/nonexistent");
    assert!(matches!(client.look_up(Op::PasswdByName, &[b'a'; 70_000]).unwrap_err(), ClientError::TooLong(70_000)));
}
