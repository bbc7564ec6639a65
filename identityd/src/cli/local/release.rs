//! `identityctl local release`: takes accounts out of the files that are the same in the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use schema::name::{GroupName, LoginName};
use schema::snapshot::Answer;
use schema::snapshot::view::Kind as _;
use schema::wire::message::{Reply, Request};
use serde_json::{Value, json};

use super::ETC;
use super::backup::Backup;
use super::files::{Files, Lines, Sort, primary_groups};
use super::lock::Locked;
use super::plan::{Kind, Known, Plan, Rules, members, plan, wanted};
use super::swap::{Step, Swap};
use crate::accounts::AccountsError;
use crate::cli::args::ReleaseArgs;
use crate::cli::doctor::{sshd_text, sudoers_files};
use crate::cli::mentions;
use crate::cli::output::{Output, lines, printable};
use crate::cli::session::{configured, with_directory};
use crate::cli::snapshot::LIVE;
use crate::cli::{CliError, Exit};
use crate::client::Client;
use crate::config::{Config, SnapshotMode};
use crate::directory::{Directory, DirectoryError, Entry};
use crate::local::{Local, LocalFiles};
use crate::snapshot::open::Published;

/// Between two looks.
const STEP: Duration = Duration::from_millis(100);
/// Names that one getent(1) is asked for.
const AT_ONCE: usize = 200;
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(output: &Output, args: &ReleaseArgs) -> Result<Exit, CliError> {
    let etc = Path::new(ETC);
    let config = configured()?;
    // Held from the reading to the end: nobody adds an account in between.
    let locked = if args.apply { Some(Locked::take(etc)?) } else { None };
    let files = Files::read(etc)?;
    let plan = made(&files, &config, args)?;
    if !output.is_json() {
        output.raw(&lines(&text(output, &plan)))?;
    }
    let staying = plan.entries.iter().find(|row| row.kind == Kind::Account && row.stays.is_some());
    if let Some(row) = staying.filter(|_| !args.names.is_empty() && args.apply) {
        let reason = row.stays.as_deref().unwrap_or_default();
        return Err(CliError::Refused(format!("nothing was changed: {} stays: {reason}", row.name)));
    }
    let backup = match (args.apply, plan.lines.is_empty()) {
        (true, false) => Some(apply(etc, &files, &plan, &config, args.timeout.0)?),
        (true, true) => {
            // Only what an interrupted run has left beside the files.
            for step in [Step::First, Step::Second] {
                Swap::prepare(etc, step, &files, &files)?;
            }
            None
        }
        (false, _) => None,
    };
    drop(locked);
    let place = backup.as_ref().map(|backup| backup.folder.display().to_string());
    let report = json!({"applied": backup.is_some(), "plan": plan, "backup": place});
    output.show(&report, |_| match place {
        Some(place) => {
            format!("\nDone. The files as they were are in {place}; the way back: identityctl local restore\n")
        }
        None if plan.lines.is_empty() => "\nNothing to move.\n".into(),
        None => "\nNothing was changed. To do it, add --apply.\n".into(),
    })?;
    Ok(Exit::Ok)
}

