//! Manual pages and completions, from the command line's own description: they cannot drift from it.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::args::{Cli, Generate};
use super::output::Output;
use super::{CliError, Exit};

const NAME: &str = "identityctl";

/// Prints the completions for a shell.
pub(super) fn completion(output: &Output, shell: Shell) -> Result<Exit, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    output.raw(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Ok)
}

/// Writes files for packagers.
pub(super) fn run(what: &Generate) -> Result<Exit, CliError> {
    match what {
        Generate::Man { dir } => {
            std::fs::create_dir_all(dir).map_err(CliError::io(format!("create {}", dir.display())))?;
            let mut command = Cli::command();
            command.build();
            man(&command, dir)?;
        }
        Generate::Completion { dir } => {
            std::fs::create_dir_all(dir).map_err(CliError::io(format!("create {}", dir.display())))?;
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let written = clap_complete::generate_to(shell, &mut Cli::command(), NAME, dir);
                written.map_err(CliError::io(format!("write into {}", dir.display())))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// The page of a command and those of its subcommands.
fn man(command: &Command, dir: &Path) -> Result<(), CliError> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        man(subcommand, dir)?;
    }
    // No date: the same source makes the same bytes.
    let page = clap_mangen::Man::new(command.clone()).manual("Identity directory");
    page.generate_to(dir).map_err(CliError::io(format!("write into {}", dir.display())))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_manual_page_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        run(&Generate::Man { dir: dir.path().into() }).unwrap();
        for page in ["identityctl", "identityctl-status", "identityctl-ssh-keys"] {
            let path = dir.path().join(format!("{page}.1"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(text.contains(".SH NAME"), "{page}");
        }
        assert!(!dir.path().join("identityctl-generate.1").exists());
    }
}
