//! Groups and their members.

use schema::id::GroupId;
use schema::name::{GroupName, LoginName};
use schema::record::Group;
use sqlx::Row;

use super::login::NFS_GROUPS;
use super::transaction::Work;
use super::{Accounts, AccountsError, Done, Thing, Warning};
use crate::directory::sqlite::rows::{bytes, group, select_group};
use crate::directory::{Directory, Entry};

/// A group with what a listing of its members does not say.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GroupDetails {
    /// The group and its members.
    #[serde(flatten)]
    pub group: Group,
    /// The rule that derives its members, if it has one.
    pub rule: Option<String>,
    /// The logins that have it as their primary group (the first hundred).
    pub primary_of: Vec<LoginName>,
}

/// Which groups to list.
#[derive(Debug, Clone, Default)]
pub struct GroupFilter {
    /// Whose name matches this pattern: `*`, `?`, `[a-c]` as in a shell.
    pub pattern: Option<String>,
    /// That list this login as a member.
    pub member: Option<LoginName>,
    /// With a gid above this one; 0 begins.
    pub after: u32,
}

impl Accounts {
    /// Adds a group; without a gid it gets the next never-used id.
    ///
    /// # Errors
    /// The name or the gid is taken or was used before.
    pub async fn group_add(&self, name: &GroupName, gid: Option<GroupId>) -> Result<Done<Group>, AccountsError> {
        let mut work = self.begin().await?;
        work.free_group_name(name).await?;
        let gid = match gid {
            Some(gid) => work.free_gid(gid.raw(), name).await?,
            None => work.next_id().await?,
        };
        work.execute(sqlx::query("INSERT INTO unix_group (gid, name) VALUES (?1, ?2)").bind(gid).bind(name.as_str()))
            .await?;
        let group = work.group(name).await?;
        work.finish(group, Vec::new()).await
    }

    /// One group.
    ///
    /// # Errors
    /// There is none of this name, or its entry is quarantined.
    pub async fn group(&self, name: &GroupName) -> Result<GroupDetails, AccountsError> {
        let group = valid(name, self.directory().group_by_name(name).await?)?;
        let rule = sqlx::query("SELECT rule FROM unix_group WHERE gid = ?1").bind(group.gid.raw());
        let rule = self.directory().database(rule.fetch_optional(self.directory().reader()).await)?;
        let primary =
            sqlx::query("SELECT name FROM login WHERE gid = ?1 ORDER BY name LIMIT 100").bind(group.gid.raw());
        let primary = self.directory().database(primary.fetch_all(self.directory().reader()).await)?;
        Ok(GroupDetails {
            rule: rule
                .map(|row| String::from_utf8_lossy(&bytes(&row, "rule")).into_owned())
                .filter(|rule| !rule.is_empty()),
            primary_of: primary.iter().filter_map(|row| LoginName::from_bytes(&bytes(row, "name")).ok()).collect(),
            group,
        })
    }

    /// Up to `limit` groups that match, by gid. For the next page set [`GroupFilter::after`] to the last gid.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn groups(&self, filter: &GroupFilter, limit: u32) -> Result<Vec<Entry<Group>>, AccountsError> {
        let query = sqlx::query(select_group!(
            "WHERE g.gid > ?1 AND (?2 IS NULL OR g.name GLOB ?2) AND (?3 IS NULL OR EXISTS (\
             SELECT 1 FROM group_member AS f JOIN login AS w ON w.uid = f.uid WHERE f.gid = g.gid AND w.name = ?3)) \
             ORDER BY g.gid LIMIT ?4"
        ))
        .bind(i64::from(filter.after))
        .bind(filter.pattern.clone())
        .bind(filter.member.as_ref().map(|name| name.as_str().to_owned()))
        .bind(limit);
        let rows = self.directory().database(query.fetch_all(self.directory().reader()).await)?;
        Ok(rows.iter().map(group).collect())
    }

    /// Renames a group. Its gid stays.
    ///
    /// # Errors
    /// There is none of this name, the new name is taken, or a rule derives the members.
    pub async fn group_rename(&self, name: &GroupName, new: &GroupName) -> Result<Done<Group>, AccountsError> {
        let mut work = self.begin().await?;
        let (gid, rule) = work.gid_of(name).await?;
        if new != name {
            matched_by_sshd(name, rule.as_deref())?;
            work.free_group_name(new).await?;
            let update = sqlx::query("UPDATE unix_group SET name = ?2 WHERE gid = ?1").bind(gid).bind(new.as_str());
            work.execute(update).await?;
        }
        let group = work.group(new).await?;
        work.finish(group, Vec::new()).await
    }

    /// Removes a group; its gid is retired. No file is touched on any server.
    ///
    /// # Errors
    /// There is none of this name, logins have it as their primary group, or a rule derives the members.
    pub async fn group_remove(&self, name: &GroupName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let (gid, rule) = work.gid_of(name).await?;
        matched_by_sshd(name, rule.as_deref())?;
        let row = work.row(sqlx::query("SELECT count(*), min(name) FROM login WHERE gid = ?1").bind(gid)).await?;
        if let Some(row) = row
            && row.try_get_unchecked::<i64, usize>(0).unwrap_or(0) > 0
        {
            let count: i64 = row.try_get_unchecked(0).unwrap_or(0);
            let first: String = row.try_get_unchecked(1).unwrap_or_default();
            return Err(AccountsError::InUse {
                thing: Thing::Group,
                name: name.to_string(),
                by: format!(
                    "it is the primary group of {first}{}",
                    if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
                ),
                remedy: "give them another with `identityctl login set NAME --group GROUP`, or remove them",
            });
        }
        work.execute(sqlx::query("DELETE FROM unix_group WHERE gid = ?1").bind(gid)).await?;
        work.finish((), Vec::new()).await
    }

    /// Puts a login into a group. Doing it twice changes nothing.
    ///
    /// # Errors
    /// Group or login do not exist, or a rule derives the members.
    pub async fn group_add_member(&self, name: &GroupName, login: &LoginName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let gid = work.gid_with_members(name).await?;
        let uid = work.uid_of(login).await?;
        let there = sqlx::query("SELECT 1 FROM group_member WHERE gid = ?1 AND uid = ?2").bind(gid).bind(uid);
        if work.number(there).await?.is_none() {
            work.execute(sqlx::query("INSERT INTO group_member (gid, uid) VALUES (?1, ?2)").bind(gid).bind(uid))
                .await?;
        }
        let count = work.number(sqlx::query("SELECT count(*) FROM group_member WHERE uid = ?1").bind(uid)).await?;
        let count = usize::try_from(count.unwrap_or(0)).unwrap_or(0);
        let warning = (count > NFS_GROUPS).then(|| Warning::ManyGroups { login: login.clone(), count });
        work.finish((), warning.into_iter().collect()).await
    }

    /// Takes a login out of a group.
    ///
    /// # Errors
    /// Group or login do not exist, the login is not in it, or a rule derives the members.
    pub async fn group_remove_member(&self, name: &GroupName, login: &LoginName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let gid = work.gid_with_members(name).await?;
        let uid = work.uid_of(login).await?;
        let delete = sqlx::query("DELETE FROM group_member WHERE gid = ?1 AND uid = ?2").bind(gid).bind(uid);
        if work.execute(delete).await? == 0 {
            return Err(AccountsError::Invalid(format!(
                "{login} is not listed in the group {name}; see: identityctl group show {name}"
            )));
        }
        work.finish((), Vec::new()).await
    }
}

