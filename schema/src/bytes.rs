//! Sixteen bytes at a time: what libc must not see, what a name may be made of, and where the tags of an index agree.
//!
//! A block is a vector of the crate `wide`: one instruction of x86-64's SSE2 or of ARM's NEON each. Written out, because whether a compiler finds the vectors by itself depends
//! on its mood (rustc 1.95: with `opt-level` 2, not with 3 or "s").

use wide::{u8x16, u32x4};

/// Bytes in a block.
pub(crate) const BLOCK: usize = 16;
/// How many bytes, of at most 2,000, are control characters (NUL among them), DEL or a colon.
#[must_use]
#[inline(always)]
pub(crate) fn forbidden_in_few(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let Some(last) = bytes.last_chunk::<BLOCK>() else {
        return rest.iter().filter(|byte| is_forbidden(**byte)).count();
    };
    // The last block once more, without what was counted already.
    let counters = Counters::zero().add(Block::of(last).forbidden().of_last(rest.len()));
    blocks.iter().fold(counters, |counters, block| counters.add(Block::of(block).forbidden())).sum()
}

/// Which of eight words are this one: a bit for each, the first the lowest.
#[must_use]
#[inline(always)]
pub(crate) fn equal_words(words: &[u8; 2 * BLOCK], wanted: u32) -> u32 {
    let (words, _) = words.as_chunks::<4>();
    let [a, b, c, d, e, f, g, h] = *words else {
        return 0;
    };
    let equal =
        |words: [[u8; 4]; 4]| u32x4::new(words.map(u32::from_le_bytes)).simd_eq(u32x4::splat(wanted)).to_bitmask();
    equal([a, b, c, d]) | equal([e, f, g, h]) << 4
}

/// Whether these are bytes that a name may be made of, wherever they stand in it.
#[must_use]
#[inline(always)]
pub(crate) fn of_a_name(first: u64, second: u64) -> bool {
    Block::of(&(u128::from(first) | u128::from(second) << 64).to_le_bytes()).of_a_name().all()
}

/// A piece of a list of names, each ended by a NUL: bit `n` is about byte `n`.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    /// Ends of names.
    pub(crate) ends: u64,
    /// Neither an end nor what a name may be made of.
    pub(crate) foreign: u64,
    /// What no name begins with: digits, `.` and `-`.
    pub(crate) not_first: u64,
    /// What no name ends with: `.` and `-`.
    pub(crate) not_last: u64,
}

impl Names {
    /// Bytes in a piece.
    pub(crate) const PIECE: usize = 64;

    #[inline(never)]
    pub(crate) fn of(piece: &[u8; Self::PIECE]) -> Self {
        let (blocks, _) = piece.as_chunks::<BLOCK>();
        // Spelled out: a compiler that looks for size makes a loop.
        let [a, b, c, d] = *blocks else {
            return Self { ends: 0, foreign: u64::MAX, not_first: 0, not_last: 0 };
        };
        let blocks = [a, b, c, d].map(|block| Block::of(&block));
        let bits = |marks: fn(Block) -> Marks| {
            let [a, b, c, d] = blocks.map(|block| u64::from(marks(block).bits()));
            a | b << 16 | c << 32 | d << 48
        };
        Self {
            ends: bits(|block| block.is(0)),
            foreign: !bits(|block| block.of_a_name().or(block.is(0))),
            not_first: bits(|block| block.between(b'-', b'9')),
            not_last: bits(|block| block.between(b'-', b'.')),
        }
    }
}

/// Sixteen bytes.
#[derive(Clone, Copy)]
struct Block(u8x16);

/// All ones in each byte that is meant, zero in the others.
#[derive(Clone, Copy)]
struct Marks(u8x16);

/// How often each place was marked.
#[derive(Clone, Copy)]
struct Counters(u8x16);

impl Block {
    #[inline(always)]
    fn of(bytes: &[u8; BLOCK]) -> Self {
        Self(u8x16::new(*bytes))
    }

