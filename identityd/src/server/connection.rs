//! One connection: frames in, frames out, each within its time.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::wire::frame::{HEADER, Header, Op, Status, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::limits::{Place, Taken};
use super::{Peer, Reply, listing, lookup, message};
use crate::cache::Patience;
use crate::config;
use crate::daemon::Host;
use crate::telemetry::meters;

/// What a client may ask and how long it waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) op: Op,
    pub(super) peer: Peer,
    /// For the directory: a little less than the client waits.
    pub(super) wait: Duration,
}

impl Asked {
    /// Root's look-ups are those of sshd, su and cron while somebody enters.
    pub(super) fn patience(&self) -> Patience {
        if self.peer.is_root() { Patience::reserved(self.wait) } else { self.wait.into() }
    }
}

/// Why a connection ends.
enum End {
    /// The peer has closed it, or does not speak in time, or is gone: nothing to say.
    Quiet,
    /// One last status.
    Say(Status, u64),
}

impl From<Taken> for End {
    fn from(_: Taken) -> Self {
        Self::Quiet
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Quiet
    }
}

pub(super) async fn serve(
    host: Arc<Host>,
    mut stream: UnixStream,
    peer: Peer,
    place: Place,
    mut stop: watch::Receiver<bool>,
) {
    let limits = host.limits().config();
    loop {
        // Its place is taken only while it waits for its client, so nothing is broken off.
        let end = tokio::select! {
            end = one(&host, &mut stream, peer, &place, &limits, &mut stop) => end,
            () = place.taken() => Err(End::Quiet),
        };
        match end {
            Ok(()) => {}
            Err(End::Quiet) => break,
            Err(End::Say(status, id)) => {
                let _ = write(&mut stream, &limits, &Header::reply(status, id, 0), &[]).await;
                break;
            }
        }
    }
    drop(place);
}

/// Reads one request and answers it.
async fn one(
    host: &Arc<Host>,
    stream: &mut UnixStream,
    peer: Peer,
    place: &Place,
    limits: &config::Server,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), End> {
    let mut head = [0; HEADER];
    // Between requests a connection may be silent for a while; one that has begun must end soon (slow loris).
    let first = tokio::select! {
        read = stream.read(&mut head) => read?,
        () = place.silent_too_long() => return Err(End::Quiet),
        _ = stop.wait_for(|stop| *stop) => return Err(End::Quiet),
    };
    if first == 0 {
        return Err(End::Quiet);
    }
    let began = Instant::now();
    let rest = limits.request_timeout.0;
    if let Some(missing) = head.get_mut(first..).filter(|missing| !missing.is_empty()) {
        timeout(rest, stream.read_exact(missing)).await.map_err(|_| refuse("time", End::Quiet))??;
    }
    let header = Header::parse(&head).map_err(|_| refuse("magic", End::Quiet))?;
    if header.version != VERSION {
        return Err(refuse("version", End::Say(Status::Version, header.id)));
    }
    if header.len > limits.max_request {
        return Err(refuse("length", End::Say(Status::Malformed, header.id)));
    }
    let unknown = || refuse("operation", End::Say(Status::Malformed, header.id));
    let op = Op::from_raw(header.kind).ok_or_else(unknown)?;
    // It may hold a password.
    let mut payload = Zeroizing::new(vec![0; header.len as usize]);
    timeout(rest.saturating_sub(began.elapsed()), stream.read_exact(&mut payload))
        .await
        .map_err(|_| refuse("time", End::Quiet))??;

    place.works()?;
    let asked = Asked { op, peer, wait: wait(header.wait_ms, limits) };
    // Held until the reply is written.
    let mut unread = None;
    let reply = match op {
        Op::PasswdList | Op::GroupList | Op::ShadowList if peer.is_root() => {
            listing::answer(host, &asked, &payload).await
        }
        Op::PasswdList | Op::GroupList | Op::ShadowList => match timeout(asked.wait, host.pages.unread(peer.uid)).await
        {
            Ok(turn) => {
                unread = turn;
                listing::answer(host, &asked, &payload).await
            }
            Err(_) => Reply::bare(Status::Busy),
        },
        Op::Message => {
            let mut line = Line { stream, place, limits, id: header.id };
            message::answer(host, &asked, &payload, &mut line).await?
        }
        _ => lookup::answer(host, &asked, &payload).await,
    };
    host.meters().answered(op, reply.status, began.elapsed());
    place.waits();
    let bytes = reply.payload();
    let len = u32::try_from(bytes.len()).map_err(|_| End::Quiet)?;
    write(stream, limits, &Header::reply(reply.status, header.id, len), bytes).await?;
    drop(unread);
    if reply.status == Status::Malformed { Err(End::Quiet) } else { Ok(()) }
}

/// Counts a frame that is none, or not for us.
fn refuse(reason: &'static str, end: End) -> End {
    meters::frame_refused(reason);
    end
}

/// The way back to a client whose request takes longer.
pub(super) struct Line<'a> {
    stream: &'a mut UnixStream,
    place: &'a Place,
    limits: &'a config::Server,
    id: u64,
}

impl Line<'_> {
    /// Says that the request is accepted and being worked on.
    pub(super) async fn working(&mut self) -> Result<(), message::Gone> {
        self.place.waits();
        write(self.stream, self.limits, &Header::reply(Status::Working, self.id, 0), &[]).await?;
        self.place.works().map_err(|Taken| message::Gone)
    }
}

/// A tenth is for the way back: an answer that arrives after the client has left is wasted.
fn wait(wait_ms: u32, limits: &config::Server) -> Duration {
    let asked = Duration::from_millis(u64::from(wait_ms - wait_ms / 10));
    if asked.is_zero() { limits.max_wait.0 } else { asked.min(limits.max_wait.0) }
}

async fn write(stream: &mut UnixStream, limits: &config::Server, header: &Header, payload: &[u8]) -> io::Result<()> {
    let head = header.to_bytes();
    let all = async {
        // One system call for nearly every reply.
        let mut done = stream.write_vectored(&[IoSlice::new(&head), IoSlice::new(payload)]).await?;
        if done < HEADER {
            stream.write_all(head.get(done..).unwrap_or_default()).await?;
            done = HEADER;
        }
        stream.write_all(payload.get(done - HEADER..).unwrap_or_default()).await
    };
    timeout(limits.reply_timeout.0, all).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

impl From<io::Error> for message::Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<message::Gone> for End {
    fn from(_: message::Gone) -> Self {
        Self::Quiet
    }
}
