//! Writing a plan: one operation of the store. In SQL that is one transaction; in LDAP what was written stays when it is interrupted, and the next plan goes on from there.

use schema::record::Membership;
use schema::text::Gecos;

use super::{Plan, Summary};
use crate::accounts::store::Bulk;
use crate::accounts::{Accounts, AccountsError, Done};
use crate::directory::DirectoryError;

impl Accounts {
    /// Writes a plan; in SQL all of it or nothing. `progress` is called now and then with the number of steps done, of [`Plan::steps`].
    ///
    /// # Errors
    /// The directory has changed since the plan was made, refuses an entry, or does not answer. Nothing has changed then.
    pub async fn import_apply(
        &self,
        plan: &Plan,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Done<Summary>, AccountsError> {
        let mut work = self.begin().await?;
        if work.before() != plan.generation {
            return Err(AccountsError::Directory(DirectoryError::Conflict));
        }
        // The generation does not count memberships: one may have come since the plan was made.
        let mut memberships = Vec::new();
        for name in &plan.memberships {
            if work.membership(name).await?.is_none() {
                memberships.push(Membership { name: name.clone(), title: Gecos::default() });
            }
        }
        let there = u64::try_from(plan.memberships.len() - memberships.len()).unwrap_or(0);
        let bulk =
            Bulk { memberships: &memberships, groups: &plan.groups, logins: &plan.logins, members: &plan.members };
        work.add_all(bulk, &mut |done| progress(done + there)).await?;
        work.finish(plan.summary.clone(), Vec::new()).await
    }
}
