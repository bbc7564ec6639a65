//! identityctl's work in a folder that another user owns. A test binary of its own: effective ids belong to the whole process.

use std::os::unix::fs::{MetadataExt, chown, symlink};

use identityd::directory::sqlite::{AsOwner, SqliteDirectory};

/// A uid that no account of the test machine needs to have.
const OWNER: u32 = 54_321;

#[test]
fn root_works_as_the_owner_and_is_not_led_elsewhere_by_links() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can take another user's ids");
        return;
    }
    let world = tempfile::tempdir().unwrap();
    // The owner must reach its folder.
    std::fs::set_permissions(world.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let victim = world.path().join("victim");
    std::fs::write(&victim, "root's").unwrap();
    let folder = world.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    chown(&folder, Some(OWNER), Some(OWNER)).unwrap();
    let path = folder.join("directory.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let guard = AsOwner::of(&path).unwrap();
    assert_eq!(rustix::process::geteuid().as_raw(), OWNER);
    runtime.block_on(async {
        let directory = SqliteDirectory::create(&path).await.unwrap();
        for file in ["directory.db", "directory.db-wal", "directory.db-shm"] {
            let found = std::fs::metadata(folder.join(file)).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (OWNER, OWNER, 0o600), "{file}");
        }
        directory.close().await;
    });
    drop(guard);
    assert!(rustix::process::geteuid().is_root());
    assert!(rustix::process::getegid().is_root());

    for side in ["-wal", "-shm", "-journal"] {
        let link = folder.join(format!("directory.db{side}"));
        symlink(&victim, &link).unwrap();
        let guard = AsOwner::of(&path).unwrap();
        let refused = runtime.block_on(SqliteDirectory::open(&path)).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("it is a link"), "{refused}");
        drop(guard);
        std::fs::remove_file(link).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "root's");

    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o770)).unwrap();
    assert!(AsOwner::of(&path).unwrap_err().to_string().contains("chmod 700"));
}
