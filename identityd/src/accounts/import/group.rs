//! group(5).

use schema::id::GroupId;
use schema::name::{GroupName, LoginName};
use schema::record::Group;

use super::lines::{Reject, fields, id, refused, shown};

/// A line of group(5) that keeps the rules.
pub(super) struct GroupLine {
    pub(super) group: Group,
    /// Remarks about it.
    pub(super) notes: Vec<String>,
}

pub(super) fn parse(line: &[u8], floor: u32) -> Result<GroupLine, Reject> {
    let [name, _password, gid, members] = fields::<4>(line)?;
    let gid: GroupId = id("gid", gid, floor).map_err(|mut reject| {
        if reject.fate == super::Fate::Skipped && !members.is_empty() {
            reject.reason.push_str("; membership of it stays with each server");
        }
        reject
    })?;
    let name = GroupName::from_bytes(name).map_err(|error| refused(format!("{error}: {:?}", shown(name))))?;
    let mut notes = Vec::new();
    let mut taken: Vec<LoginName> = Vec::new();
    for member in members.split(|byte| *byte == b',').filter(|member| !member.is_empty()) {
        match LoginName::from_bytes(member) {
            Ok(member) => taken.push(member),
            Err(error) => notes.push(format!("the member {:?} is not taken: {error}", shown(member))),
        }
    }
    taken.sort_unstable();
    taken.dedup();
    Ok(GroupLine { group: Group { name, gid, members: taken }, notes })
}
