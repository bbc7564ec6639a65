//! `identityctl doctor`: checks what this host needs, and says how to mend each finding.

use super::output::Output;
use super::{CliError, Exit};

pub(super) fn run(_output: &Output) -> Result<Exit, CliError> {
    Err(CliError::Refused("doctor: not built yet".into()))
}
