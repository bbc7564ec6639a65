//! The file of the directory: who may own it, its mode, and how it is created.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::directory::DirectoryError;

/// What is there before the database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A file without content: a creation was interrupted.
    Empty,
    /// A file with content.
    File,
}

/// Looks at the file and at those that SQLite keeps beside it. Refuses links, another's files, and modes that let others read hashes.
pub(super) fn inspect(path: &Path) -> Result<Found, DirectoryError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unavailable(path, format!("{error}; check the folder and its permissions"))),
    };
    check(path, &found)?;
    for suffix in ["-wal", "-shm", "-journal"] {
        let side = beside(path, suffix);
        if let Ok(found) = std::fs::symlink_metadata(&side) {
            check(&side, &found)?;
        }
    }
    Ok(if found.len() == 0 { Found::Empty } else { Found::File })
}

/// Creates the file, empty, for its owner alone. Follows no link and takes over no file.
pub(super) fn create(path: &Path) -> Result<(), DirectoryError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        // Somebody creates it at the same moment: the transaction of the schema decides who is first.
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(unavailable(
            path,
            format!(
                "it cannot be created ({}); check that its folder exists, belongs to identityd and is not on a full or read-only file system",
                io::Error::from(error)
            ),
        )),
    }
}

fn check(path: &Path, found: &std::fs::Metadata) -> Result<(), DirectoryError> {
    if !found.is_file() {
        return Err(unavailable(path, "it is a link or not a file; put the real file there".into()));
    }
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(unavailable(
            path,
            format!(
                "it belongs to uid {} and is used by uid {me}; run: chown identityd:identityd {}",
                found.uid(),
                path.display()
            ),
        ));
    }
    if found.mode() & 0o077 != 0 {
        return Err(unavailable(
            path,
            format!(
                "its mode {:04o} lets others at the password hashes; run: chmod 600 {}",
                found.mode() & 0o7777,
                path.display()
            ),
        ));
    }
    Ok(())
}

/// Whether all that was committed is in the file itself. Nothing of a write-ahead log may be left: reading past it would give old answers.
pub(super) fn is_folded(path: &Path) -> bool {
    match std::fs::symlink_metadata(beside(path, "-wal")) {
        Ok(found) => found.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn unavailable(path: &Path, reason: String) -> DirectoryError {
    DirectoryError::Unavailable { directory: path.display().to_string(), reason }
}
