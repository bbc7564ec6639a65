//! Comparing candidates with the directory.

use super::{Files, Options, Plan};
use crate::accounts::{Accounts, AccountsError};

impl Accounts {
    /// What importing these files would do. Changes nothing.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn import_plan(&self, _files: &Files, _options: &Options) -> Result<Plan, AccountsError> {
        Err(AccountsError::Invalid("import is not there yet".into()))
    }
}
