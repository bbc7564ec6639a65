//! The daemon put together: start, reload, stop.

mod account;
mod args;
mod bind;
mod check;
mod harden;
mod host;
mod listen;
mod lock;
mod offline;
pub(crate) mod open;
mod own;
mod pam;
mod password;
mod published;
mod pulse;
mod report;
mod run;
mod session;
mod sweep;
mod trimmed;
mod watchdog;
mod why;

pub use args::Args;
pub use host::{Host, HostParts, ServedLogin};

use std::process::ExitCode;

/// Everything that `identityd` does, from its arguments to its exit code: 0 done, 1 failed, 2 wrong usage (by clap).
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    let result = if args.check { check::print(&args.config) } else { run::run(args) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // The log may not be there yet; whoever started us reads this.
            eprintln!("identityd: {reason}");
            ExitCode::FAILURE
        }
    }
}
