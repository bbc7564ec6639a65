//! Look-ups by name and by id: what is answered without asking, and what an answer must be.

use schema::id::is_usable;
use schema::name;
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

/// A name that the directory may hold and this server does not: anything else is NOTFOUND without asking, so that root and system
/// users never wait for a hung daemon.
pub(crate) fn directory_name(name: &[u8], local: &mut Local) -> Outcome {
    if name::check(name).is_err() {
        return Err(Failure::NotFound);
    }
    local.refuse(Identity { name, id: None, gid: None })
}

fn by_name<E: Entry>(op: Op, accounts: Accounts, name: &[u8], buffer: Buffer<'_>) -> Outcome<E> {
    let mut local = Local::new(accounts);
    directory_name(name, &mut local)?;
    let mut record = source::ask(Question::Name(op, name))?.ok_or(Failure::NotFound)?;
    let (entry, identity) = E::unpack(&mut record, buffer, Asked::Name(name))?;
    if identity.id.is_some() {
        local.refuse(Identity { name: &[], id: identity.id, gid: None })?;
    }
    local::refuse_group(identity)?;
    Ok(entry)
}

fn by_id<E: Entry>(op: Op, accounts: Accounts, id: u32, buffer: Buffer<'_>) -> Outcome<E> {
    if !is_usable(id) {
        return Err(Failure::NotFound);
    }
    let mut local = Local::new(accounts);
    local.refuse(Identity { name: &[], id: Some(id), gid: None })?;
    let mut record = source::ask(Question::Id(op, id))?.ok_or(Failure::NotFound)?;
    let (entry, identity) = E::unpack(&mut record, buffer, Asked::Id(id))?;
    // Programs such as sudo go from a uid to a name and decide by the name: it must not be a local one.
    local.refuse(Identity { name: identity.name, id: None, gid: None })?;
    local::refuse_group(identity)?;
    Ok(entry)
}
