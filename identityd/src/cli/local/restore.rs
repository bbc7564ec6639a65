//! `identityctl local restore`: puts accounts back that were moved. It asks nobody: it is for the day on which nobody answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schema::snapshot::Answer;
use serde_json::json;

use super::ETC;
use super::backup::Backup;
use super::files::{File, Files, Lines, Sort, primary_groups};
use super::lock::Locked;
use super::plan::members;
use super::release::reload;
use super::swap::{Step, Swap};
use crate::cli::args::RestoreArgs;
use crate::cli::output::{Output, lines, printable};
use crate::cli::snapshot::LIVE;
use crate::cli::{CliError, Exit};
use crate::snapshot::open::Published;

pub(super) fn run(output: &Output, args: &RestoreArgs) -> Result<Exit, CliError> {
    let etc = Path::new(ETC);
    let locked = if args.apply { Some(Locked::take(etc)?) } else { None };
    let before = Files::read(etc)?;
    let mut backups = Backup::all()?;
    let names: BTreeSet<&str> = args.names.iter().map(String::as_str).collect();
    let (mut middle, mut after) = (before.clone(), before.clone());
    let mut back = Lines::default();
    let mut conflicts = Vec::new();
    for backup in &backups {
        for (sort, file) in after.iter_mut() {
            let mut wanted = chosen(backup, sort, &names)?;
            // The newest counts.
            wanted.retain(|name| !back.of(sort).contains(name));
            if wanted.is_empty() {
                continue;
            }
            let was = backup.file(sort)?;
            conflicts.extend(wanted.iter().filter_map(|name| conflict(sort, file, &was, name)));
            file.put_back(&was, &wanted);
            if matches!(sort, Sort::Group | Sort::Gshadow) {
                let (passwd, group) = (backup.file(Sort::Passwd)?, backup.file(Sort::Group)?);
                let primary = primary_groups(&passwd, &group, &backup.taken.passwd);
                middle.put_back(sort, &was, &wanted.difference(&primary).cloned().collect());
            }
            back.of_mut(sort).append(&mut wanted);
        }
    }
    if let Some(unknown) = names.iter().find(|name| !Sort::ALL.iter().any(|sort| back.of(*sort).contains(**name))) {
        return Err(CliError::Refused(format!("{} was not moved, or is back already", printable(unknown))));
    }
    conflicts.extend(orphaned(&backups, &back)?);
    let left = groups_left(&backups, &back)?;
    // The files of the snapshot are identityd's: nothing of them is mapped by who is about to change those of the system.
    let not_served = if args.apply { None } else { not_served(&back.passwd) };
    if !output.is_json() && !back.is_empty() {
        let rows = Sort::ALL
            .iter()
            .flat_map(|sort| back.of(*sort).iter().map(move |name| vec![sort.to_string(), name.clone()]));
        output.raw(&lines(&output.table(&["file", "name"], rows)))?;
        if !left.is_empty() {
            output.raw(&format!(
                "\nThese groups stay in the directory, which gives a local account none; name them as well if they are to come back: {}\n",
                left.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            ))?;
        }
        match &not_served {
            None if args.apply => {}
            None => output.raw("\nWhether the directory still has them is not known: nothing is published here.\n")?,
            Some(names) if names.is_empty() => {}
            Some(names) => output.raw(&format!(
                "\nLook at these before: the directory has them no more, or does not serve them, and each would be a login here again: {}\n",
                names.join(", ")
            ))?,
        }
    }
    if !conflicts.is_empty() {
        return Err(CliError::Refused(format!(
            "nothing was changed: {}. Mend that, or name those that are to come back",
            conflicts.join("; ")
        )));
    }
    let applied = args.apply && !back.is_empty();
    if applied {
        apply(etc, [&before, &middle, &after])?;
        for backup in &mut backups {
            for sort in Sort::ALL {
                backup.taken.of_mut(sort).retain(|name| !back.of(sort).contains(name));
            }
            backup.note().map_err(CliError::io(format!("write {}", backup.folder.display())))?;
        }
    }
    drop(locked);
    if applied {
        reload();
    }
    output.show(
        &json!({"applied": applied, "lines": back, "groups_left": left, "not_in_directory": not_served}),
        |_| match (back.is_empty(), applied) {
            (true, _) => "Nothing to put back.\n".into(),
            (false, true) => "\nDone. Local accounts win: they are this server's own again.\n".into(),
            (false, false) => "\nNothing was changed. To do it, add --apply.\n".into(),
        },
    )?;
    Ok(Exit::Ok)
}

