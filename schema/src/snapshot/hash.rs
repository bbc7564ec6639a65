//! The keyed hash of the indexes, and the checksum of the files.
//!
//! Both multiply two 64-bit words to 128 bits and fold the halves together (the *folded multiply* of wyhash and foldhash, public domain
//! technique; the code is our own). Neither is meant to withstand somebody who knows the key: the key of an index is drawn afresh
//! for each base, after the names were chosen, and whatever the names are a look-up reads at most
//! [`PROBES`](super::layout::PROBES) buckets.

/// Odd, no pattern: the fraction of the golden ratio (`0x9e37…`) and of √2 and √3.
const MIX: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b];

/// The key of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub u64, pub u64);

/// Where to look in an index: the first bucket, the way to the next ones, and what to compare before reading a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash {
    /// Chooses the first bucket.
    pub place: u32,
    /// Odd; added to `place` for each further bucket.
    pub step: u32,
    /// Compared with the tags of the bucket.
    pub tag: u32,
}

impl Key {
    /// The hash of a name of any length; names above 32 bytes are in no index.
    #[must_use]
    #[inline(always)]
    pub fn name(self, name: &[u8]) -> Hash {
        let (a, b) = ends(name);
        let len = (name.len() as u64).wrapping_mul(MIX[0]);
        let mut hash = fold(a ^ self.0, b ^ self.1 ^ len);
        if let Some(middle) = middle(name) {
            // 17 to 32 bytes: `ends` has taken the first and the last eight, these are what is between.
            hash ^= fold(middle.0 ^ self.1, middle.1 ^ self.0 ^ MIX[1]);
        }
        let hash = fold(hash ^ self.1, MIX[2]);
        let tag = hash as u32;
        Hash { place: (hash >> 32) as u32, step: tag | 1, tag }
    }

    /// The same out of line, for where it is seldom needed.
    #[cold]
    #[inline(never)]
    pub(super) fn name_seldom(self, name: &[u8]) -> Hash {
        self.name(name)
    }

    /// The hash of a uid or gid. The tag is the id itself: a match needs no further comparison.
    #[must_use]
    #[inline(always)]
    pub fn id(self, id: u32) -> Hash {
        let hash = fold(u64::from(id) ^ self.0, self.1 ^ MIX[0]);
        let hash = fold(hash ^ self.1, MIX[2]);
        Hash { place: (hash >> 32) as u32, step: (hash as u32) | 1, tag: id }
    }
}

/// A hash of a name without a secret, for tables that no stranger fills: one multiplication. `sort` gives another hash of the same name.
#[must_use]
#[inline(always)]
pub fn plain(name: &[u8], sort: u64) -> u64 {
    let (a, b) = ends(name);
    let mut all = (a ^ MIX[1], b.rotate_left(29) ^ (name.len() as u64 | sort << 32).wrapping_add(MIX[2]));
    if let Some((c, d)) = middle(name) {
        all = (all.0 ^ c.rotate_left(17), all.1 ^ d.rotate_left(43));
    }
    fold(all.0, all.1)
}

/// A checksum that is fed piece by piece. It finds damage, not forgery: who can write the files is the directory.
#[derive(Debug, Clone, Copy)]
pub struct Checksum {
    state: [u64; 2],
    /// Bytes so far.
    len: u64,
}

