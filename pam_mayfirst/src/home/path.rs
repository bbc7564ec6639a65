//! Walks down a path, one component at a time, over directories that only root can change.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use super::HomeError;

/// What to do about a directory that is missing on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make it: root:root 0755.
    Create,
    /// Fail.
    Fail,
}

const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// File systems in which the mode of a file is not all of the rule (`linux/magic.h`): proc, sysfs, debugfs, tracefs, securityfs, selinuxfs, cgroup, cgroup2, bpf.
const KERNELS_OWN: [i128; 9] =
    [0x9fa0, 0x6265_6572, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0xf97c_ff8c, 0x0027_e0eb, 0x6367_7270, 0xcafe_4a11];

/// Opens the directory that everything starts from.
pub(super) fn open_top(path: &str) -> Result<OwnedFd, HomeError> {
    openat(CWD, path, WALK, Mode::empty()).map_err(HomeError::failed("cannot open", path))
}

/// Opens a directory for reading, if it is one and no link to one.
pub(super) fn open_dir(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    openat(parent, name, READ, Mode::empty())
}

/// The directory at `path` below `top`. Each one on the way, `top` and the last included, belongs to root and can be written by nobody else: so none
/// can be exchanged between the look and the use.
pub(super) fn descend(top: BorrowedFd<'_>, path: &str, missing: Missing) -> Result<OwnedFd, HomeError> {
    let mut here = openat(top, ".", WALK, Mode::empty()).map_err(HomeError::failed("cannot open", "/"))?;
    check(here.as_fd(), "/")?;
    let mut walked = String::with_capacity(path.len());
    for name in path.split('/').filter(|name| !name.is_empty()) {
        walked.push('/');
        walked.push_str(name);
        let next = match openat(&here, name, WALK, Mode::empty()) {
            Err(Errno::NOENT) if missing == Missing::Create => create(here.as_fd(), name),
            other => other,
        };
        here = match next {
            Ok(next) => next,
            // What O_NOFOLLOW and O_DIRECTORY say of a symbolic link (open(2)).
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(HomeError::Unsafe {
                    path: walked,
                    reason: "it is not a directory, or a symbolic link to one",
                });
            }
            Err(error) => return Err(HomeError::failed("cannot open", &walked)(error)),
        };
        check(here.as_fd(), &walked)?;
    }
    Ok(here)
}

/// The skeleton, for reading. Everybody must be able to get there: what a login could not read itself is not copied for it, whatever the
/// daemon names as its skeleton.
pub(super) fn open_skeleton(top: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, HomeError> {
    let mut walked = String::with_capacity(path.len());
    for name in path.split('/').filter(|name| !name.is_empty()) {
        walked.push('/');
        walked.push_str(name);
        let dir = descend(top, &walked, Missing::Fail)?;
        let stat = fstat(&dir).map_err(HomeError::failed("cannot look at", &walked))?;
        if !everybody_may_read(&stat) {
            return Err(HomeError::Unsafe {
                path: walked,
                reason: "not everybody may read it, so it can be no skeleton",
            });
        }
    }
    let dir = descend(top, path, Missing::Fail)?;
    if is_kernels_own(&dir).map_err(HomeError::failed("cannot look at", path))? {
        return Err(HomeError::Unsafe {
            path: walked,
            reason: "the kernel makes what is in it up, and root reads more of it than others",
        });
    }
    open_dir(dir.as_fd(), ".").map_err(HomeError::failed("cannot read", path))
}

/// Whether it is on one of the file systems in which the mode of a file is not all of the rule.
pub(super) fn is_kernels_own(opened: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(KERNELS_OWN.contains(&i128::from(rustix::fs::fstatfs(opened)?.f_type)))
}

/// A file with `r` for all, a directory with `rx`.
pub(super) fn everybody_may_read(stat: &Stat) -> bool {
    let needed = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => 0o005,
        _ => 0o004,
    };
    stat.st_mode & needed == needed
}

fn create(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => {
            let dir = open_dir(parent, name)?;
            // A parent with the set-group-id bit would have given it another group, and the umask another mode.
            rustix::fs::fchown(&dir, Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT))?;
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))?;
        }
        // Another login was faster.
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    openat(parent, name, WALK, Mode::empty())
}

fn check(dir: BorrowedFd<'_>, path: &str) -> Result<(), HomeError> {
    let stat = fstat(dir).map_err(HomeError::failed("cannot look at", path))?;
    match changeable(&stat) {
        Some(reason) => Err(HomeError::Unsafe { path: path.to_owned(), reason }),
        None => Ok(()),
    }
}

/// Why somebody else than root could change what is in this directory.
pub(super) fn changeable(stat: &Stat) -> Option<&'static str> {
    if stat.st_uid != 0 {
        Some("it does not belong to root")
    } else if stat.st_mode & 0o022 != 0 {
        Some("its group or everybody may write to it")
    } else {
        None
    }
}
