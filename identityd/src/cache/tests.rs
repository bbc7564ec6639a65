//! Lifetimes, joined loads, and the races of invalidation, on a directory that does what a test says.

use std::collections::BTreeMap;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::record::{Aging, Generation, Group, Login, Status};
use tokio::sync::Notify;

use super::*;
use crate::config::Span;
use crate::directory::fleet::{HostName, HostReport, Hosts, Reported};
use crate::directory::{Changes, Directory, Entry, Kind, Stock, StockedLogin};
use crate::quarantine::QuarantineList;

const WAIT: Duration = Duration::from_secs(5);

/// An active login with a shell, its uid as its gid.
pub(crate) fn a_login(name: &str, uid: u32) -> Login {
    Login {
        name: name.parse().unwrap(),
        uid: uid.try_into().unwrap(),
        gid: uid.try_into().unwrap(),
        gecos: "".parse().unwrap(),
        home: format!("/home/members/users/{name}").parse().unwrap(),
        shell: "/bin/bash".parse().unwrap(),
        status: Status::Active,
        capabilities: ["shell".parse().unwrap(), "sftp".parse().unwrap()].into(),
        aging: Aging::default(),
        membership: None,
    }
}

/// A group with these members.
pub(crate) fn a_group(name: &str, gid: u32, members: &[&str]) -> Group {
    let members = members.iter().map(|member| member.parse().unwrap()).collect();
    Group { name: name.parse().unwrap(), gid: gid.try_into().unwrap(), members }
}

/// What happens in the directory while somebody asks it.
pub(crate) type Meanwhile = Box<dyn FnOnce(&TestDirectory) + Send>;

/// A directory in memory that can be made slow or absent.
#[derive(Default)]
pub(crate) struct TestDirectory {
    pub(crate) logins: StdMutex<BTreeMap<u32, Login>>,
    pub(crate) groups: StdMutex<BTreeMap<u32, Group>>,
    pub(crate) hashes: StdMutex<BTreeMap<String, PasswordHash>>,
    pub(crate) keys: StdMutex<BTreeMap<String, Vec<SshKey>>>,
    pub(crate) changes: StdMutex<Vec<Change>>,
    pub(crate) questions: AtomicU32,
    pub(crate) down: AtomicBool,
    /// While set, a question reads its answer and then waits for `gate`.
    pub(crate) held: AtomicBool,
    pub(crate) gate: Notify,
    /// While set, pages of lists never come.
    pub(crate) lists_hang: AtomicBool,
    /// While set, groups cannot be looked up.
    pub(crate) no_groups: AtomicBool,
    /// Done once, when the next answer about a login, or the next reading of all, has been taken and not yet been given.
    pub(crate) meanwhile: StdMutex<Option<Meanwhile>>,
    /// Generations that have passed without a word.
    pub(crate) lost: AtomicU32,
    /// What was reported, in this order.
    pub(crate) reports: StdMutex<Vec<HostReport>>,
    pub(crate) refuses_reports: AtomicBool,
    /// Which directory it is.
    pub(crate) identity: StdMutex<String>,
    /// It can only be read.
    pub(crate) read_only: AtomicBool,
    /// For how long its changes have not come, and why.
    pub(crate) unfollowed: StdMutex<Option<(Duration, String)>>,
}

impl TestDirectory {
    pub(crate) fn with(logins: &[Login], groups: &[Group]) -> Arc<Self> {
        let directory = Self::default();
        directory.logins.lock().unwrap().extend(logins.iter().map(|login| (login.uid.raw(), login.clone())));
        directory.groups.lock().unwrap().extend(groups.iter().map(|group| (group.gid.raw(), group.clone())));
        Arc::new(directory)
    }

    /// Puts a login in and notes the change.
    pub(crate) fn put(&self, login: Login) {
        let (name, id) = (login.name.to_string(), login.uid.raw());
        self.logins.lock().unwrap().insert(id, login);
        self.note(Kind::Login, &name, id);
    }

