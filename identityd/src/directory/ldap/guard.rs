//! Stands between ldap3 and the network: lets through only messages that its parser and its driver survive.
//!
//! ldap3 0.12 has no bound on a message's size, recurses as deep as the server likes, and panics on an answer of a kind that it did not ask for or whose parts are
//! missing. So it gets one end of a pair of sockets, and this task passes on what it has checked. It also holds a server back that sends answers faster than they are
//! taken ([`Flow`]).

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroize;

use super::ber::{self, BOOLEAN, ENUMERATED, Element, INTEGER, Malformed, OCTET_STRING, Reader, SEQUENCE};
use super::flow::Flow;

/// Longest message of a server: a group of some 80,000 members by their DNs, or 500,000 by their names.
pub(super) const MAX_MESSAGE: usize = 8 << 20;
/// Longest message of ours: no larger one is written by identityctl.
const MAX_OWN: usize = 32 << 20;

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
pub(super) async fn run<S>(server: S, client: UnixStream, flow: Arc<Flow>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut from_client, mut to_client) = client.into_split();
    let asked = Asked::default();
    let out = async {
        let mut bytes = Vec::new();
        while let Some(length) = frame(&mut from_client, &mut bytes, MAX_OWN).await? {
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
        while let Some(length) = frame(&mut from_server, &mut bytes, MAX_MESSAGE).await? {
            let message = bytes.get(..length).unwrap_or_default();
            let admitted = admit(&asked, message).map_err(io::Error::other)?;
            if !admitted.last {
                flow.enter(admitted.question, length, admitted.elements).await?;
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
pub(super) async fn frame<R: AsyncRead + Unpin>(
    from: &mut R,
    bytes: &mut Vec<u8>,
    most: usize,
) -> io::Result<Option<usize>> {
    loop {
        if let Some(head) = ber::head(bytes).map_err(io::Error::other)? {
            let length = head.head.saturating_add(head.content);
            if head.tag != SEQUENCE {
                return Err(io::Error::other(Malformed("something else than a message")));
            }
            if length > most {
                return Err(io::Error::other(format!(
                    "a message of {} MB, and {} are the most that is taken: split the group or the entry",
                    length >> 20,
                    most >> 20
                )));
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

/// A message that may go on to ldap3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Admitted {
    /// The number of the question that it answers.
    question: u32,
    /// No other answer to it follows.
    last: bool,
    elements: usize,
}

/// Whether a message of the server may go on to ldap3.
fn admit(asked: &Asked, message: &[u8]) -> Result<Admitted, Malformed> {
    let elements = ber::check(message)?;
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
    Ok(Admitted { question: id, last, elements })
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
        let last = Admitted { question: 1, last: true, elements: 6 };
        assert_eq!(admit(&asked(1, op::SEARCH), &message(1, op::SEARCH_DONE, &DONE)), Ok(last));
        assert_eq!(admit(&asked(1, op::BIND), &message(1, op::BIND_DONE, &DONE)), Ok(last));
    }

    #[test]
    fn answers_that_would_end_the_driver_are_refused() {
        assert!(admit(&asked(1, op::SEARCH), &message(1, op::BIND_DONE, &DONE)).is_err());
        assert!(admit(&asked(1, op::BIND), &message(1, op::ENTRY, &DONE)).is_err());
        assert!(admit(&asked(1, op::BIND), &message(2, op::BIND_DONE, &DONE)).is_err());
        assert!(admit(&asked(1, op::BIND), &message(1, op::BIND_DONE, &[])).is_err());
        assert!(admit(&asked(1, op::SEARCH), &message(1, 0x7e, &DONE)).is_err());
    }

    #[tokio::test]
    async fn a_server_that_sends_more_than_is_taken_is_held_back_whatever_it_sends() {
        for kind in [op::ENTRY, op::REFERENCE, op::INTERMEDIATE] {
            let (server, mut far) = tokio::io::duplex(1 << 20);
            let (client, near) = UnixStream::pair().unwrap();
            let flow = Flow::new();
            let running = tokio::spawn(run(server, client, Arc::clone(&flow)));
            let (mut from_guard, mut to_guard) = near.into_split();
            to_guard.write_all(&message(1, op::SEARCH, &[])).await.unwrap();
            let mut head = [0; 2];
            far.read_exact(&mut head).await.unwrap();
            let mut rest = vec![0; usize::from(head[1])];
            far.read_exact(&mut rest).await.unwrap();
            // 64 of a megabyte fit, and a few are on their way.
            let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let counter = Arc::clone(&sent);
            let sending = tokio::spawn(async move {
                let mut content = Vec::new();
                ber::write(&mut content, OCTET_STRING, &vec![b'x'; 1 << 20]);
                for _ in 0..100 {
                    far.write_all(&message(1, kind, &content)).await.unwrap();
                    counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
            let taking = tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while from_guard.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            });
            let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
            while sent.load(std::sync::atomic::Ordering::SeqCst) < 62 {
                assert!(tokio::time::Instant::now() < end, "{sent:?}");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            assert!(sent.load(std::sync::atomic::Ordering::SeqCst) < 67, "{kind:x}: {sent:?}");
            // Taken, or forgotten with its question, they make room.
            while !sending.is_finished() {
                assert!(tokio::time::Instant::now() < end, "{sent:?}");
                flow.taken(1);
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            running.abort();
            taking.abort();
        }
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_refused_before_it_is_read() {
        let (mut far, mut near) = tokio::io::duplex(64);
        far.write_all(&[SEQUENCE, 0x84, 0x00, 0x90, 0x00, 0x00]).await.unwrap();
        let refused = frame(&mut near, &mut Vec::new(), MAX_MESSAGE).await.unwrap_err().to_string();
        assert!(refused.contains("9 MB") && refused.contains("8 are the most"), "{refused}");
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
