//! `identityctl import` and `identityctl export`.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::{ExportArgs, ImportArgs};
use super::output::{Output, lines, printable};
use super::parse::option;
use super::session::{finish, with_accounts};
use super::{CliError, Exit};
use crate::accounts::export::Export;
use crate::accounts::import::{Fate, File, Files, Finding, Options, Plan, Summary};
use crate::accounts::{Accounts, AccountsError, Done};

pub(super) fn import(output: &Output, args: &ImportArgs) -> Result<Exit, CliError> {
    // Read as root, before the directory is opened as its owner.
    let files = read(args)?;
    let options = Options {
        membership: option("the membership", args.membership.as_ref())?,
        own_group_for_system_gid: args.own_groups,
        ..Options::default()
    };
    let bar = progress("comparing the files with the directory");
    let (plan, done) = with_accounts(async |accounts: &Accounts| {
        let plan = accounts.import_plan(&files, &options).await?;
        if !args.apply {
            return Ok((plan, None));
        }
        count(&bar, "writing", plan.steps());
        let done = accounts.import_apply(&plan, &mut |step| bar.set_position(step)).await?;
        Ok::<_, AccountsError>((plan, Some(done)))
    })?;
    bar.finish_and_clear();
    report(output, &plan, done.as_ref())?;
    let refused = plan.findings.iter().any(|finding| finding.fate == Fate::Refused);
    Ok(if refused { Exit::Rejected } else { Exit::Ok })
}

fn read(args: &ImportArgs) -> Result<Files, CliError> {
    let wrong = |error: crate::accounts::import::ReadError| CliError::Refused(error.to_string());
    if let Some(folder) = &args.folder {
        return Files::in_folder(folder).map_err(wrong);
    }
    let file = |path: &Option<std::path::PathBuf>| path.as_deref().map(File::open).transpose().map_err(wrong);
    Ok(Files { passwd: file(&args.passwd)?, shadow: file(&args.shadow)?, group: file(&args.group)? })
}

fn report(output: &Output, plan: &Plan, done: Option<&Done<Summary>>) -> Result<(), CliError> {
    if !output.is_json() {
        output.raw(&lines(&plan_text(output, plan)))?;
    }
    match done {
        None => output.show(&json!({"applied": false, "plan": plan}), |_| match plan.is_empty() {
            true => "\nNothing to change.\n".into(),
            false => "\nNothing was changed. To do it, add --apply.\n".into(),
        }),
        Some(done) => {
            let done = Done {
                value: json!({"applied": true, "plan": plan}),
                generation: done.generation,
                changed: done.changed,
                warnings: done.warnings.clone(),
            };
            finish(output, &done, |_| "\nDone.".to_owned()).map(|_| ())
        }
    }
}

fn plan_text(output: &Output, plan: &Plan) -> String {
    let mut text = String::new();
    for (fate, title) in [
        (Fate::Refused, "Not taken"),
        (Fate::Kept, "In the directory already, and different there: stays as it is"),
        (Fate::Noted, "Taken, with a remark"),
        (Fate::Skipped, "Passed over"),
    ] {
        let findings: Vec<_> = plan.findings.iter().filter(|finding| finding.fate == fate).collect();
        if findings.is_empty() {
            continue;
        }
        let row = |finding: &&Finding| {
            let place = format!("{}:{}", finding.origin.file, finding.origin.line);
            vec![place, finding.name.clone().unwrap_or_else(|| "-".into()), finding.reason.clone()]
        };
        text.push_str(&format!("{title} ({}):\n", findings.len()));
        text.push_str(&output.table(&["line", "name", "reason"], findings.iter().map(row)));
        text.push('\n');
    }
    let summary = &plan.summary;
    let rows = summary.files.iter().map(|tally| {
        let counts = [tally.lines, tally.taken, tally.kept, tally.skipped, tally.refused];
        std::iter::once(tally.file.clone()).chain(counts.iter().map(ToString::to_string)).collect()
    });
    text.push_str(&output.table(&["file", "lines", "taken", "kept", "passed over", "not taken"], rows));
    text.push_str(&format!(
        "\nNew: {} logins, {} groups, {} memberships, {} members of groups. Unchanged: {}.\n",
        summary.logins, summary.groups, summary.memberships, summary.members, summary.unchanged
    ));
    text
}

/// A line on a terminal that says what is going on; nothing in a pipe.
pub(super) fn progress(doing: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    style(&bar, "{msg} … {elapsed}");
    bar.set_message(doing);
    // Drawn once: a thread that redraws it would run with root's ids beside the directory's.
    bar.tick();
    bar
}

/// From here it is known how much there is to do.
pub(super) fn count(bar: &ProgressBar, doing: &'static str, steps: u64) {
    style(bar, "{msg} {bar:40} {human_pos}/{human_len}, {eta} left");
    bar.set_message(doing);
    bar.set_length(steps);
    bar.reset_eta();
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

pub(super) fn export(output: &Output, args: &ExportArgs) -> Result<Exit, CliError> {
    if args.passwd.as_deref().is_some_and(|target| target != "-") {
        return Err(CliError::Refused("--passwd writes to standard output only: --passwd -".into()));
    }
    let bar = progress("reading the directory");
    let export = with_accounts(async |accounts: &Accounts| accounts.export().await)?;
    bar.finish_and_clear();
    for entry in &export.left_out {
        let name = printable(&entry.name);
        eprintln!("identityctl: warning: {name} ({}) is left out: {}", entry.id, printable(&entry.reason));
    }
    for (name, form) in &export.foreign {
        let name = printable(name);
        eprintln!(
            "identityctl: warning: the password of {name} is {} and not for shadow(5): it has * there",
            printable(form)
        );
    }
    match &args.folder {
        None if output.is_json() => {
            output.show(&json!({"passwd": String::from_utf8_lossy(&export.passwd)}), |_| String::new())?;
        }
        None => output.bytes(&export.passwd)?,
        Some(folder) => {
            write_all(folder, &export, args.force)?;
            let report = json!({"folder": folder, "generation": export.generation, "left_out": export.left_out, "foreign_passwords": export.foreign});
            output.show(&report, |_| {
                format!(
                    "passwd, shadow and group of generation {} written to {}.\n",
                    export.generation,
                    folder.display()
                )
            })?;
        }
    }
    Ok(Exit::Ok)
}

fn write_all(folder: &Path, export: &Export, force: bool) -> Result<(), CliError> {
    fs::create_dir_all(folder).map_err(CliError::io(format!("create {}", folder.display())))?;
    for (name, content, mode) in [
        ("passwd", &export.passwd[..], 0o644),
        ("group", &export.group[..], 0o644),
        ("shadow", &export.shadow[..], 0o600),
    ] {
        let path = folder.join(name);
        if !force && fs::symlink_metadata(&path).is_ok() {
            return Err(CliError::Refused(format!(
                "{} is there already; choose another folder, or add --force",
                path.display()
            )));
        }
        write(&path, content, mode).map_err(CliError::io(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// A new file beside it, complete and on disk, then renamed: a full disk leaves the old one, and the mode is right from the start.
fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = Path::new(&name);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(new, path)
    });
    if written.is_err() {
        // What was half written holds hashes.
        let _ = fs::remove_file(new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn hashes_are_written_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shadow");
        write(&path, b"ana:*:::::::\n", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