    pub(crate) fn note(&self, kind: Kind, name: &str, id: u32) {
        self.note_all(kind, &[(name, id)]);
    }

    /// Changes that were committed together.
    pub(crate) fn note_all(&self, kind: Kind, entries: &[(&str, u32)]) {
        let mut changes = self.changes.lock().unwrap();
        for (name, id) in entries {
            let generation = Generation(changes.len() as u64 + 1);
            changes.push(Change { generation, kind, name: (*name).into(), id: *id });
        }
    }

    fn meanwhile(&self) {
        let then = self.meanwhile.lock().unwrap().take();
        if let Some(then) = then {
            then(self);
        }
    }

    async fn asked<T>(&self, answer: T) -> Result<T, DirectoryError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        if self.held.load(Ordering::SeqCst) {
            self.gate.notified().await;
        }
        if self.down.load(Ordering::SeqCst) {
            return Err(DirectoryError::Unavailable { directory: "test".into(), reason: "down".into() });
        }
        Ok(answer)
    }

    fn login(&self, wanted: impl Fn(&Login) -> bool) -> Option<Entry<Login>> {
        self.logins.lock().unwrap().values().find(|login| wanted(login)).cloned().map(Entry::Valid)
    }

    fn group(&self, wanted: impl Fn(&Group) -> bool) -> Option<Entry<Group>> {
        self.groups.lock().unwrap().values().find(|group| wanted(group)).cloned().map(Entry::Valid)
    }
}

impl TestDirectory {
    fn gids(&self, name: &LoginName) -> Option<Vec<GroupId>> {
        let primary = self.logins.lock().unwrap().values().find(|login| login.name == *name)?.gid;
        let groups = self.groups.lock().unwrap();
        let others = groups.values().filter(|group| group.members.contains(name)).map(|group| group.gid);
        Some(std::iter::once(primary).chain(others.filter(|gid| *gid != primary)).collect())
    }

    fn since(&self, since: Generation, limit: u32) -> Vec<Change> {
        let changes = self.changes.lock().unwrap();
        changes.iter().filter(|change| change.generation > since).take(limit as usize).cloned().collect()
    }
}

fn page<T: Clone>(entries: &StdMutex<BTreeMap<u32, T>>, after: u32, limit: u32) -> Vec<Entry<T>> {
    let entries = entries.lock().unwrap();
    entries.range(after + 1..).take(limit as usize).map(|(_, entry)| Entry::Valid(entry.clone())).collect()
}

#[async_trait]
impl Directory for TestDirectory {
    async fn report(&self, report: &HostReport) -> Result<(), DirectoryError> {
        self.asked(()).await?;
        if self.refuses_reports.load(Ordering::SeqCst) {
            return Err(DirectoryError::Unavailable { directory: "primary".into(), reason: "away".into() });
        }
        self.reports.lock().unwrap().push(report.clone());
        Ok(())
    }

    async fn fleet(&self) -> Result<Hosts, DirectoryError> {
        let mut last = BTreeMap::new();
        for report in self.reports.lock().unwrap().iter() {
            last.insert(report.host.clone(), Reported { report: report.clone(), age: Duration::from_secs(3) });
        }
        self.asked(last.into_values().collect::<Vec<_>>().into()).await
    }

    async fn forget_host(&self, host: &HostName) -> Result<bool, DirectoryError> {
        let mut reports = self.reports.lock().unwrap();
        let before = reports.len();
        reports.retain(|report| report.host != *host);
        Ok(reports.len() < before)
    }

    async fn login_by_name(&self, name: &LoginName) -> Result<Option<Entry<Login>>, DirectoryError> {
        let answer = self.login(|login| login.name == *name);
        self.asked(answer).await
    }

    async fn login_by_uid(&self, uid: UserId) -> Result<Option<Entry<Login>>, DirectoryError> {
        let answer = self.login(|login| login.uid == uid);
        self.asked(answer).await
    }

