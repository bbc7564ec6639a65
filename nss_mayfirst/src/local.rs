//! The server's own accounts, which win: an entry whose name or id is in `/etc/passwd` or `/etc/group` is not the directory's on this server.
//!
//! identityd leaves such entries out as well, but for what is the same in both: an account that moves over to the directory is in the snapshot before its line goes. The module looks for itself so that local users never wait for a hung daemon, and so that no
//! daemon can give a member's uid the name `root`, or a gid the name `sudo`: programs decide by names. Nor can it put anybody into a local
//! group, such as docker's or libvirt's: their gids may be above the floor.

pub(crate) mod filter;

use core::ffi::CStr;
use core::mem::MaybeUninit;

use self::filter::Sort;
use crate::entry::Identity;
use crate::status::{Failure, Outcome};
use crate::sys::{self, Errno};

/// A file of accounts: name, password, id, colon-separated; passwd(5) and group(5) begin alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts(&'static CStr, Sort);

/// The local logins.
pub(crate) const PASSWD: Accounts = Accounts(c"/etc/passwd", Sort::Login);
/// The local groups.
pub(crate) const GROUP: Accounts = Accounts(c"/etc/group", Sort::Group);

/// Read at a time. It lies on the stack, which may be 16 KiB in all (PTHREAD_STACK_MIN); a Debian /etc/passwd has 2 KB.
const CHUNK: usize = 4096;

/// The accounts of one call. A file that fits is read once, however often it is asked: opening costs more than looking through it.
pub(crate) struct Local {
    accounts: Accounts,
    chunk: [MaybeUninit<u8>; CHUNK],
    /// The length of the file when all of it is in `chunk`.
    whole: Option<usize>,
}

impl Local {
    pub(crate) fn new(accounts: Accounts) -> Self {
        Self { accounts, chunk: [MaybeUninit::uninit(); CHUNK], whole: None }
    }

    /// NOTFOUND when the name (unless empty) or the id is a local one. A file that is not there has no accounts; one that cannot be read
    /// makes the answer unknown.
    #[inline(never)]
    pub(crate) fn refuse(&mut self, wanted: Identity<'_>) -> Outcome {
        if self.look_through(&mut Scan::new(wanted))? { Err(Failure::NotFound) } else { Ok(()) }
    }

    /// Which of the first 64 ids are local ones: a bit for each, the first the lowest. One pass, however many.
    pub(crate) fn among(&mut self, ids: &[u32]) -> Outcome<u64> {
        let mut scan = Scan { many: ids, ..Scan::new(Identity { name: &[], id: None, gid: None }) };
        self.look_through(&mut scan)?;
        Ok(scan.marked)
    }

    fn look_through(&mut self, scan: &mut Scan<'_>) -> Outcome<bool> {
        match self.whole {
            Some(len) => {
                let (file, _) = self.chunk.split_at_mut_checked(len).unwrap_or_default();
                // SAFETY: `read` wrote as much.
                Ok(scan.hits(unsafe { sys::written(file) }) || scan.hits(b""))
            }
            None => self.read(scan).map_err(Failure::Unavailable),
        }
    }

    /// Reads the file until the scan hits; keeps it if it fits.
    fn read(&mut self, scan: &mut Scan<'_>) -> Result<bool, Errno> {
        let file = match open(self.accounts) {
            Ok(file) => file,
            Err(Errno::ENOENT) => {
                self.whole = Some(0);
                return Ok(false);
            }
            Err(errno) => return Err(errno),
        };
        let mut filled = 0;
        let mut turned = false;
        loop {
            if filled == CHUNK {
                filled = 0;
                turned = true;
            }
            let bytes = file.read(self.chunk.get_mut(filled..).unwrap_or_default())?;
            if scan.hits(bytes) {
                return Ok(true);
            }
            if bytes.is_empty() {
                self.whole = (!turned).then_some(filled);
                return Ok(false);
            }
            filled = filled.saturating_add(bytes.len());
        }
    }
}

/// NOTFOUND when the primary group of an entry is a local one. A function of its own: the stack is given back before it and after it.
#[inline(never)]
pub(crate) fn refuse_group(entry: Identity<'_>) -> Outcome {
    match entry.gid {
        Some(gid) => Local::new(GROUP).refuse(Identity { name: &[], id: Some(gid), gid: None }),
        None => Ok(()),
    }
}

