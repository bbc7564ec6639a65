//! The task that follows the server: by content synchronisation where there is one, else by polling.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::client::{LdapFailure, Search};
use super::feed::Feed;
use super::map::Map;
use super::part::parts;
use super::pool::Pool;
use super::{poll, sync};
use crate::config::LdapFeed;
use crate::directory::DirectoryError;

/// Between two tries to follow.
const AGAIN: Duration = Duration::from_millis(200);
/// The longest pause, where a server refuses.
const LONG: Duration = Duration::from_secs(30);
/// A server that has less than was seen is waited for so long where no other one answers.
const PATIENT: Duration = Duration::from_secs(5);

/// Follows until the directory is dropped.
pub(super) async fn follow(feed: Weak<Feed>, pool: Weak<Pool>, map: Map) {
    let by_sync = loop {
        let Some(strong) = pool.upgrade() else { return };
        match map.0.feed {
            LdapFeed::Off => return,
            LdapFeed::Sync => break true,
            LdapFeed::Poll => break false,
            LdapFeed::Auto => match offers_sync(&strong).await {
                Ok(offers) => break offers,
                Err(error) => tracing::debug!(%error, "no server to follow yet"),
            },
        }
        drop(strong);
        tokio::time::sleep(AGAIN).await;
    };
    let parts = parts(&map.0, &map);
    if !by_sync {
        tracing::info!("the LDAP server does not push changes: polling");
        if let Some(feed) = feed.upgrade() {
            feed.is_polled_now();
        }
        return poll::follow(feed, pool, map, parts).await;
    }
    let mut running = tokio::task::JoinSet::new();
    for part in parts {
        running.spawn(sync::follow(feed.clone(), pool.clone(), map.clone(), part));
    }
    while running.join_next().await.is_some() {}
}

async fn offers_sync(pool: &Pool) -> Result<bool, DirectoryError> {
    let search = Search {
        base: String::new(),
        scope: ldap3::Scope::Base,
        filter: "(objectClass=*)".into(),
        attributes: vec!["supportedControl".into()],
        limit: 0,
        optional: false,
    };
    let entries = pool.search(&search).await?;
    Ok(entries.first().is_some_and(|entry| super::control::offers_sync(entry.all("supportedControl"))))
}

/// What went wrong last, so that it is said once, and tried again less and less often.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    count: u32,
    said: String,
    /// Since when a server is behind what was seen.
    behind: Option<Instant>,
}

impl Troubles {
    /// It works.
    pub(super) fn over(&mut self, feed: &Feed, base: &str) {
        *self = Self::default();
        feed.set_trouble(base, None);
    }

    /// A server is behind what was seen. `true`: for so long that it will not catch up any more.
    pub(super) fn is_behind_for_long(&mut self) -> bool {
        let long = self.behind.get_or_insert_with(Instant::now).elapsed() >= PATIENT;
        if long {
            self.behind = None;
        }
        long
    }

    /// It does not.
    pub(super) fn note(feed: &Feed, base: &str, failure: &LdapFailure) {
        feed.set_trouble(base, Some(format!("the synchronisation below {base:?} fails: {failure}")));
    }

    /// A pause before trying again: soon where another server may do, seldom where this one refuses.
    pub(super) async fn rest(&mut self, base: &str, failure: &LdapFailure) {
        let text = failure.to_string();
        let (refused, longest) = match failure {
            // 53: OpenLDAP says so when it has not yet what we have seen at another provider.
            LdapFailure::Said { code, .. } if !matches!(code, 0 | 51..=53 | 4096) => (true, LONG),
            _ => (false, LONG / 20),
        };
        if refused && self.said != text {
            tracing::warn!(base, reason = text, "the LDAP server does not let identityd follow its changes");
            self.said = text;
        } else {
            tracing::debug!(base, reason = text, "the synchronisation ended; again");
        }
        let pause = AGAIN.saturating_mul(1 << self.count.min(10)).min(longest);
        self.count += 1;
        tokio::time::sleep(pause).await;
    }
}
