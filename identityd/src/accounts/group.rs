//! Groups and their members.

use schema::id::GroupId;
use schema::name::{GroupName, LoginName};
use schema::record::Group;

use super::login::NFS_GROUPS;
use super::store::Ref;
use super::transaction::Work;
use super::{Accounts, AccountsError, Done, Thing, Warning};
use crate::directory::{Entry, Kind};

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
            Some(gid) => work.free_gid(gid, name).await?,
            None => i64::from(work.fresh_id().await?),
        };
        work.add_group(gid, name.as_str()).await?;
        let group = valid(name, work.group(name).await?)?;
        work.finish(group, Vec::new()).await
    }

    /// One group.
    ///
    /// # Errors
    /// There is none of this name, or its entry is quarantined.
    pub async fn group(&self, name: &GroupName) -> Result<GroupDetails, AccountsError> {
        let group = valid(name, self.directory().group_by_name(name).await?)?;
        let (rule, primary_of) = self.store.group_facts(group.gid).await?;
        Ok(GroupDetails { group, rule, primary_of })
    }

    /// Up to `limit` groups that match, by gid. For the next page set [`GroupFilter::after`] to the last gid.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn groups(&self, filter: &GroupFilter, limit: u32) -> Result<Vec<Entry<Group>>, AccountsError> {
        Ok(self.store.groups(filter, limit).await?)
    }

    /// Renames a group. Its gid stays.
    ///
    /// # Errors
    /// There is none of this name, the new name is taken, or a rule derives the members.
    pub async fn group_rename(&self, name: &GroupName, new: &GroupName) -> Result<Done<Group>, AccountsError> {
        let mut work = self.begin().await?;
        let (group, rule) = work.known_group(name).await?;
        if new != name {
            matched_by_sshd(name, rule.as_deref())?;
            work.free_group_name(new).await?;
            work.rename_group(&group, new).await?;
        }
        let group = valid(new, work.group(new).await?)?;
        work.finish(group, Vec::new()).await
    }

    /// Removes a group; its gid is retired. No file is touched on any server.
    ///
    /// # Errors
    /// There is none of this name, logins have it as their primary group, or a rule derives the members.
    pub async fn group_remove(&self, name: &GroupName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let (group, rule) = work.known_group(name).await?;
        matched_by_sshd(name, rule.as_deref())?;
        let (count, first) = work.primary_of(group.id).await?;
        if count > 0 {
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
        work.remove_group(&group).await?;
        work.finish((), Vec::new()).await
    }

    /// Puts a login into a group. Doing it twice changes nothing.
    ///
    /// # Errors
    /// Group or login do not exist, or a rule derives the members.
    pub async fn group_add_member(&self, name: &GroupName, login: &LoginName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let group = work.group_with_members(name).await?;
        let member = work.known_login(login).await?;
        let count = work.add_member(&group, &member).await?;
        let warning = (count > NFS_GROUPS).then(|| Warning::ManyGroups { login: login.clone(), count });
        work.finish((), warning.into_iter().collect()).await
    }

    /// Takes a login out of a group.
    ///
    /// # Errors
    /// Group or login do not exist, the login is not in it, or a rule derives the members.
    pub async fn group_remove_member(&self, name: &GroupName, login: &LoginName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let group = work.group_with_members(name).await?;
        let member = work.known_login(login).await?;
        if !work.remove_member(&group, &member).await? {
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
    /// A group, whatever else its entry holds, and the rule that derives its members.
    async fn known_group(&mut self, name: &GroupName) -> Result<(Ref, Option<String>), AccountsError> {
        self.group_ref(name.as_str()).await?.ok_or_else(|| AccountsError::not_found(Thing::Group, name))
    }

    async fn group_with_members(&mut self, name: &GroupName) -> Result<Ref, AccountsError> {
        match self.known_group(name).await? {
            (group, None) => Ok(group),
            (_, Some(rule)) => Err(AccountsError::Invalid(format!(
                "the members of {name} follow from capabilities (rule {rule}): change them with `identityctl login set NAME --allow/--deny`"
            ))),
        }
    }

    async fn free_group_name(&mut self, name: &GroupName) -> Result<(), AccountsError> {
        match self.group_ref(name.as_str()).await? {
            Some(_) => Err(AccountsError::exists(Thing::Group, name)),
            None => Ok(()),
        }
    }

    async fn free_gid(&mut self, gid: GroupId, name: &GroupName) -> Result<i64, AccountsError> {
        let id = i64::from(gid.raw());
        if let Some(owner) = self.group_of_gid(id).await? {
            return Err(AccountsError::exists(Thing::Group, format!("{owner} with gid {gid}")));
        }
        match self.retired_for_another(Kind::Group, id, name.as_str()).await? {
            Some(owner) => Err(AccountsError::IdUsed { thing: Thing::Group, id: gid.raw(), name: owner }),
            None => Ok(id),
        }
    }
}
