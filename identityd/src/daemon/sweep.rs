//! Goes through the whole directory now and then, so that `status` lists every entry that is not served, whether somebody asked for it or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Host;
use crate::directory::{DirectoryError, Entry, Kind, Quarantined};
use crate::quarantine;

/// Entries asked of the directory at a time.
const PAGE: u32 = 500;
/// Between pages, so that look-ups come first.
const BREATH: Duration = Duration::from_millis(10);
/// Without any change: local files may have changed.
const INTERVAL: Duration = Duration::from_secs(600);
/// After a change; many come together.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) async fn run(host: Arc<Host>) {
    host.feed().has_looked().await;
    loop {
        let began = Instant::now();
        match all(&host).await {
            Ok(found) => {
                for entry in host.cache().source().quarantine().replace(found) {
                    let kind = if entry.kind == Kind::Login { "login" } else { "group" };
                    tracing::warn!(
                        kind,
                        name = entry.name,
                        id = entry.id,
                        reason = entry.reason,
                        "not served: quarantined"
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "the sweep for the quarantine list was given up"),
        }
        // Never more than a twentieth of the time.
        let rest = SETTLE.max(began.elapsed() * 20);
        let _ = tokio::time::timeout(INTERVAL, host.feed().next_change()).await;
        tokio::time::sleep(rest).await;
    }
}

async fn all(host: &Host) -> Result<Vec<Quarantined>, DirectoryError> {
    let source = host.cache().source();
    let (local, shell) = (host.local(), host.loaded().config.quarantine.unknown_shell);
    let mut found = Vec::new();
    let mut after = 0;
    loop {
        let page = source.ask(|directory| async move { directory.logins_after(after, PAGE).await }).await?;
        let (full, before) = (page.len() >= PAGE as usize, after);
        for entry in page {
            after = after.max(match entry {
                Entry::Valid(login) => {
                    let judged = quarantine::login(&login, &local, shell);
                    found.extend(
                        judged
                            .err()
                            .map(|reason| quarantined(Kind::Login, login.name.as_str(), login.uid.raw(), reason)),
                    );
                    login.uid.raw()
                }
                Entry::Quarantined(entry) => take(entry, &mut found),
            });
        }
        if !full || after == before {
            break;
        }
        tokio::time::sleep(BREATH).await;
    }
    after = 0;
    loop {
        let page = source.ask(|directory| async move { directory.groups_after(after, PAGE).await }).await?;
        let (full, before) = (page.len() >= PAGE as usize, after);
        for entry in page {
            after = after.max(match entry {
                Entry::Valid(group) => {
                    let judged = quarantine::group(&group, &local);
                    found.extend(
                        judged
                            .err()
                            .map(|reason| quarantined(Kind::Group, group.name.as_str(), group.gid.raw(), reason)),
                    );
                    group.gid.raw()
                }
                Entry::Quarantined(entry) => take(entry, &mut found),
            });
        }
        if !full || after == before {
            return Ok(found);
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Keeps the entry; the id to go on after, 0 when it cannot be counted on from.
fn take(entry: Quarantined, found: &mut Vec<Quarantined>) -> u32 {
    let id = u32::try_from(entry.id).unwrap_or(0);
    found.push(entry);
    id
}

fn quarantined(kind: Kind, name: &str, id: u32, reason: String) -> Quarantined {
    Quarantined { kind, name: name.into(), id: id.into(), reason }
}
