//! The commands about the tables of a directory on a server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// The tables.
#[derive(Debug, Subcommand)]
pub enum SchemaCommand {
    /// Make the tables, rules and users that are missing, in the order of versions. A second run changes nothing.
    Apply(SchemaArgs),
    /// Say what is missing, or other than this version has it. Exits with 1 if something is.
    Check(SchemaArgs),
    /// Print the SQL. For a server where only root of that machine may: identityctl schema show | mariadb identity
    Show {
        /// Of which kind of directory; without it, of the configured one.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<SchemaKind>,
    },
}

/// Where, and as whom.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of which kind of directory; without it, the configured one.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<SchemaKind>,
    /// The server; without it, the first server of the section directory.
    #[arg(long, value_name = "HOST[:PORT]|SOCKET")]
    pub server: Option<String>,
    /// An account with the rights that docs/mysql.md lists (Setting up); without it, admin_user of the section directory, enough to check.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The file with its password on the first line (root's, mode 0600); without it, none, or that of admin_user.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
}

/// A kind of directory with tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// The embedded one.
    Sqlite,
    /// MariaDB or MySQL.
    Mysql,
}

/// The directory as a whole.
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Check the configured directory and say what is wrong. Exits with 1 if something is.
    ///
    /// MariaDB and MySQL: asks every question of identityd once, names columns that are missing, and compares look-ups with lists on the first logins; of several servers not
    /// more than one may be written.
    /// The embedded directory: reads the whole file. LDAP: reads every entry and says what does not fit together. Both need root.
    Check,
    /// Copy a whole directory into a new, empty one, read it back and compare everything. Exits with 1 if it is not the same.
    ///
    /// Logins, hashes, capabilities, groups, members, keys, memberships, retired ids and the next id. Into SQL it is one transaction: all of it or nothing. Into LDAP what was written stays when it is
    /// interrupted, and the same command goes on from there.
    Copy(CopyArgs),
}

/// From where to where.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// sqlite:FILE, or a configuration with a section directory, such as /etc/identityd/identityd.toml.
    #[arg(long, value_name = "DIRECTORY")]
    pub from: String,
    /// The same for the new one. An embedded one is created; tables on a server are made before with `identityctl schema apply`.
    #[arg(long, value_name = "DIRECTORY")]
    pub to: String,
    /// Leave logins without a password whose password in LDAP has a form that crypt(5) cannot check, such as {SSHA}. Without this they are named and nothing is copied.
    #[arg(long)]
    pub drop_foreign_passwords: bool,
}
