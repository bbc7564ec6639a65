//! The commands about accounts. Names and values are taken as text here and judged by the rules of `schema`: a name that is refused is
//! exit code 1 with the rule, not a wrong command line.

use clap::{Args, Subcommand};

/// Commands about memberships.
#[derive(Debug, Subcommand)]
pub enum MembershipCommand {
    /// Add a membership.
    Add {
        /// Its short name.
        name: String,
        /// Full name of the organisation.
        #[arg(long, default_value = "")]
        title: String,
    },
    /// Show one.
    Show {
        /// Its short name.
        name: String,
    },
    /// List all.
    List,
    /// Change one.
    Set {
        /// Its short name.
        name: String,
        /// New short name.
        #[arg(long)]
        rename: Option<String>,
        /// New full name.
        #[arg(long)]
        title: Option<String>,
    },
    /// Remove one that has no logins.
    Remove {
        /// Its short name.
        name: String,
    },
}

/// Where a password comes from; never from the command line, where every user of the host could read it.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Read the password from the first line of standard input.
    #[arg(long)]
    pub stdin: bool,
    /// Read a ready hash (crypt(5)) from the first line of standard input.
    #[arg(long)]
    pub hash_stdin: bool,
}

/// Commands about logins.
#[derive(Debug, Subcommand)]
pub enum LoginCommand {
    /// Add a login. Without --password, --stdin or --hash-stdin it has no password.
    Add(Box<LoginAdd>),
    /// Show one with its groups and keys.
    Show {
        /// The login.
        name: String,
    },
    /// List logins.
    List {
        /// Only names that match, such as "ana*".
        pattern: Option<String>,
        /// Only those of this membership.
        #[arg(long)]
        membership: Option<String>,
        /// Only those with this capability.
        #[arg(long)]
        capability: Option<String>,
        /// Only locked ones.
        #[arg(long)]
        locked: bool,
        /// The deleted ones in place of those in use.
        #[arg(long, conflicts_with_all = ["pattern", "membership", "capability", "locked"])]
        removed: bool,
    },
    /// Change a login. What is not named stays.
    Set(Box<LoginSet>),
    /// Remove a login. Its ids are never given to anybody else; no file is touched.
    Remove {
        /// The login.
        name: String,
    },
    /// Take a removed login back with its old uid: locked, without password, keys and capabilities.
    Restore {
        /// Its last name.
        name: String,
        /// Which one, if several had this name.
        #[arg(long)]
        uid: Option<u32>,
    },
    /// Lock a login: it is known and owns its files, but may not enter.
    Lock {
        /// The login.
        name: String,
    },
    /// Unlock a login.
    Unlock {
        /// The login.
        name: String,
    },
    /// Set a password: from a prompt, or from standard input.
    Passwd {
        /// The login.
        name: String,
        /// Where the password comes from.
        #[command(flatten)]
        source: PasswordSource,
        /// Take the password away: nothing matches any more.
        #[arg(long, conflicts_with_all = ["stdin", "hash_stdin"])]
        none: bool,
        /// It must be changed at the next login.
        #[arg(long)]
        must_change: bool,
    },
    /// Close a login from a day on.
    Expire {
        /// The login.
        name: String,
        /// YYYY-MM-DD, or never.
        day: String,
    },
    /// Move a login to another membership. No uid, gid, home or path changes.
    Move {
        /// The login.
        name: String,
        /// The membership, or - for none.
        #[arg(allow_hyphen_values = true)]
        membership: String,
    },
    /// Give a login another name. Its uid and home stay.
    Rename {
        /// The login.
        name: String,
        /// The new name.
        new: String,
    },
}

/// `login add`.
#[derive(Debug, Args)]
pub struct LoginAdd {
    /// Its name.
    pub name: String,
    /// A certain uid, never used before. Default: the next one.
    #[arg(long)]
    pub uid: Option<u32>,
    /// An existing primary group. Default: one of its own.
    #[arg(long)]
    pub group: Option<String>,
    /// Full name.
    #[arg(long, default_value = "")]
    pub gecos: String,
    /// Home directory. Default: /home/members/users/NAME.
    #[arg(long)]
    pub home: Option<String>,
    /// Shell. Default: /bin/bash.
    #[arg(long)]
    pub shell: Option<String>,
    /// What it may do, such as shell,sftp,mail.
    #[arg(long, value_delimiter = ',')]
    pub capabilities: Vec<String>,
    /// The membership that it belongs to.
    #[arg(long)]
    pub membership: Option<String>,
    /// Closed from this day on (YYYY-MM-DD).
    #[arg(long)]
    pub expires: Option<String>,
    /// Locked from the start.
    #[arg(long)]
    pub locked: bool,
    /// Ask for a password on the terminal.
    #[arg(long, conflicts_with_all = ["stdin", "hash_stdin"])]
    pub password: bool,
    /// Where the password comes from.
    #[command(flatten)]
    pub source: PasswordSource,
}

