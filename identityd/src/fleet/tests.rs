//! What is reported, in front of a directory in memory.

use std::sync::atomic::Ordering;

use super::*;
use crate::cache::tests::TestDirectory;
use crate::config::Config;
use crate::directory::{Directory, DirectoryError, Kind};
use crate::feed::{Follower, Opener};
use crate::server::tests::World;

const WAIT: Duration = Duration::from_secs(60);

fn world() -> World {
    let mut config = Config::default();
    config.fleet.host = "web1".parse().ok();
    let world = World::start(config);
    let directory = Arc::clone(&world.directory);
    let open: Opener = Arc::new(move || {
        let directory = Arc::clone(&directory);
        Box::pin(async move { Ok::<Arc<dyn Directory>, DirectoryError>(directory) })
    });
    tokio::spawn(Follower::new(&world.host, open, None, Duration::from_millis(20)).run());
    tokio::spawn(run(Arc::clone(&world.host)));
    world
}

fn reported(directory: &TestDirectory) -> Vec<u64> {
    directory.reports.lock().unwrap().iter().map(|report| report.generation.0).collect()
}

async fn until(directory: &TestDirectory, condition: impl Fn(&[u64]) -> bool) {
    let end = Instant::now() + WAIT;
    while !condition(&reported(directory)) {
        assert!(Instant::now() < end, "{:?}", reported(directory));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_last_generation_of_a_burst_is_reported_and_not_each() {
    let world = world();
    until(&world.directory, |reported| !reported.is_empty()).await;
    let began = Instant::now();
    for n in 1..=40 {
        world.directory.note(Kind::Login, "bea", 2002);
        world.host.refresh(Generation(n), WAIT).await.unwrap();
    }
    until(&world.directory, |reported| reported.last() == Some(&40)).await;
    let reported = reported(&world.directory);
    // One at once and one a second from then on, however long it took.
    let most = (3 + began.elapsed().as_secs() as usize).clamp(8, 40);
    assert!(reported.len() < most, "{reported:?}");
    assert!(reported.is_sorted(), "{reported:?}");
}

#[tokio::test]
async fn a_directory_that_refuses_reports_still_answers_look_ups() {
    let world = world();
    until(&world.directory, |reported| !reported.is_empty()).await;
    world.directory.refuses_reports.store(true, Ordering::SeqCst);
    world.directory.note(Kind::Login, "bea", 2002);
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    tokio::time::sleep(LEAST + Duration::from_millis(300)).await;
    assert!(world.host.cache().source().health().reachable);
    assert_eq!(world.host.fleet().await.unwrap().hosts[0].generation, Generation(1), "its own line is of this moment");
    world.directory.refuses_reports.store(false, Ordering::SeqCst);
    until(&world.directory, |reported| reported.last() == Some(&1)).await;
}

#[tokio::test]
async fn a_host_is_forgotten_until_it_reports_again() {
    let world = world();
    until(&world.directory, |reported| !reported.is_empty()).await;
    let mut other = world.host.own_report().unwrap();
    other.host = "web2".parse().unwrap();
    world.directory.report(&other).await.unwrap();
    let names = |fleet: &Fleet| fleet.hosts.iter().map(|line| line.host.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&world.host.fleet().await.unwrap()), ["web1", "web2"]);
    world.host.forget_host("WEB2").await.unwrap();
    assert_eq!(names(&world.host.fleet().await.unwrap()), ["web1"]);
    assert!(world.host.forget_host("web2").await.unwrap_err().contains("no host web2"));
    assert!(world.host.forget_host("web2'; --").await.is_err());
}
