//! Is the directory's file whole? SQLite reads all of it.

use schema::paths::DIRECTORY_DB;

use super::Finding;
use crate::accounts::Accounts;
use crate::cli::CliError;
use crate::cli::session::with_accounts;

const CHECK: &str = "directory";

const RESTORE: &str =
    "stop identityd, keep a copy of the file with its -wal, and restore a backup (docs/operations.md)";

/// As root; others may not read it.
pub(super) fn check() -> Finding {
    judge(with_accounts(async |accounts: &Accounts| Ok(accounts.store().check().await?)))
}

fn judge(broken: Result<Vec<String>, CliError>) -> Finding {
    match broken {
        Ok(broken) => match broken.as_slice() {
            [] => Finding::ok(CHECK, format!("{DIRECTORY_DB} is whole")),
            [first, ..] => Finding::error(CHECK, format!("{DIRECTORY_DB} is damaged: {first}"), RESTORE),
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
        assert_eq!(judge(Ok(Vec::new())).severity, Severity::Ok);
        let finding = judge(Ok(vec!["row 7 missing from index login_gid".into()]));
        assert!(finding.severity == Severity::Error && finding.what.contains("row 7"), "{finding:?}");
        assert_eq!(judge(Err(CliError::Refused("for root".into()))).severity, Severity::Unknown);
        assert_eq!(judge(Err(CliError::Unavailable("no file".into()))).severity, Severity::Error);
    }
}
