//! Adding and changing logins.

use schema::capability::{Capabilities, Capability};
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::name::LoginName;
use schema::path::{HomePath, ShellPath};
use schema::record::{Aging, Login, Status};
use sqlx::Row;

use super::{AgingChange, HOMES, LoginChange, NewLogin, SHELL};
use crate::accounts::transaction::Work;
use crate::accounts::{Accounts, AccountsError, Done, Thing, Warning};
use crate::directory::Entry;
use crate::directory::sqlite::rows::{login, select_login};

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
        warnings.extend(work.name_used_before(&new.name, new.uid.map(schema::id::UserId::raw)).await?);
        warnings.extend(work.home_shared(&home, None).await?);
        let membership = match &new.membership {
            Some(name) => Some(work.membership_id(name).await?),
            None => None,
        };
        let uid = match new.uid {
            Some(uid) => work.free_uid(uid.raw(), &new.name).await?,
            None => work.next_id().await?,
        };
        let gid = match new.gid {
            Some(gid) => work.existing_gid(gid.raw()).await?,
            None => work.add_private_group(&new.name, uid).await?,
        };
        let insert = sqlx::query(
            "INSERT INTO login (uid, name, gid, gecos, home, shell, status, password_hash, membership_id) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .bind(uid)
        .bind(new.name.as_str())
        .bind(gid)
        .bind(new.gecos.as_str())
        .bind(home.as_str())
        .bind(shell.as_str())
        .bind(status_text(new.status))
        .bind(new.password.as_ref().map_or("*", PasswordHash::expose))
        .bind(membership);
        work.execute(insert).await?;
        if new.aging != Aging::default() {
            work.set_aging(uid, &new.aging).await?;
        }
        for capability in &new.capabilities {
            work.add_capability(uid, capability).await?;
        }
        let login = work.login(&new.name).await?;
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
        let old = work.login(name).await?;
        let uid = i64::from(old.uid.raw());
        if let Some(home) = change.home.as_ref().filter(|home| **home != old.home) {
            warnings.extend(work.home_shared(home, Some(uid)).await?);
        }
        if let Some(gid) = change.gid {
            work.existing_gid(gid.raw()).await?;
        }
        let membership = match change.membership.as_ref().unwrap_or(&old.membership) {
            Some(membership) => Some(work.membership_id(membership).await?),
            None => None,
        };
        let update = sqlx::query(
            "UPDATE login SET gecos = ?2, home = ?3, shell = ?4, gid = ?5, membership_id = ?6 WHERE uid = ?1",
        )
        .bind(uid)
        .bind(change.gecos.as_ref().unwrap_or(&old.gecos).as_str())
        .bind(change.home.as_ref().unwrap_or(&old.home).as_str())
        .bind(change.shell.as_ref().unwrap_or(&old.shell).as_str())
        .bind(i64::from(change.gid.unwrap_or(old.gid).raw()))
        .bind(membership);
        work.execute(update).await?;
        work.set_capabilities(uid, &old.capabilities, change).await?;
        work.set_aging(uid, &change.aging.of(&old.aging)).await?;
        let mut now = name;
        if let Some(new) = change.name.as_ref().filter(|new| *new != name) {
            warnings.extend(work.rename(&old, new).await?);
            now = new;
        }
        let login = work.login(now).await?;
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
        let uid = work.uid_of(name).await?;
        let update = sqlx::query("UPDATE login SET password_hash = ?2, last_change = ?3 WHERE uid = ?1")
            .bind(uid)
            .bind(hash.expose())
            .bind(today.map_or(0, Date::days));
        work.execute(update).await?;
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
        let old = work.login(name).await?;
        let aging = change.of(&old.aging);
        work.set_aging(i64::from(old.uid.raw()), &aging).await?;
        work.finish(aging, Vec::new()).await
    }

    async fn set_status(&self, name: &LoginName, status: Status) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let uid = work.uid_of(name).await?;
        work.execute(sqlx::query("UPDATE login SET status = ?2 WHERE uid = ?1").bind(uid).bind(status_text(status)))
            .await?;
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

