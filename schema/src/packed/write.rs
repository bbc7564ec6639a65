//! Writers, for identityd and tests.

use super::{Gids, GroupHead, MAX_FIELD, MAX_GROUPS, MAX_HASH, MAX_MEMBERS, PackedError, PasswdHead, ShadowHead};
use crate::record::{Aging, Group, Passwd};

/// A passwd record.
#[must_use]
pub fn passwd(entry: &Passwd) -> Vec<u8> {
    // Every length is bounded by its type: names by 32, the others by `MAX_FIELD`.
    let head = PasswdHead {
        uid: entry.uid.raw(),
        gid: entry.gid.raw(),
        name_len: len16(entry.name.as_str()),
        gecos_len: len16(entry.gecos.as_str()),
        dir_len: len16(entry.home.as_str()),
        shell_len: len16(entry.shell.as_str()),
    };
    let mut out = Vec::with_capacity(PasswdHead::SIZE + head.strings_len());
    out.extend_from_slice(&head.to_bytes());
    for field in [entry.name.as_str(), "x", entry.gecos.as_str(), entry.home.as_str(), entry.shell.as_str()] {
        push(&mut out, field);
    }
    out
}

/// A group record.
///
/// # Errors
/// [`PackedError::Length`] for more than [`MAX_MEMBERS`] members.
pub fn group(entry: &Group) -> Result<Vec<u8>, PackedError> {
    if entry.members.len() > MAX_MEMBERS {
        return Err(PackedError::Length);
    }
    let members_len: usize = entry.members.iter().map(|member| member.as_str().len() + 1).sum();
    let head = GroupHead {
        gid: entry.gid.raw(),
        members: u32::try_from(entry.members.len()).map_err(|_| PackedError::Length)?,
        members_len: u32::try_from(members_len).map_err(|_| PackedError::Length)?,
        name_len: len16(entry.name.as_str()),
    };
    let mut out = Vec::with_capacity(GroupHead::SIZE + head.strings_len());
    out.extend_from_slice(&head.to_bytes());
    push(&mut out, entry.name.as_str());
    push(&mut out, "x");
    for member in &entry.members {
        push(&mut out, member.as_str());
    }
    Ok(out)
}

/// A shadow record with this text where the hash stands (`*` unless policy says otherwise).
///
/// # Errors
/// [`PackedError`] for a hash that is too long or holds a character that shadow(5) cannot.
pub fn shadow(name: &str, hash: &str, aging: &Aging) -> Result<Vec<u8>, PackedError> {
    if hash.len() > MAX_HASH {
        return Err(PackedError::Length);
    }
    if hash.bytes().any(|byte| matches!(byte, 0..=0x1f | 0x7f | b':')) {
        return Err(PackedError::Field);
    }
    let head = ShadowHead {
        last_change: days(aging.last_change.map(crate::date::Date::days)),
        min: days(aging.min_days),
        max: days(aging.max_days),
        warn: days(aging.warn_days),
        inactive: days(aging.inactive_days),
        expire: days(aging.expires.map(crate::date::Date::days)),
        name_len: len16(name),
        hash_len: len16(hash),
    };
    let mut out = Vec::with_capacity(ShadowHead::SIZE + head.strings_len());
    out.extend_from_slice(&head.to_bytes());
    push(&mut out, name);
    push(&mut out, hash);
    Ok(out)
}

/// The gids of a login, the primary group first; the others in whatever order, they are written ascending and each once, as readers demand. More than [`MAX_GROUPS`] cannot be used by the kernel; what is
/// above is cut.
#[must_use]
pub fn gids(gids: &[crate::id::GroupId]) -> Vec<u8> {
    let mut gids: Vec<u32> = gids.iter().map(|gid| gid.raw()).collect();
    if let Some((_, others)) = gids.split_first_mut() {
        others.sort_unstable();
        // The first stays what it is: after it all ascend, and an equal one right behind it may go.
        gids.dedup();
    }
    gids.truncate(MAX_GROUPS);
    let mut out = Vec::with_capacity(Gids::HEAD + gids.len() * 4);
    out.extend_from_slice(&(gids.len() as u32).to_le_bytes());
    for gid in gids {
        out.extend_from_slice(&gid.to_le_bytes());
    }
    out
}

fn days(value: Option<u32>) -> i32 {
    value.and_then(|days| i32::try_from(days).ok()).unwrap_or(-1)
}

fn len16(text: &str) -> u16 {
    debug_assert!(text.len() <= MAX_FIELD.max(MAX_HASH));
    text.len() as u16
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}
