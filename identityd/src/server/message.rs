//! The messages of PAM and identityctl: who may ask, and which room answers.

use std::sync::Arc;

use schema::wire::frame::Status;
use schema::wire::message::{Outcome, PamContext, Reply as Message, Request, Verdict};

use super::connection::{Asked, Line};
use super::{Peer, Reply};
use crate::daemon::Host;

/// The client has left.
pub(super) struct Gone;

/// Answers one message.
pub(super) async fn answer(
    host: &Arc<Host>,
    asked: &Asked,
    payload: &[u8],
    line: &mut Line<'_>,
) -> Result<Reply, Gone> {
    let Ok(mut request) = postcard::from_bytes::<Request>(payload) else {
        return Ok(Reply::bare(Status::Malformed));
    };
    if !may(host, asked.peer, &request).await {
        return Ok(Reply::bare(Status::Denied));
    }
    let mut service = String::new();
    if let Some(context) = context_of(&mut request) {
        if !context.is_bounded() {
            return Ok(Reply::bare(Status::Malformed));
        }
        service.clone_from(&context.service);
        heard(context, asked.peer);
    }
    // Not the keys: sshd asks for them as the login itself, also when a stranger knocks.
    let logged = matches!(request, Request::Account { .. } | Request::MayChangePassword { .. } | Request::Why { .. });
    if logged && !host.may_ask_again(asked.peer) {
        return Ok(Reply::bare(Status::Busy));
    }
    let root = asked.peer.is_root();
    let message = match request {
        Request::Status => Message::Status(host.status(root).await),
        Request::Metrics => Message::Metrics(host.metrics_text().await),
        Request::Refresh { generation } => done(host.refresh(generation, asked.wait).await),
        Request::Reload => done(host.reload().await),
        Request::Fleet => match host.fleet().await.and_then(|fleet| fleet.to_json()) {
            Ok(json) => Message::Fleet(json),
            Err(reason) => Message::Failed(reason),
        },
        Request::ForgetHost { host: name } => done(host.forget_host(&name).await),
        Request::AcceptRemoval => done(host.accept_removal()),
        Request::Why { login, service } => Message::Why(host.why(&login, service.as_deref()).await),
        Request::SshKeys { login } => match host.ssh_keys(&login, asked.wait).await {
            Ok(lines) => Message::SshKeys(lines),
            Err(status) => return Ok(Reply::bare(status)),
        },
        Request::Account { context } => Message::Verdict(host.account(&context, &service).await),
        Request::MayChangePassword { context, by_root } => {
            Message::Verdict(host.may_change_password(&context, by_root && root).await)
        }
        Request::OpenSession { context } => match host.open_session(&context).await {
            Ok(Some(session)) => Message::Session(session),
            Ok(None) => Message::Verdict(Verdict { outcome: Outcome::UserUnknown, uid: None, info: None }),
            Err(reason) => Message::Failed(reason),
        },
        Request::CloseSession { context } => {
            tracing::debug!(service = context.service, login = context.user, "a session has ended");
            Message::Done
        }
        Request::Authenticate { context, password } => {
            let Ok(place) = host.enter(&context, asked.peer).await else {
                return Ok(Reply::bare(Status::Busy));
            };
            // At once, so that PAM knows within its 800 ms that somebody is working on it.
            line.working().await?;
            Message::Verdict(host.authenticate(&context, password, place).await)
        }
        Request::ChangePassword { context, old, new } => {
            if old.is_none() && !root {
                return Ok(Reply::bare(Status::Denied));
            }
            let Ok(place) = host.enter(&context, asked.peer).await else {
                return Ok(Reply::bare(Status::Busy));
            };
            line.working().await?;
            Message::Verdict(host.change_password(&context, old, new, place).await)
        }
    };
    Ok(encode(&message))
}

/// Of what a program of a user says about itself nothing is true but its uid: it may be no PAM at all. A line of the log with a service and a host of its choice would have log watchers ban that
/// host, or lay a false trail, so the service is told as what this uid says, and where it comes from is the uid.
fn heard(context: &mut PamContext, peer: Peer) {
    if peer.is_root() {
        return;
    }
    let plain = |byte: char| if byte.is_ascii_alphanumeric() || "._-".contains(byte) { byte } else { '?' };
    let said: String = context.service.chars().take(32).map(plain).collect();
    context.service = format!("uid {} says: {said}", peer.uid);
    context.remote_host = None;
    context.tty = None;
    context.remote_user = Some(format!("uid {}", peer.uid));
}

/// Who may ask what: root everything, everybody how we are, a user about itself.
async fn may(host: &Host, peer: Peer, request: &Request) -> bool {
    if peer.is_root() {
        return true;
    }
    match request {
        Request::Status | Request::Metrics => true,
        Request::SshKeys { login } | Request::Why { login, .. } => host.is_own(peer.uid, login).await,
        Request::Authenticate { context, .. }
        | Request::Account { context }
        | Request::MayChangePassword { context, .. }
        | Request::ChangePassword { context, .. } => host.is_own(peer.uid, &context.user).await,
        Request::OpenSession { .. } | Request::CloseSession { .. } | Request::Refresh { .. } | Request::Reload => false,
        Request::Fleet | Request::ForgetHost { .. } | Request::AcceptRemoval => false,
    }
}

fn context_of(request: &mut Request) -> Option<&mut PamContext> {
    match request {
        Request::Authenticate { context, .. }
        | Request::Account { context }
        | Request::MayChangePassword { context, .. }
        | Request::ChangePassword { context, .. }
        | Request::OpenSession { context }
        | Request::CloseSession { context } => Some(context),
        _ => None,
    }
}

fn done(result: Result<(), String>) -> Message {
    match result {
        Ok(()) => Message::Done,
        Err(reason) => Message::Failed(reason),
    }
}

fn encode(message: &Message) -> Reply {
    postcard::to_allocvec(message).map_or_else(|_| Reply::bare(Status::Unknown), Reply::owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_believed_of_a_user_but_its_uid_and_everything_of_root() {
        let context = || PamContext {
            service: "sshd rhost=192.0.2.80\n".into(),
            user: "eve".into(),
            remote_host: Some("192.0.2.80".into()),
            tty: Some("ssh".into()),
            remote_user: Some("root".into()),
        };
        let mut of_root = context();
        heard(&mut of_root, Peer { uid: 0, pid: None });
        assert_eq!(of_root, context());
        let mut of_a_user = context();
        heard(&mut of_a_user, Peer { uid: 2000, pid: Some(7) });
        let said = PamContext {
            service: "uid 2000 says: sshd?rhost?192.0.2.80?".into(),
            user: "eve".into(),
            remote_user: Some("uid 2000".into()),
            ..PamContext::default()
        };
        assert_eq!(of_a_user, said);
    }
}
