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
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
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
    fs::set_permissions(&stale, fs::Permissions::from_mode(0o700)).unwrap();
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
fn a_directory_that_was_given_away_already_is_not_swept() {
    let world = world();
    let (given, open) = (world.at("/home/.mayfirst-0123456789abcdef"), world.at("/home/.mayfirst-fedcba9876543210"));
    for path in [&given, &open] {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::os::unix::fs::chown(&given, Some(UID), Some(GID)).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    world.open_at(SystemTime::now() + 2 * STALE_AFTER).unwrap();
    assert!(given.exists() && open.exists());
}

#[test]
fn what_one_login_removes_is_bounded() {
    let world = world();
    let stale = world.at("/home/.mayfirst-0123456789abcdef");
    fs::create_dir(&stale).unwrap();
    for name in 0..20 {
        fs::write(stale.join(name.to_string()), "").unwrap();
    }
    let parent = path::open_dir(path::open_top("/").unwrap().as_fd(), world.at("/home").to_str().unwrap()).unwrap();
    tree::remove(parent.as_fd(), ".mayfirst-0123456789abcdef", &mut 15);
    assert_eq!(fs::read_dir(&stale).unwrap().count(), 5);
    tree::remove(parent.as_fd(), ".mayfirst-0123456789abcdef", &mut 15);
    assert!(!stale.exists());
}

#[test]
fn no_home_has_the_name_of_one_that_is_being_made() {
    let world = world().home("/home/.mayfirst-0123456789abcdef");
    assert!(matches!(world.open(), Err(HomeError::Reserved)));
}

#[test]
fn a_home_of_somebody_else_is_told_and_of_the_login_or_root_is_not() {
    let foreign = |world: &World, shared: &[&str]| {
        let shared: Vec<String> = shared.iter().map(|path| (*path).to_owned()).collect();
        let top = path::open_top(world.dir.path().to_str().unwrap()).unwrap();
        foreign_owner_of(top.as_fd(), &world.session, world.session.home.as_str().trim_start_matches('/'), &shared)
    };
    let world = world();
    let home = world.at("/home/ana");
    assert_eq!(foreign(&world, &[]), None, "there is none");
    fs::create_dir(&home).unwrap();
    for (uid, expected) in [(0, None), (UID, None), (UID + 1, Some(UID + 1))] {
        std::os::unix::fs::chown(&home, Some(uid), None).unwrap();
        assert_eq!(foreign(&world, &[]), expected, "{uid}");
    }
    assert_eq!(foreign(&world, &["/home/an", "/srv", "/home/ana"]), Some(UID + 1));
    assert_eq!(foreign(&world, &["/srv", "/home"]), None);

    // The link decides as well as where it leads.
    let elsewhere = world.at("/home/elsewhere");
    fs::rename(&home, &elsewhere).unwrap();
    symlink("elsewhere", &home).unwrap();
    assert_eq!(foreign(&world, &[]), Some(UID + 1), "root's link to somebody's directory");
    std::os::unix::fs::lchown(&home, Some(UID + 2), None).unwrap();
    std::os::unix::fs::chown(&elsewhere, Some(UID), None).unwrap();
    assert_eq!(foreign(&world, &[]), Some(UID + 2), "somebody's link to the login's directory");
    std::os::unix::fs::lchown(&home, Some(UID), None).unwrap();
    assert_eq!(foreign(&world, &[]), None);
}

#[test]
fn a_directory_of_the_skeleton_that_somebody_else_can_change_is_left_out() {
    let world = world();
    for (name, uid, mode) in [("theirs", UID, 0o755), ("open", 0, 0o777), ("roots", 0, 0o755)] {
        let path = world.at("/etc/skel").join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        fs::set_permissions(path.join("file"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&path, Some(uid), None).unwrap();
    }
    assert_eq!(world.open().unwrap(), Made::Now { skipped: 2 });
    assert!(world.at("/home/ana/roots/file").exists());
    assert!(!world.at("/home/ana/theirs").exists() && !world.at("/home/ana/open").exists());
}

/// Whoever may change the directory exchanges a file that everybody may read for a private one, and back.
#[test]
fn a_file_that_is_exchanged_all_the_time_gives_away_nothing_private() {
    let world = world();
    let (file, private) = (world.at("/etc/skel/file"), world.at("/etc/private"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::write(&private, "public").unwrap();
                fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).unwrap();
                fs::rename(&private, &file).unwrap();
                fs::write(&private, "").unwrap();
                fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
                fs::write(&private, "secret").unwrap();
                fs::rename(&private, &file).unwrap();
            }
        });
        for _ in 0..300 {
            let _ = world.open();
            let copied = fs::read_to_string(world.at("/home/ana/file")).unwrap_or_default();
            let _ = fs::remove_dir_all(world.at("/home/ana"));
            if copied == "secret" {
                done.store(true, Ordering::Relaxed);
                panic!("a private file was copied");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_the_kernel_makes_up_is_no_skeleton() {
    for path in ["/proc/self", "/proc/sys", "/sys/kernel"] {
        if !Path::new(path).exists() {
            continue;
        }
        let top = path::open_top("/").unwrap();
        assert!(matches!(path::open_skeleton(top.as_fd(), path), Err(HomeError::Unsafe { .. })), "{path}");
    }
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
