//! Arbitrary files for the reader: two bytes with the length of the base in units of 64 bytes, then base and delta. Headers are given the right
//! length and checksums first, so that what lies behind them is reached too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::snapshot::Answer;
use schema::snapshot::changes::Changes;
use schema::snapshot::hash::{BodySum, Checksum};
use schema::snapshot::layout::{HEADER, Header};
use schema::snapshot::pair::Snapshot;
use schema::snapshot::verify;
use schema::snapshot::view::{Kind, View};

fuzz_target!(|input: &[u8]| {
    let Some((blocks, rest)) = input.split_first_chunk::<2>() else { return };
    // As it is: the header alone decides.
    let _ = Header::parse(rest);
    let (base, delta) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*blocks)) * 64));
    let (mut base, mut delta) = (base.to_vec(), delta.to_vec());
    mend(&mut base);
    mend(&mut delta);
    let _ = verify::full(&base);
    let Ok(base_header) = Header::parse(&base) else { return };
    let Some(base_view) = View::new(&base, &base_header) else { return };
    let delta_header = Header::parse(&delta).ok();
    let delta_view = delta_header.as_ref().and_then(|header| View::new(&delta, header));
    if let Some(delta) = &delta_view {
        let _ = Changes::from_delta(delta);
    }
    // Pairs that do not fit are read all the same: `checked_before` takes the caller's word.
    let _ = Snapshot::new(base_view, delta_view);
    read(&Snapshot::checked_before(base_view, delta_view));
});

/// Gives a header its length and checksum.
fn mend(file: &mut [u8]) {
    if file.len() < HEADER {
        return;
    }
    let len = file.len() as u64;
    file[16..24].copy_from_slice(&len.to_le_bytes());
    let body = BodySum::of(&file[HEADER..], 1);
    file[496..504].copy_from_slice(&body.to_le_bytes());
    let head = Checksum::of(&file[..504]);
    file[504..512].copy_from_slice(&head.to_le_bytes());
}

fn read(snapshot: &Snapshot<'_>) {
    for name in ["ana", "bea", "a-name-of-more-than-sixteen", "a234567890123456789012345678901b"] {
        if let Answer::Found(login) = snapshot.login_by_name(name.as_bytes()) {
            assert_eq!(login.name(), name.as_bytes());
            let _ = login.head.check_strings(login.strings);
        }
        if let Answer::Found(gids) = snapshot.initgroups(name.as_bytes()) {
            assert!(gids.iter().all(schema::id::is_usable));
        }
        if let Answer::Found(group) = snapshot.group_by_name(name.as_bytes()) {
            assert_eq!(group.name(), name.as_bytes());
        }
    }
    for id in [1000, 5000, 5001, 5002, i32::MAX as u32] {
        if let Answer::Found(login) = snapshot.login_by_uid(id) {
            assert_eq!(login.id(), id);
        }
        if let Answer::Found(group) = snapshot.group_by_gid(id) {
            assert_eq!(group.id(), id);
            let _ = group.head.check_strings(group.strings, |_| ());
        }
    }
    let (mut logins, mut groups) = (0, 0);
    while let Answer::Found(login) = snapshot.login_after(logins) {
        assert!(login.id() > logins);
        logins = login.id();
    }
    while let Answer::Found(group) = snapshot.group_after(groups) {
        assert!(group.id() > groups);
        groups = group.id();
    }
}
