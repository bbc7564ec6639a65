//! What can go wrong in the tool, and the exit code of each.

use std::process::ExitCode;

use crate::accounts::AccountsError;
use crate::client::ClientError;
use crate::directory::DirectoryError;

/// The exit codes of `identityctl`, documented in its manual page. 2 is a wrong command line (clap).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Refused, failed, or not healthy.
    Failed = 1,
    /// No such login, group, membership or key.
    NotFound = 3,
    /// The daemon or the directory does not answer.
    Unavailable = 4,
    /// An import has lines that it does not take; the others are fine.
    Rejected = 5,
    /// `wait`: the time is over and a host has not got there.
    TimedOut = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed. The text says what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A rule forbids it.
    #[error("{0}")]
    Refused(String),
    /// The daemon did not do as asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The directory did not do it.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The directory cannot be used.
    #[error("{0}")]
    Unavailable(String),
    /// A file or the terminal could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl CliError {
    /// An I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unavailable(_) => Exit::Unavailable,
            Self::Client(error)
                if error.is_away()
                    || matches!(error, ClientError::Unknown | ClientError::Busy | ClientError::Crowded { .. }) =>
            {
                Exit::Unavailable
            }
            Self::Accounts(AccountsError::NotFound { .. }) => Exit::NotFound,
            Self::Accounts(AccountsError::Directory(
                DirectoryError::Unavailable { .. }
                | DirectoryError::Damaged { .. }
                | DirectoryError::Crowded { .. }
                | DirectoryError::Outdated { .. }
                | DirectoryError::Turned { .. },
            )) => Exit::Unavailable,
            Self::Accounts(_) | Self::Client(_) | Self::Refused(_) | Self::Io { .. } => Exit::Failed,
        }
    }

    /// Whether the reader of the output has gone, as in `identityctl … | head`.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
