//! identityd that hangs, and peers on its socket that are not identityd: the answer is "could not be found out", soon, and local accounts
//! notice nothing.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use schema::packed::write;
use schema::record::{Group, Passwd};
use schema::wire::frame::{HEADER, Header, ListHead, Op, Status};
use tests::{Login, Mosh, boot};

const SOCKET: &str = "/run/identityd/socket";
/// What a call may take in all, without the time in which its thread had no processor.
const LIMIT_MS: f64 = 250.0;
/// What never asks takes microseconds, and what asks a daemon that hangs 200 ms; this is for a machine with much else to do.
const AT_ONCE_MS: f64 = 100.0;

/// An answer of `tests/c/nss_probe.c`.
#[derive(Debug)]
struct Probed {
    question: String,
    status: String,
    errno: i32,
    /// Without the wait for a processor.
    ms: f64,
    came: String,
}

fn probe(mosh: &Mosh, questions: &str) -> Vec<Probed> {
    let program = mosh.c_program("nss_probe");
    let output = mosh.run([program.as_str()].into_iter().chain(questions.split_whitespace())).success();
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let answers = output.stdout.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    answers
        .map(|fields| Probed {
            question: fields[0].into(),
            status: fields[1].into(),
            errno: fields[2].parse().unwrap_or(-1),
            ms: number(fields[3]) - number(fields[4]),
            came: fields[5].into(),
        })
        .collect()
}

/// The same of somebody who answers at once. On a busy machine he may have no processor for the time of a call: then all is asked again.
fn answered(mosh: &Mosh, questions: &str) -> Vec<Probed> {
    let mut answers = Vec::new();
    mosh.wait_until("every answer comes in time", Duration::from_secs(10), |mosh| {
        answers = probe(mosh, questions);
        answers.iter().all(|answer| answer.errno != libc::ETIMEDOUT)
    });
    answers
}

#[track_caller]
fn all_unavailable(answers: &[Probed], errno: i32) {
    for answer in answers {
        assert_eq!((answer.status.as_str(), answer.errno), ("UNAVAIL", errno), "{answer:?}");
        assert!(answer.ms < LIMIT_MS, "{answer:?}");
    }
}

const EVERYTHING: &str = "pw ana uid 5000 gr ana gid 5000 sp ana ig ana pwlist grlist splist";

fn with_ana() -> tests::mosh::Builder {
    Mosh::builder().login(Login::new("ana")).lookup()
}

