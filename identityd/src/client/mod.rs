//! A client of the socket, for `identityctl`: frames and messages with one total deadline.
//!
//! One question is one fresh connection. The deadline covers everything from `connect(2)` to the last byte; the interim
//! frame `Working` does not extend it.

mod stream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use schema::wire::frame::{Header, MAX_REPLY, MAX_REQUEST, Op, Status, VERSION};
use schema::wire::message::{Reply, Request};

use self::stream::Stream;

/// How long a question may take, unless [`Client::within`] says otherwise: above the daemon's own 500 ms and more for a directory that is
/// slow, below what a person waits for.
pub const LIMIT: Duration = Duration::from_secs(5);

/// For so long a question that the daemon has not taken is asked again, each time after a pause: whether there is a place among the connections is a matter of
/// moments.
const COMING_BACK: Duration = Duration::from_secs(1);
/// See [`COMING_BACK`].
const PAUSE: Duration = Duration::from_millis(50);

/// When a question is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    /// There was no place for it.
    Crowded,
    /// There was none, or it was lost before a reply began: the question changes nothing.
    Lost,
}

/// Asks the daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    limit: Duration,
}

/// The answer to a look-up. These are three different answers: see `docs/architecture.md`, rule 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp {
    /// The packed record.
    Found(Vec<u8>),
    /// Certainly no such entry.
    Absent,
    /// Could not be found out.
    Unknown,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("identityd does not answer on {socket}: {source}; is it running? (service identityd start)")]
    NotRunning {
        /// Where it was looked for.
        socket: String,
        /// What connect(2) said.
        source: std::io::Error,
    },
    /// It listens and does not answer.
    #[error(
        "identityd did not answer on {socket} within {} ms; see its log, or restart it (service identityd restart)",
        limit.as_millis()
    )]
    TimedOut {
        /// Where.
        socket: String,
        /// The whole time given.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to identityd on {socket} broke: {source}; see its log")]
    Broken {
        /// Where.
        socket: String,
        /// What happened.
        source: std::io::Error,
    },
    /// The peer may not ask this.
    #[error("identityd does not tell you this; ask as root, or about yourself")]
    Denied,
    /// Too many questions of this user at once.
    #[error("identityd has too many questions from you; try again")]
    Busy,
    /// Too many connections, of this user or of all.
    #[error("identityd has no place for another connection; see which processes hold {socket}: ss -xp")]
    Crowded {
        /// Where.
        socket: String,
    },
    /// The directory could not be asked.
    #[error("identityd could not find out: its directory does not answer; see identityctl status")]
    Unknown,
    /// Two versions are installed.
    #[error(
        "identityd speaks version {theirs} of the protocol, this tool {VERSION}; restart identityd after an upgrade"
    )]
    Version {
        /// The daemon's.
        theirs: u16,
    },
    /// It could not read the question, or the answer is none.
    #[error("identityd and this tool do not understand each other: {0}; are both of the same version?")]
    Protocol(&'static str),
    /// The question is too long to be asked.
    #[error("the question has {0} bytes; {MAX_REQUEST} are allowed")]
    TooLong(usize),
}

impl ClientError {
    /// Whether the daemon is away, as against: it answered, and not what was hoped for.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::TimedOut { .. } | Self::Broken { .. })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// For the daemon of this host.
    #[must_use]
    pub fn new() -> Self {
        // The path is a constant in ASCII.
        Self::at(schema::paths::SOCKET.to_string_lossy().into_owned())
    }

