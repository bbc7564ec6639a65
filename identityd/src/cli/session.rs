//! Work on the directory itself, as its owner; then the daemon is told to look.

use std::path::Path;
use std::time::Duration;

use schema::paths::DIRECTORY_DB;
use schema::record::Generation;
use schema::wire::message::{Reply, Request};
use serde::Serialize;
use serde_json::json;

use super::output::{Output, printable};
use super::{CliError, Exit};
use crate::accounts::{Accounts, AccountsError, Done};
use crate::client::Client;
use crate::directory::sqlite::{AsOwner, SqliteDirectory};

/// How long to wait until the daemon has seen a change. It notices by itself as well.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);

/// Opens the directory, works, closes it. While it works the process has the ids of the directory's owner: read and write other files
/// before or after.
pub(super) fn with_accounts<T>(work: impl AsyncFnOnce(&Accounts) -> Result<T, AccountsError>) -> Result<T, CliError> {
    with_directory(async || SqliteDirectory::open(Path::new(DIRECTORY_DB)).await, work)
}

/// Creates the directory if it is missing.
pub(super) fn create() -> Result<Generation, CliError> {
    with_directory(
        async || SqliteDirectory::create(Path::new(DIRECTORY_DB)).await,
        async |accounts: &Accounts| Ok(accounts.directory().generation().await?),
    )
}

fn with_directory<T>(
    open: impl AsyncFnOnce() -> Result<SqliteDirectory, crate::directory::DirectoryError>,
    work: impl AsyncFnOnce(&Accounts) -> Result<T, AccountsError>,
) -> Result<T, CliError> {
    let path = Path::new(DIRECTORY_DB);
    may_write(path)?;
    // Declared first, so dropped last: root's ids come back when the run-time and its threads are gone.
    let _owner = AsOwner::of(path).map_err(|error| CliError::Unavailable(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("start the run-time of the directory"))?;
    runtime.block_on(async {
        let directory = open().await.map_err(AccountsError::from)?;
        let accounts = Accounts::new(directory);
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
