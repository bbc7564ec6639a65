//! What moves and what stays, and why: judged from the files and from what the directory has under their names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use schema::date::Date;
use schema::id::is_usable;
use schema::name::LoginName;
use schema::record::{Group, Login, Status};
use serde::Serialize;

use super::files::{File, Files, Lines, Sort, number};
use crate::cli::mentions::Mention;
use crate::config::UnknownShell;
use crate::local::Local;
use crate::quarantine;

/// What the directory has under the names of the files.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) logins: BTreeMap<String, Login>,
    pub(super) groups: BTreeMap<String, Group>,
    /// Names whose entry breaks the rules, with the reason.
    pub(super) broken: BTreeMap<String, String>,
    /// Hashes of passwords, where the directory gives them.
    pub(super) hashes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Account,
    Group,
}

/// An account or a group of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) id: u32,
    /// Why it stays; `None`: it moves.
    pub(super) stays: Option<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) entries: Vec<Row>,
    /// What to look at before.
    pub(super) warnings: Vec<Mention>,
    /// The lines that go.
    pub(super) lines: Lines,
}

/// The rules of this server.
pub(super) struct Rules<'a> {
    pub(super) local: &'a Local,
    pub(super) unknown_shell: UnknownShell,
    /// Accounts that the administrator keeps.
    pub(super) keep: &'a [String],
}

/// Names in the files that the directory is to be asked for: accounts above the floor, with all members of groups; and groups.
pub(super) fn wanted(files: &Files) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut logins = BTreeSet::new();
    let mut groups = BTreeSet::new();
    for (sort, file) in files.iter() {
        let names = file.names().map(str::to_owned);
        match sort {
            Sort::Passwd | Sort::Shadow => logins.extend(names),
            Sort::Group => {
                groups.extend(names);
                for group in file.names() {
                    logins.extend(members(file, group));
                }
            }
            Sort::Gshadow => groups.extend(names),
        }
    }
    (logins, groups)
}

/// What moves of `files`; of these names only, if there are any.
pub(super) fn plan(files: &Files, known: &Known, rules: &Rules<'_>, names: &BTreeSet<String>) -> Plan {
    let mut plan = Judging { files, known, rules, names, accounts: BTreeMap::new(), groups: BTreeMap::new() };
    plan.judge_each();
    while plan.judge_together() {}
    let lines = plan.lines();
    let warnings = plan.warnings();
    let row = |kind: Kind, (name, (id, stays)): (String, (u32, Option<String>))| Row { kind, name, id, stays };
    let accounts = plan.accounts.into_iter().map(|entry| row(Kind::Account, entry));
    let groups = plan.groups.into_iter().map(|entry| row(Kind::Group, entry));
    Plan { entries: accounts.chain(groups).collect(), warnings, lines }
}

impl Plan {
    pub(super) fn moving(&self, kind: Kind) -> impl Iterator<Item = &Row> {
        self.entries.iter().filter(move |row| row.kind == kind && row.stays.is_none())
    }
}

/// Id, and why it stays.
type Fates = BTreeMap<String, (u32, Option<String>)>;

struct Judging<'a> {
    files: &'a Files,
    known: &'a Known,
    rules: &'a Rules<'a>,
    names: &'a BTreeSet<String>,
    accounts: Fates,
    groups: Fates,
}

