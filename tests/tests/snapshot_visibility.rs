//! Another visibility while programs run: the files of before are told to be left, and what must not be readable is not.

use std::time::Duration;

use rustix::fs::OFlags;
use std::os::unix::fs::FileExt;
use tests::mosh::Running;
use tests::{Login, Mosh, boot};

const CONFIG: &str = "/etc/identityd/identityd.toml";
const LIVE: &str = "/run/identityd/snapshot";
const SOON: Duration = Duration::from_secs(20);

/// A program of ana's that looks ben up again and again, and says what went wrong. An answer that did not come in time, or "unknown", over the socket of an identityd that is just starting or has no
/// processor, is none, and so not wrong; Python's `pwd` does not tell it from "no such user".
const READER: &str = r#"
import ctypes, errno, time
class Passwd(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("passwd", ctypes.c_char_p), ("uid", ctypes.c_uint), ("gid", ctypes.c_uint),
                ("gecos", ctypes.c_char_p), ("home", ctypes.c_char_p), ("shell", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.getpwnam.restype = ctypes.POINTER(Passwd)
well = 0
while True:
    ctypes.set_errno(0)
    entry = libc.getpwnam(b"ben")
    error = ctypes.get_errno()
    if entry and entry.contents.name == b"ben" and entry.contents.gecos in (b"", b"anew"):
        well += 1
        if well % 10 == 0:
            print("well", well, flush=True)
    elif entry:
        print("WRONG another's entry", entry.contents.name, flush=True)
    elif error not in (errno.ETIMEDOUT, errno.EAGAIN):
        print("WRONG no such user, or errno", error, flush=True)
    time.sleep(0.01)
"#;

fn machine(visibility: &str) -> tests::mosh::Builder {
    let visible = format!("sed -i 's/^\\[snapshot\\]$/&\\nvisibility = \"{visibility}\"/' {CONFIG}");
    Mosh::builder().logins(["ana", "ben"].map(Login::new)).prepare(&visible)
}

fn configure(mosh: &Mosh, visibility: &str) {
    mosh.sh(&format!("sed -i 's/^visibility = .*/visibility = \"{visibility}\"/' {CONFIG}")).success();
}

fn is_published(mosh: &Mosh) {
    mosh.wait_until("it is published", SOON, |mosh| mosh.identityctl(["snapshot", "verify"]).ok());
}

fn reader(mosh: &Mosh) -> Running {
    mosh.write("/tmp/reader.py", READER);
    let running = mosh.call(["python3", "/tmp/reader.py"]).user("ana").limit(Duration::from_secs(300)).spawn();
    mosh.wait_until("it reads", SOON, |_| running.stdout().contains("well"));
    running
}

/// Whether the program has names mapped. (The control page has none, and tells it where to look.)
fn has_mapped(running: &Running) -> bool {
    let pid = running.program().expect("it runs").as_raw_nonzero();
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().contains(&format!("{LIVE}/base."))
}

#[track_caller]
fn was_always_right(running: &mut Running) {
    assert!(running.alive(), "{}", running.finish(Duration::ZERO));
    assert!(!running.stdout().contains("WRONG"), "{}", running.stdout());
}

/// Files that others than identityd can read or even see.
fn exposed(mosh: &Mosh) -> String {
    mosh.sh(&format!("find {LIVE} -perm /077")).success().stdout
}

fn word(control: &std::fs::File) -> u64 {
    let mut word = [0; 8];
    control.read_exact_at(&mut word, 64).unwrap();
    u64::from_le_bytes(word)
}

#[test]
fn files_that_become_identityds_alone_are_left_by_running_programs_and_taken_again_when_they_are_open() {
    let mosh = boot!(machine("open"));
    is_published(&mosh);
    let mut running = reader(&mosh);
    assert!(has_mapped(&running));
    let page = mosh.open(&format!("{LIVE}/control"), OFlags::RDONLY).unwrap();

    configure(&mosh, "members");
    mosh.daemon().reload();
    mosh.wait_until("nobody else can read the files", SOON, |mosh| exposed(mosh).is_empty());
    mosh.wait_until("the page that programs have mapped says retired", SOON, |_| word(&page) == u64::MAX);
    mosh.wait_until("the program has left them", SOON, |_| !has_mapped(&running));
    mosh.sh_as("ana", &format!("cat {LIVE}/*")).failure();
    mosh.wait_until("ben is known over the socket", SOON, |mosh| mosh.sh_as("ana", "getent passwd ben").ok());
    mosh.sh_as("ana", "getent passwd never-there").failure();
    mosh.identityctl(["login", "set", "ben", "--gecos", "anew"]).success();
    mosh.wait_until("the change is seen", SOON, |mosh| mosh.sh_as("ana", "getent passwd ben | grep -q anew").ok());
    mosh.identityctl(["snapshot", "verify"]).success();
    assert_eq!(exposed(&mosh), "", "after a publication");
    was_always_right(&mut running);

    configure(&mosh, "open");
    mosh.daemon().reload();
    // It looks whether there is another page at most once in thirty seconds.
    mosh.wait_until("the program has them mapped again", Duration::from_secs(90), |_| has_mapped(&running));
    was_always_right(&mut running);
    mosh.daemon().kill();
    mosh.sh_as("ana", "getent passwd ben | grep -q anew").success();
}

#[test]
fn a_restart_under_another_visibility_leaves_nothing_readable() {
    let mosh = boot!(machine("open"));
    is_published(&mosh);
    let mut running = reader(&mosh);
    configure(&mosh, "members");
    mosh.daemon().stop();
    mosh.daemon().start();
    mosh.wait_until("nobody else can read the files", SOON, |mosh| exposed(mosh).is_empty());
    mosh.wait_until("the program has left them", SOON, |_| !has_mapped(&running));
    was_always_right(&mut running);
}

#[test]
fn after_a_reboot_the_files_are_restored_for_whom_they_are() {
    let mosh = boot!(machine("members"));
    is_published(&mosh);
    mosh.daemon().stop();
    mosh.sh("rm -r /run/identityd").success();
    mosh.identityctl(["snapshot", "restore"]).success();
    assert_eq!(exposed(&mosh), "");
    mosh.identityctl(["snapshot", "verify"]).success();
    configure(&mosh, "open");
    mosh.sh("rm -r /run/identityd").success();
    mosh.identityctl(["snapshot", "restore"]).success();
    mosh.sh_as("ana", "getent passwd ben").success();
}