impl Checksum {
    /// The checksum of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { state: [MIX[0], MIX[1]], len: 0 }
    }

    /// Adds bytes. Every call but the last must be a multiple of 32 bytes long; a shorter piece is taken as filled up with zeros.
    pub fn update(&mut self, bytes: &[u8]) {
        self.len = self.len.wrapping_add(bytes.len() as u64);
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            self.block(block);
        }
        if !rest.is_empty() {
            let mut last = [0; 32];
            for (slot, byte) in last.iter_mut().zip(rest) {
                *slot = *byte;
            }
            self.block(&last);
        }
    }

    /// The checksum of what was added.
    #[must_use]
    pub fn finish(self) -> u64 {
        fold(self.state[0] ^ self.len.wrapping_mul(MIX[0]), self.state[1] ^ MIX[2])
    }

    /// The checksum of a whole.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        let mut sum = Self::new();
        sum.update(bytes);
        sum.finish()
    }

    /// Two independent lanes, so that one multiplication need not wait for the other.
    #[inline]
    fn block(&mut self, block: &[u8; 32]) {
        let (words, _) = block.as_chunks::<8>();
        if let [a, b, c, d] = words {
            let [a, b, c, d] = [a, b, c, d].map(|word| u64::from_le_bytes(*word));
            // The state goes into both factors: a block of any content changes it for good, and order counts.
            self.state[0] = fold(self.state[0] ^ a, b ^ MIX[1]).wrapping_add(self.state[0].rotate_left(23));
            self.state[1] = fold(self.state[1] ^ c, d ^ MIX[2]).wrapping_add(self.state[1].rotate_left(29));
        }
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

/// The checksum of what is behind a header: the checksum of the checksums of its pieces, each [`BodySum::PIECE`] long but the last. So a large file can be
/// summed up by several processors.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
pub struct BodySum {
    pieces: Checksum,
    /// Of the piece that is not yet complete.
    last: Checksum,
}

#[cfg(feature = "std")]
impl BodySum {
    /// Bytes of a piece.
    pub const PIECE: usize = 1 << 20;

    /// Adds bytes, by the rule of [`Checksum::update`].
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = Self::PIECE.saturating_sub(self.last.len as usize);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.last.update(now);
            bytes = later;
            if now.len() == room {
                self.add(self.last.finish());
                self.last = Checksum::new();
            }
        }
    }

    /// The checksum of what was added.
    #[must_use]
    pub fn finish(mut self) -> u64 {
        if self.last.len > 0 {
            self.add(self.last.finish());
        }
        self.pieces.finish()
    }

    /// The checksum of a whole, by at most so many threads.
    #[must_use]
    pub fn of(bytes: &[u8], threads: usize) -> u64 {
        let pieces: Vec<&[u8]> = bytes.chunks(Self::PIECE).collect();
        let share = pieces.len().div_ceil(threads.max(1)).max(1);
        let sum_up = |pieces: &[&[u8]]| pieces.iter().map(|piece| Checksum::of(piece)).collect::<Vec<u64>>();
        let mut shares = pieces.chunks(share);
        let own = shares.next().unwrap_or_default();
        let sums: Vec<Vec<u64>> = std::thread::scope(|scope| {
            // Where there is no thread to be had, it is done here.
            let helped = |share| {
                std::thread::Builder::new()
                    .name("checksum".into())
                    .spawn_scoped(scope, move || sum_up(share))
                    .map_err(|_| share)
            };
            let others: Vec<_> = shares.map(helped).collect();
            let done = |other: Result<std::thread::ScopedJoinHandle<'_, _>, _>| match other {
                Ok(thread) => thread.join().unwrap_or_default(),
                Err(share) => sum_up(share),
            };
            std::iter::once(sum_up(own)).chain(others.into_iter().map(done)).collect()
        });
        let mut whole = Self::default();
        sums.into_iter().flatten().for_each(|sum| whole.add(sum));
        whole.finish()
    }

    fn add(&mut self, sum: u64) {
        // Twice: in each of the two lanes.
        let word = sum.to_le_bytes();
        let mut block = [0; 32];
        block[..8].copy_from_slice(&word);
        block[16..24].copy_from_slice(&word);
        self.pieces.update(&block);
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    (product as u64) ^ ((product >> 64) as u64)
}

/// The first and the last bytes of a name as two words; they overlap in the middle, so that no byte of up to sixteen is left out.
#[inline(always)]
fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        let short = name.iter().fold(0, |word: u64, byte| (word << 8) | u64::from(*byte));
        (short, 0)
    }
}