#[test]
fn a_stopped_daemon_costs_every_call_less_than_a_quarter_of_a_second() {
    let mosh = boot!(with_ana());
    assert_eq!(answered(&mosh, "pw ana")[0].status, "SUCCESS");
    mosh.daemon().pause();
    // Each in a process of its own: the first time-out makes a process impatient.
    for question in ["pw ana", "uid 5000", "gr ana", "gid 5000", "sp ana", "ig ana", "pwlist", "grlist", "splist"] {
        let answers = probe(&mosh, question);
        println!("{} {:.0} ms", answers[0].question, answers[0].ms);
        all_unavailable(&answers, libc::ETIMEDOUT);
    }
    // And all in one.
    let all = probe(&mosh, EVERYTHING);
    let sum: f64 = all.iter().map(|answer| answer.ms).sum();
    all_unavailable(&all, libc::ETIMEDOUT);
    // Patient ones would take 1,800.
    println!("nine calls of one process: {sum:.0} ms, promised within 1000");
    assert!(sum < 1500.0, "{all:?}");
    mosh.daemon().resume();
    mosh.wait_until("it answers again", Duration::from_secs(10), |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

#[test]
fn a_stopped_daemon_is_not_asked_about_local_accounts() {
    let mosh = boot!(with_ana());
    mosh.daemon().pause();
    let local = "pw root uid 0 gr root gid 0 sp root ig root pw identityd gr identityd ig identityd pw www-data uid 33 uid 999 gid 60001 \
                 uid 65534 pw nobody pw Root pw -rf pw 1000 uid 4294967295";
    for answer in probe(&mosh, local) {
        assert_eq!((answer.status.as_str(), answer.errno), ("NOTFOUND", libc::ENOENT), "{answer:?}");
        assert!(answer.ms < AT_ONCE_MS, "{answer:?}");
    }
    let asked = |argv: &str| {
        let calls = mosh.sh(&format!("strace -f -qq -e trace=connect -o /tmp/calls {argv}; cat /tmp/calls"));
        calls.stdout.matches(SOCKET).count()
    };
    assert_eq!(asked("id root"), 0);
    assert_eq!(asked("getent passwd identityd"), 0);
    assert_eq!(asked("ls -ln /"), 0);
    assert!(asked("getent passwd ana") > 0, "strace sees the others");
    let quickly = mosh.run(["runuser", "-u", "www-data", "--", "id"]).success();
    assert!(quickly.stdout.contains("www-data"));
}

#[test]
fn a_daemon_that_is_not_there_is_unknown_at_once() {
    let mosh = boot!(with_ana());
    mosh.daemon().kill();
    let answers = probe(&mosh, EVERYTHING);
    all_unavailable(&answers, libc::ECONNREFUSED);
    for answer in answers {
        assert!(answer.ms < AT_ONCE_MS, "{answer:?}");
    }
    assert_eq!(mosh.run(["getent", "passwd", "root"]).success().text().split(':').next(), Some("root"));
}

/// A full backlog: connect(2) waits, and then the time is over.
#[test]
fn a_daemon_that_takes_no_connections_is_unknown_in_time() {
    let mosh = boot!(with_ana());
    mosh.daemon().pause();
    let kept: Vec<_> = (0..6000)
        .map_while(|_| {
            let socket = rustix::net::socket_with(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::STREAM,
                rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
                None,
            )
            .ok()?;
            let address = rustix::net::SocketAddrUnix::new(mosh.outside(SOCKET)).ok()?;
            rustix::net::connect(&socket, &address).ok().map(|()| socket)
        })
        .collect();
    println!("{} connections fill the backlog", kept.len());
    for question in ["pw ana", "ig ana", "grlist"] {
        all_unavailable(&probe(&mosh, question), libc::ETIMEDOUT);
    }
}

/// Somebody else on the socket: whoever captured the user identityd.
fn captured(mosh: &Mosh, answer: impl Fn(&mut UnixStream, Option<Op>, &[u8], u64) + Send + Sync + 'static) {
    if mosh.daemon().alive() {
        mosh.daemon().kill();
    }
    let path = mosh.outside(SOCKET);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("bind the socket");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod the socket");
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut header = [0; HEADER];
                if stream.read_exact(&mut header).is_err() {
                    return;
                }
                let Ok(asked) = Header::parse(&header) else { return };
                let mut payload = vec![0; asked.len as usize];
                if stream.read_exact(&mut payload).is_ok() {
                    answer(&mut stream, Op::from_raw(asked.kind), &payload, asked.id);
                }
            });
        }
    });
}

fn found(stream: &mut UnixStream, id: u64, payload: &[u8]) {
    let header = Header::reply(Status::Found, id, payload.len() as u32).to_bytes();
    let _ = stream.write_all(&[&header[..], payload].concat());
}

/// A way to misbehave: gets the connection and the request's id.
type Misbehaviour = fn(&mut UnixStream, u64);

#[test]
fn broken_slow_and_half_closed_answers_are_unknown_in_time() {
    let ways: [(&str, Misbehaviour); 10] = [
        ("closes at once", |_, _| {}),
        ("garbage", |stream, _| drop(stream.write_all(&[0xa5; 4096]))),
        ("half a header", |stream, id| drop(stream.write_all(&Header::reply(Status::Found, id, 90).to_bytes()[..11]))),
        ("a header and nothing", |stream, id| drop(stream.write_all(&Header::reply(Status::Found, id, 90).to_bytes()))),
        ("another's id", |stream, id| found(stream, id ^ 1, &[0; 90])),
        ("nothing, for ever", |_, _| std::thread::sleep(Duration::from_secs(3))),
        ("a byte every 20 ms", |stream, id| {
            for byte in Header::reply(Status::Found, id, 900).to_bytes().into_iter().chain([0; 900]) {
                std::thread::sleep(Duration::from_millis(20));
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
            }
        }),
        ("gigabytes", |stream, id| {
            let _ = stream.write_all(&Header::reply(Status::Found, id, u32::MAX).to_bytes());
            while stream.write_all(&[0; 65536]).is_ok() {}
        }),
        ("an interim frame", |stream, id| drop(stream.write_all(&Header::reply(Status::Working, id, 0).to_bytes()))),
        ("an unknown status", |stream, id| {
            let header = Header { kind: 999, ..Header::reply(Status::Found, id, 0) };
            let _ = stream.write_all(&header.to_bytes());
        }),
    ];
    let mosh = boot!(with_ana());
    for (name, way) in ways {
        captured(&mosh, move |stream, _, _, id| way(stream, id));
        for answer in probe(&mosh, EVERYTHING) {
            assert_eq!(answer.status, "UNAVAIL", "{name}: {answer:?}");
            assert!(answer.ms < LIMIT_MS, "{name}: {answer:?}");
        }
        for answer in probe(&mosh, "pw root uid 0 pw identityd") {
            assert_eq!(answer.status, "NOTFOUND", "{name}: {answer:?}");
        }
        mosh.run(["getent", "passwd", "root"]).success();
    }
}