    /// What libc must not see.
    #[inline(always)]
    fn forbidden(self) -> Marks {
        self.between(0, 0x1f).or(self.is(0x7f)).or(self.is(b':'))
    }

    /// What a name may be made of: `[a-z0-9_.-]`.
    #[inline(always)]
    fn of_a_name(self) -> Marks {
        // Two ranges with a hole in each.
        let holes = self.is(b'/').or(self.is(b'`'));
        self.between(b'-', b'9').or(self.between(b'_', b'z')).without(holes)
    }

    /// Those that are this byte.
    #[inline(always)]
    fn is(self, byte: u8) -> Marks {
        Marks(self.0.simd_eq(u8x16::splat(byte)))
    }

    /// Those from the first to the last of these.
    #[inline(always)]
    fn between(self, first: u8, last: u8) -> Marks {
        let from = self.0 - u8x16::splat(first);
        Marks(from.min(u8x16::splat(last.wrapping_sub(first))).simd_eq(from))
    }
}

impl Marks {
    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Of the last so many bytes alone.
    #[inline(always)]
    fn of_last(self, count: usize) -> Self {
        let from_behind = u8x16::new([15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
        let count = u8x16::splat(count as u8);
        Self(self.0 & !from_behind.max(count).simd_eq(from_behind))
    }

    /// A bit for each byte.
    #[inline(always)]
    fn bits(self) -> u32 {
        self.0.to_bitmask()
    }

    #[inline(always)]
    fn all(self) -> bool {
        self.bits() == 0xffff
    }
}

impl Counters {
    #[inline(always)]
    fn zero() -> Self {
        Self(u8x16::ZERO)
    }

    #[inline(always)]
    fn add(self, marks: Marks) -> Self {
        // All ones is -1.
        Self(self.0 - marks.0)
    }

    /// After at most 127 additions: two places together must not overflow.
    #[inline(always)]
    fn sum(self) -> usize {
        let all = u128::from_le_bytes(self.0.to_array());
        sum((all as u64).wrapping_add((all >> 64) as u64))
    }
}

/// The sum of the eight bytes of a word.
#[inline(always)]
const fn sum(counters: u64) -> usize {
    let pairs = (counters & 0x00ff_00ff_00ff_00ff).wrapping_add((counters >> 8) & 0x00ff_00ff_00ff_00ff);
    (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
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
                    assert_eq!(forbidden_in_few(&bytes), expected, "{byte} at {at} of {len}");
                }
            }
            assert_eq!(forbidden_in_few(&vec![0; len]), len);
        }
        assert_eq!(forbidden_in_few(&[0; 2_000]), 2_000);
    }

    #[test]
    fn every_byte_is_told_what_it_may_be_in_a_name() {
        for byte in 0..=255_u8 {
            for at in 0..Names::PIECE {
                let mut piece = [b'a'; Names::PIECE];
                piece[at] = byte;
                let names = Names::of(&piece);
                let bit = |is: bool| u64::from(is) << at;
                let of_a_name = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
                assert_eq!(names.ends, bit(byte == 0), "{byte} at {at}");
                assert_eq!(names.foreign, bit(byte != 0 && !of_a_name), "{byte} at {at}");
                assert_eq!(names.not_first, bit(matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'/')), "{byte} at {at}");
                assert_eq!(names.not_last, bit(matches!(byte, b'.' | b'-')), "{byte} at {at}");
            }
        }
    }

    #[test]
    fn equal_words_are_found_where_they_are() {
        let words: [u32; 8] = [7, 0x0102_0304, 7, 8, 0x0403_0201, 7, u32::MAX, 7];
        let mut bytes = [0; 32];
        for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        assert_eq!(equal_words(&bytes, 7), 0b1010_0101);
        assert_eq!(equal_words(&bytes, 0x0102_0304), 0b10);
        assert_eq!(equal_words(&bytes, u32::MAX), 0b100_0000);
        assert_eq!(equal_words(&bytes, 9), 0);
    }
}
