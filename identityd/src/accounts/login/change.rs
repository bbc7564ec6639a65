//! Adding and changing logins.

use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::LoginName;
use schema::path::{HomePath, ShellPath};
use schema::record::{Aging, Login, Status};

use super::{AgingChange, HOMES, LoginChange, NewLogin, SHELL};
use crate::accounts::store::Ref;
use crate::accounts::transaction::Work;
use crate::accounts::{Accounts, AccountsError, Done, Thing, Warning};
use crate::directory::{Entry, Kind};

impl Accounts {
    /// Adds a login. Without ids it gets the next never-used one as uid and gid, and a group of its own.
    ///
    /// # Errors
    /// The name or an id is taken or was used before, the home lies in the system, the group or membership does not exist.
    pub async fn login_add(&self, new: &NewLogin) -> Result<Done<Login>, AccountsError> {
        let home = match &new.home {
            Some(home) => home.clone(),
            None => default_path::<HomePath>(&format!("{HOMES}/{}", new.name))?,
        };
        let shell = match &new.shell {
            Some(shell) => shell.clone(),
            None => default_path::<ShellPath>(SHELL)?,
        };
        self.host.home(&home)?;
        let mut warnings: Vec<Warning> = self.host.shell(&shell).into_iter().collect();
        let mut work = self.begin().await?;
        work.free_login_name(&new.name).await?;
        warnings.extend(work.name_used_before(&new.name, new.uid.map(UserId::raw)).await?);
        warnings.extend(work.home_shared(&home, None).await?);
        if let Some(name) = &new.membership {
            work.existing_membership(name).await?;
        }
        let uid = match new.uid {
            Some(uid) => work.free_uid(uid, &new.name).await?,
            None => work.fresh_id().await?,
        };
        let gid = match new.gid {
            Some(gid) => work.existing_gid(gid).await?,
            None => work.add_private_group(&new.name, uid).await?,
        };
        let login = Login {
            name: new.name.clone(),
            uid: UserId::try_from(uid).map_err(|error| AccountsError::Invalid(format!("uid: {error}")))?,
            gid: GroupId::try_from(gid).map_err(|error| AccountsError::Invalid(format!("gid: {error}")))?,
            gecos: new.gecos.clone(),
            home,
            shell,
            status: new.status,
            capabilities: new.capabilities.clone(),
            aging: new.aging.clone(),
            membership: new.membership.clone(),
        };
        let none = PasswordHash::none();
        work.add_login(&login, new.password.as_ref().unwrap_or(&none)).await?;
        let login = work.valid_login(&new.name).await?;
        work.finish(login, warnings).await
    }

    /// Changes a login. A new membership alone changes no uid, gid, home or path.
    ///
    /// # Errors
    /// There is none of this name; the new name is taken; group or membership do not exist; the home lies in the system.
    pub async fn login_set(&self, name: &LoginName, change: &LoginChange) -> Result<Done<Login>, AccountsError> {
        let mut warnings = Vec::new();
        if let Some(home) = &change.home {
            self.host.home(home)?;
        }
        if let Some(shell) = &change.shell {
            warnings.extend(self.host.shell(shell));
        }
        let mut work = self.begin().await?;
        let old = work.valid_login(name).await?;
        let uid = i64::from(old.uid.raw());
        if let Some(home) = change.home.as_ref().filter(|home| **home != old.home) {
            warnings.extend(work.home_shared(home, Some(uid)).await?);
        }
        if let Some(gid) = change.gid {
            work.existing_gid(gid).await?;
        }
        if let Some(Some(membership)) = &change.membership {
            work.existing_membership(membership).await?;
        }
        let renamed = change.name.as_ref().filter(|new| *new != name);
        if let Some(new) = renamed {
            work.free_login_name(new).await?;
        }
        let mut capabilities = change.capabilities.clone().unwrap_or_else(|| old.capabilities.clone());
        capabilities.extend(change.add_capabilities.iter().cloned());
        capabilities.retain(|capability| !change.remove_capabilities.contains(capability));
        let new = Login {
            name: renamed.unwrap_or(name).clone(),
            uid: old.uid,
            gid: change.gid.unwrap_or(old.gid),
            gecos: change.gecos.as_ref().unwrap_or(&old.gecos).clone(),
            home: change.home.as_ref().unwrap_or(&old.home).clone(),
            shell: change.shell.as_ref().unwrap_or(&old.shell).clone(),
            status: old.status,
            capabilities,
            aging: change.aging.of(&old.aging),
            membership: change.membership.as_ref().unwrap_or(&old.membership).clone(),
        };
        work.change_login(&old, &new).await?;
        if renamed.is_some() {
            warnings.extend(work.notes_of_rename(&old, &new.name).await?);
        }
        let login = work.valid_login(&new.name).await?;
        work.finish(login, warnings).await
    }

