//! Files of a test machine, read and written from outside without a process inside.
//!
//! Paths are resolved with the machine's root as root (openat2(2), `RESOLVE_IN_ROOT`): an absolute symlink in it never leads to the host.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::Mosh;

impl Mosh {
    /// The text of a file.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        self.try_read(path).unwrap_or_else(|error| panic!("cannot read {path} in the test machine: {error}"))
    }

    /// The text of a file, or why not.
    ///
    /// # Errors
    /// What open(2) or read(2) said.
    pub fn try_read(&self, path: &str) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.open(path, OFlags::RDONLY)?.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Replaces the contents of a file, or makes it with mode 0644.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, path: &str, contents: &str) {
        let written = self
            .open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)
            .and_then(|mut file| file.write_all(contents.as_bytes()));
        if let Err(error) = written {
            panic!("cannot write {path} in the test machine: {error}");
        }
    }

    /// Whether there is something of this name.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.open(path, OFlags::PATH).is_ok()
    }

    /// Opens a file of the machine.
    ///
    /// # Errors
    /// What open(2) said.
    pub fn open(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
        Ok(openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::IN_ROOT)?.into())
    }

    /// Where a socket of the machine can be connected to from outside. Not for paths through symlinks.
    #[must_use]
    pub fn outside(&self, path: &str) -> std::path::PathBuf {
        format!("/proc/{}/root{path}", self.init).into()
    }
}
