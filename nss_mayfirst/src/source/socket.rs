//! One question over one fresh connection to identityd (`docs/wire.md`). The descriptor lives as long as the answer is read: a kept
//! connection would be shared with children after a fork, and closed under our feet by programs that close all descriptors.

use core::mem::MaybeUninit;

use schema::name::MAX_LEN;
use schema::wire::frame::{HEADER, Header, MAX_REPLY, Op, Status, VERSION};

use super::{Deadline, Fault, Question, Record};
use crate::buffer::Space;
use crate::sys::{self, Errno, Fd, Ready};

/// Asks; `None` is Absent.
pub(super) fn ask(question: Question<'_>, deadline: Deadline) -> Result<Option<Reply>, Fault> {
    let id = sys::now_ns();
    let connection = Connection { socket: connect(&deadline)?, deadline };
    connection.send(Request::new(question, id, connection.left()?).bytes())?;
    let mut header = [MaybeUninit::uninit(); HEADER];
    let header = connection.fill(&mut header)?;
    let header = <[u8; HEADER]>::try_from(&*header).map_err(|_| Fault::Protocol)?;
    let header = Header::parse(&header).map_err(|_| Fault::Protocol)?;
    let status = Status::from_raw(header.kind);
    // Id 0 comes from a daemon that refused before it read the question (docs/wire.md).
    let refused = header.id == 0 && matches!(status, Some(Status::Busy | Status::Malformed | Status::Version));
    if header.version != VERSION || (header.id != id && !refused) {
        return Err(Fault::Protocol);
    }
    match status {
        Some(Status::Found) if header.len <= MAX_REPLY => Ok(Some(Reply { connection, left: header.len as usize })),
        Some(Status::Absent) => Ok(None),
        Some(Status::Unknown | Status::Busy) => {
            connection.deadline.disappointed();
            Err(Fault::Unknown)
        }
        Some(Status::Denied) => Err(Fault::Denied),
        // No interim frame comes before the answer of a look-up.
        Some(Status::Found | Status::Malformed | Status::Version | Status::Working) | None => Err(Fault::Protocol),
    }
}

/// An answer on its way.
pub(super) struct Reply {
    connection: Connection,
    left: usize,
}

impl Record for Reply {
    fn left(&self) -> usize {
        self.left
    }

    fn read<'b>(&mut self, into: Space<'b>) -> Result<&'b mut [u8], Fault> {
        self.left = self.left.checked_sub(into.len()).ok_or(Fault::Protocol)?;
        self.connection.fill(into)
    }
}

struct Connection {
    socket: Fd,
    deadline: Deadline,
}

impl Connection {
    fn left(&self) -> Result<u32, Fault> {
        self.deadline.left_ms().ok_or(Fault::TimedOut)
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match self.socket.send(bytes) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::EAGAIN) => self.socket.wait(Ready::ToSend, self.left()?).map_err(Fault::System)?,
                Err(Errno::EINTR) => {
                    self.left()?;
                }
                Err(errno) => return Err(broken(errno)),
            }
        }
        Ok(())
    }

    /// Fills all of `into`. Waits first: an answer is never there yet when its question has just been sent, and a call that says so costs
    /// as much as one that waits.
    fn fill<'b>(&self, into: Space<'b>) -> Result<&'b mut [u8], Fault> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            self.socket.wait(Ready::ToReceive, self.left()?).map_err(Fault::System)?;
            match self.socket.receive(rest) {
                Ok(0) => return Err(Fault::Unreachable),
                Ok(received) => filled = filled.saturating_add(received),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(broken(errno)),
            }
        }
        // SAFETY: the loop ends when `receive` has written every byte of `into`.
        Ok(unsafe { sys::written(into) })
    }
}

fn connect(deadline: &Deadline) -> Result<Fd, Fault> {
    let socket = Fd::unix_socket().map_err(Fault::System)?;
    let mut waits = false;
    loop {
        let left = deadline.left_ms().ok_or(Fault::TimedOut)?;
        if waits {
            socket.wait_in_connect(left).map_err(Fault::System)?;
        }
        match with_path(|path| socket.connect(path)) {
            Ok(()) => return Ok(socket),
            // A full backlog: unix(7) has no other way to say so. The kernel lets those who wait in connect(2) in one after the other; those
            // who come back from a pause find that somebody else was faster.
            Err(Errno::EAGAIN) => waits = true,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(broken(errno)),
        }
    }
}

/// Lack of memory is the process's own affair; whatever else breaks a connection, the daemon cannot be reached.
fn broken(errno: Errno) -> Fault {
    match errno {
        Errno::ENOMEM | Errno::ENOBUFS => Fault::System(errno),
        _ => Fault::Unreachable,
    }
}

#[cfg(not(test))]
fn with_path<T>(then: impl FnOnce(&core::ffi::CStr) -> T) -> T {
    then(schema::paths::SOCKET)
}

#[cfg(test)]
use crate::testing::with_socket_path as with_path;

/// A whole request: header and name or id.
struct Request {
    bytes: [u8; HEADER + MAX_LEN],
    len: usize,
}

impl Request {
    fn new(question: Question<'_>, id: u64, wait_ms: u32) -> Self {
        match question {
            Question::Name(op, name) => Self::with(op, name, id, wait_ms),
            Question::Id(op, asked) => Self::with(op, &asked.to_le_bytes(), id, wait_ms),
        }
    }

    fn with(op: Op, payload: &[u8], id: u64, wait_ms: u32) -> Self {
        // Names have passed `schema::name::check`: no longer than MAX_LEN.
        let header = Header::request(op, id, payload.len() as u32, wait_ms).to_bytes();
        let mut bytes = [0; HEADER + MAX_LEN];
        for (slot, byte) in bytes.iter_mut().zip(header.iter().chain(payload)) {
            *slot = *byte;
        }
        Self { bytes, len: HEADER.saturating_add(payload.len()) }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
