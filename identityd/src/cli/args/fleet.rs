//! The commands about the fleet.

use clap::{Args, Subcommand};

use crate::config::Span;
use crate::directory::fleet::HostName;

/// What to wait for.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The generation that a change printed; `-`: read it from standard input, alone or in the JSON of a change. Without this: all that is committed now.
    #[arg(long, short, value_name = "NUMBER")]
    pub generation: Option<String>,
    /// Wait for every host that has reported lately. With several LDAP servers each of them has to answer: hosts may report to one alone.
    #[arg(long, conflicts_with = "hosts")]
    pub all: bool,
    /// Wait for these hosts, separated by commas, whether they have reported lately or not.
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    pub hosts: Vec<HostName>,
    /// How long at most.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: Span,
    /// With --all: a host that has not reported for so long is not waited for.
    #[arg(long, value_name = "TIME", default_value = "10m", conflicts_with = "registered")]
    pub within: Span,
    /// With --all: wait also for the hosts that have not reported lately, until they are forgotten.
    #[arg(long)]
    pub registered: bool,
}

/// About the list of hosts.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FleetArgs {
    /// Without one: show the list.
    #[command(subcommand)]
    pub command: Option<FleetCommand>,
}

/// What to do with the list.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Take a decommissioned host off the list. One that still runs reports again.
    Forget {
        /// Its name.
        host: String,
    },
}
