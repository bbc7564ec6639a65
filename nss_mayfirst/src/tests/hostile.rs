//! A daemon that is broken or not ours: whatever it sends, the caller gets a right answer or none.

use proptest::prelude::*;
use schema::wire::frame::{HEADER, MAX_REPLY, Op, Status};

use crate::abi::{
    _nss_mayfirst_getgrgid_r as getgrgid, _nss_mayfirst_getgrnam_r as getgrnam, _nss_mayfirst_getpwnam_r as getpwnam,
    _nss_mayfirst_getpwuid_r as getpwuid, _nss_mayfirst_getspnam_r as getspnam,
};
use crate::testing::World;
use crate::testing::caller::{by_id, by_name, unavailable};
use crate::testing::records::{group, passwd, shadow};

const NOT_AN_ANSWER: libc::c_int = libc::EPROTO;

/// A daemon that finds this for every question.
fn finding(record: Vec<u8>) -> World {
    World::answering(move |asked| asked.reply(Status::Found, &record))
}

fn with(mut record: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    record[at..at + bytes.len()].copy_from_slice(bytes);
    record
}

#[test]
fn a_captured_daemon_cannot_mint_root() {
    for id in [0_u32, 1, 999, 65534, u32::MAX] {
        for at in [0, 4] {
            let _world = finding(with(passwd("ana", 5000), at, &id.to_le_bytes()));
            assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(NOT_AN_ANSWER), "{id}");
            assert_eq!(by_id(getpwuid, 5000, 1024), unavailable(NOT_AN_ANSWER), "{id}");
        }
        let _world = finding(with(group("radio", 6000, &[]), 0, &id.to_le_bytes()));
        assert_eq!(by_name(getgrnam, "radio", 1024), unavailable(NOT_AN_ANSWER), "{id}");
    }
}

#[test]
fn an_answer_about_somebody_else_is_no_answer() {
    let _world = finding(passwd("luz", 5001));
    assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
    assert_eq!(by_name(getpwnam, "lu", 1024), unavailable(NOT_AN_ANSWER));
    assert_eq!(by_id(getpwuid, 5000, 1024), unavailable(NOT_AN_ANSWER));
    drop(_world);
    let _world = finding(group("radio", 6000, &[]));
    assert_eq!(by_name(getgrnam, "radi", 1024), unavailable(NOT_AN_ANSWER));
    assert_eq!(by_id(getgrgid, 6001, 1024), unavailable(NOT_AN_ANSWER));
    drop(_world);
    let _world = finding(shadow("luz"));
    assert_eq!(by_name(getspnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let _world = World::answering(|asked| {
        let mut reply = asked.reply(Status::Found, &passwd("ana", 5000));
        reply[8] ^= 1;
        reply
    });
    assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
}

#[test]
fn a_refusal_of_the_connection_has_id_0_and_is_taken() {
    let nameless = |status| {
        World::answering(move |asked| {
            let mut reply = asked.reply(status, b"");
            reply[8..16].fill(0);
            reply
        })
    };
    for (status, errno) in [
        (Status::Busy, libc::EAGAIN),
        (Status::Malformed, libc::EPROTO),
        (Status::Version, libc::EPROTO),
        // No answer to anybody's question may come that way.
        (Status::Absent, libc::EPROTO),
        (Status::Found, libc::EPROTO),
    ] {
        let _world = nameless(status);
        assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(errno), "{status:?}");
    }
}

#[test]
fn another_version_and_another_protocol_are_no_answer() {
    for at in [0, 4] {
        let _world = World::answering(move |asked| with(asked.reply(Status::Absent, b""), at, b"??"));
        assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
    }
}

#[test]
fn a_reply_cut_anywhere_is_not_an_absent_user() {
    let whole = HEADER + passwd("ana", 5000).len();
    for len in 0..whole {
        let _world = World::answering(move |asked| asked.reply(Status::Found, &passwd("ana", 5000))[..len].to_vec());
        assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(libc::ECONNREFUSED), "{len} of {whole} bytes");
    }
}

#[test]
fn a_record_of_another_length_than_its_frame_is_no_answer() {
    for record in [passwd("ana", 5000), group("ana", 5000, &["luz"]), shadow("ana")] {
        for len in 0..record.len() {
            let _world = finding(record[..len].to_vec());
            assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
            assert_eq!(by_name(getgrnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
            assert_eq!(by_name(getspnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
        }
    }
    let _world = finding([passwd("ana", 5000), vec![0]].concat());
    assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(NOT_AN_ANSWER));
}

#[test]
fn a_length_that_cannot_be_is_refused_before_a_byte_is_read() {
    for len in [MAX_REPLY + 1, u32::MAX] {
        let _world = World::answering(move |asked| with(asked.reply(Status::Found, b""), 16, &len.to_le_bytes()));
        assert_eq!(by_name(getgrnam, "radio", 1024), unavailable(NOT_AN_ANSWER));
    }
}

#[test]
fn no_separator_reaches_a_field() {
    let record = passwd("ana", 5000);
    let at = record.windows(4).position(|part| part == b"Full").unwrap();
    for byte in [b':', b'\n', 0] {
        let _world = finding(with(record.clone(), at, &[byte]));
        assert_eq!(by_name(getpwnam, "ana", 1024), unavailable(NOT_AN_ANSWER), "{byte}");
    }
    let record = group("radio", 6000, &["ana"]);
    let at = record.windows(3).position(|part| part == b"ana").unwrap();
    for byte in [b':', b'\n', b',', b' ', 0] {
        let _world = finding(with(record.clone(), at, &[byte]));
        assert_eq!(by_name(getgrnam, "radio", 1024), unavailable(NOT_AN_ANSWER), "{byte}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_in_a_record_is_never_a_wrong_answer(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        for (op, record) in [
            (Op::PasswdByName, passwd("ana", 5000)),
            (Op::GroupByName, group("ana", 5000, &["luz", "marisol"])),
            (Op::ShadowByName, shadow("ana")),
        ] {
            let mut record = record;
            for (at, byte) in &flips {
                let at = at.index(record.len());
                record[at] = *byte;
            }
            let _world = finding(record);
            // Whatever the fields are, `by_name` asserts that they lie inside the buffer.
            let answer = match op {
                Op::PasswdByName => by_name(getpwnam, "ana", 512),
                Op::GroupByName => by_name(getgrnam, "ana", 512),
                _ => by_name(getspnam, "ana", 512),
            };
            if let Some(line) = answer.line {
                prop_assert!(line.starts_with("ana:"));
                prop_assert!(!line.contains('\n'));
            }
        }
    }

    #[test]
    fn nonsense_instead_of_a_frame_is_unavailable(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _world = World::answering(move |_| bytes.clone());
        prop_assert_eq!(by_name(getpwnam, "ana", 512).status, -1);
    }
}
