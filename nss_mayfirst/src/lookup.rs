//! Look-ups by name and by id: what is answered without asking, whom to ask, and what an answer must be.
//!
//! What the snapshot finds and what it does not is final. A name or id that no account of the directory can have is NOTFOUND without asking anybody, and so is a
//! local one before the socket is asked: root and system users never wait for a hung daemon.

use schema::id::is_usable;
use schema::name;
use schema::snapshot::Answer;
use schema::snapshot::pair::Snapshot;
use schema::wire::frame::Op;

use crate::buffer::Buffer;
use crate::entry::{Asked, Entry, Identity};
use crate::local::{self, Accounts, Local};
use crate::source::{self, Question};
use crate::status::{Failure, Outcome};

/// The passwd entry of a name.
pub(crate) fn passwd_by_name(name: &[u8], buffer: Buffer<'_>) -> Outcome<libc::passwd> {
    by_name(Op::PasswdByName, local::PASSWD, name, buffer)
}

/// The passwd entry of a uid.
pub(crate) fn passwd_by_uid(uid: u32, buffer: Buffer<'_>) -> Outcome<libc::passwd> {
    by_id(Op::PasswdByUid, local::PASSWD, uid, buffer)
}

/// The group of a name.
pub(crate) fn group_by_name(name: &[u8], buffer: Buffer<'_>) -> Outcome<libc::group> {
    by_name(Op::GroupByName, local::GROUP, name, buffer)
}

/// The group of a gid.
pub(crate) fn group_by_gid(gid: u32, buffer: Buffer<'_>) -> Outcome<libc::group> {
    by_id(Op::GroupByGid, local::GROUP, gid, buffer)
}

/// The shadow entry of a name. Who may see it is identityd's to say: it knows the peer's uid.
pub(crate) fn shadow_by_name(name: &[u8], buffer: Buffer<'_>) -> Outcome<libc::spwd> {
    by_name(Op::ShadowByName, local::PASSWD, name, buffer)
}

fn by_name<E: Entry>(op: Op, accounts: Accounts, name: &[u8], buffer: Buffer<'_>) -> Outcome<E> {
    if name::check(name).is_err() {
        return Err(Failure::NotFound);
    }
    look_up(Question::Name(op, name), Asked::Name(name), accounts, buffer)
}

fn by_id<E: Entry>(op: Op, accounts: Accounts, id: u32, buffer: Buffer<'_>) -> Outcome<E> {
    if !is_usable(id) {
        return Err(Failure::NotFound);
    }
    look_up(Question::Id(op, id), Asked::Id(id), accounts, buffer)
}

fn look_up<E: Entry>(
    question: Question<'_>,
    asked: Asked<'_>,
    accounts: Accounts,
    mut buffer: Buffer<'_>,
) -> Outcome<E> {
    if let Some(outcome) = source::published(|snapshot| read(snapshot, asked, accounts, buffer.again())) {
        return outcome;
    }
    match ask(question, asked, accounts, buffer.again()) {
        Err(Failure::Unavailable(errno)) => {
            source::published_before(|snapshot| read(snapshot, asked, accounts, buffer.again()))
                .unwrap_or(Err(Failure::Unavailable(errno)))
        }
        outcome => outcome,
    }
}

/// The answer of a snapshot. `None`: it cannot say, because it is damaged or does not hold this sort.
fn read<E: Entry>(
    snapshot: &Snapshot<'_>,
    asked: Asked<'_>,
    accounts: Accounts,
    buffer: Buffer<'_>,
) -> Option<Outcome<E>> {
    let mut record = match E::find(snapshot, asked) {
        Answer::Found((_, record)) => record,
        Answer::Absent => return Some(Err(Failure::NotFound)),
        Answer::Unusable => return None,
    };
    match E::unpack(&mut record, buffer, asked) {
        Ok((entry, identity)) => Some(refuse_local(accounts, identity).map(|()| entry)),
        Err(Failure::Unavailable(_)) => None,
        Err(failure) => Some(Err(failure)),
    }
}

/// NOTFOUND when the name, the id or the primary group of an entry is a local one.
pub(crate) fn refuse_local(accounts: Accounts, identity: Identity<'_>) -> Outcome {
    Local::new(accounts).refuse(identity)?;
    local::refuse_group(identity)
}

/// Asks the socket. Local names and ids before: nobody waits for what is not the directory's.
fn ask<E: Entry>(question: Question<'_>, asked: Asked<'_>, accounts: Accounts, buffer: Buffer<'_>) -> Outcome<E> {
    let mut local = Local::new(accounts);
    local.refuse(asked.identity())?;
    let mut record = source::ask(question)?.ok_or(Failure::NotFound)?;
    let (entry, identity) = E::unpack(&mut record, buffer, asked)?;
    // Programs such as sudo go from a uid to a name and decide by the name: neither may be a local one.
    local.refuse(identity)?;
    local::refuse_group(identity)?;
    Ok(entry)
}
