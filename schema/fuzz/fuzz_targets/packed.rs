//! Arbitrary packed records, as a broken or captured daemon, or a damaged file, gives them to the NSS module. The first byte says which kind.
#![no_main]

use std::mem::MaybeUninit;

use libfuzzer_sys::fuzz_target;
use schema::id::is_usable;
use schema::packed::{Gids, GroupHead, PasswdHead, ShadowHead};

fuzz_target!(|input: &[u8]| {
    let Some((kind, record)) = input.split_first() else { return };
    match kind % 4 {
        0 => passwd(record),
        1 => group(record),
        2 => shadow(record),
        _ => {
            if let Ok(gids) = Gids::parse(record) {
                assert!(gids.iter().all(is_usable));
            }
        }
    }
});

fn passwd(record: &[u8]) {
    let Ok(head) = PasswdHead::parse(record) else { return };
    assert!(is_usable(head.uid) && is_usable(head.gid));
    let strings = &record[PasswdHead::SIZE..];
    if let Ok(starts) = head.check_strings(strings) {
        assert!(head.keeps_rules(strings));
        for start in starts {
            assert_clean(strings, start);
        }
        assert!(strings[starts[3]] == b'/' && strings[starts[4]] == b'/');
    }
}

fn group(record: &[u8]) {
    let Ok(head) = GroupHead::parse(record) else { return };
    assert!(is_usable(head.gid));
    let strings = &record[GroupHead::SIZE..];
    let mut members = Vec::new();
    if let Ok(starts) = head.check_strings(strings, |member| members.push(member)) {
        assert_eq!(members.len(), head.members as usize);
        let base = strings.as_ptr().cast_mut().cast();
        let mut pointers = vec![MaybeUninit::uninit(); members.len() + 1];
        assert_eq!(head.point_at_members(strings, base, &mut pointers), Ok(starts));
        for start in starts.into_iter().chain(members) {
            assert_clean(strings, start);
        }
    }
}

fn shadow(record: &[u8]) {
    let Ok(head) = ShadowHead::parse(record) else { return };
    let strings = &record[ShadowHead::SIZE..];
    if let Ok(starts) = head.check_strings(strings) {
        for start in starts {
            assert_clean(strings, start);
        }
    }
}

/// What libc may be given: it ends inside, and no byte of it ends a field or a line.
fn assert_clean(strings: &[u8], start: usize) {
    let end = strings[start..].iter().position(|byte| *byte == 0).expect("a NUL");
    assert!(!strings[start..start + end].iter().any(|byte| byte.is_ascii_control() || *byte == b':'));
}