/// NOTFOUND when the name, the id or the primary group of an entry of the snapshot is a local one. Reads the files only if the filter cannot exclude it.
#[inline]
pub(crate) fn refuse_published(accounts: Accounts, moment: u64, identity: Identity<'_>) -> Outcome {
    if filter().may_hit(moment, accounts.1, identity) { refuse_exactly(accounts, identity) } else { Ok(()) }
}

/// The same by the files.
#[cold]
#[inline(never)]
pub(crate) fn refuse_exactly(accounts: Accounts, identity: Identity<'_>) -> Outcome {
    sys::undisturbed(|| {
        Local::new(accounts).refuse(identity)?;
        refuse_group(identity)
    })
}

#[cfg(not(test))]
#[inline]
pub(crate) fn filter() -> &'static filter::Filter {
    static FILTER: filter::Filter = filter::Filter::new();
    &FILTER
}

#[cfg(test)]
pub(crate) use crate::testing::filter;

fn open(accounts: Accounts) -> Result<sys::Fd, Errno> {
    with_path(accounts, |path| sys::open_to_read(path, sys::Link::Followed))
}

#[cfg(not(test))]
fn with_path<T>(accounts: Accounts, then: impl FnOnce(&CStr) -> T) -> T {
    then(accounts.0)
}

#[cfg(test)]
fn with_path<T>(accounts: Accounts, then: impl FnOnce(&CStr) -> T) -> T {
    then(&crate::testing::local_file(accounts.0))
}

/// Goes through the bytes of the file once, whatever the chunks.
struct Scan<'a> {
    wanted: Identity<'a>,
    /// Ids to be marked.
    many: &'a [u32],
    /// Those of `many` that have come.
    marked: u64,
    field: Field,
    /// Bytes of the name that agree so far; `None`: it is another one.
    agreed: Option<usize>,
    /// The id read so far; `None`: not a number.
    id: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Before the name: glibc skips blanks (nss/nss_files/files-XXX.c, nss/nss_readline.c).
    Start,
    Name,
    Password,
    Id,
    Rest,
}

impl<'a> Scan<'a> {
    fn new(wanted: Identity<'a>) -> Self {
        Self { wanted, many: &[], marked: 0, field: Field::Start, agreed: Some(0), id: None }
    }

    /// Takes the next bytes; none are the end of the file. True when the line of a wanted account has come.
    fn hits(&mut self, mut bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return self.ends_id();
        }
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = rest;
            match (self.field, *byte) {
                (_, b'\n') => {
                    if self.ends_id() {
                        return true;
                    }
                    *self = Self { many: self.many, marked: self.marked, ..Self::new(self.wanted) };
                }
                (Field::Start, b' ' | b'\t' | b'\r' | 0x0b | 0x0c) => {}
                (Field::Start | Field::Name, b':') => {
                    if !self.wanted.name.is_empty() && self.agreed == Some(self.wanted.name.len()) {
                        return true;
                    }
                    self.field = if self.wants_ids() { Field::Password } else { Field::Rest };
                }
                (Field::Start | Field::Name, byte) => {
                    self.field = Field::Name;
                    self.agreed = self
                        .agreed
                        .filter(|at| self.wanted.name.get(*at) == Some(&byte))
                        .and_then(|at| at.checked_add(1));
                    if self.agreed.is_none() && !self.wants_ids() {
                        self.field = Field::Rest;
                    }
                }
                (Field::Password, b':') => {
                    self.field = Field::Id;
                    self.id = Some(0);
                }
                (Field::Id, b':') => {
                    if self.ends_id() {
                        return true;
                    }
                    self.field = Field::Rest;
                }
                (Field::Id, byte) => self.id = self.id.and_then(|id| digit(id, byte)),
                (Field::Password, _) => {}
                (Field::Rest, _) => {
                    let newline = sys::position(b'\n', rest).unwrap_or(rest.len());
                    bytes = rest.get(newline..).unwrap_or_default();
                }
            }
        }
        false
    }

    fn wants_ids(&self) -> bool {
        self.wanted.id.is_some() || !self.many.is_empty()
    }

    fn ends_id(&mut self) -> bool {
        let Some(id) = self.id.filter(|_| self.field == Field::Id) else {
            return false;
        };
        let mut bit = 1_u64;
        for one in self.many {
            if *one == id {
                self.marked |= bit;
            }
            bit = bit.wrapping_shl(1);
        }
        self.wanted.id == Some(id)
    }
}