    async fn logins_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Login>>, DirectoryError> {
        let answer = page(&self.logins, after, limit);
        if self.lists_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.asked(answer).await
    }

    async fn group_by_name(&self, name: &GroupName) -> Result<Option<Entry<Group>>, DirectoryError> {
        let answer = self.group(|group| group.name == *name);
        self.asked(answer).await
    }

    async fn group_by_gid(&self, gid: GroupId) -> Result<Option<Entry<Group>>, DirectoryError> {
        let answer = self.group(|group| group.gid == gid);
        if self.no_groups.load(Ordering::SeqCst) {
            return Err(DirectoryError::Crowded { directory: "test".into() });
        }
        self.asked(answer).await
    }

    async fn groups_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Group>>, DirectoryError> {
        let answer = page(&self.groups, after, limit);
        self.asked(answer).await
    }

    async fn gids_of(&self, name: &LoginName) -> Result<Option<Vec<GroupId>>, DirectoryError> {
        let answer = self.gids(name);
        self.asked(answer).await
    }

    async fn login_with_gids(&self, name: &LoginName) -> Result<Option<(Entry<Login>, Vec<GroupId>)>, DirectoryError> {
        let answer = self.login(|login| login.name == *name).zip(self.gids(name));
        self.meanwhile();
        self.asked(answer).await
    }

    async fn ssh_keys(&self, name: &LoginName) -> Result<Vec<SshKey>, DirectoryError> {
        let answer = self.keys.lock().unwrap().get(name.as_str()).cloned().unwrap_or_default();
        self.asked(answer).await
    }

    async fn password_hash(&self, name: &LoginName) -> Result<Option<PasswordHash>, DirectoryError> {
        let answer = self.hashes.lock().unwrap().get(name.as_str()).cloned();
        self.asked(answer).await
    }

    async fn set_password(
        &self,
        name: &LoginName,
        old: Option<&PasswordHash>,
        new: &PasswordHash,
        _: Date,
    ) -> Result<Generation, DirectoryError> {
        let mut hashes = self.hashes.lock().unwrap();
        if old.is_some_and(|old| hashes.get(name.as_str()) != Some(old)) {
            return Err(DirectoryError::Conflict);
        }
        hashes.insert(name.to_string(), new.clone());
        Ok(Generation(0))
    }

    async fn generation(&self) -> Result<Generation, DirectoryError> {
        let newest =
            Generation(self.changes.lock().unwrap().len() as u64 + u64::from(self.lost.load(Ordering::SeqCst)));
        self.asked(newest).await
    }

    fn cursor(&self, _generation: Generation) -> Vec<u8> {
        self.identity.lock().unwrap().clone().into_bytes()
    }

    async fn resume(&self, generation: Generation, cursor: &[u8]) -> Result<bool, DirectoryError> {
        self.asked(self.cursor(generation) == cursor).await
    }

    fn read_only(&self) -> Option<String> {
        self.read_only.load(Ordering::SeqCst).then(|| "the disk is full".into())
    }

    fn not_followed(&self) -> Option<(Duration, String)> {
        self.unfollowed.lock().unwrap().clone()
    }

    async fn changes_after(&self, since: Generation, limit: u32) -> Result<Changes, DirectoryError> {
        let list = self.since(since, limit);
        self.asked(Changes::List(list)).await
    }

    async fn stock(&self) -> Result<Box<dyn Stock>, DirectoryError> {
        let newest = self.generation().await?;
        let logins: Vec<_> = self.logins.lock().unwrap().values().cloned().collect();
        self.meanwhile();
        let stocked = |login: Login| {
            let gids = self.gids(&login.name).unwrap_or_default();
            StockedLogin { entry: Entry::Valid(login), gids }
        };
        Ok(Box::new(TestStock {
            generation: newest,
            logins: logins.into_iter().map(stocked).collect(),
            groups: self.groups.lock().unwrap().values().cloned().map(Entry::Valid).collect(),
        }))
    }
}

