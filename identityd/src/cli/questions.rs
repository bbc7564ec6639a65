//! The short questions to the daemon: metrics, reload, ssh keys.

use std::time::Duration;

use schema::name::LoginName;
use schema::wire::message::{Reply, Request};

use super::output::Output;
use super::{CliError, Exit};
use crate::client::{Client, ClientError};

/// sshd waits for the keys while the person waits for sshd.
const KEYS_LIMIT: Duration = Duration::from_millis(900);

/// Reading the configuration and all local files may take a while on a busy host.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// What to say about a reply of the wrong kind.
pub(super) fn unexpected(reply: Reply) -> CliError {
    match reply {
        Reply::Failed(reason) => CliError::Refused(format!("identityd refused: {reason}")),
        _ => ClientError::Protocol("a reply to another kind of question").into(),
    }
}

pub(super) fn metrics(output: &Output) -> Result<Exit, CliError> {
    match Client::new().ask(&Request::Metrics)? {
        Reply::Metrics(text) => output.show(&serde_json::json!({ "prometheus": text }), |_| text.clone())?,
        other => return Err(unexpected(other)),
    }
    Ok(Exit::Ok)
}

pub(super) fn reload(output: &Output) -> Result<Exit, CliError> {
    match Client::new().within(RELOAD_LIMIT).ask(&Request::Reload)? {
        Reply::Done => output.show(&serde_json::json!({ "reloaded": true }), |_| {
            "identityd has read its configuration and the local account files.\n".to_owned()
        })?,
        other => return Err(unexpected(other)),
    }
    Ok(Exit::Ok)
}

/// Prints lines of authorized_keys(5) and nothing else: sshd reads them.
pub(super) fn ssh_keys(output: &Output, login: &str) -> Result<Exit, CliError> {
    // No login of the directory has such a name, so it has no keys; it needs no daemon to know that.
    let keys = if login.parse::<LoginName>().is_err() { Vec::new() } else { ask_keys(login)? };
    output.show(&keys, |_| keys.iter().fold(String::new(), |text, line| text + line + "\n"))?;
    Ok(Exit::Ok)
}

fn ask_keys(login: &str) -> Result<Vec<String>, CliError> {
    match Client::new().within(KEYS_LIMIT).ask(&Request::SshKeys { login: login.to_owned() })? {
        // A line break inside would be a second line, with a key or options of its own.
        Reply::SshKeys(lines) => Ok(lines.into_iter().filter(|line| !line.contains(['\n', '\r', '\0'])).collect()),
        other => Err(unexpected(other)),
    }
}
