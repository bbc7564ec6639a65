//! Counts bytes that libc must not see, eight at a time, and copies them on the way: of all that a look-up in memory does, reading every byte of
//! the answer is the largest part.
//!
//! Eight bytes are one word, and one calculation for all of them: vector instructions would take half the time, but whether the compiler makes them depends on
//! its mood (rustc 1.95: with `opt-level` 2, not with 3 or "s").

use core::mem::MaybeUninit;

/// Bytes in a block.
const BLOCK: usize = 8;
/// Blocks after which the counters of the single places, of eight bits each, are added up.
const RUN: usize = 255;

/// The highest bit of each byte.
const HIGH: u64 = each(0x80);

/// How many bytes are control characters (NUL among them), DEL or a colon.
#[must_use]
pub(crate) fn forbidden(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let mut count = 0_usize;
    for run in blocks.chunks(RUN) {
        count = count.wrapping_add(sum(run.iter().fold(0, |counters, block| counters.wrapping_add(marks(*block)))));
    }
    count.wrapping_add(sum(in_tail(bytes, rest)))
}

/// The same of the bytes of `from`, fewer than 2,000, which go into `to`. Both are of one length; what one has more than the other is left out.
#[must_use]
#[inline(always)]
pub(crate) fn copy_counting(from: &[u8], to: &mut [MaybeUninit<u8>]) -> usize {
    let (blocks, rest) = from.as_chunks::<BLOCK>();
    let (spaces, _) = to.as_chunks_mut::<BLOCK>();
    let mut counters = 0_u64;
    for (block, space) in blocks.iter().zip(spaces) {
        *space = block.map(MaybeUninit::new);
        counters = counters.wrapping_add(marks(*block));
    }
    if let (Some(last), Some(space)) = (from.last_chunk::<BLOCK>(), to.last_chunk_mut::<BLOCK>()) {
        // Some of them once more: cheaper than one by one.
        *space = last.map(MaybeUninit::new);
    } else {
        for (byte, slot) in from.iter().zip(to) {
            slot.write(*byte);
        }
    }
    sum(counters.wrapping_add(in_tail(from, rest)))
}

/// The marks of the `rest` behind the blocks of `bytes`.
#[inline(always)]
fn in_tail(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk::<BLOCK>() {
        // The last eight once more, without those counted already: they are the lower bytes.
        Some(last) => {
            let counted = BLOCK.wrapping_sub(rest.len()).wrapping_mul(8) as u32;
            u64::MAX.checked_shl(counted).unwrap_or(0) & marks(*last)
        }
        None => rest.iter().filter(|byte| is_forbidden(**byte)).count() as u64,
    }
}

/// A 1 in each byte that is forbidden, a 0 in the others.
#[inline(always)]
const fn marks(block: [u8; BLOCK]) -> u64 {
    let bytes = u64::from_le_bytes(block);
    // Adding to the lower seven bits carries into the highest of a byte and never out of it: exact for each byte by itself.
    let low = !(each(0x80));
    let printable = (bytes & low).wrapping_add(each(0x60)) | bytes;
    let (delete, colon) = (bytes ^ each(0x7f), bytes ^ each(b':'));
    let not_delete = (delete & low).wrapping_add(low) | delete;
    let not_colon = (colon & low).wrapping_add(low) | colon;
    (!(printable & not_delete & not_colon) & HIGH) >> 7
}

/// The sum of the eight bytes of a word.
#[inline(always)]
const fn sum(counters: u64) -> usize {
    let pairs = (counters & 0x00ff_00ff_00ff_00ff).wrapping_add((counters >> 8) & 0x00ff_00ff_00ff_00ff);
    (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
}

/// A word of eight times this byte.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; BLOCK])
}

#[inline]
const fn is_forbidden(byte: u8) -> bool {
    (byte < b' ') | (byte == 0x7f) | (byte == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_counted() {
        for len in 0..70 {
            for at in 0..len {
                for byte in 0..=255_u8 {
                    let mut bytes = vec![b'a'; len];
                    bytes[at] = byte;
                    let expected = usize::from(byte < 32 || byte == 127 || byte == b':');
                    assert_eq!(forbidden(&bytes), expected, "{byte} at {at} of {len}");
                    let mut copy = vec![MaybeUninit::new(b'#'); len];
                    assert_eq!(copy_counting(&bytes, &mut copy), expected, "{byte} at {at} of {len}");
                }
            }
            assert_eq!(forbidden(&vec![0; len]), len);
        }
    }
}
