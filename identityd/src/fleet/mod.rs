//! The fleet: this host tells the directory which generation it has published, and `identityctl` asks for what all have told. The page is
//! `docs/fleet.md`.

mod pace;
mod view;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schema::record::Generation;
use tokio::time::{Instant, sleep_until};

pub use view::{Fleet, HostLine};

use self::pace::{LEAST, Pace};
use crate::cache::Lane;
use crate::daemon::Host;
use crate::directory::fleet::{HostName, HostReport};

/// Between two looks whether what is published has what is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Since when this host has been behind its directory, as far as somebody looked.
#[derive(Debug, Default)]
pub struct Behind(Mutex<Option<Instant>>);

impl Behind {
    fn look(&self, in_step: bool) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if in_step {
            *since = None;
            return Duration::ZERO;
        }
        since.get_or_insert_with(Instant::now).elapsed()
    }
}

impl Host {
    /// The name under which this host reports, if it has one.
    #[must_use]
    pub fn fleet_name(&self) -> Option<HostName> {
        self.config().fleet.host.clone().or_else(HostName::own)
    }

    /// What this host says of itself.
    #[must_use]
    pub fn own_report(&self) -> Option<HostReport> {
        let (generation, cursor) = self.feed().published();
        let newest = self.feed().generations().1;
        let report = HostReport {
            host: self.fleet_name()?,
            generation,
            newest,
            stale: self.data_age(),
            version: env!("CARGO_PKG_VERSION").into(),
            trouble: self.trouble(),
            cursor,
        };
        Some(report.bounded())
    }

    /// For how long what is served here has not been known to be what the directory says; zero: it is.
    #[must_use]
    pub fn data_age(&self) -> Duration {
        let (applied, newest) = self.feed().generations();
        let source = self.cache().source();
        let health = source.health();
        let behind = self.behind().look(health.reachable && applied >= newest);
        let away = if health.reachable { Duration::ZERO } else { health.since.elapsed().unwrap_or_default() };
        behind.max(away).max(self.not_followed().map_or(Duration::ZERO, |(since, _)| since))
    }

    /// All hosts, as of now.
    ///
    /// # Errors
    /// The directory cannot be asked: the reason.
    pub async fn fleet(&self) -> Result<Fleet, String> {
        let source = self.cache().source();
        let asked = source.ask(Lane::Reserved, |directory| async move {
            // In this order: what is committed later than this may be missing from a report that comes later still.
            let (newest, reported) = (directory.committed().await?, directory.fleet().await?);
            let Some(mut own) = self.own_report() else { return Ok((newest, reported, None)) };
            own.generation = directory.common(own.generation, &own.cursor).await?;
            Ok((newest, reported, Some(own)))
        });
        let (newest, reported, own) = asked.await.map_err(|error| error.to_string())?;
        Ok(Fleet::new(newest, reported, own))
    }

    /// Looks for changes of the directory now, and waits until this one is published here, as the number that a write returned.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn refresh(&self, generation: Generation, wait: Duration) -> Result<(), String> {
        let until = Instant::now() + wait;
        let mut altered = self.feed().altered();
        self.feed().reach(generation, wait).await.map_err(|applied| self.not_yet(generation, applied))?;
        loop {
            // This host's own count has got there. Where the directory has none of its own, that says little.
            let (applied, cursor) = self.feed().published();
            let Some(directory) = self.cache().source().directory() else { return Ok(()) };
            let common = tokio::time::timeout_at(until, directory.common(applied, &cursor)).await;
            let common = match common {
                Ok(Ok(common)) if common >= generation => return Ok(()),
                Ok(Ok(common)) => common,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => applied,
            };
            let next = (Instant::now() + LOOK).min(until);
            let _ = tokio::time::timeout_at(next, altered.changed()).await;
            if Instant::now() >= until {
                return Err(self.not_yet(generation, common));
            }
        }
    }

    fn not_yet(&self, generation: Generation, at: Generation) -> String {
        let health = self.cache().source().health();
        let why =
            health.error.filter(|_| !health.reachable).map_or_else(String::new, |(error, _)| format!(": {error}"));
        format!("generation {generation} is not visible yet (now at {at}){why}")
    }

    /// Takes a host off the directory's list.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn forget_host(&self, host: &str) -> Result<(), String> {
        let host: HostName = host.parse()?;
        let name = host.clone();
        let written = self.cache().source().write(|directory| async move { directory.forget_host(&host).await }).await;
        match written {
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(format!("no host {name} is on the list; see identityctl fleet")),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the directory has not answered; see identityctl fleet whether it was done".into()),
        }
    }
}

/// Reports, as long as the daemon lives.
pub async fn run(host: Arc<Host>) {
    if !host.config().fleet.report {
        return;
    }
    if host.fleet_name().is_none() {
        tracing::warn!(
            "the name of this host cannot stand in the list of the fleet (letters, digits, '.', '-', '_'); set host = \"…\" in [fleet]. \
             Nobody can wait for this host"
        );
        return;
    }
    host.feed().has_looked().await;
    let mut altered = host.feed().altered();
    let mut pace = Pace::new(host.config().fleet.heartbeat.0);
    let mut said: Option<Generation> = None;
    let mut jitter: f64 = rand::random();
    let mut away = false;
    loop {
        let now = Instant::now();
        let published = host.feed().generations().0;
        // Nothing to say before anything was published.
        let news = published != Generation(0) && said != Some(published);
        let due = pace.due(news, jitter, now);
        let open = host.cache().source().is_open();
        if due > now || !open {
            tokio::select! {
                () = sleep_until(if open { due } else { due.max(now + LEAST) }) => {}
                changed = altered.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let Some(report) = host.own_report() else { return };
        let generation = report.generation;
        // Not a question: that the primary is away, or that a report is refused, says nothing about look-ups.
        let sent = host.cache().source().write(|directory| async move { directory.report(&report).await }).await;
        let through = matches!(sent, Some(Ok(())));
        match sent {
            Some(Err(error)) if !away => {
                tracing::warn!(%error, "this host cannot report its generation; identityctl wait --all waits for it in vain");
            }
            Some(Ok(())) if away => tracing::info!("this host reports its generation again"),
            _ => {}
        }
        away = !through;
        said = through.then_some(generation);
        pace.sent(through, Instant::now());
        jitter = rand::random();
    }
}

#[cfg(test)]
mod tests;