fn digit(id: u32, byte: u8) -> Option<u32> {
    let digit = char::from(byte).to_digit(10)?;
    id.checked_mul(10)?.checked_add(digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    const FILE: &[u8] =
        b"root:x:0:0:root:/root:/bin/bash\n  blank:x:7:7::/:\nana:x:1000:1000::/home/ana:/bin/sh\n\n#note\nlast:x:1234";

    fn finds(file: &[u8], chunk: usize, name: &[u8], id: Option<u32>) -> bool {
        let mut scan = Scan::new(Identity { name, id, gid: None });
        file.chunks(chunk).any(|part| scan.hits(part)) || scan.hits(b"")
    }

    #[test]
    fn a_local_name_is_found_however_the_file_is_cut() {
        for chunk in 1..=FILE.len() {
            for name in ["root", "ana", "blank", "last"] {
                assert!(finds(FILE, chunk, name.as_bytes(), None), "{name} in chunks of {chunk}");
            }
            for name in ["roo", "root1", "an", "note", "x", "bash", "home", "la"] {
                assert!(!finds(FILE, chunk, name.as_bytes(), None), "{name} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_local_id_is_found_however_the_file_is_cut() {
        for chunk in 1..=FILE.len() {
            for id in [0, 7, 1000, 1234] {
                assert!(finds(FILE, chunk, b"", Some(id)), "{id} in chunks of {chunk}");
            }
            for id in [1, 100, 123, 10000] {
                assert!(!finds(FILE, chunk, b"", Some(id)), "{id} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn many_ids_are_marked_in_one_pass_however_the_file_is_cut() {
        let ids = [7, 1000, 5, 1234, 10000];
        for chunk in 1..=FILE.len() {
            let mut scan = Scan { many: &ids, ..Scan::new(Identity { name: b"", id: None, gid: None }) };
            assert!(!FILE.chunks(chunk).any(|part| scan.hits(part)) && !scan.hits(b""));
            assert_eq!(scan.marked, 0b01011, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_file_is_the_same_whether_it_fits_the_chunk_or_not() {
        for lines in [0, 1, 60, 200, 400] {
            let lines: String =
                (0..lines).map(|n| format!("svc{n}:x:{}:9::/nonexistent:/bin/false\n", 100 + n)).collect();
            let _world = World::empty().with_local(&format!("{lines}last:x:5000:"));
            let mut local = Local::new(PASSWD);
            // The second round is answered from the chunk, if the file fits.
            for _ in 0..2 {
                assert_eq!(local.refuse(Identity { name: b"ana", id: Some(5001), gid: None }), Ok(()));
                assert_eq!(local.refuse(Identity { name: b"last", id: None, gid: None }), Err(Failure::NotFound));
                assert_eq!(local.refuse(Identity { name: b"", id: Some(5000), gid: None }), Err(Failure::NotFound));
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_makes_the_answer_unknown() {
        let world = World::empty();
        std::fs::create_dir(world.socket().with_file_name("passwd")).unwrap();
        let answer = Local::new(PASSWD).refuse(Identity { name: b"ana", id: None, gid: None });
        assert_eq!(answer.map_err(Failure::status), Err(-1));
    }

    #[test]
    fn either_of_both_is_enough() {
        assert!(finds(FILE, 9, b"ana", Some(5)));
        assert!(finds(FILE, 9, b"nobody", Some(1000)));
        assert!(!finds(FILE, 9, b"nobody", Some(5)));
    }

    #[test]
    fn a_file_of_nonsense_has_no_accounts() {
        for file in [&b""[..], b"\n\n", b":::\n::\n", b"\0\0:\0", b"a:b:c:d", b"::99999999999999999999:"] {
            assert!(!finds(file, 3, b"ana", Some(1000)));
        }
    }
}
