//! Files that cannot be written, or not removed.

use super::*;

const NO_WRITES: &str = "PRAGMA query_only = ON";
const WRITES: &str = "PRAGMA query_only = OFF";

impl World {
    async fn spoil(&self, statement: &'static str) {
        self.verifiers.kept().unwrap().store.spoil(statement).await;
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_written_later() {
    let mut world = World::settled().await;
    world.spoil(NO_WRITES).await;
    world.verifiers.forget(&ana()).await;
    assert!(!world.is_settled());
    world.spoil(WRITES).await;
    world.settle().await;
    world.restart().await;
    assert_eq!(world.verifiers.count(), Count { logins: 1, with_password: 0 });
}

#[tokio::test]
async fn a_change_that_cannot_be_noted_leaves_nothing_for_a_restart() {
    let mut world = World::settled().await;
    world.spoil(NO_WRITES).await;
    world.away(true).await;
    world.hear(|login| login.status = Status::Locked).await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
    assert!(!world.folder.path().join(RECORDS_FILE).exists());
    // Until then it goes on from memory.
    world.away(false).await;
    world.hear(|login| login.status = Status::Active).await;
    world.settle().await;
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Right);
    world.restart().await;
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)));
}

#[tokio::test]
async fn a_slow_disk_holds_up_no_change_and_costs_no_record() {
    let mut world = World::settled().await;
    world.away(true).await;
    let turn = world.verifiers.kept().unwrap().store.hold().await;
    let began = Instant::now();
    world.hear(|login| login.status = Status::Locked).await;
    assert!(began.elapsed() >= DISK_WAIT);
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)), "in memory it is marked at once");
    // The next one does not wait.
    let began = Instant::now();
    world.hear(|login| login.status = Status::Active).await;
    assert!(began.elapsed() < DISK_WAIT);
    drop(turn);
    world.verifiers.save(&world.verifiers.kept().unwrap()).await;
    world.restart().await;
    assert_eq!(world.verifiers.state().records.iter().count(), 1, "nothing was removed");
    assert!(matches!(world.verify("right").await, Offline::Unknown(_)), "and it is noted");
    world.away(false).await;
    world.settle().await;
    world.away(true).await;
    assert_eq!(world.verify("right").await, Offline::Right);
}

#[tokio::test]
async fn a_slow_disk_that_takes_nothing_in_the_end_leaves_nothing_for_a_restart() {
    let world = World::settled().await;
    world.away(true).await;
    let kept = world.verifiers.kept().unwrap();
    let turn = kept.store.hold().await;
    world.hear(|login| login.status = Status::Locked).await;
    drop(turn);
    world.spoil(NO_WRITES).await;
    assert!(!world.verifiers.save(&kept).await);
    assert!(!world.folder.path().join(RECORDS_FILE).exists());
}

#[tokio::test]
async fn one_file_that_cannot_be_removed_keeps_no_other() {
    let world = World::new().await;
    let [records, key] = [RECORDS_FILE, KEY_FILE].map(|file| world.folder.path().join(file));
    std::fs::remove_file(&records).unwrap();
    std::fs::create_dir(&records).unwrap();
    let refusal = world.verifiers.close(world.folder.path()).await.unwrap_err();
    assert!(refusal.to_string().contains(RECORDS_FILE), "{refusal}");
    assert!(!key.exists());
    std::fs::remove_dir(&records).unwrap();
    std::fs::write(&records, "").unwrap();
    assert!(world.verifiers.close(world.folder.path()).await.unwrap(), "tried again");
    assert!(!world.verifiers.close(world.folder.path()).await.unwrap(), "nothing is left");
}
