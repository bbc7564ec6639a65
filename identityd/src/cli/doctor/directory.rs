//! Is the directory whole? SQLite reads all of its file; of LDAP everything is read and held together, which nothing there does by itself.

use super::Finding;
use crate::accounts::Accounts;
use crate::cli::CliError;
use crate::cli::session::{chosen, with_accounts};
use crate::config::DirectoryConfig;

const CHECK: &str = "directory";

/// As root; others may not read it.
pub(super) fn check() -> Finding {
    let config = match chosen() {
        Ok(config) => config,
        Err(error) => return judge(&DirectoryConfig::default(), Err(error)),
    };
    judge(&config, with_accounts(async |accounts: &Accounts| Ok(accounts.store().check().await?)))
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
    fn what_is_broken_in_the_file_is_an_error_and_what_may_not_be_read_is_unknown() {
        let sqlite = DirectoryConfig::default();
        assert_eq!(judge(&sqlite, Ok(Vec::new())).severity, Severity::Ok);
        let finding = judge(&sqlite, Ok(vec!["row 7 missing from index login_gid".into()]));
        assert!(finding.severity == Severity::Error && finding.what.contains("row 7"), "{finding:?}");
        assert_eq!(judge(&sqlite, Err(CliError::Refused("for root".into()))).severity, Severity::Unknown);
        assert_eq!(judge(&sqlite, Err(CliError::Unavailable("no file".into()))).severity, Severity::Error);
    }
}
