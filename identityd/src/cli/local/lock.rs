//! The locks that the tools of Debian's package passwd take, in their order, so that no useradd(8) or vipw(8) writes the files at the same time.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Pid, test_kill_process};

use super::files::Sort;
use crate::cli::CliError;

/// lckpwdf(3) waits so long as well.
const PATIENCE: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(50);

/// While it lives nobody else changes the files who keeps to the rules.
#[derive(Debug)]
pub(super) struct Locked {
    files: Vec<PathBuf>,
    /// A record lock: it goes with the descriptor.
    _all: File,
}

impl Locked {
    /// Takes all of them.
    ///
    /// # Errors
    /// Who has one.
    pub(super) fn take(etc: &Path) -> Result<Self, CliError> {
        let until = Instant::now() + PATIENCE;
        let mut locked = Self { files: Vec::new(), _all: whole(etc, until)? };
        for sort in Sort::ALL {
            let path = etc.join(format!("{}.lock", sort.name()));
            one(&path, until)?;
            locked.files.push(path);
        }
        Ok(locked)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        for path in &self.files {
            let _ = fs::remove_file(path);
        }
    }
}

/// lckpwdf(3) (glibc misc/lckpwdf.c).
fn whole(etc: &Path, until: Instant) -> Result<File, CliError> {
    let path = etc.join(".pwd.lock");
    let shown = path.display();
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(CliError::io(format!("open {shown}")))?;
    loop {
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) if Instant::now() < until => {
                std::thread::sleep(STEP);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                return Err(CliError::Refused(format!(
                    "another program is changing the accounts (lock on {shown}); try again when it has ended"
                )));
            }
            Err(error) => return Err(CliError::io(format!("lock {shown}"))(error.into())),
        }
    }
}

/// A file with the number of a process, linked into its place (shadow-utils lib/commonio.c, do_lock_file). One of a process that is gone counts for nothing.
fn one(path: &Path, until: Instant) -> Result<(), CliError> {
    let own = path.with_extension(std::process::id().to_string());
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&own);
    let written = written.and_then(|mut file| file.write_all(format!("{}\0", std::process::id()).as_bytes()));
    let linked = match written {
        Ok(()) => link(&own, path, until),
        Err(error) => Err(CliError::io(format!("write {}", own.display()))(error)),
    };
    let _ = fs::remove_file(&own);
    linked
}

fn link(own: &Path, path: &Path, until: Instant) -> Result<(), CliError> {
    loop {
        match fs::hard_link(own, path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(CliError::io(format!("make {}", path.display()))(error)),
        }
        let text = fs::read_to_string(path).unwrap_or_default();
        let holder = text.trim_end_matches(['\0', '\n']).parse().ok().and_then(Pid::from_raw);
        match holder {
            Some(pid) if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) => {
                // Whoever is first makes the next one.
                let _ = fs::remove_file(path);
            }
            _ if Instant::now() < until => std::thread::sleep(STEP),
            Some(pid) => {
                return Err(CliError::Refused(format!(
                    "process {} is changing the accounts ({}); try again when it has ended",
                    pid.as_raw_nonzero(),
                    path.display()
                )));
            }
            None => {
                return Err(CliError::Refused(format!(
                    "{} is there and names no process; is nobody changing accounts, remove it",
                    path.display()
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locks_go_when_they_are_dropped_and_those_of_the_dead_count_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dead = std::process::Command::new("true").spawn().and_then(|mut child| {
            let id = child.id();
            child.wait().map(|_| id)
        });
        fs::write(dir.path().join("shadow.lock"), format!("{}\0", dead.unwrap())).unwrap();
        let locked = Locked::take(dir.path()).unwrap();
        assert_eq!(locked.files.len(), 4);
        assert!(locked.files.iter().all(|path| path.exists()));
        drop(locked);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, [".pwd.lock"]);
    }

    #[test]
    fn a_lock_of_a_living_process_is_respected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("group.lock");
        fs::write(&path, format!("{}\0", std::process::id())).unwrap();
        let error = one(&path, Instant::now()).unwrap_err();
        assert!(error.to_string().contains("is changing the accounts"), "{error}");
        assert!(path.exists());
    }
}