    /// Locks a login: it stays known and keeps its files and its password, and may not enter. Locking twice changes nothing.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn login_lock(&self, name: &LoginName) -> Result<Done, AccountsError> {
        self.set_status(name, Status::Locked).await
    }

    /// Unlocks a login.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn login_unlock(&self, name: &LoginName) -> Result<Done, AccountsError> {
        self.set_status(name, Status::Active).await
    }

    /// Sets the hash of a password, changed on `today`; `None`: the login must change it when it next enters.
    ///
    /// # Errors
    /// There is no login of this name.
    pub async fn login_password(
        &self,
        name: &LoginName,
        hash: &PasswordHash,
        today: Option<Date>,
    ) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let login = work.known_login(name).await?;
        work.set_password(&login, hash, today.unwrap_or(Date::from_days(0))).await?;
        work.finish((), Vec::new()).await
    }

    /// Closes a login from this day on; `None`: never.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn login_expire(&self, name: &LoginName, day: Option<Date>) -> Result<Done<Aging>, AccountsError> {
        self.login_aging(name, &AgingChange { expires: Some(day), ..AgingChange::default() }).await
    }

    /// Changes the password aging of a login.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn login_aging(&self, name: &LoginName, change: &AgingChange) -> Result<Done<Aging>, AccountsError> {
        let mut work = self.begin().await?;
        let old = work.valid_login(name).await?;
        let new = Login { aging: change.of(&old.aging), ..old.clone() };
        work.change_login(&old, &new).await?;
        work.finish(new.aging, Vec::new()).await
    }

    async fn set_status(&self, name: &LoginName, status: Status) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let login = work.known_login(name).await?;
        work.set_status(&login, status).await?;
        work.finish((), Vec::new()).await
    }
}

impl AgingChange {
    /// The aging that this change makes of `old`.
    fn of(&self, old: &Aging) -> Aging {
        Aging {
            last_change: self.last_change.unwrap_or(old.last_change),
            min_days: self.min_days.unwrap_or(old.min_days),
            max_days: self.max_days.unwrap_or(old.max_days),
            warn_days: self.warn_days.unwrap_or(old.warn_days),
            inactive_days: self.inactive_days.unwrap_or(old.inactive_days),
            expires: self.expires.unwrap_or(old.expires),
        }
    }
}

fn default_path<T: std::str::FromStr<Err = schema::path::PathError>>(path: &str) -> Result<T, AccountsError> {
    path.parse().map_err(|error: schema::path::PathError| AccountsError::Invalid(error.to_string()))
}

impl Work {
    /// A login, whatever else its entry holds: so that a broken one can be mended or removed.
    pub(in crate::accounts) async fn known_login(&mut self, name: &LoginName) -> Result<Ref, AccountsError> {
        self.login_ref(name.as_str()).await?.ok_or_else(|| AccountsError::not_found(Thing::Login, name))
    }

    pub(in crate::accounts) async fn valid_login(&mut self, name: &LoginName) -> Result<Login, AccountsError> {
        match self.login(name).await? {
            None => Err(AccountsError::not_found(Thing::Login, name)),
            Some(Entry::Quarantined(entry)) => {
                Err(AccountsError::Quarantined { thing: Thing::Login, name: entry.name, reason: entry.reason })
            }
            Some(Entry::Valid(login)) => Ok(login),
        }
    }

    pub(super) async fn free_login_name(&mut self, name: &LoginName) -> Result<(), AccountsError> {
        match self.login_ref(name.as_str()).await? {
            Some(_) => Err(AccountsError::exists(Thing::Login, name)),
            None => Ok(()),
        }
    }

