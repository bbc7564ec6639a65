//! One question to identityd: a fresh connection, a deadline for the first frame and one for the answer.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use schema::id::FLOOR;
use schema::wire::frame::{HEADER, Header, Op, Status, VERSION};
use schema::wire::message::{Reply, Request};
use zeroize::Zeroizing;

/// Where identityd answers.
pub(crate) const DAEMON: Daemon<'static> = Daemon { socket: schema::paths::SOCKET };

/// Longest answer that is taken: a verdict or a session is below 1 KiB.
const MAX_ANSWER: u32 = 16 * 1024;

/// Before a question that the daemon has not taken is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Room for a question: five items of 256 bytes and two passwords of 511 need 2.4 KiB.
const MAX_QUESTION: usize = 8 * 1024;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the connection and the first frame: the answer, or [`Status::Working`].
    first: Duration,
    /// For everything, when the first frame was `Working`.
    total: Duration,
}

impl Patience {
    /// For questions that need a password hash, and perhaps a queue of them.
    pub(crate) const HASH: Self = Self { first: Duration::from_millis(800), total: Duration::from_secs(30) };
    /// For the others.
    pub(crate) const PLAIN: Self = Self { first: Duration::from_millis(800), total: Duration::from_millis(800) };
    /// For what is only told, not asked.
    pub(crate) const NOTICE: Self = Self { first: Duration::from_millis(200), total: Duration::from_millis(200) };
}

/// Why there is no answer. All of them mean: identityd could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection.
    #[error("cannot connect to identityd ({0}); is it running? see: identityctl status")]
    Unreachable(Errno),
    /// Whoever listens is not the daemon.
    #[error("the socket of identityd is served by uid {0}, which is no system account; nothing was sent")]
    Impostor(u32),
    /// The connection broke.
    #[error("the connection to identityd broke ({0}); see its log")]
    Broken(Errno),
    /// There was no place for it.
    #[error("identityd has no place for another connection; see: identityctl status")]
    Crowded,
    /// The first frame did not come.
    #[error("identityd does not answer (waited {0} ms); see: identityctl status")]
    Silent(u128),
    /// `Working` came, the answer did not.
    #[error("identityd did not finish within {0} ms; see its log")]
    Late(u128),
    /// It answered that it cannot answer.
    #[error("identityd has no answer ({0:?}); see its log")]
    Refused(Status),
    /// Not a frame, or not of this protocol.
    #[error("identityd sent something that is no answer ({0}); do its version and the module's agree?")]
    Nonsense(&'static str),
    /// The question does not fit.
    #[error("the question to identityd is too long")]
    TooLong,
}

/// A daemon at a socket.
pub(crate) struct Daemon<'a> {
    socket: &'a CStr,
}

impl Daemon<'_> {
    /// Sends a question and waits for its answer. Bounded by `patience` whatever the other side does.
    pub(crate) fn ask(&self, request: &Request, patience: Patience) -> Result<Reply, Failure> {
        let start = Instant::now();
        let first = Deadline { start, wait: patience.first, missed: |wait| Failure::Silent(wait.as_millis()) };
        let id = u64::from(std::process::id());
        let question = encode(request, id, patience)?;

        let (socket, mut header) = self.reach(&question, id, &first)?;
        drop(question);

        let total = Deadline { start, wait: patience.total, missed: |wait| Failure::Late(wait.as_millis()) };
        let mut deadline = &first;
        while header.kind == Status::Working as u16 {
            deadline = &total;
            header = receive_header(&socket, id, deadline)?;
        }
        match Status::from_raw(header.kind) {
            Some(Status::Found) => {}
            Some(status) => return Err(Failure::Refused(status)),
            None => return Err(Failure::Nonsense("unknown status")),
        }
        let mut answer = vec![0; header.len as usize];
        receive(&socket, &mut answer, deadline)?;
        postcard::from_bytes(&answer).map_err(|_| Failure::Nonsense("unreadable message"))
    }

    /// Connects and sends; gives the connection and the first header. Whether there is a place among the connections is a matter of moments, so who gets none, or loses it to another,
    /// asks again while there is time: a password that no frame came back for was neither checked nor changed, and all other questions change nothing.
    fn reach(&self, question: &[u8], id: u64, deadline: &Deadline) -> Result<(OwnedFd, Header), Failure> {
        loop {
            let reached = self.connect(deadline).and_then(|socket| {
                send(&socket, question, deadline)?;
                let header = receive_header(&socket, id, deadline)?;
                Ok((socket, header))
            });
            match reached {
                Err(Failure::Crowded | Failure::Broken(_))
                    if deadline.left().is_some_and(|left| left > PAUSE.saturating_mul(2)) =>
                {
                    std::thread::sleep(PAUSE);
                }
                reached => return reached,
            }
        }
    }

    fn connect(&self, deadline: &Deadline) -> Result<OwnedFd, Failure> {
        let address = SocketAddrUnix::new(self.socket).map_err(Failure::Unreachable)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(Failure::Unreachable)?;
        // A program that runs with 0, 1 or 2 closed must not get our socket as one of them: another thread may print.
        let socket = if socket.as_raw_fd() <= 2 {
            rustix::io::fcntl_dupfd_cloexec(&socket, 3).map_err(Failure::Unreachable)?
        } else {
            socket
        };
        loop {
            // With a full backlog connect(2) waits as long as a send may (unix(7), SO_SNDTIMEO), then says EAGAIN.
            let left = deadline.left().ok_or_else(|| deadline.missed())?;
            set_socket_timeout(&socket, Timeout::Send, Some(left)).map_err(Failure::Unreachable)?;
            match rustix::net::connect(&socket, &address) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(deadline.missed()),
                Err(error) => return Err(Failure::Unreachable(error)),
            }
        }
        // The peer is about to read a password. Only root and system accounts can have put the socket where it is; check it all the same.
        let peer = socket_peercred(&socket).map_err(Failure::Unreachable)?;
        match peer.uid.as_raw() {
            uid if uid < FLOOR => Ok(socket),
            uid => Err(Failure::Impostor(uid)),
        }
    }
}

