//! Who has entered without a password: by key, or for a job of cron.

use schema::record::SshKey;

use super::super::record::now;
use super::*;

const WITH_A_PASSWORD: &str = "it has not logged in on this host with a password";

fn key(comment: &str) -> SshKey {
    SshKey { id: 1, line: format!("ssh-ed25519 AAAA {comment}"), fingerprint: "SHA256:x".into(), added: None }
}

fn luz() -> LoginName {
    "luz".parse().unwrap()
}

impl World {
    /// luz has one key, and has entered with it.
    async fn with_luz() -> Self {
        let world = Self::new().await;
        world.give_keys(&[key("of luz")]);
        world.directory.hashes.lock().unwrap().insert("luz".into(), new_hash(b"right").unwrap());
        assert!(world.enter().await);
        world
    }

    fn give_keys(&self, keys: &[SshKey]) {
        self.directory.keys.lock().unwrap().insert("luz".into(), keys.into());
    }

    fn luz(&self) -> Login {
        self.directory.logins.lock().unwrap()[&2001].clone()
    }

    /// The account stage lets luz in; whether something had to be learned.
    async fn enter(&self) -> bool {
        let login = self.luz();
        let news = self.verifiers.entered(&login);
        if news {
            self.verifiers.learn(&login, alone(&login));
        }
        self.settle().await;
        news
    }

    /// What this host knows of luz when the directory is away.
    fn known(&self) -> Option<Arc<Facts>> {
        self.verifiers.facts(&luz(), 7)
    }

    fn alter_luz(&self, with: impl FnOnce(&mut Record)) {
        let mut state = self.verifiers.state();
        let mut record = state.records.get(&luz()).unwrap().clone();
        with(&mut record);
        state.put(luz(), Some(record));
    }

    /// A change of luz is received.
    async fn hear_of_luz(&self) {
        let change = Change { generation: Generation(1), kind: Kind::Login, name: "luz".into(), id: 2001 };
        self.cache.apply(&[change]).await;
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join(RECORDS_FILE)).unwrap()
    }
}

#[tokio::test]
async fn who_has_entered_by_key_is_known_with_its_keys_and_after_a_restart() {
    let mut world = World::with_luz().await;
    world.away(true).await;
    for _ in 0..2 {
        let facts = world.known().unwrap();
        assert_eq!(facts.keys.as_deref(), Some(&[key("of luz")][..]));
        assert_eq!(facts.groups, Some(Vec::new()));
        assert_eq!(world.verifiers.facts_of_uid(2001.try_into().unwrap(), 7).unwrap().login.name, luz());
        world.restart().await;
    }
}

#[tokio::test]
async fn who_never_was_here_is_not_known() {
    let world = World::new().await;
    world.give_keys(&[key("of luz")]);
    world.away(true).await;
    assert!(world.known().is_none());
    // Entering is confirmed by the directory or not at all.
    world.verifiers.learn(&world.luz(), alone(&world.luz()));
    assert!(world.known().is_none());
}

#[tokio::test]
async fn no_password_is_right_without_a_verifier() {
    let mut world = World::with_luz().await;
    world.away(true).await;
    for _ in 0..2 {
        for password in ["right", "", "\0"] {
            let answer = world.verifiers.verify(Some(&luz()), secret(password), 7, &world.pool).await;
            assert_eq!(answer, Offline::Unknown(WITH_A_PASSWORD));
        }
        world.restart().await;
    }
    // Half a verifier is none.
    world.away(false).await;
    world.settle().await;
    let kept = world.verifiers.kept().unwrap();
    kept.store.spoil("UPDATE record SET salt = NULL WHERE name = 'ana'").await;
    world.restart().await;
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Unknown(WITH_A_PASSWORD));
}

#[tokio::test]
async fn entering_by_key_prolongs_no_password() {
    let world = World::settled().await;
    world.alter(|record| {
        record.known -= 8 * 86_400;
        record.verifier.as_mut().unwrap().verified -= 8 * 86_400;
    });
    let login = world.directory.logins.lock().unwrap()[&2000].clone();
    assert!(!world.verifiers.entered(&login));
    world.away(true).await;
    assert!(world.verifiers.facts(&ana(), 7).is_some());
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
}

#[tokio::test]
async fn a_removed_key_does_not_come_back() {
    let mut world = World::with_luz().await;
    world.give_keys(&[]);
    world.away(true).await;
    world.hear_of_luz().await;
    for _ in 0..2 {
        assert!(world.known().is_none(), "a change was received, and nobody knows which");
        world.restart().await;
    }
    world.away(false).await;
    world.settle().await;
    world.away(true).await;
    for _ in 0..2 {
        assert_eq!(world.known().unwrap().keys.as_deref(), Some(&[][..]));
        world.restart().await;
    }
    assert!(!world.file().windows(6).any(|bytes| bytes == b"of luz"));
}

#[tokio::test]
async fn a_lock_is_known_a_removal_forgotten_and_another_login_of_the_name_is_nobody() {
    let world = World::with_luz().await;
    let mut login = world.luz();
    login.status = Status::Locked;
    world.directory.put(login.clone());
    world.hear_of_luz().await;
    world.settle().await;
    world.away(true).await;
    assert_eq!(world.known().unwrap().login.status, Status::Locked);
    world.away(false).await;
    world.directory.logins.lock().unwrap().remove(&2001);
    login.uid = 2009.try_into().unwrap();
    world.directory.put(login);
    world.hear_of_luz().await;
    world.settle().await;
    world.away(true).await;
    assert!(world.known().is_none());
}

#[tokio::test]
async fn after_a_gap_it_is_used_when_the_directory_has_been_asked() {
    let world = World::with_luz().await;
    world.away(true).await;
    world.verifiers.doubt().await;
    assert!(world.known().is_none());
    world.away(false).await;
    world.settle().await;
    world.away(true).await;
    assert!(world.known().is_some());
}

