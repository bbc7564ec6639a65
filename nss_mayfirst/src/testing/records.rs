//! Records for the tests.

use schema::packed::write;
use schema::record::{Aging, Group, Passwd};
use schema::wire::frame::ListHead;

/// A packed passwd record.
pub(crate) fn passwd(name: &str, uid: u32) -> Vec<u8> {
    write::passwd(&Passwd {
        name: name.parse().unwrap(),
        uid: uid.try_into().unwrap(),
        gid: (uid + 1).try_into().unwrap(),
        gecos: "Full Name".parse().unwrap(),
        home: format!("/home/members/users/{name}").parse().unwrap(),
        shell: "/bin/bash".parse().unwrap(),
    })
}

/// A packed group record.
pub(crate) fn group(name: &str, gid: u32, members: &[&str]) -> Vec<u8> {
    let members = members.iter().map(|member| member.parse().unwrap()).collect();
    write::group(&Group { name: name.parse().unwrap(), gid: gid.try_into().unwrap(), members }).unwrap()
}

/// A packed shadow record.
pub(crate) fn shadow(name: &str) -> Vec<u8> {
    write::shadow(name, "*", &Aging { max_days: Some(90), ..Aging::default() }).unwrap()
}

/// Packed gids, whatever they are.
pub(crate) fn gids(gids: &[u32]) -> Vec<u8> {
    [gids.len() as u32].iter().chain(gids).flat_map(|word| word.to_le_bytes()).collect()
}

/// A page of a list.
pub(crate) fn page(next_after: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let mut page = ListHead { next_after, count: records.len() as u32 }.to_bytes().to_vec();
    for record in records {
        page.extend_from_slice(&(record.len() as u32).to_le_bytes());
        page.extend_from_slice(record);
    }
    page
}
