//! The sections of the file, with their defaults and ranges.

use std::net::SocketAddr;
use std::path::PathBuf;

use schema::name::{GroupName, LoginName};

use super::{LdapConfig, MysqlConfig, Span};
use crate::directory::fleet::HostName;

/// A key and what is wrong with its value.
type Wrong = (&'static str, String);

/// `[directory]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum DirectoryConfig {
    /// The embedded directory.
    Sqlite {
        /// The database.
        #[serde(default = "directory_db")]
        path: PathBuf,
        /// How often to look for changes without being told.
        #[serde(default = "poll")]
        poll: Span,
        /// Longest time for one question to the directory.
        #[serde(default = "timeout")]
        timeout: Span,
    },
    /// MariaDB or MySQL.
    Mysql(Box<MysqlConfig>),
    /// LDAP.
    Ldap(Box<LdapConfig>),
}

fn directory_db() -> PathBuf {
    schema::paths::DIRECTORY_DB.into()
}

const fn poll() -> Span {
    Span::secs(2)
}

const fn timeout() -> Span {
    Span::secs(2)
}

impl Default for DirectoryConfig {
    fn default() -> Self {
        Self::Sqlite { path: directory_db(), poll: poll(), timeout: timeout() }
    }
}

impl DirectoryConfig {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        match self {
            Self::Sqlite { path, poll, timeout } => {
                if !path.is_absolute() {
                    return Err(("directory.path", format!("{} is not an absolute path", path.display())));
                }
                between("directory.poll", *poll, Span::millis(100), Span::secs(60))?;
                between("directory.timeout", *timeout, Span::millis(50), Span::secs(30))
            }
            Self::Mysql(mysql) => mysql.check(),
            Self::Ldap(ldap) => ldap.check(),
        }
    }

    /// `sqlite`, `mysql` or `ldap`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Mysql(_) => "mysql",
            Self::Ldap(_) => "ldap",
        }
    }

    /// Where it is, for people: a path, a database and its servers, or the nearest server and the suffix.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Sqlite { path, .. } => path.display().to_string(),
            Self::Mysql(mysql) => mysql.location(),
            Self::Ldap(ldap) => ldap.location(),
        }
    }

    /// Everything here that decides which entries there are and what they say, and nothing else: what was published under another meaning has to be read anew.
    #[must_use]
    pub fn meaning(&self) -> String {
        match self {
            Self::Sqlite { .. } => self.kind().into(),
            Self::Mysql(mysql) => mysql.meaning(),
            Self::Ldap(ldap) => ldap.meaning(),
        }
    }

    /// The file that it is in, where it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        match self {
            Self::Sqlite { path, .. } => Some(path),
            Self::Mysql(_) => None,
            Self::Ldap(_) => None,
        }
    }

    /// How often to look for changes without being told.
    #[must_use]
    pub const fn poll(&self) -> Span {
        match self {
            Self::Sqlite { poll, .. } => *poll,
            Self::Mysql(mysql) => mysql.poll,
            Self::Ldap(ldap) => ldap.poll,
        }
    }

    /// Longest time for one question.
    #[must_use]
    pub const fn timeout(&self) -> Span {
        match self {
            Self::Sqlite { timeout, .. } => *timeout,
            Self::Mysql(mysql) => mysql.timeout,
            Self::Ldap(ldap) => ldap.timeout,
        }
    }
}

/// `[cache]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// How long an entry that exists is answered without asking again.
    pub positive: Span,
    /// How long "there is no such entry" is answered without asking again.
    pub negative: Span,
    /// How long an entry is kept for the time when the directory is away.
    pub stale: Span,
    /// Most memory for entries that exist, in MiB.
    pub capacity_mib: u64,
    /// Most names and ids remembered as absent.
    pub absent_entries: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            positive: Span::secs(600),
            negative: Span::secs(60),
            stale: Span::secs(7 * 86_400),
            capacity_mib: 128,
            absent_entries: 100_000,
        }
    }
}

