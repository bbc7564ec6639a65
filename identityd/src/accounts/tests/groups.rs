//! Groups and their members through the operations.

use schema::name::GroupName;

use super::{World, message, name};
use crate::accounts::Warning;
use crate::accounts::group::GroupFilter;
use crate::accounts::login::NFS_GROUPS;
use crate::directory::{Changes, Entry, Kind};

fn group(text: &str) -> GroupName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_group_is_added_renamed_and_removed_and_its_gid_is_not_given_again() {
    let world = World::new().await;
    let web = world.accounts.group_add(&group("web"), None).await.unwrap().value;
    assert!(message(world.accounts.group_add(&group("web"), None).await).contains("there is a group web already"));
    assert!(message(world.accounts.group_add(&group("other"), Some(web.gid)).await).contains("web with gid"));
    world.login("ana", "").await;
    world.accounts.group_add_member(&group("web"), &name("ana")).await.unwrap();
    let renamed = world.accounts.group_rename(&group("web"), &group("www")).await.unwrap().value;
    assert_eq!((renamed.gid, renamed.members), (web.gid, vec![name("ana")]));
    assert!(message(world.accounts.group_rename(&group("www"), &group("ana")).await).contains("already"));
    assert!(!world.accounts.group_rename(&group("www"), &group("www")).await.unwrap().changed);
    world.accounts.group_remove(&group("www")).await.unwrap();
    assert!(message(world.accounts.group(&group("www")).await).contains("there is no group www"));
    assert_eq!(world.accounts.login(&name("ana")).await.unwrap().groups, []);
    let again = world.accounts.group_add(&group("new"), Some(web.gid)).await;
    assert!(message(again).contains("was used before by \"www\""));
    let removed = message(world.accounts.group_remove(&group("ana")).await);
    assert!(removed.contains("primary group of ana") && removed.contains("--group"), "{removed}");
}

#[tokio::test]
async fn members_come_and_go_and_both_sides_are_in_the_feed() {
    let world = World::new().await;
    world.login("ana", "").await;
    world.accounts.group_add(&group("web"), None).await.unwrap();
    let before = world.accounts.directory().generation().await.unwrap();
    assert!(world.accounts.group_add_member(&group("web"), &name("ana")).await.unwrap().changed);
    assert!(!world.accounts.group_add_member(&group("web"), &name("ana")).await.unwrap().changed);
    let Changes::List(changes) = world.accounts.directory().changes_after(before, 10).await.unwrap() else { panic!() };
    let seen: Vec<_> = changes.iter().map(|change| (change.kind, change.name.as_str())).collect();
    assert_eq!(seen, [(Kind::Group, "web"), (Kind::Login, "ana")]);
    let of_ana = GroupFilter { member: Some(name("ana")), ..GroupFilter::default() };
    let listed = world.accounts.groups(&of_ana, 10).await.unwrap();
    assert!(matches!(listed.as_slice(), [Entry::Valid(web)] if web.name == group("web")), "{listed:?}");
    world.accounts.group_remove_member(&group("web"), &name("ana")).await.unwrap();
    assert!(message(world.accounts.group_remove_member(&group("web"), &name("ana")).await).contains("is not listed"));
    assert!(message(world.accounts.group_add_member(&group("web"), &name("eva")).await).contains("no login eva"));
    assert!(message(world.accounts.group_add_member(&group("www"), &name("ana")).await).contains("no group www"));
}

#[tokio::test]
async fn the_group_by_which_sshd_confines_logins_stays() {
    let world = World::new().await;
    world.login("web", "sftp").await;
    let only = group("sftp-only");
    for refusal in [
        message(world.accounts.group_remove(&only).await),
        message(world.accounts.group_rename(&only, &group("other")).await),
        message(world.accounts.group_add_member(&only, &name("web")).await),
        message(world.accounts.group_remove_member(&only, &name("web")).await),
    ] {
        assert!(refusal.contains("follow from capabilities"), "{refusal}");
    }
    assert_eq!(world.accounts.group(&only).await.unwrap().group.members, [name("web")]);
}

#[tokio::test]
async fn more_groups_than_nfs_passes_are_warned_about_when_they_come_to_be_and_when_shown() {
    let world = World::new().await;
    world.login("ana", "").await;
    for at in 0..=NFS_GROUPS {
        let name_of = group(&format!("g{at}"));
        world.accounts.group_add(&name_of, None).await.unwrap();
        let warnings = world.accounts.group_add_member(&name_of, &name("ana")).await.unwrap().warnings;
        assert_eq!(!warnings.is_empty(), at == NFS_GROUPS, "{at}: {warnings:?}");
    }
    let shown = world.accounts.login(&name("ana")).await.unwrap();
    assert_eq!(shown.warnings, [Warning::ManyGroups { login: name("ana"), count: NFS_GROUPS + 1 }]);
}
