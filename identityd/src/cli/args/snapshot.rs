//! The commands about the published snapshot.

use std::path::PathBuf;

use clap::Subcommand;

/// Commands about the published snapshot.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Show what a snapshot says about itself, or entries of it as lines of passwd(5) and group(5).
    ///
    /// Without arguments: the control page, base and delta that are current in /run/identityd/snapshot. Of a single delta file
    /// the changed entries are shown, and what is gone as lines that begin with "#".
    #[command(after_help = "\
Examples:
  identityctl snapshot print
  identityctl snapshot print passwd ana
  identityctl snapshot print /var/lib/identityd/snapshot group
  identityctl snapshot print /run/identityd/snapshot/delta.3.17 passwd")]
    Print {
        /// A directory of snapshot files, or one file. Default: /run/identityd/snapshot.
        #[arg(value_name = "FILE|DIR")]
        from: Option<String>,
        /// passwd, group, or initgroups.
        #[arg(value_name = "MAP")]
        map: Option<String>,
        /// Only this entry.
        #[arg(value_name = "NAME|ID")]
        key: Option<String>,
    },
    /// Check every byte of every file: checksums, entries, indexes both ways, strides, tombstones, deltas on their bases. Says what is wrong and where.
    ///
    /// Exits with 0 if all is well, 1 if something is damaged, 4 if there is nothing to check.
    Verify {
        /// A directory of snapshot files, or one file. Default: /run/identityd/snapshot.
        #[arg(value_name = "FILE|DIR")]
        from: Option<PathBuf>,
    },
    /// Compare two snapshots entry by entry, or a snapshot with the directory itself.
    ///
    /// Without arguments: what is published with the copy on the disk. Exits with 0 if they say the same, 1 if they differ, 4 if one cannot be read.
    Compare {
        /// A directory of snapshot files, or a base. Default: /run/identityd/snapshot.
        #[arg(value_name = "FILE|DIR")]
        one: Option<PathBuf>,
        /// The other. Default: /var/lib/identityd/snapshot.
        #[arg(value_name = "FILE|DIR")]
        other: Option<PathBuf>,
        /// Compare with what would be published of the directory now.
        #[arg(long, conflicts_with = "other")]
        directory: bool,
        /// Show so many entries; all are counted.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Let removals through that identityd holds back because so many logins or groups would vanish. Shows them and asks first.
    ///
    /// identityd takes no name away until the directory has them again, or this is said. The bound is max_removed within removed_within in the section
    /// snapshot. After a deliberate clean-up say it once, at its end: what is removed later is counted anew.
    Accept {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Copy the snapshot from the disk to /run if nothing usable is there. For early boot: names resolve before identityd runs.
    ///
    /// identityd does the same when it starts; identityd-snapshot.service does it before the network is up. Every byte is
    /// verified before it is used.
    Restore,
}