struct TestStock {
    generation: Generation,
    logins: Vec<StockedLogin>,
    groups: Vec<Entry<Group>>,
}

#[async_trait]
impl Stock for TestStock {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn expected(&self) -> (u64, u64) {
        (self.logins.len() as u64, self.groups.len() as u64)
    }

    async fn logins(&mut self) -> Result<Vec<StockedLogin>, DirectoryError> {
        Ok(std::mem::take(&mut self.logins))
    }

    async fn groups(&mut self) -> Result<Vec<Entry<Group>>, DirectoryError> {
        Ok(std::mem::take(&mut self.groups))
    }
}

/// A cache in front of a test directory.
pub(crate) fn cache_of(directory: &Arc<TestDirectory>, config: config::Cache) -> Arc<Cache> {
    let source = Source::new("test".into(), Duration::from_secs(5), Arc::new(QuarantineList::default()));
    source.set(Some(Arc::<TestDirectory>::clone(directory)));
    Cache::new(source, config)
}

fn world(config: config::Cache) -> (Arc<TestDirectory>, Arc<Cache>) {
    let directory = TestDirectory::with(&[a_login("ada", 2000)], &[a_group("sftp-only", 3000, &["ada"])]);
    let cache = cache_of(&directory, config);
    (directory, cache)
}

fn ada() -> LoginName {
    "ada".parse().unwrap()
}

fn uid(answer: &Answer<Arc<LoginAnswer>>) -> u32 {
    match answer {
        Answer::Found(login) => login.login.uid.raw(),
        other => panic!("{other:?}"),
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < limit, "the condition did not come true within {WAIT:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn asked(directory: &TestDirectory) -> u32 {
    directory.questions.load(Ordering::SeqCst)
}

#[tokio::test]
async fn the_second_look_up_asks_nobody() {
    let (directory, cache) = world(config::Cache::default());
    assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2000);
    assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2000);
    let nobody = "nobody2".parse().unwrap();
    assert_eq!(cache.login_by_name(&nobody, WAIT).await, Answer::Absent);
    assert_eq!(cache.login_by_name(&nobody, WAIT).await, Answer::Absent);
    assert_eq!(asked(&directory), 2);
}

#[tokio::test]
async fn five_hundred_callers_are_one_question() {
    let (directory, cache) = world(config::Cache::default());
    directory.held.store(true, Ordering::SeqCst);
    let callers: Vec<_> = (0..500)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { cache.login_by_name(&ada(), WAIT).await })
        })
        .collect();
    until(|| cache.meters.totals()[3] == 499).await;
    directory.held.store(false, Ordering::SeqCst);
    directory.gate.notify_waiters();
    for caller in callers {
        assert_eq!(uid(&caller.await.unwrap()), 2000);
    }
    assert_eq!(asked(&directory), 1);
}

#[tokio::test]
async fn a_load_that_began_before_an_invalidation_does_not_put_the_old_value_back() {
    let (directory, cache) = world(config::Cache::default());
    directory.held.store(true, Ordering::SeqCst);
    let early = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { cache.login_by_name(&ada(), WAIT).await }
    });
    // The early load has read uid 2000 and waits at the gate. Now the directory changes and says so.
    until(|| asked(&directory) == 1).await;
    directory.logins.lock().unwrap().clear();
    directory.put(a_login("ada", 2001));
    cache.apply(&directory.since(Generation(0), 100)).await;
    directory.held.store(false, Ordering::SeqCst);
    // Whoever asks now must see the change, even while the early load is still under way.
    assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2001);
    directory.gate.notify_waiters();
    assert_eq!(uid(&early.await.unwrap()), 2000);
    assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2001);
    assert_eq!(asked(&directory), 2);
}

