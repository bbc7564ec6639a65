//! Work on the directory's files as their owner.
//!
//! `/var/lib/identityd` belongs to the user identityd, and identityctl runs as root. A captured daemon could put symbolic links where SQLite
//! creates `directory.db-wal`, `-shm` and `-journal`, and have root write through them. So identityctl takes the owner's effective ids
//! before it opens anything there: what it can then reach is what identityd could reach anyway, and files that it creates
//! belong to identityd. The saved ids stay root's, so identityd can neither trace nor signal the process (credentials(7), ptrace(2)).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// While it lives, the process has the effective uid and gid of the directory's owner, no supplementary groups, and umask 077.
///
/// glibc applies the change to every thread of the process (nptl(7)); start and drop it where nothing else needs root meanwhile.
/// identityd recognises root by `SO_PEERCRED`, which gives effective ids: drop it before talking to the daemon.
#[derive(Debug)]
#[must_use = "dropping it gives root's ids back"]
pub struct AsOwner {
    before: Option<Ids>,
    umask: rustix::fs::Mode,
}

#[derive(Debug)]
struct Ids {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
}

/// The owner's ids could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The folder of the database is not there or is not a folder.
    #[error("the folder {0} of the directory cannot be used: {1}; run: /usr/lib/identityd/setup enable")]
    Folder(PathBuf, #[source] io::Error),
    /// Somebody else could put files there.
    #[error("the folder {path} of the directory may be written by others (mode {mode:04o}); run: chmod 700 {path}")]
    Loose {
        /// Which folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The kernel refused.
    #[error("cannot act as the owner of the directory (uid {uid}, gid {gid}): {source}")]
    Ids {
        /// The owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl AsOwner {
    /// Becomes the owner of the folder in which the database `path` is. Changes nothing but the umask for a process that is not root or
    /// when the folder is root's.
    ///
    /// # Errors
    /// The folder is missing or may be written by others, or the kernel refused.
    pub fn of(path: &Path) -> Result<Self, OwnerError> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let found = std::fs::metadata(folder).map_err(|error| OwnerError::Folder(folder.into(), error))?;
        if !found.is_dir() {
            return Err(OwnerError::Folder(folder.into(), io::ErrorKind::NotADirectory.into()));
        }
        if found.mode() & 0o022 != 0 {
            return Err(OwnerError::Loose { path: folder.into(), mode: found.mode() & 0o7777 });
        }
        let (uid, gid) = (found.uid(), found.gid());
        let before = if rustix::process::geteuid().is_root() && uid != 0 {
            let groups = ids::groups().map_err(|source| OwnerError::Ids { uid, gid, source })?;
            let before = Ids { uid: 0, gid: rustix::process::getegid().as_raw(), groups };
            // Groups and gid first: afterwards the right to change them is gone.
            ids::become_user(uid, gid, &[gid]).map_err(|source| {
                restore(&before);
                OwnerError::Ids { uid, gid, source }
            })?;
            Some(before)
        } else {
            None
        };
        Ok(Self { before, umask: rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077)) })
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        rustix::process::umask(self.umask);
        if let Some(before) = &self.before {
            restore(before);
        }
    }
}

/// Gives root's ids back; a process that cannot has no business going on with half of them.
fn restore(before: &Ids) {
    if ids::become_root(before.uid, before.gid, &before.groups).is_err() {
        eprintln!("identityctl: cannot take root's ids back");
        std::process::abort();
    }
}

/// The calls of libc that change the whole process; rustix changes one thread only.
mod ids {
    use std::io;

    fn ok(result: libc::c_int) -> io::Result<()> {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn groups() -> io::Result<Vec<libc::gid_t>> {
        // SAFETY: a size of 0 asks for the number only; nothing is written (getgroups(2)).
        let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
        let mut groups = vec![0; usize::try_from(count).map_err(|_| io::Error::last_os_error())?];
        // SAFETY: the buffer holds `count` elements.
        let count = unsafe { libc::getgroups(count, groups.as_mut_ptr()) };
        groups.truncate(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
        Ok(groups)
    }

    fn set_groups(groups: &[libc::gid_t]) -> io::Result<()> {
        // SAFETY: pointer and length are of one slice.
        ok(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
    }

    pub(super) fn become_user(uid: libc::uid_t, gid: libc::gid_t, groups: &[libc::gid_t]) -> io::Result<()> {
        set_groups(groups)?;
        // SAFETY: no memory is involved.
        ok(unsafe { libc::setegid(gid) })?;
        // SAFETY: no memory is involved.
        ok(unsafe { libc::seteuid(uid) })
    }

    pub(super) fn become_root(uid: libc::uid_t, gid: libc::gid_t, groups: &[libc::gid_t]) -> io::Result<()> {
        // SAFETY: no memory is involved.
        ok(unsafe { libc::seteuid(uid) })?;
        // SAFETY: no memory is involved.
        ok(unsafe { libc::setegid(gid) })?;
        set_groups(groups)
    }
}
