//! Homes under attack. Needs root, as the module does.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const UID: u32 = 4321;
const GID: u32 = 4322;

/// A small file system with `/home` and `/etc/skel`, and a session to open in it.
struct World {
    dir: tempfile::TempDir,
    session: Session,
    roots: Vec<String>,
}

fn world() -> World {
    assert!(rustix::process::geteuid().is_root(), "these tests give files away: run them as root");
    let dir = tempfile::tempdir().unwrap();
    for sub in ["home", "etc", "etc/skel"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
        fs::set_permissions(dir.path().join(sub), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let session = Session {
        uid: UID.try_into().unwrap(),
        gid: GID.try_into().unwrap(),
        home: "/home/ana".parse().unwrap(),
        create: true,
        mode: 0o710,
        skeleton: "/etc/skel".into(),
        shell: true,
    };
    World { dir, session, roots: vec!["/home".into()] }
}

impl World {
    fn home(mut self, home: &str) -> Self {
        self.session.home = home.parse().unwrap();
        self
    }

    fn root(mut self, root: &str) -> Self {
        self.roots = vec![root.into()];
        self
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn open(&self) -> Result<Made, HomeError> {
        self.open_at(SystemTime::now())
    }

    fn open_at(&self, now: SystemTime) -> Result<Made, HomeError> {
        let top = path::open_top(self.dir.path().to_str().unwrap()).unwrap();
        provide_below(top.as_fd(), &self.session, &self.roots, now)
    }

    fn left_overs(&self, parent: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(parent)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| is_temporary(name))
            .collect()
    }
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

#[test]
fn a_missing_home_appears_with_its_skeleton_and_its_owner() {
    let world = world();
    let skel = world.at("/etc/skel");
    fs::write(skel.join(".profile"), "umask 027\n").unwrap();
    fs::set_permissions(skel.join(".profile"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(skel.join("bin")).unwrap();
    fs::set_permissions(skel.join("bin"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(skel.join("bin/tool"), vec![7; 200_000]).unwrap();
    fs::set_permissions(skel.join("bin/tool"), fs::Permissions::from_mode(0o644)).unwrap();
    symlink("/etc/shadow", skel.join("link")).unwrap();

    assert_eq!(world.open().unwrap(), Made::Now { skipped: 0 });

    let home = world.at("/home/ana");
    assert_eq!(owner(&home), (UID, GID, 0o710));
    assert_eq!(owner(&home.join(".profile")), (UID, GID, 0o755), "the set-uid bit is not copied");
    assert_eq!(owner(&home.join("bin")), (UID, GID, 0o755));
    assert_eq!(owner(&home.join("bin/tool")), (UID, GID, 0o644));
    assert_eq!(fs::read(home.join("bin/tool")).unwrap(), vec![7; 200_000]);
    assert_eq!(fs::read_link(home.join("link")).unwrap(), Path::new("/etc/shadow"));
    assert_eq!(owner(&home.join("link")).0, UID);
    assert!(world.left_overs("/home").is_empty());
}

#[test]
fn devices_fifos_and_private_files_are_left_out() {
    let world = world();
    let skel = world.at("/etc/skel");
    let pipe = std::ffi::CString::new(skel.join("pipe").to_str().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    fs::write(skel.join("secret"), "s").unwrap();
    fs::set_permissions(skel.join("secret"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(skel.join("private")).unwrap();
    fs::set_permissions(skel.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(fs::symlink_metadata(skel.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(world.open().unwrap(), Made::Now { skipped: 3 });
    assert_eq!(fs::read_dir(world.at("/home/ana")).unwrap().count(), 0);
}

#[test]
fn a_skeleton_that_not_everybody_may_read_is_refused() {
    let world = world();
    fs::set_permissions(world.at("/etc"), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(world.open(), Err(HomeError::Unsafe { .. })));
    assert!(!world.at("/home/ana").exists());
    assert!(world.left_overs("/home").is_empty(), "nothing is left behind after a failure");
}

#[test]
fn missing_parents_belong_to_root() {
    let world = world().home("/home/members/radio/users/ana");
    assert_eq!(world.open().unwrap(), Made::Now { skipped: 0 });
    for parent in ["/home/members", "/home/members/radio", "/home/members/radio/users"] {
        assert_eq!(owner(&world.at(parent)), (0, 0, 0o755), "{parent}");
    }
    assert_eq!(owner(&world.at("/home/members/radio/users/ana")), (UID, GID, 0o710));
}

#[test]
fn an_existing_home_is_left_alone_whatever_it_is() {
    for kind in ["directory", "file", "link", "dangling"] {
        let world = world();
        let home = world.at("/home/ana");
        match kind {
            "directory" => fs::create_dir(&home).unwrap(),
            "file" => fs::write(&home, "").unwrap(),
            "link" => symlink(world.at("/etc"), &home).unwrap(),
            _ => symlink("/nonexistent", &home).unwrap(),
        }
        let before = owner(&home);
        assert_eq!(world.open().unwrap(), Made::Already, "{kind}");
        assert_eq!(owner(&home), before, "{kind}");
    }
}

#[test]
fn homes_stay_below_their_root() {
    for (home, root) in [("/srv/ana", "/home"), ("/homes/ana", "/home"), ("/home", "/home"), ("/home/ana", "/home/ana")]
    {
        let world = world().home(home).root(root);
        assert!(matches!(world.open(), Err(HomeError::NotAllowed(_))), "{home} below {root}");
    }
    assert!(!is_below("/home/", "/home"));
}

#[test]
fn a_symbolic_link_in_any_component_is_refused() {
    for (link, target) in [("home", "elsewhere"), ("home/members", "../elsewhere"), ("home/members/users", "/etc")] {
        let world = world().home("/home/members/users/ana");
        fs::create_dir(world.at("elsewhere")).unwrap();
        if link == "home" {
            fs::remove_dir(world.at("home")).unwrap();
        }
        fs::create_dir_all(world.at(link).parent().unwrap()).unwrap();
        symlink(target, world.at(link)).unwrap();
        assert!(matches!(world.open(), Err(HomeError::Unsafe { .. })), "{link}");
        assert_eq!(fs::read_dir(world.at("elsewhere")).unwrap().count(), 0, "{link} was followed");
    }
}

#[test]
fn a_parent_that_others_can_change_is_refused() {
    for mode in [0o775, 0o757, 0o1777] {
        let world = world();
        fs::set_permissions(world.at("home"), fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(world.open(), Err(HomeError::Unsafe { .. })), "{mode:o}");
        assert!(!world.at("/home/ana").exists());
    }
    let world = world().home("/home/members/ana");
    fs::create_dir(world.at("/home/members")).unwrap();
    std::os::unix::fs::chown(world.at("/home/members"), Some(UID), None).unwrap();
    assert!(matches!(world.open(), Err(HomeError::Unsafe { .. })));
    assert_eq!(fs::read_dir(world.at("/home/members")).unwrap().count(), 0);
}

#[test]
fn two_logins_at_once_make_one_home() {
    let world = world().home("/home/members/users/ana");
    fs::write(world.at("/etc/skel/.profile"), "x").unwrap();
    let made = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                if let Made::Now { .. } = world.open().unwrap() {
                    assert!(!made.swap(true, Ordering::SeqCst), "made twice");
                }
            });
        }
    });
    assert!(made.load(Ordering::SeqCst));
    assert_eq!(owner(&world.at("/home/members/users/ana/.profile")).0, UID);
    assert!(world.left_overs("/home/members/users").is_empty());
}

/// Somebody who owns `/home/members` exchanges it for a link to `/etc` and back, as fast as possible.
#[test]
fn a_component_that_is_exchanged_all_the_time_leads_nowhere() {
    let world = world().home("/home/members/ana");
    let (good, bad, name) = (world.at("/good"), world.at("/bad"), world.at("/home/members"));
    fs::create_dir(&good).unwrap();
    fs::set_permissions(&good, fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../etc", &bad).unwrap();
    let done = AtomicBool::new(false);
    let (mut refused, mut made) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = fs::rename(&good, &name);
                let _ = fs::rename(&name, &good);
                let _ = fs::rename(&bad, &name);
                let _ = fs::rename(&name, &bad);
            }
        });
        for _ in 0..2000 {
            match world.open() {
                Ok(Made::Now { .. }) => made += 1,
                Ok(Made::Already) => {}
                Err(_) => refused += 1,
            }
            for dir in [&good, &name] {
                let _ = fs::remove_dir(dir.join("ana"));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(made + refused > 0);
    let entries: Vec<_> = fs::read_dir(world.at("/etc")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["skel"], "the link was followed");
}

#[test]
fn what_a_killed_process_has_left_is_swept_away() {
    let world = world();
    let stale = world.at("/home/.mayfirst-0123456789abcdef");
    let other = world.at("/home/.mayfirst-notes");
    fs::create_dir_all(stale.join("deep/er")).unwrap();
    fs::write(stale.join("deep/er/file"), "x").unwrap();
    symlink(world.at("/etc"), stale.join("link")).unwrap();
    fs::create_dir(&other).unwrap();

    // Made this second: perhaps somebody is still filling it.
    assert_eq!(world.open().unwrap(), Made::Now { skipped: 0 });
    assert!(stale.exists());

    fs::remove_dir(world.at("/home/ana")).unwrap();
    assert_eq!(world.open_at(SystemTime::now() + 2 * STALE_AFTER).unwrap(), Made::Now { skipped: 0 });
    assert!(!stale.exists());
    assert!(other.exists() && world.at("/etc/skel").exists());
}

#[test]
fn a_skeleton_without_end_is_refused() {
    let world = world();
    let deep = (0..20).fold(world.at("/etc/skel"), |path, _| path.join("d"));
    fs::create_dir_all(&deep).unwrap();
    assert!(matches!(world.open(), Err(HomeError::TooMuch(_))));
    assert!(world.left_overs("/home").is_empty());
    assert!(!world.at("/home/ana").exists());
}
