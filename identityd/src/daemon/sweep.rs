//! Goes through the whole directory now and then, so that `status` lists every entry that is not served, whether somebody asked for it or not, and
//! counts the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::name::LoginName;
use schema::snapshot::view::Kind as _;

use super::Host;
use crate::cache::Lane;
use crate::directory::{DirectoryError, Entry, Kind, Quarantined};
use crate::quarantine;
use crate::snapshot::Published;

/// Groups that AUTH_SYS of NFS carries beside the primary one (RFC 5531, appendix A).
const NFS_GROUPS: u32 = 16;

/// What there is in the directory, and what an administrator should know about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) logins: u64,
    pub(super) groups: u64,
    /// Logins in more groups than NFS can tell.
    pub(super) in_many_groups: u64,
    /// One of them.
    pub(super) such_as: Option<String>,
}

/// Entries asked of the directory at a time.
const PAGE: u32 = 500;
/// Members of a group that may be too large for a reply.
const LARGE: usize = 10_000;
/// Between pages, so that look-ups come first.
const BREATH: Duration = Duration::from_millis(10);
/// Without any change that was noticed.
const INTERVAL: Duration = Duration::from_secs(600);
/// After a sweep that came to no end.
const AGAIN: Duration = Duration::from_secs(30);
/// After a change; many come together.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) async fn run(host: Arc<Host>) {
    host.feed().has_looked().await;
    let mut altered = host.feed().altered();
    loop {
        let began = Instant::now();
        // What changes from now on is seen by this sweep or by the next one.
        altered.mark_unchanged();
        let interval = match look(&host).await {
            Ok((None, census)) => {
                host.set_census(census);
                INTERVAL
            }
            Ok((Some(found), census)) => {
                host.set_census(census);
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
                INTERVAL
            }
            Err(error) => {
                tracing::debug!(%error, "the sweep for the quarantine list was given up");
                AGAIN
            }
        };
        // Never more than a twentieth of the time.
        let rest = SETTLE.max(began.elapsed() * 20);
        let _ = tokio::time::timeout(interval, altered.changed()).await;
        tokio::time::sleep(rest).await;
    }
}

/// What is published is counted, without a question to the directory; what is not served the replica knows by itself. The directory is gone through
/// where nothing is published.
async fn look(host: &Host) -> Result<(Option<Vec<Quarantined>>, Census), DirectoryError> {
    let Some(replica) = host.replica() else {
        return all(host, true).await.map(|(found, census)| (Some(found), census));
    };
    // A life that goes on with the files of the one before has not seen what is not in them.
    let found = match replica.published() {
        Some(_) if !replica.knows_quarantined() => {
            let (found, _) = all(host, false).await?;
            replica.now_knows_quarantined();
            Some(found)
        }
        _ => None,
    };
    let published = replica.published();
    let count = move || published.and_then(|published| count(&published));
    let census = tokio::task::spawn_blocking(count).await.ok().flatten();
    let nothing =
        || DirectoryError::Unavailable { directory: "snapshot".into(), reason: "nothing is published".into() };
    Ok((found, census.ok_or_else(nothing)?))
}

fn count(published: &Published) -> Option<Census> {
    let mut census = Census::default();
    for login in published.logins()? {
        census.logins += 1;
        // The primary one is not carried among the sixteen.
        let others = login.gids()?.iter().count().saturating_sub(1);
        if others > NFS_GROUPS as usize {
            census.in_many_groups += 1;
            let name = String::from_utf8_lossy(login.name()).into_owned();
            census.such_as = census.such_as.filter(|other| *other < name).or(Some(name));
        }
    }
    census.groups = published.groups()?.count() as u64;
    Some(census)
}

async fn all(host: &Host, with_members: bool) -> Result<(Vec<Quarantined>, Census), DirectoryError> {
    let source = host.cache().source();
    let (local, shell) = (host.local(), host.loaded().config.quarantine.unknown_shell);
    let mut found = Vec::new();
    let mut census = Census::default();
    let mut groups_of: HashMap<LoginName, u32> = HashMap::new();
    let mut after = 0;
    loop {
        let page =
            source.ask(Lane::Listing, |directory| async move { directory.logins_after(after, PAGE).await }).await?;
        let (full, before) = (page.len() >= PAGE as usize, after);
        for entry in page {
            after = after.max(match entry {
                Entry::Valid(login) => {
                    census.logins += 1;
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
        let page =
            source.ask(Lane::Listing, |directory| async move { directory.groups_after(after, PAGE).await }).await?;
        let (full, before) = (page.len() >= PAGE as usize, after);
        for entry in page {
            after = after.max(match entry {
                Entry::Valid(group) => {
                    let fits = || {
                        // Packing every group only to see whether it fits would cost more than all the rest.
                        if group.members.len() < LARGE { Ok(()) } else { quarantine::packed(&group).map(drop) }
                    };
                    let judged = quarantine::group(&group, &local).and_then(|()| fits());
                    found.extend(
                        judged
                            .err()
                            .map(|reason| quarantined(Kind::Group, group.name.as_str(), group.gid.raw(), reason)),
                    );
                    census.groups += 1;
                    for member in group.members.into_iter().filter(|_| with_members) {
                        *groups_of.entry(member).or_default() += 1;
                    }
                    group.gid.raw()
                }
                Entry::Quarantined(entry) => take(entry, &mut found),
            });
        }
        if !full || after == before {
            break;
        }
        tokio::time::sleep(BREATH).await;
    }
    let many = groups_of.into_iter().filter(|(_, groups)| *groups > NFS_GROUPS).map(|(login, _)| login);
    for login in many {
        census.in_many_groups += 1;
        // The first by name, so that it is the same each time.
        census.such_as = census.such_as.filter(|other| other.as_str() < login.as_str()).or(Some(login.to_string()));
    }
    Ok((found, census))
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
