//! The socket: peer credentials, limits, deadlines, dispatch.

mod connection;
mod crowding;
mod held;
mod limits;
mod listing;
mod lookup;
mod message;
mod pages;
mod published;
mod reply;

pub use limits::Limits;
pub use pages::Pages;
pub use reply::Reply;

use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::wire::frame::{Header, Status};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::daemon::Host;

/// Who is at the other end (`SO_PEERCRED`: what was true when it connected).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its effective uid.
    pub uid: u32,
    /// Its process, where known.
    pub pid: Option<i32>,
}

impl Peer {
    /// Whether it is root.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.uid == 0
    }
}

/// Accepts and serves connections until `stop` becomes true.
pub async fn serve(host: Arc<Host>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
    let limits = Arc::clone(host.limits());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors or memory: connections wait in the backlog meanwhile.
                tracing::warn!(%error, "cannot accept a connection; trying again in 50 ms");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(credentials) = stream.peer_cred() else { continue };
        let peer = Peer { uid: credentials.uid(), pid: credentials.pid() };
        match limits.admit(peer.uid, Instant::now()) {
            Ok(place) => {
                tokio::spawn(connection::serve(Arc::clone(&host), stream, peer, place, stop.clone()));
            }
            Err(reason) => {
                tracing::debug!(uid = peer.uid, pid = peer.pid, reason = reason.label(), "refused a connection");
                // Fits into the empty socket buffer, so it never waits; a peer that is gone does not matter.
                let _ = stream.try_write(&Header::reply(Status::Busy, 0, 0).to_bytes());
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
