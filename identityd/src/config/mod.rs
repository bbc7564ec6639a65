//! The configuration file: every key documented (`docs/configuration.md`), unknown keys refused.

mod error;
mod ldap;
mod mysql;
mod sections;
mod services;
mod span;

pub use error::ConfigError;
pub use ldap::{
    LdapAttributes, LdapCapability, LdapCase, LdapConfig, LdapFeed, LdapMatch, LdapMembers, LdapPasswordChange,
    LdapReferrals, LdapSasl, LdapScope, LdapTemplates, LdapTls, LdapWrite,
};
pub use mysql::{Address, MysqlConfig, MysqlQueries};
pub use sections::{
    Access, Auth, Cache, DirectoryConfig, Fleet, Home, Log, LogFormat, LogLevel, Metrics, MetricsListen, Nss,
    Passwords, QuarantineRules, Server, ShadowHash, Snapshot, SnapshotMode, UnknownShell, Visibility,
};
pub use services::{Need, Services};
pub use span::Span;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Everything that `identityd.toml` says. A missing section or key has its default; the file itself must exist.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the logins are.
    pub directory: DirectoryConfig,
    /// How long answers are kept.
    pub cache: Cache,
    /// Limits of the socket.
    pub server: Server,
    /// Verification of passwords.
    pub auth: Auth,
    /// Rules for new passwords.
    pub password: Passwords,
    /// Which PAM service needs which capability.
    pub services: Services,
    /// Who may enter this host.
    pub access: Access,
    /// Homes.
    pub home: Home,
    /// What libc sees.
    pub nss: Nss,
    /// The published copy of the directory.
    pub snapshot: Snapshot,
    /// Entries that are not served.
    pub quarantine: QuarantineRules,
    /// What this host tells the directory about itself.
    pub fleet: Fleet,
    /// Logs.
    pub log: Log,
    /// Metrics.
    pub metrics: Metrics,
}

/// A configuration that was read, and from where.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file.
    pub path: PathBuf,
    /// When it was read.
    pub at: SystemTime,
}

impl Loaded {
    /// Reads and checks a file: its owner and mode, its syntax, its keys, its values.
    ///
    /// # Errors
    /// [`ConfigError`], whose text says file, line, key and remedy.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Read { path: path.into(), source };
        let mut file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        check_owner(path, meta.uid(), meta.mode())?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        Ok(Self { config: Config::parse(&text, path)?, path: path.into(), at: SystemTime::now() })
    }
}

impl Config {
    /// Reads and checks a text; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::from_toml(path, text, &error))?;
        config.check().map_err(|(key, reason)| ConfigError::Value { path: path.into(), key, reason })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        self.directory.check()?;
        self.cache.check()?;
        self.server.check()?;
        self.auth.check()?;
        self.password.check()?;
        self.home.check()?;
        self.fleet.check()?;
        self.snapshot.check()?;
        if let (DirectoryConfig::Ldap(ldap), SnapshotMode::Replica) = (&self.directory, self.snapshot.mode)
            && ldap.feed == LdapFeed::Off
        {
            let reason = "\"off\" is for servers that may not be listed: say [snapshot] mode = \"lookup\" as well";
            return Err(("directory.feed", reason.into()));
        }
        if let DirectoryConfig::Ldap(ldap) = &self.directory
            && ldap.feed == LdapFeed::Off
            && self.auth.offline_days > 0
        {
            let reason = "with [directory] feed = \"off\" no change reaches this host, so a replaced password would go on entering while the directory is \
                          away: say 0";
            return Err(("auth.offline_days", reason.into()));
        }
        self.metrics.check()
    }
}

/// Who can write the configuration decides who may log in: only root may.
fn check_owner(path: &Path, uid: u32, mode: u32) -> Result<(), ConfigError> {
    if uid != 0 {
        return Err(ConfigError::Owner { path: path.into(), uid });
    }
    if mode & 0o022 != 0 {
        return Err(ConfigError::Mode { path: path.into(), mode: mode & 0o7777 });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
