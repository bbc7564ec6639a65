//! Makes a missing home, so that it appears complete, owned by its login, and where it belongs.
//!
//! As root, below directories that only root can change, a temporary directory is filled from the skeleton, given to the login, and renamed into place.
//! No symbolic link is followed on the way: every component is opened by itself (openat(2), O_NOFOLLOW) and looked at before the next.

mod fill;
mod path;
mod tree;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;
use schema::wire::message::Session;

use fill::Budget;
use path::Missing;

/// How a temporary directory is called: this and 16 hexadecimal digits.
const TEMPORARY: &str = ".mayfirst-";
/// A temporary directory this old was left behind by a process that died.
const STALE_AFTER: Duration = Duration::from_secs(3600);
/// Most entries that one login removes of what others left behind; the next goes on.
const MOST_REMOVED: u32 = 20_000;
/// What a home may have of permissions: no set-id bits.
const HOME_MODE: u32 = 0o777;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// Something has that name already. It was not touched, nor followed.
    Already,
    /// It was made; so many entries of the skeleton were left out.
    Now {
        /// Devices, sockets, fifos, and what not everybody may read.
        skipped: u32,
    },
}

/// Why there is no home.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// Outside of where the PAM line allows homes.
    #[error("it is not below {0}; add home_root= to the line of pam_mayfirst.so, or change the login's home")]
    NotAllowed(String),
    /// A directory on the way that somebody else could change, or no directory.
    #[error("{path} is not safe: {reason}; mend it, then log in again")]
    Unsafe {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A call failed.
    #[error("{action} {path}: {error}")]
    Failed {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// The reason of the system.
        error: Errno,
    },
    /// The skeleton is too large or too deep.
    #[error("the skeleton has more than {0}; see [home] in identityd.toml")]
    TooMuch(&'static str),
    /// A home that looks like one of our temporary directories.
    #[error("its name is that of a home that is being made; give the login another")]
    Reserved,
    /// While it was made, something else than a directory appeared in its place.
    #[error("something that is no directory has taken its place meanwhile")]
    Taken,
}

impl HomeError {
    fn failed(action: &'static str, path: &str) -> impl FnOnce(Errno) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Failed { action, path, error }
    }
}

/// Makes the home of a session if nothing has its name, below one of `roots`.
pub(crate) fn provide(session: &Session, roots: &[String]) -> Result<Made, HomeError> {
    // The plain question first: a home that is there needs none of the checks below, whatever links lead to it.
    match rustix::fs::lstat(session.home.as_str()) {
        Ok(_) => return Ok(Made::Already),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(HomeError::failed("cannot look at", session.home.as_str())(error)),
    }
    let top = path::open_top("/")?;
    provide_below(top.as_fd(), session, roots, SystemTime::now())
}

/// Who owns the home of a session, if that is neither the login nor root; `None` also where there is none, and below the places where homes may be shared. A link counts as well: who owns it says
/// where it leads.
pub(crate) fn foreign_owner(session: &Session, shared: &[String]) -> Option<u32> {
    foreign_owner_of(CWD, session, session.home.as_str(), shared)
}

fn foreign_owner_of(from: BorrowedFd<'_>, session: &Session, path: &str, shared: &[String]) -> Option<u32> {
    if shared.iter().any(|place| is_below(session.home.as_str(), place)) {
        return None;
    }
    // What cannot be looked at cannot be entered either.
    let link = rustix::fs::statat(from, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let home = rustix::fs::statat(from, path, AtFlags::empty()).ok()?;
    [link, home].into_iter().map(|stat| stat.st_uid).find(|uid| *uid != 0 && *uid != session.uid.raw())
}

/// The same with another directory as `/`.
fn provide_below(top: BorrowedFd<'_>, session: &Session, roots: &[String], now: SystemTime) -> Result<Made, HomeError> {
    let home = session.home.as_str();
    if !roots.iter().any(|root| is_below(home, root)) {
        return Err(HomeError::NotAllowed(roots.join(", ")));
    }
    let (parents, name) = home.rsplit_once('/').unwrap_or_default();
    if is_temporary(name) {
        return Err(HomeError::Reserved);
    }
    let parent = path::descend(top, parents, Missing::Create)?;
    if exists(parent.as_fd(), name, home)?.is_some() {
        return Ok(Made::Already);
    }
    sweep(parent.as_fd(), now);

    let (temporary, dir) = make_temporary(parent.as_fd(), home)?;
    let made = furnish(top, dir.as_fd(), session).and_then(|skipped| {
        put_in_place(parent.as_fd(), &temporary, name, home).map(|new| match new {
            true => Made::Now { skipped },
            false => Made::Already,
        })
    });
    if !matches!(made, Ok(Made::Now { .. })) {
        tree::remove(parent.as_fd(), &temporary, &mut { MOST_REMOVED });
    }
    made
}

/// `root` as a whole component prefix: `/home` has `/home/ana` below it, not `/homes/ana` and not itself.
fn is_below(home: &str, root: &str) -> bool {
    home.strip_prefix(root).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

fn exists(parent: BorrowedFd<'_>, name: &str, home: &str) -> Result<Option<FileType>, HomeError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(HomeError::failed("cannot look at", home)(error)),
    }
}

/// A directory of mode 0700 that belongs to root until all is done.
fn make_temporary(parent: BorrowedFd<'_>, home: &str) -> Result<(String, OwnedFd), HomeError> {
    // The keys of RandomState are random for each process: two that make the same home at once differ. Nobody could use a guess, since
    // only root can write here.
    let random = RandomState::new();
    for attempt in 0..16_u8 {
        let mut hasher = random.build_hasher();
        hasher.write_u8(attempt);
        let name = format!("{TEMPORARY}{:016x}", hasher.finish());
        match rustix::fs::mkdirat(parent, &name, Mode::RWXU) {
            Ok(()) => {
                let dir = path::open_dir(parent, &name)
                    .map_err(HomeError::failed("cannot open the new directory for", home))?;
                return Ok((name, dir));
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(HomeError::failed("cannot make a directory for", home)(error)),
        }
    }
    Err(HomeError::failed("cannot make a directory for", home)(Errno::EXIST))
}

/// Fills the directory, then gives it away: nobody can enter it before.
fn furnish(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, session: &Session) -> Result<u32, HomeError> {
    let owner = (Uid::from_raw(session.uid.raw()), Gid::from_raw(session.gid.raw()));
    let mut budget = Budget::default();
    if !session.skeleton.is_empty() {
        let skeleton = path::open_skeleton(top, &session.skeleton)?;
        fill::copy_tree(skeleton.as_fd(), dir, owner, &mut budget)?;
    }
    let home = session.home.as_str();
    rustix::fs::fchown(dir, Some(owner.0), Some(owner.1)).map_err(HomeError::failed("cannot give away", home))?;
    rustix::fs::fchmod(dir, Mode::from_raw_mode(session.mode & HOME_MODE))
        .map_err(HomeError::failed("cannot set the mode of", home))?;
    Ok(budget.skipped)
}

/// Renames. `false`: another login was faster; its home is as good as ours.
fn put_in_place(parent: BorrowedFd<'_>, temporary: &str, name: &str, home: &str) -> Result<bool, HomeError> {
    let result = match rustix::fs::renameat_with(parent, temporary, parent, name, RenameFlags::NOREPLACE) {
        // A file system without RENAME_NOREPLACE (NFS). rename(2) puts a directory in the place of nothing but an empty directory.
        Err(Errno::INVAL) => rustix::fs::renameat(parent, temporary, parent, name),
        other => other,
    };
    match result {
        Ok(()) => Ok(true),
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => match exists(parent, name, home)? {
            Some(FileType::Directory) => Ok(false),
            _ => Err(HomeError::Taken),
        },
        Err(error) => Err(HomeError::failed("cannot put in place", home)(error)),
    }
}

/// Removes temporary directories that a killed process has left here, as far as they are still root's and closed: one that was given away already may hold any number of files, and its owner may be
/// at work in it. Those stay for `identityctl doctor`.
fn sweep(parent: BorrowedFd<'_>, now: SystemTime) {
    let Ok(dir) = path::open_dir(parent, ".") else {
        return;
    };
    let Ok(entries) = rustix::fs::Dir::read_from(&dir) else {
        return;
    };
    let mut left = MOST_REMOVED;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if is_temporary(name) && is_stale(parent, name, now) {
            tree::remove(parent, name, &mut left);
        }
    }
}

fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY)
        .is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_stale(parent: BorrowedFd<'_>, name: &str, now: SystemTime) -> bool {
    let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return false;
    };
    let changed = u64::try_from(stat.st_mtime).unwrap_or_default();
    let limit = now.checked_sub(STALE_AFTER).and_then(|limit| limit.duration_since(SystemTime::UNIX_EPOCH).ok());
    let closed = stat.st_uid == 0 && stat.st_mode & 0o077 == 0;
    closed
        && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        && limit.is_some_and(|limit| changed < limit.as_secs())
}

#[cfg(test)]
mod tests;