/// `login set`.
#[derive(Debug, Args)]
pub struct LoginSet {
    /// The login.
    pub name: String,
    /// Full name.
    #[arg(long)]
    pub gecos: Option<String>,
    /// Home directory. No file is moved.
    #[arg(long)]
    pub home: Option<String>,
    /// Shell.
    #[arg(long)]
    pub shell: Option<String>,
    /// Primary group.
    #[arg(long)]
    pub group: Option<String>,
    /// Exactly these capabilities; "" for none.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["allow", "deny"])]
    pub capabilities: Option<Vec<String>>,
    /// Add capabilities.
    #[arg(long, value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Take capabilities away.
    #[arg(long, value_delimiter = ',')]
    pub deny: Vec<String>,
    /// Days before the password may be changed again, or none.
    #[arg(long)]
    pub min_days: Option<String>,
    /// Days after which it must be changed, or none.
    #[arg(long)]
    pub max_days: Option<String>,
    /// Days of warning before, or none.
    #[arg(long)]
    pub warn_days: Option<String>,
    /// Days of grace after, or none.
    #[arg(long)]
    pub inactive_days: Option<String>,
}

/// Commands about groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Add a group.
    Add {
        /// Its name.
        name: String,
        /// A certain gid, never used before. Default: the next one.
        #[arg(long)]
        gid: Option<u32>,
    },
    /// Show one with its members.
    Show {
        /// The group.
        name: String,
    },
    /// List groups.
    List {
        /// Only names that match, such as "web*".
        pattern: Option<String>,
        /// Only those with this member.
        #[arg(long)]
        member: Option<String>,
    },
    /// Rename a group. Its gid stays.
    Set {
        /// The group.
        name: String,
        /// New name.
        #[arg(long)]
        rename: String,
    },
    /// Remove a group that is nobody's primary one. Its gid is never given to another.
    Remove {
        /// The group.
        name: String,
    },
    /// Put a login into a group.
    AddMember {
        /// The group.
        group: String,
        /// The login.
        login: String,
    },
    /// Take a login out of a group.
    RemoveMember {
        /// The group.
        group: String,
        /// The login.
        login: String,
    },
}

/// Commands about ssh keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Add a public key, read from a file or standard input.
    Add {
        /// The login.
        login: String,
        /// A file with the key, such as id_ed25519.pub; - is standard input.
        #[arg(allow_hyphen_values = true, default_value = "-")]
        file: String,
    },
    /// List the keys of a login.
    List {
        /// The login.
        login: String,
    },
    /// Remove a key.
    Remove {
        /// The login.
        login: String,
        /// Its number or fingerprint, as listed.
        key: String,
    },
}

/// `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A folder with passwd, and shadow and group if there are.
    #[arg(conflicts_with_all = ["passwd", "shadow", "group"], required_unless_present = "passwd")]
    pub folder: Option<std::path::PathBuf>,
    /// A passwd(5) file.
    #[arg(long)]
    pub passwd: Option<std::path::PathBuf>,
    /// A shadow(5) file.
    #[arg(long, requires = "passwd")]
    pub shadow: Option<std::path::PathBuf>,
    /// A group(5) file.
    #[arg(long, requires = "passwd")]
    pub group: Option<std::path::PathBuf>,
    /// Do it. Without this the plan is shown and nothing is changed.
    #[arg(long)]
    pub apply: bool,
    /// Show the plan only (the default, said aloud).
    #[arg(long, conflicts_with = "apply")]
    pub dry_run: bool,
    /// The membership of logins whose home does not name one.
    #[arg(long)]
    pub membership: Option<String>,
    /// Give logins whose primary group is a system group one of their own.
    #[arg(long)]
    pub own_groups: bool,
}

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A folder for passwd, shadow and group; it is created if it is missing.
    #[arg(required_unless_present = "passwd", conflicts_with = "passwd")]
    pub folder: Option<std::path::PathBuf>,
    /// Print passwd(5) alone: --passwd -
    #[arg(long, value_name = "-", allow_hyphen_values = true)]
    pub passwd: Option<String>,
    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
}
