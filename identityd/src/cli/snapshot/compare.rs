//! `identityctl snapshot compare`.

use std::path::Path;

use schema::packed::{Gids, GroupHead, PasswdHead};
use schema::snapshot::Answer;
use schema::snapshot::changes::Owned;
use schema::snapshot::layout::FileKind;
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::{Group, Kind, Login};
use serde::Serialize;

use super::super::output::{Output, printable};
use super::super::{CliError, Exit};
use super::{KEPT, LIVE, entries, stock};
use crate::snapshot::open::{Part, Published};

/// One of the two.
#[derive(Serialize)]
struct Side {
    place: String,
    generation: u64,
}

/// An entry that differs.
#[derive(Debug, Serialize)]
struct Difference {
    sort: &'static str,
    /// `only_one`, `only_other` or `changed`.
    how: &'static str,
    name: String,
    id: u32,
    /// `field: one -> other`.
    what: Vec<String>,
}

/// What was found; the first entries of it are told, all are counted.
#[derive(Serialize)]
struct Report {
    one: Side,
    other: Side,
    only_one: u64,
    only_other: u64,
    changed: u64,
    entries: Vec<Difference>,
    #[serde(skip)]
    limit: usize,
}

impl Side {
    fn of(published: &Published, snapshot: &Snapshot<'_>) -> Self {
        let place = match &published.state {
            None if published.delta.is_none() => &published.base.path,
            _ => &published.directory,
        };
        Self { place: place.display().to_string(), generation: snapshot.generation() }
    }
}

impl Difference {
    fn of(sort: &'static str, entry: &Entry<'_>) -> Self {
        let name = String::from_utf8_lossy(entry.name).into_owned();
        Self { sort, how: "", name, id: entry.id, what: Vec::new() }
    }
}

impl Report {
    fn new(one: Side, other: Side, limit: usize) -> Self {
        Self { one, other, only_one: 0, only_other: 0, changed: 0, entries: Vec::new(), limit }
    }

    fn add(&mut self, difference: impl FnOnce() -> Difference, how: &'static str) {
        match how {
            "only_one" => self.only_one += 1,
            "only_other" => self.only_other += 1,
            _ => self.changed += 1,
        }
        if self.entries.len() < self.limit {
            self.entries.push(Difference { how, ..difference() });
        }
    }

    fn differences(&self) -> u64 {
        self.only_one + self.only_other + self.changed
    }
}

pub(super) fn run(
    output: &Output,
    one: Option<&Path>,
    other: Option<&Path>,
    directory: bool,
    limit: usize,
) -> Result<Exit, CliError> {
    let one = open(one.unwrap_or(Path::new(LIVE)))?;
    let report = match directory {
        true => compare_with_directory(&one, limit)?,
        false => compare(&one, &open(other.unwrap_or(Path::new(KEPT)))?, limit)?,
    };
    output.show(&report, |_| render(&report))?;
    Ok(if report.differences() == 0 { Exit::Ok } else { Exit::Failed })
}

fn open(path: &Path) -> Result<Published, CliError> {
    if path.is_dir() {
        return Ok(Published::open(path)?);
    }
    let part = Part::open(path)?;
    match part.header.kind {
        FileKind::Base => Ok(Published::of_base(part)),
        FileKind::Delta => Err(CliError::Refused(format!(
            "{} is a delta: it says little without its base; name the directory that holds both",
            path.display()
        ))),
    }
}

fn compare(one: &Published, other: &Published, limit: usize) -> Result<Report, CliError> {
    let (a, b) = (one.snapshot()?, other.snapshot()?);
    let mut report = Report::new(Side::of(one, &a), Side::of(other, &b), limit);
    let place = report.other.place.clone();
    let mut logins = Merge::logins(&a, &report.one.place)?;
    let mut after = 0;
    while let Some(login) = known(b.login_after(after), &place)? {
        after = login.id();
        logins.push(&mut report, &Entry::of_login(&login))?;
    }
    logins.finish(&mut report)?;
    let mut groups = Merge::groups(&a, &report.one.place)?;
    after = 0;
    while let Some(group) = known(b.group_after(after), &place)? {
        after = group.id();
        groups.push(&mut report, &Entry::of_group(&group))?;
    }
    groups.finish(&mut report)?;
    Ok(report)
}

/// With what would be published now.
fn compare_with_directory(one: &Published, limit: usize) -> Result<Report, CliError> {
    let snapshot = one.snapshot()?;
    let side = Side::of(one, &snapshot);
    let place = side.place.clone();
    let other = Side { place: "the directory".into(), generation: 0 };
    let mut all = Directory {
        report: Report::new(side, other, limit),
        logins: Some(Merge::logins(&snapshot, &place)?),
        groups: Merge::groups(&snapshot, &place)?,
    };
    stock::read(&mut all)?;
    let Directory { mut report, groups, .. } = all;
    groups.finish(&mut report)?;
    Ok(report)
}

