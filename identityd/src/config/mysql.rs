//! `[directory]` with `type = "mysql"`: MariaDB or MySQL, with the tables of `schema/sql/mysql/` or, through `[directory.queries]`, somebody else's.

use std::path::{Path, PathBuf};

use super::Span;
use super::sections::between;

/// The servers and how to talk to them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlConfig {
    /// The nearest first: `host`, `host:port`, `[ipv6]:port`, or the path of a unix socket.
    pub servers: Vec<String>,
    /// Which database.
    #[serde(default = "database")]
    pub database: String,
    /// Reads.
    #[serde(default = "user")]
    pub user: String,
    /// Its password.
    #[serde(default = "password_file")]
    pub password_file: PathBuf,
    /// Gets one password hash at a time, and changes one.
    #[serde(default = "authentication_user")]
    pub authentication_user: String,
    /// Its password.
    #[serde(default = "authentication_password_file")]
    pub authentication_password_file: PathBuf,
    /// What identityctl writes as.
    #[serde(default = "admin_user")]
    pub admin_user: String,
    /// Its password: for root alone.
    #[serde(default = "admin_password_file")]
    pub admin_password_file: PathBuf,
    /// Further certificates to trust, besides those of this host.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Whether TCP may go unencrypted. A unix socket always is.
    #[serde(default)]
    pub plaintext: bool,
    /// How often to look for changes.
    #[serde(default = "poll")]
    pub poll: Span,
    /// Longest time for one question.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Longest time for one server, before the next is asked.
    #[serde(default = "server_timeout")]
    pub server_timeout: Span,
    /// Without a complete feed: how often everything is read and compared.
    #[serde(default = "resync")]
    pub resync: Span,
    /// Somebody else's tables.
    #[serde(default)]
    pub queries: Option<MysqlQueries>,
}

/// Each question as SQL over existing tables. `:name` is a parameter; results are taken by the names of their columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlQueries {
    /// A login, `:name`.
    pub login_by_name: String,
    /// A login, `:uid`.
    pub login_by_uid: String,
    /// Logins with a uid above `:after`, ascending, at most `:limit`.
    pub logins_after: String,
    /// A group, `:name`.
    pub group_by_name: String,
    /// A group, `:gid`.
    pub group_by_gid: String,
    /// Groups with a gid above `:after`, ascending, at most `:limit`.
    pub groups_after: String,
    /// The gids of a login besides its primary group, `:name`.
    pub gids_of: String,
    /// The keys of a login, `:name`.
    #[serde(default)]
    pub ssh_keys: Option<String>,
    /// The hash of a login, `:name`; asked as `authentication_user`.
    pub password_hash: String,
    /// Stores a hash, `:name`, `:old`, `:new`, `:today`; as `authentication_user`, on the primary.
    #[serde(default)]
    pub set_password: Option<String>,
    /// The number of the newest change.
    #[serde(default)]
    pub generation: Option<String>,
    /// The changes above `:since`, ascending, at most `:limit`.
    #[serde(default)]
    pub changes_after: Option<String>,
    /// Instead of a change log: what was updated at `:since` or later.
    #[serde(default)]
    pub updated_since: Option<String>,
}

fn database() -> String {
    "identity".into()
}

fn user() -> String {
    "identityd".into()
}

fn password_file() -> PathBuf {
    "/etc/identityd/mysql.password".into()
}

fn authentication_user() -> String {
    "identity_authentication".into()
}

fn authentication_password_file() -> PathBuf {
    "/etc/identityd/mysql-authentication.password".into()
}

fn admin_user() -> String {
    "identity_admin".into()
}

fn admin_password_file() -> PathBuf {
    "/etc/identityd/mysql-admin.password".into()
}

const fn poll() -> Span {
    Span::millis(250)
}

const fn timeout() -> Span {
    Span::secs(3)
}

const fn server_timeout() -> Span {
    Span::millis(800)
}

const fn resync() -> Span {
    Span::secs(300)
}

impl MysqlConfig {
    /// The nearest server and the database, for people.
    #[must_use]
    pub fn location(&self) -> String {
        format!("{} on {}", self.database, self.servers.join(", "))
    }

