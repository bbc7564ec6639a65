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

/// The groups as the module takes them: in order, or it is damage.
fn gids(world: &World, name: &str) -> Vec<u32> {
    let published = replica(world).published().unwrap();
    let snapshot = published.snapshot().unwrap();
    let Answer::Found(login) = snapshot.login_by_name(name.as_bytes()) else { panic!("{name}") };
    login.gids().expect("a list in order").iter().collect()
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
async fn what_is_the_same_in_passwd_is_published_and_answered_by_nobody_else() {
    let world = publishing().await;
    let passwd = world.folder.path().join("passwd");
    let before = std::fs::read_to_string(&passwd).unwrap();
    std::fs::write(&passwd, format!("{before}ada:x:2000:2000::/home/members/users/ada:/bin/sh\n")).unwrap();
    let listed = || world.host.cache().source().quarantine().holds(Kind::Login, "ada");
    until("ada is listed as local", listed).await;
    assert_eq!(uid(&world, "ada"), Some(2000));
    let answer = world.host.login_by_name(&"ada".parse().unwrap(), WAIT).await;
    assert!(matches!(answer, crate::cache::Answer::Absent), "{answer:?}");
    std::fs::write(&passwd, before).unwrap();
    until("ada is served again", || !listed()).await;
    assert_eq!(uid(&world, "ada"), Some(2000));
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
    // The group first: bea alone could be published before it is noted.
    world.directory.groups.lock().unwrap().insert(3000, a_group("renamed", 3000, &[]));
    world.directory.note(Kind::Group, "staff2", 3000);
    world.directory.put(a_login("bea", 2010));
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

/// 500 members beside ada, and 500 groups beside staff2.
async fn a_cooperative() -> World {
    let world = world();
    for uid in 5000..5500 {
        let name = format!("group{uid}");
        world.directory.groups.lock().unwrap().insert(uid, a_group(&name, uid, &[]));
        world.directory.put(a_login(&format!("member{uid}"), uid));
    }
    for gid in 6001..=6003 {
        let name = format!("choir{}", gid - 6000);
        world.directory.groups.lock().unwrap().insert(gid, a_group(&name, gid, &["member5499"]));
    }
    follow(&world);
    until("all are published", || uid(&world, "member5499") == Some(5499)).await;
    world
}

/// Removes logins one by one, each in a publication of its own, until one is not published any more.
async fn removed_one_by_one(world: &World, uids: std::ops::Range<u32>) -> u32 {
    for (done, uid) in uids.enumerate() {
        world.directory.logins.lock().unwrap().remove(&uid);
        world.directory.note(Kind::Login, &format!("member{uid}"), uid);
        let newest = Generation(world.directory.changes.lock().unwrap().len() as u64);
        let published = world.host.refresh(newest, WAIT);
        tokio::select! {
            published = published => published.unwrap(),
            () = until("it is held back", || replica(world).facts().held.is_some()) => return done as u32,
        }
    }
    panic!("all of them are gone")
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_are_removed_one_by_one_wait_for_an_administrator_too() {
    let world = a_cooperative().await;
    assert_eq!(removed_one_by_one(&world, 5000..5500).await, 50);
    let held = replica(&world).facts().held.unwrap();
    assert_eq!((held.logins, held.gone, held.of), (1, 50, 501));
    assert_eq!(uid(&world, "member5050"), Some(5050));
    // After an administrator's word it is counted anew.
    world.host.accept_removal().unwrap();
    until("it is gone", || uid(&world, "member5050").is_none()).await;
    until("nothing is held back", || replica(&world).facts().held.is_none()).await;
    assert_eq!(removed_one_by_one(&world, 5051..5500).await, 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_while_an_administrator_agrees_does_not_hold_it_up() {
    let world = a_cooperative().await;
    assert_eq!(removed_one_by_one(&world, 5000..5500).await, 50);
    // The script goes on.
    for uid in 5051..5061 {
        world.directory.logins.lock().unwrap().remove(&uid);
    }
    world.host.accept_removal().unwrap();
    until("both are gone", || uid(&world, "member5050").is_none() && uid(&world, "member5060").is_none()).await;
    until("nothing is held back", || replica(&world).facts().held.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_removal_is_held_back_additions_and_locks_go_on() {
    let world = a_cooperative().await;
    {
        let mut logins = world.directory.logins.lock().unwrap();
        let gone: Vec<u32> = (5000..5400).filter(|uid| logins.remove(uid).is_some()).collect();
        // As the tables do it: who is gone is a member of nothing.
        world.directory.groups.lock().unwrap().insert(3000, a_group("staff2", 3000, &["local"]));
        let names: Vec<String> = gone.iter().map(|uid| format!("member{uid}")).collect();
        let changes: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(gone).collect();
        world.directory.note_all(Kind::Login, &changes);
        world.directory.note(Kind::Group, "staff2", 3000);
    }
    until("it is held back", || replica(&world).facts().held.is_some()).await;
    // Another loses a group that stands between two which stay.
    assert_eq!(gids(&world, "member5499"), [5499, 6001, 6002, 6003]);
    world.directory.groups.lock().unwrap().insert(6002, a_group("choir2", 6002, &[]));
    world.directory.note(Kind::Group, "choir2", 6002);
    world.directory.put(Login { gecos: "Sings".parse().unwrap(), ..a_login("member5499", 5499) });
    world.directory.groups.lock().unwrap().insert(3000, a_group("staff2", 3000, &["bea", "local"]));
    world.directory.note(Kind::Group, "staff2", 3000);
    world.directory.put(a_login("bea", 2010));
    world.directory.put(Login { status: schema::record::Status::Locked, ..a_login("member5450", 5450) });
    until("the new login is published", || uid(&world, "bea") == Some(2010)).await;
    assert_eq!(uid(&world, "member5000"), Some(5000));
    assert!(replica(&world).facts().held.is_some());
    let published = replica(&world).published().unwrap();
    let snapshot = published.snapshot().unwrap();
    let Answer::Found(group) = snapshot.group_by_gid(3000) else { panic!("staff2") };
    // ada has lost her place in the directory, and keeps it here; bea has come.
    assert_eq!(group.strings, b"staff2\0x\0ada\0bea\0");
    for name in ["ada", "bea"] {
        let Answer::Found(login) = snapshot.login_by_name(name.as_bytes()) else { panic!("{name}") };
        assert!(login.gids().unwrap().iter().any(|gid| gid == 3000), "{name}");
    }
    assert_eq!(gids(&world, "member5499"), [5499, 6001, 6002, 6003]);
    let name = "member5450".parse().unwrap();
    match world.host.login_by_name(&name, WAIT).await {
        crate::cache::Answer::Found(served) => {
            assert_eq!(served.answer.login.status, schema::record::Status::Locked);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_removal() {
    let world = a_cooperative().await;
    for uid in 5000..5040 {
        world.directory.logins.lock().unwrap().remove(&uid);
        world.directory.note(Kind::Login, &format!("member{uid}"), uid);
    }
    world.host.refresh(Generation(540), WAIT).await.unwrap();
    replica(&world).stop().await;
    let World { folder, directory, .. } = world;
    std::fs::remove_file(folder.path().join("socket")).unwrap();
    let world = World::start_in(folder, Config::default(), true);
    *world.directory.logins.lock().unwrap() = std::mem::take(&mut *directory.logins.lock().unwrap());
    *world.directory.groups.lock().unwrap() = std::mem::take(&mut *directory.groups.lock().unwrap());
    *world.directory.changes.lock().unwrap() = std::mem::take(&mut *directory.changes.lock().unwrap());
    follow(&world);
    assert_eq!(removed_one_by_one(&world, 5040..5500).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_counts_as_seen_while_programs_map_files_that_could_not_be_taken_over() {
    let world = publishing().await;
    world.directory.put(a_login("bea", 2010));
    world.host.refresh(Generation(1), WAIT).await.unwrap();
    replica(&world).stop().await;
    let World { folder, directory, .. } = world;
    std::fs::remove_file(folder.path().join("socket")).unwrap();
    // A publisher removes half-written files before anything else; this one it cannot.
    let obstacle = folder.path().join("live/new.base.9");
    std::fs::create_dir(&obstacle).unwrap();
    let world = World::start_in(folder, Config::default(), true);
    *world.directory.logins.lock().unwrap() = std::mem::take(&mut *directory.logins.lock().unwrap());
    *world.directory.changes.lock().unwrap() = std::mem::take(&mut *directory.changes.lock().unwrap());
    world.directory.put(a_login("cyd", 2011));
    follow(&world);
    until("the directory was looked at", || world.host.feed().generations().1 == Generation(2)).await;
    let early = world.host.refresh(Generation(2), Duration::from_millis(300)).await;
    assert!(early.is_err_and(|reason| reason.contains("not visible yet")));
    assert_eq!(world.host.feed().generations(), (Generation(0), Generation(2)));
    assert_eq!(world.host.own_report().unwrap().generation, Generation(0));
    std::fs::remove_dir(obstacle).unwrap();
    world.host.refresh(Generation(2), WAIT).await.unwrap();
    assert_eq!(world.host.own_report().unwrap().generation, Generation(2));
    assert_eq!(uid(&world, "cyd"), Some(2011));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_goes_and_comes_back_is_not_counted() {
    let world = a_cooperative().await;
    for _ in 0..3 {
        for there in [false, true] {
            for uid in 5000..5040 {
                let name = format!("member{uid}");
                match there {
                    true => drop(world.directory.logins.lock().unwrap().insert(uid, a_login(&name, uid))),
                    false => drop(world.directory.logins.lock().unwrap().remove(&uid)),
                }
                world.directory.note(Kind::Login, &name, uid);
            }
            let newest = Generation(world.directory.changes.lock().unwrap().len() as u64);
            world.host.refresh(newest, WAIT).await.unwrap();
        }
    }
    assert_eq!(uid(&world, "member5000"), Some(5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_owner_of_a_uid_or_of_a_name_is_a_removal() {
    let world = a_cooperative().await;
    for uid in 5000..5300 {
        world.directory.logins.lock().unwrap().remove(&uid);
        world.directory.logins.lock().unwrap().insert(uid + 4000, a_login(&format!("member{uid}"), uid + 4000));
        world.directory.note(Kind::Login, &format!("member{uid}"), uid);
        world.directory.note(Kind::Login, &format!("member{uid}"), uid + 4000);
    }
    until("it is held back", || replica(&world).facts().held.is_some()).await;
    assert_eq!(uid(&world, "member5299"), Some(5299));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_groups_do_not_vanish_either() {
    let world = a_cooperative().await;
    let groups = std::mem::take(&mut *world.directory.groups.lock().unwrap());
    for (gid, group) in &groups {
        world.directory.note(Kind::Group, group.name.as_str(), *gid);
    }
    until("it is held back", || replica(&world).facts().held.is_some()).await;
    let held = replica(&world).facts().held.unwrap();
    assert_eq!((held.logins, held.groups, held.of_groups), (0, 504, 504));
    let published = replica(&world).published().unwrap();
    assert!(matches!(published.snapshot().unwrap().group_by_gid(5007), Answer::Found(_)));
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
