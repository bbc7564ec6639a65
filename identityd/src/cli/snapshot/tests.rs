//! The commands over files that the publisher itself has written, whole and broken.

use std::path::{Path, PathBuf};

use schema::record::{Group, Passwd};
use schema::snapshot::changes::{Change, Owned};
use schema::snapshot::control::Visibility;

use super::super::Exit;
use super::super::output::Output;
use super::{compare, print, verify};
use crate::snapshot::{Places, Publisher};

struct World(tempfile::TempDir);

impl World {
    /// ana 5000, bea 5001, cai 5002, a group web with ana; then bea is gone, cai has another shell and eva is new.
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        let mut publisher = world.publisher();
        publisher
            .replace(1, |writer| {
                for (uid, name) in (5000..).zip(["ana", "bea", "cai"]) {
                    let login = login(name, uid, "/bin/bash");
                    writer.login(login.record(), login.gids())?;
                }
                let group = Group {
                    name: "web".parse().unwrap(),
                    gid: 6000.try_into().unwrap(),
                    members: vec!["ana".parse().unwrap()],
                };
                writer.group(Owned::group(&group).unwrap().record())
            })
            .unwrap();
        publisher.keep().unwrap();
        let changes = vec![
            Change::NoLoginNamed("bea".parse().unwrap()),
            Change::Login(login("cai", 5002, "/bin/sh")),
            Change::Login(login("eva", 5003, "/bin/bash")),
        ];
        publisher.publish(2, changes).unwrap();
        world
    }

    fn publisher(&self) -> Publisher {
        let places = Places { live: self.live(), kept: self.kept(), visibility: Visibility::Open };
        Publisher::open(places, Some([5; 16])).unwrap()
    }

    fn live(&self) -> PathBuf {
        self.0.path().join("live")
    }

    fn kept(&self) -> PathBuf {
        self.0.path().join("kept")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.live().join(name)
    }
}

fn login(name: &str, uid: u32, shell: &str) -> Owned {
    let passwd = Passwd {
        name: name.parse().unwrap(),
        uid: uid.try_into().unwrap(),
        gid: uid.try_into().unwrap(),
        gecos: "A member".parse().unwrap(),
        home: format!("/home/members/users/{name}").parse().unwrap(),
        shell: shell.parse().unwrap(),
    };
    Owned::login(&passwd, &[passwd.gid])
}

fn print(from: &Path, words: &[&str]) -> (Exit, String) {
    let output = Output::gathering(false);
    let mut words = words.iter().map(ToString::to_string);
    let exit = print::run(&output, Some(from.display().to_string()), words.next(), words.next());
    (exit.unwrap_or_else(|error| error.exit()), output.gathered())
}

fn verify(from: &Path) -> (Exit, String) {
    let output = Output::gathering(false);
    let exit = verify::run(&output, from).unwrap_or_else(|error| error.exit());
    (exit, output.gathered())
}