fn made(files: &Files, config: &Config, args: &ReleaseArgs) -> Result<Plan, CliError> {
    let names: BTreeSet<String> = args.names.iter().cloned().collect();
    // An interrupted run may have left it in shadow alone.
    let there = |name: &String| {
        [Sort::Passwd, Sort::Shadow].iter().any(|sort| files.get(*sort).is_some_and(|file| file.has(name)))
    };
    let no_account = |name: &&String| !files.get(Sort::Passwd).is_some_and(|passwd| passwd.has(name));
    if let Some(moved) = args.keep.iter().find(|name| no_account(name) && there(name)) {
        return Err(CliError::Refused(format!(
            "{} has moved already; first: identityctl local restore {moved} --apply",
            printable(moved)
        )));
    }
    if let Some(unknown) = names.iter().chain(&args.keep).find(|name| !there(name)) {
        return Err(CliError::Refused(format!("{} is not in /etc/passwd", printable(unknown))));
    }
    let known = ask(files)?;
    let local = Local::read(&LocalFiles::default()).map_err(CliError::io("read the local accounts"))?;
    let rules = Rules { local: &local, unknown_shell: config.quarantine.unknown_shell, keep: &args.keep };
    let mut plan = plan(files, &known, &rules, &names);
    let moving: BTreeSet<&str> = plan.moving(Kind::Account).map(|row| row.name.as_str()).collect();
    let going = &plan.lines.group;
    let sudoers = sudoers_files();
    let mut mentioned = mentions::all(&sudoers, &sshd_text());
    mentioned.retain(|mention| {
        moving.contains(mention.name.as_str()) && !going.iter().any(|group| mention.is_member_of(group))
    });
    mentioned.extend(mentions::groups(&sudoers, |group| going.contains(group)));
    plan.warnings.extend(mentioned);
    plan.warnings.sort();
    Ok(plan)
}

/// What the directory has under the names of the files.
fn ask(files: &Files) -> Result<Known, CliError> {
    let (logins, groups) = wanted(files);
    let logins: Vec<LoginName> = logins.iter().filter_map(|name| name.parse().ok()).collect();
    let groups: Vec<GroupName> = groups.iter().filter_map(|name| name.parse().ok()).collect();
    with_directory(async |directory: &dyn Directory| {
        let failed = |error: DirectoryError| CliError::from(AccountsError::from(error));
        let mut known = Known::default();
        for name in logins {
            match directory.login_by_name(&name).await.map_err(failed)? {
                Some(Entry::Valid(login)) => {
                    // Only to say that it differs; a directory that checks passwords itself has none.
                    if let Ok(Some(hash)) = directory.password_hash(&name).await {
                        known.hashes.insert(name.to_string(), hash.expose().to_owned());
                    }
                    known.logins.insert(name.to_string(), login);
                }
                Some(Entry::Quarantined(entry)) => drop(known.broken.insert(name.to_string(), entry.reason)),
                None => {}
            }
        }
        for name in groups {
            match directory.group_by_name(&name).await.map_err(failed)? {
                Some(Entry::Valid(group)) => drop(known.groups.insert(name.to_string(), group)),
                Some(Entry::Quarantined(entry)) => drop(known.broken.insert(name.to_string(), entry.reason)),
                None => {}
            }
        }
        Ok(known)
    })
}

fn text(output: &Output, plan: &Plan) -> String {
    let mut text = String::new();
    let kind = |kind: Kind| if kind == Kind::Account { "account" } else { "group" }.to_owned();
    if !plan.entries.is_empty() {
        text.push_str(&output.table(
            &["", "name", "id", "", "reason"],
            plan.entries.iter().map(|row| {
                let fate = if row.stays.is_some() { "stays" } else { "moves" };
                let reason = row.stays.clone().unwrap_or_default();
                vec![kind(row.kind), row.name.clone(), row.id.to_string(), fate.into(), reason]
            }),
        ));
    }
    let rest: Vec<_> = [(Sort::Shadow, &plan.lines.passwd), (Sort::Gshadow, &plan.lines.group)]
        .into_iter()
        .flat_map(|(sort, open)| plan.lines.of(sort).difference(open).map(move |name| format!("{sort}: {name}")))
        .collect();
    if !rest.is_empty() {
        text.push_str(&format!("\nLines that an interrupted run has left, and that go: {}\n", rest.join(", ")));
    }
    if !plan.warnings.is_empty() {
        text.push_str("\nLook at these before: from then on they are for the directory's login.\n");
        let rows = plan.warnings.iter().map(|warning| vec![warning.name.clone(), warning.what.clone()]);
        text.push_str(&output.table(&["name", ""], rows));
    }
    text
}

