//! The administrators' tool `identityctl`.
//!
//! Accounts are changed in the directory itself, as its owner; the daemon is then told to look. Questions about this host go to the
//! daemon over its socket. The page for people is `docs/identityctl.md`.

pub mod args;
mod copy;
mod doctor;
mod error;
mod fleet;
mod generate;
mod group;
mod key;
mod local;
mod login;
mod membership;
mod mentions;
mod output;
mod parse;
mod password;
mod questions;
mod session;
mod snapshot;
mod status;
mod tables;
mod transfer;
mod wait;
mod why;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};
pub use self::error::{CliError, Exit};
use self::output::Output;
use self::session::Created;

/// Runs the tool with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match run(cli.command, &output) {
        Ok(exit) => exit.into(),
        Err(error) if error.is_broken_pipe() => Exit::Ok.into(),
        Err(error) => {
            // It may repeat what a server, the daemon or a file says.
            eprintln!("identityctl: {}", output::lines(&error.to_string()));
            error.exit().into()
        }
    }
}

fn run(command: Command, output: &Output) -> Result<Exit, CliError> {
    match command {
        Command::Init => init(output),
        Command::Membership(command) => membership::run(output, command),
        Command::Login(command) => login::run(output, command),
        Command::Group(command) => group::run(output, command),
        Command::Key(command) => key::run(output, command),
        Command::Import(args) => transfer::import(output, &args),
        Command::Local(command) => local::run(output, &command),
        Command::Export(args) => transfer::export(output, &args),
        Command::Snapshot(command) => snapshot::run(output, command),
        Command::Status => status::run(output),
        Command::Metrics => questions::metrics(output),
        Command::Reload => questions::reload(output),
        Command::SshKeys { login } => questions::ssh_keys(output, &login),
        Command::Why { login, service } => why::run(output, &login, service),
        Command::Doctor => doctor::run(output),
        Command::Wait(args) => wait::run(output, &args),
        Command::Fleet(args) => fleet::run(output, args.command),
        Command::Schema(command) => tables::run(output, command),
        Command::Directory(command) => tables::directory(output, &command),
        Command::Completion { shell } => generate::completion(output, shell),
        Command::Generate { what } => generate::run(&what),
    }
}

fn init(output: &Output) -> Result<Exit, CliError> {
    match session::create()? {
        Created::Embedded(path, generation) => {
            output.show(&serde_json::json!({"directory": path, "generation": generation}), |_| {
                format!("The directory {} is there (generation {generation}).\n", path.display())
            })?;
        }
        Created::Elsewhere(place, how) => {
            output.show(&serde_json::json!({"directory": place, "generation": null}), |_| {
                format!("The directory is {}: nothing to create on this host; {how}.\n", output::printable(&place))
            })?;
        }
    }
    Ok(Exit::Ok)
}
