//! The short questions to the daemon: metrics, reload, ssh keys.

use std::path::Path;
use std::time::Duration;

use schema::id::FLOOR;
use schema::name::LoginName;
use schema::wire::message::{Reply, Request};

use super::output::Output;
use super::{CliError, Exit};
use crate::client::{Client, ClientError};

/// sshd waits for the keys while the person waits for sshd.
const KEYS_LIMIT: Duration = Duration::from_millis(900);

/// Reading the configuration and all local files may take a while on a busy host.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// The server's own accounts.
const PASSWD: &str = "/etc/passwd";

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
    let foreign = login.parse::<LoginName>().is_err();
    let keys = if foreign || is_local(login, rustix::process::geteuid().as_raw(), Path::new(PASSWD))? {
        Vec::new()
    } else {
        ask_keys(login)?
    };
    // As they are: for sshd, not for a terminal.
    match output.is_json() {
        true => output.show(&keys, |_| String::new())?,
        false => output.raw(&keys.iter().fold(String::new(), |text, line| text + line + "\n"))?,
    }
    Ok(Exit::Ok)
}

/// Whether the name is not the directory's to answer for: root, a name of /etc/passwd, or whoever runs this with a uid below the floor
/// (sshd asks as the login itself). A captured daemon would otherwise open every account of the server with a key of its own.
fn is_local(login: &str, own: u32, passwd: &Path) -> Result<bool, CliError> {
    if login == "root" || (own != 0 && own < FLOOR) {
        return Ok(true);
    }
    let text = std::fs::read(passwd).map_err(CliError::io(format!(
        "cannot read {}, so no keys are given; mend it, then log in again",
        passwd.display()
    )))?;
    // glibc skips blanks before a name (nss/nss_files/files-parse.c).
    Ok(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_start).any(|line| {
        line.strip_prefix(login.as_bytes()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b':'))
    }))
}

fn ask_keys(login: &str) -> Result<Vec<String>, CliError> {
    match Client::new().within(KEYS_LIMIT).ask(&Request::SshKeys { login: login.to_owned() })? {
        // A line break inside would be a second line, with a key or options of its own.
        Reply::SshKeys(lines) => Ok(lines.into_iter().filter(|line| !line.contains(['\n', '\r', '\0'])).collect()),
        other => Err(unexpected(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_answers_for_its_own_names() {
        let dir = tempfile::tempdir().unwrap();
        let passwd = dir.path().join("passwd");
        std::fs::write(&passwd, "root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\nbroken").unwrap();
        for (login, own, expected) in [
            ("root", 0, true),
            ("ana", 0, true),
            ("ana", 1000, true),
            ("broken", 0, true),
            ("luz", 0, false),
            ("luz", 5000, false),
            ("an", 0, false),
            ("anab", 0, false),
            // sshd runs it as the login: a name from elsewhere with a uid of the system.
            ("other", 500, true),
        ] {
            assert_eq!(is_local(login, own, &passwd).unwrap(), expected, "{login} as {own}");
        }
    }

    #[test]
    fn without_the_file_there_are_no_keys() {
        let passwd = Path::new("/nonexistent/passwd");
        assert!(is_local("root", 0, passwd).unwrap());
        assert_eq!(is_local("luz", 5000, passwd).unwrap_err().exit(), Exit::Failed);
    }
}