fn apply(etc: &Path, files: &Files, plan: &Plan, config: &Config, limit: Duration) -> Result<Backup, CliError> {
    published(files, plan, config, limit)?;
    let (middle, after) = (files.without(&without_shared(files, &plan.lines)), files.without(&plan.lines));
    let backup = Backup::create(files, &plan.lines)?;
    let prepared = Swap::prepare(etc, Step::First, files, &middle)
        .and_then(|first| Ok((first, Swap::prepare(etc, Step::Second, &middle, &after)?)));
    let (mut first, mut second) = match prepared {
        Ok(swaps) => swaps,
        Err(error) => {
            backup.discard();
            return Err(error);
        }
    };
    let moved = first
        .replace(&[Sort::Group, Sort::Gshadow, Sort::Passwd])
        .and_then(|()| second.replace(&[Sort::Group, Sort::Gshadow]))
        .and_then(|()| seen(files, plan, limit))
        .and_then(|()| first.replace(&[Sort::Shadow]));
    match moved {
        Ok(()) => Ok(backup),
        Err(error) => {
            Swap::undo_both(&mut first, &mut second)?;
            reload();
            backup.discard();
            Err(CliError::Refused(format!("all files are as they were, because: {error}")))
        }
    }
}

/// These lines without those of groups that are nobody's primary group. They go when their members have gone: what the directory says of a local account's groups does not count.
fn without_shared(files: &Files, lines: &Lines) -> Lines {
    let mut lines = lines.clone();
    let (Some(passwd), Some(group)) = (files.get(Sort::Passwd), files.get(Sort::Group)) else { return lines };
    let primary = primary_groups(passwd, group, &lines.passwd);
    lines.group.retain(|name| primary.contains(name));
    lines.gshadow.retain(|name| primary.contains(name) || !group.has(name));
    lines
}

/// Waits until the snapshot has all of it. In lookup mode there is none.
fn published(files: &Files, plan: &Plan, config: &Config, limit: Duration) -> Result<(), CliError> {
    reload_or_fail()?;
    if config.snapshot.mode == SnapshotMode::Lookup {
        return Ok(());
    }
    let until = Instant::now() + limit;
    loop {
        let missing = Published::open(Path::new(LIVE))
            .map_err(|error| error.to_string())
            .and_then(|published| lacking(&published, files, plan));
        match missing {
            Ok(None) => return Ok(()),
            Ok(Some(_)) | Err(_) if Instant::now() < until => std::thread::sleep(STEP),
            Ok(Some(name)) => {
                return Err(CliError::Refused(format!(
                    "nothing was changed: identityd has not published {name} within {} s; identityctl status says why. After an upgrade restart it",
                    limit.as_secs()
                )));
            }
            Err(reason) => return Err(CliError::Unavailable(format!("nothing was changed: {reason}"))),
        }
    }
}

/// The first that is not published as it is in the files.
fn lacking(published: &Published, files: &Files, plan: &Plan) -> Result<Option<String>, String> {
    let snapshot = published.snapshot().map_err(|error| error.to_string())?;
    for row in plan.moving(Kind::Account) {
        let gid = files.get(Sort::Passwd).and_then(|passwd| passwd.fields(&row.name).ok().flatten());
        let gid = gid.and_then(|fields| fields.get(3)?.parse::<u32>().ok());
        match snapshot.login_by_name(row.name.as_bytes()) {
            Answer::Found(login) if login.id() == row.id && login.gids().and_then(|gids| gids.iter().next()) == gid => {
            }
            _ => return Ok(Some(row.name.clone())),
        }
    }
    for row in plan.moving(Kind::Group) {
        match snapshot.group_by_name(row.name.as_bytes()) {
            Answer::Found(group) if group.id() == row.id => {}
            _ => return Ok(Some(format!("the group {}", row.name))),
        }
    }
    Ok(None)
}

/// Waits until every program finds them as they were, and identityd answers for them.
fn seen(files: &Files, plan: &Plan, limit: Duration) -> Result<(), CliError> {
    let until = Instant::now() + limit;
    reload();
    loop {
        let wrong = wrong(files, plan)?;
        match wrong {
            None => return Ok(()),
            Some(_) if Instant::now() < until => std::thread::sleep(STEP),
            Some(wrong) => return Err(CliError::Refused(format!("after {} s {wrong}", limit.as_secs()))),
        }
    }
}