impl Cache {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        between("cache.positive", self.positive, Span::secs(1), Span::secs(86_400))?;
        between("cache.negative", self.negative, Span::millis(100), Span::secs(3600))?;
        between("cache.stale", self.stale, self.positive, Span::secs(366 * 86_400))?;
        range("cache.capacity_mib", self.capacity_mib, 1, 65_536)?;
        range("cache.absent_entries", self.absent_entries, 100, 100_000_000)
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Connections at one time, of all users together.
    pub connections: u32,
    /// Of these, kept for root, so that no user can keep sshd and sudo out.
    pub reserved_for_root: u32,
    /// Connections of one user at one time.
    pub connections_per_user: u32,
    /// A request must be complete so long after its first byte.
    pub request_timeout: Span,
    /// A connection without a request is closed after this.
    pub idle_timeout: Span,
    /// A reply must be taken within this.
    pub reply_timeout: Span,
    /// Longest payload of a request in bytes.
    pub max_request: u32,
    /// Longest wait for the directory on behalf of one look-up, whatever the client says.
    pub max_wait: Span,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            connections: 1024,
            reserved_for_root: 128,
            connections_per_user: 256,
            request_timeout: Span::secs(2),
            idle_timeout: Span::secs(10),
            reply_timeout: Span::secs(5),
            max_request: schema::wire::frame::MAX_REQUEST,
            max_wait: Span::secs(5),
        }
    }
}

impl Server {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        range("server.connections", self.connections.into(), 16, 65_536)?;
        range("server.reserved_for_root", self.reserved_for_root.into(), 1, u64::from(self.connections / 2))?;
        range("server.connections_per_user", self.connections_per_user.into(), 1, self.connections.into())?;
        between("server.request_timeout", self.request_timeout, Span::millis(100), Span::secs(60))?;
        between("server.idle_timeout", self.idle_timeout, Span::millis(100), Span::secs(600))?;
        between("server.reply_timeout", self.reply_timeout, Span::millis(100), Span::secs(60))?;
        range("server.max_request", self.max_request.into(), 2048, schema::wire::frame::MAX_REQUEST.into())?;
        between("server.max_wait", self.max_wait, Span::millis(50), Span::secs(30))
    }
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Hashes computed at one time; 0: as many as there are processors.
    pub workers: u32,
    /// Verifications waiting for a worker; more are refused as busy.
    pub queue: u32,
    /// Verifications of one login waiting or under way; more are refused.
    pub queue_per_login: u32,
    /// Verifications from one remote address (of IPv6: one /64), or of one local user, waiting or under way; more are refused. Many people may be behind one address.
    pub queue_per_address: u32,
    /// A verification that has not begun after this is given up.
    pub deadline: Span,
    /// A refusal leaves after this time, or a multiple of it, whatever its reason.
    pub refusal_after: Span,
    /// So many days after it last entered this host a login may enter while the directory is away; 0: never, and nothing is kept.
    pub offline_days: u32,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            workers: 0,
            queue: 128,
            queue_per_login: 4,
            queue_per_address: 64,
            deadline: Span::secs(20),
            refusal_after: Span::millis(250),
            offline_days: 7,
        }
    }
}

impl Auth {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        range("auth.workers", self.workers.into(), 0, 256)?;
        range("auth.queue", self.queue.into(), 1, 10_000)?;
        range("auth.queue_per_login", self.queue_per_login.into(), 1, self.queue.into())?;
        // May be more than the queue: then an address may have all of it.
        range("auth.queue_per_address", self.queue_per_address.into(), 1, 10_000)?;
        between("auth.deadline", self.deadline, Span::secs(1), Span::secs(25))?;
        between("auth.refusal_after", self.refusal_after, Span::millis(0), Span::secs(5))?;
        range("auth.offline_days", self.offline_days.into(), 0, 366)
    }
}

/// `[password]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Passwords {
    /// Fewest characters of a new password.
    pub min_length: u32,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { min_length: 8 }
    }
}

impl Passwords {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        range("password.min_length", self.min_length.into(), 1, 128)
    }
}

/// `[access]`. Nothing allowed by name: everybody who is not denied may enter.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Logins that may enter.
    pub allow_logins: Vec<LoginName>,
    /// Groups whose members may enter.
    pub allow_groups: Vec<GroupName>,
    /// Logins that may not, whatever else says.
    pub deny_logins: Vec<LoginName>,
    /// Groups whose members may not, whatever else says.
    pub deny_groups: Vec<GroupName>,
}

/// `[home]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Home {
    /// Create a missing home when a session opens.
    pub create: bool,
    /// Its mode, in octal digits.
    pub mode: String,
    /// What to copy into it.
    pub skeleton: PathBuf,
    /// Only homes below this folder are created.
    pub root: PathBuf,
}

impl Default for Home {
    fn default() -> Self {
        Self { create: true, mode: "0700".into(), skeleton: "/etc/skel".into(), root: "/home".into() }
    }
}

impl Home {
    /// The mode as a number.
    #[must_use]
    pub fn mode_bits(&self) -> u32 {
        // Checked when the file was read.
        u32::from_str_radix(&self.mode, 8).unwrap_or(0o700)
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        match u32::from_str_radix(&self.mode, 8) {
            Ok(mode) if mode <= 0o755 && mode & 0o700 == 0o700 => {}
            _ => return Err(("home.mode", format!("{:?} is not a mode between \"0700\" and \"0755\"", self.mode))),
        }
        for (key, path) in [("home.skeleton", &self.skeleton), ("home.root", &self.root)] {
            if !path.is_absolute() {
                return Err((key, format!("{} is not an absolute path", path.display())));
            }
        }
        Ok(())
    }
}

