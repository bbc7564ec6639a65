//! A host that has seen logins succeed, and then its directory goes.

mod entered;
mod trouble;

use std::sync::atomic::Ordering;

use schema::hash::PasswordHash;
use schema::record::{Generation, Login};

use super::record::now;
use super::*;
use crate::auth::new_hash;
use crate::cache::tests::{TestDirectory, a_login, cache_of};
use crate::cache::{Cache, Lane};
use crate::config;

struct World {
    folder: tempfile::TempDir,
    directory: Arc<TestDirectory>,
    cache: Arc<Cache>,
    pool: Arc<Pool>,
    verifiers: Arc<Verifiers>,
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn seen(hash: Option<PasswordHash>, began: Instant) -> Seen {
    Seen { hash, password: secret("right"), ends_in: None, began }
}

fn alone(login: &Login) -> Groups {
    Groups { gids: vec![login.gid], names: Some(Vec::new()) }
}

fn ana() -> LoginName {
    "ana".parse().unwrap()
}

async fn opened(folder: &Path, cache: &Cache) -> Arc<Verifiers> {
    let verifiers = Verifiers::none(Arc::clone(cache.source()));
    verifiers.open(folder).await.unwrap();
    verifiers
}

impl World {
    /// ana has logged in with "right".
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = TestDirectory::with(&[a_login("ana", 2000), a_login("luz", 2001)], &[]);
        directory.hashes.lock().unwrap().insert("ana".into(), new_hash(b"right").unwrap());
        let cache = cache_of(&directory, config::Cache::default());
        let pool = Pool::new(config::Auth::default()).unwrap();
        let verifiers = opened(folder.path(), &cache).await;
        cache.tell(Arc::clone(&verifiers) as _);
        let world = Self { folder, directory, cache, pool, verifiers };
        world.log_in().await;
        world
    }

    /// The same, compared with the directory, which answers.
    async fn settled() -> Self {
        let world = Self::new().await;
        world.away(false).await;
        world.settle().await;
        world
    }

    async fn log_in(&self) {
        let login = self.directory.logins.lock().unwrap()[&2000].clone();
        let hash = self.directory.hashes.lock().unwrap()["ana"].clone();
        self.verifiers.remember(login.clone(), alone(&login), seen(Some(hash), Instant::now()), &self.pool).await;
    }