impl Judging<'_> {
    fn file(&self, sort: Sort) -> Option<&File> {
        self.files.get(sort)
    }

    fn judge_each(&mut self) {
        let Some(passwd) = self.files.get(Sort::Passwd) else { return };
        let Some(group) = self.files.get(Sort::Group) else { return };
        for name in passwd.names().filter(|name| self.names.is_empty() || self.names.contains(*name)) {
            let Some(uid) = self.local_uid(name).filter(|uid| is_usable(*uid)) else { continue };
            self.accounts.insert(name.to_owned(), (uid, self.account(name, uid).err()));
        }
        let chosen: BTreeSet<u32> = self.accounts.keys().filter_map(|name| self.local_gid(name)).collect();
        for name in group.names() {
            let Some(gid) = group.id_of(name).filter(|gid| is_usable(*gid)) else { continue };
            if self.names.is_empty() || chosen.contains(&gid) {
                self.groups.insert(name.to_owned(), (gid, self.group(name, gid).err()));
            }
        }
    }

    fn local_uid(&self, name: &str) -> Option<u32> {
        self.file(Sort::Passwd)?.id_of(name)
    }

    fn local_gid(&self, name: &str) -> Option<u32> {
        number(self.file(Sort::Passwd)?.fields(name).ok()??.get(3)?)
    }

    /// An account by itself.
    fn account(&self, name: &str, uid: u32) -> Result<(), String> {
        if self.rules.keep.iter().any(|kept| kept == name) {
            return Err("it is kept (--keep)".into());
        }
        let passwd = self.file(Sort::Passwd).ok_or("there is no /etc/passwd")?;
        let Some(fields) = passwd.fields(name)? else { return Err("it is gone".into()) };
        let [_, password, uid_field, gid, _, home, _] = fields.as_slice() else { return Err("it is gone".into()) };
        if let Some(other) = passwd.names_of_id(uid).find(|other| *other != name) {
            return Err(format!("{other} has the uid {uid} as well"));
        }
        if number(uid_field) != Some(uid) {
            return Err(format!("its uid is written {uid_field:?}"));
        }
        if password != "x" {
            return Err("its password is not in /etc/shadow; run pwconv".into());
        }
        if let Some(shadow) = self.file(Sort::Shadow) {
            shadow.fields(name)?;
        }
        let login = self.login(name)?;
        if login.uid.raw() != uid {
            return Err(format!(
                "the directory has the uid {} for {name}. Is it the same person, give the account and its files that uid; else rename one of the two",
                login.uid
            ));
        }
        if number(gid) != Some(login.gid.raw()) {
            return Err(format!("the directory has the primary group {} for {name}, and not {gid}", login.gid));
        }
        if home.trim_end_matches('/') != login.home.as_str() {
            return Err(format!(
                "the directory has the home {} for {name}, and not {home}. Move one of the two",
                login.home
            ));
        }
        // Somebody closed it on this server: whether that was meant for the whole fleet, its name says.
        match self.closed_here(name, login).filter(|_| self.names.is_empty()) {
            Some(how) => Err(format!(
                "{how} here, and open in the directory. Close it there as well, or name it to move it all the same"
            )),
            None => Ok(()),
        }
    }

    /// How an account is closed by this server's files that is open in the directory.
    fn closed_here(&self, name: &str, login: &Login) -> Option<&'static str> {
        if login.status != Status::Active {
            return None;
        }
        let field = |sort: Sort, at: usize| self.file(sort)?.fields(name).ok()??.into_iter().nth(at);
        let closed = |shell: &str| shell.ends_with("/nologin") || shell.ends_with("/false");
        if field(Sort::Shadow, 1).is_some_and(|password| password.starts_with("!$")) {
            return Some("it is locked");
        }
        let expires = field(Sort::Shadow, 7).and_then(|day| number(&day));
        if login.aging.expires.is_none() && expires.is_some_and(|day| day <= Date::of(SystemTime::now()).days()) {
            return Some("it has expired");
        }
        let shell = field(Sort::Passwd, 6).unwrap_or_default();
        (closed(&shell) && !closed(login.shell.as_str())).then_some("it has no shell")
    }

    fn login(&self, name: &str) -> Result<&Login, String> {
        match (self.known.logins.get(name), self.known.broken.get(name)) {
            (Some(login), _) => Ok(login),
            (None, Some(reason)) => Err(format!("the directory does not serve it: {reason}")),
            (None, None) => Err("the directory has no login of this name".into()),
        }
    }

    /// A group by itself.
    fn group(&self, name: &str, gid: u32) -> Result<(), String> {
        let file = self.file(Sort::Group).ok_or("there is no /etc/group")?;
        let Some(fields) = file.fields(name)? else { return Err("it is gone".into()) };
        let [_, password, gid_field, _] = fields.as_slice() else { return Err("it is gone".into()) };
        if let Some(other) = file.names_of_id(gid).find(|other| *other != name) {
            return Err(format!("{other} has the gid {gid} as well"));
        }
        if number(gid_field) != Some(gid) {
            return Err(format!("its gid is written {gid_field:?}"));
        }
        let hidden = self.file(Sort::Gshadow).map_or(Ok(None), |gshadow| gshadow.fields(name))?;
        let hidden = hidden.as_ref().and_then(|fields| fields.get(1)).map_or("", String::as_str);
        if !matches!(password.as_str(), "x" | "" | "*" | "!") || !(hidden.is_empty() || hidden.starts_with(['!', '*']))
        {
            return Err("it has a password, which the directory has not; take it away: gpasswd -r".into());
        }
        let Some(group) = self.known.groups.get(name) else {
            return Err(match self.known.broken.get(name) {
                Some(reason) => format!("the directory does not serve it: {reason}"),
                None => "the directory has no group of this name".into(),
            });
        };
        if group.gid.raw() != gid {
            return Err(format!("the directory has the gid {} for {name}", group.gid));
        }
        match members(file, name).find(|member| !self.is_member(group, member)) {
            Some(member) => Err(format!(
                "its member {member} is not in the directory's group. Add it there (identityctl group add-member {name} {member}), or take it out here (gpasswd -d {member} {name})"
            )),
            None => Ok(()),
        }
    }

    /// Whether the directory has this name in the group, as a member or by its primary group.
    fn is_member(&self, group: &Group, member: &str) -> bool {
        group.members.iter().any(|name| name.as_str() == member)
            || self.known.logins.get(member).is_some_and(|login| login.gid == group.gid)
    }

    /// What stays may keep others. `true`: something more stays now.
    fn judge_together(&mut self) -> bool {
        let mut found: Vec<(Kind, String, String)> = Vec::new();
        for (name, (gid, _)) in self.groups.iter().filter(|(_, (_, stays))| stays.is_none()) {
            found.extend(self.keeps(name, *gid).map(|reason| (Kind::Group, name.clone(), reason)));
        }
        for name in self.accounts.iter().filter(|(_, (_, stays))| stays.is_none()).map(|(name, _)| name) {
            let Some(gid) = self.local_gid(name) else { continue };
            let mut groups = self.file(Sort::Group).into_iter().flat_map(|file| file.names_of_id(gid));
            if let Some(group) = groups.find(|group| !moves(&self.groups, group)) {
                let why = self.groups.get(group).and_then(|(_, stays)| stays.as_deref());
                let why = why.unwrap_or("it is a group of the system");
                found.push((Kind::Account, name.clone(), format!("its primary group {group} stays: {why}")));
            }
        }
        if found.is_empty() {
            found = self.refused();
        }
        let more = !found.is_empty();
        for (kind, name, reason) in found {
            let fates = if kind == Kind::Account { &mut self.accounts } else { &mut self.groups };
            if let Some((_, stays)) = fates.get_mut(&name) {
                *stays = Some(reason);
            }
        }
        more
    }

    /// Why an account that stays keeps a group.
    fn keeps(&self, name: &str, gid: u32) -> Option<String> {
        let passwd = self.file(Sort::Passwd)?;
        let stays = |account: &&str| !moves(&self.accounts, account);
        if let Some(account) = passwd.names().filter(stays).find(|account| self.local_gid(account) == Some(gid)) {
            return Some(format!("it is the primary group of {account}, which stays"));
        }
        let mut members = members(self.file(Sort::Group)?, name);
        let member = members.find(|member| passwd.has(member) && !moves(&self.accounts, member))?;
        Some(format!("its member {member} stays a local account, for which the directory does not speak"))
    }

    /// What this server would not serve once the lines are gone.
    fn refused(&self) -> Vec<(Kind, String, String)> {
        let after = self.files.without(&self.lines());
        let text =
            |sort| after.get(sort).map(|file| String::from_utf8_lossy(&file.bytes()).into_owned()).unwrap_or_default();
        let after = self.rules.local.with_accounts(&text(Sort::Passwd), &text(Sort::Group));
        let mut found = Vec::new();
        for name in self.accounts.keys().filter(|name| moves(&self.accounts, name)) {
            let Some(login) = self.known.logins.get(name) else { continue };
            let refused = quarantine::login(login, &after, self.rules.unknown_shell).err();
            found.extend(refused.map(|reason| (Kind::Account, name.clone(), reason)));
        }
        for name in self.groups.keys().filter(|name| moves(&self.groups, name)) {
            let Some(group) = self.known.groups.get(name) else { continue };
            let refused = quarantine::group(group, &after).err();
            found.extend(refused.map(|reason| (Kind::Group, name.clone(), reason)));
        }
        found
    }

    /// With them go lines that an interruption has left: of an account that is in shadow alone, and in the directory. Its password would still open the
    /// directory's login here.
    fn lines(&self) -> Lines {
        let moving =
            |fates: &Fates| -> BTreeSet<String> { fates.keys().filter(|name| moves(fates, name)).cloned().collect() };
        let mut lines = Lines { passwd: moving(&self.accounts), group: moving(&self.groups), ..Lines::default() };
        for (hidden, open) in [(Sort::Shadow, Sort::Passwd), (Sort::Gshadow, Sort::Group)] {
            let (Some(hidden_file), Some(open_file)) = (self.file(hidden), self.file(open)) else { continue };
            let in_directory = |name: &str| match open {
                Sort::Passwd => self.known.logins.contains_key(name),
                _ => self.known.groups.contains_key(name),
            };
            let left = |name: &&str| {
                (self.names.is_empty() || self.names.contains(*name)) && !open_file.has(name) && in_directory(name)
            };
            let goes = |name: &&str| lines.of(open).contains(*name) || left(name);
            let names = hidden_file.names().filter(goes).filter(|name| hidden_file.fields(name).is_ok());
            *lines.of_mut(hidden) = names.map(str::to_owned).collect();
        }
        lines
    }

    fn warnings(&self) -> Vec<Mention> {
        let mut warnings = Vec::new();
        for name in self.accounts.keys().filter(|name| moves(&self.accounts, name)) {
            let fields = self.file(Sort::Shadow).and_then(|shadow| shadow.fields(name).ok().flatten());
            let here = fields.as_ref().and_then(|fields| fields.get(1)).map_or("", String::as_str);
            let Some(login) = self.known.logins.get(name) else { continue };
            let mut warn = |what: &str| warnings.push(Mention { name: name.clone(), what: what.into() });
            if login.status == Status::Locked {
                warn("is locked in the directory: it cannot log in here any more");
            } else if here.starts_with('!') {
                warn("is locked here (/etc/shadow), and not in the directory: it can log in afterwards");
            } else if self.known.hashes.get(name).is_some_and(|there| there != here) {
                warn("has another password in the directory than here");
            }
        }
        for name in self.groups.keys().filter(|name| moves(&self.groups, name)) {
            let (Some(group), Some(file)) = (self.known.groups.get(name), self.file(Sort::Group)) else { continue };
            let here: BTreeSet<_> = members(file, name).collect();
            let new: Vec<_> =
                group.members.iter().map(LoginName::as_str).filter(|name| !here.contains(*name)).collect();
            if !new.is_empty() {
                let what = format!("has more members in the directory than here: {}", new.join(", "));
                warnings.push(Mention { name: name.clone(), what });
            }
        }
        warnings
    }
}

fn moves(fates: &Fates, name: &str) -> bool {
    fates.get(name).is_some_and(|(_, stays)| stays.is_none())
}

/// The members that a group's line lists; of a line that is not understood none.
pub(super) fn members(file: &File, group: &str) -> impl Iterator<Item = String> {
    let fields = file.fields(group).ok().flatten().unwrap_or_default();
    let list = fields.into_iter().nth(3).unwrap_or_default();
    let members: Vec<_> = list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    members.into_iter()
}
