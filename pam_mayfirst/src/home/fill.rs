//! Copies the skeleton: files, directories, and links as links.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, fstat, openat};
use rustix::io::Errno;

use super::{HomeError, path};

/// Most entries of a skeleton.
const MAX_ENTRIES: u32 = 10_000;
/// Most bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Deepest nesting.
const MAX_DEPTH: u32 = 16;
/// Permissions that are taken over: no set-id bits.
const COPIED_MODE: u32 = 0o777;

/// What has been used up.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Entries that were left out.
    pub(super) skipped: u32,
    entries: u32,
    bytes: u64,
    depth: u32,
}

impl Budget {
    fn skip(&mut self) -> Result<(), HomeError> {
        self.skipped = self.skipped.saturating_add(1);
        Ok(())
    }

    fn take_entry(&mut self) -> Result<(), HomeError> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > MAX_ENTRIES { Err(HomeError::TooMuch("10,000 entries")) } else { Ok(()) }
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), HomeError> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > MAX_BYTES { Err(HomeError::TooMuch("64 MiB")) } else { Ok(()) }
    }
}

/// Copies what is in `from` into `to`; all of it belongs to `owner`, and none of it is followed.
pub(super) fn copy_tree(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    owner: (Uid, Gid),
    budget: &mut Budget,
) -> Result<(), HomeError> {
    if budget.depth >= MAX_DEPTH {
        return Err(HomeError::TooMuch("16 levels of directories"));
    }
    budget.depth = budget.depth.saturating_add(1);
    for entry in Dir::read_from(from).map_err(HomeError::failed("cannot read", "the skeleton"))? {
        let entry = entry.map_err(HomeError::failed("cannot read", "the skeleton"))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        budget.take_entry()?;
        copy_entry(from, to, name, owner, budget)?;
    }
    budget.depth = budget.depth.saturating_sub(1);
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    owner: (Uid, Gid),
    budget: &mut Budget,
) -> Result<(), HomeError> {
    let failed = |action| HomeError::failed(action, &name.to_string_lossy());
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("cannot look at"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(failed("cannot read the link"))?;
            rustix::fs::symlinkat(target.as_c_str(), to, name).map_err(failed("cannot make the link"))?;
            rustix::fs::chownat(to, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("cannot give away"))
        }
        FileType::Directory if path::everybody_may_read(&stat) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = openat(from, name, flags, Mode::empty()).map_err(failed("cannot open"))?;
            // In a directory that somebody else may change, what is looked at need not be what is copied.
            let Some(stat) = still(&source, &stat)?.filter(|stat| path::changeable(stat).is_none()) else {
                return budget.skip();
            };
            rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(failed("cannot make"))?;
            let copy = openat(to, name, flags, Mode::empty()).map_err(failed("cannot open the copy of"))?;
            copy_tree(source.as_fd(), copy.as_fd(), owner, budget)?;
            give_away(&copy, owner, &stat).map_err(failed("cannot give away"))
        }
        FileType::RegularFile if path::everybody_may_read(&stat) => {
            // O_NONBLOCK: should it be a fifo by now, the open does not hang.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = openat(from, name, flags, Mode::empty()).map_err(failed("cannot open"))?;
            let Some(stat) = still(&source, &stat)? else { return budget.skip() };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("cannot make"))?;
            copy_bytes(&source, &copy, name, budget)?;
            give_away(&copy, owner, &stat).map_err(failed("cannot give away"))
        }
        _ => budget.skip(),
    }
}

/// What was opened, if it is what was looked at, everybody may read it now, and nothing that the kernel makes up is mounted there. Not by the number of the device: in an
/// overlay files and directories have different ones.
fn still(opened: &OwnedFd, seen: &Stat) -> Result<Option<Stat>, HomeError> {
    let failed = || HomeError::failed("cannot look at", "an entry of the skeleton");
    let stat = fstat(opened).map_err(failed())?;
    let same = (stat.st_dev, stat.st_ino) == (seen.st_dev, seen.st_ino)
        && FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(seen.st_mode)
        && !path::is_kernels_own(opened).map_err(failed())?;
    Ok((same && path::everybody_may_read(&stat)).then_some(stat))
}

fn copy_bytes(from: &OwnedFd, to: &OwnedFd, name: &CStr, budget: &mut Budget) -> Result<(), HomeError> {
    let failed = |action| HomeError::failed(action, &name.to_string_lossy());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let got = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(failed("cannot read")(error)),
        };
        budget.take_bytes(got)?;
        let mut rest = buffer.get(..got).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed("cannot write the copy of")(error)),
            }
        }
    }
}

/// Owner first: chown(2) clears set-id bits, chmod says what stays.
fn give_away(copy: &OwnedFd, owner: (Uid, Gid), source: &Stat) -> rustix::io::Result<()> {
    rustix::fs::fchown(copy, Some(owner.0), Some(owner.1))?;
    rustix::fs::fchmod(copy, Mode::from_raw_mode(source.st_mode & COPIED_MODE))
}