    /// From here the directory answers nothing, or again.
    async fn away(&self, away: bool) {
        self.directory.down.store(away, Ordering::SeqCst);
        loop {
            let asked =
                self.cache.source().ask(Lane::Reserved, |directory| async move { directory.generation().await });
            if asked.await.is_err() == away {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// ana's entry has changed, and this host hears of it.
    async fn hear(&self, change: impl FnOnce(&mut Login)) {
        let mut login = self.directory.logins.lock().unwrap()[&2000].clone();
        change(&mut login);
        self.directory.put(login);
        let change = Change { generation: Generation(1), kind: Kind::Login, name: "ana".into(), id: 2000 };
        self.cache.apply(&[change]).await;
    }

    fn alter(&self, with: impl FnOnce(&mut Record)) {
        let mut state = self.verifiers.state();
        let mut record = state.records.get(&ana()).unwrap().clone();
        with(&mut record);
        state.put(ana(), Some(record));
    }

    async fn verify(&self, password: &str) -> Offline {
        self.verifiers.verify(Some(&ana()), secret(password), 7, &self.pool).await
    }

    /// Compares what is suspect with the directory.
    async fn settle(&self) {
        let watch = tokio::spawn(Arc::clone(&self.verifiers).watch());
        for _ in 0..500 {
            if self.is_settled() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(self.is_settled());
        // Who is writing has written.
        if let Some(kept) = self.verifiers.kept() {
            self.verifiers.save(&kept).await;
        }
        watch.abort();
    }

    fn is_settled(&self) -> bool {
        let state = self.verifiers.state();
        state.queue.is_empty() && state.dirty.is_empty()
    }

    /// identityd again, in the same folder.
    async fn restart(&mut self) {
        self.verifiers = opened(self.folder.path(), &self.cache).await;
    }
}

#[tokio::test]
async fn who_has_logged_in_here_enters_while_the_directory_is_away() {
    let mut world = World::new().await;
    assert!(world.verifiers.facts(&ana(), 7).is_none() || !world.cache.source().health().reachable);
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Right);
    assert_eq!(world.verify("wrong").await, Offline::Wrong);
    assert_eq!(world.verifiers.facts(&ana(), 7).unwrap().login.uid.raw(), 2000);
    assert_eq!(world.verifiers.facts_of_uid(2000.try_into().unwrap(), 7).unwrap().login.name, ana());
    world.restart().await;
    assert_eq!(world.verify("right").await, Offline::Right);
    let luz = "luz".parse().unwrap();
    let stranger = world.verifiers.verify(Some(&luz), secret("right"), 7, &world.pool).await;
    assert!(matches!(stranger, Offline::Unknown(_)), "{stranger:?}");
}

#[tokio::test]
async fn nothing_is_told_while_the_directory_answers() {
    let world = World::new().await;
    world.away(false).await;
    assert!(world.verifiers.facts(&ana(), 7).is_none());
}

#[tokio::test]
async fn after_the_days_it_is_refused_and_with_none_always() {
    let world = World::new().await;
    world.away(true).await;
    world.alter(|record| record.known -= 7 * 86_400 + 10);
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
    assert!(world.verifiers.facts(&ana(), 7).is_none());
    world.alter(|record| {
        record.known = now();
        record.verifier.as_mut().unwrap().verified -= 7 * 86_400 + 10;
    });
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)), "it came by key since");
    assert!(world.verifiers.facts(&ana(), 7).is_some());
    assert_eq!(world.verifiers.verify(Some(&ana()), secret("right"), 8, &world.pool).await, Offline::Right);
    assert!(matches!(world.verifiers.verify(Some(&ana()), secret("right"), 0, &world.pool).await, Offline::Unknown(_)));
}

#[tokio::test]
async fn a_change_that_was_received_closes_the_door_until_it_is_known() {
    let mut world = World::settled().await;
    world.away(true).await;
    world.hear(|login| login.gecos = "Ana Flores".parse().unwrap()).await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
    world.restart().await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)), "it stays suspect over a restart");
    world.away(false).await;
    world.settle().await;
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Right);
    assert_eq!(world.verifiers.facts(&ana(), 7).unwrap().login.gecos.as_str(), "Ana Flores");
}

#[tokio::test]
async fn a_lock_and_a_removal_that_were_received_refuse() {
    let world = World::new().await;
    world.away(false).await;
    world.hear(|login| login.status = Status::Locked).await;
    world.settle().await;
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Unknown("it was locked"));
    world.away(false).await;
    world.hear(|login| login.status = Status::Active).await;
    world.settle().await;
    world.directory.logins.lock().unwrap().remove(&2000);
    world.cache.flush().await;
    world.settle().await;
    world.away(true).await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
    assert_eq!(world.verifiers.count().with_password, 0);
}

#[tokio::test]
async fn a_new_password_that_was_received_refuses_the_old_one() {
    let mut world = World::new().await;
    world.away(false).await;
    world.directory.hashes.lock().unwrap().insert("ana".into(), new_hash(b"newer").unwrap());
    world.hear(|_| {}).await;
    world.settle().await;
    world.away(true).await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
    world.restart().await;
    assert_eq!(world.verifiers.count().with_password, 0);
}