#[tokio::test]
async fn a_flush_outruns_loads_under_way_too() {
    let (directory, cache) = world(config::Cache::default());
    directory.held.store(true, Ordering::SeqCst);
    let early = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { cache.login_by_name(&ada(), WAIT).await }
    });
    until(|| asked(&directory) == 1).await;
    directory.logins.lock().unwrap().clear();
    cache.flush().await;
    directory.held.store(false, Ordering::SeqCst);
    directory.gate.notify_waiters();
    assert_eq!(uid(&early.await.unwrap()), 2000);
    assert_eq!(cache.login_by_name(&ada(), WAIT).await, Answer::Absent);
}

#[tokio::test]
async fn a_change_drops_its_entry_and_no_other() {
    let (directory, cache) = world(config::Cache::default());
    directory.logins.lock().unwrap().insert(2005, a_login("bob", 2005));
    let bob = "bob".parse().unwrap();
    cache.login_by_name(&ada(), WAIT).await;
    cache.login_by_uid(2000.try_into().unwrap(), WAIT).await;
    cache.gids_of(&ada(), WAIT).await;
    cache.login_by_name(&bob, WAIT).await;
    cache.group_by_name(&"sftp-only".parse().unwrap(), WAIT).await;
    let before = asked(&directory);
    directory.put(a_login("ada", 2000));
    cache.apply(&directory.since(Generation(0), 100)).await;
    cache.login_by_name(&bob, WAIT).await;
    assert_eq!(asked(&directory), before);
    cache.login_by_name(&ada(), WAIT).await;
    cache.login_by_uid(2000.try_into().unwrap(), WAIT).await;
    cache.gids_of(&ada(), WAIT).await;
    assert_eq!(asked(&directory), before + 2);
    cache.group_by_name(&"sftp-only".parse().unwrap(), WAIT).await;
    assert_eq!(asked(&directory), before + 2);
}

#[tokio::test]
async fn a_new_login_is_seen_although_its_name_was_remembered_as_absent() {
    let (directory, cache) = world(config::Cache::default());
    let eve = "eve".parse().unwrap();
    assert_eq!(cache.login_by_name(&eve, WAIT).await, Answer::Absent);
    directory.put(a_login("eve", 2010));
    cache.apply(&directory.since(Generation(0), 100)).await;
    assert_eq!(uid(&cache.login_by_name(&eve, WAIT).await), 2010);
}

#[tokio::test]
async fn while_the_directory_is_down_known_entries_are_served_and_others_are_unknown() {
    let config = config::Cache { positive: Span::millis(0), ..config::Cache::default() };
    let (directory, cache) = world(config);
    cache.login_by_name(&ada(), WAIT).await;
    directory.down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2000);
    }
    assert!(matches!(cache.login_by_name(&"bob".parse().unwrap(), WAIT).await, Answer::Unknown(_)));
    until(|| !cache.source().health().reachable).await;
    assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2000);
}

#[tokio::test]
async fn an_old_entry_is_served_at_once_and_refreshed_behind() {
    let config = config::Cache { positive: Span::millis(0), ..config::Cache::default() };
    let (directory, cache) = world(config);
    cache.login_by_name(&ada(), WAIT).await;
    directory.held.store(true, Ordering::SeqCst);
    assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2000);
    // The refresh has read the old answer when the login goes.
    until(|| asked(&directory) == 2).await;
    directory.logins.lock().unwrap().clear();
    directory.held.store(false, Ordering::SeqCst);
    directory.gate.notify_waiters();
    until(|| cache.flights.try_lock().is_ok_and(|flights| flights.is_empty())).await;
    cache.login_by_name(&ada(), WAIT).await;
    until(|| asked(&directory) == 3).await;
    until(|| cache.flights.try_lock().is_ok_and(|flights| flights.is_empty())).await;
    assert_eq!(cache.login_by_name(&ada(), WAIT).await, Answer::Absent);
}

