//! Asks the directory for what is kept of logins, one after the other, for as long as it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::LoginName;
use schema::record::{Login, SshKey};

use super::record::{Facts, Record, Verifier, now};
use super::{Groups, Kept, TOGETHER, Verifiers};
use crate::cache::Lane;
use crate::directory::{DirectoryError, Entry};

/// After a question that was not answered.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of the lines of a login's keys, altogether: 40 of the longest usual ones. Of one that has more, none are kept.
const KEYS: usize = 32 * 1024;

/// A login as the directory has it.
struct Found {
    login: Login,
    gids: Vec<GroupId>,
    hash: Option<PasswordHash>,
    keys: Vec<SshKey>,
}

impl Verifiers {
    /// Compares and writes, again and again, until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let Some((kept, names)) = self.next() else {
                self.wake.notified().await;
                continue;
            };
            // While changes do not come, who answers may lack some that have come here (a replica after its primary was lost): nothing of it is kept, and what is suspect stays so.
            let mut failed = self.source.not_followed().is_some();
            let names = if failed { Vec::new() } else { names };
            for name in &names {
                match self.recheck(name, &kept).await {
                    Ok(()) => {}
                    Err(DirectoryError::Unavailable { .. } | DirectoryError::Crowded { .. }) => {
                        failed = true;
                        break;
                    }
                    // About this one only: the others are not kept waiting.
                    Err(_) => failed = true,
                }
            }
            let written = self.save(&kept).await;
            if failed || !written {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Whom to ask for next, and where it is kept. `None`: there is nothing to do.
    fn next(&self) -> Option<(Arc<Kept>, Vec<LoginName>)> {
        let state = self.state();
        let kept = Arc::clone(state.kept.as_ref()?);
        let names: Vec<LoginName> = state.queue.keys().take(TOGETHER).cloned().collect();
        (!names.is_empty() || !state.dirty.is_empty()).then_some((kept, names))
    }

    async fn recheck(&self, name: &LoginName, kept: &Arc<Kept>) -> Result<(), DirectoryError> {
        let asked = Instant::now();
        let has_verifier = |record: &Record| record.verifier.is_some();
        let proven = self.state().records.get(name).is_some_and(has_verifier);
        let wanted = name.clone();
        let found = self.source.ask(Lane::Listing, |directory| async move {
            let Some((Entry::Valid(login), gids)) = directory.login_with_gids(&wanted).await? else { return Ok(None) };
            let hash = if proven { directory.password_hash(&wanted).await? } else { None };
            let keys = directory.ssh_keys(&wanted).await?;
            Ok(Some(Found { login, gids, hash, keys }))
        });
        let found = found.await?;
        let mut state = self.state();
        let before = state.records.get(name).cloned();
        // A change that came meanwhile, or a password: once more.
        if state.has_changed_since(name, asked) || (!proven && before.as_ref().is_some_and(has_verifier)) {
            return Ok(());
        }
        if state.is(kept) {
            let entered = state.queue.remove(name).flatten();
            let mark = found.as_ref().and_then(|found| found.hash.as_ref()).map(|hash| kept.key.mark_of(hash));
            let after = found.and_then(|found| refreshed(before, found, mark, entered));
            state.put(name.clone(), after);
        }
        Ok(())
    }
}

/// The record as the directory has the login now. `None`: it is another login, or it has not entered this host.
fn refreshed(before: Option<Record>, found: Found, mark: Option<[u8; 32]>, entered: Option<Groups>) -> Option<Record> {
    let Found { login, gids, keys, hash: _ } = found;
    let before = before.filter(|record| record.facts.login.uid == login.uid);
    let known = match (&before, &entered) {
        (_, Some(_)) => now(),
        (Some(before), None) => before.known,
        (None, None) => return None,
    };
    let keys = kept_keys(&login, keys);
    let names_then =
        before.as_ref().filter(|record| record.facts.gids == gids).and_then(|record| record.facts.groups.clone());
    // Names of other groups are learned when it enters again.
    let groups = entered.filter(|now| now.gids == gids).and_then(|now| now.names).or(names_then);
    let verifier = before.and_then(|record| same_password(record, &login, mark));
    Some(Record { facts: Arc::new(Facts { login, gids, groups, keys }), known, verifier, suspect: false })
}

/// The verifier, if the password is certain to be the same.
fn same_password(record: Record, login: &Login, mark: Option<[u8; 32]>) -> Option<Verifier> {
    let verifier = record.verifier?;
    let same = match (verifier.mark, mark) {
        (Some(then), Some(now)) => then == now,
        // A directory that shows no hashes: only an entry that is as it was is certain.
        _ => !record.suspect && *login == record.facts.login,
    };
    same.then_some(verifier)
}

fn kept_keys(login: &Login, keys: Vec<SshKey>) -> Option<Vec<SshKey>> {
    let bytes = keys.iter().map(|key| key.line.len()).sum::<usize>();
    if bytes <= KEYS {
        return Some(keys);
    }
    tracing::warn!(login = %login.name, bytes, most = KEYS, "its keys are too long to be kept: by key it enters only while the directory answers");
    None
}