#[tokio::test]
async fn a_verification_that_began_before_a_change_is_not_kept() {
    let world = World::new().await;
    let began = Instant::now();
    let login = world.directory.logins.lock().unwrap()[&2000].clone();
    let old = world.directory.hashes.lock().unwrap()["ana"].clone();
    world.hear(|_| {}).await;
    world.verifiers.remember(login.clone(), alone(&login), seen(Some(old), began), &world.pool).await;
    world.away(true).await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
}

#[tokio::test]
async fn a_password_that_has_ended_since_does_not_enter() {
    let mut world = World::new().await;
    let login = world.directory.logins.lock().unwrap()[&2000].clone();
    for (left, right) in [(3600, true), (0, false)] {
        let seen = Seen { ends_in: Some(Duration::from_secs(left)), ..seen(None, Instant::now()) };
        world.verifiers.remember(login.clone(), alone(&login), seen, &world.pool).await;
        world.restart().await;
        world.away(true).await;
        assert_eq!(world.verify("right").await == Offline::Right, right);
        world.away(false).await;
    }
    // One that has to be changed first is not kept at all.
    world.verifiers.remember(login.clone(), alone(&login), seen(None, Instant::now()), &world.pool).await;
    world.verifiers.forget(&ana()).await;
    world.restart().await;
    assert_eq!(world.verifiers.count().with_password, 0);
}

#[tokio::test]
async fn without_a_hash_an_interruption_of_the_feed_ends_it() {
    let mut world = World::new().await;
    let login = world.directory.logins.lock().unwrap()[&2000].clone();
    world.verifiers.remember(login.clone(), alone(&login), seen(None, Instant::now()), &world.pool).await;
    // Nothing was received: after a restart it is as before.
    world.restart().await;
    world.settle().await;
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Right);
    // The directory is there, and what has changed meanwhile nobody says.
    world.verifiers.doubt().await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
    world.away(false).await;
    world.settle().await;
    assert_eq!(world.verifiers.count().with_password, 0);
}

#[tokio::test]
async fn guesses_are_limited_and_a_right_one_in_time_is_not() {
    let world = World::new().await;
    world.away(true).await;
    for _ in 0..4 {
        assert_eq!(world.verify("wrong").await, Offline::Wrong);
    }
    assert_eq!(world.verify("right").await, Offline::Right);
    for _ in 0..5 {
        assert_eq!(world.verify("wrong").await, Offline::Wrong);
    }
    assert_eq!(world.verify("right").await, Offline::TooMany);
}

#[tokio::test]
async fn the_file_of_another_host_is_worth_nothing() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new().await;
    let thief = tempfile::tempdir().unwrap();
    for file in ["host.key", "offline.db"] {
        assert_eq!(std::fs::metadata(world.folder.path().join(file)).unwrap().mode() & 0o7777, 0o600, "{file}");
    }
    std::fs::copy(world.folder.path().join("offline.db"), thief.path().join("offline.db")).unwrap();
    let there = opened(thief.path(), &world.cache).await;
    assert_eq!(there.count().logins, 0);
    let bytes = std::fs::read(world.folder.path().join("offline.db")).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"right"));
    let hash = world.directory.hashes.lock().unwrap()["ana"].clone();
    assert!(!bytes.windows(hash.expose().len()).any(|window| window == hash.expose().as_bytes()));
}

#[tokio::test]
async fn files_that_others_may_read_are_not_used() {
    use std::os::unix::fs::PermissionsExt;
    for file in ["host.key", "offline.db"] {
        let world = World::new().await;
        let path = world.folder.path().join(file);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refusal = Verifiers::none(Arc::clone(world.cache.source())).open(world.folder.path()).await.unwrap_err();
        assert!(refusal.to_string().contains("0640"), "{refusal}");
    }
    let world = World::new().await;
    std::fs::write(world.folder.path().join("host.key"), "short").unwrap();
    let refusal = Verifiers::none(Arc::clone(world.cache.source())).open(world.folder.path()).await.unwrap_err();
    assert!(refusal.to_string().contains("32 bytes"), "{refusal}");
}
