//! A unix socket on which every step has the rest of one deadline.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use schema::wire::frame::HEADER;

use super::ClientError;

/// Payloads are read in steps, so that a length that somebody invents costs no memory.
const STEP: usize = 64 * 1024;

/// A full backlog is no event that poll(2) knows: it is asked again after this time.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Stream<'a> {
    fd: OwnedFd,
    socket: &'a Path,
    limit: Duration,
    end: Instant,
}

impl<'a> Stream<'a> {
    /// Everything ends within `limit` of `began`.
    pub(super) fn connect(socket: &'a Path, limit: Duration, began: Instant) -> Result<Self, ClientError> {
        let away = |source: Errno| ClientError::NotRunning { socket: name(socket), source: source.into() };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(away)?;
        let address = SocketAddrUnix::new(socket).map_err(away)?;
        let stream = Self { fd, socket, limit, end: began + limit };
        loop {
            match rustix::net::connect(&stream.fd, &address) {
                Ok(()) => return Ok(stream),
                Err(Errno::INTR) => {}
                // unix(7): a nonblocking connect to a full backlog is EAGAIN.
                Err(Errno::AGAIN) => std::thread::sleep(stream.left()?.min(BACKLOG_PAUSE)),
                Err(error) => return Err(away(error)),
            }
        }
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            match rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                // The daemon may have refused (busy) and closed: its frame can still be read.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(error) => return Err(self.broken(error.into())),
            }
        }
        Ok(())
    }

    pub(super) fn read_header(&mut self) -> Result<[u8; HEADER], ClientError> {
        let mut header = [0; HEADER];
        self.read_exact(&mut header)?;
        Ok(header)
    }

    pub(super) fn read_payload(&mut self, len: usize) -> Result<Vec<u8>, ClientError> {
        let mut payload = Vec::new();
        while payload.len() < len {
            let from = payload.len();
            payload.resize(len.min(from + STEP), 0);
            self.read_exact(payload.get_mut(from..).unwrap_or_default())?;
        }
        Ok(payload)
    }

    fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), ClientError> {
        while !buffer.is_empty() {
            match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok((_, read)) => buffer = buffer.get_mut(read..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.broken(error.into())),
            }
            // A peer that drips bytes for ever ends here.
            self.left()?;
        }
        Ok(())
    }

    fn wait(&self, events: PollFlags) -> Result<(), ClientError> {
        let left = self.left()?;
        let timeout = Timespec::try_from(left).map_err(|_| self.timed_out())?;
        match poll(&mut [PollFd::new(&self.fd, events)], Some(&timeout)) {
            Ok(0) => Err(self.timed_out()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(self.broken(error.into())),
        }
    }

    fn left(&self) -> Result<Duration, ClientError> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.timed_out()) } else { Ok(left) }
    }

    fn timed_out(&self) -> ClientError {
        ClientError::TimedOut { socket: name(self.socket), limit: self.limit }
    }

    pub(super) fn crowded(&self) -> ClientError {
        ClientError::Crowded { socket: name(self.socket) }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { socket: name(self.socket), source }
    }
}

fn name(socket: &Path) -> String {
    socket.display().to_string()
}