/// Until when to wait, and what it means when that has passed.
struct Deadline {
    start: Instant,
    wait: Duration,
    missed: fn(Duration) -> Failure,
}

impl Deadline {
    fn left(&self) -> Option<Duration> {
        self.wait.checked_sub(self.start.elapsed()).filter(|left| !left.is_zero())
    }

    fn missed(&self) -> Failure {
        (self.missed)(self.wait)
    }

    /// Waits for the socket. Signals do not prolong it.
    fn wait_for(&self, socket: &OwnedFd, events: PollFlags) -> Result<(), Failure> {
        loop {
            let left = self.left().ok_or_else(|| self.missed())?;
            let timeout = Timespec::try_from(left).map_err(|_| Failure::Nonsense("time"))?;
            match poll(&mut [PollFd::new(socket, events)], Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(Failure::Broken(error)),
            }
        }
    }
}

/// Header and payload in one buffer that is cleared afterwards and never moved to a larger one: no copy of a password stays behind.
fn encode(request: &Request, id: u64, patience: Patience) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut question = Zeroizing::new(vec![0; MAX_QUESTION]);
    let (head, payload) = question.split_first_chunk_mut::<HEADER>().ok_or(Failure::TooLong)?;
    let len = postcard::to_slice(request, payload).map_err(|_| Failure::TooLong)?.len();
    let header = Header {
        version: VERSION,
        kind: Op::Message as u16,
        id,
        len: u32::try_from(len).map_err(|_| Failure::TooLong)?,
        wait_ms: u32::try_from(patience.total.as_millis()).unwrap_or(u32::MAX),
    };
    *head = header.to_bytes();
    question.truncate(HEADER.saturating_add(len));
    Ok(question)
}

fn send(socket: &OwnedFd, mut rest: &[u8], deadline: &Deadline) -> Result<(), Failure> {
    while !rest.is_empty() {
        // No SIGPIPE: the host program may not handle it.
        match rustix::net::send(socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::AGAIN) => deadline.wait_for(socket, PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            // Who was refused before the question was read is hung up on: the frame that says so can still be read.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(Failure::Broken(error)),
        }
    }
    Ok(())
}

fn receive_header(socket: &OwnedFd, id: u64, deadline: &Deadline) -> Result<Header, Failure> {
    let mut bytes = [0; HEADER];
    receive(socket, &mut bytes, deadline)?;
    let header = Header::parse(&bytes).map_err(|_| Failure::Nonsense("not a frame"))?;
    if header.version != VERSION {
        return Err(Failure::Nonsense("another version"));
    }
    // Id 0 comes from a daemon that refused before it read the question (docs/wire.md).
    if header.id == 0
        && let Some(status @ (Status::Busy | Status::Malformed | Status::Version)) = Status::from_raw(header.kind)
    {
        return Err(if status == Status::Busy { Failure::Crowded } else { Failure::Refused(status) });
    }
    if header.id != id {
        return Err(Failure::Nonsense("answer to another question"));
    }
    if header.len > MAX_ANSWER {
        return Err(Failure::Nonsense("too long"));
    }
    if header.kind == Status::Working as u16 && header.len != 0 {
        return Err(Failure::Nonsense("interim frame with a payload"));
    }
    Ok(header)
}

