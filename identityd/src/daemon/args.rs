//! The arguments of `identityd`.

use std::path::PathBuf;

/// Answers libc and PAM on this server: who has an account, and what it may do.
///
/// Runs in the foreground as the user identityd, started by systemd or by an init script through setpriv(1).
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "identityd", version, max_term_width = 100)]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "PATH", default_value = schema::paths::CONFIG)]
    pub config: PathBuf,
    /// Check the configuration, print what it means, and end.
    #[arg(long)]
    pub check: bool,
}