    async fn free_uid(&mut self, uid: UserId, name: &LoginName) -> Result<u32, AccountsError> {
        let id = i64::from(uid.raw());
        if let Some(owner) = self.login_of_uid(id).await? {
            return Err(AccountsError::exists(Thing::Login, format!("{owner} with uid {uid}")));
        }
        match self.retired_for_another(Kind::Login, id, name.as_str()).await? {
            Some(owner) => Err(AccountsError::IdUsed { thing: Thing::Login, id: uid.raw(), name: owner }),
            None => Ok(uid.raw()),
        }
    }

    /// Who else had this id before it was retired.
    pub(in crate::accounts) async fn retired_for_another(
        &mut self,
        kind: Kind,
        id: i64,
        name: &str,
    ) -> Result<Option<String>, AccountsError> {
        let retired = self.retired(kind, Some(id), None).await?;
        Ok(retired.into_iter().map(|retired| retired.name).find(|former| former != name))
    }

    /// The next id that was never a uid or gid.
    pub(in crate::accounts) async fn fresh_id(&mut self) -> Result<u32, AccountsError> {
        let id = self.next_id().await?.and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| {
            AccountsError::Invalid(
                "no id is left below 2147483648; lower directory.next_id by SQL (docs/directory.md)".into(),
            )
        })
    }

    async fn existing_gid(&mut self, gid: GroupId) -> Result<u32, AccountsError> {
        match self.group_of_gid(i64::from(gid.raw())).await? {
            Some(_) => Ok(gid.raw()),
            None => Err(AccountsError::not_found(Thing::Group, format!("with gid {gid}"))),
        }
    }

    /// A group with the login's name, as useradd(8) does with USERGROUPS_ENAB; its gid is the uid if that was never a gid.
    pub(super) async fn add_private_group(&mut self, name: &LoginName, uid: u32) -> Result<u32, AccountsError> {
        if self.group_ref(name.as_str()).await?.is_some() {
            return Err(AccountsError::Invalid(format!(
                "there is a group {name} already, so the login cannot have its own; choose another name, or give it a group with --gid"
            )));
        }
        let id = i64::from(uid);
        let taken = self.group_of_gid(id).await?.is_some()
            || self.retired_for_another(Kind::Group, id, name.as_str()).await?.is_some();
        let gid = if taken { self.fresh_id().await? } else { uid };
        self.add_group(i64::from(gid), name.as_str()).await?;
        Ok(gid)
    }

    async fn notes_of_rename(&mut self, old: &Login, new: &LoginName) -> Result<Vec<Warning>, AccountsError> {
        let mut notes = self.name_used_before(new, Some(old.uid.raw())).await?;
        // Its own group has been renamed with it, unless the name was taken.
        if self.group_of_gid(i64::from(old.gid.raw())).await?.is_some_and(|name| name == old.name.as_str()) {
            notes.push(Warning::Note(format!(
                "its own group keeps the name {}: there is another group {new}",
                old.name
            )));
        }
        if old.home.as_str().ends_with(&format!("/{}", old.name)) {
            notes.push(Warning::Note(format!(
                "the home stays {}; change it with --home after moving it on each server",
                old.home
            )));
        }
        Ok(notes)
    }

    async fn name_used_before(&mut self, name: &LoginName, uid: Option<u32>) -> Result<Vec<Warning>, AccountsError> {
        let former = self.retired(Kind::Login, None, Some(name.as_str())).await?;
        Ok(former
            .iter()
            .filter_map(|retired| u32::try_from(retired.id).ok())
            .filter(|former| Some(*former) != uid)
            .filter_map(|uid| UserId::try_from(uid).ok())
            .map(|uid| Warning::NameUsedBefore { name: name.clone(), uid })
            .collect())
    }

    async fn home_shared(&mut self, home: &HomePath, uid: Option<i64>) -> Result<Option<Warning>, AccountsError> {
        let other = self.login_of_home(home, uid).await?;
        Ok(other.map(|other| Warning::HomeShared { home: home.clone(), other }))
    }
}
