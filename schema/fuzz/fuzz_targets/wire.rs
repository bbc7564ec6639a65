//! Arbitrary frames in both directions: header, payload of every kind. What can be read can be written, and is then the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::wire::frame::{HEADER, Header, ListHead, Op, Status};
use schema::wire::message::{Reply, Request};

fuzz_target!(|input: &[u8]| {
    let Some((head, payload)) = input.split_first_chunk::<HEADER>() else { return };
    if let Ok(header) = Header::parse(head) {
        assert_eq!(Header::parse(&header.to_bytes()), Ok(header));
        assert!(Op::from_raw(header.kind).is_none_or(|op| op as u16 == header.kind));
        assert!(Status::from_raw(header.kind).is_none_or(|status| status as u16 == header.kind));
    }
    if let Ok(request) = postcard::from_bytes::<Request>(payload) {
        let bytes = postcard::to_allocvec(&request).expect("what was read can be written");
        assert_eq!(postcard::from_bytes(&bytes), Ok(request));
    }
    if let Ok(reply) = postcard::from_bytes::<Reply>(payload) {
        let bytes = postcard::to_allocvec(&reply).expect("what was read can be written");
        assert_eq!(postcard::from_bytes(&bytes), Ok(reply));
    }
    if let Some((head, mut entries)) = ListHead::split(payload) {
        assert_eq!(ListHead::split(&head.to_bytes()), Some((head, &[][..])));
        while let Some((entry, rest)) = ListHead::next_entry(entries) {
            assert!(entry.len() + rest.len() < entries.len());
            entries = rest;
        }
    }
});
