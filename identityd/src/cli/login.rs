//! `identityctl login …`

use std::time::SystemTime;

use schema::date::Date;
use schema::hash::{Method, PasswordHash};
use schema::id::GroupId;
use schema::name::{GroupName, LoginName, MembershipName};
use schema::record::{Login, Status};
use serde_json::json;

use super::args::{LoginAdd, LoginCommand, LoginSet};
use super::group::{joined, quarantine_text};
use super::membership::PAGE;
use super::output::{Output, printable};
use super::parse::{capabilities, days, id, not_local, not_local_home, option, value};
use super::session::{finish, with_accounts};
use super::{CliError, Exit, password};
use crate::accounts::login::{AgingChange, LoginChange, LoginDetails, LoginFilter, NewLogin, RetiredLogin};
use crate::accounts::{Accounts, AccountsError};
use crate::directory::{Entry, Quarantined};

pub(super) fn run(output: &Output, command: LoginCommand) -> Result<Exit, CliError> {
    let named = |name: &str| value::<LoginName>("the login", name);
    match command {
        LoginCommand::Add(args) => add(output, &args),
        LoginCommand::Show { name } => show(output, &named(&name)?),
        LoginCommand::List { removed: true, .. } => removed(output),
        LoginCommand::List { pattern, membership, capability, locked, removed: _ } => {
            let filter = LoginFilter {
                membership: option("the membership", membership.as_ref())?,
                status: locked.then_some(Status::Locked),
                capability: option("the capability", capability.as_ref())?,
                pattern,
                after: 0,
            };
            list(output, filter)
        }
        LoginCommand::Set(args) => set(output, &args),
        LoginCommand::Remove { name } => {
            let name = named(&name)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.login_remove(&name).await)?;
            finish(output, &done, |()| {
                format!(
                    "Login {name} removed; its ids are not given out again. To take it back: identityctl login restore {name}"
                )
            })
        }
        LoginCommand::Restore { name, uid } => {
            let name = named(&name)?;
            not_local(name.as_str(), uid)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.login_restore(&name, uid).await)?;
            finish(output, &done, |login| {
                format!(
                    "Login {} is back with uid {}, locked and without password, keys and capabilities.",
                    login.name, login.uid
                )
            })
        }
        LoginCommand::Lock { name } => {
            let name = named(&name)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.login_lock(&name).await)?;
            finish(output, &done, |()| format!("Login {name} locked; sessions that are open stay open."))
        }
        LoginCommand::Unlock { name } => {
            let name = named(&name)?;
            let done = with_accounts(async |accounts: &Accounts| accounts.login_unlock(&name).await)?;
            finish(output, &done, |()| format!("Login {name} unlocked."))
        }
        LoginCommand::Passwd { name, source, none, must_change } => {
            let name = named(&name)?;
            // A login that does not exist is told before anybody types a password twice.
            with_accounts(async |accounts: &Accounts| accounts.login(&name).await)?;
            let hash = if none { PasswordHash::none() } else { password::read(&source, name.as_str())? };
            let today = (!must_change).then(|| Date::of(SystemTime::now()));
            let done = with_accounts(async |accounts: &Accounts| accounts.login_password(&name, &hash, today).await)?;
            let then = if must_change { "; it must be changed at the next login" } else { "" };
            finish(output, &done, |()| format!("Password of {name} set{then}."))
        }
        LoginCommand::Expire { name, day } => {
            let name = named(&name)?;
            let day = if day == "never" { None } else { Some(value::<Date>("the day", &day)?) };
            let done = with_accounts(async |accounts: &Accounts| accounts.login_expire(&name, day).await)?;
            finish(output, &done, |aging| match aging.expires {
                Some(day) => format!("Login {name} is closed from {day} on."),
                None => format!("Login {name} does not expire."),
            })
        }
        LoginCommand::Move { name, membership } => {
            let name = named(&name)?;
            let target =
                if membership == "-" { None } else { Some(value::<MembershipName>("the membership", &membership)?) };
            let change = LoginChange { membership: Some(target), ..LoginChange::default() };
            change_login(output, &name, &change, |login| match &login.membership {
                Some(membership) => {
                    format!("Login {name} now belongs to {membership}; its ids, home and files are as they were.")
                }
                None => format!("Login {name} now belongs to no membership."),
            })
        }
        LoginCommand::Rename { name, new } => {
            let (name, new) = (named(&name)?, value::<LoginName>("the new name", &new)?);
            not_local(new.as_str(), None)?;
            let change = LoginChange { name: Some(new), ..LoginChange::default() };
            change_login(output, &name, &change, |login| {
                format!("Login {name} is now {}, with the same uid {} and home {}.", login.name, login.uid, login.home)
            })
        }
    }
}

