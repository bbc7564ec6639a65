//! `identityctl local restore`: puts accounts back that were moved. It asks nobody: it is for the day on which nobody answers.

use std::collections::BTreeSet;
use std::path::Path;

use schema::snapshot::Answer;
use serde_json::json;

use super::ETC;
use super::backup::Backup;
use super::files::{File, Files, Lines, Sort};
use super::lock::Locked;
use super::release::reload;
use super::swap::Swap;
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
    let mut after = before.clone();
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
            back.of_mut(sort).append(&mut wanted);
        }
    }
    if let Some(unknown) = names.iter().find(|name| !Sort::ALL.iter().any(|sort| back.of(*sort).contains(**name))) {
        return Err(CliError::Refused(format!("{} was not moved, or is back already", printable(unknown))));
    }
    let removed = removed(&back.passwd);
    if !output.is_json() && !back.is_empty() {
        let rows = Sort::ALL
            .iter()
            .flat_map(|sort| back.of(*sort).iter().map(move |name| vec![sort.to_string(), name.clone()]));
        output.raw(&lines(&output.table(&["file", "name"], rows)))?;
        if !removed.is_empty() {
            let removed = removed.join(", ");
            output.raw(&format!(
                "\nLook at these before: the directory has them no more, and each would be a login here again: {removed}\n"
            ))?;
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
        apply(etc, &before, &after)?;
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
    output.show(&json!({"applied": applied, "lines": back, "removed_in_directory": removed}), |_| {
        match (back.is_empty(), applied) {
            (true, _) => "Nothing to put back.\n".into(),
            (false, true) => "\nDone. Local accounts win: they are this server's own again.\n".into(),
            (false, false) => "\nNothing was changed. To do it, add --apply.\n".into(),
        }
    })?;
    Ok(Exit::Ok)
}

/// Those that are not published: as far as this server knows, the directory has removed them.
fn removed(names: &BTreeSet<String>) -> Vec<&str> {
    let Ok(published) = Published::open(Path::new(LIVE)) else { return Vec::new() };
    let Ok(snapshot) = published.snapshot() else { return Vec::new() };
    let absent = |name: &&str| matches!(snapshot.login_by_name(name.as_bytes()), Answer::Absent);
    names.iter().map(String::as_str).filter(absent).collect()
}

/// The lines of these names that it has: of an account with its primary group.
fn chosen(backup: &Backup, sort: Sort, names: &BTreeSet<&str>) -> Result<BTreeSet<String>, CliError> {
    let taken = backup.taken.of(sort);
    if names.is_empty() || taken.is_empty() {
        return Ok(taken.clone());
    }
    let mut names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    if matches!(sort, Sort::Group | Sort::Gshadow) {
        let (passwd, group) = (backup.file(Sort::Passwd)?, backup.file(Sort::Group)?);
        let accounts = names.iter().filter_map(|name| passwd.fields(name).ok().flatten());
        let gids: Vec<u32> = accounts.filter_map(|fields| fields.get(3)?.parse().ok()).collect();
        names.extend(gids.iter().flat_map(|gid| group.names_of_id(*gid)).map(str::to_owned));
    }
    Ok(taken.intersection(&names).cloned().collect())
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

/// A password is there before its account, and an account before its group: as long as that is the directory's it is found there.
fn apply(etc: &Path, before: &Files, after: &Files) -> Result<(), CliError> {
    let mut swap = Swap::prepare(etc, before, after)?;
    if let Err(error) = swap.replace(&[Sort::Shadow, Sort::Passwd, Sort::Gshadow, Sort::Group]) {
        swap.undo()?;
        return Err(error);
    }
    Ok(())
}
