//! `identityctl group …`

use schema::name::{GroupName, LoginName};
use schema::record::Group;
use serde_json::json;

use super::args::GroupCommand;
use super::membership::PAGE;
use super::output::Output;
use super::parse::{id, not_local, option, value};
use super::session::{finish, with_accounts};
use super::{CliError, Exit};
use crate::accounts::group::GroupFilter;
use crate::accounts::{Accounts, AccountsError};
use crate::directory::{Entry, Quarantined};

pub(super) fn run(output: &Output, command: GroupCommand) -> Result<Exit, CliError> {
    let named = |name: &str| value::<GroupName>("the group", name);
    match command {
        GroupCommand::Add { name, gid } => {
            let name = named(&name)?;
            not_local(name.as_str(), gid)?;
            let gid = id("the gid", gid)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.group_add(&name, gid).await)?;
            finish(output, &done, |group| format!("Group {} added with gid {}.", group.name, group.gid))
        }
        GroupCommand::Show { name } => {
            let name = named(&name)?;
            let found = with_accounts(async |accounts: &Accounts| accounts.group(&name).await)?;
            output.show(&found, |output| {
                output.pairs(&[
                    ("name", found.group.name.to_string()),
                    ("gid", found.group.gid.to_string()),
                    ("rule", found.rule.clone().unwrap_or_else(|| "-".into())),
                    ("members", joined(&found.group.members)),
                    ("primary of", joined(&found.primary_of)),
                ])
            })?;
            Ok(Exit::Ok)
        }
        GroupCommand::List { pattern, member } => {
            let member = option::<LoginName>("the member", member.as_ref())?;
            let filter = GroupFilter { pattern, member, after: 0 };
            let (groups, quarantined) = with_accounts(async |accounts: &Accounts| list(accounts, filter).await)?;
            output.show(&json!({"groups": groups, "quarantined": quarantined}), |output| {
                let row = |group: &Group| vec![group.name.to_string(), group.gid.to_string(), joined(&group.members)];
                let table = output.table(&["group", "gid", "members"], groups.iter().map(row));
                table + &quarantine_text(&quarantined)
            })?;
            Ok(Exit::Ok)
        }
        GroupCommand::Set { name, rename } => {
            let (name, new) = (named(&name)?, value::<GroupName>("the new name", &rename)?);
            not_local(new.as_str(), None)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.group_rename(&name, &new).await)?;
            finish(output, &done, |group| format!("Group {name} is now {}.", group.name))
        }
        GroupCommand::Remove { name } => {
            let name = named(&name)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.group_remove(&name).await)?;
            finish(output, &done, |()| format!("Group {name} removed; its gid is not given out again."))
        }
        GroupCommand::AddMember { group, login } => {
            let (group, login) = (named(&group)?, value::<LoginName>("the login", &login)?);
            let done = with_accounts(async |accounts: &Accounts| accounts.group_add_member(&group, &login).await)?;
            finish(output, &done, |()| {
                format!("{login} is now in {group}; programs that run already keep their groups.")
            })
        }
        GroupCommand::RemoveMember { group, login } => {
            let (group, login) = (named(&group)?, value::<LoginName>("the login", &login)?);
            let done = with_accounts(async |accounts: &Accounts| accounts.group_remove_member(&group, &login).await)?;
            finish(output, &done, |()| {
                format!("{login} is no longer in {group}; programs that run already keep their groups.")
            })
        }
    }
}

async fn list(accounts: &Accounts, mut filter: GroupFilter) -> Result<(Vec<Group>, Vec<Quarantined>), AccountsError> {
    let mut groups = Vec::new();
    let mut quarantined = Vec::new();
    loop {
        let page = accounts.groups(&filter, PAGE).await?;
        let full = page.len() == PAGE as usize;
        for entry in page {
            match entry {
                Entry::Valid(group) => {
                    filter.after = group.gid.raw();
                    groups.push(group);
                }
                Entry::Quarantined(entry) => {
                    filter.after = u32::try_from(entry.id).unwrap_or(filter.after);
                    quarantined.push(entry);
                }
            }
        }
        if !full {
            return Ok((groups, quarantined));
        }
    }
}

/// What is said under a table about the entries that break the rules.
pub(super) fn quarantine_text(quarantined: &[Quarantined]) -> String {
    quarantined.iter().fold(String::new(), |text, entry| {
        let name = super::output::printable(&entry.name);
        text + &format!("not served: {name} ({}): {}\n", entry.id, super::output::printable(&entry.reason))
    })
}

pub(super) fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "-".into() } else { items.join(",") }
}
