//! Writes the seeds of all corpora: real files, records and frames, from which the fuzzer starts. `cargo run --bin seeds -- corpus`

use schema::packed::write;
use schema::record::{Aging, Group, Passwd};
use schema::snapshot::changes::{Change, Changes, Owned};
use schema::snapshot::control::{Control, Visibility};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::{self, Pair};
use schema::snapshot::view::View;
use schema::snapshot::write::{Meta, Tombstones, Writer};
use schema::wire::frame::{Header, ListHead, Op, VERSION};
use schema::wire::message::{Outcome, PamContext, Reply, Request, Secret, Session, Verdict};
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn main() {
    let corpus = PathBuf::from(std::env::args().nth(1).expect("the directory of the corpora"));
    snapshots(&corpus.join("snapshot_reader"));
    let control = Control { directory: [9; 16], visibility: Visibility::Open }.to_page();
    put(&corpus.join("control"), "seed", &control[..96]);
    records(&corpus.join("packed"));
    frames(&corpus.join("wire"));
}

fn put(directory: &Path, name: &str, seed: &[u8]) {
    std::fs::create_dir_all(directory).expect("create");
    std::fs::write(directory.join(name), seed).expect("write");
}

fn snapshots(directory: &Path) {
    for (number, names) in [&[][..], &["ana"], &["ana", "bea", "a-name-of-more-than-sixteen"]].into_iter().enumerate() {
        let base = base(names);
        let header = layout::Header::parse(&base).expect("header");
        let mut changes = Changes::default();
        let view = View::new(&base, &header).expect("view");
        changes.apply(&view, Change::NoLoginNamed("ana".parse().expect("name"))).expect("apply");
        changes.apply(&view, Change::Login(login("bea", 5007))).expect("apply");
        let delta = changes.write(Cursor::new(Vec::new()), &header, meta(1, 1), || Key(1, 2)).expect("delta");
        let delta = delta.0.into_inner();
        for (kind, delta) in [("alone", &[][..]), ("pair", &delta)] {
            // Every section, and so every file, ends at a multiple of 64.
            let mut seed = ((base.len() / 64) as u16).to_le_bytes().to_vec();
            seed.extend_from_slice(&base);
            seed.extend_from_slice(delta);
            put(directory, &format!("seed-{kind}-{number}"), &seed);
        }
    }
}

/// A byte with the kind, then the record.
fn records(directory: &Path) {
    let members = ["ana", "bea"].map(|name| name.parse().expect("name")).into();
    let group = Group { name: "web".parse().expect("name"), gid: 5000.try_into().expect("gid"), members };
    let gids = [5000, 6000].map(|gid| u32::try_into(gid).expect("gid"));
    for (name, kind, record) in [
        ("passwd", 0, write::passwd(&passwd("ana", 5000))),
        ("group", 1, write::group(&group).expect("group")),
        ("shadow", 2, write::shadow("ana", "$y$j9T$salt$hash", &Aging::default()).expect("shadow")),
        ("gids", 3, write::gids(&gids)),
    ] {
        put(directory, &format!("seed-{name}"), &[&[kind][..], &record].concat());
    }
}

/// One frame with each message that has something in it, and a page of a list.
fn frames(directory: &Path) {
    let context = PamContext { service: "sshd".into(), user: "ana".into(), remote_host: Some("::1".into()), tty: None, remote_user: None };
    let password = Secret::new(b"secret".to_vec());
    for (name, request) in [
        ("authenticate", Request::Authenticate { context: context.clone(), password }),
        ("account", Request::Account { context }),
        ("status", Request::Status),
    ] {
        frame(directory, name, Op::Message as u16, &postcard::to_allocvec(&request).expect("request"));
    }
    let verdict = Verdict { outcome: Outcome::Success, uid: Some(5000.try_into().expect("uid")), info: Some("warning".into()) };
    let session = Session {
        uid: 5000.try_into().expect("uid"),
        gid: 5000.try_into().expect("gid"),
        home: "/home/members/users/ana".parse().expect("home"),
        create: true,
        mode: 0o700,
        skeleton: "/etc/skel".into(),
        shell: true,
    };
    for (name, reply) in [
        ("verdict", Reply::Verdict(verdict)),
        ("session", Reply::Session(session)),
        ("keys", Reply::SshKeys(vec!["ssh-ed25519 AAAA ana".into()])),
        ("failed", Reply::Failed("no".into())),
    ] {
        frame(directory, name, 0, &postcard::to_allocvec(&reply).expect("reply"));
    }
    let record = write::passwd(&passwd("ana", 5000));
    let mut page = ListHead { next_after: 0, count: 1 }.to_bytes().to_vec();
    page.extend_from_slice(&(record.len() as u32).to_le_bytes());
    page.extend_from_slice(&record);
    frame(directory, "list", 0, &page);
}

fn frame(directory: &Path, name: &str, kind: u16, payload: &[u8]) {
    let header = Header { version: VERSION, kind, id: 1, len: payload.len() as u32, wait_ms: 200 };
    put(directory, &format!("seed-{name}"), &[&header.to_bytes()[..], payload].concat());
}

fn base(names: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new()), meta(1, 0)).expect("writer");
    for (uid, name) in (5000..).zip(names) {
        let login = login(name, uid);
        writer.login(login.record(), login.gids()).expect("login");
    }
    for (gid, name) in (5000..).zip(names) {
        let members = names.iter().map(|name| name.parse().expect("name")).collect();
        let group = Group { name: name.parse().expect("name"), gid: u32::try_into(gid).expect("gid"), members };
        writer.group(Owned::group(&group).expect("group").record()).expect("group");
    }
    writer.finish(&Tombstones::default(), || Key(3, 4)).expect("finish").0.into_inner()
}

fn login(name: &str, uid: u32) -> Owned {
    let passwd = passwd(name, uid);
    Owned::login(&passwd, &[passwd.gid])
}

fn passwd(name: &str, uid: u32) -> Passwd {
    Passwd {
        name: name.parse().expect("name"),
        uid: uid.try_into().expect("uid"),
        gid: uid.try_into().expect("gid"),
        gecos: "A member".parse().expect("gecos"),
        home: "/home/members/users/x".parse().expect("home"),
        shell: "/bin/bash".parse().expect("shell"),
    }
}

fn meta(base: u32, delta: u32) -> Meta {
    Meta { directory: [9; 16], identity: [base as u8; 16], base_identity: [0; 16], pair: Pair { base, delta }, generation: 7, created: 1, notes: Default::default() }
}
