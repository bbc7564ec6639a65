//! Removing logins, and taking a retired id back.

use schema::capability::Capabilities;
use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::LoginName;
use schema::record::{Aging, Login, Status};

use super::RetiredLogin;
use crate::accounts::store::Retired;
use crate::accounts::transaction::Work;
use crate::accounts::{Accounts, AccountsError, Done, Thing, Warning};
use crate::directory::Kind;

impl Accounts {
    /// Removes a login with its capabilities, keys and memberships of groups, and its own group if nobody else is in it. The ids are retired.
    /// No file is touched on any server.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn login_remove(&self, name: &LoginName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let login = work.known_login(name).await?;
        work.remove_login(&login).await?;
        work.finish((), Vec::new()).await
    }

    /// The deleted logins, newest id last; of one name, if given.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn retired_logins(&self, name: Option<&LoginName>) -> Result<Vec<RetiredLogin>, AccountsError> {
        let retired = self.store.retired(Kind::Login, name.map(LoginName::as_str)).await?;
        Ok(retired
            .into_iter()
            .map(|Retired { id, name, when, home, .. }| RetiredLogin {
                uid: u32::try_from(id).unwrap_or_default(),
                name,
                retired: when,
                home,
            })
            .collect())
    }

    /// Brings a deleted login back with its uid, group, home and shell: locked, without password, keys and capabilities.
    ///
    /// # Errors
    /// No login of this name was deleted, or one of this name exists again, or several were deleted and `uid` does not say which.
    pub async fn login_restore(&self, name: &LoginName, uid: Option<u32>) -> Result<Done<Login>, AccountsError> {
        let mut work = self.begin().await?;
        work.free_login_name(name).await?;
        let former = work.former(name, uid).await?;
        let broken = |what: &str, error: String| AccountsError::Invalid(format!("the deleted login's {what}: {error}"));
        let raw = u32::try_from(former.id).unwrap_or_default();
        let gid = former.gid.unwrap_or(former.id);
        let mut warnings = Vec::new();
        let gid = if work.group_of_gid(gid).await?.is_some() {
            u32::try_from(gid).unwrap_or_default()
        } else if work.retired(Kind::Group, Some(gid), Some(name.as_str())).await?.is_empty() {
            warnings.push(Warning::Note(format!("its former group {gid} is gone; it has a new group of its own")));
            work.add_private_group(name, raw).await?
        } else {
            work.add_group(gid, name.as_str()).await?;
            u32::try_from(gid).unwrap_or_default()
        };
        let login = Login {
            name: name.clone(),
            uid: UserId::try_from(raw).map_err(|error| broken("uid", error.to_string()))?,
            gid: GroupId::try_from(gid).map_err(|error| broken("group", error.to_string()))?,
            gecos: former.gecos.parse().map_err(|error| broken("full name", format!("{error}")))?,
            home: former.home.parse().map_err(|error| broken("home", format!("{error}")))?,
            shell: former.shell.parse().map_err(|error| broken("shell", format!("{error}")))?,
            status: Status::Locked,
            capabilities: Capabilities::new(),
            aging: Aging::default(),
            membership: None,
        };
        work.add_login(&login, &PasswordHash::none()).await?;
        warnings.push(Warning::Note(
            "it is locked and has no password, keys or capabilities: give it what it needs, then unlock it".into(),
        ));
        let login = work.valid_login(name).await?;
        work.finish(login, warnings).await
    }
}

impl Work {
    async fn former(&mut self, name: &LoginName, uid: Option<u32>) -> Result<Retired, AccountsError> {
        let mut former = self.retired(Kind::Login, uid.map(i64::from), Some(name.as_str())).await?;
        match (former.len(), former.pop()) {
            (1, Some(one)) => Ok(one),
            (0, _) | (_, None) => Err(AccountsError::not_found(Thing::Login, format!("{name} among the deleted ones"))),
            (_, Some(last)) => {
                let uids = former.iter().chain([&last]).filter_map(|former| u32::try_from(former.id).ok()).collect();
                Err(AccountsError::Ambiguous { name: name.clone(), uids })
            }
        }
    }
}