fn add(output: &Output, args: &LoginAdd) -> Result<Exit, CliError> {
    let mut new = NewLogin::named(value("the login", &args.name)?);
    new.uid = id("the uid", args.uid)?;
    not_local(&args.name, args.uid)?;
    new.gecos = value("the full name", &args.gecos)?;
    new.home = option("the home", args.home.as_ref())?;
    not_local_home(new.home.as_ref())?;
    new.shell = option("the shell", args.shell.as_ref())?;
    new.capabilities = capabilities(&args.capabilities)?;
    new.membership = option("the membership", args.membership.as_ref())?;
    new.aging.expires = option("the day", args.expires.as_ref())?;
    if args.locked {
        new.status = Status::Locked;
    }
    let group = option::<GroupName>("the group", args.group.as_ref())?;
    if args.password || args.source.stdin || args.source.hash_stdin {
        new.password = Some(password::read(&args.source, &args.name)?);
        new.aging.last_change = Some(Date::of(SystemTime::now()));
    }
    let done = with_accounts(async |accounts: &Accounts| {
        new.gid = gid_of(accounts, group.as_ref()).await?;
        accounts.login_add(&new).await
    })?;
    finish(output, &done, |login| format!("Login {} added with uid {} and home {}.", login.name, login.uid, login.home))
}

fn set(output: &Output, args: &LoginSet) -> Result<Exit, CliError> {
    let name: LoginName = value("the login", &args.name)?;
    let mut change = LoginChange {
        gecos: option("the full name", args.gecos.as_ref())?,
        home: option("the home", args.home.as_ref())?,
        shell: option("the shell", args.shell.as_ref())?,
        capabilities: args.capabilities.as_deref().map(capabilities).transpose()?,
        add_capabilities: capabilities(&args.allow)?,
        remove_capabilities: capabilities(&args.deny)?,
        aging: AgingChange {
            min_days: days("the days", args.min_days.as_ref())?,
            max_days: days("the days", args.max_days.as_ref())?,
            warn_days: days("the days", args.warn_days.as_ref())?,
            inactive_days: days("the days", args.inactive_days.as_ref())?,
            ..AgingChange::default()
        },
        ..LoginChange::default()
    };
    not_local_home(change.home.as_ref())?;
    let group = option::<GroupName>("the group", args.group.as_ref())?;
    let done = with_accounts(async |accounts: &Accounts| {
        change.gid = gid_of(accounts, group.as_ref()).await?;
        accounts.login_set(&name, &change).await
    })?;
    finish(output, &done, |login| format!("Login {} changed.", login.name))
}

fn change_login(
    output: &Output,
    name: &LoginName,
    change: &LoginChange,
    text: impl FnOnce(&Login) -> String,
) -> Result<Exit, CliError> {
    let done = with_accounts(async |accounts: &Accounts| accounts.login_set(name, change).await)?;
    finish(output, &done, text)
}

async fn gid_of(accounts: &Accounts, group: Option<&GroupName>) -> Result<Option<GroupId>, AccountsError> {
    match group {
        Some(name) => Ok(Some(accounts.group(name).await?.group.gid)),
        None => Ok(None),
    }
}

