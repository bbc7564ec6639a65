//! What this host learns when somebody enters it while the directory answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::{GroupName, LoginName};
use schema::record::Login;
use schema::wire::message::Secret;

use super::key::HostKey;
use super::record::{Facts, Record, Verifier, now};
use super::{MOST, Pool, Verifiers};

/// A password that was verified less long ago is not written again for a newer time alone.
const FRESH: u64 = 3600;
/// The same for a login that entered without one: cron asks each minute for each of its jobs.
const RENEWED: u64 = 6 * 3600;

/// A successful verification.
#[derive(Debug)]
pub struct Seen {
    /// Of which hash; `None`: the directory gives no hashes.
    pub hash: Option<PasswordHash>,
    /// The password.
    pub password: Secret,
    /// The password ends after this, as far as the directory says so.
    pub ends_in: Option<Duration>,
    /// When it began: a change that was received since may be another password.
    pub began: Instant,
}

/// The groups of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// All of them, the primary first.
    pub gids: Vec<GroupId>,
    /// Their names, each with its gid; `None`: some are not known.
    pub names: Option<Vec<(GroupId, GroupName)>>,
}

impl Verifiers {
    /// The account stage let this login in. Whether its groups are wanted, for [`Verifiers::learn`].
    ///
    /// Nothing is written unless what is known differs, or its time is old.
    #[must_use]
    pub fn entered(&self, login: &Login) -> bool {
        let mut state = self.state();
        if state.kept.is_none() {
            return false;
        }
        let Some(record) = state.records.get(&login.name).filter(|record| !record.suspect) else { return true };
        if record.facts.login != *login || record.facts.groups.is_none() {
            return true;
        }
        if now().saturating_sub(record.known) < RENEWED {
            return false;
        }
        state.records.renew(&login.name);
        state.dirty.insert(login.name.clone());
        self.wake.notify_one();
        false
    }

    /// Has the rest asked of the directory itself: what the cache has may be older than a change that is being received.
    pub fn learn(&self, login: &Login, groups: Groups) {
        let mut state = self.state();
        // Where the names of its groups are as unknown as before, a job of cron is not to ask and write each minute.
        let is_known = |record: &Record| {
            !record.suspect && record.facts.login == *login && now().saturating_sub(record.known) < RENEWED
        };
        if groups.names.is_none() && state.records.get(&login.name).is_some_and(is_known) {
            return;
        }
        // Who waits has not been found in the directory yet, or is one of the records.
        if state.kept.is_none() || state.queue.len() >= MOST + state.records.len() {
            return;
        }
        state.queue.insert(login.name.clone(), Some(groups));
        self.wake.notify_one();
    }

    /// Keeps what a successful verification has shown.
    pub async fn remember(&self, login: Login, groups: Groups, seen: Seen, pool: &Pool) {
        let Some(kept) = self.kept() else { return };
        let Seen { hash, password, ends_in, began } = seen;
        let name = login.name.clone();
        let mark = hash.map(|hash| kept.key.mark_of(&hash));
        let ends = ends_in.map(|left| now().saturating_add(left.as_secs()));
        let old = self.state().records.get(&name).cloned();
        let verifier = match old.as_ref().and_then(|old| old.verifier.clone()) {
            // The same password: only what is known of it may be newer.
            Some(same) if same.mark.is_some() && same.mark == mark => {
                let news = old.is_none_or(|old| old.suspect || old.facts.login != login);
                if !news && now().saturating_sub(same.verified) < FRESH {
                    return;
                }
                Verifier { verified: now(), ends, ..same }
            }
            _ => {
                let Some(salt) = HostKey::salt() else { return };
                let made = self.compute(&kept, password, salt, pool).await;
                let Some(Some(bytes)) = made else { return };
                Verifier { salt, bytes, mark, verified: now(), ends }
            }
        };
        {
            let mut state = self.state();
            // What has been received since then may be another password.
            if !state.is(&kept) || state.has_changed_since(&name, began) {
                return;
            }
            state.attempts.remove(&name);
            let learned = state.records.get(&name).map(|record| Arc::clone(&record.facts));
            let facts = match learned.filter(|facts| facts.login == login && facts.gids == groups.gids) {
                Some(facts) if facts.groups.is_none() => {
                    Arc::new(Facts { groups: groups.names, ..Facts::clone(&facts) })
                }
                Some(facts) => facts,
                None => {
                    state.queue.insert(name.clone(), Some(groups.clone()));
                    Arc::new(Facts { login, gids: groups.gids, groups: groups.names, keys: None })
                }
            };
            // A change that is being received may have been too late for what the cache said.
            if state.changed.contains_key(&name) {
                state.queue.entry(name.clone()).or_default();
            }
            let record = Record { facts, known: now(), verifier: Some(verifier), suspect: false };
            state.put(name, Some(record));
        }
        self.wake.notify_one();
        self.save(&kept).await;
    }

    /// Keeps no verifier of this login any more: its password may be used, but not without what the directory has to say of it.
    pub async fn forget(&self, name: &LoginName) {
        let Some(kept) = self.kept() else { return };
        {
            let mut state = self.state();
            // What is being computed is of no use either.
            state.changed.insert(name.clone(), Instant::now());
            let Some(record) = state.records.get(name).cloned() else { return };
            state.put(name.clone(), Some(Record { verifier: None, ..record }));
        }
        self.save(&kept).await;
    }
}