/// Up to `limit` published logins and groups that the directory no longer has under their name and id: `login ana (2010)`.
pub(super) fn removed(one: &Published, limit: usize) -> Result<Vec<String>, CliError> {
    let report = compare_with_directory(one, usize::MAX)?;
    let gone = report.entries.into_iter().filter_map(|Difference { sort, how, name, id, what }| match how {
        "only_one" => Some(format!("{sort} {name} ({id})")),
        "changed" => what.into_iter().find(|what| what.starts_with("name ")).map(|what| format!("{sort} {id}: {what}")),
        _ => None,
    });
    Ok(gone.take(limit).collect())
}

/// A comparison while the directory is being read.
struct Directory<'a> {
    report: Report,
    logins: Option<Merge<'a>>,
    groups: Merge<'a>,
}

impl stock::Reader for Directory<'_> {
    fn begin(&mut self, generation: u64) -> Result<(), CliError> {
        self.report.other.generation = generation;
        Ok(())
    }

    fn login(&mut self, login: &Owned) -> Result<(), CliError> {
        match &mut self.logins {
            Some(logins) => logins.push(&mut self.report, &Entry::of_owned(login)),
            None => Ok(()),
        }
    }

    fn logins_end(&mut self) -> Result<(), CliError> {
        self.logins.take().map_or(Ok(()), |logins| logins.finish(&mut self.report))
    }

    fn group(&mut self, group: &Owned) -> Result<(), CliError> {
        self.groups.push(&mut self.report, &Entry::of_owned(group))
    }
}

/// An entry, whatever holds it.
struct Entry<'a> {
    id: u32,
    name: &'a [u8],
    record: &'a [u8],
    gids: &'a [u8],
}

impl<'a> Entry<'a> {
    fn of_login(login: &Login<'a>) -> Self {
        Self { id: login.id(), name: login.name(), record: login.record, gids: login.packed_gids().unwrap_or_default() }
    }

    fn of_owned(owned: &'a Owned) -> Self {
        Self { id: owned.id(), name: owned.name(), record: owned.record(), gids: owned.gids() }
    }

    fn of_group(group: &Group<'a>) -> Self {
        Self { id: group.id(), name: group.name(), record: group.record, gids: &[] }
    }
}

/// The entries of one snapshot, in step with those of another that are brought to it in order of id.
struct Merge<'a> {
    sort: &'static str,
    place: String,
    next: Box<dyn Fn(u32) -> Answer<Entry<'a>> + 'a>,
    at: Option<Entry<'a>>,
    changes: fn(&Entry<'_>, &Entry<'_>) -> Vec<String>,
}

impl<'a> Merge<'a> {
    fn logins(snapshot: &'a Snapshot<'a>, place: &str) -> Result<Self, CliError> {
        Self::new(
            "login",
            place,
            Box::new(|after| snapshot.login_after(after).map(|login| Entry::of_login(&login))),
            login_changes,
        )
    }

    fn groups(snapshot: &'a Snapshot<'a>, place: &str) -> Result<Self, CliError> {
        Self::new(
            "group",
            place,
            Box::new(|after| snapshot.group_after(after).map(|group| Entry::of_group(&group))),
            group_changes,
        )
    }

    fn new(
        sort: &'static str,
        place: &str,
        next: Box<dyn Fn(u32) -> Answer<Entry<'a>> + 'a>,
        changes: fn(&Entry<'_>, &Entry<'_>) -> Vec<String>,
    ) -> Result<Self, CliError> {
        let at = known(next(0), place)?;
        Ok(Self { sort, place: place.to_owned(), next, at, changes })
    }

    /// The next entry of the other.
    fn push(&mut self, report: &mut Report, other: &Entry<'_>) -> Result<(), CliError> {
        while self.at.as_ref().is_some_and(|one| one.id < other.id) {
            self.alone(report)?;
        }
        match &self.at {
            Some(one) if one.id == other.id => {
                if (one.name, one.record, one.gids) != (other.name, other.record, other.gids) {
                    let what = || Difference { what: (self.changes)(one, other), ..Difference::of(self.sort, one) };
                    report.add(what, "changed");
                }
                self.step(one.id)
            }
            _ => {
                report.add(|| Difference::of(self.sort, other), "only_other");
                Ok(())
            }
        }
    }