fn receive(socket: &OwnedFd, buffer: &mut [u8], deadline: &Deadline) -> Result<(), Failure> {
    let mut filled: usize = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::net::recv(socket.as_fd(), rest, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Failure::Broken(Errno::CONNRESET)),
            Ok((_, got)) => filled = filled.saturating_add(got),
            Err(Errno::AGAIN) => deadline.wait_for(socket, PollFlags::IN)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::Broken(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use schema::wire::message::{Outcome, PamContext, Secret, Verdict};

    use super::*;

    const SHORT: Patience = Patience { first: Duration::from_millis(60), total: Duration::from_millis(250) };
    /// For an answer that comes; the thread that gives it has to have its turn.
    const PATIENT: Patience = Patience { first: Duration::from_secs(30), total: Duration::from_secs(30) };

    fn question() -> Request {
        Request::Authenticate { context: PamContext::default(), password: Secret::new(b"sesame".to_vec()) }
    }

    fn verdict() -> Reply {
        Reply::Verdict(Verdict { outcome: Outcome::Success, uid: Some(4321.try_into().unwrap()), info: None })
    }

    fn frame(status: u16, id: u64, payload: &[u8]) -> Vec<u8> {
        let len = payload.len() as u32;
        let mut bytes = Header { version: VERSION, kind: status, id, len, wait_ms: 0 }.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Takes a connection and reads its question, whose id it gives.
    fn take_question(listener: &UnixListener) -> (UnixStream, u64) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; HEADER];
        stream.read_exact(&mut head).unwrap();
        let header = Header::parse(&head).unwrap();
        let mut payload = vec![0; header.len as usize];
        stream.read_exact(&mut payload).unwrap();
        assert_eq!(postcard::from_bytes::<Request>(&payload).unwrap(), question());
        (stream, header.id)
    }

    /// A daemon that reads one question and then does as it is told.
    fn ask_one_that(serve: impl FnOnce(UnixStream, u64) + Send) -> Result<Reply, Failure> {
        ask_within(PATIENT, serve)
    }

    fn ask_within(patience: Patience, serve: impl FnOnce(UnixStream, u64) + Send) -> Result<Reply, Failure> {
        ask_who_listens(patience, |listener| {
            let (stream, id) = take_question(listener);
            serve(stream, id);
        })
    }

    fn ask_who_listens(patience: Patience, serve: impl FnOnce(&UnixListener) + Send) -> Result<Reply, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| serve(&listener));
            Daemon { socket: &path }.ask(&question(), patience)
        })
    }

    /// Keeps the stream open until the other side has gone.
    fn hang(mut stream: UnixStream) {
        let _ = stream.read(&mut [0]);
    }

    #[test]
    fn an_answer_comes_with_and_without_an_interim_frame() {
        let payload = postcard::to_allocvec(&verdict()).unwrap();
        let direct = ask_one_that(|mut stream, id| stream.write_all(&frame(0, id, &payload)).unwrap());
        assert_eq!(direct.unwrap(), verdict());
        let interim = ask_one_that(|mut stream, id| {
            stream.write_all(&frame(Status::Working as u16, id, &[])).unwrap();
            stream.write_all(&frame(Status::Working as u16, id, &[])).unwrap();
            for byte in frame(0, id, &payload) {
                stream.write_all(&[byte]).unwrap();
            }
        });
        assert_eq!(interim.unwrap(), verdict());
    }

    #[test]
    fn a_daemon_that_says_nothing_is_silent() {
        assert!(matches!(ask_within(SHORT, |stream, _| hang(stream)), Err(Failure::Silent(60))));
    }

    #[test]
    fn a_daemon_that_only_works_is_late() {
        let result = ask_within(Patience { first: PATIENT.first, ..SHORT }, |mut stream, id| {
            stream.write_all(&frame(Status::Working as u16, id, &[])).unwrap();
            hang(stream);
        });
        assert!(matches!(result, Err(Failure::Late(250))), "{result:?}");
    }

    #[test]
    fn a_daemon_that_drips_cannot_prolong_the_wait() {
        let result = ask_within(SHORT, |mut stream, id| {
            for byte in frame(0, id, &[1; 1000]) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert!(matches!(result, Err(Failure::Silent(60))), "{result:?}");
    }

    #[test]
    fn nonsense_is_no_answer() {
        let found = 0;
        let cases: [fn(u64) -> Vec<u8>; 6] = [
            |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            |id| frame(0, id.wrapping_add(1), &[]),
            |id| frame(77, id, &[]),
            |id| frame(0, id, b"\xff\xff\xff\xff"),
            |id| Header { version: VERSION, kind: 0, id, len: u32::MAX, wait_ms: 0 }.to_bytes().to_vec(),
            |id| Header { version: VERSION + 1, kind: 0, id, len: 0, wait_ms: 0 }.to_bytes().to_vec(),
        ];
        for (number, case) in cases.iter().enumerate() {
            let result = ask_one_that(|mut stream, id| stream.write_all(&case(id)).unwrap());
            assert!(matches!(result, Err(Failure::Nonsense(_))), "case {number}: {result:?}");
        }
        let cut = ask_one_that(|mut stream, id| stream.write_all(&frame(found, id, &[0; 9])[..30]).unwrap());
        assert!(matches!(cut, Err(Failure::Broken(Errno::CONNRESET))), "{cut:?}");
    }

    #[test]
    fn a_uid_below_the_floor_is_nonsense() {
        // Reply::Verdict, Outcome::Success, Some(uid 0), no info.
        let result = ask_one_that(|mut stream, id| stream.write_all(&frame(0, id, &[0, 0, 1, 0, 0])).unwrap());
        assert!(matches!(result, Err(Failure::Nonsense(_))), "{result:?}");
    }

    #[test]
    fn a_busy_daemon_is_no_answer() {
        let result = ask_one_that(|mut stream, id| stream.write_all(&frame(Status::Busy as u16, id, &[])).unwrap());
        assert!(matches!(result, Err(Failure::Refused(Status::Busy))), "{result:?}");
        for status in [Status::Malformed, Status::Version] {
            let result = ask_one_that(|mut stream, _| stream.write_all(&frame(status as u16, 0, &[])).unwrap());
            assert!(matches!(result, Err(Failure::Refused(refused)) if refused == status), "{result:?}");
        }
        let result = ask_one_that(|mut stream, _| stream.write_all(&frame(Status::Found as u16, 0, &[])).unwrap());
        assert!(matches!(result, Err(Failure::Nonsense(_))), "{result:?}");
    }

    #[test]
    fn who_gets_no_place_or_loses_it_asks_again() {
        let payload = postcard::to_allocvec(&verdict()).unwrap();
        let result = ask_who_listens(PATIENT, |listener| {
            // Refused before it was read, closed before it was read, closed afterwards, cut off in the first frame.
            let (mut refused, _) = listener.accept().unwrap();
            refused.write_all(&frame(Status::Busy as u16, 0, &[])).unwrap();
            drop(refused);
            drop(listener.accept().unwrap());
            drop(take_question(listener));
            let (mut cut, id) = take_question(listener);
            cut.write_all(&frame(Status::Working as u16, id, &[])[..20]).unwrap();
            drop(cut);
            let (mut served, id) = take_question(listener);
            served.write_all(&frame(0, id, &payload)).unwrap();
        });
        assert_eq!(result.unwrap(), verdict());
    }

    #[test]
    fn who_never_gets_a_place_comes_back_and_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let asked = std::sync::atomic::AtomicBool::new(false);
        let patience = Patience { first: Duration::from_secs(1), ..PATIENT };
        let (result, refused) = std::thread::scope(|scope| {
            let refusing = scope.spawn(|| {
                let mut refused = 0;
                while !asked.load(std::sync::atomic::Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((mut stream, _)) => {
                            refused += 1;
                            let _ = stream.write_all(&frame(Status::Busy as u16, 0, &[]));
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
                refused
            });
            let result = Daemon { socket: &path }.ask(&question(), patience);
            asked.store(true, std::sync::atomic::Ordering::Relaxed);
            (result, refusing.join().unwrap())
        });
        // Silent only if the refusing thread has not had its turn for the last of them.
        assert!(matches!(result, Err(Failure::Crowded | Failure::Silent(1000))), "{result:?}");
        assert!(refused > 1, "asked once");
    }

    #[test]
    fn what_was_begun_is_not_asked_again() {
        let result = ask_one_that(|mut stream, id| stream.write_all(&frame(Status::Working as u16, id, &[])).unwrap());
        assert!(matches!(result, Err(Failure::Broken(Errno::CONNRESET))), "{result:?}");
    }

    #[test]
    fn a_missing_socket_is_noticed_at_once() {
        let result = Daemon { socket: c"/nonexistent/socket" }.ask(&question(), Patience::HASH);
        assert!(matches!(result, Err(Failure::Unreachable(Errno::NOENT))), "{result:?}");
    }

    #[test]
    fn a_full_backlog_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let daemon = Daemon { socket: &path };
        for _ in 0..3 {
            assert!(matches!(daemon.ask(&question(), SHORT), Err(Failure::Silent(60))));
        }
    }
}
