//! `identityctl key …`

use std::io::Read;
use std::time::SystemTime;

use schema::date::Date;
use schema::name::LoginName;
use schema::record::SshKey;

use super::args::KeyCommand;
use super::output::Output;
use super::parse::value;
use super::session::{finish, with_accounts};
use super::{CliError, Exit};
use crate::accounts::Accounts;

/// The longest authorized_keys line that OpenSSH reads is 8 KiB (`SSH_MAX_PUBKEY_BYTES` 16384 with some room).
const MAX_FILE: u64 = 64 * 1024;

pub(super) fn run(output: &Output, command: KeyCommand) -> Result<Exit, CliError> {
    let named = |name: &str| value::<LoginName>("the login", name);
    match command {
        KeyCommand::Add { login, file } => {
            let login = named(&login)?;
            let line = read(&file)?;
            let today = Date::of(SystemTime::now());
            let done = with_accounts(async |accounts: &Accounts| accounts.key_add(&login, &line, today).await)?;
            finish(output, &done, |key| format!("Key {} ({}) added to {login}.", key.id, key.fingerprint))
        }
        KeyCommand::List { login } => {
            let login = named(&login)?;
            let keys = with_accounts(async |accounts: &Accounts| accounts.key_list(&login).await)?;
            output.show(&keys, |output| {
                let row = |key: &SshKey| {
                    let added = key.added.map_or_else(|| "-".into(), |day| day.to_string());
                    vec![key.id.to_string(), key.fingerprint.clone(), added, comment(&key.line)]
                };
                output.table(&["number", "fingerprint", "added", "comment"], keys.iter().map(row))
            })?;
            Ok(Exit::Ok)
        }
        KeyCommand::Remove { login, key } => {
            let login = named(&login)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.key_remove(&login, &key).await)?;
            finish(output, &done, |()| format!("Key {key} removed from {login}."))
        }
    }
}

/// The only line of a file that is neither empty nor a comment.
fn read(file: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let what = || CliError::io(format!("read the key from {file}"));
    if file == "-" {
        std::io::stdin().lock().take(MAX_FILE).read_to_string(&mut text).map_err(what())?;
    } else {
        std::fs::File::open(file).and_then(|open| open.take(MAX_FILE).read_to_string(&mut text)).map_err(what())?;
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line.to_owned()),
        (None, _) => Err(CliError::Refused(format!("{file} holds no key; give the .pub file"))),
        _ => Err(CliError::Refused(format!("{file} holds more than one line; add one key at a time"))),
    }
}

/// What stands behind the base64 of a line.
fn comment(line: &str) -> String {
    line.rsplit_once(" AAAA")
        .and_then(|(_, rest)| rest.split_once(' '))
        .map_or_else(|| "-".into(), |(_, text)| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_is_what_follows_the_key() {
        assert_eq!(comment("ssh-ed25519 AAAAC3Nza ana@home laptop"), "ana@home laptop");
        assert_eq!(comment("from=\"10.0.0.1\" ssh-rsa AAAAB3 x"), "x");
        assert_eq!(comment("ssh-ed25519 AAAAC3Nza"), "-");
    }

    #[test]
    fn a_key_file_holds_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.pub");
        let read_text = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(path.to_str().unwrap())
        };
        assert_eq!(read_text("# mine\n\nssh-rsa AAAA x\n").unwrap(), "ssh-rsa AAAA x");
        assert!(read_text("").is_err());
        assert!(read_text("a\nb\n").is_err());
        assert!(read("/nonexistent/key").is_err());
    }
}
