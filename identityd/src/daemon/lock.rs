//! One daemon on a server.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Held for the life of the daemon.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: File,
}

impl Lock {
    /// Locks the state directory itself: no file has to be written, so it works on a full or read-only disk too. The number of the process
    /// goes into `pid_file`, for the message that a second daemon prints.
    pub(super) fn take(state: &Path, pid_file: &Path) -> Result<Self, String> {
        let directory = File::open(state).map_err(|error| {
            format!(
                "cannot open the state directory {}: {error}. It should be there, owned by identityd, mode 0700: \
                 install -d -o identityd -g identityd -m 0700 {}",
                state.display(),
                state.display()
            )
        })?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = std::fs::read_to_string(pid_file).unwrap_or_default();
                let pid = pid.trim();
                let who = if pid.is_empty() { "another identityd".into() } else { format!("identityd with pid {pid}") };
                return Err(format!("{who} is already running on {}; stop it first", state.display()));
            }
            Err(error) => return Err(format!("cannot lock {}: {error}", state.display())),
        }
        if let Err(error) = std::fs::write(pid_file, format!("{}\n", std::process::id())) {
            tracing::debug!(%error, file = %pid_file.display(), "cannot note the pid");
        }
        Ok(Self { _directory: directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_the_pid_of_the_first() {
        let state = tempfile::tempdir().unwrap();
        let pid_file = state.path().join("pid");
        let first = Lock::take(state.path(), &pid_file).unwrap();
        let error = Lock::take(state.path(), &pid_file).unwrap_err();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        assert!(Lock::take(state.path(), &pid_file).is_ok());
    }
}
