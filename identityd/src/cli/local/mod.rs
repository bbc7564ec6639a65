//! `identityctl local`: moves this server's own accounts over to the directory, and back.
//!
//! The order in which the files change is the point of it. An account is in the directory's snapshot before its line goes (`quarantine::published_login`), and whoever reads the snapshot leaves out what is in the files. So of a
//! primary group that goes first, then of the account, there is no moment in which nobody knows it; groups that are nobody's primary group go after it, because the directory gives a local account none. Its line of shadow goes last, when
//! identityd checks its password: until then pam_unix does. An interruption leaves a prefix of that order.

mod backup;
mod files;
mod lock;
mod plan;
mod release;
mod restore;
mod swap;

use super::args::LocalCommand;
use super::output::Output;
use super::{CliError, Exit};

/// Where the files are.
const ETC: &str = "/etc";

pub(super) fn run(output: &Output, command: &LocalCommand) -> Result<Exit, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CliError::Refused("/etc/shadow is for root; run it as root (sudo identityctl …)".into()));
    }
    match command {
        LocalCommand::Release(args) => release::run(output, args),
        LocalCommand::Restore(args) => restore::run(output, args),
    }
}