    /// For a daemon elsewhere (tests).
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), limit: LIMIT }
    }

    /// With another total time for each question.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Asks a message.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Reply::Failed`] is an answer, not an error.
    pub fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        let payload = postcard::to_allocvec(request).map_err(|_| ClientError::Protocol("the question has no form"))?;
        let once = matches!(request, Request::Reload | Request::ForgetHost { .. } | Request::AcceptRemoval);
        let again = if once { Again::Crowded } else { Again::Lost };
        let (status, payload) = self.exchange(Op::Message, &payload, again)?;
        match status {
            Status::Found => {
                postcard::from_bytes(&payload).map_err(|_| ClientError::Protocol("the reply cannot be read"))
            }
            Status::Absent => Err(ClientError::Protocol("a reply of the kind 'absent' to a message")),
            other => Err(refusal(other)),
        }
    }

    /// Asks a look-up of NSS: a bare name, or an id in little-endian. Once, as NSS does.
    ///
    /// # Errors
    /// [`ClientError`]; [`LookUp::Unknown`] is an answer.
    pub fn look_up(&self, op: Op, key: &[u8]) -> Result<LookUp, ClientError> {
        let (status, payload) = self.exchange(op, key, Again::Never)?;
        match status {
            Status::Found => Ok(LookUp::Found(payload)),
            Status::Absent => Ok(LookUp::Absent),
            Status::Unknown => Ok(LookUp::Unknown),
            other => Err(refusal(other)),
        }
    }

    fn exchange(&self, op: Op, payload: &[u8], again: Again) -> Result<(Status, Vec<u8>), ClientError> {
        let len = u32::try_from(payload.len()).ok().filter(|len| *len <= MAX_REQUEST);
        let len = len.ok_or(ClientError::TooLong(payload.len()))?;
        let wait_ms = u32::try_from(self.limit.as_millis()).unwrap_or(u32::MAX);
        // One question a connection: the number only has to come back.
        let id = u64::from(std::process::id());
        let header = Header::request(op, id, len, wait_ms);
        let mut frame = Vec::with_capacity(header.to_bytes().len() + payload.len());
        frame.extend_from_slice(&header.to_bytes());
        frame.extend_from_slice(payload);
        let (mut stream, mut header) = self.reach(&frame, id, again)?;
        loop {
            let payload = stream.read_payload(header.len as usize)?;
            let status = Status::from_raw(header.kind).ok_or(ClientError::Protocol("a reply of an unknown kind"))?;
            if status != Status::Working {
                return Ok((status, payload));
            }
            header = read_header(&mut stream, id)?;
        }
    }

    /// Connects and sends; gives the connection and the header of the first reply.
    fn reach(&self, frame: &[u8], id: u64, again: Again) -> Result<(Stream<'_>, Header), ClientError> {
        let began = Instant::now();
        loop {
            let reached = Stream::connect(&self.socket, self.limit, began).and_then(|mut stream| {
                stream.write_all(frame)?;
                let header = read_header(&mut stream, id)?;
                Ok((stream, header))
            });
            let passing = match &reached {
                Err(ClientError::Crowded { .. }) => again != Again::Never,
                Err(ClientError::Broken { .. }) => again == Again::Lost,
                _ => false,
            };
            if !passing || began.elapsed() + PAUSE >= self.limit.min(COMING_BACK) {
                return reached;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn read_header(stream: &mut Stream<'_>, id: u64) -> Result<Header, ClientError> {
    let header = Header::parse(&stream.read_header()?).map_err(|_| ClientError::Protocol("the reply is no frame"))?;
    // The version comes first: nothing else of another version's frame is known.
    if header.version != VERSION {
        return Err(ClientError::Version { theirs: header.version });
    }
    if header.len > MAX_REPLY {
        return Err(ClientError::Protocol("the reply is longer than the protocol allows"));
    }
    // Id 0 comes from a daemon that refused before it read the question (docs/wire.md).
    match Status::from_raw(header.kind) {
        Some(Status::Busy) if header.id == 0 => Err(stream.crowded()),
        Some(Status::Malformed | Status::Version) if header.id == 0 => Ok(header),
        _ if header.id == id => Ok(header),
        _ => Err(ClientError::Protocol("a reply to another question")),
    }
}

fn refusal(status: Status) -> ClientError {
    match status {
        Status::Denied => ClientError::Denied,
        Status::Busy => ClientError::Busy,
        Status::Unknown => ClientError::Unknown,
        Status::Malformed => ClientError::Protocol("it calls the question malformed"),
        // A daemon of another version says so in the header, which was read before.
        Status::Version => ClientError::Protocol("it speaks another version"),
        Status::Found | Status::Absent | Status::Working => ClientError::Protocol("an unexpected kind of reply"),
    }
}

#[cfg(test)]
mod tests;
