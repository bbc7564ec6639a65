//! Counts bytes that libc must not see, sixteen at a time: of all that a look-up in memory does, reading every byte of the answer
//! is the largest part.

/// How many bytes are control characters (NUL among them), DEL or a colon.
///
/// Not to be inlined: this crate is compiled for speed, the module around it for size.
#[must_use]
#[inline(never)]
pub(crate) fn forbidden(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<16>();
    // Fixed lengths, no early end: the compiler makes vector instructions of it (SSE2 on x86-64, part of every processor).
    let whole: usize = blocks.iter().map(|block| usize::from(in_block(block, 0))).sum();
    let tail = if rest.is_empty() {
        0
    } else if let Some(last) = bytes.last_chunk::<16>() {
        // The last sixteen once more, without those counted already.
        usize::from(in_block(last, 16_u8.saturating_sub(rest.len() as u8)))
    } else {
        rest.iter().filter(|byte| is_forbidden(**byte)).count()
    };
    whole.saturating_add(tail)
}

/// In one block, from the byte at `from` on.
#[inline]
fn in_block(block: &[u8; 16], from: u8) -> u8 {
    let mut count = 0_u8;
    let mut at = 0_u8;
    for byte in block {
        count = count.wrapping_add(u8::from(is_forbidden(*byte) & (at >= from)));
        at = at.wrapping_add(1);
    }
    count
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
                }
            }
            assert_eq!(forbidden(&vec![0; len]), len);
        }
    }
}
