//! Frames to identityd from the test itself, as any user: what a program of that user could send, and what no honest one would.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::thread::{UnshareFlags, set_thread_res_uid, unshare_unsafe};
use schema::wire::frame::{HEADER, Header, Op, Status};
use schema::wire::message::{Reply, Request};

use super::Mosh;

/// No answer takes so long: a password that waits for another writer of the directory is given up after 10 s.
const LIMIT: Duration = Duration::from_secs(25);

/// A connection to identityd's socket.
#[derive(Debug)]
pub struct Wire(UnixStream);

impl Mosh {
    /// Connects to identityd as this uid.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    #[track_caller]
    pub fn wire(&self, uid: u32) -> Wire {
        self.try_wire(uid).unwrap_or_else(|error| panic!("cannot connect to identityd as {uid}: {error}"))
    }

    /// Connects to identityd as this uid, or says why not.
    ///
    /// # Errors
    /// What connect(2) said.
    pub fn try_wire(&self, uid: u32) -> io::Result<Wire> {
        let folder = self.outside("/run/identityd");
        // Working directory and uid of a thread of its own: the socket is then reached without walking through /proc, which is for root, and
        // SO_PEERCRED is what the thread is.
        let thread = std::thread::spawn(move || {
            // SAFETY: the descriptors stay shared; nothing else relies on this thread's working directory.
            unsafe { unshare_unsafe(UnshareFlags::FS) }?;
            std::env::set_current_dir(folder)?;
            let user = rustix::process::Uid::from_raw(uid);
            set_thread_res_uid(user, user, user)?;
            UnixStream::connect("socket")
        });
        let stream = thread.join().map_err(|_| io::Error::other("the connecting thread panicked"))??;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Wire(stream))
    }

    /// The uid of a login or local account.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn uid(&self, name: &str) -> u32 {
        self.run(["id", "-u", name]).success().text().parse().expect("a uid")
    }
}

impl Wire {
    /// Sends these bytes as they are.
    ///
    /// # Errors
    /// What write(2) said.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// How long a write may wait until the daemon reads.
    pub fn limit_writes(&self, limit: Duration) {
        let _ = self.0.set_write_timeout(Some(limit));
    }

    /// Reads one frame: status, id, payload. `None`: the daemon has closed the connection.
    ///
    /// # Errors
    /// It ends inside a frame, is no frame, or does not come.
    pub fn reply(&mut self) -> io::Result<Option<(Status, u64, Vec<u8>)>> {
        let mut head = [0; HEADER];
        match self.0.read(&mut head) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
            Ok(len) => self.0.read_exact(head.get_mut(len..).unwrap_or_default())?,
        }
        let header = Header::parse(&head).map_err(io::Error::other)?;
        let mut payload = vec![0; header.len as usize];
        self.0.read_exact(&mut payload)?;
        let status = Status::from_raw(header.kind).ok_or_else(|| io::Error::other("an unknown status"))?;
        Ok(Some((status, header.id, payload)))
    }

    /// Asks, passes over interim frames, and gives the status and payload of the answer.
    ///
    /// # Panics
    /// When there is none, or one to another question.
    #[track_caller]
    pub fn ask(&mut self, op: Op, payload: &[u8]) -> (Status, Vec<u8>) {
        let len = u32::try_from(payload.len()).expect("a payload that fits");
        let mut frame = Header::request(op, 77, len, 10_000).to_bytes().to_vec();
        frame.extend_from_slice(payload);
        // Who is refused as busy may be hung up on before it has asked; the answer is there all the same.
        let _ = self.send(&frame);
        loop {
            let (status, id, payload) = self.reply().expect("an answer").expect("an answer, not the end");
            if status == Status::Busy {
                return (status, payload);
            }
            assert_eq!(id, 77, "the answer is to another question");
            if status != Status::Working {
                return (status, payload);
            }
        }
    }

    /// Asks a message; the status where there is no reply.
    ///
    /// # Errors
    /// The status.
    ///
    /// # Panics
    /// As [`Wire::ask`].
    #[track_caller]
    pub fn message(&mut self, request: &Request) -> Result<Reply, Status> {
        match self.ask(Op::Message, &postcard::to_allocvec(request).expect("encode")) {
            (Status::Found, payload) => Ok(postcard::from_bytes(&payload).expect("a reply that can be read")),
            (status, _) => Err(status),
        }
    }
}
