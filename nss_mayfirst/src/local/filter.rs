//! Which names and ids *may* be local ones, known without reading the files again: a Bloom filter for each process.
//!
//! What the snapshot finds was compared with the local accounts by identityd when it was published; what is the same in both is in it all the same. This filter is for that, and for the case that
//! identityd is not to be trusted: a hit, and only a hit, reads the files. So no daemon can take a local account's name, id or group, and
//! an ordinary look-up pays three loads.
//!
//! Bits are only ever added. So there is nothing to lock, and nothing that a fork, a signal handler or another thread could find half-way: each
//! bit is right as soon as it is there, `moment` says that all of them are, and it is stored with Release after them and loaded with Acquire before
//! them. A child goes on with the bits of its parent; one that was forked in the middle of a filling has the `moment` of before and fills again. Who
//! fills at the same time sets the same bits. An account that is gone leaves its bits: they cost its namesake a reading of the files, no more. The same goes for
//! a process that changes its root: the new files are added within a second.
//!
//! The files are looked at once in a second and at each new generation; a file that was written in place twice within one step of the clock of its
//! file system (4 ms), without changing its size, is missed. The tools of Debian put a new file in the place of the old one.

use core::sync::atomic::{AtomicU64, Ordering};

use schema::snapshot::hash;

use super::{Accounts, CHUNK, GROUP, PASSWD, open};
use crate::entry::Identity;
use crate::sys::{self, Errno, Stamp};

/// 64 KiBit: with 40 local logins and 60 groups a look-up reads the files in vain once in 13,000 times, with 300 and 300 once in 480.
const WORDS: usize = 1024;
const MASK: usize = WORDS - 1;

/// What a name or an id belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sort {
    /// /etc/passwd
    Login,
    /// /etc/group
    Group,
}

/// The local accounts of this process' root.
pub(crate) struct Filter {
    bits: [AtomicU64; WORDS],
    /// When the files were last looked at and all of them was in `bits`: [`crate::snapshot::Pinned::moment`]. 0: never.
    moment: AtomicU64,
    /// What the files were when they were read last.
    stamps: [AtomicU64; 2],
}

