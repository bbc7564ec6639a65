//! The commands about this server's own accounts.

use clap::{Args, Subcommand};

use crate::config::Span;

/// Commands about this server's own accounts.
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Move accounts out of /etc/passwd, shadow, group and gshadow that are the same in the directory. Shows the plan; changes nothing without --apply.
    ///
    /// An account moves if name, uid, primary group and home are the same in the directory; a group, if name and gid are, and if all its members are in the directory's group. The plan says of each other one why it stays, and warns of what else names
    /// those that move: local groups, sudoers, cron, sshd, subordinate ids. Accounts of the system are never touched.
    ///
    /// With --apply the files as they were are kept below /var/lib/identityd-setup/accounts. What getent(1) does not find as it was is put back.
    #[command(after_help = "\
Examples:
  identityctl local release
  identityctl local release ana ben --apply
  identityctl local release --keep admin --apply")]
    Release(ReleaseArgs),
    /// Put accounts back into /etc/passwd, shadow, group and gshadow, as they were before `local release`. Shows the plan; changes nothing without --apply.
    ///
    /// Needs neither identityd nor the directory. Nothing is put back if the files have something else under one of the names or ids.
    Restore(RestoreArgs),
}

/// What to move.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Only these accounts, with their primary groups. Default: all accounts and groups that can move.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// This account stays in the files, if each run says so: leave one administrator, with a way to be root, for the day on which nothing else answers. May be given several times.
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    pub keep: Vec<String>,
    /// Do it.
    #[arg(long)]
    pub apply: bool,
    /// How long the directory's accounts may take to be seen by every program, before all is put back.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: Span,
}

/// What to put back.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Only these accounts and groups. Default: all that were moved and not put back yet.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Do it.
    #[arg(long)]
    pub apply: bool,
}