/// What is not as it was.
fn wrong(files: &Files, plan: &Plan) -> Result<Option<String>, CliError> {
    let mut accounts = BTreeMap::new();
    for row in plan.moving(Kind::Account) {
        let fields = files.get(Sort::Passwd).and_then(|passwd| passwd.fields(&row.name).ok().flatten());
        let fields = fields.unwrap_or_default();
        let field = |at: usize| fields.get(at).cloned().unwrap_or_default();
        let home = field(5).trim_end_matches('/').to_owned();
        accounts.insert(row.name.clone(), [row.id.to_string(), field(3), home].join(":"));
    }
    let of_passwd = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, _] = fields.as_slice() else { return None };
        Some(((*name).to_owned(), [*uid, *gid, home.trim_end_matches('/')].join(":")))
    };
    let names: Vec<_> = accounts.keys().cloned().collect();
    let uids: Vec<_> = plan.moving(Kind::Account).map(|row| row.id.to_string()).collect();
    for keys in [names, uids] {
        let found: BTreeMap<String, String> =
            getent("passwd", &keys)?.iter().filter_map(|line| of_passwd(line)).collect();
        if let Some(name) = accounts.iter().find(|(name, expected)| found.get(*name) != Some(expected)) {
            return Ok(Some(format!("getent passwd does not find {} as it was", name.0)));
        }
    }
    let groups: Vec<_> = plan.moving(Kind::Group).collect();
    for keys in [
        groups.iter().map(|row| row.name.clone()).collect::<Vec<_>>(),
        groups.iter().map(|row| row.id.to_string()).collect(),
    ] {
        let found = getent("group", &keys)?;
        for row in &groups {
            let line = found.iter().find_map(|line| line.strip_prefix(&format!("{}:", row.name)));
            let fields: Vec<_> = line.unwrap_or_default().split(':').collect();
            let [_, gid, now] = fields.as_slice() else {
                return Ok(Some(format!("getent group does not find {}", row.name)));
            };
            let now: BTreeSet<_> = now.split(',').collect();
            let before = files.get(Sort::Group).into_iter().flat_map(|file| members(file, &row.name));
            // Who has it as the primary group need not be listed.
            let mut before = before.filter(|member| primary(files, member).as_deref() != Some(gid));
            if *gid != row.id.to_string() || !before.all(|member| now.contains(member.as_str())) {
                return Ok(Some(format!("getent group does not find {} as it was", row.name)));
            }
        }
    }
    for row in plan.moving(Kind::Account) {
        // Whether it checks its password now, which getent does not show.
        let served = match Client::new().ask(&Request::Why { login: row.name.clone(), service: None })? {
            Reply::Why(text) => serde_json::from_str(&text).is_ok_and(|why: Value| why["outcome"].is_null()),
            _ => false,
        };
        if !served {
            return Ok(Some(format!("identityd does not answer for {}: identityctl why {}", row.name, row.name)));
        }
    }
    Ok(None)
}

fn primary(files: &Files, account: &str) -> Option<String> {
    files.get(Sort::Passwd)?.fields(account).ok()??.into_iter().nth(3)
}

/// The lines that getent(1) finds: a new process, with the nsswitch.conf of now.
fn getent(map: &str, keys: &[String]) -> Result<Vec<String>, CliError> {
    let mut found = Vec::new();
    for keys in keys.chunks(AT_ONCE) {
        let output = Command::new("/usr/bin/getent").arg(map).args(keys).output();
        let output = output.map_err(CliError::io("run /usr/bin/getent"))?;
        found.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    }
    Ok(found)
}

/// identityd notices the files by itself, a little later.
pub(super) fn reload() {
    let _ = reload_or_fail();
}

fn reload_or_fail() -> Result<(), CliError> {
    match Client::new().within(RELOAD_LIMIT).ask(&Request::Reload)? {
        Reply::Failed(reason) => Err(CliError::Refused(format!("identityd does not take its configuration: {reason}"))),
        _ => Ok(()),
    }
}
