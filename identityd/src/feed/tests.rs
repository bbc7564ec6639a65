//! What the follower notices, on a directory in memory.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::cache::Answer;
use crate::cache::tests::{TestDirectory, a_login};
use crate::config::Config;
use crate::directory::Kind;
use crate::server::tests::World;

const WAIT: Duration = Duration::from_secs(5);

pub(crate) fn follow(world: &World) {
    let directory = Arc::clone(&world.directory);
    let open: Opener = Arc::new(move || {
        let directory = Arc::clone(&directory);
        Box::pin(async move { Ok::<Arc<dyn Directory>, _>(directory) })
    });
    tokio::spawn(Follower::new(&world.host, open, None, Duration::from_millis(20)).run());
}

async fn uid(world: &World) -> u32 {
    match world.host.login_by_name(&"ada".parse().unwrap(), WAIT).await {
        Answer::Found(served) => served.answer.login.uid.raw(),
        other => panic!("{other:?}"),
    }
}

/// Gives ada another uid, without a word in the change log.
fn renumber(directory: &TestDirectory) {
    let mut logins = directory.logins.lock().unwrap_or_else(PoisonError::into_inner);
    logins.retain(|_, login| login.name.as_str() != "ada");
    logins.insert(2009, a_login("ada", 2009));
}

#[tokio::test]
async fn a_restored_copy_with_a_longer_history_is_noticed() {
    let world = World::start(Config::default());
    follow(&world);
    world.directory.note(Kind::Login, "bea", 2002);
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    assert_eq!(uid(&world).await, 2000);
    renumber(&world.directory);
    world.directory.changes.lock().unwrap().clear();
    for name in ["cyd", "dan", "eve"] {
        world.directory.note(Kind::Login, name, 2003);
    }
    world.host.refresh(Generation(3), WAIT).await.unwrap();
    assert_eq!(uid(&world).await, 2009);
}

#[tokio::test]
async fn a_hole_in_the_change_log_drops_everything() {
    let world = World::start(Config::default());
    follow(&world);
    world.directory.note(Kind::Login, "bea", 2002);
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    assert_eq!(uid(&world).await, 2000);
    renumber(&world.directory);
    world.directory.lost.store(7, Ordering::SeqCst);
    world.host.refresh(Generation(8), WAIT).await.unwrap();
    assert_eq!(uid(&world).await, 2009);
}

#[tokio::test]
async fn a_change_of_the_local_accounts_before_the_first_look_is_seen_and_told() {
    let world = World::start(Config::default());
    let mut altered = world.host.feed().altered();
    std::fs::write(world.folder.path().join("passwd"), "ada:x:1700:1700::/:/bin/sh\n").unwrap();
    follow(&world);
    tokio::time::timeout(WAIT, altered.wait_for(|_| world.host.local().has_login("ada"))).await.unwrap().unwrap();
    assert_eq!(world.host.login_by_name(&"ada".parse().unwrap(), WAIT).await, Answer::Absent);
}

