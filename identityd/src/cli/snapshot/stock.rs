//! What would be published now: the directory itself, read page by page, with this server's rules applied.

use std::sync::Arc;

use schema::snapshot::changes::Owned;

use super::super::CliError;
use crate::accounts::AccountsError;
use crate::cli::session::{configured, with_directory};
use crate::directory::{Directory, DirectoryError, Entry};
use crate::local::{Local, LocalFiles};
use crate::replica::Rules;

/// Takes the entries of the directory in order: `begin` gets its generation, then come logins, then groups.
pub(super) trait Reader {
    fn begin(&mut self, generation: u64) -> Result<(), CliError>;
    fn login(&mut self, login: &Owned) -> Result<(), CliError>;
    fn logins_end(&mut self) -> Result<(), CliError>;
    fn group(&mut self, group: &Owned) -> Result<(), CliError>;
}

/// Reads everything, as identityd does when it publishes all anew. What is not served is left out, as it is there.
pub(super) fn read(reader: &mut impl Reader) -> Result<(), CliError> {
    let config = configured()?;
    let local = Local::read(&LocalFiles::default()).map_err(CliError::io("read the local accounts"))?;
    let (unknown_shell, meaning) = (config.quarantine.unknown_shell, config.directory.meaning().into());
    let rules = Rules { local: Arc::new(local), unknown_shell, meaning };
    with_directory(async |directory: &dyn Directory| {
        let failed = |error: DirectoryError| CliError::from(AccountsError::from(error));
        let mut stock = directory.stock().await.map_err(failed)?;
        reader.begin(stock.generation().0)?;
        loop {
            let page = stock.logins().await.map_err(failed)?;
            if page.is_empty() {
                break;
            }
            for stocked in page {
                let Entry::Valid(login) = &stocked.entry else { continue };
                if let Ok(login) = rules.login(login, &stocked.gids) {
                    reader.login(&login)?;
                }
            }
        }
        reader.logins_end()?;
        loop {
            let page = stock.groups().await.map_err(failed)?;
            if page.is_empty() {
                return Ok(());
            }
            for entry in page {
                let Entry::Valid(group) = &entry else { continue };
                if let Ok(group) = rules.group(group) {
                    reader.group(&group)?;
                }
            }
        }
    })
}
