//! `initgroups_dyn`: the groups of a login, appended to glibc's array (glibc grp/initgroups.c, `internal_getgrouplist`).

use core::mem::MaybeUninit;

use schema::id::is_usable;
use schema::name;
use schema::packed::{Gids, MAX_GROUPS};
use schema::snapshot::Answer;
use schema::wire::frame::Op;

use crate::entry::Identity;
use crate::local::filter::Sort;
use crate::local::{self, Local};
use crate::snapshot::Pinned;
use crate::source::{self, Deadline, Fault, Question, Record};
use crate::status::{Failure, Outcome};
use crate::sys::{self, GidArray};

/// Gids taken from the socket at a time, and looked for among the local ones in one pass ([`Local::among`]).
const CHUNK: usize = 64;

/// Appends the groups of `name`, but `primary`, what the array already holds, and the server's own groups. All of them or none: libc takes what is in the array
/// whatever the status says, and half of somebody's groups is a wrong answer.
pub(crate) fn initgroups(name: &[u8], primary: u32, groups: &mut GidArray<'_>) -> Outcome {
    if !name::is_valid(name) {
        return Err(Failure::NotFound);
    }
    if let Some(newest) = source::published()
        && let Some(outcome) = read(&newest, name, primary, groups)
    {
        return outcome;
    }
    look_further(name, primary, groups)
}

/// The answer of the socket, or of the snapshot before when nobody answers there.
#[cold]
#[inline(never)]
fn look_further(name: &[u8], primary: u32, groups: &mut GidArray<'_>) -> Outcome {
    match sys::undisturbed(|| ask(name, primary, groups)) {
        Err(Failure::Unavailable(errno)) => {
            let before = source::published_before();
            let outcome = before.as_ref().and_then(|before| read(before, name, primary, groups));
            outcome.unwrap_or(Err(Failure::Unavailable(errno)))
        }
        outcome => outcome,
    }
}

/// The answer of a snapshot. `None`: it is damaged.
#[inline(never)]
fn read(pinned: &Pinned<'_>, name: &[u8], primary: u32, groups: &mut GidArray<'_>) -> Option<Outcome> {
    let snapshot = pinned.snapshot()?;
    let gids = match snapshot.login_by_name(name) {
        Answer::Found(login) => login.packed_gids()?,
        Answer::Absent => return Some(Err(Failure::NotFound)),
        Answer::Unusable => return None,
    };
    let filter = local::filter();
    let identity = Identity { name, id: None, gid: None };
    let outcome = if filter.may_hit(pinned.moment(), Sort::Login, identity) {
        local::refuse_exactly(local::PASSWD, identity)
    } else {
        Ok(())
    };
    let outcome = outcome.and_then(|()| append_published(gids, primary, groups));
    // Of a snapshot nothing is unavailable but what is damaged.
    if matches!(outcome, Err(Failure::Unavailable(_))) { None } else { Some(outcome) }
}

/// Whether a gid is a local group's, by the file.
#[cold]
fn is_local(gid: u32) -> Outcome<bool> {
    match local::refuse_exactly(local::GROUP, Identity { name: &[], id: Some(gid), gid: None }) {
        Ok(()) => Ok(false),
        Err(Failure::NotFound) => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// After [`local::filter::Filter::may_hit`] at this moment.
#[inline(always)]
fn append_published(gids: &[u8], primary: u32, groups: &mut GidArray<'_>) -> Outcome {
    let before = groups.len();
    let mut order = Order::default();
    let (all, _) = gids.get(Gids::HEAD..).unwrap_or_default().as_chunks::<4>();
    for gid in all {
        let gid = u32::from_le_bytes(*gid);
        let pushed = match order.is_new(gid) {
            Ok(_) if !is_usable(gid) => Err(Fault::Protocol.into()),
            Ok(new) if !new || gid == primary || groups.contains(before, gid) => Ok(true),
            Ok(_) if local::filter().may_be_group(gid) && is_local(gid) != Ok(false) => is_local(gid),
            Ok(_) => groups.push(gid).map_err(|_| Failure::NoMemory),
            Err(fault) => Err(fault.into()),
        };
        match pushed {
            Ok(true) => {}
            // The limit: what fits was taken, as glibc's files does.
            Ok(false) => return Ok(()),
            Err(failure) => {
                groups.truncate(before);
                return Err(failure);
            }
        }
    }
    Ok(())
}

fn ask(name: &[u8], primary: u32, groups: &mut GidArray<'_>) -> Outcome {
    Local::new(local::PASSWD).refuse(Identity { name, id: None, gid: None })?;
    // Never the short patience: libc cannot tell its caller that groups are missing, and sshd goes on without them.
    let question = Question::Name(Op::Initgroups, name);
    append(source::ask_until(question, &Deadline::patient())?.ok_or(Failure::NotFound)?, primary, groups)
}

/// All of them or none.
fn append(record: impl Record, primary: u32, groups: &mut GidArray<'_>) -> Outcome {
    let before = groups.len();
    let outcome = append_each(record, primary, groups);
    if outcome.is_err() {
        groups.truncate(before);
    }
    outcome
}

fn append_each(mut record: impl Record, primary: u32, groups: &mut GidArray<'_>) -> Outcome {
    let mut head = [MaybeUninit::uninit(); Gids::HEAD];
    if record.left() < Gids::HEAD {
        return Err(Fault::Protocol.into());
    }
    let head = record.read(&mut head)?;
    let count = <[u8; Gids::HEAD]>::try_from(&*head).map_or(0, u32::from_le_bytes) as usize;
    if count > MAX_GROUPS || record.left() != count.saturating_mul(4) {
        return Err(Fault::Protocol.into());
    }
    let before = groups.len();
    let mut order = Order::default();
    let mut local = Local::new(local::GROUP);
    while record.left() > 0 {
        let mut chunk = [MaybeUninit::uninit(); CHUNK * 4];
        let len = record.left().min(chunk.len());
        let chunk = record.read(chunk.get_mut(..len).unwrap_or_default())?;
        let mut gids = [0; CHUNK];
        for (gid, bytes) in gids.iter_mut().zip(chunk.chunks_exact(4)) {
            *gid = <[u8; 4]>::try_from(bytes).map_or(0, u32::from_le_bytes);
        }
        let gids = gids.get(..len.checked_div(4).unwrap_or(0)).unwrap_or_default();
        let mut local = local.among(gids)?;
        for gid in gids.iter().copied() {
            let is_local = local & 1 == 1;
            local = local.wrapping_shr(1);
            let new = order.is_new(gid)?;
            if !new || is_local || !is_usable(gid) || gid == primary || groups.contains(before, gid) {
                continue;
            }
            match groups.push(gid) {
                Ok(true) => {}
                // The limit: what fits was taken, as glibc's files does.
                Ok(false) => return Ok(()),
                Err(_) => return Err(Failure::NoMemory),
            }
        }
    }
    Ok(())
}

/// The order that `docs/records.md` promises, the primary group and then the others ascending: so that no gid comes twice is known without
/// a search, which for 65,536 groups would take long.
#[derive(Default)]
struct Order {
    first: Option<u32>,
    last: Option<u32>,
}

impl Order {
    fn is_new(&mut self, gid: u32) -> Result<bool, Fault> {
        let Some(first) = self.first else {
            self.first = Some(gid);
            return Ok(true);
        };
        if self.last.is_some_and(|last| gid <= last) {
            return Err(Fault::Protocol);
        }
        self.last = Some(gid);
        Ok(gid != first)
    }
}
