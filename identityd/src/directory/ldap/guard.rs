//! Stands between ldap3 and the network: lets through only messages that its parser and its driver survive.
//!
//! ldap3 0.12 has no bound on a message's size, recurses as deep as the server likes, and panics on an answer of a kind that it did not ask for or whose parts are
//! missing. So it gets one end of a pair of sockets, and this task passes on what it has checked. It also holds a server back that sends entries faster than they are
//! taken, since ldap3 queues without a bound.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use zeroize::Zeroize;

use super::ber::{self, BOOLEAN, ENUMERATED, Element, INTEGER, Malformed, OCTET_STRING, Reader, SEQUENCE};

/// Longest message: a group of 200,000 members by their DNs has some 20 MB.
const MAX_MESSAGE: usize = 32 << 20;
/// Entries that may wait to be taken.
pub(super) const MAX_WAITING: usize = 2000;

/// Tags of the operations (RFC 4511 §4.2 and following), with the class APPLICATION.
mod op {
    pub(super) const BIND: u8 = 0x60;
    pub(super) const BIND_DONE: u8 = 0x61;
    pub(super) const SEARCH: u8 = 0x63;
    pub(super) const ENTRY: u8 = 0x64;
    pub(super) const SEARCH_DONE: u8 = 0x65;
    pub(super) const MODIFY: u8 = 0x66;
    pub(super) const MODIFY_DONE: u8 = 0x67;
    pub(super) const ADD: u8 = 0x68;
    pub(super) const ADD_DONE: u8 = 0x69;
    pub(super) const DELETE: u8 = 0x4a;
    pub(super) const DELETE_DONE: u8 = 0x6b;
    pub(super) const RENAME: u8 = 0x6c;
    pub(super) const RENAME_DONE: u8 = 0x6d;
    pub(super) const REFERENCE: u8 = 0x73;
    pub(super) const EXTENDED: u8 = 0x77;
    pub(super) const EXTENDED_DONE: u8 = 0x78;
    pub(super) const INTERMEDIATE: u8 = 0x79;
}

/// What was asked under which number.
type Asked = Mutex<HashMap<u32, u8>>;

/// Passes messages both ways until one side ends or the server breaks the protocol. Returning closes both. An error is the reason.
pub(super) async fn run<S>(server: S, client: UnixStream, flow: Arc<Semaphore>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut from_client, mut to_client) = client.into_split();
    let asked = Asked::default();
    let out = async {
        let mut bytes = Vec::new();
        while let Some(length) = frame(&mut from_client, &mut bytes).await? {
            note(&asked, bytes.get(..length).unwrap_or_default());
            to_server.write_all(bytes.get(..length).unwrap_or_default()).await?;
            to_server.flush().await?;
            // A bind carries a password.
            if let Some(sent) = bytes.get_mut(..length) {
                sent.zeroize();
            }
            bytes.drain(..length);
        }
        to_server.shutdown().await
    };
    let back = async {
        let mut bytes = Vec::new();
        while let Some(length) = frame(&mut from_server, &mut bytes).await? {
            let message = bytes.get(..length).unwrap_or_default();
            let kind = admit(&asked, message).map_err(io::Error::other)?;
            if kind == op::ENTRY
                && let Ok(permit) = flow.acquire().await
            {
                permit.forget();
            }
            to_client.write_all(message).await?;
            bytes.drain(..length);
        }
        Ok(())
    };
    tokio::select! {
        ended = out => ended,
        ended = back => ended,
    }
}

/// Reads until a whole message lies at the beginning of `bytes`; its length, or `None` at the end of the stream.
pub(super) async fn frame<R: AsyncRead + Unpin>(from: &mut R, bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(head) = ber::head(bytes).map_err(io::Error::other)? {
            let length = head.head.saturating_add(head.content);
            if head.tag != SEQUENCE || length > MAX_MESSAGE {
                return Err(io::Error::other(Malformed("a message that is too long, or not one")));
            }
            if bytes.len() >= length {
                return Ok(Some(length));
            }
        }
        bytes.reserve(16 * 1024);
        if from.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn parts(message: &[u8]) -> Result<(u32, Element<'_>, Option<Element<'_>>), Malformed> {
    let mut inside = Reader::new(message).expect(SEQUENCE, "no message")?.inside();
    let id = inside.expect(INTEGER, "a message without a number")?.number()?;
    let operation = inside.next()?.ok_or(Malformed("a message without an operation"))?;
    let controls = inside.take(0xa0)?;
    if inside.next()?.is_some() {
        return Err(Malformed("a message with something behind it"));
    }
    Ok((id, operation, controls))
}

/// Remembers what we ask.
fn note(asked: &Asked, message: &[u8]) {
    let Ok((id, operation, _)) = parts(message) else { return };
    if matches!(operation.tag, op::BIND | op::SEARCH | op::MODIFY | op::ADD | op::DELETE | op::RENAME | op::EXTENDED) {
        asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id, operation.tag);
    }
}

