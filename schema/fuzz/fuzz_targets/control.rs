//! Arbitrary control pages, and the words in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::snapshot::control::{Control, WORD};
use schema::snapshot::hash::Checksum;
use schema::snapshot::layout::Pair;

fuzz_target!(|input: &[u8]| {
    let Some(fixed) = input.first_chunk::<{ Control::FIXED }>() else { return };
    let _ = Control::parse(fixed);
    // With the right checksum, so that what lies behind it is reached too.
    let mut fixed = *fixed;
    let sum = Checksum::of(&fixed[..Control::FIXED - 8]);
    fixed[Control::FIXED - 8..].copy_from_slice(&sum.to_le_bytes());
    if let Ok(control) = Control::parse(&fixed) {
        let page = control.to_page();
        assert_eq!(page[..32], fixed[..32]);
        assert_eq!(Control::parse(page.first_chunk().expect("a page")), Ok(control));
    }
    if let Some(word) = input.get(WORD..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        assert_eq!(Pair::from_word(word).word(), word);
    }
});