impl Filter {
    pub(crate) const fn new() -> Self {
        Self {
            bits: [const { AtomicU64::new(0) }; WORDS],
            moment: AtomicU64::new(0),
            stamps: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Whether an entry may have a local name, id or primary group. `false` is certain.
    #[inline(always)]
    pub(crate) fn may_hit(&self, moment: u64, sort: Sort, identity: Identity<'_>) -> bool {
        if self.moment.load(Ordering::Acquire) != moment && !self.refresh(moment) {
            return true;
        }
        (!identity.name.is_empty() & self.has(of_name(sort, identity.name)))
            | identity.id.is_some_and(|id| self.has(of_id(sort, id)))
            | identity.gid.is_some_and(|gid| self.has(of_id(Sort::Group, gid)))
    }

    /// Whether a gid may be a local group's. After [`Self::may_hit`] at the same moment.
    #[inline]
    pub(crate) fn may_be_group(&self, gid: u32) -> bool {
        self.has(of_id(Sort::Group, gid))
    }

    #[inline(always)]
    fn has(&self, hash: u64) -> bool {
        let bits = mask(hash);
        self.bits.get(hash as usize & MASK).is_none_or(|word| word.load(Ordering::Relaxed) & bits == bits)
    }

    fn add(&self, hash: u64) {
        if let Some(word) = self.bits.get(hash as usize & MASK) {
            word.fetch_or(mask(hash), Ordering::Relaxed);
        }
    }

    /// Looks at the files, reads those that are new. `false`: one cannot be read.
    #[cold]
    #[inline(never)]
    fn refresh(&self, moment: u64) -> bool {
        let fresh = sys::undisturbed(|| {
            [PASSWD, GROUP].into_iter().zip(&self.stamps).all(|(accounts, stamp)| self.fresh(accounts, stamp).is_ok())
        });
        if fresh {
            self.moment.store(moment, Ordering::Release);
        }
        fresh
    }

    fn fresh(&self, accounts: Accounts, known: &AtomicU64) -> Result<(), Errno> {
        let sort = accounts.1;
        let before = known.load(Ordering::Relaxed);
        // The first time it is read anyway: one call less.
        if before != 0 && super::with_path(accounts, Stamp::of_path)?.0 == before {
            return Ok(());
        }
        let file = match open(accounts) {
            Ok(file) => file,
            Err(Errno::ENOENT) => {
                known.store(Stamp::NOTHING.0, Ordering::Relaxed);
                return Ok(());
            }
            Err(errno) => return Err(errno),
        };
        // Before it is read: what is written into it meanwhile changes the stamp.
        let (stamp, size) = Stamp::of(&file)?;
        let mut chunk = [core::mem::MaybeUninit::uninit(); CHUNK];
        let mut lines = Lines::new();
        let mut filled = 0_usize;
        loop {
            let bytes = file.read(&mut chunk)?;
            filled = filled.saturating_add(bytes.len());
            // As long as it was said to be: one call less. A file that has grown since has another stamp.
            let ended = bytes.is_empty() || filled == size;
            for part in [bytes, &[]].into_iter().take(if ended { 2 } else { 1 }) {
                lines.take(part, |name, id| {
                    if let Some(name) = name {
                        self.add(of_name(sort, name));
                    }
                    if let Some(id) = id {
                        self.add(of_id(sort, id));
                    }
                });
            }
            if ended {
                known.store(stamp.0, Ordering::Relaxed);
                return Ok(());
            }
        }
    }
}

/// Three bits of one word.
#[inline(always)]
fn mask(hash: u64) -> u64 {
    let bit = |shift: u32| 1_u64.wrapping_shl((hash >> shift) as u32);
    bit(10) | bit(16) | bit(22)
}

#[inline(always)]
fn of_name(sort: Sort, name: &[u8]) -> u64 {
    hash::plain(name, sort as u64)
}

#[inline(always)]
fn of_id(sort: Sort, id: u32) -> u64 {
    // The upper half of a product is mixed best.
    (u64::from(id) | (sort as u64) << 32).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Takes the lines of a file of accounts apart, however it is cut. More lenient than [`super::Scan`] must be: what is taken for an account and is none costs a little time.
struct Lines {
    name: [u8; schema::name::MAX_LEN],
    len: usize,
    field: u8,
    id: Option<u32>,
}

impl Lines {
    const fn new() -> Self {
        Self { name: [0; schema::name::MAX_LEN], len: 0, field: 0, id: None }
    }

    /// Takes the next bytes; none are the end of the file. Calls `found` with each name that a directory could have, and with each number in the third field.
    fn take(&mut self, bytes: &[u8], mut found: impl FnMut(Option<&[u8]>, Option<u32>)) {
        if bytes.is_empty() {
            found(None, self.id);
        }
        for byte in bytes {
            match (self.field, *byte) {
                (_, b'\n') => {
                    found(None, self.id);
                    *self = Self::new();
                }
                (0, b' ' | b'\t' | b'\r' | 0x0b | 0x0c) if self.len == 0 => {}
                (0, b':') => {
                    found(self.name.get(..self.len), None);
                    self.field = 1;
                }
                (0, byte) => {
                    if let Some(slot) = self.name.get_mut(self.len) {
                        *slot = byte;
                    }
                    self.len = self.len.saturating_add(1);
                }
                (1, b':') => {
                    self.field = 2;
                    self.id = Some(0);
                }
                (2, b':') => {
                    found(None, self.id.take());
                    self.field = 3;
                }
                (2, byte) => self.id = self.id.and_then(|id| super::digit(id, byte)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    fn identity(name: &[u8], id: Option<u32>, gid: Option<u32>) -> Identity<'_> {
        Identity { name, id, gid }
    }

    #[test]
    fn what_the_files_hold_is_a_hit_and_hardly_anything_else() {
        let lines: String = (0..300).map(|n| format!("svc{n}:x:{}:9::/nonexistent:/bin/false\n", 100 + n)).collect();
        let _world = World::empty().with_local(&format!("{lines}  blank:x:7:\nlast:x:5000"));
        let filter = Filter::new();
        for n in 0..300 {
            assert!(filter.may_hit(1, Sort::Login, identity(format!("svc{n}").as_bytes(), None, None)));
            assert!(filter.may_hit(1, Sort::Group, identity(b"", Some(100 + n), None)));
            assert!(filter.may_hit(1, Sort::Login, identity(b"ana", None, Some(100 + n))));
        }
        assert!(filter.may_hit(1, Sort::Login, identity(b"last", None, None)));
        assert!(filter.may_hit(1, Sort::Login, identity(b"blank", None, None)));
        assert!(filter.may_hit(1, Sort::Login, identity(b"", Some(5000), None)));
        let hits = (0..10_000_u32)
            .filter(|n| {
                let name = format!("user{n}");
                filter.may_hit(1, Sort::Login, identity(name.as_bytes(), Some(6000 + n), Some(6000 + n)))
            })
            .count();
        assert!(hits < 100, "{hits} of 10,000");
    }

    #[test]
    fn a_changed_file_is_noticed_at_the_next_moment() {
        let world = World::empty().with_local("root:x:0:\n");
        let filter = Filter::new();
        assert!(!filter.may_hit(1, Sort::Login, identity(b"ana", None, None)));
        let world = world.with_local("root:x:0:\nana:x:5000:\n");
        assert!(!filter.may_hit(1, Sort::Login, identity(b"ana", None, None)), "the same second");
        assert!(filter.may_hit(3, Sort::Login, identity(b"ana", None, None)));
        std::fs::remove_file(world.socket().with_file_name("passwd")).unwrap();
        assert!(filter.may_hit(5, Sort::Login, identity(b"ana", None, None)), "bits stay");
        assert!(!filter.may_hit(5, Sort::Login, identity(b"eva", None, None)));
    }

    #[test]
    fn without_files_nothing_is_local_and_an_unreadable_one_may_hold_anything() {
        let world = World::empty();
        let filter = Filter::new();
        assert!(!filter.may_hit(1, Sort::Login, identity(b"ana", Some(5000), Some(5000))));
        std::fs::create_dir(world.socket().with_file_name("passwd")).unwrap();
        assert!(filter.may_hit(3, Sort::Login, identity(b"ana", None, None)));
    }

    #[test]
    fn however_a_file_is_cut_the_same_accounts_are_found() {
        let file = b"root:x:0:0:root:/root:/bin/bash\n  blank:x:7:7::/:\nana:x:1000:1000::/\n\n#note\nlast:x:1234";
        for chunk in 1..=file.len() {
            let (mut names, mut ids) = (Vec::new(), Vec::new());
            let mut lines = Lines::new();
            for part in file.chunks(chunk).chain([&b""[..]]) {
                lines.take(part, |name, id| {
                    names.extend(name.map(<[u8]>::to_vec));
                    ids.extend(id);
                });
            }
            assert_eq!(names, [&b"root"[..], b"blank", b"ana", b"last"], "chunks of {chunk}");
            assert_eq!(ids, [0, 7, 1000, 1234], "chunks of {chunk}");
        }
    }
}
