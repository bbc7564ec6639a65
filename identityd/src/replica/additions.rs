//! What goes on being published while a removal is held back: all that takes nothing from anybody.
//!
//! A login or group that is new, or new facts of one that is there. Groups keep the members that they had, and logins their groups, so passwd, group and
//! initgroups go on saying the same.

use std::collections::BTreeSet;

use schema::id::GroupId;
use schema::name::LoginName;
use schema::packed::{Gids, GroupHead, PasswdHead};
use schema::record;
use schema::snapshot::Answer;
use schema::snapshot::changes::{Change as Entry, Owned};
use schema::snapshot::view::{Group, Kind as _, Login};

use crate::snapshot::Published;

/// Those of these changes, without what they would take away.
pub(super) fn additions(published: &Published, changes: Vec<Entry>) -> Vec<Entry> {
    let Some(snapshot) = published.snapshot() else { return Vec::new() };
    let login = |new: Owned| match (snapshot.login_by_name(new.name()), snapshot.login_by_uid(new.id())) {
        (Answer::Absent, Answer::Absent) => Some(new),
        (Answer::Found(old), Answer::Found(other)) if old.id() == new.id() && other.name() == new.name() => {
            with_groups_of(new, &old)
        }
        _ => None,
    };
    let group = |new: Owned| match (snapshot.group_by_name(new.name()), snapshot.group_by_gid(new.id())) {
        (Answer::Absent, Answer::Absent) => Some(new),
        (Answer::Found(old), Answer::Found(other)) if old.id() == new.id() && other.name() == new.name() => {
            with_members_of(new, &old)
        }
        _ => None,
    };
    let addition = |change| match change {
        Entry::Login(new) => login(new).map(Entry::Login),
        Entry::Group(new) => group(new).map(Entry::Group),
        _ => None,
    };
    changes.into_iter().filter_map(addition).collect()
}

fn with_groups_of(new: Owned, old: &Login<'_>) -> Option<Owned> {
    let mut gids: Vec<u32> = Gids::parse(new.gids()).ok()?.iter().collect();
    let known: BTreeSet<u32> = gids.iter().copied().collect();
    let more = old.gids()?.iter().filter(|gid| !known.contains(gid));
    let before = gids.len();
    gids.extend(more);
    if gids.len() == before {
        return Some(new);
    }
    let gids: Vec<GroupId> = gids.into_iter().filter_map(|gid| GroupId::try_from(gid).ok()).collect();
    Some(Owned::login(&passwd(&new)?, &gids))
}

fn with_members_of(new: Owned, old: &Group<'_>) -> Option<Owned> {
    let now = members(&GroupHead::parse(new.record()).ok()?, new.record().get(GroupHead::SIZE..)?)?;
    let before = members(&old.head, old.strings)?;
    if before.is_subset(&now) {
        return Some(new);
    }
    let gid = new.id().try_into().ok()?;
    let name = std::str::from_utf8(new.name()).ok()?.parse().ok()?;
    Owned::group(&record::Group { name, gid, members: now.union(&before).cloned().collect() }).ok()
}

fn members(head: &GroupHead, strings: &[u8]) -> Option<BTreeSet<LoginName>> {
    let mut starts = Vec::new();
    head.check_strings(strings, |start| starts.push(start)).ok()?;
    starts.into_iter().map(|start| string_at(strings, start)?.parse().ok()).collect()
}

fn passwd(login: &Owned) -> Option<record::Passwd> {
    let (head, strings) = (PasswdHead::parse(login.record()).ok()?, login.record().get(PasswdHead::SIZE..)?);
    let [name, _, gecos, home, shell] = head.check_strings(strings).ok()?.map(|start| string_at(strings, start));
    Some(record::Passwd {
        name: name?.parse().ok()?,
        uid: head.uid.try_into().ok()?,
        gid: head.gid.try_into().ok()?,
        gecos: gecos?.parse().ok()?,
        home: home?.parse().ok()?,
        shell: shell?.parse().ok()?,
    })
}

fn string_at(strings: &[u8], start: usize) -> Option<&str> {
    std::str::from_utf8(strings.get(start..)?.split(|byte| *byte == 0).next()?).ok()
}
