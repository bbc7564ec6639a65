//! Writes the seeds of the corpus: real files, from which the fuzzer starts. `cargo run --bin snapshot_corpus -- corpus/snapshot_reader`

use schema::record::{Group, Passwd};
use schema::snapshot::changes::{Change, Changes, Owned};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::{Header, Pair};
use schema::snapshot::view::View;
use schema::snapshot::write::{Meta, Tombstones, Writer};
use std::io::Cursor;

fn main() {
    let directory = std::env::args().nth(1).expect("the directory of the corpus");
    std::fs::create_dir_all(&directory).expect("create");
    for (number, names) in [&[][..], &["ana"], &["ana", "bea", "a-name-of-more-than-sixteen"]].into_iter().enumerate() {
        let base = base(names);
        let header = Header::parse(&base).expect("header");
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
            std::fs::write(format!("{directory}/seed-{kind}-{number}"), seed).expect("write");
        }
    }
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
    let passwd = Passwd {
        name: name.parse().expect("name"),
        uid: uid.try_into().expect("uid"),
        gid: uid.try_into().expect("gid"),
        gecos: "A member".parse().expect("gecos"),
        home: "/home/members/users/x".parse().expect("home"),
        shell: "/bin/bash".parse().expect("shell"),
    };
    Owned::login(&passwd, &[passwd.gid])
}

fn meta(base: u32, delta: u32) -> Meta {
    Meta { directory: [9; 16], identity: [base as u8; 16], base_identity: [0; 16], pair: Pair { base, delta }, generation: 7, created: 1, notes: Default::default() }
}