    /// The other has no more.
    fn finish(mut self, report: &mut Report) -> Result<(), CliError> {
        while self.at.is_some() {
            self.alone(report)?;
        }
        Ok(())
    }

    fn alone(&mut self, report: &mut Report) -> Result<(), CliError> {
        let Some(one) = &self.at else { return Ok(()) };
        report.add(|| Difference::of(self.sort, one), "only_one");
        self.step(one.id)
    }

    fn step(&mut self, after: u32) -> Result<(), CliError> {
        self.at = known((self.next)(after), &self.place)?;
        Ok(())
    }
}

fn known<T>(answer: Answer<T>, place: &str) -> Result<Option<T>, CliError> {
    match answer {
        Answer::Found(entry) => Ok(Some(entry)),
        Answer::Absent => Ok(None),
        Answer::Unusable => {
            Err(CliError::Unavailable(format!("{place} is damaged; run: identityctl snapshot verify {place}")))
        }
    }
}

fn login_changes(one: &Entry<'_>, other: &Entry<'_>) -> Vec<String> {
    let fields = |entry: &Entry<'_>| {
        let (head, strings) = PasswdHead::parse(entry.record).ok().zip(entry.record.get(PasswdHead::SIZE..))?;
        let gids = Gids::parse(entry.gids).ok()?.iter().map(|gid| gid.to_string()).collect::<Vec<_>>();
        Some((head.gid, entries::passwd_fields(&head, strings)?, gids))
    };
    let (
        Some((gid, [name, _, gecos, home, shell], gids)),
        Some((gid_b, [name_b, _, gecos_b, home_b, shell_b], gids_b)),
    ) = (fields(one), fields(other))
    else {
        return vec!["a string is damaged".into()];
    };
    let mut changes = Vec::new();
    let mut field = |what: &str, one: &str, other: &str| {
        if one != other {
            changes.push(format!("{what} {one} -> {other}"));
        }
    };
    field("name", &name, &name_b);
    field("gid", &gid.to_string(), &gid_b.to_string());
    field("gecos", &gecos, &gecos_b);
    field("home", &home, &home_b);
    field("shell", &shell, &shell_b);
    changes.extend(set_changes("groups", &gids, &gids_b));
    changes
}

fn group_changes(one: &Entry<'_>, other: &Entry<'_>) -> Vec<String> {
    let fields = |entry: &Entry<'_>| {
        let (head, strings) = GroupHead::parse(entry.record).ok().zip(entry.record.get(GroupHead::SIZE..))?;
        entries::group_fields(&head, strings)
    };
    let (Some((name, members)), Some((name_b, members_b))) = (fields(one), fields(other)) else {
        return vec!["a string is damaged".into()];
    };
    let mut changes = Vec::new();
    if name != name_b {
        changes.push(format!("name {name} -> {name_b}"));
    }
    changes.extend(set_changes("members", &members, &members_b));
    changes
}

/// `what +new -gone`, or that only the order differs.
fn set_changes(what: &str, one: &[String], other: &[String]) -> Option<String> {
    if one == other {
        return None;
    }
    let (before, after) = (
        one.iter().collect::<std::collections::BTreeSet<_>>(),
        other.iter().collect::<std::collections::BTreeSet<_>>(),
    );
    let new = after.difference(&before).map(|item| format!(" +{item}"));
    let gone = before.difference(&after).map(|item| format!(" -{item}"));
    let text: String = new.chain(gone).collect();
    Some(if text.is_empty() { format!("{what} in another order") } else { format!("{what}{text}") })
}

fn render(report: &Report) -> String {
    let (one, other) = (&report.one, &report.other);
    let mut text = format!(
        "one:   {} (generation {})\nother: {} (generation {})\n",
        one.place, one.generation, other.place, other.generation
    );
    if report.differences() == 0 {
        return text + "They say the same.\n";
    }
    text.push('\n');
    for entry in &report.entries {
        let (mark, tail) = match entry.how {
            "only_one" => ('-', "only in one".to_owned()),
            "only_other" => ('+', "only in the other".to_owned()),
            _ => ('~', entry.what.join("; ")),
        };
        text.push_str(&format!(
            "{mark} {} {} ({}): {}\n",
            entry.sort,
            printable(&entry.name),
            entry.id,
            printable(&tail)
        ));
    }
    let hidden = report.differences() - report.entries.len() as u64;
    if hidden > 0 {
        text.push_str(&format!("… and {hidden} more; --limit shows more of them\n"));
    }
    text.push_str(&format!(
        "\n{} differ: {} only in one, {} only in the other, {} changed\n",
        report.differences(),
        report.only_one,
        report.only_other,
        report.changed
    ));
    text
}
