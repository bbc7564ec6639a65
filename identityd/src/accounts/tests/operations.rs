//! What administrators do with logins, groups, memberships and keys.

use schema::record::Generation;

use super::{World, capabilities, message, name, new_login};
use crate::accounts::login::LoginChange;
use crate::directory::{Changes, Entry, Kind};

#[tokio::test]
async fn a_new_login_gets_a_fresh_id_and_its_own_group() {
    let world = World::new().await;
    let ana = world.login("ana", "shell sftp").await;
    assert_eq!(ana.uid.raw(), 1_000_001);
    assert_eq!(ana.gid.raw(), 1_000_001);
    assert_eq!(ana.home.as_str(), "/home/members/users/ana");
    let directory = world.accounts.directory();
    assert_eq!(directory.login_by_name(&name("ana")).await.unwrap(), Some(Entry::Valid(ana.clone())));
    assert_eq!(directory.login_by_uid(ana.uid).await.unwrap(), Some(Entry::Valid(ana.clone())));
    assert_eq!(directory.gids_of(&name("ana")).await.unwrap(), Some(vec![ana.gid]));
    let details = world.accounts.login(&name("ana")).await.unwrap();
    assert_eq!(details.group.unwrap().as_str(), "ana");
    assert!(details.warnings.is_empty(), "{:?}", details.warnings);
    assert!(message(world.accounts.login_add(&new_login("ana", "")).await).contains("there is a login ana already"));
}

#[tokio::test]
async fn an_id_is_not_given_out_again_and_comes_back_only_to_its_name() {
    let world = World::new().await;
    let ana = world.login("ana", "shell").await;
    world.accounts.login_remove(&name("ana")).await.unwrap();
    let mut luz = new_login("luz", "");
    luz.uid = Some(ana.uid);
    assert!(message(world.accounts.login_add(&luz).await).contains("was used before by \"ana\""));
    assert_ne!(world.login("eva", "").await.uid, ana.uid);
    let back = world.accounts.login_restore(&name("ana"), None).await.unwrap();
    assert_eq!((back.value.uid, back.value.gid), (ana.uid, ana.gid));
    assert_eq!(back.value.status, schema::record::Status::Locked);
    assert_eq!(world.ask("SELECT count(*) || '' FROM retired_id").await, "0");
}

#[tokio::test]
async fn the_group_of_sftp_only_logins_follows_capabilities_and_is_in_the_feed() {
    let world = World::new().await;
    let directory = world.accounts.directory();
    world.login("web", "sftp").await;
    world.login("ana", "sftp shell").await;
    let group = |text: &str| text.parse::<schema::name::GroupName>().unwrap();
    let members = || async {
        match directory.group_by_name(&group("sftp-only")).await.unwrap() {
            Some(Entry::Valid(group)) => group.members,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(members().await, [name("web")]);
    assert_eq!(directory.gids_of(&name("web")).await.unwrap().unwrap().len(), 2);
    let before = directory.generation().await.unwrap();
    let change = LoginChange { remove_capabilities: capabilities("shell"), ..LoginChange::default() };
    let done = world.accounts.login_set(&name("ana"), &change).await.unwrap();
    assert_eq!(members().await, [name("ana"), name("web")]);
    let Changes::List(changes) = directory.changes_after(before, 100).await.unwrap() else { panic!("gap") };
    let seen: Vec<_> = changes.iter().map(|change| (change.kind, change.name.as_str())).collect();
    assert_eq!(seen, [(Kind::Login, "ana"), (Kind::Group, "sftp-only")]);
    assert_eq!(changes.last().unwrap().generation, done.generation);
    assert_eq!(directory.changes_after(Generation(done.generation.0 + 1), 10).await.unwrap(), Changes::Gap);
}
