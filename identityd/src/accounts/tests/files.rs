//! The file of the directory: what is refused at opening, and what it says.

use std::os::unix::fs::PermissionsExt;

use super::World;
use crate::directory::sqlite::SqliteDirectory;
use crate::directory::{Directory, Entry};

async fn refusal(path: &std::path::Path) -> String {
    SqliteDirectory::open(path).await.map(|_| ()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_missing_or_empty_file_is_not_created_by_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.db");
    assert!(refusal(&path).await.contains("identityctl init"));
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refusal(&path).await.contains("identityctl init"));
    SqliteDirectory::create(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    SqliteDirectory::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_loose_mode_a_link_and_a_foreign_file_are_refused_with_a_remedy() {
    let world = World::new().await;
    let path = world.folder.path().join("directory.db");
    world.directory.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refusal(&path).await.contains("chmod 600"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let link = world.folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(refusal(&link).await.contains("it is a link"));
    assert!(SqliteDirectory::create(&link).await.is_err());
}

#[tokio::test]
async fn what_is_not_our_database_is_refused() {
    let world = World::new().await;
    let path = world.folder.path().join("directory.db");
    world.sql("PRAGMA user_version = 99").await.unwrap();
    assert!(refusal(&path).await.contains("version 99"));
    world.sql("PRAGMA application_id = 7").await.unwrap();
    assert!(refusal(&path).await.contains("another program"));
    let path = world.folder.path().join("other.db");
    std::fs::write(&path, "This is not a database. ".repeat(500)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = refusal(&path).await;
    assert!(text.contains("not an SQLite database"), "{text}");
}

#[tokio::test]
async fn damage_inside_is_an_error_and_never_an_absent_login() {
    let world = World::new().await;
    for at in 0..200 {
        world.login(&format!("user{at}"), "shell").await;
    }
    let path = world.folder.path().join("directory.db");
    world.directory.close().await;
    let mut content = std::fs::read(&path).unwrap();
    let from = content.len() / 4;
    content[from..].fill(0xa5);
    std::fs::write(&path, &content).unwrap();
    match SqliteDirectory::open(&path).await {
        Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
        Ok(directory) => {
            for at in 0..200 {
                let found = directory.login_by_name(&super::name(&format!("user{at}"))).await;
                assert!(!matches!(found, Ok(None)), "user{at}");
            }
        }
    }
}

#[tokio::test]
async fn a_row_that_breaks_the_rules_is_quarantined_and_the_others_are_served() {
    let world = World::new().await;
    world.login("ana", "shell").await;
    world.login("luz", "shell").await;
    world.sql("PRAGMA ignore_check_constraints = ON; UPDATE login SET home = '/' WHERE name = 'ana'").await.unwrap();
    let directory = world.accounts.directory();
    let Some(Entry::Quarantined(entry)) = directory.login_by_name(&super::name("ana")).await.unwrap() else { panic!() };
    assert_eq!(entry.id, 1_000_001);
    assert!(entry.reason.contains("home: the path is /"), "{}", entry.reason);
    let page = directory.logins_after(0, 10).await.unwrap();
    assert!(matches!(page.as_slice(), [Entry::Quarantined(_), Entry::Valid(_)]));
    world
        .sql("PRAGMA ignore_check_constraints = ON; UPDATE login SET gecos = CAST(x'ff' AS TEXT) WHERE name = 'luz'")
        .await
        .unwrap();
    assert!(matches!(directory.login_by_name(&super::name("luz")).await.unwrap(), Some(Entry::Quarantined(_))));
}
