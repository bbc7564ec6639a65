//! One operation, in SQL one transaction: everything that it asks and writes is of one moment, and dropping it half-way leaves nothing. In LDAP each write stands by itself, in an order that an interruption cannot harm.

use std::ops::{Deref, DerefMut};

use super::store::Writing;
use super::{Accounts, AccountsError, Done, Warning};

/// An open write transaction; rules are added to its primitives where they belong.
pub(super) struct Work(Box<dyn Writing>);

impl Accounts {
    /// Begins: from here nobody else writes.
    pub(super) async fn begin(&self) -> Result<Work, AccountsError> {
        Ok(Work(self.store.begin().await?))
    }
}

impl Work {
    /// Commits.
    pub(super) async fn finish<T>(self, value: T, warnings: Vec<Warning>) -> Result<Done<T>, AccountsError> {
        let (generation, changed) = self.0.commit().await?;
        Ok(Done { value, generation, changed, warnings })
    }
}

impl Deref for Work {
    type Target = dyn Writing;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.0
    }
}
