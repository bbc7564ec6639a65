//! The same answers from the published snapshot: passwd, group and initgroups of one generation, also while the directory is away.

use std::collections::BTreeSet;
use std::sync::Arc;

use schema::snapshot::Answer;
use schema::snapshot::layout::Pair;
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::Kind;
use schema::wire::frame::{Op, Status};

use super::listing::Page;
use super::lookup::id;
use super::pages::{Own, Turn};
use super::{Peer, Reply};
use crate::config::Visibility;
use crate::daemon::Host;
use crate::snapshot::Published;

/// The answer to a look-up. `None`: nothing is published, or it is damaged, or not about this; ask the cache.
pub(super) fn look_up(host: &Host, op: Op, payload: &[u8]) -> Option<Reply> {
    let published = published(host)?;
    let snapshot = published.snapshot()?;
    // Local accounts win from the moment they are there; what is published follows.
    let local = host.local();
    let taken = |is_local: bool| is_local.then(|| Reply::bare(Status::Absent));
    let name = std::str::from_utf8(payload).unwrap_or_default();
    match op {
        Op::PasswdByName => taken(local.has_login(name))
            .or_else(|| found(&published, snapshot.login_by_name(payload).map(|login| login.record))),
        Op::PasswdByUid => {
            let uid = id(payload)?;
            taken(local.login_of_uid(uid).is_some())
                .or_else(|| found(&published, snapshot.login_by_uid(uid).map(|login| login.record)))
        }
        Op::GroupByName => taken(local.has_group(name))
            .or_else(|| found(&published, snapshot.group_by_name(payload).map(|group| group.record))),
        Op::GroupByGid => {
            let gid = id(payload)?;
            taken(local.group_of_gid(gid).is_some())
                .or_else(|| found(&published, snapshot.group_by_gid(gid).map(|group| group.record)))
        }
        Op::Initgroups => taken(local.has_login(name)).or_else(|| match snapshot.login_by_name(payload) {
            Answer::Found(login) => found(&published, login.packed_gids().map_or(Answer::Unusable, Answer::Found)),
            other => found(&published, other.map(|login| login.record)),
        }),
        _ => None,
    }
}

/// A page of a list, of what `peer` may see. `None`: as for [`look_up`].
pub(super) async fn page(host: &Arc<Host>, op: Op, after: u32, peer: Peer) -> Option<Vec<u8>> {
    let published = published(host)?;
    // One page at a time for each user; root's programs are not one user.
    let turn = if peer.is_root() { None } else { host.pages.turn(peer.uid).await };
    if !sees_all(host, peer) {
        let own = own(host, &published, peer.uid, turn).await?;
        return own_page(&published.snapshot()?, &own, op, after);
    }
    let snapshot = published.snapshot()?;
    match op {
        Op::PasswdList => fill(after, |after| snapshot.login_after(after).map(|login| (login.id(), login.record))),
        Op::GroupList => fill(after, |after| snapshot.group_after(after).map(|group| (group.id(), group.record))),
        _ => None,
    }
}

/// Whether lists show this caller everybody.
pub(super) fn sees_all(host: &Host, peer: Peer) -> bool {
    peer.is_root() || host.config().snapshot.visibility == Visibility::Open
}

/// Whom a caller sees, as it was found out for an earlier page or is now: a large group takes a while, so not on a thread that answers others. The turn
/// lasts as long as that, also when the caller has gone.
async fn own(host: &Arc<Host>, published: &Arc<Published>, uid: u32, turn: Option<Turn>) -> Option<Arc<Own>> {
    if let Some(own) = host.pages.own(uid, published.pair) {
        return Some(own);
    }
    let (host, published) = (Arc::clone(host), Arc::clone(published));
    let find = move || {
        let _turn = turn;
        let own = Arc::new(seen_by(&published.snapshot()?, published.pair, uid)?);
        host.pages.keep_own(uid, &own);
        Some(own)
    };
    tokio::task::spawn_blocking(find).await.ok()?
}

/// With visibility `members`: a caller itself, its groups, and their members. Who is no login of the directory sees nobody. `None`: damaged.
fn seen_by(snapshot: &Snapshot<'_>, pair: Pair, uid: u32) -> Option<Own> {
    let (mut logins, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let login = match snapshot.login_by_uid(uid) {
        Answer::Found(login) => login,
        Answer::Absent => return Some(Own::new(pair, logins, groups)),
        Answer::Unusable => return None,
    };
    logins.insert(uid);
    for gid in login.gids()?.iter() {
        let group = match snapshot.group_by_gid(gid) {
            Answer::Found(group) => group,
            Answer::Absent => continue,
            Answer::Unusable => return None,
        };
        groups.insert(gid);
        let mut damaged = false;
        let members = group.head.check_strings(group.strings, |at| {
            let rest = group.strings.get(at..).unwrap_or_default();
            match snapshot.login_by_name(rest.split(|byte| *byte == 0).next().unwrap_or_default()) {
                Answer::Found(member) => drop(logins.insert(member.id())),
                Answer::Absent => {}
                Answer::Unusable => damaged = true,
            }
        });
        if members.is_err() || damaged {
            return None;
        }
    }
    Some(Own::new(pair, logins, groups))
}

fn own_page(snapshot: &Snapshot<'_>, own: &Own, op: Op, after: u32) -> Option<Vec<u8>> {
    match op {
        Op::PasswdList => fill(after, |after| match own.login_after(after) {
            Some(uid) => snapshot.login_by_uid(uid).map(|login| (uid, login.record)),
            None => Answer::Absent,
        }),
        Op::GroupList => fill(after, |after| match own.group_after(after) {
            Some(gid) => snapshot.group_by_gid(gid).map(|group| (gid, group.record)),
            None => Answer::Absent,
        }),
        _ => None,
    }
}

fn fill<'a>(mut after: u32, next: impl Fn(u32) -> Answer<(u32, &'a [u8])>) -> Option<Vec<u8>> {
    let mut page = Page::default();
    loop {
        match next(after) {
            Answer::Found((id, record)) => {
                if !page.push(record) {
                    return Some(page.close(after));
                }
                after = id;
            }
            Answer::Absent => return Some(page.close(0)),
            Answer::Unusable => return None,
        }
    }
}

fn published(host: &Host) -> Option<Arc<Published>> {
    host.replica()?.published()
}

fn found(published: &Arc<Published>, answer: Answer<&[u8]>) -> Option<Reply> {
    match answer {
        Answer::Found(record) => Some(Reply::published(published, record)),
        Answer::Absent => Some(Reply::bare(Status::Absent)),
        Answer::Unusable => None,
    }
}
