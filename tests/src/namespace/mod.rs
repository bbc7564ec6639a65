//! The name spaces of a test machine: [`boot`] makes them, [`enter`] runs a program inside. Used by the program `mosh-init`.
//!
//! Two programs instead of calls, because name spaces belong to a thread and the test process has many, and because the first process of a
//! pid name space takes all others with it when it dies, however the test ended.

pub mod boot;
pub mod enter;

use std::path::PathBuf;

/// What cannot be done, to what, why.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A system call on a name space or a mount was refused.
    #[error("cannot {what}: {why}")]
    Refused {
        /// The step.
        what: String,
        /// What the kernel said.
        why: std::io::Error,
    },
    /// The command line of `mosh-init` is wrong.
    #[error("usage: mosh-init boot SCRATCH UPPER NAME SHARED LOWER… | mosh-init enter PID PROGRAM ARGUMENT…")]
    Usage,
}

/// Where a machine has the folder that it shares with others.
pub const SHARED: &str = "/srv/shared";

/// What a machine is laid over.
#[derive(Debug, Clone)]
pub struct Layers {
    /// An empty directory, to mount on.
    pub scratch: PathBuf,
    /// Where what is written goes, to be a layer of others; empty: into memory.
    pub upper: PathBuf,
    /// The host name.
    pub name: String,
    /// A folder outside that several machines have at [`SHARED`]; empty: none.
    pub shared: PathBuf,
    /// The read-only trees, the topmost first.
    pub lower: Vec<PathBuf>,
}

pub(crate) trait Step<T> {
    /// Names the step that failed.
    fn step(self, what: impl Into<String>) -> Result<T, NamespaceError>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: impl Into<String>) -> Result<T, NamespaceError> {
        self.map_err(|why| NamespaceError::Refused { what: what.into(), why: why.into() })
    }
}
