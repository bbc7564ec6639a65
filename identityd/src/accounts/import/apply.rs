//! Writing a plan.

use super::{Plan, Summary};
use crate::accounts::{Accounts, AccountsError, Done};

impl Accounts {
    /// Writes a plan, all of it or nothing. `progress` is called now and then with the number of steps done, of [`Plan::steps`].
    ///
    /// # Errors
    /// The directory has changed since the plan was made, refuses an entry, or does not answer. Nothing has changed then.
    pub async fn import_apply(
        &self,
        _plan: &Plan,
        _progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Done<Summary>, AccountsError> {
        Err(AccountsError::Invalid("import is not there yet".into()))
    }
}