fn show(output: &Output, name: &LoginName) -> Result<Exit, CliError> {
    let found = with_accounts(async |accounts: &Accounts| accounts.login(name).await)?;
    output.show(&found, |output| details(output, &found))?;
    Ok(Exit::Ok)
}

fn details(output: &Output, found: &LoginDetails) -> String {
    let login = &found.login;
    let day = |day: Option<Date>| day.map_or_else(|| "-".into(), |day| day.to_string());
    let number = |days: Option<u32>| days.map_or_else(|| "-".into(), |days| days.to_string());
    let aging = &login.aging;
    let group = found.group.as_ref().map_or_else(|| "(not served)".into(), ToString::to_string);
    let mut text = output.pairs(&[
        ("name", login.name.to_string()),
        ("uid", login.uid.to_string()),
        ("group", format!("{group} ({})", login.gid)),
        ("groups", joined(found.groups.iter().map(|group| &group.name))),
        ("full name", login.gecos.to_string()),
        ("home", login.home.to_string()),
        (
            "shell",
            format!("{}{}", login.shell, if login.passwd().shell == login.shell { "" } else { " (shown as nologin)" }),
        ),
        ("status", status(login.status).into()),
        ("capabilities", joined(&login.capabilities)),
        ("membership", login.membership.as_ref().map_or_else(|| "-".into(), ToString::to_string)),
        ("password", password_text(found.password)),
        ("changed", day(aging.last_change)),
        ("min/max days", format!("{} / {}", number(aging.min_days), number(aging.max_days))),
        ("warn/grace", format!("{} / {}", number(aging.warn_days), number(aging.inactive_days))),
        ("expires", day(aging.expires)),
        ("keys", found.keys.len().to_string()),
    ]);
    for warning in &found.warnings {
        text.push_str(&format!("warning: {}\n", printable(&warning.to_string())));
    }
    text
}

fn password_text(method: Method) -> String {
    match method {
        Method::Locked => "none".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Locked => "locked",
    }
}

fn list(output: &Output, filter: LoginFilter) -> Result<Exit, CliError> {
    let (logins, quarantined) = with_accounts(async |accounts: &Accounts| pages(accounts, filter).await)?;
    output.show(&json!({"logins": logins, "quarantined": quarantined}), |output| {
        let row = |login: &Login| {
            vec![
                login.name.to_string(),
                login.uid.to_string(),
                status(login.status).into(),
                joined(&login.capabilities),
                login.membership.as_ref().map_or_else(|| "-".into(), ToString::to_string),
                login.home.to_string(),
                login.gecos.to_string(),
            ]
        };
        let head = ["login", "uid", "status", "capabilities", "membership", "home", "full name"];
        output.table(&head, logins.iter().map(row)) + &quarantine_text(&quarantined)
    })?;
    Ok(Exit::Ok)
}

async fn pages(accounts: &Accounts, mut filter: LoginFilter) -> Result<(Vec<Login>, Vec<Quarantined>), AccountsError> {
    let mut logins = Vec::new();
    let mut quarantined = Vec::new();
    loop {
        let page = accounts.logins(&filter, PAGE).await?;
        let full = page.len() == PAGE as usize;
        for entry in page {
            match entry {
                Entry::Valid(login) => {
                    filter.after = login.uid.raw();
                    logins.push(login);
                }
                Entry::Quarantined(entry) => {
                    filter.after = u32::try_from(entry.id).unwrap_or(filter.after);
                    quarantined.push(entry);
                }
            }
        }
        if !full {
            return Ok((logins, quarantined));
        }
    }
}

fn removed(output: &Output) -> Result<Exit, CliError> {
    let retired = with_accounts(async |accounts: &Accounts| accounts.retired_logins(None).await)?;
    output.show(&retired, |output| {
        let row =
            |one: &RetiredLogin| vec![one.name.clone(), one.uid.to_string(), one.retired.clone(), one.home.clone()];
        output.table(&["login", "uid", "removed", "home"], retired.iter().map(row))
    })?;
    Ok(Exit::Ok)
}
