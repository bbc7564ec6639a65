//! Several writers, a full disk, a feed that has been trimmed, an entry that somebody broke.

use schema::date::Date;
use schema::record::Generation;

use super::{World, message, name, new_login};
use crate::accounts::Accounts;
use crate::accounts::host::Host;
use crate::accounts::login::{AgingChange, LoginChange};
use crate::directory::sqlite::SqliteDirectory;
use crate::directory::{Changes, DirectoryError};

/// Another process at the same file.
async fn second(world: &World) -> Accounts {
    let path = world.directory.path().to_owned();
    Accounts::on_host(SqliteDirectory::open(&path).await.unwrap(), Host::at(&world.folder.path().join("root")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_at_once_lose_nothing_and_give_no_id_twice() {
    const EACH: u32 = 40;
    let world = World::new().await;
    let add = |accounts: Accounts, prefix: &'static str| async move {
        for at in 0..EACH {
            accounts.login_add(&new_login(&format!("{prefix}{at}"), "shell mail")).await.unwrap();
        }
    };
    let one = tokio::spawn(add(world.accounts.clone(), "a"));
    let two = tokio::spawn(add(second(&world).await, "b"));
    one.await.unwrap();
    two.await.unwrap();
    let counts = "SELECT count(*) || ' ' || count(DISTINCT uid) || ' ' || count(DISTINCT gid) FROM login";
    assert_eq!(world.ask(counts).await, "80 80 80");
    // Commit order and numbers agree: none is missing.
    assert_eq!(world.ask("SELECT CAST(max(generation) = count(*) AS TEXT) FROM change").await, "1");
}

#[tokio::test]
async fn a_password_that_its_owner_changes_meets_one_that_root_sets() {
    let world = World::new().await;
    world.login("ana", "shell").await;
    let daemon = second(&world).await;
    let today = Date::from_days(20_000);
    let hash = |text: &str| text.parse::<schema::hash::PasswordHash>().unwrap();
    let old = daemon.directory().password_hash(&name("ana")).await.unwrap().unwrap();
    world.accounts.login_password(&name("ana"), &hash("$6$root$set"), Some(today)).await.unwrap();
    let late = daemon.directory().set_password(&name("ana"), Some(&old), &hash("$6$own$new"), today).await;
    assert!(matches!(late, Err(DirectoryError::Conflict)), "{late:?}");
    let now = daemon.directory().password_hash(&name("ana")).await.unwrap().unwrap();
    assert!(now == hash("$6$root$set"));
    daemon.directory().set_password(&name("ana"), Some(&now), &hash("$6$own$new"), today).await.unwrap();
    assert_eq!(world.ask("SELECT password_hash FROM login").await, "$6$own$new");
}

#[tokio::test]
async fn a_full_disk_refuses_the_change_whole_and_the_directory_goes_on() {
    let world = World::new().await;
    world.login("ana", "shell").await;
    let limit = |pages: &'static str| sqlx::query(pages).execute(world.directory.writer());
    // SQLite treats its own limit as it treats ENOSPC: SQLITE_FULL.
    limit("PRAGMA max_page_count = 1").await.unwrap();
    let before = world.ask("SELECT generation || '' FROM directory").await;
    let mut refused = None;
    for at in 0..200 {
        let key = new_login(&format!("u{at}"), "shell");
        if let Err(error) = world.accounts.login_add(&key).await {
            refused = Some((at, error.to_string()));
            break;
        }
    }
    let (at, refusal) = refused.expect("refused sooner or later");
    assert!(refusal.contains("the disk is full") && refusal.contains("nothing was changed"), "{refusal}");
    assert_eq!(world.ask("SELECT count(*) || '' FROM login").await, (at + 1).to_string());
    assert!(world.accounts.login(&name("ana")).await.is_ok());
    limit("PRAGMA max_page_count = 1000000").await.unwrap();
    world.login("luz", "shell").await;
    assert_ne!(world.ask("SELECT generation || '' FROM directory").await, before);
}

#[tokio::test]
async fn a_reader_that_is_behind_the_trimmed_feed_is_told_so() {
    let world = World::new().await;
    world.login("ana", "").await;
    let seen = world.accounts.directory().generation().await.unwrap();
    world.sql("UPDATE directory SET keep = 1000").await.unwrap();
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) \
        INSERT INTO touched (kind, name, id) SELECT 'login', 'ana', 1000001 FROM n";
    world.sql(many).await.unwrap();
    let directory = world.accounts.directory();
    let newest = directory.generation().await.unwrap();
    assert_eq!(newest.0, seen.0 + 2500);
    assert_eq!(directory.changes_after(seen, 10).await.unwrap(), Changes::Gap);
    // `keep` reaches back from the last trimming, so never less than that.
    let near = Generation(newest.0 - 1000);
    assert!(matches!(directory.changes_after(near, 5000).await.unwrap(), Changes::List(list) if list.len() == 1000));
    let count: u64 = world.ask("SELECT count(*) || '' FROM change").await.parse().unwrap();
    assert!((1000..2000).contains(&count), "{count}");
}

#[tokio::test]
async fn fields_and_aging_of_a_login_change_together_or_not_at_all() {
    let world = World::new().await;
    world.login("ana", "shell").await;
    world.login("luz", "shell").await;
    let aging = AgingChange { max_days: Some(Some(90)), ..AgingChange::default() };
    let gecos = Some("Ana".parse().unwrap());
    let both = LoginChange { gecos: gecos.clone(), aging: aging.clone(), ..LoginChange::default() };
    let done = world.accounts.login_set(&name("ana"), &both).await.unwrap().value;
    assert_eq!((done.gecos.as_str(), done.aging.max_days), ("Ana", Some(90)));
    let refused =
        LoginChange { name: Some(name("luz")), gecos: Some("Other".parse().unwrap()), aging, ..LoginChange::default() };
    assert!(message(world.accounts.login_set(&name("ana"), &refused).await).contains("already"));
    let now = world.accounts.login(&name("ana")).await.unwrap().login;
    assert_eq!(now.gecos.as_str(), "Ana");
    let luz = world.accounts.login(&name("luz")).await.unwrap().login;
    assert_eq!(luz.aging.max_days, None);
}

#[tokio::test]
async fn a_quarantined_login_has_no_groups_and_no_keys() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN5HcFgkzvMZZlSF72lbMgvCPL+NDEO5/oc5HFE5S5T0 ana@home";
    let world = World::new().await;
    world.login("ana", "shell").await;
    world.accounts.key_add(&name("ana"), KEY, Date::from_days(20_000)).await.unwrap();
    let directory = world.accounts.directory();
    assert_eq!(directory.ssh_keys(&name("ana")).await.unwrap().len(), 1);
    assert_eq!(directory.gids_of(&name("ana")).await.unwrap().map(|gids| gids.len()), Some(1));
    world.sql("PRAGMA ignore_check_constraints = ON; UPDATE login SET status = 'gone'").await.unwrap();
    assert_eq!(directory.ssh_keys(&name("ana")).await.unwrap(), []);
    assert_eq!(directory.gids_of(&name("ana")).await.unwrap(), None);
}
