//! The daemon. Everything is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    identityd::daemon::main(&identityd::daemon::Args::parse())
}