    /// What decides which entries there are and what they say. A new key has to choose its side here.
    pub(super) fn meaning(&self) -> String {
        let Self {
            database,
            user,
            queries,
            servers: _,
            password_file: _,
            authentication_user: _,
            authentication_password_file: _,
            admin_user: _,
            admin_password_file: _,
            ca: _,
            plaintext: _,
            poll: _,
            timeout: _,
            server_timeout: _,
            resync: _,
        } = self;
        format!("mysql {database:?} {user:?} {queries:?}")
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.servers.is_empty() {
            return Err(("directory.servers", "name at least one server, the nearest first".into()));
        }
        for server in &self.servers {
            Address::parse(server).map_err(|reason| ("directory.servers", reason))?;
        }
        for (key, path) in [
            ("directory.password_file", Some(&self.password_file)),
            ("directory.authentication_password_file", Some(&self.authentication_password_file)),
            ("directory.admin_password_file", Some(&self.admin_password_file)),
            ("directory.ca", self.ca.as_ref()),
        ] {
            if path.is_some_and(|path| !path.is_absolute()) {
                return Err((key, "it is not an absolute path".into()));
            }
        }
        between("directory.poll", self.poll, Span::millis(50), Span::secs(60))?;
        between("directory.timeout", self.timeout, Span::millis(100), Span::secs(30))?;
        between("directory.server_timeout", self.server_timeout, Span::millis(50), self.timeout)?;
        between("directory.resync", self.resync, Span::secs(1), Span::secs(86_400))?;
        let Some(queries) = &self.queries else { return Ok(()) };
        match (&queries.generation, &queries.changes_after, &queries.updated_since) {
            (Some(_), Some(_), None) | (None, None, _) => Ok(()),
            _ => Err((
                "directory.queries",
                "a feed is either generation with changes_after, or updated_since, or none of the three".into(),
            )),
        }
    }
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Socket(PathBuf),
    /// A host and a port.
    Tcp(String, u16),
}

impl Address {
    /// Reads `host`, `host:port`, `[ipv6]`, `[ipv6]:port` or an absolute path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const PORT: u16 = 3306;
        let wrong = || format!("{text:?} is not a server: write host, host:port, [ipv6]:port or the path of a socket");
        if text.starts_with('/') {
            return Ok(Self::Socket(Path::new(text).into()));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                (host, rest.strip_prefix(':').map(str::to_owned).or_else(|| rest.is_empty().then(|| PORT.to_string())))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port.to_owned())),
                None => (text, Some(PORT.to_string())),
            },
        };
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port > 0).ok_or_else(wrong)?;
        if host.is_empty() || host.contains(['/', ' ', '@']) {
            return Err(wrong());
        }
        Ok(Self::Tcp(host.into(), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DirectoryConfig};

    fn parse(text: &str) -> Result<MysqlConfig, String> {
        let config = Config::parse(text, Path::new("identityd.toml")).map_err(|error| error.to_string())?;
        match config.directory {
            DirectoryConfig::Mysql(config) => Ok(*config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn servers_are_enough() {
        let config =
            parse("[directory]\ntype = \"mysql\"\nservers = [\"db1\", \"/run/mysqld/mysqld.sock\"]\n").unwrap();
        assert_eq!(config.location(), "identity on db1, /run/mysqld/mysqld.sock");
        assert_eq!((config.poll, config.plaintext), (Span::millis(250), false));
    }

    #[test]
    fn addresses_are_hosts_ports_and_sockets() {
        assert_eq!(Address::parse("db:3307"), Ok(Address::Tcp("db".into(), 3307)));
        assert_eq!(Address::parse("[::1]:3307"), Ok(Address::Tcp("::1".into(), 3307)));
        assert_eq!(Address::parse("[::1]"), Ok(Address::Tcp("::1".into(), 3306)));
        assert_eq!(Address::parse("/s"), Ok(Address::Socket("/s".into())));
        for bad in ["", ":3306", "db:x", "db:0", "[::1", "a b", "::1"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mistake_names_the_key() {
        let head = "[directory]\ntype = \"mysql\"\n";
        assert!(parse(&format!("{head}servers = []\n")).unwrap_err().contains("directory.servers"));
        assert!(parse(&format!("{head}servers = [\"a\"]\npasword = 1\n")).unwrap_err().contains("pasword"));
        assert!(parse(&format!("{head}servers = [\"a\"]\nca = \"x\"\n")).unwrap_err().contains("directory.ca"));
    }
}
