//! `identityctl directory copy`: one whole directory into a new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::ProgressBar;
use serde_json::json;

use super::args::CopyArgs;
use super::output::{Output, printable};
use super::session::{for_administrators, for_root_alone};
use super::transfer::{count, progress};
use super::{CliError, Exit};
use crate::accounts::AccountsError;
use crate::accounts::copy::{Copied, CopyOptions, copy};
use crate::accounts::store::Store;
use crate::config::{DirectoryConfig, Loaded};
use crate::directory::ldap::LdapDirectory;
use crate::directory::mysql::MysqlDirectory;
use crate::directory::sqlite::{AsOwner, SqliteDirectory};

/// Differences that a report names; the rest is counted.
const NAMED: usize = 50;

/// Connections to a server in LDAP: one writes, one reads a list, one asks.
const AHEAD: usize = 4;

pub(super) fn run(output: &Output, args: &CopyArgs) -> Result<Exit, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CliError::Refused("a whole directory has all hashes: run it as root (sudo identityctl …)".into()));
    }
    let (from, to) = (which(&args.from)?, which(&args.to)?);
    if from == to {
        return Err(CliError::Refused("--from and --to are the same directory".into()));
    }
    let bar = progress("reading the directory");
    let options = CopyOptions { drop_foreign_passwords: args.drop_foreign_passwords };
    let copied = copy_all(&from, &to, options, &bar)?;
    bar.finish_and_clear();
    report(output, &copied)
}

/// `sqlite:FILE`, or a configuration with a [directory].
fn which(text: &str) -> Result<DirectoryConfig, CliError> {
    if let Some(path) = text.strip_prefix("sqlite:") {
        let DirectoryConfig::Sqlite { poll, timeout, .. } = DirectoryConfig::default() else {
            return Err(CliError::Refused("there is no embedded directory".into()));
        };
        return Ok(DirectoryConfig::Sqlite { path: PathBuf::from(path), poll, timeout });
    }
    let loaded = Loaded::from_file(Path::new(text)).map_err(|error| CliError::Refused(error.to_string()))?;
    Ok(loaded.config.directory)
}

fn copy_all(
    from: &DirectoryConfig,
    to: &DirectoryConfig,
    options: CopyOptions,
    bar: &ProgressBar,
) -> Result<Copied, CliError> {
    // Declared first, so dropped last: root's ids come back when the run-time and its threads are gone.
    let mut owner = None;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("start the run-time of the directory"))?;
    runtime.block_on(async {
        // Passwords are read as root, before the ids of an embedded directory's owner are taken.
        let mut stores: [Option<Arc<dyn Store>>; 2] = [server(from).await?, server(to).await?];
        for (at, config) in [from, to].into_iter().enumerate() {
            if let DirectoryConfig::Sqlite { path, .. } = config {
                if owner.is_none() {
                    owner = Some(AsOwner::of(path).map_err(|error| CliError::Unavailable(error.to_string()))?);
                }
                let opened =
                    if at == 0 { SqliteDirectory::open(path).await } else { SqliteDirectory::create(path).await };
                stores[at] = Some(opened.map_err(AccountsError::from)?.into());
            }
        }
        let [Some(from), Some(to)] = stores else {
            return Err(CliError::Refused("this kind of directory cannot be copied yet".into()));
        };
        let copied = copy(&*from, &*to, options, &mut |what, done, steps| {
            if steps > 0 && bar.length() != Some(steps) {
                count(bar, what, steps);
            }
            bar.set_message(what);
            bar.set_position(done);
        })
        .await;
        from.close().await;
        to.close().await;
        Ok(copied?)
    })
}

async fn server(config: &DirectoryConfig) -> Result<Option<Arc<dyn Store>>, CliError> {
    match config {
        DirectoryConfig::Mysql(config) => {
            for_root_alone("directory.admin_password_file", &config.admin_password_file)?;
            let opened = MysqlDirectory::open_as_admin((**config).clone()).map_err(AccountsError::from)?;
            Ok(Some(opened.into()))
        }
        DirectoryConfig::Ldap(config) => {
            for_administrators(config)?;
            let directory = LdapDirectory::open_as_admin((**config).clone()).map_err(AccountsError::from)?;
            // The local socket says who connects, and that must be root.
            directory.connect_ahead(AHEAD).await.map_err(AccountsError::from)?;
            Ok(Some(directory.into()))
        }
        DirectoryConfig::Sqlite { .. } => Ok(None),
    }
}

fn report(output: &Output, copied: &Copied) -> Result<Exit, CliError> {
    for difference in copied.differences.iter().take(NAMED) {
        eprintln!("identityctl: not the same: {}", printable(difference));
    }
    for left_out in &copied.left_out {
        eprintln!("identityctl: left out: {}", printable(left_out));
    }
    let same = copied.differences.is_empty();
    output.show(&json!({ "copied": copied, "same": same }), |_| {
        let Copied { logins, groups, memberships, keys, retired, .. } = copied;
        let verdict = if same {
            "Read back and compared: the same.".to_owned()
        } else {
            format!("NOT the same: {} differences; do not use the copy.", copied.differences.len())
        };
        format!("Copied {logins} logins, {groups} groups, {memberships} memberships, {keys} keys, {retired} retired ids.\n{verdict}\n")
    })?;
    Ok(if same { Exit::Ok } else { Exit::Failed })
}
