//! Work on the directory itself, as its owner; then the daemon is told to look.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schema::record::Generation;
use schema::wire::message::{Reply, Request};
use serde::Serialize;
use serde_json::json;

use super::output::{Output, printable};
use super::{CliError, Exit};
use crate::accounts::store::Store;
use crate::accounts::{Accounts, AccountsError, Done};
use crate::client::Client;
use crate::config::{Config, ConfigError, DirectoryConfig, LdapConfig, Loaded};
use crate::directory::ldap::LdapDirectory;
use crate::directory::mysql::MysqlDirectory;
use crate::directory::sqlite::{AsOwner, SqliteDirectory};
use crate::directory::{Directory, DirectoryError};

/// How long to wait until the daemon has seen a change. It notices by itself as well.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);

/// Opens the directory that the configuration names, works, closes it. While it works on an embedded directory the process has the ids of the
/// directory's owner: read and write other files before or after.
pub(super) fn with_accounts<T>(work: impl AsyncFnOnce(&Accounts) -> Result<T, AccountsError>) -> Result<T, CliError> {
    match chosen()? {
        DirectoryConfig::Sqlite { path, .. } => {
            with_file(&path, async || Ok(SqliteDirectory::open(&path).await?.into()), work)
        }
        DirectoryConfig::Mysql(config) => {
            for_root_alone("directory.admin_password_file", &config.admin_password_file)?;
            with_store(async || Ok(MysqlDirectory::open_as_admin(*config)?.into()), work)
        }
        DirectoryConfig::Ldap(config) => {
            for_administrators(&config)?;
            with_store(async || Ok(LdapDirectory::open_as_admin(*config)?.into()), work)
        }
    }
}

/// Opens the directory as identityd does, to read only, with the ids of the state directory's owner meanwhile: where nobody administers there are only the passwords with
/// which identityd asks.
pub(super) fn with_directory<T>(work: impl AsyncFnOnce(&dyn Directory) -> Result<T, CliError>) -> Result<T, CliError> {
    let config = configured()?;
    let _owner = AsOwner::of(Path::new(schema::paths::DIRECTORY_DB))
        .map_err(|error| CliError::Unavailable(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("start the run-time of the directory"))?;
    runtime.block_on(async {
        let directory = crate::daemon::open::directory(&config.directory)().await.map_err(AccountsError::from)?;
        work(&*directory).await
    })
}

/// The configuration of this server's identityd.
pub(super) fn configured() -> Result<Config, CliError> {
    let loaded =
        Loaded::from_file(Path::new(schema::paths::CONFIG)).map_err(|error| CliError::Refused(error.to_string()))?;
    Ok(loaded.config)
}

/// Whoever writes to LDAP has a password that only root may read, or is root.
pub(super) fn for_administrators(config: &LdapConfig) -> Result<(), CliError> {
    if config.admin_dn.is_empty() {
        if !rustix::process::geteuid().is_root() {
            return Err(CliError::Refused("the directory is for root; run it as root (sudo identityctl …)".into()));
        }
    } else {
        for_root_alone("directory.admin_password_file", &config.admin_password_file)?;
    }
    Ok(())
}

/// Where the directory is, and what `init` has to do with it.
pub(super) enum Created {
    /// The embedded one is there, new or as it was.
    Embedded(PathBuf, Generation),
    /// On a server, where nothing is made from here; how it is made there.
    Elsewhere(String, &'static str),
}

/// Creates the embedded directory if it is missing. Every host of a fleet is set up so, also those whose directory is on a server: that is no error.
pub(super) fn create() -> Result<Created, CliError> {
    let chosen = chosen()?;
    let path = match &chosen {
        DirectoryConfig::Sqlite { path, .. } => path.clone(),
        DirectoryConfig::Mysql(config) if config.queries.is_some() => {
            return Ok(Created::Elsewhere(chosen.location(), "its tables are somebody else's (docs/mysql.md)"));
        }
        DirectoryConfig::Mysql(_) => {
            return Ok(Created::Elsewhere(
                chosen.location(),
                "its tables are made once, with `identityctl schema apply` (docs/mysql.md)",
            ));
        }
        DirectoryConfig::Ldap(_) => {
            return Ok(Created::Elsewhere(
                chosen.location(),
                "its first entries are loaded once, from /usr/share/identityd/ldap/tree.ldif (README.md there)",
            ));
        }
    };
    let generation = with_file(
        &path,
        async || Ok(SqliteDirectory::create(&path).await?.into()),
        async |accounts: &Accounts| Ok(accounts.directory().generation().await?),
    )?;
    Ok(Created::Embedded(path, generation))
}

/// The directory of the configuration. Without a file it is the embedded one, as identityd's package brings it.
pub(super) fn chosen() -> Result<DirectoryConfig, CliError> {
    let path = Path::new(schema::paths::CONFIG);
    match path.try_exists() {
        Ok(false) => Ok(DirectoryConfig::default()),
        // Others may not even look into the folder; what they may do with the embedded directory is said further on.
        Err(_) if !rustix::process::geteuid().is_root() => Ok(DirectoryConfig::default()),
        _ => match Loaded::from_file(path) {
            Ok(loaded) => Ok(loaded.config.directory),
            Err(ConfigError::Read { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Ok(DirectoryConfig::default())
            }
            Err(error) => Err(CliError::Refused(error.to_string())),
        },
    }
}

/// What opens the whole directory is for root alone.
pub(super) fn for_root_alone(key: &str, path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).map_err(|error| {
        CliError::Refused(format!(
            "cannot read {} ({key}): {error}; run as root, and make it with: install -o root -g root -m 0600 /dev/stdin {}",
            path.display(),
            path.display()
        ))
    })?;
    if found.uid() != 0 || found.mode() & 0o077 != 0 {
        return Err(CliError::Refused(format!(
            "{} ({key}) may be read by others than root (uid {}, mode {:04o}): change that password, then run: chown root:root {} && chmod 600 {}",
            path.display(),
            found.uid(),
            found.mode() & 0o7777,
            path.display(),
            path.display()
        )));
    }
    Ok(())
}

fn with_file<T>(
    path: &Path,
    open: impl AsyncFnOnce() -> Result<Arc<dyn Store>, DirectoryError>,
    work: impl AsyncFnOnce(&Accounts) -> Result<T, AccountsError>,
) -> Result<T, CliError> {
    may_write(path)?;
    // Declared first, so dropped last: root's ids come back when the run-time and its threads are gone.
    let _owner = AsOwner::of(path).map_err(|error| CliError::Unavailable(error.to_string()))?;
    with_store(open, work)
}

fn with_store<T>(
    open: impl AsyncFnOnce() -> Result<Arc<dyn Store>, DirectoryError>,
    work: impl AsyncFnOnce(&Accounts) -> Result<T, AccountsError>,
) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("start the run-time of the directory"))?;
    runtime.block_on(async {
        let accounts = Accounts::new(open().await.map_err(AccountsError::from)?);
        let result = work(&accounts).await;
        accounts.store().close().await;
        Ok(result?)
    })
}