/// Bytes 8 to 24 of a name of more than sixteen bytes, or the sixteen before the last eight, whichever comes first.
#[inline(always)]
fn middle(name: &[u8]) -> Option<(u64, u64)> {
    let start = 8.min(name.len().checked_sub(17)?.saturating_add(1));
    let (first, rest) = name.get(start..)?.split_first_chunk::<8>()?;
    let second = rest.first_chunk::<8>()?;
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(*second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_name_counts() {
        let key = Key(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        for len in 1..=32 {
            let name = vec![b'a'; len];
            for at in 0..len {
                let mut other = name.clone();
                other[at] = b'b';
                assert_ne!(key.name(&name), key.name(&other), "byte {at} of {len}");
                assert_ne!(plain(&name, 0), plain(&other, 0), "byte {at} of {len}");
            }
        }
    }

    #[test]
    fn another_key_gives_another_hash() {
        assert_ne!(Key(1, 2).name(b"ana"), Key(1, 3).name(b"ana"));
        assert_ne!(Key(1, 2).id(1000).place, Key(1, 3).id(1000).place);
    }

    #[test]
    fn the_tags_of_numbered_names_hardly_ever_meet() {
        let key = Key(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
        let mut tags: Vec<_> = (0..100_000).map(|n| key.name(format!("login{n}").as_bytes()).tag).collect();
        tags.sort_unstable();
        tags.dedup();
        // 100,000 of 2³² values: 1.2 collisions expected.
        assert!(tags.len() > 99_980, "{} different tags", tags.len());
    }

    #[test]
    fn a_checksum_notices_a_flipped_bit_a_swap_and_a_shorter_file() {
        let bytes: Vec<u8> = (0..4096_u32).map(|n| n as u8 ^ (n >> 8) as u8).collect();
        let sum = Checksum::of(&bytes);
        for at in [0, 1, 31, 32, 33, 2000, 4095] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(Checksum::of(&other), sum, "bit 0 of byte {at}");
        }
        let mut swapped = bytes.clone();
        swapped[..64].rotate_left(32);
        assert_ne!(Checksum::of(&swapped), sum);
        assert_ne!(Checksum::of(&bytes[..4064]), sum);
        let mut pieces = Checksum::new();
        pieces.update(&bytes[..1024]);
        pieces.update(&bytes[1024..]);
        assert_eq!(pieces.finish(), sum);
    }

    #[test]
    fn a_body_has_one_checksum_whoever_sums_it_up_and_in_which_steps() {
        let bytes: Vec<u8> = (0..3 * BodySum::PIECE as u32 + 4096).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
        for len in [0, 64, 4096, BodySum::PIECE, BodySum::PIECE + 64, 2 * BodySum::PIECE, bytes.len()] {
            let bytes = &bytes[..len];
            let sum = BodySum::of(bytes, 1);
            for threads in [0, 2, 3, 7] {
                assert_eq!(BodySum::of(bytes, threads), sum, "{len} bytes, {threads} threads");
            }
            for step in [64, 4096, 256 * 1024, 3 * BodySum::PIECE] {
                let mut stepwise = BodySum::default();
                bytes.chunks(step).for_each(|piece| stepwise.update(piece));
                assert_eq!(stepwise.finish(), sum, "{len} bytes in steps of {step}");
            }
        }
        let sum = BodySum::of(&bytes, 2);
        let mut swapped = bytes.clone();
        swapped[..2 * BodySum::PIECE].rotate_left(BodySum::PIECE);
        assert_ne!(BodySum::of(&swapped, 2), sum, "two pieces have changed their places");
        for at in [0, BodySum::PIECE - 1, BodySum::PIECE, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(BodySum::of(&other, 2), sum, "bit 0 of byte {at}");
        }
        assert_ne!(BodySum::of(&bytes[..3 * BodySum::PIECE], 2), sum);
    }
}
