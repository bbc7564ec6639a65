//! Where to ask: the one place that knows. The published snapshot first: what it finds and what it does not is final. Without a current one the socket; and when nobody
//! answers there, the last snapshot that this process has seen.

mod deadline;
mod socket;

use schema::wire::frame::Op;

use crate::buffer::Space;
use crate::snapshot::Pinned;
use crate::status::Failure;
use crate::sys::Errno;

pub(crate) use deadline::Deadline;
#[cfg(test)]
pub(crate) use deadline::{FULL_MS, Patience};

/// A question.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question<'a> {
    /// About a name that [`schema::name::check`] takes.
    Name(Op, &'a [u8]),
    /// About an id, or the page of a list after it.
    Id(Op, u32),
}

/// The newest published generation. `None`: ask the socket.
#[inline(never)]
pub(crate) fn published() -> Option<Pinned<'static>> {
    reader().current()
}

/// The generation at hand, though there is a newer one: when the socket did not answer either.
#[cold]
#[inline(never)]
pub(crate) fn published_before() -> Option<Pinned<'static>> {
    reader().behind()
}

#[cfg(not(test))]
#[inline(always)]
fn reader() -> &'static crate::snapshot::Reader {
    &crate::snapshot::SNAPSHOT
}

#[cfg(test)]
use crate::testing::reader;

/// Asks the socket with a deadline of its own. `None`: there is no such entry, for certain.
#[inline(never)]
pub(crate) fn ask(question: Question<'_>) -> Result<Option<impl Record + use<>>, Fault> {
    ask_until(question, &Deadline::new())
}

/// Asks the socket with a deadline that several questions share.
pub(crate) fn ask_until(question: Question<'_>, deadline: &Deadline) -> Result<Option<impl Record + use<>>, Fault> {
    socket::ask(question, *deadline)
}

/// The bytes of an answer, read once from the front.
pub(crate) trait Record {
    /// Bytes not yet read.
    fn left(&self) -> usize;

    /// Fills `into`. Asking for more than is left is a fault.
    fn read<'b>(&mut self, into: Space<'b>) -> Result<&'b mut [u8], Fault>;
}

/// Bytes in memory: an entry of a page or of the snapshot.
impl Record for &[u8] {
    fn left(&self) -> usize {
        self.len()
    }

    fn read<'b>(&mut self, into: Space<'b>) -> Result<&'b mut [u8], Fault> {
        let (bytes, rest) = self.split_at_checked(into.len()).ok_or(Fault::Protocol)?;
        *self = rest;
        Ok(crate::sys::copy(bytes, into))
    }
}

/// Why it could not be found out. None of these means that an entry does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody listens, or the connection broke.
    Unreachable,
    /// Not in time.
    TimedOut,
    /// identityd does not know at the moment, or has too much to do.
    Unknown,
    /// This peer may not ask that.
    Denied,
    /// Not an answer to what was asked, or one that libc must not see.
    Protocol,
    /// A system call failed for a reason of this process.
    System(Errno),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(match fault {
            // Never ENOENT, which getpwnam(3) lists among the ways to say "no such user".
            Fault::Unreachable => Errno::ECONNREFUSED,
            Fault::TimedOut => Errno::ETIMEDOUT,
            Fault::Unknown => Errno::EAGAIN,
            Fault::Denied => Errno::EACCES,
            Fault::Protocol => Errno::EPROTO,
            Fault::System(errno) => errno,
        })
    }
}