/// Says "as root" in place of "permission denied".
fn may_write(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    let owner = path.parent().and_then(|folder| std::fs::metadata(folder).ok()).map(|found| found.uid());
    match owner {
        Some(owner) if me != 0 && me != owner => {
            Err(CliError::Refused(format!("{} is for root; run it as root (sudo identityctl …)", path.display())))
        }
        _ => Ok(()),
    }
}

/// Tells what was done, and the daemon to look. A daemon that is not there is no error: it will see the change when it starts.
pub(super) fn finish<T: Serialize>(
    output: &Output,
    done: &Done<T>,
    text: impl FnOnce(&T) -> String,
) -> Result<Exit, CliError> {
    for warning in &done.warnings {
        eprintln!("identityctl: warning: {}", printable(&warning.to_string()));
    }
    let visible = refresh(done.generation);
    let report = json!({
        "result": done.value, "changed": done.changed, "generation": done.generation, "warnings": done.warnings, "visible": visible,
    });
    output
        .show(&report, |_| if done.changed { text(&done.value) + "\n" } else { "Nothing to change.\n".to_owned() })?;
    Ok(Exit::Ok)
}

/// Whether the daemon has seen the generation.
fn refresh(generation: Generation) -> bool {
    let reason = match Client::new().within(REFRESH_LIMIT).ask(&Request::Refresh { generation }) {
        Ok(Reply::Done) => return true,
        Ok(Reply::Failed(reason)) => reason,
        Ok(_) => "an unexpected reply".into(),
        Err(error) => error.to_string(),
    };
    eprintln!(
        "identityctl: note: the change is stored, but this host's identityd has not confirmed it: {}",
        printable(&reason)
    );
    false
}
