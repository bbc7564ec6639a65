//! Memberships: who pays and owns. A login's membership is one column; moving it changes no uid, gid, home or path.

use schema::name::MembershipName;
use schema::record::Membership;
use schema::text::Gecos;

use super::store::Memberships;
use super::transaction::Work;
use super::{Accounts, AccountsError, Done, Thing};

/// A membership and how many logins belong to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MembershipDetails {
    /// The membership.
    #[serde(flatten)]
    pub membership: Membership,
    /// Its logins.
    pub logins: u64,
}

impl Accounts {
    /// Adds a membership.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn membership_add(&self, membership: &Membership) -> Result<Done<Membership>, AccountsError> {
        let mut work = self.begin().await?;
        work.free_membership(&membership.name).await?;
        work.add_membership(membership).await?;
        let mut done = work.finish(membership.clone(), Vec::new()).await?;
        // No entry's answer depends on a membership without logins, so the generation stays.
        done.changed = true;
        Ok(done)
    }

    /// One membership.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn membership(&self, name: &MembershipName) -> Result<MembershipDetails, AccountsError> {
        let found = self.membership_details(Memberships::Named(name), 1).await?;
        found.into_iter().next().ok_or_else(|| AccountsError::not_found(Thing::Membership, name))
    }

    /// Up to `limit` memberships with a name after `after`, by name.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn memberships(
        &self,
        after: Option<&MembershipName>,
        limit: u32,
    ) -> Result<Vec<MembershipDetails>, AccountsError> {
        self.membership_details(Memberships::After(after), limit).await
    }

    /// Changes the name or the title of a membership. Its logins stay in it.
    ///
    /// # Errors
    /// There is none of this name, or the new name is taken.
    pub async fn membership_set(
        &self,
        name: &MembershipName,
        new_name: Option<&MembershipName>,
        title: Option<&Gecos>,
    ) -> Result<Done<Membership>, AccountsError> {
        let mut work = self.begin().await?;
        let old = work.existing_membership(name).await?;
        if let Some(new) = new_name.filter(|new| *new != name) {
            work.free_membership(new).await?;
        }
        let new = Membership {
            name: new_name.unwrap_or(name).clone(),
            title: title.cloned().unwrap_or_else(|| old.title.clone()),
        };
        work.change_membership(name, &new).await?;
        let changed = new != old;
        let mut done = work.finish(new, Vec::new()).await?;
        done.changed = changed;
        Ok(done)
    }

    /// Removes a membership.
    ///
    /// # Errors
    /// There is none of this name, or logins belong to it.
    pub async fn membership_remove(&self, name: &MembershipName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        work.existing_membership(name).await?;
        let count = work.logins_of(name).await?;
        if count > 0 {
            return Err(AccountsError::InUse {
                thing: Thing::Membership,
                name: name.to_string(),
                by: format!("{count} login{} to it", if count == 1 { " belongs" } else { "s belong" }),
                remedy: "move them with `identityctl login set NAME --membership OTHER`, or remove them",
            });
        }
        work.remove_membership(name).await?;
        let mut done = work.finish((), Vec::new()).await?;
        done.changed = true;
        Ok(done)
    }

    async fn membership_details(
        &self,
        which: Memberships<'_>,
        limit: u32,
    ) -> Result<Vec<MembershipDetails>, AccountsError> {
        let found = self.store.memberships(which, limit).await?;
        Ok(found.into_iter().map(|(membership, logins)| MembershipDetails { membership, logins }).collect())
    }
}

impl Work {
    pub(super) async fn existing_membership(&mut self, name: &MembershipName) -> Result<Membership, AccountsError> {
        self.membership(name).await?.ok_or_else(|| AccountsError::not_found(Thing::Membership, name))
    }

    async fn free_membership(&mut self, name: &MembershipName) -> Result<(), AccountsError> {
        match self.membership(name).await? {
            Some(_) => Err(AccountsError::exists(Thing::Membership, name)),
            None => Ok(()),
        }
    }
}
