//! An index while it is built, in memory.

use crate::snapshot::hash::Hash;
use crate::snapshot::layout::{BUCKET, FILL, FREE, PROBES, SLOTS};
use crate::snapshot::view::bucket_of;

/// An entry would lie farther away than a reader looks.
#[derive(Debug)]
pub(super) struct Full;

pub(super) struct Index {
    buckets: Vec<Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tags: [u32; SLOTS],
    references: [u32; SLOTS],
}

impl Index {
    /// For this many entries.
    pub(super) fn for_entries(count: usize) -> Self {
        let free = Bucket { tags: [0; SLOTS], references: [FREE; SLOTS] };
        Self { buckets: vec![free; count.div_ceil(FILL).max(1)] }
    }

    /// Puts an entry into the first free slot on its way. Returns another entry met there with the same tag.
    pub(super) fn insert(&mut self, hash: Hash, reference: u32) -> Result<Option<u32>, Full> {
        let count = self.buckets.len() as u64;
        let mut place = hash.place;
        let mut twin = None;
        for _ in 0..PROBES {
            let bucket = self.buckets.get_mut(bucket_of(place, count)).ok_or(Full)?;
            for (tag, slot) in bucket.tags.iter_mut().zip(&mut bucket.references) {
                if *slot == FREE {
                    *tag = hash.tag;
                    *slot = reference;
                    return Ok(twin);
                }
                if *tag == hash.tag {
                    twin = Some(*slot);
                }
            }
            place = place.wrapping_add(hash.step);
        }
        Err(Full)
    }

    /// The buckets as they stand in the file.
    pub(super) fn buckets(&self) -> impl Iterator<Item = [u8; BUCKET]> + '_ {
        self.buckets.iter().map(|bucket| {
            let mut bytes = [0; BUCKET];
            let words = bucket.tags.iter().chain(&bucket.references);
            for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
                slot.copy_from_slice(&word.to_le_bytes());
            }
            bytes
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::hash::Key;

    #[test]
    fn a_hundred_thousand_names_fit_under_almost_every_key() {
        let mut misfits = 0;
        for seed in 0..10 {
            let key = Key(seed * 0x1234_5678_9abc_def1 + 7, !seed);
            let mut index = Index::for_entries(100_000);
            let fits = (0..100_000).all(|n| index.insert(key.name(format!("login{n}").as_bytes()), n + 1).is_ok());
            misfits += u32::from(!fits);
        }
        assert!(misfits <= 1, "{misfits} of 10 keys do not fit");
    }

    #[test]
    fn an_entry_without_room_is_refused() {
        let mut index = Index::for_entries(1);
        let hash = Hash { place: 0, step: 1, tag: 5 };
        for n in 1..=8 {
            assert!(index.insert(hash, n).is_ok());
        }
        assert!(index.insert(hash, 9).is_err());
    }
}
