//! The administrators' tool `identityctl`.
//!
//! Accounts are changed in the directory itself, as its owner; the daemon is then told to look. Questions about this host go to the
//! daemon over its socket. The page for people is `docs/identityctl.md`.

pub mod args;
mod doctor;
mod error;
mod generate;
mod output;
mod questions;
mod status;
mod why;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};
pub use self::error::{CliError, Exit};
use self::output::Output;

/// Runs the tool with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match run(cli.command, &output) {
        Ok(exit) => exit.into(),
        Err(error) if error.is_broken_pipe() => Exit::Ok.into(),
        Err(error) => {
            eprintln!("identityctl: {error}");
            error.exit().into()
        }
    }
}

fn run(command: Command, output: &Output) -> Result<Exit, CliError> {
    match command {
        Command::Status => status::run(output),
        Command::Metrics => questions::metrics(output),
        Command::Reload => questions::reload(output),
        Command::SshKeys { login } => questions::ssh_keys(output, &login),
        Command::Why { login, service } => why::run(output, &login, service),
        Command::Doctor => doctor::run(output),
        Command::Completion { shell } => generate::completion(output, shell),
        Command::Generate { what } => generate::run(&what),
    }
}
