//! What SQLite reports, in the words of an operator: what happened, to which file, what to do next.

use std::path::Path;

use sqlx::error::DatabaseError;

use crate::directory::DirectoryError;

/// Primary result codes (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
}

/// Translates an error of sqlx about the directory in `path`.
pub(crate) fn translate(path: &Path, error: &sqlx::Error) -> DirectoryError {
    let directory = path.display().to_string();
    let unavailable = |reason: String| DirectoryError::Unavailable { directory: directory.clone(), reason };
    let damaged = |reason: String| DirectoryError::Damaged { directory: directory.clone(), reason };
    match error {
        sqlx::Error::Database(inner) => {
            let text = inner.message();
            match primary(inner.as_ref()) {
                code::CONSTRAINT => DirectoryError::Refused(rule(text)),
                code::BUSY | code::LOCKED => unavailable(format!(
                    "another program is writing to it ({text}); try again, and look for a long import or an open sqlite3 shell"
                )),
                code::READONLY => unavailable(format!(
                    "it cannot be written ({text}); check that the file system is mounted read-write and that the file and its folder belong to identityd"
                )),
                code::FULL => unavailable(format!(
                    "the disk is full ({text}); nothing was changed; free some space on the file system that holds it and try again"
                )),
                code::CANTOPEN => unavailable(format!(
                    "it cannot be opened ({text}); check that it exists, that its folder can be written by identityd, and that the file system is not read-only"
                )),
                code::IOERR => unavailable(format!(
                    "reading or writing failed ({text}); check the disk (dmesg) and that the file system has space"
                )),
                code::NOTADB => damaged(
                    "it is not an SQLite database; move it away and restore a backup, or create a new one with identityctl".into(),
                ),
                code::CORRUPT => damaged(format!(
                    "{text}; stop identityd, keep a copy of the file with its -wal, and restore a backup or use `sqlite3 … .recover`"
                )),
                _ => unavailable(format!("SQLite says: {text}")),
            }
        }
        // All connections are in use. A connection that cannot be made gives the error of SQLite instead.
        sqlx::Error::PoolTimedOut => DirectoryError::Crowded { directory },
        sqlx::Error::Io(io) => unavailable(io.to_string()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
            damaged(format!("{error}; the tables are not those that this version knows"))
        }
        other => unavailable(other.to_string()),
    }
}

/// Whether a full disk, a file system that is mounted read-only, or the like may be why it could not be opened: reading a database in WAL mode
/// needs `-shm`, which is a file that has to be written.
pub(super) fn is_about_writing(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(inner) = error else { return false };
    matches!(primary(inner.as_ref()), code::READONLY | code::IOERR | code::FULL | code::CANTOPEN)
}

/// The text of a violated rule, without SQLite's prefix.
fn rule(text: &str) -> String {
    text.strip_prefix("CHECK constraint failed: ").unwrap_or(text).to_owned()
}

fn primary(error: &dyn DatabaseError) -> i32 {
    error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(1) & 0xff
}
