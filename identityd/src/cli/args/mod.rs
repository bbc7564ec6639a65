//! The command line: what can be said, in clap's words. The manual pages and the completions are made from it.

mod accounts;
mod fleet;
mod local;
mod snapshot;
mod tables;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use accounts::{
    ExportArgs, GroupCommand, ImportArgs, KeyCommand, LoginAdd, LoginCommand, LoginSet, MembershipCommand,
    PasswordSource,
};
pub use fleet::{FleetArgs, FleetCommand, WaitArgs};
pub use local::{LocalCommand, ReleaseArgs, RestoreArgs};
pub use snapshot::SnapshotCommand;
pub use tables::{CopyArgs, DirectoryCommand, SchemaArgs, SchemaCommand, SchemaKind};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, failed, not healthy, damaged, or different
  2  wrong command line
  3  no such login, group, membership or key
  4  identityd or the directory does not answer
  5  import: some lines are not taken
  6  wait: the time is over and a host has not got there";

/// Administers the logins of the directory, and asks this host's identityd.
#[derive(Debug, Parser)]
#[command(name = "identityctl", version, after_help = EXIT_CODES, max_term_width = 100, propagate_version = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the empty embedded directory on this host. Does nothing if it is there, or if the directory is on a server.
    Init,
    /// Memberships: the organisations that pay and own.
    #[command(subcommand)]
    Membership(MembershipCommand),
    /// Logins.
    #[command(subcommand)]
    Login(LoginCommand),
    /// Groups.
    #[command(subcommand)]
    Group(GroupCommand),
    /// The ssh keys of logins.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Take over logins and groups from passwd, shadow and group files. Shows the plan; changes nothing without --apply.
    ///
    /// In SQL it is one transaction: all or nothing. Into LDAP what was written stays when it is interrupted, and the same command goes on from there. What is in the directory already stays as it is there, so a second run changes nothing.
    /// Exits with 5 if some lines are not taken.
    Import(ImportArgs),
    /// This server's own accounts: move those over to the directory that are the same there, and back.
    #[command(subcommand)]
    Local(LocalCommand),
    /// Write the directory as passwd, shadow and group files.
    Export(ExportArgs),
    /// The published snapshot: the files in which every process of this host looks names up.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Show how this host's identityd is: health, generation, cache, entries that are not served and why.
    ///
    /// Exits with 0 if it is well, 1 if it is not, 4 if it does not answer.
    Status,
    /// Print the metrics of identityd in Prometheus' text format.
    Metrics,
    /// Wait until a change is visible: on this host, on some hosts, or on every host of the fleet.
    ///
    /// Each change prints its generation; this returns when all of these hosts have published it, and names those that have not when the time is over.
    /// Exits with 0 if they have it, 6 if the time is over, 4 if identityd does not answer.
    Wait(WaitArgs),
    /// Show every host of the fleet: its generation, how far it is behind, when it reported, its version and its trouble.
    ///
    /// Exits with 0 whatever it shows, 4 if identityd or the directory does not answer.
    Fleet(FleetArgs),
    /// Check what this host needs to know the logins: nsswitch, PAM, sshd, sudoers, permissions, directory, daemon, clock. Says how to mend each finding.
    ///
    /// Exits with 1 if a finding is an error; warnings alone exit with 0.
    Doctor,
    /// Explain how an answer, or the decision about a login and a service, comes about.
    ///
    /// Root may ask about everybody, others about themselves.
    Why {
        /// The login.
        #[arg(allow_hyphen_values = true)]
        login: String,
        /// The PAM service, such as sshd.
        service: Option<String>,
    },
    /// Print the ssh keys of a login as lines of authorized_keys(5).
    ///
    /// Made for sshd: "AuthorizedKeysCommand /usr/bin/identityctl ssh-keys %u", "AuthorizedKeysCommandUser %u".
    /// A login that is not in the directory, root and every name in /etc/passwd have no keys here, which is no error.
    SshKeys {
        /// The login.
        #[arg(allow_hyphen_values = true)]
        login: String,
    },
    /// The tables of a directory on a server: make, check or print them.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// The configured directory as a whole.
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// Let identityd read its configuration and the local account files again.
    Reload,
    /// Print the completions for a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write files for packagers.
    #[command(hide = true)]
    Generate {
        /// What to write.
        #[command(subcommand)]
        what: Generate,
    },
}

/// Files that are made from the command line's own description.
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// The manual pages.
    Man {
        /// Into this directory.
        dir: PathBuf,
    },
    /// The completions, under the names that the shells look for.
    Completion {
        /// Into this directory.
        dir: PathBuf,
    },
}