/// `[nss]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nss {
    /// Who sees the hash in the shadow map.
    pub shadow_hash: ShadowHash,
    /// Whether all logins and groups are listed (`getent passwd` without a name).
    pub enumerate: bool,
}

impl Default for Nss {
    fn default() -> Self {
        Self { shadow_hash: ShadowHash::Nobody, enumerate: true }
    }
}

/// Who sees the hash of a password through NSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShadowHash {
    /// Nobody: the field shows `*`.
    Nobody,
    /// Programs of root, for services that read shadow themselves.
    Root,
}

/// `[snapshot]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// Whether there is one.
    pub mode: SnapshotMode,
    /// Who may read it.
    pub visibility: Visibility,
    /// Percent of the published logins, and of the groups, that may vanish without an administrator's word.
    pub max_removed: u32,
    /// Within this time.
    pub removed_within: Span,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::Replica,
            visibility: Visibility::Open,
            max_removed: 10,
            removed_within: Span::secs(3600),
        }
    }
}

impl Snapshot {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        range("snapshot.max_removed", self.max_removed.into(), 0, 100)?;
        between("snapshot.removed_within", self.removed_within, Span::secs(60), Span::secs(7 * 86_400))
    }
}

/// How look-ups are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotMode {
    /// From a full copy that every program maps.
    Replica,
    /// One by one from the directory, over the socket and through the cache.
    Lookup,
}

/// Who may read the published copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody, as /etc/passwd.
    Open,
    /// identityd alone; on the socket everybody may ask for a name or id, and lists show what concerns the caller.
    Members,
}

/// `[quarantine]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineRules {
    /// What becomes of a login whose shell is not in `/etc/shells` of this host.
    pub unknown_shell: UnknownShell,
}

impl Default for QuarantineRules {
    fn default() -> Self {
        Self { unknown_shell: UnknownShell::Quarantine }
    }
}

/// What becomes of a login whose shell this host does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownShell {
    /// It is not served on this host.
    Quarantine,
    /// It is served with nologin(8) as its shell.
    Nologin,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In what form.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Auto }
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What stops the service.
    Error,
    /// What needs somebody's eye.
    Warn,
    /// Decisions and changes of state.
    Info,
    /// Each step of a decision.
    Debug,
    /// Each request.
    Trace,
}

/// Where and how logs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// journald when systemd started us, else text on standard error.
    Auto,
    /// journald's native protocol.
    Journald,
    /// Text on standard error.
    Text,
    /// JSON lines on standard error.
    Json,
}

/// `[fleet]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fleet {
    /// Tell the directory which generation this host has published.
    pub report: bool,
    /// Under this name; without it, the host's own.
    pub host: Option<HostName>,
    /// So often when nothing changes.
    pub heartbeat: Span,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { report: true, host: None, heartbeat: Span::secs(30) }
    }
}

impl Fleet {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        between("fleet.heartbeat", self.heartbeat, Span::secs(1), Span::secs(600))
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// `127.0.0.1:PORT`, `[::1]:PORT` or the path of a unix socket; empty: only `identityctl metrics`.
    pub listen: String,
}

/// Where metrics are offered besides the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsListen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Metrics {
    /// The address, if there is one.
    #[must_use]
    pub fn listen(&self) -> Option<MetricsListen> {
        if self.listen.starts_with('/') {
            return Some(MetricsListen::Unix(self.listen.clone().into()));
        }
        self.listen.parse().ok().map(MetricsListen::Tcp)
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        match self.listen() {
            _ if self.listen.is_empty() => Ok(()),
            Some(MetricsListen::Unix(_)) => Ok(()),
            Some(MetricsListen::Tcp(address)) if address.ip().is_loopback() => Ok(()),
            _ => Err((
                "metrics.listen",
                format!("{:?} is neither a loopback address with a port nor an absolute path", self.listen),
            )),
        }
    }
}

pub(super) fn between(key: &'static str, value: Span, least: Span, most: Span) -> Result<(), Wrong> {
    if value < least || value > most {
        return Err((key, format!("{value} is out of range: use {least} to {most}")));
    }
    Ok(())
}

fn range(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), Wrong> {
    if value < least || value > most {
        return Err((key, format!("{value} is out of range: use {least} to {most}")));
    }
    Ok(())
}