/// Without the group, or under another name, a `Match Group` that confines its members matches nobody and lets them out.
fn matched_by_sshd(name: &GroupName, rule: Option<&str>) -> Result<(), AccountsError> {
    match rule {
        None => Ok(()),
        Some(rule) => Err(AccountsError::Invalid(format!(
            "the group {name} stays as it is: its members follow from capabilities (rule {rule}), and sshd confines them by its name; \
             to let one of them out: identityctl login set NAME --allow shell"
        ))),
    }
}

fn valid(name: &GroupName, entry: Option<Entry<Group>>) -> Result<Group, AccountsError> {
    match entry {
        None => Err(AccountsError::not_found(Thing::Group, name)),
        Some(Entry::Quarantined(entry)) => {
            Err(AccountsError::Quarantined { thing: Thing::Group, name: entry.name, reason: entry.reason })
        }
        Some(Entry::Valid(group)) => Ok(group),
    }
}

impl Work {
    async fn group(&mut self, name: &GroupName) -> Result<Group, AccountsError> {
        let row = self.row(sqlx::query(select_group!("WHERE g.name = ?1")).bind(name.as_str())).await?;
        valid(name, row.map(|row| group(&row)))
    }

    /// Its gid, and the rule that derives its members.
    async fn gid_of(&mut self, name: &GroupName) -> Result<(i64, Option<String>), AccountsError> {
        let row = self.row(sqlx::query("SELECT gid, rule FROM unix_group WHERE name = ?1").bind(name.as_str())).await?;
        let row = row.ok_or_else(|| AccountsError::not_found(Thing::Group, name))?;
        Ok((
            row.try_get_unchecked(0).unwrap_or_default(),
            row.try_get_unchecked::<Option<String>, usize>(1).ok().flatten(),
        ))
    }

    async fn gid_with_members(&mut self, name: &GroupName) -> Result<i64, AccountsError> {
        match self.gid_of(name).await? {
            (gid, None) => Ok(gid),
            (_, Some(rule)) => Err(AccountsError::Invalid(format!(
                "the members of {name} follow from capabilities (rule {rule}): change them with `identityctl login set NAME --allow/--deny`"
            ))),
        }
    }

    async fn free_group_name(&mut self, name: &GroupName) -> Result<(), AccountsError> {
        let query = sqlx::query("SELECT 1 FROM unix_group WHERE name = ?1").bind(name.as_str());
        match self.number(query).await? {
            Some(_) => Err(AccountsError::exists(Thing::Group, name)),
            None => Ok(()),
        }
    }

    async fn free_gid(&mut self, gid: u32, name: &GroupName) -> Result<i64, AccountsError> {
        if let Some(row) = self.row(sqlx::query("SELECT name FROM unix_group WHERE gid = ?1").bind(gid)).await? {
            let owner: String = row.try_get_unchecked(0).unwrap_or_default();
            return Err(AccountsError::exists(Thing::Group, format!("{owner} with gid {gid}")));
        }
        let query = sqlx::query("SELECT name FROM retired_id WHERE kind = 'group' AND id = ?1 AND name <> ?2")
            .bind(gid)
            .bind(name.as_str());
        if let Some(row) = self.row(query).await? {
            let name = row.try_get_unchecked(0).unwrap_or_default();
            return Err(AccountsError::IdUsed { thing: Thing::Group, id: gid, name });
        }
        Ok(i64::from(gid))
    }
}
