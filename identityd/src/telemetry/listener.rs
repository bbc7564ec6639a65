//! Metrics for a scraper: the least of HTTP, on a loopback address or a unix socket.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::config::MetricsListen;
use crate::daemon::Host;

/// Scrapers at one time.
const AT_ONE_TIME: usize = 4;
/// For one scrape.
const LIMIT: Duration = Duration::from_secs(5);

/// Serves until it is dropped. Every path gets the same text.
///
/// # Errors
/// The address cannot be used.
pub async fn listen(host: Arc<Host>, address: MetricsListen) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(AT_ONE_TIME));
    match address {
        MetricsListen::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => answer(&host, &places, stream),
                    Err(error) => later(&error).await,
                }
            }
        }
        MetricsListen::Unix(path) => {
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path)?;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => answer(&host, &places, stream),
                    Err(error) => later(&error).await,
                }
            }
        }
    }
}

/// Out of descriptors or memory: no reason to give up the listener.
async fn later(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a scraper; trying again");
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn answer(host: &Arc<Host>, places: &Arc<Semaphore>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
    let host = Arc::clone(host);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(LIMIT, one(&host, stream)).await;
        drop(place);
    });
}

async fn one(host: &Host, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        let len = stream.read(&mut part).await?;
        if len == 0 {
            return Ok(());
        }
        request.extend_from_slice(part.get(..len).unwrap_or_default());
    }
    let text = host.metrics_text().await;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
