//! Showing and listing logins.

use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::{GroupName, LoginName};
use schema::record::{Login, Status};

use super::{GroupRef, LoginDetails, LoginFilter, NFS_GROUPS};
use crate::accounts::{Accounts, AccountsError, Thing, Warning};
use crate::directory::sqlite::rows::{login, select_login};
use crate::directory::{Directory, Entry};

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
            if let Some(name) = self.group_name(gid).await? {
                groups.push(GroupRef { gid, name });
            }
        }
        let password = directory.password_hash(name).await?.unwrap_or_else(PasswordHash::none).method();
        let mut warnings: Vec<Warning> = self.host.shell(&login.shell).into_iter().collect();
        if let Err(error) = self.host.home(&login.home) {
            warnings.push(Warning::Note(error.to_string()));
        }
        if groups.len() > NFS_GROUPS {
            warnings.push(Warning::ManyGroups { login: name.clone(), count: groups.len() });
        }
        Ok(LoginDetails {
            group: self.group_name(login.gid).await?,
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
        let status = filter.status.map(|status| match status {
            Status::Active => "active",
            Status::Locked => "locked",
        });
        let query = sqlx::query(select_login!(
            "WHERE l.uid > ?1 AND (?2 IS NULL OR l.membership_id = (SELECT id FROM membership WHERE name = ?2)) \
             AND (?3 IS NULL OR l.status = ?3) AND (?4 IS NULL OR l.name GLOB ?4) \
             AND (?5 IS NULL OR EXISTS (SELECT 1 FROM login_capability AS f WHERE f.uid = l.uid AND f.capability = ?5)) \
             ORDER BY l.uid LIMIT ?6"
        ))
        .bind(i64::from(filter.after))
        .bind(filter.membership.as_ref().map(|name| name.as_str().to_owned()))
        .bind(status)
        .bind(filter.pattern.clone())
        .bind(filter.capability.as_ref().map(|capability| capability.as_str().to_owned()))
        .bind(limit);
        let rows = self.directory().database(query.fetch_all(self.directory().reader()).await)?;
        Ok(rows.iter().map(login).collect())
    }

    async fn group_name(&self, gid: GroupId) -> Result<Option<GroupName>, AccountsError> {
        // Without its members: a derived group may have all of them.
        let query = sqlx::query("SELECT name FROM unix_group WHERE gid = ?1").bind(i64::from(gid.raw()));
        let row = self.directory().database(query.fetch_optional(self.directory().reader()).await)?;
        Ok(row.and_then(|row| GroupName::from_bytes(&crate::directory::sqlite::rows::bytes(&row, "name")).ok()))
    }
}
