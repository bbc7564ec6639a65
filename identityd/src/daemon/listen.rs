//! The listening socket: systemd's, or our own.

use std::fs::Permissions;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::UnixListener;

/// Connections that wait to be accepted: a burst of look-ups while we are busy must not be refused.
const BACKLOG: i32 = 1024;

/// A listening socket, and whether its file is ours to remove.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    own: Option<PathBuf>,
}

impl Listening {
    /// Takes the socket that systemd gave us, or makes one at `path`. Call it under the lock: a socket that is there is then a dead one.
    pub(super) fn take(path: &Path) -> Result<Self, String> {
        let said = |error: io::Error| format!("cannot listen on {}: {error}. {}", path.display(), remedy(path, &error));
        let (listener, own) = match activated().map_err(|error| format!("systemd's socket cannot be used: {error}"))? {
            Some(fd) => (StdListener::from(fd), None),
            None => (StdListener::from(fresh(path).map_err(said)?), Some(path.into())),
        };
        listener.set_nonblocking(true).map_err(said)?;
        Ok(Self { listener: UnixListener::from_std(listener).map_err(said)?, own })
    }

    /// The accepting part, and a guard that removes our own socket file at the end; systemd's is left alone.
    pub(super) fn split(self) -> (UnixListener, SocketFile) {
        (self.listener, SocketFile(self.own))
    }
}

/// Removes the file when it is dropped.
#[derive(Debug)]
pub(super) struct SocketFile(Option<PathBuf>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn activated() -> io::Result<Option<OwnedFd>> {
    let mut fds = sd_notify::listen_fds()?;
    match (fds.next(), fds.len()) {
        (None, _) => Ok(None),
        (Some(_), more) if more > 0 => {
            Err(io::Error::other(format!("{} sockets were passed, 1 is expected", more + 1)))
        }
        // SAFETY: sd_listen_fds(3): the descriptor was passed to this very process and belongs to nobody else in it; this runs once.
        (Some(fd), _) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
    }
}

/// Everybody may connect; who may ask what is decided by the peer's uid. The file appears under its name only when it is ready, so no client ever
/// meets one that refuses.
fn fresh(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    bind(&socket, &SocketAddrUnix::new(&temporary)?)?;
    std::fs::set_permissions(&temporary, Permissions::from_mode(0o666))?;
    listen(&socket, BACKLOG)?;
    std::fs::rename(&temporary, path)?;
    Ok(socket)
}

fn remedy(path: &Path, error: &io::Error) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            format!(
                "Its folder should be there and belong to identityd: install -d -o identityd -g identityd -m 0755 {folder}"
            )
        }
        _ => format!("See whether {folder} is in order"),
    }
}