/// Those that are not published: the directory has removed them, or what it has breaks the rules. `None`: there is nothing published that could tell.
fn not_served(names: &BTreeSet<String>) -> Option<Vec<&str>> {
    let published = Published::open(Path::new(LIVE)).ok()?;
    let snapshot = published.snapshot().ok()?;
    let absent = |name: &&str| matches!(snapshot.login_by_name(name.as_bytes()), Answer::Absent);
    Some(names.iter().map(String::as_str).filter(absent).collect())
}

/// The lines of these names that it has: of an account with its primary group.
fn chosen(backup: &Backup, sort: Sort, names: &BTreeSet<&str>) -> Result<BTreeSet<String>, CliError> {
    let taken = backup.taken.of(sort);
    if names.is_empty() || taken.is_empty() {
        return Ok(taken.clone());
    }
    let mut names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    if matches!(sort, Sort::Group | Sort::Gshadow) {
        names.extend(primary_groups(&backup.file(Sort::Passwd)?, &backup.file(Sort::Group)?, &names));
    }
    Ok(taken.intersection(&names).cloned().collect())
}

/// Accounts that stay in the directory while their primary group becomes a local one: nobody would know them.
fn orphaned(backups: &[Backup], back: &Lines) -> Result<Vec<String>, CliError> {
    let mut coming = BTreeMap::new();
    for backup in backups {
        let group = backup.file(Sort::Group)?;
        let names = backup.taken.group.intersection(&back.group);
        coming.extend(names.filter_map(|name| Some((group.id_of(name)?, name))));
    }
    let mut conflicts = Vec::new();
    for backup in backups {
        let passwd = backup.file(Sort::Passwd)?;
        let gid = |name: &str| passwd.fields(name).ok()??.get(3)?.parse().ok();
        let staying = backup.taken.passwd.difference(&back.passwd);
        conflicts.extend(staying.filter_map(|name| {
            let group = coming.get(&gid(name)?)?;
            Some(format!(
                "{group} is the primary group of {name} as well, which is to stay in the directory: name it too"
            ))
        }));
    }
    Ok(conflicts)
}

/// Groups that stay in the directory, of accounts that come back.
fn groups_left(backups: &[Backup], back: &Lines) -> Result<BTreeSet<String>, CliError> {
    let mut left = BTreeSet::new();
    for backup in backups {
        let group = backup.file(Sort::Group)?;
        let staying = backup.taken.group.difference(&back.group);
        left.extend(staying.filter(|name| members(&group, name).any(|member| back.passwd.contains(&member))).cloned());
    }
    Ok(left)
}

/// What stands in the way of a line.
fn conflict(sort: Sort, now: &File, was: &File, name: &str) -> Option<String> {
    let Some(line) = was.line(name) else { return Some(format!("the copy of {sort} has no {name}")) };
    let plain = |line: &[u8]| line.strip_suffix(b"\n").unwrap_or(line).to_vec();
    match now.line(name) {
        Some(there) if plain(there) == plain(line) => return None,
        Some(_) => return Some(format!("{sort} has another {name} now")),
        None => {}
    }
    let id = was.id_of(name).filter(|_| matches!(sort, Sort::Passwd | Sort::Group))?;
    let other = now.names_of_id(id).next()?;
    Some(format!("{sort} has {other} with the id {id} of {name} now"))
}

/// A group is there before its members, but for one that is a primary group: that is there after them. A password is there before its account, and an account before its primary group: as long as that is the directory's it is found there.
fn apply(etc: &Path, [before, middle, after]: [&Files; 3]) -> Result<(), CliError> {
    let mut first = Swap::prepare(etc, Step::First, before, middle)?;
    let mut second = Swap::prepare(etc, Step::Second, middle, after)?;
    let back = first
        .replace(&[Sort::Gshadow, Sort::Group])
        .and_then(|()| second.replace(&[Sort::Shadow, Sort::Passwd, Sort::Gshadow, Sort::Group]));
    if let Err(error) = back {
        Swap::undo_both(&mut first, &mut second)?;
        return Err(error);
    }
    Ok(())
}
