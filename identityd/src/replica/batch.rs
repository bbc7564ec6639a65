//! Changes become what the directory says *now* of every name and id that they concern.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Group, Login};
use schema::snapshot::Answer;
use schema::snapshot::changes::Change as Entry;
use schema::snapshot::view::Kind as _;

use super::entry::Rules;
use super::window::Entry as Vanished;
use crate::cache::{Lane, Source};
use crate::directory::{Change, Directory, DirectoryError, Entry as Found, Kind, NamedLogin, Quarantined};
use crate::snapshot::Published;

/// Two answers about one id contradict each other when the directory changed in between; it is asked again so often.
const ATTEMPTS: u32 = 3;
/// Logins in one question.
const TOGETHER: usize = 128;

/// What is to be published.
struct Batch<'a> {
    asking: &'a (dyn Fn() + Sync),
    gone: Vec<Entry>,
    there: Vec<Entry>,
    uids: BTreeMap<u32, LoginName>,
    gids: BTreeMap<u32, GroupName>,
    names: HashSet<LoginName>,
    group_names: HashSet<GroupName>,
    contradictory: bool,
}

/// Asks the directory. What is not published goes on the quarantine list, what is published leaves it. `asking` is called before each question.
///
/// # Errors
/// The directory failed half-way: nothing is known.
pub(crate) async fn ask(
    source: &Source,
    rules: &Rules,
    changes: &[Change],
    asking: &(dyn Fn() + Sync),
) -> Result<Vec<Entry>, DirectoryError> {
    let mut attempt = 1;
    loop {
        let mut batch = Batch::new(asking);
        batch.fill(source, rules, changes).await?;
        if !batch.contradictory || attempt == ATTEMPTS {
            // Who is there takes its name and id from whoever had it, so it comes last.
            batch.gone.append(&mut batch.there);
            return Ok(batch.gone);
        }
        attempt += 1;
    }
}

impl<'a> Batch<'a> {
    fn new(asking: &'a (dyn Fn() + Sync)) -> Self {
        Self {
            asking,
            gone: Vec::new(),
            there: Vec::new(),
            uids: BTreeMap::new(),
            gids: BTreeMap::new(),
            names: HashSet::new(),
            group_names: HashSet::new(),
            contradictory: false,
        }
    }

    async fn ask<T, F, A>(&self, source: &Source, question: F) -> Result<T, DirectoryError>
    where
        F: FnOnce(Arc<dyn Directory>) -> A,
        A: Future<Output = Result<T, DirectoryError>>,
    {
        (self.asking)();
        source.ask(Lane::Reserved, question).await
    }

    async fn fill(&mut self, source: &Source, rules: &Rules, changes: &[Change]) -> Result<(), DirectoryError> {
        let of = |kind| changes.iter().filter(move |change| change.kind == kind);
        // What is no name of a login was never published.
        let names: BTreeSet<LoginName> = of(Kind::Login).filter_map(|change| change.name.parse().ok()).collect();
        let names: Vec<LoginName> = names.into_iter().collect();
        for names in names.chunks(TOGETHER) {
            self.logins(source, rules, names).await?;
        }
        let uids: BTreeSet<u32> = of(Kind::Login).map(|change| change.id).collect();
        for uid in uids.into_iter().filter_map(|uid| UserId::try_from(uid).ok()) {
            if self.uids.contains_key(&uid.raw()) {
                continue;
            }
            let found = self.ask(source, |directory| async move { directory.login_by_uid(uid).await }).await?;
            match found.and_then(|found| valid(source, found)) {
                Some(login) if self.names.contains(&login.name) => self.contradictory = true,
                Some(login) => self.logins(source, rules, &[login.name]).await?,
                None => {}
            }
            if !self.uids.contains_key(&uid.raw()) {
                self.gone.push(Entry::NoLoginWith(uid));
            }
        }
        let names: BTreeSet<&str> = of(Kind::Group).map(|change| change.name.as_str()).collect();
        for name in names.into_iter().filter_map(|name| name.parse::<GroupName>().ok()) {
            self.group(source, rules, name).await?;
        }
        let gids: BTreeSet<u32> = of(Kind::Group).map(|change| change.id).collect();
        for gid in gids.into_iter().filter_map(|gid| GroupId::try_from(gid).ok()) {
            if self.gids.contains_key(&gid.raw()) {
                continue;
            }
            let found = self.ask(source, |directory| async move { directory.group_by_gid(gid).await }).await?;
            match found.and_then(|found| valid(source, found)) {
                Some(group) if self.group_names.contains(&group.name) => self.contradictory = true,
                Some(group) => self.group_found(source, rules, &group),
                None => {}
            }
            if !self.gids.contains_key(&gid.raw()) {
                self.gone.push(Entry::NoGroupWith(gid));
            }
        }
        Ok(())
    }

