//! Published snapshot files, for the tests.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use schema::snapshot::changes::{Change, Changes, Owned};
use schema::snapshot::control::{Control, HEARTBEAT, Visibility, WORD};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::{Header, Pair};
use schema::snapshot::view::View;
use schema::snapshot::write::{Meta, Tombstones, Writer};

use crate::snapshot::Reader;

/// A directory of snapshot files and what publishes into it: without any of identityd's care, the reader must not need it.
pub(crate) struct Published {
    pub(crate) path: PathBuf,
    pub(crate) control: File,
}

impl Published {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::at(std::env::temp_dir().join(format!("snapshot-reader-{}-{number}", std::process::id())))
    }

    /// In this directory, which is made.
    pub(crate) fn at(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let control = create_control(&path);
        Self { path, control }
    }

    /// A reader of its own, as a process has one.
    pub(crate) fn reader(&self) -> &'static Reader {
        let path = CString::new(format!("{}/", self.path.display())).unwrap();
        Box::leak(Box::new(Reader::new(Box::leak(path.into_boxed_c_str()))))
    }

    /// A base in which the login `ana` has the uid 5000 + `number`.
    pub(crate) fn base(&self, number: u32) -> Vec<u8> {
        self.base_of(number, &[login("ana", 5000 + number)], &[])
    }

    /// A base of these entries, by ascending id.
    pub(crate) fn base_of(&self, number: u32, logins: &[Owned], groups: &[Owned]) -> Vec<u8> {
        let mut writer = Writer::new(Cursor::new(Vec::new()), meta(number, 0)).unwrap();
        for login in logins {
            writer.login(login.record(), login.gids()).unwrap();
        }
        for group in groups {
            writer.group(group.record()).unwrap();
        }
        let base = writer.finish(&Tombstones::default(), || Key(3, 5)).unwrap().0.into_inner();
        self.put(&format!("base.{number}"), &base);
        base
    }

    /// A delta in which it has 6000 + `number`.
    pub(crate) fn delta(&self, base: &[u8], number: u32) {
        self.delta_of(base, number, [Change::Login(login("ana", 6000 + number))]);
    }

    /// A delta of these changes.
    pub(crate) fn delta_of(&self, base: &[u8], number: u32, all: impl IntoIterator<Item = Change>) {
        let header = Header::parse(base).unwrap();
        let mut changes = Changes::default();
        for change in all {
            changes.apply(&View::new(base, &header).unwrap(), change).unwrap();
        }
        let meta = meta(header.pair.base, number);
        let delta = changes.write(Cursor::new(Vec::new()), &header, meta, || Key(7, 9)).unwrap().0.into_inner();
        self.put(&format!("delta.{}.{number}", header.pair.base), &delta);
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path.join("new"), bytes).unwrap();
        fs::rename(self.path.join("new"), self.path.join(name)).unwrap();
    }

    pub(crate) fn flip(&self, base: u32, delta: u32) {
        store(&self.control, WORD, Pair { base, delta }.word());
    }

    /// How often files of this directory are mapped in this process.
    pub(crate) fn mappings(&self) -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains(self.path.to_str().unwrap())).count()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(crate) fn create_control(path: &Path) -> File {
    let page = Control { directory: [9; 16], visibility: Visibility::Open }.to_page();
    fs::write(path.join("new"), page).unwrap();
    let control = File::options().read(true).write(true).open(path.join("new")).unwrap();
    store(&control, HEARTBEAT, crate::sys::coarse_ms() / 1000);
    fs::rename(path.join("new"), path.join("control")).unwrap();
    control
}

/// Eight bytes in one write: whole for a reader of the mapping on this machine.
pub(crate) fn store(control: &File, at: usize, word: u64) {
    control.write_all_at(&word.to_le_bytes(), at as u64).unwrap();
}

/// A login whose only group is its own.
pub(crate) fn login(name: &str, uid: u32) -> Owned {
    login_in(name, uid, &[uid])
}

/// A login with these groups, the primary first.
pub(crate) fn login_in(name: &str, uid: u32, gids: &[u32]) -> Owned {
    let gids: Vec<_> = gids.iter().map(|gid| (*gid).try_into().unwrap()).collect();
    let passwd = schema::record::Passwd {
        name: name.parse().unwrap(),
        uid: uid.try_into().unwrap(),
        gid: gids[0],
        gecos: "Ana".parse().unwrap(),
        home: "/home/members/users/ana".parse().unwrap(),
        shell: "/bin/bash".parse().unwrap(),
    };
    Owned::login(&passwd, &gids)
}

/// A group.
pub(crate) fn group(name: &str, gid: u32, members: &[&str]) -> Owned {
    let members = members.iter().map(|member| member.parse().unwrap()).collect();
    let group = schema::record::Group { name: name.parse().unwrap(), gid: gid.try_into().unwrap(), members };
    Owned::group(&group).unwrap()
}

fn meta(base: u32, delta: u32) -> Meta {
    let mut identity = [1; 16];
    identity[..4].copy_from_slice(&base.to_le_bytes());
    Meta {
        directory: [9; 16],
        identity,
        base_identity: [0; 16],
        pair: Pair { base, delta },
        generation: 1,
        created: 1,
        notes: Default::default(),
    }
}
