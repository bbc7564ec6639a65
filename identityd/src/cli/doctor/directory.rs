//! Is the directory whole? SQLite reads all of its file; of LDAP everything is read and held together, which nothing there does by itself. Of MariaDB and MySQL each
//! server is asked for its part, as identityd asks.

use super::Finding;
use crate::accounts::Accounts;
use crate::cli::CliError;
use crate::cli::session::{chosen, with_accounts};
use crate::config::{DirectoryConfig, LdapConfig, MysqlConfig};
use crate::directory::DirectoryError;
use crate::directory::mysql::MysqlDirectory;

const CHECK: &str = "directory";

/// As root; others may not read it.
pub(super) fn check() -> Finding {
    let config = match chosen() {
        Ok(config) => config,
        Err(error) => return judge(&DirectoryConfig::default(), Err(error)),
    };
    match &config {
        DirectoryConfig::Mysql(config) => servers(config),
        DirectoryConfig::Ldap(ldap) if !has_administrator(ldap) => {
            let what = format!("{}: not looked at, this host has no administrator's password", ldap.location());
            Finding::unknown(CHECK, what, "run identityctl doctor on a host from which administrators write")
        }
        _ => judge(&config, with_accounts(async |accounts: &Accounts| Ok(accounts.store().check().await?))),
    }
}

/// Whether administrators write on this host: else there is no password for them, and there need not be one.
fn has_administrator(config: &LdapConfig) -> bool {
    if config.admin_dn.is_empty() {
        return config.servers.iter().any(|server| server.starts_with("ldapi:"));
    }
    !matches!(config.admin_password_file.try_exists(), Ok(false))
}

/// With identityd's own account, which every host has.
fn servers(config: &MysqlConfig) -> Finding {
    if !rustix::process::geteuid().is_root() {
        return Finding::unknown(CHECK, "the password files are for root", "run identityctl doctor as root");
    }
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
        runtime.block_on(async {
            let directory = MysqlDirectory::open(config.clone())?;
            let asked = directory.parts().await;
            directory.close().await;
            Ok::<_, DirectoryError>(asked)
        })
    });
    match asked {
        Ok(Ok((wrong, silent))) => judge_servers(&config.location(), config.servers.len(), wrong, &silent),
        Ok(Err(error)) => Finding::error(CHECK, error.to_string(), "see docs/mysql.md, Setting up"),
        Err(error) => Finding::unknown(CHECK, error.to_string(), "run identityctl doctor again"),
    }
}

fn judge_servers(place: &str, servers: usize, wrong: Option<String>, silent: &[DirectoryError]) -> Finding {
    match (wrong, silent) {
        (Some(wrong), _) => {
            Finding::error(CHECK, format!("{place}: {wrong}"), "identityctl directory check says when it is mended")
        }
        (None, []) => Finding::ok(CHECK, format!("{place}: each server answers, and not more than one can be written")),
        (None, [first, ..]) if silent.len() == servers => {
            Finding::error(CHECK, first.to_string(), "mend that first: no login is known without the directory")
        }
        (None, [first, ..]) => {
            Finding::warning(CHECK, first.to_string(), "the others are asked in its place; see its log")
        }
    }
}

fn judge(config: &DirectoryConfig, broken: Result<Vec<String>, CliError>) -> Finding {
    let (place, remedy) = match config {
        DirectoryConfig::Sqlite { path, .. } => (
            path.display().to_string(),
            "stop identityd, keep a copy of the file with its -wal, and restore a backup (docs/operations.md)",
        ),
        DirectoryConfig::Mysql(config) => (config.location(), "see docs/mysql.md"),
        DirectoryConfig::Ldap(config) => (config.location(), "see docs/directory.md, Writing to LDAP"),
    };
    match broken {
        Ok(broken) if broken.is_empty() => Finding::ok(CHECK, format!("{place} is whole")),
        Ok(broken) => match config {
            DirectoryConfig::Ldap(_) => Finding::warning(CHECK, format!("{place}: {}", broken.join("; ")), remedy),
            _ => Finding::error(
                CHECK,
                format!("{place} is damaged: {}", broken.first().map_or("", String::as_str)),
                remedy,
            ),
        },
        Err(CliError::Refused(reason)) => Finding::unknown(CHECK, reason, "run identityctl doctor as root"),
        Err(error) => {
            Finding::error(CHECK, error.to_string(), "mend that first: no login is known without the directory")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn a_second_server_that_can_be_written_is_an_error_and_one_that_is_away_a_warning() {
        let away = DirectoryError::Unavailable { directory: "far".into(), reason: "connection refused".into() };
        let severity = |wrong: Option<&str>, silent: &[DirectoryError]| {
            judge_servers("identity on near, far", 2, wrong.map(Into::into), silent).severity
        };
        assert_eq!(severity(None, &[]), Severity::Ok);
        assert_eq!(severity(None, std::slice::from_ref(&away)), Severity::Warning);
        assert_eq!(severity(None, &[away.clone(), away.clone()]), Severity::Error);
        assert_eq!(severity(Some("near and far can be written"), &[]), Severity::Error);
    }

    #[test]
    fn what_is_broken_in_the_file_is_an_error_and_what_may_not_be_read_is_unknown() {
        let sqlite = DirectoryConfig::default();
        assert_eq!(judge(&sqlite, Ok(Vec::new())).severity, Severity::Ok);
        let finding = judge(&sqlite, Ok(vec!["row 7 missing from index login_gid".into()]));
        assert!(finding.severity == Severity::Error && finding.what.contains("row 7"), "{finding:?}");
        assert_eq!(judge(&sqlite, Err(CliError::Refused("for root".into()))).severity, Severity::Unknown);
        assert_eq!(judge(&sqlite, Err(CliError::Unavailable("no file".into()))).severity, Severity::Error);
    }
}
