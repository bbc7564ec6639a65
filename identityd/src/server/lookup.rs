//! The look-ups of NSS: one name or id in, one packed record out.

use std::sync::Arc;

use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::packed::write;
use schema::record::Login;
use schema::wire::frame::{Op, Status};

use super::connection::Asked;
use super::{Reply, published};
use crate::cache::{Answer, Lane};
use crate::config::ShadowHash;
use crate::daemon::Host;
use crate::directory::DirectoryError;

/// Answers one look-up. A name or id that cannot exist is Absent, not Malformed: `getent passwd a:b` has a certain answer.
pub(super) async fn answer(host: &Arc<Host>, asked: &Asked, payload: &[u8]) -> Reply {
    if let Some(reply) = published::look_up(host, asked.op, payload) {
        return reply;
    }
    match asked.op {
        Op::PasswdByName => match LoginName::from_bytes(payload) {
            Ok(name) => Reply::of(host.login_by_name(&name, asked.patience()).await.map(|login| login.reply())),
            Err(_) => Reply::bare(Status::Absent),
        },
        Op::PasswdByUid => match id(payload).map(UserId::try_from) {
            Some(Ok(uid)) => Reply::of(host.login_by_uid(uid, asked.patience()).await.map(|login| login.reply())),
            Some(Err(_)) => Reply::bare(Status::Absent),
            None => Reply::bare(Status::Malformed),
        },
        Op::GroupByName => match GroupName::from_bytes(payload) {
            Ok(name) => Reply::of(host.group_by_name(&name, asked.patience()).await),
            Err(_) => Reply::bare(Status::Absent),
        },
        Op::GroupByGid => match id(payload).map(GroupId::try_from) {
            Some(Ok(gid)) => Reply::of(host.group_by_gid(gid, asked.patience()).await),
            Some(Err(_)) => Reply::bare(Status::Absent),
            None => Reply::bare(Status::Malformed),
        },
        Op::Initgroups => match LoginName::from_bytes(payload) {
            Ok(name) => {
                Reply::of(host.gids_of(&name, asked.patience()).await.map(|gids| Reply::owned(write::gids(&gids))))
            }
            Err(_) => Reply::bare(Status::Absent),
        },
        Op::ShadowByName if !asked.peer.is_root() => Reply::bare(Status::Denied),
        Op::ShadowByName => match LoginName::from_bytes(payload) {
            Ok(name) => match host.login_by_name(&name, asked.patience()).await {
                Answer::Found(served) => shadow(host, &served.answer.login).await,
                Answer::Absent => Reply::bare(Status::Absent),
                Answer::Unknown(reason) => Reply::of(Answer::Unknown(reason)),
            },
            Err(_) => Reply::bare(Status::Absent),
        },
        Op::PasswdList | Op::GroupList | Op::ShadowList | Op::Message => Reply::bare(Status::Malformed),
    }
}

async fn shadow(host: &Arc<Host>, login: &Login) -> Reply {
    let hash = match shown_hash(host, &login.name).await {
        Ok(hash) => hash,
        Err(error) => return Reply::of(Answer::Unknown(error.to_string())),
    };
    let hash = hash.as_ref().map_or("*", PasswordHash::expose);
    write::shadow(login.name.as_str(), hash, &login.aging).map_or_else(|_| Reply::bare(Status::Unknown), Reply::owned)
}

/// The hash that the shadow map shows; `None`: `*`.
pub(super) async fn shown_hash(host: &Host, name: &LoginName) -> Result<Option<PasswordHash>, DirectoryError> {
    if host.config().nss.shadow_hash == ShadowHash::Nobody {
        return Ok(None);
    }
    let name = name.clone();
    host.cache().source().ask(Lane::Reserved, |directory| async move { directory.password_hash(&name).await }).await
}

/// An id is exactly four bytes.
pub(super) fn id(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_le_bytes)
}
