//! What systemd is told: ready, and alive as long as look-ups are answered.

use std::path::PathBuf;
use std::time::Duration;

use schema::wire::frame::{HEADER, Header, Op, Status};
use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Tells systemd; where there is none, nobody.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

/// Pets the watchdog as long as a look-up through our own socket is answered. Ends at once where no watchdog is wanted.
pub(super) async fn run(socket: PathBuf) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let pause = limit / 3;
    loop {
        match tokio::time::timeout(pause, look_up(&socket)).await {
            Ok(Ok(())) => tell(&[NotifyState::Watchdog]),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a look-up through our own socket failed; the watchdog is not petted");
            }
            Err(_) => tracing::warn!("a look-up through our own socket got no answer; the watchdog is not petted"),
        }
        tokio::time::sleep(pause.min(Duration::from_secs(10))).await;
    }
}

/// Any answer counts: that the directory is away is no reason to be restarted.
async fn look_up(socket: &PathBuf) -> std::io::Result<()> {
    // A uid below the floor: answered without the directory and without the cache.
    let mut stream = UnixStream::connect(socket).await?;
    let mut request = Header::request(Op::PasswdByUid, 1, 4, 1000).to_bytes().to_vec();
    request.extend_from_slice(&0_u32.to_le_bytes());
    stream.write_all(&request).await?;
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await?;
    match Header::parse(&head).map(|header| Status::from_raw(header.kind)) {
        Ok(Some(Status::Absent)) => Ok(()),
        other => Err(std::io::Error::other(format!("answered {other:?}"))),
    }
}