#[tokio::test]
async fn after_the_days_it_is_not_known() {
    let world = World::with_luz().await;
    world.away(true).await;
    world.alter_luz(|record| record.known -= 7 * 86_400 + 10);
    assert!(world.known().is_none());
    assert!(world.verifiers.facts(&luz(), 8).is_some());
    assert!(world.verifiers.facts(&luz(), 0).is_none());
}

#[tokio::test]
async fn entering_each_minute_asks_and_writes_nothing_and_later_once() {
    let mut world = World::with_luz().await;
    let before = world.file();
    world.restart().await;
    world.settle().await;
    assert_eq!(world.file(), before, "comparing writes what differs");
    let asked = world.directory.questions.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert!(!world.enter().await);
    }
    assert_eq!(world.file(), before);
    world.alter_luz(|record| record.known -= 7 * 3600);
    world.settle().await;
    assert!(!world.enter().await);
    assert!(now() - world.verifiers.state().records.get(&luz()).unwrap().known < 60);
    assert_ne!(world.file(), before);
    assert_eq!(world.directory.questions.load(Ordering::SeqCst), asked);
    let mut login = world.luz();
    login.gecos = "Luz".parse().unwrap();
    world.directory.put(login);
    assert!(world.enter().await, "it differs");
    world.away(true).await;
    assert_eq!(world.known().unwrap().login.gecos.as_str(), "Luz");
}

#[tokio::test]
async fn keys_without_end_are_not_kept() {
    let world = World::new().await;
    world.give_keys(&[key(&"x".repeat(20_000)), key(&"y".repeat(20_000))]);
    world.enter().await;
    world.away(true).await;
    assert_eq!(world.known().unwrap().keys, None);
}

#[tokio::test]
async fn beyond_the_bound_that_one_goes_which_came_longest_ago() {
    let world = World::with_luz().await;
    let mut state = world.verifiers.state();
    let record = state.records.get(&luz()).unwrap().clone();
    let mut records = Records::default();
    for (name, age) in [("a", 10), ("b", 30), ("c", 20)] {
        let record = Record { known: record.known - age, ..record.clone() };
        assert_eq!(records.insert(name.parse().unwrap(), record, 3), None);
    }
    let proven = state.records.get(&ana()).unwrap().clone();
    assert_eq!(records.insert(ana(), proven, 3), None);
    assert_eq!(records.insert("c".parse().unwrap(), record.clone(), 3), None);
    assert_eq!(records.insert("d".parse().unwrap(), record.clone(), 3), Some("b".parse().unwrap()));
    records.remove(&"a".parse().unwrap());
    assert_eq!(records.insert("e".parse().unwrap(), record, 3), None);
    assert_eq!(records.len(), 4);
    state.attempts.clear();
}

#[tokio::test]
async fn turned_off_nothing_is_left_and_turned_on_it_begins_anew() {
    let world = World::with_luz().await;
    world.verifiers.close(world.folder.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 0);
    assert!(!world.verifiers.is_open());
    world.log_in().await;
    assert!(!world.verifiers.entered(&world.luz()));
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Unknown("this host keeps no verifiers"));
    assert!(world.known().is_none());
    world.away(false).await;
    world.verifiers.open(world.folder.path()).await.unwrap();
    assert_eq!(world.verifiers.count(), Count { logins: 0, with_password: 0 });
    world.log_in().await;
    world.enter().await;
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Right);
    assert!(world.known().is_some());
}

#[tokio::test]
async fn a_verification_that_began_before_it_was_turned_off_and_on_is_not_kept() {
    let world = World::new().await;
    let login = world.directory.logins.lock().unwrap()[&2000].clone();
    let hash = new_hash(b"other").unwrap();
    let seen = Seen { password: secret("other"), ..seen(Some(hash), Instant::now()) };
    let (verifiers, pool) = (Arc::clone(&world.verifiers), Arc::clone(&world.pool));
    let turns = world.verifiers.turns.acquire_many(AT_ONCE as u32).await.unwrap();
    let under_way = tokio::spawn(async move { verifiers.remember(login.clone(), alone(&login), seen, &pool).await });
    while Arc::strong_count(&world.verifiers.kept().unwrap()) < 3 {
        tokio::task::yield_now().await;
    }
    world.verifiers.close(world.folder.path()).await.unwrap();
    world.verifiers.open(world.folder.path()).await.unwrap();
    drop(turns);
    under_way.await.unwrap();
    assert_eq!(world.verifiers.count().logins, 0);
}

#[tokio::test]
async fn names_of_groups_are_learned_when_it_enters_again_and_unknown_ones_are_no_news() {
    let world = World::with_luz().await;
    let nameless = |record: &mut Record| record.facts = Facts { groups: None, ..Facts::clone(&record.facts) }.into();
    world.alter_luz(nameless);
    world.settle().await;
    let login = world.luz();
    let before = world.file();
    assert!(world.verifiers.entered(&login), "less than six hours later");
    world.verifiers.learn(&login, Groups { names: None, ..alone(&login) });
    assert!(world.is_settled(), "nobody knows more than before");
    assert_eq!(world.file(), before);
    assert!(world.enter().await);
    let groups = |name: &LoginName| world.verifiers.state().records.get(name).unwrap().facts.groups.clone();
    assert_eq!(groups(&luz()), Some(Vec::new()));
    // With a password too.
    world.alter(nameless);
    world.alter(|record| record.verifier.as_mut().unwrap().verified -= 7200);
    world.log_in().await;
    assert_eq!(groups(&ana()), Some(Vec::new()));
}