    async fn logins(&mut self, source: &Source, rules: &Rules, names: &[LoginName]) -> Result<(), DirectoryError> {
        let asked = names.to_vec();
        let found = self.ask(source, |directory| async move { directory.logins_with_gids(&asked).await }).await?;
        let mut missing: BTreeSet<&LoginName> = names.iter().collect();
        for NamedLogin { name, entry, gids } in found {
            missing.remove(&name);
            match valid(source, entry) {
                Some(login) => self.login_found(source, rules, &login, &gids),
                None => self.gone.push(Entry::NoLoginNamed(name)),
            }
        }
        for name in missing {
            source.quarantine().clear(Kind::Login, name.as_str());
            self.gone.push(Entry::NoLoginNamed(name.clone()));
        }
        self.names.extend(names.iter().cloned());
        Ok(())
    }

    fn login_found(&mut self, source: &Source, rules: &Rules, login: &Login, gids: &[GroupId]) {
        self.contradictory |=
            self.uids.insert(login.uid.raw(), login.name.clone()).is_some_and(|name| name != login.name);
        match rules.login(login, gids) {
            Ok(entry) => {
                match rules.local_login(login) {
                    Some(local) => note(source, local),
                    None => source.quarantine().clear(Kind::Login, login.name.as_str()),
                }
                self.there.push(Entry::Login(entry));
            }
            Err(quarantined) => {
                source.note_quarantined(quarantined);
                self.gone.push(Entry::NoLoginNamed(login.name.clone()));
                self.gone.push(Entry::NoLoginWith(login.uid));
            }
        }
    }

    async fn group(&mut self, source: &Source, rules: &Rules, name: GroupName) -> Result<(), DirectoryError> {
        self.group_names.insert(name.clone());
        let asked = name.clone();
        let found = self.ask(source, |directory| async move { directory.group_by_name(&asked).await }).await?;
        let gone = found.is_none();
        match found.and_then(|found| valid(source, found)) {
            Some(group) => self.group_found(source, rules, &group),
            None => {
                if gone {
                    source.quarantine().clear(Kind::Group, name.as_str());
                }
                self.gone.push(Entry::NoGroupNamed(name));
            }
        }
        Ok(())
    }

    fn group_found(&mut self, source: &Source, rules: &Rules, group: &Group) {
        self.contradictory |=
            self.gids.insert(group.gid.raw(), group.name.clone()).is_some_and(|name| name != group.name);
        match rules.group(group) {
            Ok(entry) => {
                match rules.local_group(group) {
                    Some(local) => note(source, local),
                    None => source.quarantine().clear(Kind::Group, group.name.as_str()),
                }
                self.there.push(Entry::Group(entry));
            }
            Err(quarantined) => {
                source.note_quarantined(quarantined);
                self.gone.push(Entry::NoGroupNamed(group.name.clone()));
                self.gone.push(Entry::NoGroupWith(group.gid));
            }
        }
    }
}

/// The published logins and groups that would vanish: nobody has their name and id any more.
pub(super) fn removed(published: &Published, changes: &[Entry]) -> BTreeSet<Vanished> {
    let Some(snapshot) = published.snapshot() else { return BTreeSet::new() };
    let mut gone = BTreeSet::new();
    for change in changes {
        let logins = match change {
            Entry::Login(login) => [snapshot.login_by_name(login.name()), snapshot.login_by_uid(login.id())],
            Entry::NoLoginNamed(name) => [snapshot.login_by_name(name.as_str().as_bytes()), Answer::Absent],
            Entry::NoLoginWith(uid) => [snapshot.login_by_uid(uid.raw()), Answer::Absent],
            _ => [Answer::Absent, Answer::Absent],
        };
        let groups = match change {
            Entry::Group(group) => [snapshot.group_by_name(group.name()), snapshot.group_by_gid(group.id())],
            Entry::NoGroupNamed(name) => [snapshot.group_by_name(name.as_str().as_bytes()), Answer::Absent],
            Entry::NoGroupWith(gid) => [snapshot.group_by_gid(gid.raw()), Answer::Absent],
            _ => [Answer::Absent, Answer::Absent],
        };
        for login in logins {
            let Answer::Found(login) = login else { continue };
            gone.insert(Vanished::new(Kind::Login, login.id(), login.name()));
        }
        for group in groups {
            let Answer::Found(group) = group else { continue };
            gone.insert(Vanished::new(Kind::Group, group.id(), group.name()));
        }
    }
    for change in changes {
        match change {
            Entry::Login(login) => gone.remove(&Vanished::new(Kind::Login, login.id(), login.name())),
            Entry::Group(group) => gone.remove(&Vanished::new(Kind::Group, group.id(), group.name())),
            _ => false,
        };
    }
    gone
}

fn valid<T>(source: &Source, found: Found<T>) -> Option<T> {
    match found {
        Found::Valid(entry) => Some(entry),
        Found::Quarantined(quarantined) => {
            note(source, quarantined);
            None
        }
    }
}

fn note(source: &Source, quarantined: Quarantined) {
    source.note_quarantined(quarantined);
}