#[tokio::test]
async fn a_directory_that_hangs_costs_the_caller_no_more_than_its_wait() {
    let (directory, cache) = world(config::Cache::default());
    directory.held.store(true, Ordering::SeqCst);
    assert!(matches!(cache.login_by_name(&ada(), Duration::from_millis(5)).await, Answer::Unknown(_)));
    // The load goes on for the next caller.
    directory.held.store(false, Ordering::SeqCst);
    directory.gate.notify_waiters();
    assert_eq!(uid(&cache.login_by_name(&ada(), WAIT).await), 2000);
    assert_eq!(asked(&directory), 1);
}

#[tokio::test]
async fn a_login_is_known_with_its_groups_or_not_at_all() {
    let (directory, cache) = world(config::Cache::default());
    let mut web = a_login("web", 2007);
    web.capabilities = ["sftp".parse().unwrap()].into();
    directory.logins.lock().unwrap().insert(2007, web);
    directory.groups.lock().unwrap().insert(3000, a_group("sftp-only", 3000, &["web"]));
    let web = "web".parse().unwrap();
    cache.login_by_name(&web, WAIT).await;
    // Its groups follow by themselves: its own, which there is not, and sftp-only.
    until(|| asked(&directory) == 3).await;
    until(|| cache.flights.try_lock().is_ok_and(|flights| flights.is_empty())).await;
    directory.down.store(true, Ordering::SeqCst);
    let Answer::Found(gids) = cache.gids_of(&web, WAIT).await else { panic!("its groups are not known") };
    assert_eq!(gids.iter().map(|gid| gid.raw()).collect::<Vec<_>>(), [2007, 3000]);
    assert!(matches!(cache.group_by_gid(3000.try_into().unwrap(), WAIT).await, Answer::Found(_)));
}

#[tokio::test]
async fn waiting_for_a_turn_is_no_failure_of_the_directory() {
    let directory = TestDirectory::with(&[a_login("ada", 2000)], &[]);
    let source = Source::new("test".into(), Duration::from_millis(20), Arc::new(QuarantineList::default()));
    source.set(Some(Arc::<TestDirectory>::clone(&directory)));
    source.ask(Lane::LookUp, |directory| async move { directory.generation().await }).await.unwrap();
    let list = |directory: Arc<dyn Directory>| async move { directory.logins_after(0, 10).await };
    directory.lists_hang.store(true, Ordering::SeqCst);
    let hung = source.ask(Lane::Listing, list);
    let crowded = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        source.ask(Lane::Listing, list).await
    };
    let (hung, crowded) = tokio::join!(hung, crowded);
    assert!(hung.is_err() && crowded.is_err());
    assert!(source.health().reachable && source.health().error.is_none());
    source.ask(Lane::LookUp, |directory| async move { directory.generation().await }).await.unwrap();
}

#[tokio::test]
async fn a_person_does_not_suffer_for_the_failure_before() {
    let directory = TestDirectory::with(&[a_login("ada", 2000)], &[]);
    let source = Source::new("test".into(), Duration::from_secs(5), Arc::new(QuarantineList::default()));
    source.set(Some(Arc::<TestDirectory>::clone(&directory)));
    let question = |directory: Arc<dyn Directory>| async move { directory.generation().await };
    source.failed("somebody else's question was too slow");
    source.end_of_pause().await;
    source.ask(Lane::Reserved, question).await.unwrap();
}

#[tokio::test]
async fn a_group_too_large_for_a_reply_is_quarantined_with_its_reason() {
    let (directory, cache) = world(config::Cache::default());
    let name = |at: u32| format!("a-member-with-a-long-name-{at:06}");
    let members: Vec<String> = (0..400_001).map(name).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    directory.groups.lock().unwrap().insert(3001, a_group("everybody", 3001, &members));
    assert!(cache.group_by_name(&"everybody".parse().unwrap(), WAIT).await == Answer::Absent);
    let (_, listed) = cache.source().quarantine().snapshot(10);
    assert!(listed.first().is_some_and(|entry| entry.reason.contains("do not fit")), "{listed:?}");
}
