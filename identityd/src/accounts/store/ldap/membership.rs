//! Memberships: an entry each; a login names its own.

use schema::name::MembershipName;
use schema::record::Membership;

use super::super::Stored;
use super::work::LdapWork;
use super::{ENTRY_EXISTS, NO_SUCH_OBJECT, failed, fields, read, refused, unless};
use crate::directory::DirectoryError;
use crate::directory::ldap::client::LdapFailure;
use crate::directory::ldap::{LdapDirectory, RawEntry, filter};

/// The membership of this name.
pub(super) async fn named(directory: &LdapDirectory, name: &MembershipName) -> Stored<Option<Membership>> {
    let entry = directory.entry(&dn(directory, name), &["cn", fields::TITLE]).await?;
    entry.map(|entry| parsed(directory, &entry)).transpose()
}

/// All memberships, by name.
pub(super) async fn all(directory: &LdapDirectory) -> Stored<Vec<Membership>> {
    let wanted = format!("(objectClass={})", fields::MEMBERSHIP);
    let entries = read::children(directory, directory.config().memberships(), wanted, &["cn", fields::TITLE]).await?;
    let mut all = entries.iter().map(|entry| parsed(directory, entry)).collect::<Stored<Vec<_>>>()?;
    all.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Ok(all)
}

/// The logins of a membership.
pub(super) async fn logins_of(directory: &LdapDirectory, name: &MembershipName) -> Stored<Vec<RawEntry>> {
    let wanted = filter::equal(&directory.config().attributes.membership, name.as_str().as_bytes());
    read::logins(directory, &wanted).await
}

fn dn(directory: &LdapDirectory, name: &MembershipName) -> String {
    fields::below("cn", name.as_str(), &directory.config().memberships())
}

fn parsed(directory: &LdapDirectory, entry: &RawEntry) -> Stored<Membership> {
    let damaged = |reason| DirectoryError::Damaged { directory: directory.config().location(), reason };
    fields::read_membership(entry).map_err(damaged)
}

impl LdapWork {
    pub(super) async fn new_membership(&mut self, membership: &Membership) -> Stored<()> {
        let dn = dn(&self.directory, &membership.name);
        match self.writer.add(&dn, fields::membership(membership), false).await {
            Ok(()) => Ok(()),
            Err(LdapFailure::Said { code: ENTRY_EXISTS, .. }) => {
                refused("a membership of this name exists: names are unique")
            }
            Err(failure) => Err(self.failed(&dn, &failure)),
        }
    }

    /// The title, then the logins, then the name: a new name is there when all its logins have it, and whoever was interrupted finds the old one.
    pub(super) async fn rewrite_membership(&mut self, name: &MembershipName, new: &Membership) -> Stored<()> {
        let old = dn(&self.directory, name);
        let title = new.title.as_str();
        let mods = vec![fields::replace(fields::TITLE, (!title.is_empty()).then_some(title))];
        self.writer.modify(&old, mods, false).await.map_err(|failure| self.failed(&old, &failure))?;
        if new.name == *name {
            return Ok(());
        }
        let attribute = self.directory.config().attributes.membership.clone();
        for login in logins_of(&self.directory, name).await? {
            let mods = vec![fields::replace(&attribute, Some(new.name.as_str()))];
            self.writer.modify(&login.dn, mods, true).await.map_err(|failure| self.failed(&login.dn, &failure))?;
            self.changed = true;
        }
        let rdn = format!("cn={}", crate::directory::ldap::dn::escape(new.name.as_str()));
        match self.writer.rename(&old, &rdn, None).await {
            Ok(()) => Ok(()),
            Err(LdapFailure::Said { code: ENTRY_EXISTS, .. }) => {
                refused("a membership of this name exists: names are unique")
            }
            Err(failure) => Err(self.failed(&old, &failure)),
        }
    }

    pub(super) async fn drop_membership(&mut self, name: &MembershipName) -> Stored<()> {
        let dn = dn(&self.directory, name);
        let gone = self.writer.delete(&dn, false).await;
        unless(gone, &[NO_SUCH_OBJECT]).map(|_| ()).map_err(|failure| failed(&self.directory, &dn, &failure))
    }
}