/// The bytes of a passwd record, with anything in it.
fn passwd(name: &str, uid: u32, gid: u32, rest: [&str; 3]) -> Vec<u8> {
    let valid = Passwd {
        name: "x".parse().unwrap(),
        uid: 5000.try_into().unwrap(),
        gid: 5000.try_into().unwrap(),
        gecos: "".parse().unwrap(),
        home: "/x".parse().unwrap(),
        shell: "/x".parse().unwrap(),
    };
    let mut record = write::passwd(&valid)[..16].to_vec();
    record[0..4].copy_from_slice(&uid.to_le_bytes());
    record[4..8].copy_from_slice(&gid.to_le_bytes());
    for (at, text) in [name, rest[0], rest[1], rest[2]].into_iter().enumerate() {
        record[8 + at * 2..10 + at * 2].copy_from_slice(&(text.len() as u16).to_le_bytes());
    }
    for text in [name, "x", rest[0], rest[1], rest[2]] {
        record.extend_from_slice(text.as_bytes());
        record.push(0);
    }
    record
}

fn group(name: &str, gid: u32, members: &[&str]) -> Vec<u8> {
    let valid = Group { name: "x".parse().unwrap(), gid: 5000.try_into().unwrap(), members: Vec::new() };
    let mut record = write::group(&valid).unwrap()[..16].to_vec();
    let bytes: usize = members.iter().map(|member| member.len() + 1).sum();
    record[0..4].copy_from_slice(&gid.to_le_bytes());
    record[4..8].copy_from_slice(&(members.len() as u32).to_le_bytes());
    record[8..12].copy_from_slice(&(bytes as u32).to_le_bytes());
    record[12..14].copy_from_slice(&(name.len() as u16).to_le_bytes());
    for text in [name, "x"].iter().chain(members) {
        record.extend_from_slice(text.as_bytes());
        record.push(0);
    }
    record
}

fn page(records: &[Vec<u8>]) -> Vec<u8> {
    let mut page = ListHead { next_after: 0, count: records.len() as u32 }.to_bytes().to_vec();
    for record in records {
        page.extend_from_slice(&(record.len() as u32).to_le_bytes());
        page.extend_from_slice(record);
    }
    page
}

