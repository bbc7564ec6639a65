//! Export back to passwd(5), shadow(5) and group(5).

use schema::record::Generation;
use zeroize::Zeroizing;

use super::{Accounts, AccountsError};
use crate::directory::Quarantined;

/// The three files, of one generation, ordered by id. Write `shadow` with mode 0600 (or 0640 root:shadow).
pub struct Export {
    /// passwd(5)
    pub passwd: Vec<u8>,
    /// shadow(5); cleared when dropped.
    pub shadow: Zeroizing<Vec<u8>>,
    /// group(5); groups whose members a rule derives are left out.
    pub group: Vec<u8>,
    /// Entries that break the rules and are left out.
    pub left_out: Vec<Quarantined>,
    /// Of which generation it is.
    pub generation: Generation,
}

impl Accounts {
    /// The directory as account files.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn export(&self) -> Result<Export, AccountsError> {
        Err(AccountsError::Invalid("export is not there yet".into()))
    }
}
