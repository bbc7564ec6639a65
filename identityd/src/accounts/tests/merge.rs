//! The files of a second server: the same name may be somebody else there.

use schema::name::MembershipName;

use super::import::{files, import, of, plan};
use super::{World, message, name};
use crate::accounts::import::Fate;

const FIRST: &str = "ana:x:2001:2001:Ana of the first:/home/members/users/ana:/bin/bash\n";
const SECOND: &str = "ana:x:3001:3001:Ana of the second:/home/members/users/ana2:/bin/bash\n\
    eva:x:3002:3002::/home/members/users/eva:/bin/bash\n";

async fn members(world: &World, group: &str) -> Vec<String> {
    let details = world.accounts.group(&group.parse().unwrap()).await.unwrap();
    details.group.members.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_login_of_the_same_name_and_another_uid_joins_no_group_of_the_second_server() {
    let world = World::new().await;
    import(&world, &files(FIRST, "", "ana:x:2001:\n")).await;
    let group = "ana:x:3001:\neva:x:3002:\nboard:x:3500:ana,eva\n";
    let plan = import(&world, &files(SECOND, "", group)).await;
    assert!(of(&plan, "passwd", 1).iter().any(|found| found.fate == Fate::Refused), "{:?}", plan.findings);
    let found = of(&plan, "group", 3);
    assert!(found.iter().any(|found| found.reason.contains("left out is the member ana")), "{found:?}");
    assert_eq!(members(&world, "board").await, ["eva"]);
}

#[tokio::test]
async fn a_stranger_in_a_group_that_is_there_is_noted_and_never_added() {
    let world = World::new().await;
    import(&world, &files(FIRST, "", "ana:x:2001:\nboard:x:3500:\n")).await;
    let plan = import(&world, &files(SECOND, "", "eva:x:3002:\nboard:x:3500:ana,eva\n")).await;
    assert!(of(&plan, "group", 2).iter().any(|found| found.reason.contains("left out is the member ana")));
    assert_eq!(members(&world, "board").await, ["eva"]);
}

#[tokio::test]
async fn the_same_login_on_both_servers_joins_the_new_groups_of_the_second() {
    let world = World::new().await;
    import(&world, &files(FIRST, "", "ana:x:2001:\n")).await;
    let changed = FIRST.replace("/bin/bash", "/bin/sh");
    import(&world, &files(&changed, "", "ana:x:2001:\nboard:x:3500:ana\n")).await;
    assert_eq!(members(&world, "board").await, ["ana"]);
}

#[tokio::test]
async fn a_membership_that_vanished_since_the_plan_stops_the_import() {
    let world = World::new().await;
    let radio: MembershipName = "radio".parse().unwrap();
    world.sql("INSERT INTO membership (name) VALUES ('radio')").await.unwrap();
    let passwd = "ana:x:2001:2001::/home/members/radio/sites/1/users/ana:/bin/bash\n";
    let plan = plan(&world, &files(passwd, "", "")).await;
    assert!(plan.memberships.is_empty());
    // A membership without logins is in nobody's answer, so its removal makes no generation.
    world.accounts.membership_remove(&radio).await.unwrap();
    assert!(message(world.accounts.import_apply(&plan, &mut |_| ()).await).contains("try again"));
    assert!(world.accounts.login(&name("ana")).await.is_err());
}

#[tokio::test]
async fn a_membership_that_appeared_since_the_plan_is_used() {
    let world = World::new().await;
    let passwd = "ana:x:2001:2001::/home/members/radio/sites/1/users/ana:/bin/bash\n";
    let plan = plan(&world, &files(passwd, "", "")).await;
    world.sql("INSERT INTO membership (name) VALUES ('radio')").await.unwrap();
    world.accounts.import_apply(&plan, &mut |_| ()).await.unwrap();
    assert_eq!(world.accounts.login(&name("ana")).await.unwrap().login.membership.unwrap().as_str(), "radio");
}