#[tokio::test]
async fn a_directory_that_still_cannot_be_written_is_not_replaced_and_one_that_can_is() {
    let world = World::start(Config::default());
    let (opened, full) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
    let open: Opener = {
        let (opened, full) = (Arc::clone(&opened), Arc::clone(&full));
        Arc::new(move || {
            opened.fetch_add(1, Ordering::SeqCst);
            let directory = TestDirectory::with(&[a_login("ada", 2000)], &[]);
            directory.note(Kind::Login, "ada", 2000);
            directory.read_only.store(full.load(Ordering::SeqCst), Ordering::SeqCst);
            Box::pin(async move { Ok::<Arc<dyn Directory>, _>(directory) })
        })
    };
    world.host.cache().source().set(None);
    tokio::spawn(Follower::new(&world.host, open, None, Duration::from_millis(20)).run());
    let until = async |what: &str, condition: &dyn Fn() -> bool| {
        let limit = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < limit, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let source = world.host.cache().source();
    until("it is open", &|| source.read_only().is_some()).await;
    let first = source.directory().unwrap();
    until("it is tried again", &|| opened.load(Ordering::SeqCst) >= 2).await;
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    assert!(Arc::ptr_eq(&first, &source.directory().unwrap()), "a reading that takes longer would be discarded");
    full.store(false, Ordering::SeqCst);
    until("it can be written again", &|| source.read_only().is_none()).await;
}

/// A directory that opens as often as `opens` says, and then once never.
fn stuck_at(world: &World, opens: u32) -> (Keeper, Arc<AtomicU32>) {
    let opened = Arc::new(AtomicU32::new(0));
    let (directory, count) = (Arc::clone(&world.directory), Arc::clone(&opened));
    let open: Opener = Arc::new(move || {
        let (directory, number) = (Arc::clone(&directory), count.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move {
            if number == opens {
                std::future::pending::<()>().await;
            }
            Ok::<Arc<dyn Directory>, _>(directory)
        })
    });
    world.host.cache().source().set(None);
    let mut keeper = Keeper::new(&world.host, open, None, Duration::from_millis(20));
    keeper.look = Duration::from_millis(20);
    (keeper, opened)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < limit, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_step_that_comes_to_no_end_is_begun_anew() {
    let world = World::start(Config::default());
    let (keeper, opened) = stuck_at(&world, 0);
    world.directory.note(Kind::Login, "bea", 2002);
    tokio::spawn(keeper.run());
    until("it is opened", || opened.load(Ordering::SeqCst) == 1).await;
    let feed = world.host.feed();
    assert!(feed.steps.expire("opens the directory") && feed.stands_still().is_none());
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    feed.has_looked().await;
    assert_eq!((opened.load(Ordering::SeqCst), world.host.not_followed()), (2, None));
}

#[tokio::test]
async fn one_begun_anew_goes_on_after_what_is_published() {
    let world = World::start_in(tempfile::tempdir().unwrap(), Config::default(), true);
    let (keeper, opened) = stuck_at(&world, 1);
    *world.directory.identity.lock().unwrap() = "one".into();
    world.directory.note(Kind::Login, "bea", 2002);
    tokio::spawn(keeper.run());
    let replica = world.host.replica().unwrap();
    until("it is published", || replica.generation() == Some(Generation(1))).await;
    let base = replica.published().unwrap().pair.base;
    assert_eq!(uid(&world).await, 2000);
    // It is opened again, and does not come back from that. What changes meanwhile is not lost.
    world.host.cache().source().set(None);
    until("it is opened again", || opened.load(Ordering::SeqCst) == 2).await;
    renumber(&world.directory);
    world.directory.note(Kind::Login, "ada", 2009);
    assert!(world.host.feed().steps.expire("opens the directory"));
    world.host.refresh(Generation(2), WAIT).await.unwrap();
    let published = replica.published().unwrap();
    assert_eq!((opened.load(Ordering::SeqCst), published.generation, published.pair.base), (3, 2, base));
    assert_eq!(uid(&world).await, 2009);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_stands_still_is_given_up_for_another_one() {
    let world = World::start_in(tempfile::tempdir().unwrap(), Config::default(), true);
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    *world.directory.meanwhile.lock().unwrap() = Some(Box::new(move |_| told.recv().unwrap_or(())));
    let directory = Arc::clone(&world.directory);
    let open: Opener = Arc::new(move || {
        let directory = Arc::clone(&directory);
        Box::pin(async move { Ok::<Arc<dyn Directory>, _>(directory) })
    });
    let mut follower = Follower::new(&world.host, open, None, Duration::from_millis(20));
    world.host.replica().unwrap().has_opened().await;
    assert!(follower.look().await);
    let replication = follower.replica.as_ref().unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while !replication.reading().unwrap().expire("opens a view of the directory") {
        assert!(Instant::now() < limit);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Twice: the whole process may have been stopped for a while.
    assert!(follower.look().await && follower.replica.as_ref().unwrap().reading().is_some());
    assert!(follower.look().await);
    let replication = follower.replica.as_mut().unwrap();
    assert!(replication.reading().is_none() && replication.impatience().is_some());
    replication.do_not_wait();
    while world.host.replica().unwrap().published().is_none() {
        assert!(Instant::now() < limit, "the second one is published though the first has not ended");
        assert!(follower.look().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.host.feed().stands_still(), None);
    drop(go_on);
}
