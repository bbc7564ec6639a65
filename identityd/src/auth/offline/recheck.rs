//! Compares suspect records with the directory, one after the other, for as long as it answers.

use std::sync::Arc;
use std::time::Duration;

use schema::name::LoginName;
use schema::record::Login;

use super::{Facts, Kept, Record, Verifiers};
use crate::cache::Lane;
use crate::directory::{DirectoryError, Entry};

/// After a question that was not answered.
const AGAIN: Duration = Duration::from_secs(1);

impl Verifiers {
    /// Compares, again and again, until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        let Some(kept) = &self.kept else { return };
        loop {
            let next = self.state().queue.iter().next().cloned();
            match next {
                None => self.wake.notified().await,
                Some(name) => {
                    if self.recheck(&name, kept).await.is_err() {
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    }

    async fn recheck(&self, name: &LoginName, kept: &Kept) -> Result<(), DirectoryError> {
        let asked = std::time::Instant::now();
        let wanted = name.clone();
        let found = self.source.ask(Lane::Listing, |directory| async move {
            let login = directory.login_with_gids(&wanted).await?;
            let hash = directory.password_hash(&wanted).await?;
            Ok((login, hash))
        });
        let (login, hash) = found.await?;
        let now = match login {
            Some((Entry::Valid(login), gids)) => Some((login, gids)),
            _ => None,
        };
        let mark = hash.map(|hash| kept.key.mark_of(&hash));
        let kept_now = {
            let mut state = self.state();
            // A change that came meanwhile: once more.
            if state.changed.get(name).is_some_and(|at| *at >= asked) || state.doubted.is_some_and(|at| at >= asked) {
                return Ok(());
            }
            state.queue.remove(name);
            let record = state.records.remove(name);
            let record = record.zip(now).and_then(|(record, (login, gids))| refreshed(record, login, gids, mark));
            if let Some(record) = &record {
                state.records.insert(name.clone(), record.clone());
            }
            record
        };
        match kept_now {
            Some(record) => kept.store.keep(name, &record).await,
            None => kept.store.drop(name).await,
        }
        Ok(())
    }
}

/// The record as the directory has the login now; `None`: it is another login, or may have another password.
fn refreshed(record: Record, login: Login, gids: Vec<schema::id::GroupId>, mark: Option<[u8; 32]>) -> Option<Record> {
    if login.uid != record.facts.login.uid {
        return None;
    }
    let same_password = match (record.mark, mark) {
        (Some(then), Some(now)) => then == now,
        // A directory that shows no hashes: only an entry that is as it was is certain.
        _ => !record.suspect && login == record.facts.login,
    };
    if !same_password {
        return None;
    }
    // Names of other groups are learned at the next login.
    let groups = if gids == record.facts.gids { record.facts.groups.clone() } else { None };
    Some(Record { facts: Arc::new(Facts { login, gids, groups }), suspect: false, ..record })
}
