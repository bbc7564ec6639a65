//! From the arguments to the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::listen::Listening;
use super::lock::Lock;
use super::pulse::Pulse;
use super::watchdog::{self, tell};
use super::{Args, Host, HostParts, harden, offline, open, sweep};
use crate::auth::Pool;
use crate::cache::{Cache, Source};
use crate::config::Loaded;
use crate::feed::{Feed, Keeper};
use crate::fleet;
use crate::local::LocalFiles;
use crate::quarantine::QuarantineList;
use crate::replica::Replica;
use crate::server;
use crate::telemetry::{self, Telemetry};

/// For requests under way when we are asked to stop.
const GRACE: Duration = Duration::from_secs(2);
/// For opening the directory, before the first request is taken. PAM gives up after 800 ms.
const FIRST_LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(args: &Args) -> Result<(), String> {
    let mut loaded = Loaded::from_file(&args.config).map_err(|error| error.to_string())?;
    harden::refuse_root()?;
    harden::harden()?;
    let telemetry = Telemetry::install(&loaded.config.log)?;
    harden::fit(&mut loaded.config.server);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)))
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?
        .block_on(live(loaded, telemetry))
}

async fn live(loaded: Loaded, telemetry: Telemetry) -> Result<(), String> {
    let socket = Path::new(schema::paths::SOCKET.to_str().unwrap_or_default());
    let _lock = Lock::take(Path::new(schema::paths::STATE_DIR), &socket.with_file_name("pid"))?;
    let (listener, _socket_file) = Listening::take(socket)?.split();

    let directory = loaded.config.directory.clone();
    let location = format!("{} {}", directory.kind(), directory.location());
    let source = Source::new(location, directory.timeout().0, Arc::new(QuarantineList::default()));
    let metrics = loaded.config.metrics.listen();
    let pool = Pool::new(loaded.config.auth.clone()).map_err(|error| error.to_string())?;
    let offline = offline::open(loaded.config.auth.offline_days, &source).await;
    let snapshot = &loaded.config.snapshot;
    let replica = Replica::start(snapshot.mode, snapshot.visibility)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let host = Host::new(HostParts {
        pool,
        offline: Arc::clone(&offline),
        replica: replica.clone(),
        cache: Cache::new(source, loaded.config.cache.clone()),
        feed: Arc::new(Feed::default()),
        local_files: LocalFiles::default(),
        loaded,
        telemetry,
    })
    .map_err(|error| format!("{error}. Without the local accounts a local name could be answered for"))?;

    tokio::spawn(
        Keeper::new(&host, open::directory(&directory), directory.file().map(Into::into), directory.poll().0).run(),
    );
    let pulse = Pulse::start(&host).map_err(|error| format!("cannot start a thread: {error}"))?;
    tokio::spawn(upkeep(Arc::clone(&host)));
    tokio::spawn(offline.watch());
    tokio::spawn(fleet::run(Arc::clone(&host)));
    tokio::spawn(sweep::run(Arc::clone(&host)));
    if let Some(address) = metrics {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            if let Err(error) = telemetry::listen(host, address).await {
                tracing::error!(%error, "[metrics] listen cannot be used; metrics are still on the socket");
            }
        });
    }

    // Who connects meanwhile waits in the backlog: opening takes some 30 ms, and "cannot be reached" would refuse a login that only came
    // early. With or without the directory it goes on then: boot must not hang.
    let _ = tokio::time::timeout(FIRST_LOOK, ready_to_answer(&host)).await;
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(server::serve(Arc::clone(&host), listener, stopped));
    tokio::spawn(watchdog::run(socket.into()));
    tell(&[NotifyState::Ready, NotifyState::Status("answers look-ups")]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "ready");

    until_told_to_stop(&host).await?;
    pulse.stopping();
    tell(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    stop.send_replace(true);
    let _ = serving.await;
    let limit = tokio::time::Instant::now() + GRACE;
    while host.limits().connections() > 0 && tokio::time::Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if let Some(replica) = replica {
        replica.stop().await;
    }
    Ok(())
}

/// With a snapshot of an earlier life at once, else when the directory has been looked at.
async fn ready_to_answer(host: &Host) {
    if let Some(replica) = host.replica() {
        replica.has_opened().await;
        if replica.published().is_some() {
            return;
        }
    }
    host.feed().has_looked().await;
}

async fn until_told_to_stop(host: &Host) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen to signals: {error}"));
    let mut hangup = listen(SignalKind::hangup())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Ok(now) = NotifyState::monotonic_usec_now() {
                    tell(&[NotifyState::Reloading, now]);
                }
                // Refused: the log says why, and the old configuration goes on.
                let _ = host.reload().await;
                tell(&[NotifyState::Ready]);
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

async fn upkeep(host: Arc<Host>) {
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        host.telemetry.upkeep();
    }
}