pub(in crate::accounts) const fn status_text(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Locked => "locked",
    }
}

fn default_path<T: std::str::FromStr<Err = schema::path::PathError>>(path: &str) -> Result<T, AccountsError> {
    path.parse().map_err(|error: schema::path::PathError| AccountsError::Invalid(error.to_string()))
}

impl Work {
    /// The uid of a login, whatever else its entry holds: so that a broken one can be mended or removed.
    pub(in crate::accounts) async fn uid_of(&mut self, name: &LoginName) -> Result<i64, AccountsError> {
        let query = sqlx::query("SELECT uid FROM login WHERE name = ?1").bind(name.as_str());
        self.number(query).await?.ok_or_else(|| AccountsError::not_found(Thing::Login, name))
    }

    pub(in crate::accounts) async fn login(&mut self, name: &LoginName) -> Result<Login, AccountsError> {
        let query = sqlx::query(select_login!("WHERE l.name = ?1")).bind(name.as_str());
        match self.row(query).await?.map(|row| login(&row)) {
            None => Err(AccountsError::not_found(Thing::Login, name)),
            Some(Entry::Quarantined(entry)) => {
                Err(AccountsError::Quarantined { thing: Thing::Login, name: entry.name, reason: entry.reason })
            }
            Some(Entry::Valid(login)) => Ok(login),
        }
    }

    pub(super) async fn free_login_name(&mut self, name: &LoginName) -> Result<(), AccountsError> {
        let query = sqlx::query("SELECT 1 FROM login WHERE name = ?1").bind(name.as_str());
        match self.number(query).await? {
            Some(_) => Err(AccountsError::exists(Thing::Login, name)),
            None => Ok(()),
        }
    }

    async fn free_uid(&mut self, uid: u32, name: &LoginName) -> Result<i64, AccountsError> {
        let query = sqlx::query("SELECT name FROM login WHERE uid = ?1").bind(uid);
        if let Some(row) = self.row(query).await? {
            let owner: String = row.try_get_unchecked(0).unwrap_or_default();
            return Err(AccountsError::exists(Thing::Login, format!("{owner} with uid {uid}")));
        }
        let query = sqlx::query("SELECT name FROM retired_id WHERE kind = 'login' AND id = ?1 AND name <> ?2")
            .bind(uid)
            .bind(name.as_str());
        if let Some(row) = self.row(query).await? {
            let name = row.try_get_unchecked(0).unwrap_or_default();
            return Err(AccountsError::IdUsed { thing: Thing::Login, id: uid, name });
        }
        Ok(i64::from(uid))
    }

    /// The next id that was never a uid or gid.
    pub(in crate::accounts) async fn next_id(&mut self) -> Result<i64, AccountsError> {
        let id = self.number(sqlx::query("SELECT id FROM next_id")).await?.ok_or_else(|| {
            AccountsError::Invalid(
                "no id is left below 2147483648; lower directory.next_id by SQL (docs/directory.md)".into(),
            )
        })?;
        self.execute(sqlx::query("UPDATE directory SET next_id = ?1").bind(id)).await?;
        Ok(id)
    }

    async fn existing_gid(&mut self, gid: u32) -> Result<i64, AccountsError> {
        let query = sqlx::query("SELECT gid FROM unix_group WHERE gid = ?1").bind(gid);
        self.number(query).await?.ok_or_else(|| AccountsError::not_found(Thing::Group, format!("with gid {gid}")))
    }

    /// A group with the login's name, as useradd(8) does with USERGROUPS_ENAB; its gid is the uid if that was never a gid.
    pub(super) async fn add_private_group(&mut self, name: &LoginName, uid: i64) -> Result<i64, AccountsError> {
        let query = sqlx::query("SELECT 1 FROM unix_group WHERE name = ?1").bind(name.as_str());
        if self.number(query).await?.is_some() {
            return Err(AccountsError::Invalid(format!(
                "there is a group {name} already, so the login cannot have its own; choose another name, or give it a group with --gid"
            )));
        }
        let query = sqlx::query(
            "SELECT 1 FROM unix_group WHERE gid = ?1 UNION ALL SELECT 1 FROM retired_id WHERE kind = 'group' AND id = ?1 AND name <> ?2",
        )
        .bind(uid)
        .bind(name.as_str());
        let gid = if self.number(query).await?.is_some() { self.next_id().await? } else { uid };
        self.execute(sqlx::query("INSERT INTO unix_group (gid, name) VALUES (?1, ?2)").bind(gid).bind(name.as_str()))
            .await?;
        Ok(gid)
    }

