//! Snapshot files out of a passwd(5) and a group(5) file, for measurements of readers without identityd:
//! `cargo run --release -p schema --example snapshot_files -- DIR PASSWD GROUP`. The benchmark's own logins come from `tests/c/bench/fill.c`.
//!
//! No more than a base and a control page, whose heartbeat is now: who publishes is identityd.

use schema::id::GroupId;
use schema::record::{Group, Passwd};
use schema::snapshot::changes::Owned;
use schema::snapshot::control::{Control, HEARTBEAT, Visibility, WORD};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::Pair;
use schema::snapshot::write::{Meta, Notes, Tombstones, Writer};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, passwd, group] = arguments.as_slice() else {
        return Err("usage: snapshot_files DIR PASSWD GROUP".into());
    };
    let directory = Path::new(directory);
    fs::create_dir_all(directory)?;
    let groups = groups(&fs::read_to_string(group)?)?;
    let mut memberships: HashMap<&str, Vec<GroupId>> = HashMap::new();
    for group in groups.values() {
        for member in &group.members {
            memberships.entry(member.as_str()).or_default().push(group.gid);
        }
    }
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
    for login in logins(&fs::read_to_string(passwd)?)?.values() {
        // The primary group first, the others ascending.
        let others = memberships.get(login.name.as_str()).into_iter().flatten().filter(|gid| **gid != login.gid);
        let gids: Vec<GroupId> = std::iter::once(login.gid).chain(others.copied()).collect();
        let login = Owned::login(login, &gids);
        writer.login(login.record(), login.gids())?;
    }
    for group in groups.values() {
        writer.group(Owned::group(group)?.record())?;
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

/// By uid.
fn logins(file: &str) -> Result<BTreeMap<u32, Passwd>, Box<dyn Error>> {
    let login = |line: &str| -> Result<(u32, Passwd), Box<dyn Error>> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, gecos, home, shell] = fields[..] else {
            return Err(format!("not a line of passwd(5): {line}").into());
        };
        let uid: u32 = uid.parse()?;
        let login = Passwd {
            name: name.parse()?,
            uid: uid.try_into()?,
            gid: gid.parse::<u32>()?.try_into()?,
            gecos: gecos.parse()?,
            home: home.parse()?,
            shell: shell.parse()?,
        };
        Ok((uid, login))
    };
    file.lines().map(login).collect()
}

/// By gid.
fn groups(file: &str) -> Result<BTreeMap<u32, Group>, Box<dyn Error>> {
    let group = |line: &str| -> Result<(u32, Group), Box<dyn Error>> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields[..] else {
            return Err(format!("not a line of group(5): {line}").into());
        };
        let gid: u32 = gid.parse()?;
        let mut members =
            members.split(',').filter(|name| !name.is_empty()).map(str::parse).collect::<Result<Vec<_>, _>>()?;
        members.sort_unstable();
        members.dedup();
        Ok((gid, Group { gid: gid.try_into()?, name: name.parse()?, members }))
    };
    file.lines().map(group).collect()
}
