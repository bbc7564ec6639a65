//! identityd's socket as docs/wire.md describes it: frames that are none, and who may ask what.

use std::os::unix::fs::PermissionsExt;

use schema::wire::frame::{Header, ListHead, Op, Status};
use schema::wire::message::{Outcome, PamContext, Reply, Request, Secret};
use tests::{Login, Mosh, boot};

macro_rules! machine {
    () => {
        boot!(
            Mosh::builder()
                .login(Login::new("ana").password("her secret"))
                .login(Login::new("ben").password("his secret"))
        )
    };
}

fn context(user: &str) -> PamContext {
    PamContext { service: "sshd".into(), user: user.into(), ..PamContext::default() }
}

#[test]
fn the_socket_is_for_everybody_and_its_folder_for_identityd() {
    let mosh = machine!();
    assert_eq!(mosh.sh("stat -c '%F %a %U' /run/identityd/socket").success().text(), "socket 666 identityd");
    assert_eq!(mosh.sh("stat -c '%a %U' /run/identityd").success().text(), "755 identityd");
    assert_eq!(mosh.sh("stat -c '%a %U' /var/lib/identityd").success().text(), "700 identityd");
    let mode = std::fs::metadata(mosh.outside("/run/identityd/socket")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
}

#[test]
fn a_frame_without_the_magic_gets_no_answer() {
    let mosh = machine!();
    let mut wire = mosh.wire(0);
    wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(wire.reply().unwrap(), None);
    assert!(mosh.metrics().contains("identityd_frames_refused_total{reason=\"magic\"} 1"), "{}", mosh.metrics());
}

#[test]
fn another_version_a_long_frame_and_an_unknown_operation_are_told_and_closed() {
    let mosh = machine!();
    for (version, kind, len, expected, counted) in [
        (2, 1, 0, Status::Version, "version"),
        (1, 1, 65_537, Status::Malformed, "length"),
        (1, 10, 0, Status::Malformed, "operation"),
        (1, 0, 0, Status::Malformed, "operation"),
        (1, 65, 4, Status::Malformed, "operation"),
    ] {
        let mut wire = mosh.wire(0);
        wire.send(&Header { version, kind, id: 99, len, wait_ms: 1000 }.to_bytes()).unwrap();
        let (status, id, payload) = wire.reply().unwrap().expect("an answer");
        assert_eq!((status, id, payload.len()), (expected, 99, 0));
        assert_eq!(wire.reply().unwrap(), None, "the connection is closed");
        let metrics = mosh.metrics();
        assert!(metrics.contains(&format!("identityd_frames_refused_total{{reason=\"{counted}\"}}")), "{metrics}");
    }
}

#[test]
fn a_message_that_cannot_be_read_is_malformed() {
    let mosh = machine!();
    for payload in [&b""[..], &[255; 40], &[0, 200, 1], &[0; 3]] {
        assert_eq!(mosh.wire(0).ask(Op::Message, payload).0, Status::Malformed, "{payload:?}");
    }
    assert_eq!(mosh.wire(0).ask(Op::PasswdByUid, b"123").0, Status::Malformed);
    assert_eq!(mosh.wire(0).ask(Op::PasswdByName, b"ana").0, Status::Found);
}

/// The table of operations, line by line.
#[test]
fn look_ups_are_for_everybody_and_shadow_is_for_root() {
    let mosh = machine!();
    let (ana, ben) = (mosh.uid("ana"), mosh.uid("ben"));
    let id = ana.to_le_bytes();
    let start = 0_u32.to_le_bytes();
    for (op, payload, everybody) in [
        (Op::PasswdByName, &b"ana"[..], true),
        (Op::PasswdByUid, &id, true),
        (Op::PasswdList, &start, true),
        (Op::GroupByName, b"ana", true),
        (Op::GroupByGid, &id, true),
        (Op::GroupList, &start, true),
        (Op::ShadowByName, b"ana", false),
        (Op::ShadowList, &start, false),
        (Op::Initgroups, b"ana", true),
    ] {
        assert_eq!(mosh.wire(0).ask(op, payload).0, Status::Found, "root, {op:?}");
        for uid in [ana, ben, mosh.uid("identityd"), 65_534] {
            let expected = if everybody { Status::Found } else { Status::Denied };
            assert_eq!(mosh.wire(uid).ask(op, payload), (expected, mosh.wire(uid).ask(op, payload).1), "{uid}, {op:?}");
            if !everybody {
                assert_eq!(mosh.wire(uid).ask(op, payload).1, b"", "{uid}, {op:?}");
            }
        }
    }
}

/// The table of messages, line by line: root, the login itself, another login, identityd.
#[test]
fn messages_are_for_those_whom_the_table_names() {
    let mosh = machine!();
    let (own, other, daemon) = (mosh.uid("ana"), mosh.uid("ben"), mosh.uid("identityd"));
    let secret = |text: &str| Secret::new(text.into());
    let generation = schema::record::Generation(0);
    let new = "a new long password";
    let rows = [
        (Request::Authenticate { context: context("ana"), password: secret("her secret") }, [true, true, false, false]),
        (Request::Account { context: context("ana") }, [true, true, false, false]),
        (Request::MayChangePassword { context: context("ana"), by_root: false }, [true, true, false, false]),
        (Request::OpenSession { context: context("ana") }, [true, false, false, false]),
        (Request::CloseSession { context: context("ana") }, [true, false, false, false]),
        (Request::SshKeys { login: "ana".into() }, [true, true, false, false]),
        (Request::Status, [true, true, true, true]),
        (Request::Why { login: "ana".into(), service: None }, [true, true, false, false]),
        (Request::Refresh { generation }, [true, false, false, false]),
        (Request::Reload, [true, false, false, false]),
        (Request::Metrics, [true, true, true, true]),
        // Without the old password it is a reset, for root alone.
        (Request::ChangePassword { context: context("ana"), old: None, new: secret(new) }, [true, false, false, false]),
        (
            Request::ChangePassword { context: context("ana"), old: Some(secret(new)), new: secret("the next one") },
            [false, true, false, false],
        ),
    ];
    for (request, allowed) in rows {
        for (uid, allowed) in [0, own, other, daemon].into_iter().zip(allowed) {
            // Root may also do what the login may, and would change the password for the next row.
            if uid == 0 && !allowed {
                continue;
            }
            let reply = mosh.wire(uid).message(&request);
            match reply {
                Ok(_) => assert!(allowed, "{request:?} by {uid} is answered: {reply:?}"),
                Err(status) => assert!(!allowed && status == Status::Denied, "{request:?} by {uid}: {status:?}"),
            }
        }
    }
    // Both changes were done, by root and by ana, and no other.
    let request = Request::Authenticate { context: context("ana"), password: secret("the next one") };
    let Ok(Reply::Verdict(verdict)) = mosh.wire(0).message(&request) else { panic!("no verdict") };
    assert_eq!(verdict.outcome, Outcome::Success);
}

#[test]
fn details_of_the_status_are_for_root() {
    let mosh = machine!();
    let status = |uid| {
        let Ok(Reply::Status(text)) = mosh.wire(uid).message(&Request::Status) else { panic!("no status") };
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    assert_eq!(status(0)["details"], true);
    assert!(status(0)["quarantine"].is_array());
    let others = status(mosh.uid("ana"));
    assert_eq!(others["details"], false);
    assert!(others["quarantine"].is_null() && others["config"].is_null() && others["directory"]["location"].is_null());
}

#[test]
fn by_root_counts_only_when_root_says_it() {
    let mosh = machine!();
    mosh.identityctl(["login", "set", "ana", "--min-days", "9"]).success();
    let request = Request::MayChangePassword { context: context("ana"), by_root: true };
    let outcome = |uid| match mosh.wire(uid).message(&request) {
        Ok(Reply::Verdict(verdict)) => verdict.outcome,
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome(0), Outcome::Success);
    assert_eq!(outcome(mosh.uid("ana")), Outcome::TooSoon);
}

#[test]
fn the_shadow_map_shows_hashes_only_where_the_configuration_says_so() {
    let mosh = machine!();
    let hashed = |mosh: &Mosh| {
        let one = mosh.wire(0).ask(Op::ShadowByName, b"ana").1;
        let (_, page) = mosh.wire(0).ask(Op::ShadowList, &0_u32.to_le_bytes());
        assert_eq!(ListHead::split(&page).unwrap().0.count, 2);
        [one, page].map(|bytes| bytes.windows(3).filter(|part| part == b"$y$").count())
    };
    assert_eq!(hashed(&mosh), [0, 0]);
    mosh.configure("nss", "shadow_hash = \"root\"");
    mosh.identityctl(["reload"]).success();
    assert_eq!(hashed(&mosh), [1, 2]);
    assert_eq!(mosh.sh("getent shadow | grep -c ':[$]y[$]'").text(), "2");
    assert_eq!(mosh.wire(mosh.uid("ana")).ask(Op::ShadowByName, b"ana").0, Status::Denied);
}
