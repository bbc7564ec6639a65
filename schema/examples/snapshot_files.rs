//! Snapshot files of made-up logins, for measurements and tests of readers: `cargo run --release -p schema --example snapshot_files -- DIR LOGINS`
//!
//! Logins `user1`… have the uids 100001…, three groups and a group of their own; `everyone` (gid 90000) has the first 5,000 logins as members. No more than a base and a control
//! page: who publishes is identityd.

use schema::id::GroupId;
use schema::record::{Group, Passwd};
use schema::snapshot::changes::Owned;
use schema::snapshot::control::{Control, HEARTBEAT, Visibility, WORD};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::Pair;
use schema::snapshot::write::{Meta, Notes, Tombstones, Writer};
use std::fs::{self, File};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(logins)) = (arguments.next(), arguments.next()) else {
        return Err("usage: snapshot_files DIR LOGINS".into());
    };
    let (directory, logins) = (Path::new(&directory), logins.parse::<u32>()?);
    fs::create_dir_all(directory)?;
    let pair = Pair { base: 1, delta: 0 };
    let meta = Meta {
        directory: [1; 16],
        identity: [2; 16],
        base_identity: [0; 16],
        pair,
        generation: 1,
        created: 1,
        notes: Notes::NONE,
    };
    let base = File::options().read(true).write(true).create(true).truncate(true).open(directory.join("base.1"))?;
    let mut writer = Writer::new(base, meta)?;
    for number in 1..=logins {
        let passwd = login(number)?;
        let gids: [GroupId; 3] = [passwd.gid, 90_001.try_into()?, 90_002.try_into()?];
        let login = Owned::login(&passwd, &gids);
        writer.login(login.record(), login.gids())?;
    }
    let members = |least, most: u32| (least..=most.min(logins)).map(|number| format!("user{number}").parse());
    for (gid, name, most) in [(90_000, "everyone", 5_000), (90_001, "radio", 10), (90_002, "web", 20)] {
        let members = members(1, most).collect::<Result<Vec<_>, _>>()?;
        writer.group(Owned::group(&Group { gid: gid.try_into()?, name: name.parse()?, members })?.record())?;
    }
    for number in 1..=logins {
        let passwd = login(number)?;
        let group = Group { gid: passwd.gid, name: passwd.name.as_str().parse()?, members: Vec::new() };
        writer.group(Owned::group(&group)?.record())?;
    }
    let mut key = 0x9e37_79b9_u64;
    writer.finish(&Tombstones::default(), || {
        key = key.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        Key(key, key.rotate_left(32))
    })?;
    let mut page = Control { directory: [1; 16], visibility: Visibility::Open }.to_page();
    page[WORD..WORD + 8].copy_from_slice(&pair.word().to_le_bytes());
    let now: u64 = fs::read_to_string("/proc/uptime")?.split('.').next().unwrap_or("0").parse()?;
    page[HEARTBEAT..HEARTBEAT + 8].copy_from_slice(&now.to_le_bytes());
    fs::write(directory.join("control"), page)?;
    Ok(())
}

fn login(number: u32) -> Result<Passwd, Box<dyn std::error::Error>> {
    let name = format!("user{number}");
    Ok(Passwd {
        uid: (100_000 + number).try_into()?,
        gid: (100_000 + number).try_into()?,
        gecos: "Made Up".parse()?,
        home: format!("/home/members/users/{name}").parse()?,
        shell: "/bin/bash".parse()?,
        name: name.parse()?,
    })
}