fn rewrite(path: &Path, with: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = with(std::fs::read(path).unwrap());
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn entries_are_printed_as_libc_would_give_them() {
    let world = World::new();
    let (exit, text) = print(&world.live(), &["passwd"]);
    assert_eq!(exit, Exit::Ok);
    assert_eq!(
        text,
        "ana:x:5000:5000:A member:/home/members/users/ana:/bin/bash\n\
         cai:x:5002:5002:A member:/home/members/users/cai:/bin/sh\n\
         eva:x:5003:5003:A member:/home/members/users/eva:/bin/bash\n"
    );
    assert_eq!(print(&world.live(), &["group", "6000"]), (Exit::Ok, "web:x:6000:ana\n".into()));
    assert_eq!(print(&world.live(), &["initgroups", "ana"]), (Exit::Ok, "ana 5000\n".into()));
    assert_eq!(print(&world.live(), &["passwd", "bea"]), (Exit::NotFound, String::new()));
    assert_eq!(print(&world.file("base.1"), &["passwd", "bea"]).0, Exit::Ok);
    let (_, delta) = print(&world.file("delta.1.1"), &["passwd"]);
    assert!(delta.starts_with("# gone: name bea\n# gone: uid 5001\ncai:x:5002:"), "{delta}");
    assert_eq!(print(&world.live(), &["shadow"]).0, Exit::Failed);
}

#[test]
fn headers_are_printed_for_people() {
    let world = World::new();
    let (exit, text) = print(&world.live(), &[]);
    assert_eq!(exit, Exit::Ok);
    for part in ["control page of", "visibility", "base 1, delta 1", "1 on base 1", "logins gone", "1 names, 1 uids"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(print(&world.file("control"), &[]).1.contains("control page"));
    assert_eq!(print(&world.file("control"), &["passwd"]).0, Exit::Failed);
    assert_eq!(print(&world.file("nothing"), &[]).0, Exit::Unavailable);
}

#[test]
fn a_whole_directory_verifies() {
    let world = World::new();
    let (exit, text) = verify(&world.live());
    assert_eq!(exit, Exit::Ok, "{text}");
    assert!(text.contains("base.1 with delta.1.1") && text.contains("whole"), "{text}");
    assert_eq!(verify(&world.kept()).0, Exit::Ok);
    assert_eq!(verify(&world.0.path().join("away")).0, Exit::Failed);
}

#[test]
fn damage_is_found_wherever_it_is() {
    type Breakage = fn(Vec<u8>) -> Vec<u8>;
    let breakages: [(&str, Breakage, &str); 5] = [
        ("empty", |_| Vec::new(), "shorter than a header"),
        ("cut", |bytes| bytes[..bytes.len() / 2].to_vec(), "another length"),
        (
            "a page of zeros",
            |mut bytes| {
                bytes[512..1024].fill(0);
                bytes
            },
            "zeros, as a lost page leaves",
        ),
        (
            "a bit",
            |mut bytes| {
                let at = bytes.len() - 70;
                bytes[at] ^= 1;
                bytes
            },
            "does not match its checksum",
        ),
        ("all zeros", |bytes| vec![0; bytes.len()], "not a snapshot"),
    ];
    for name in ["base.1", "delta.1.1"] {
        for (what, breakage, said) in breakages {
            let world = World::new();
            rewrite(&world.file(name), breakage);
            let (exit, text) = verify(&world.live());
            assert_eq!(exit, Exit::Failed, "{name} {what}");
            assert!(text.contains(&format!("DAMAGED  {name}")) && text.contains(said), "{name} {what}: {text}");
        }
        let world = World::new();
        std::fs::remove_file(world.file(name)).unwrap();
        assert_eq!(verify(&world.live()).0, Exit::Failed, "{name} removed");
    }
}

#[test]
fn a_delta_swapped_for_that_of_another_base_is_found() {
    let (world, other) = (World::new(), World::new());
    std::fs::remove_file(world.file("delta.1.1")).unwrap();
    std::fs::copy(other.file("delta.1.1"), world.file("delta.1.1")).unwrap();
    let (exit, text) = verify(&world.live());
    assert_eq!(exit, Exit::Failed);
    assert!(
        text.contains("DAMAGED  base.1 with delta.1.1") && text.contains("another directory, base or pair"),
        "{text}"
    );
}

#[test]
fn a_link_or_a_pipe_in_the_place_of_a_file_is_not_followed() {
    let world = World::new();
    std::fs::remove_file(world.file("base.1")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.file("base.1")).unwrap();
    assert_eq!(verify(&world.live()).0, Exit::Failed);
    assert_eq!(print(&world.live(), &[]).0, Exit::Unavailable);
}

#[test]
fn two_snapshots_are_compared_entry_by_entry() {
    let world = World::new();
    let output = Output::gathering(false);
    let exit = compare::run(&output, Some(&world.kept()), Some(&world.live()), false, 2).unwrap();
    let text = output.gathered();
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains("- login bea (5001): only in one"), "{text}");
    assert!(text.contains("~ login cai (5002): shell /bin/bash -> /bin/sh"), "{text}");
    assert!(
        text.contains("… and 1 more") && text.contains("3 differ: 1 only in one, 1 only in the other, 1 changed"),
        "{text}"
    );
    let exit = compare::run(&Output::gathering(false), Some(&world.live()), Some(&world.live()), false, 2).unwrap();
    assert_eq!(exit, Exit::Ok);
}

#[test]
fn names_and_fields_of_a_strangers_file_do_not_steer_the_terminal() {
    let world = World::new();
    let replaced = |bytes: Vec<u8>, old: &[u8], new: &[u8]| -> Vec<u8> {
        let mut bytes = bytes;
        for at in 0..bytes.len() - old.len() {
            if bytes[at..].starts_with(old) {
                bytes[at..at + new.len()].copy_from_slice(new);
            }
        }
        bytes
    };
    let base = world.file("base.1");
    // The reader of a field refuses controls below U+0020 only, and the list of initgroups looks at no name.
    rewrite(&base, |bytes| replaced(bytes, b"A member", "A\u{9b}31mXY".as_bytes()));
    let (exit, text) = print(&base, &["passwd"]);
    assert_eq!(exit, Exit::Ok);
    assert!(text.contains("A\\u{9b}31mXY"), "{text:?}");
    rewrite(&base, |bytes| replaced(bytes, b"ana\0", b"\x1b[m\0"));
    let (_, text) = print(&base, &["initgroups"]);
    assert!(text.contains("\\u{1b}[m 5000") && !text.contains('\u{1b}'), "{text:?}");
}
