//! What is remembered of an entry: a login or a group, told from others by its UUID.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use super::dn;
use super::entry::RawEntry;
use super::map::Map;
use super::model::{GroupNode, LoginNode, Uuid};

/// A login or a group, as the model holds it.
#[derive(Debug)]
pub(super) enum Node {
    Login(LoginNode),
    Group(GroupNode),
}

/// What an entry is; `None`: neither. The server has applied the filters; one entry may pass both, and then a login it is.
pub(super) fn of(map: &Map, entry: &RawEntry, uuid: Uuid) -> Option<Node> {
    login(map, entry, uuid).or_else(|| group(map, entry, uuid))
}

/// An entry as a login.
pub(super) fn login(map: &Map, entry: &RawEntry, uuid: Uuid) -> Option<Node> {
    let names = &map.0.attributes;
    if entry.first(&names.uid).is_none() || entry.first(&names.name).is_none() {
        return None;
    }
    let capabilities = map.capabilities(entry, &BTreeSet::new()).unwrap_or_default();
    Some(Node::Login(LoginNode {
        uuid,
        name: map.login_name(entry).as_str().into(),
        uid: map.uid(entry),
        dn: dn::key(&entry.dn),
        seniority: map.seniority(entry),
        files_only: capabilities.contains(schema::capability::SFTP)
            && !capabilities.contains(schema::capability::SHELL),
        stamp: stamp(entry),
    }))
}

/// An entry as a group.
pub(super) fn group(map: &Map, entry: &RawEntry, uuid: Uuid) -> Option<Node> {
    let names = &map.0.attributes;
    if entry.first(&names.group_gid).is_none() || entry.first(&names.group_name).is_none() {
        return None;
    }
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    Some(Node::Group(GroupNode {
        uuid,
        name: map.group_name(entry).as_str().into(),
        gid: map.gid(entry),
        dn: dn::key(&entry.dn),
        seniority: map.seniority(entry),
        rule: map.rule(entry) == Ok(true),
        names: entry.all(&names.member_name).iter().map(|name| map.fold(&text(name))).collect(),
        dns: entry.all(&names.member_dn).iter().map(|name| dn::key(&text(name))).collect(),
        stamp: stamp(entry),
    }))
}

/// Tells one state of an entry from another.
fn stamp(entry: &RawEntry) -> u64 {
    STAMP.hash_one((entry.first("entryCSN"), entry.first("modifyTimestamp")))
}

/// The UUID of an entry that was found by an ordinary search; where the server has none, its name must do.
pub(super) fn uuid_of(entry: &RawEntry) -> Uuid {
    let text: String = entry.text("entryUUID").unwrap_or_default().chars().filter(|c| *c != '-').collect();
    let mut bytes = [0; 16];
    let parsed = text.len() == 32
        && bytes.iter_mut().enumerate().all(|(at, byte)| {
            let digits = text.get(at * 2..at * 2 + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            digits.inspect(|digits| *byte = *digits).is_some()
        });
    if !parsed {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(entry.dn.to_lowercase().as_bytes());
        bytes.iter_mut().zip(digest.iter()).for_each(|(byte, digest)| *byte = *digest);
    }
    Uuid(bytes)
}

static STAMP: LazyLock<RandomState> = LazyLock::new(RandomState::new);
