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
    let open: Opener = Box::new(move || {
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
        Box::new(move || {
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