    pub(super) async fn add_capability(&mut self, uid: i64, capability: &Capability) -> Result<(), AccountsError> {
        let insert = sqlx::query("INSERT INTO login_capability (uid, capability) VALUES (?1, ?2)")
            .bind(uid)
            .bind(capability.as_str());
        self.execute(insert).await.map(|_| ())
    }

    async fn set_capabilities(
        &mut self,
        uid: i64,
        old: &Capabilities,
        change: &LoginChange,
    ) -> Result<(), AccountsError> {
        let mut new = change.capabilities.clone().unwrap_or_else(|| old.clone());
        new.extend(change.add_capabilities.iter().cloned());
        new.retain(|capability| !change.remove_capabilities.contains(capability));
        for gone in old.difference(&new) {
            let delete = sqlx::query("DELETE FROM login_capability WHERE uid = ?1 AND capability = ?2")
                .bind(uid)
                .bind(gone.as_str());
            self.execute(delete).await?;
        }
        for added in new.difference(old) {
            self.add_capability(uid, added).await?;
        }
        Ok(())
    }

    pub(super) async fn set_aging(&mut self, uid: i64, aging: &Aging) -> Result<(), AccountsError> {
        let update = sqlx::query(
            "UPDATE login SET last_change = ?2, min_days = ?3, max_days = ?4, warn_days = ?5, inactive_days = ?6, expires = ?7 WHERE uid = ?1",
        )
        .bind(uid)
        .bind(aging.last_change.map(Date::days))
        .bind(aging.min_days)
        .bind(aging.max_days)
        .bind(aging.warn_days)
        .bind(aging.inactive_days)
        .bind(aging.expires.map(Date::days));
        self.execute(update).await.map(|_| ())
    }

    async fn rename(&mut self, old: &Login, new: &LoginName) -> Result<Vec<Warning>, AccountsError> {
        self.free_login_name(new).await?;
        let update = sqlx::query("UPDATE login SET name = ?2 WHERE uid = ?1").bind(old.uid.raw()).bind(new.as_str());
        self.execute(update).await?;
        let mut notes = self.name_used_before(new, Some(old.uid.raw())).await?;
        // The trigger login_renamed has renamed its own group, unless the name was taken.
        let kept = sqlx::query("SELECT 1 FROM unix_group WHERE gid = ?1 AND name = ?2")
            .bind(old.gid.raw())
            .bind(old.name.as_str());
        if self.number(kept).await?.is_some() {
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
        let query =
            sqlx::query("SELECT id FROM retired_id WHERE kind = 'login' AND name = ?1 AND id IS NOT ?2 ORDER BY id")
                .bind(name.as_str())
                .bind(uid);
        let former = self.rows(query).await?;
        Ok(former
            .iter()
            .filter_map(|row| u32::try_from(row.try_get_unchecked::<i64, usize>(0).ok()?).ok())
            .filter_map(|uid| schema::id::UserId::try_from(uid).ok())
            .map(|uid| Warning::NameUsedBefore { name: name.clone(), uid })
            .collect())
    }

    async fn home_shared(&mut self, home: &HomePath, uid: Option<i64>) -> Result<Option<Warning>, AccountsError> {
        let query = sqlx::query("SELECT name FROM login WHERE home = ?1 AND uid IS NOT ?2 LIMIT 1")
            .bind(home.as_str())
            .bind(uid);
        let row = self.row(query).await?;
        Ok(row
            .map(|row| Warning::HomeShared { home: home.clone(), other: row.try_get_unchecked(0).unwrap_or_default() }))
    }
}
