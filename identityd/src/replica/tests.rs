//! What is published of a directory in memory, seen through the files.

use std::sync::atomic::Ordering;
use std::time::Instant;

use schema::record::Login;
use schema::snapshot::Answer;

use super::*;
use crate::cache::tests::{TestDirectory, a_group, a_login};
use crate::config::Config;
use crate::directory::Kind;
use crate::feed::tests::follow;
use crate::server::tests::World;

const WAIT: Duration = Duration::from_secs(60);

fn world() -> World {
    World::start_in(tempfile::tempdir().unwrap(), Config::default(), true)
}

fn replica(world: &World) -> Arc<Replica> {
    Arc::clone(world.host.replica().unwrap())
}

fn uid(world: &World, name: &str) -> Option<u32> {
    let published = replica(world).published()?;
    let found = published.snapshot()?.login_by_name(name.as_bytes());
    match found {
        Answer::Found(login) => Some(login.head.uid),
        Answer::Absent => None,
        Answer::Unusable => panic!("damaged"),
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + WAIT;
    while !condition() {
        assert!(Instant::now() < limit, "not within {WAIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn publishing() -> World {
    let world = world();
    follow(&world);
    until("ada is published", || uid(&world, "ada") == Some(2000)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_local_is_not_published() {
    let world = publishing().await;
    // A name of /etc/passwd, and a uid of it.
    assert_eq!((uid(&world, "local"), uid(&world, "zed")), (None, None));
    let published = replica(&world).published().unwrap();
    let Answer::Found(group) = published.snapshot().unwrap().group_by_name(b"staff2") else { panic!("staff2") };
    assert_eq!(group.head.members, 1);
    assert_eq!(world.host.cache().source().quarantine().snapshot(0).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_published_before_it_counts_as_seen() {
    let world = publishing().await;
    world.directory.put(a_login("bea", 2010));
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    assert_eq!((uid(&world, "bea"), replica(&world).generation()), (Some(2010), Some(Generation(1))));
    world.directory.logins.lock().unwrap().remove(&2010);
    world.directory.note(Kind::Login, "bea", 2010);
    world.host.refresh(Generation(2), WAIT).await.unwrap();
    assert_eq!(uid(&world, "bea"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_changes_its_uid_and_one_that_takes_its_old_one_are_both_there() {
    let world = publishing().await;
    {
        let mut logins = world.directory.logins.lock().unwrap();
        logins.insert(2011, a_login("ada", 2011));
        logins.insert(2000, a_login("cyd", 2000));
    }
    for (name, id) in [("ada", 2000), ("ada", 2011), ("cyd", 2000)] {
        world.directory.note(Kind::Login, name, id);
    }
    world.host.refresh(Generation(3), WAIT).await.unwrap();
    assert_eq!((uid(&world, "ada"), uid(&world, "cyd")), (Some(2011), Some(2000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_fails_half_way_costs_nothing() {
    let world = publishing().await;
    world.directory.no_groups.store(true, Ordering::SeqCst);
    world.directory.put(a_login("bea", 2010));
    world.directory.groups.lock().unwrap().insert(3000, a_group("renamed", 3000, &[]));
    world.directory.note(Kind::Group, "staff2", 3000);
    assert!(world.host.refresh(Generation(2), Duration::from_millis(300)).await.is_err());
    assert_eq!(uid(&world, "bea"), None);
    world.directory.no_groups.store(false, Ordering::SeqCst);
    world.host.refresh(Generation(2), WAIT).await.unwrap();
    assert_eq!(uid(&world, "bea"), Some(2010));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_log_is_filled_by_reading_everything() {
    let world = publishing().await;
    world.directory.logins.lock().unwrap().insert(2010, a_login("bea", 2010));
    world.directory.lost.store(7, Ordering::SeqCst);
    world.host.refresh(Generation(7), WAIT).await.unwrap();
    assert_eq!(uid(&world, "bea"), Some(2010));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_directory_waits_for_an_administrator() {
    let world = publishing().await;
    for uid in 5000..5100 {
        world.directory.put(a_login(&format!("member{uid}"), uid));
    }
    world.host.refresh(Generation(100), WAIT).await.unwrap();
    let all = std::mem::take(&mut *world.directory.logins.lock().unwrap());
    for (uid, login) in &all {
        world.directory.note(Kind::Login, login.name.as_str(), *uid);
    }
    until("it is held back", || replica(&world).facts().held.is_some()).await;
    let held = replica(&world).facts().held.unwrap();
    assert_eq!((held.logins, held.of), (101, 101));
    assert_eq!(uid(&world, "member5050"), Some(5050));
    world.host.accept_removal().unwrap();
    until("they are gone", || uid(&world, "member5050").is_none()).await;
    until("nothing is held back", || replica(&world).facts().held.is_none()).await;
    assert!(world.host.accept_removal().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_emptied_while_it_is_read_waits_for_an_administrator() {
    let world = publishing().await;
    for uid in 5000..5100 {
        world.directory.put(a_login(&format!("member{uid}"), uid));
    }
    world.host.refresh(Generation(100), WAIT).await.unwrap();
    *world.directory.meanwhile.lock().unwrap() = Some(Box::new(|directory| {
        let all = std::mem::take(&mut *directory.logins.lock().unwrap());
        for (uid, login) in &all {
            directory.note(Kind::Login, login.name.as_str(), *uid);
        }
    }));
    // Other local accounts: everything is read, and it was all there when the reading began.
    let passwd = world.folder.path().join("passwd");
    let before = std::fs::read_to_string(&passwd).unwrap();
    std::fs::write(&passwd, format!("{before}zoe:x:1700:1700::/:/bin/sh\n")).unwrap();
    until("it is held back", || replica(&world).facts().held.is_some()).await;
    assert_eq!(replica(&world).facts().held.unwrap().logins, 101);
    assert_eq!(uid(&world, "member5050"), Some(5050));
    assert!(world.directory.meanwhile.lock().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_transaction_has_changed_is_published_together() {
    let world = publishing().await;
    world.directory.put(a_login("bea", 2010));
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    let delta = replica(&world).published().unwrap().pair.delta;
    fn both(directory: &TestDirectory, gecos: &str) {
        let both = [("ada", 2000), ("bea", 2010)];
        for (name, uid) in both {
            directory.logins.lock().unwrap().insert(uid, Login { gecos: gecos.parse().unwrap(), ..a_login(name, uid) });
        }
        directory.note_all(Kind::Login, &both);
    }
    // ada has been read as she was at generation 3 when both change once more.
    *world.directory.meanwhile.lock().unwrap() = Some(Box::new(|directory| both(directory, "second")));
    both(&world.directory, "first");
    world.host.refresh(Generation(5), WAIT).await.unwrap();
    let published = replica(&world).published().unwrap();
    for name in ["ada", "bea"] {
        let Answer::Found(login) = published.snapshot().unwrap().login_by_name(name.as_bytes()) else {
            panic!("{name}")
        };
        assert!(login.record.windows(6).any(|part| part == b"second"), "{name}");
    }
    assert_eq!(published.pair.delta, delta + 1, "ada of one generation was published beside bea of another");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_local_accounts_are_other_answers() {
    let world = publishing().await;
    let passwd = world.folder.path().join("passwd");
    let before = std::fs::read_to_string(&passwd).unwrap();
    std::fs::write(&passwd, format!("{before}ada:x:1700:1700::/:/bin/sh\n")).unwrap();
    until("ada is local", || uid(&world, "ada").is_none()).await;
    std::fs::write(&passwd, before).unwrap();
    until("ada is back", || uid(&world, "ada") == Some(2000)).await;
}

/// The directory is in LDAP, whose entries say nothing of a shell.
fn with_shell(shell: &str) -> Config {
    let text = format!(
        "[directory]\ntype = \"ldap\"\nservers = [\"ldapi:///\"]\nbase = \"dc=example\"\n[directory.overrides]\nshell = \"{shell}\"\n"
    );
    Config::parse(&text, "identityd.toml".as_ref()).unwrap()
}

/// Ends this life at its first generation, and begins another one with this configuration, in which ada has the uid 2009 from the beginning.
async fn restarted(world: World, config: Config) -> World {
    world.directory.note(Kind::Login, "ada", 2000);
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    replica(&world).stop().await;
    let World { folder, .. } = world;
    std::fs::remove_file(folder.path().join("socket")).unwrap();
    let world = World::start_in(folder, config, true);
    world.directory.logins.lock().unwrap().remove(&2000);
    world.directory.logins.lock().unwrap().insert(2009, a_login("ada", 2009));
    world.directory.note(Kind::Login, "bea", 2010);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_of_the_directory_are_other_answers_after_a_restart() {
    let world = World::start_in(tempfile::tempdir().unwrap(), with_shell("/bin/bash"), true);
    follow(&world);
    until("ada is published", || uid(&world, "ada") == Some(2000)).await;
    let world = restarted(world, with_shell("/bin/sh")).await;
    follow(&world);
    until("everything is read anew", || uid(&world, "ada") == Some(2009)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_directory_of_the_same_generation_is_noticed_at_a_restart() {
    let world = restarted(publishing().await, Config::default()).await;
    *world.directory.identity.lock().unwrap() = "another".into();
    follow(&world);
    until("everything is read anew", || uid(&world, "ada") == Some(2009)).await;
    assert_eq!(replica(&world).generation(), Some(Generation(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_under_the_same_settings_only_what_has_changed_is_asked() {
    let world = restarted(publishing().await, Config::default()).await;
    follow(&world);
    world.directory.put(a_login("cyd", 2011));
    world.host.refresh(Generation(2), WAIT).await.unwrap();
    assert_eq!((uid(&world, "ada"), uid(&world, "cyd")), (Some(2000), Some(2011)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_came_to_nothing_is_not_followed_by_another_at_once() {
    type Readings = Arc<Mutex<Vec<Instant>>>;
    /// Nobody says what has changed while everything was read: the reading is of no use.
    fn overtake(directory: &TestDirectory, readings: Readings) {
        *directory.meanwhile.lock().unwrap() = Some(Box::new(move |directory| {
            readings.lock().unwrap().push(Instant::now());
            directory.lost.fetch_add(1, Ordering::SeqCst);
            overtake(directory, readings);
        }));
    }
    let (world, readings) = (world(), Readings::default());
    overtake(&world.directory, Arc::clone(&readings));
    follow(&world);
    until("it is tried again", || readings.lock().unwrap().len() > 1).await;
    let readings = readings.lock().unwrap();
    let pause = readings.get(1).unwrap().duration_since(*readings.first().unwrap());
    assert!(pause >= Duration::from_secs(5), "{pause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_one_name_are_one_and_a_reason() {
    let world = world();
    world.directory.logins.lock().unwrap().insert(2020, a_login("ada", 2020));
    follow(&world);
    until("ada is published", || uid(&world, "ada") == Some(2000)).await;
    let (_, quarantined) = world.host.cache().source().quarantine().snapshot(10);
    assert!(quarantined.iter().any(|entry| entry.id == 2020 && entry.reason.contains("lower id")), "{quarantined:?}");
}