/// Whatever a captured daemon says, no id of the system, no other's name and no broken line reach libc. The first entry of each list below
/// is right, so that the test cannot pass because nothing works.
#[test]
fn a_captured_daemon_makes_nobody_root() {
    let good = ["Ana", "/home/members/users/ana", "/bin/bash"];
    let evil_passwd: Vec<(&str, Vec<u8>)> = vec![
        ("right", passwd("ana", 5000, 5000, good)),
        ("uid 0", passwd("ana", 0, 5000, good)),
        ("gid 0", passwd("ana", 5000, 0, good)),
        ("uid 999", passwd("ana", 999, 5000, good)),
        ("uid of nobody", passwd("ana", 65534, 5000, good)),
        ("uid -1", passwd("ana", u32::MAX, 5000, good)),
        ("a local uid", passwd("ana", 1500, 5000, good)),
        ("a local group", passwd("ana", 5000, 2500, good)),
        ("root", passwd("root", 5000, 5000, good)),
        ("another login", passwd("ben", 5001, 5000, good)),
        ("a line more", passwd("ana", 5000, 5000, ["x\nroot2:x:0:0", good[1], good[2]])),
        ("a colon", passwd("ana", 5000, 5000, ["a:b", good[1], good[2]])),
        ("a colon in the home", passwd("ana", 5000, 5000, ["", "/x:0", good[2]])),
        ("a relative home", passwd("ana", 5000, 5000, ["", "x", good[2]])),
        ("an empty home", passwd("ana", 5000, 5000, ["", "", good[2]])),
        ("a NUL", passwd("ana", 5000, 5000, ["a\0b", good[1], good[2]])),
        ("an empty shell", passwd("ana", 5000, 5000, ["", good[1], ""])),
    ];
    let evil_group: Vec<(&str, Vec<u8>)> = vec![
        ("right", group("crew", 5000, &["ana", "ben"])),
        ("gid 0", group("crew", 0, &["ana"])),
        ("gid of sudo", group("crew", 27, &["ana"])),
        ("sudo", group("sudo", 5000, &["ana"])),
        ("a colon", group("crew", 5000, &["a:b"])),
        ("a comma", group("crew", 5000, &["a,root"])),
        ("an empty member", group("crew", 5000, &[""])),
    ];
    let mosh = boot!(Mosh::builder().without_daemon().prepare("useradd -u 1500 -M local && groupadd -g 2500 wheelish"));
    mosh.sh("install -d -o identityd -g identityd -m 0755 /run/identityd").success();
    for (at, (what, record)) in evil_passwd.iter().enumerate() {
        let (single, list) = (record.clone(), page(&[evil_passwd[0].1.clone(), record.clone()]));
        captured(&mosh, move |stream, op, _, id| {
            found(stream, id, if op == Some(Op::PasswdList) { &list } else { &single });
        });
        let answers = answered(&mosh, "pw ana uid 5000 pw root uid 0 uid 1500 pwlist");
        let right = at == 0;
        for answer in &answers[..2] {
            // A local uid or group under the name that was asked: not ours to answer for.
            let refused = answer.status == "UNAVAIL" || (what.starts_with("a local") && answer.status == "NOTFOUND");
            // By uid, "another name" is what the question is about; and a local one is refused.
            let by_uid = answer.question.starts_with("uid") && (*what == "root") && answer.status == "NOTFOUND";
            assert!(right == (answer.status == "SUCCESS") && (right || refused || by_uid), "{what}: {answer:?}");
        }
        for answer in &answers[2..5] {
            assert_eq!(answer.status, "NOTFOUND", "{what}: {answer:?}");
        }
        let listed = &answers[5];
        let expected = if right || *what == "another login" { "2" } else { "1" };
        assert_eq!((listed.status.as_str(), listed.came.as_str()), ("NOTFOUND", expected), "{what}: {listed:?}");
        let getent = mosh.sh("getent passwd root; getent passwd 0; id -u root; getent passwd local").success();
        assert_eq!(getent.stdout.matches(":0:0:").count(), 2, "{what}");
    }
    for (at, (what, record)) in evil_group.iter().enumerate() {
        let single = record.clone();
        captured(&mosh, move |stream, _, _, id| found(stream, id, &single));
        for answer in &answered(&mosh, "gr crew gid 5000")[..] {
            assert_eq!(at == 0, answer.status == "SUCCESS", "{what}: {answer:?}");
        }
        for answer in probe(&mosh, "gr sudo gid 27 gid 0 gr root") {
            assert_eq!(answer.status, "NOTFOUND", "{what}: {answer:?}");
        }
    }
}

/// Groups of the system, and those that are the server's own, are left out whatever the daemon says.
#[test]
fn a_captured_daemon_gives_nobody_a_group_of_the_system() {
    let mosh = boot!(Mosh::builder().without_daemon().prepare("groupadd -g 2500 wheelish"));
    mosh.sh("install -d -o identityd -g identityd -m 0755 /run/identityd").success();
    captured(&mosh, |stream, _, _, id| {
        let gids = [5000_u32, 0, 4, 27, 100, 999, 2500, 5001, 65534];
        let record: Vec<u8> = [gids.len() as u32].iter().chain(&gids).flat_map(|word| word.to_le_bytes()).collect();
        found(stream, id, &record);
    });
    let answer = &answered(&mosh, "ig ana")[0];
    assert_eq!((answer.status.as_str(), answer.came.as_str()), ("SUCCESS", "5000,5001"), "{answer:?}");
}
