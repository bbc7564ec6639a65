//! `identityctl snapshot`: looks at the published files, with the reader that every process uses; no daemon needed.

mod accept;
mod compare;
mod entries;
mod header;
mod print;
mod progress;
mod restore;
mod stock;
#[cfg(test)]
mod tests;
mod verify;

use std::path::Path;

pub(super) use self::entries::passwd_fields;
pub(super) use self::header::heartbeat_age;
use super::args::SnapshotCommand;
use super::output::Output;
use super::{CliError, Exit};
use crate::snapshot::open::OpenError;

/// What readers map.
pub(super) const LIVE: &str = "/run/identityd/snapshot";
/// The copy on the disk.
pub(super) const KEPT: &str = schema::paths::SNAPSHOT;

pub(super) fn run(output: &Output, command: SnapshotCommand) -> Result<Exit, CliError> {
    match command {
        SnapshotCommand::Print { from, map, key } => print::run(output, from, map, key),
        SnapshotCommand::Verify { from } => verify::run(output, from.as_deref().unwrap_or(Path::new(LIVE))),
        SnapshotCommand::Compare { one, other, directory, limit } => {
            compare::run(output, one.as_deref(), other.as_deref(), directory, limit)
        }
        SnapshotCommand::Accept { yes } => accept::run(output, yes),
        SnapshotCommand::Restore => restore::run(output),
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        use std::io::ErrorKind;
        let advice = match &error {
            OpenError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "ask as root: with visibility = \"members\", and for the copy on the disk, only root and identityd may read it"
            }
            OpenError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                "see what there is: ls -l /run/identityd/snapshot; identityctl status says how identityd publishes"
            }
            OpenError::Io { .. } => "see what there is: ls -l /run/identityd/snapshot",
            OpenError::Nothing(_) => "identityd publishes when it has read the directory: identityctl status",
            OpenError::Defect { .. } => "run: identityctl snapshot verify",
        };
        Self::Unavailable(format!("{error}; {advice}"))
    }
}