/// Whether a message of the server may go on to ldap3; its operation.
fn admit(asked: &Asked, message: &[u8]) -> Result<u8, Malformed> {
    ber::check(message)?;
    let (id, operation, controls) = parts(message)?;
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    let question =
        asked.get(&id).copied().ok_or(Malformed("an answer to nothing, such as a notice of disconnection"))?;
    let (fits, last) = match (question, operation.tag) {
        (op::SEARCH, op::ENTRY | op::REFERENCE | op::INTERMEDIATE) => (true, false),
        (op::BIND, op::BIND_DONE)
        | (op::SEARCH, op::SEARCH_DONE)
        | (op::MODIFY, op::MODIFY_DONE)
        | (op::ADD, op::ADD_DONE)
        | (op::DELETE, op::DELETE_DONE)
        | (op::RENAME, op::RENAME_DONE)
        | (op::EXTENDED, op::EXTENDED_DONE) => (true, true),
        _ => (false, true),
    };
    if !fits {
        return Err(Malformed("an answer to something else"));
    }
    if last {
        asked.remove(&id);
        check_result(&operation)?;
    }
    if let Some(controls) = controls {
        check_controls(&controls)?;
    }
    Ok(operation.tag)
}

/// LDAPResult (RFC 4511 §4.1.9), as far as ldap3 insists on it.
fn check_result(operation: &Element<'_>) -> Result<(), Malformed> {
    let mut inside = operation.inside();
    inside.expect(ENUMERATED, "a result without a code")?.number()?;
    inside.expect(OCTET_STRING, "a result without a name")?.text()?;
    inside.expect(OCTET_STRING, "a result without a text")?.text()?;
    while let Some(element) = inside.next()? {
        match element.tag {
            0xa3 => {
                let mut references = element.inside();
                while let Some(reference) = references.next()? {
                    if reference.tag != OCTET_STRING {
                        return Err(Malformed("a referral that is no text"));
                    }
                    reference.text()?;
                }
            }
            0x87 | 0x8b => {}
            0x8a => {
                element.text()?;
            }
            // It tells elements by number alone, whatever their class.
            tag if matches!(tag & 0x1f, 3 | 7 | 10 | 11) => return Err(Malformed("a result with a strange part")),
            _ => {}
        }
    }
    Ok(())
}

fn check_controls(controls: &Element<'_>) -> Result<(), Malformed> {
    let mut controls = controls.inside();
    while let Some(control) = controls.next()? {
        if control.tag != SEQUENCE {
            return Err(Malformed("a control that is none"));
        }
        let mut inside = control.inside();
        inside.expect(OCTET_STRING, "a control without a name")?.text()?;
        if let Some(critical) = inside.take(BOOLEAN)? {
            critical.boolean()?;
        }
        inside.take(OCTET_STRING)?;
        if inside.next()?.is_some() {
            return Err(Malformed("a control with something behind it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(id: u8, operation: u8, content: &[u8]) -> Vec<u8> {
        let mut inside = vec![INTEGER, 1, id];
        ber::write(&mut inside, operation, content);
        let mut bytes = Vec::new();
        ber::write(&mut bytes, SEQUENCE, &inside);
        bytes
    }

    fn asked(id: u32, operation: u8) -> Asked {
        Mutex::new(HashMap::from([(id, operation)]))
    }

    const DONE: [u8; 7] = [ENUMERATED, 1, 0, OCTET_STRING, 0, OCTET_STRING, 0];

    #[test]
    fn an_answer_to_the_question_passes() {
        assert_eq!(admit(&asked(1, op::SEARCH), &message(1, op::SEARCH_DONE, &DONE)), Ok(op::SEARCH_DONE));
        assert_eq!(admit(&asked(1, op::BIND), &message(1, op::BIND_DONE, &DONE)), Ok(op::BIND_DONE));
    }

    #[test]
    fn answers_that_would_end_the_driver_are_refused() {
        assert!(admit(&asked(1, op::SEARCH), &message(1, op::BIND_DONE, &DONE)).is_err());
        assert!(admit(&asked(1, op::BIND), &message(1, op::ENTRY, &DONE)).is_err());
        assert!(admit(&asked(1, op::BIND), &message(2, op::BIND_DONE, &DONE)).is_err());
        assert!(admit(&asked(1, op::BIND), &message(1, op::BIND_DONE, &[])).is_err());
        assert!(admit(&asked(1, op::SEARCH), &message(1, 0x7e, &DONE)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_passes_ldap3_can_parse(mut bytes: Vec<u8>, at in 0_usize..24, value: u8) {
            let _ = admit(&asked(1, op::SEARCH), &bytes);
            bytes = message(1, op::SEARCH_DONE, &DONE);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = admit(&asked(1, op::SEARCH), &bytes);
        }
    }
}
