//! `identityctl membership …`

use schema::name::MembershipName;
use schema::record::Membership;
use schema::text::Gecos;

use super::args::MembershipCommand;
use super::output::Output;
use super::parse::{option, value};
use super::session::{finish, with_accounts};
use super::{CliError, Exit};
use crate::accounts::membership::MembershipDetails;
use crate::accounts::{Accounts, AccountsError};

/// Entries of one page of a listing.
pub(super) const PAGE: u32 = 1000;

pub(super) fn run(output: &Output, command: MembershipCommand) -> Result<Exit, CliError> {
    let named = |name: &str| value::<MembershipName>("the membership", name);
    match command {
        MembershipCommand::Add { name, title } => {
            let membership = Membership { name: named(&name)?, title: value("the title", &title)? };
            let done = with_accounts(async |accounts: &Accounts| accounts.membership_add(&membership).await)?;
            finish(output, &done, |added| format!("Membership {} added.", added.name))
        }
        MembershipCommand::Show { name } => {
            let name = named(&name)?;
            let found = with_accounts(async |accounts: &Accounts| accounts.membership(&name).await)?;
            output.show(&found, |output| {
                output.pairs(&[
                    ("name", found.membership.name.to_string()),
                    ("title", found.membership.title.to_string()),
                    ("logins", found.logins.to_string()),
                ])
            })?;
            Ok(Exit::Ok)
        }
        MembershipCommand::List => {
            let all = with_accounts(list)?;
            output.show(&all, |output| {
                let row = |one: &MembershipDetails| {
                    vec![one.membership.name.to_string(), one.logins.to_string(), one.membership.title.to_string()]
                };
                output.table(&["membership", "logins", "title"], all.iter().map(row))
            })?;
            Ok(Exit::Ok)
        }
        MembershipCommand::Set { name, rename, title } => {
            let name = named(&name)?;
            let new = option::<MembershipName>("the new name", rename.as_ref())?;
            let title = option::<Gecos>("the title", title.as_ref())?;
            let done = with_accounts(async |accounts: &Accounts| {
                accounts.membership_set(&name, new.as_ref(), title.as_ref()).await
            })?;
            finish(output, &done, |now| format!("Membership {name} is now {} ({}).", now.name, now.title))
        }
        MembershipCommand::Remove { name } => {
            let name = named(&name)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.membership_remove(&name).await)?;
            finish(output, &done, |()| format!("Membership {name} removed."))
        }
    }
}

async fn list(accounts: &Accounts) -> Result<Vec<MembershipDetails>, AccountsError> {
    let mut all: Vec<MembershipDetails> = Vec::new();
    loop {
        let page = accounts.memberships(all.last().map(|last| &last.membership.name), PAGE).await?;
        let full = page.len() == PAGE as usize;
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}
