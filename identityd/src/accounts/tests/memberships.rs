//! Memberships through the operations.

use schema::name::MembershipName;
use schema::record::Membership;

use super::{World, message, name};
use crate::accounts::login::LoginChange;

fn membership(text: &str) -> MembershipName {
    text.parse().unwrap()
}

async fn world() -> World {
    let world = World::new().await;
    for text in ["radio", "coop"] {
        let new = Membership { name: membership(text), title: format!("The {text}").parse().unwrap() };
        assert!(world.accounts.membership_add(&new).await.unwrap().changed);
        assert!(message(world.accounts.membership_add(&new).await).contains("already"));
    }
    world
}

#[tokio::test]
async fn a_membership_is_listed_renamed_and_keeps_its_logins() {
    let world = world().await;
    let ana = world.login("ana", "shell").await;
    let into = LoginChange { membership: Some(Some(membership("radio"))), ..LoginChange::default() };
    let moved = world.accounts.login_set(&name("ana"), &into).await.unwrap().value;
    assert_eq!((moved.uid, moved.gid, &moved.home), (ana.uid, ana.gid, &ana.home));
    let before = moved.membership.unwrap();
    let done = world.accounts.membership_set(&before, Some(&membership("radio2")), None).await.unwrap();
    assert!(done.changed);
    assert_eq!(done.value.title.as_str(), "The radio");
    assert_eq!(world.accounts.login(&name("ana")).await.unwrap().login.membership, Some(membership("radio2")));
    let all = world.accounts.memberships(None, 10).await.unwrap();
    let counts: Vec<_> = all.iter().map(|one| (one.membership.name.as_str(), one.logins)).collect();
    assert_eq!(counts, [("coop", 0), ("radio2", 1)]);
    let rest = world.accounts.memberships(Some(&membership("coop")), 10).await.unwrap();
    assert_eq!(rest.len(), 1);
    let same = world.accounts.membership_set(&membership("coop"), None, None).await.unwrap();
    assert!(!same.changed);
}

#[tokio::test]
async fn a_membership_in_use_a_taken_name_and_an_unknown_one_are_refused() {
    let world = world().await;
    world.login("ana", "").await;
    let into = LoginChange { membership: Some(Some(membership("radio"))), ..LoginChange::default() };
    world.accounts.login_set(&name("ana"), &into).await.unwrap();
    assert!(message(world.accounts.membership_remove(&membership("radio")).await).contains("1 login belongs to it"));
    let taken = world.accounts.membership_set(&membership("radio"), Some(&membership("coop")), None).await;
    assert!(message(taken).contains("there is a membership coop already"));
    for refusal in [
        message(world.accounts.membership(&membership("nobody")).await),
        message(world.accounts.membership_remove(&membership("nobody")).await),
        message(world.accounts.membership_set(&membership("nobody"), None, None).await),
    ] {
        assert!(refusal.contains("there is no membership nobody"), "{refusal}");
    }
    world.accounts.membership_remove(&membership("coop")).await.unwrap();
    let nowhere = LoginChange { membership: Some(Some(membership("coop"))), ..LoginChange::default() };
    assert!(message(world.accounts.login_set(&name("ana"), &nowhere).await).contains("no membership coop"));
}
