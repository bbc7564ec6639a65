//! Showing and listing logins.

use schema::hash::{Method, PasswordHash};
use schema::name::LoginName;
use schema::record::Login;

use super::{GroupRef, LoginDetails, LoginFilter, NFS_GROUPS};
use crate::accounts::{Accounts, AccountsError, Thing, Warning};
use crate::directory::Entry;

impl Accounts {
    /// One login with its groups and keys.
    ///
    /// # Errors
    /// There is none of this name, or its entry is quarantined.
    pub async fn login(&self, name: &LoginName) -> Result<LoginDetails, AccountsError> {
        let directory = self.directory();
        let login = match directory.login_by_name(name).await? {
            None => return Err(AccountsError::not_found(Thing::Login, name)),
            Some(Entry::Quarantined(entry)) => {
                return Err(AccountsError::Quarantined { thing: Thing::Login, name: entry.name, reason: entry.reason });
            }
            Some(Entry::Valid(login)) => login,
        };
        let mut groups = Vec::new();
        for gid in directory.gids_of(name).await?.unwrap_or_default().into_iter().skip(1) {
            if let Some(name) = self.store.group_name(gid).await? {
                groups.push(GroupRef { gid, name });
            }
        }
        let password = directory.password_hash(name).await?.unwrap_or_else(PasswordHash::none).method();
        let mut warnings: Vec<Warning> = self.host.shell(&login.shell).into_iter().collect();
        if let Err(error) = self.host.home(&login.home) {
            warnings.push(Warning::Note(error.to_string()));
        }
        if password == Method::Locked
            && let Some(form) = self.store.foreign_password(name).await?
        {
            warnings.push(Warning::Note(format!(
                "its password is stored as {form}: the directory checks it, crypt(5) cannot"
            )));
        }
        if groups.len() > NFS_GROUPS {
            warnings.push(Warning::ManyGroups { login: name.clone(), count: groups.len() });
        }
        Ok(LoginDetails {
            group: self.store.group_name(login.gid).await?,
            groups,
            keys: directory.ssh_keys(name).await?,
            password,
            warnings,
            login,
        })
    }

    /// Up to `limit` logins that match, by uid. For the next page set [`LoginFilter::after`] to the last uid.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn logins(&self, filter: &LoginFilter, limit: u32) -> Result<Vec<Entry<Login>>, AccountsError> {
        Ok(self.store.logins(filter, limit).await?)
    }
}
