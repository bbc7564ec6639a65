//! Look-ups by name and by id: what is answered without asking, whom to ask, and what an answer must be.
//!
//! What the snapshot finds and what it does not is final. A name or id that no account of the directory can have is NOTFOUND without asking anybody, and so is a
//! local one before the socket is asked: root and system users never wait for a hung daemon.

use core::mem::MaybeUninit;

use schema::id::is_usable;
use schema::name;
use schema::snapshot::Answer;
use schema::wire::frame::Op;

use crate::buffer::Buffer;
use crate::entry::{Asked, Entry};
use crate::local::{self, Accounts, Local};
use crate::snapshot::Pinned;
use crate::source::{self, Question};
use crate::status::{Failure, Outcome};
use crate::sys::{self, Errno};

/// The passwd entry of a name.
pub(crate) fn passwd_by_name(name: &[u8], buffer: Buffer<'_>, into: &mut MaybeUninit<libc::passwd>) -> Outcome {
    by_name(Op::PasswdByName, local::PASSWD, name, buffer, into)
}

/// The passwd entry of a uid.
pub(crate) fn passwd_by_uid(uid: u32, buffer: Buffer<'_>, into: &mut MaybeUninit<libc::passwd>) -> Outcome {
    by_id(Op::PasswdByUid, local::PASSWD, uid, buffer, into)
}

/// The group of a name.
pub(crate) fn group_by_name(name: &[u8], buffer: Buffer<'_>, into: &mut MaybeUninit<libc::group>) -> Outcome {
    by_name(Op::GroupByName, local::GROUP, name, buffer, into)
}

/// The group of a gid.
pub(crate) fn group_by_gid(gid: u32, buffer: Buffer<'_>, into: &mut MaybeUninit<libc::group>) -> Outcome {
    by_id(Op::GroupByGid, local::GROUP, gid, buffer, into)
}

/// The shadow entry of a name. Who may see it is identityd's to say: it knows the peer's uid.
pub(crate) fn shadow_by_name(name: &[u8], buffer: Buffer<'_>, into: &mut MaybeUninit<libc::spwd>) -> Outcome {
    by_name(Op::ShadowByName, local::PASSWD, name, buffer, into)
}

#[inline(always)]
fn by_name<E: Entry>(
    op: Op,
    accounts: Accounts,
    name: &[u8],
    buffer: Buffer<'_>,
    into: &mut MaybeUninit<E>,
) -> Outcome {
    if !name::is_valid(name) {
        return Err(Failure::NotFound);
    }
    look_up(Question::Name(op, name), Asked::Name(name), accounts, buffer, into)
}

#[inline(always)]
fn by_id<E: Entry>(op: Op, accounts: Accounts, id: u32, buffer: Buffer<'_>, into: &mut MaybeUninit<E>) -> Outcome {
    if !is_usable(id) {
        return Err(Failure::NotFound);
    }
    look_up(Question::Id(op, id), Asked::Id(id), accounts, buffer, into)
}

#[inline(always)]
fn look_up<E: Entry>(
    question: Question<'_>,
    asked: Asked<'_>,
    accounts: Accounts,
    mut buffer: Buffer<'_>,
    into: &mut MaybeUninit<E>,
) -> Outcome {
    if E::PUBLISHED
        && let Some(newest) = source::published()
        && let Some(answer) = read(&newest, asked, accounts, buffer.again(), into)
    {
        return certain(answer);
    }
    look_further(question, asked, accounts, buffer, into)
}

/// The answer of the socket, or of the snapshot before when nobody answers there.
#[cold]
#[inline(never)]
fn look_further<E: Entry>(
    question: Question<'_>,
    asked: Asked<'_>,
    accounts: Accounts,
    mut buffer: Buffer<'_>,
    into: &mut MaybeUninit<E>,
) -> Outcome {
    match sys::undisturbed(|| ask(question, asked, accounts, buffer.again(), into)) {
        Err(Failure::Unavailable(errno)) if E::PUBLISHED => {
            let before = source::published_before();
            let outcome = before.as_ref().and_then(|before| read(before, asked, accounts, buffer, into));
            outcome.map_or(Err(Failure::Unavailable(errno)), certain)
        }
        outcome => outcome,
    }
}

/// What the snapshot has, and this server's files too, is not "no such account": `files`, which is asked before us, did not find it a moment ago, so it is just coming back there
/// (`identityctl local restore`), or the two contradict each other.
#[inline(always)]
fn certain((found, outcome): (u32, Outcome)) -> Outcome {
    match outcome {
        Err(Failure::NotFound) if found != 0 => Err(Failure::Unavailable(Errno::EAGAIN)),
        outcome => outcome,
    }
}

/// The answer of a snapshot, and the id that it is about. `None`: it cannot say, because it is damaged. One function for all ways to ask: it is what
/// the library consists of.
#[inline(never)]
pub(crate) fn read<E: Entry>(
    pinned: &Pinned<'_>,
    asked: Asked<'_>,
    accounts: Accounts,
    buffer: Buffer<'_>,
    into: &mut MaybeUninit<E>,
) -> Option<(u32, Outcome)> {
    let snapshot = pinned.snapshot()?;
    let found = match E::find(&snapshot, asked) {
        Answer::Found(found) => found,
        Answer::Absent => return Some((0, Err(Failure::NotFound))),
        Answer::Unusable => return None,
    };
    match E::fill(&found, buffer, asked, into) {
        Ok(identity) => {
            let outcome = local::refuse_published(accounts, pinned.moment(), identity);
            Some((identity.id.unwrap_or(0), outcome))
        }
        Err(Failure::Unavailable(_)) => None,
        Err(failure) => Some((0, Err(failure))),
    }
}

/// Asks the socket. Local names and ids before: nobody waits for what is not the directory's.
fn ask<E: Entry>(
    question: Question<'_>,
    asked: Asked<'_>,
    accounts: Accounts,
    buffer: Buffer<'_>,
    into: &mut MaybeUninit<E>,
) -> Outcome {
    let mut local = Local::new(accounts);
    local.refuse(asked.identity())?;
    let mut record = source::ask(question)?.ok_or(Failure::NotFound)?;
    let (entry, identity) = E::unpack(&mut record, buffer, asked)?;
    // Programs such as sudo go from a uid to a name and decide by the name: neither may be a local one.
    local.refuse(identity)?;
    local::refuse_group(identity)?;
    into.write(entry);
    Ok(())
}
