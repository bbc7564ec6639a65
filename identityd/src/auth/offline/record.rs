//! What is kept of one login, and when it may be used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Login, SshKey};
use zeroize::Zeroizing;

use super::key::{SALT, VERIFIER};

/// What the account stage and sshd need to know of a login.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// The login as the directory had it.
    pub login: Login,
    /// All its groups, the primary first.
    pub gids: Vec<GroupId>,
    /// The names of all of them, each with its gid; `None`: some are not known, so `[access]` cannot be judged by them.
    pub groups: Option<Vec<(GroupId, GroupName)>>,
    /// Its keys; `None`: not known yet, or more than are kept.
    pub keys: Option<Vec<SshKey>>,
}

/// What is kept of one login.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) facts: Arc<Facts>,
    /// When the directory last confirmed that it enters this host, in seconds of Unix.
    pub(super) known: u64,
    /// Of the password that it entered with; `None`: it came without one, or may have another one since. No password is right then.
    pub(super) verifier: Option<Verifier>,
    /// Not to be used until it has been compared with the directory.
    pub(super) suspect: bool,
}

/// What a password is verified by.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Verifier {
    pub(super) salt: [u8; SALT],
    pub(super) bytes: Zeroizing<[u8; VERIFIER]>,
    /// Of the hash that was verified; `None`: the directory gives no hashes.
    pub(super) mark: Option<[u8; 32]>,
    /// When the password was last verified with the directory, in seconds of Unix.
    pub(super) verified: u64,
    /// When it ends, as the directory said then.
    pub(super) ends: Option<u64>,
}

impl Record {
    /// What is known of the login, if it may be used now.
    pub(super) fn facts(&self, days: u32) -> Result<&Arc<Facts>, &'static str> {
        if days == 0 {
            Err("[auth] offline_days is 0")
        } else if self.suspect {
            Err("it has been changed, and the directory could not be asked how")
        } else if is_older(self.known, days) {
            Err("its last login on this host is longer ago than [auth] offline_days")
        } else {
            Ok(&self.facts)
        }
    }

    /// What its password is verified by, if it may be used now.
    pub(super) fn verifier(&self, days: u32) -> Result<&Verifier, &'static str> {
        let verifier = self.verifier.as_ref().ok_or("it has not logged in on this host with a password")?;
        self.facts(days)?;
        if is_older(verifier.verified, days) {
            Err("its last login on this host with a password is longer ago than [auth] offline_days")
        } else if verifier.ends.is_some_and(|ends| now() >= ends) {
            Err("its password has ended since")
        } else {
            Ok(verifier)
        }
    }
}

/// All records. Of those without a verifier there are so many at most: whoever enters without a password costs this host no password check.
#[derive(Default)]
pub(super) struct Records {
    all: HashMap<LoginName, Record>,
    by_uid: HashMap<UserId, LoginName>,
    unproven: usize,
}

impl Records {
    pub(super) fn get(&self, name: &LoginName) -> Option<&Record> {
        self.all.get(name)
    }

    /// The one of this uid. Of two, the one that came last.
    pub(super) fn of_uid(&self, uid: UserId) -> Option<&Record> {
        self.get(self.by_uid.get(&uid)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&LoginName, &Record)> {
        self.all.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Puts a record in. Beyond `most` without a verifier that one goes which was confirmed longest ago: its name.
    pub(super) fn insert(&mut self, name: LoginName, record: Record, most: usize) -> Option<LoginName> {
        self.remove(&name);
        let mut gone = None;
        if record.verifier.is_none() {
            if self.unproven >= most {
                let unproven = self.all.iter().filter(|(_, record)| record.verifier.is_none());
                gone = unproven.min_by_key(|(_, record)| record.known).map(|(name, _)| name.clone());
                gone.as_ref().and_then(|name| self.remove(name));
            }
            self.unproven += 1;
        }
        self.by_uid.insert(record.facts.login.uid, name.clone());
        self.all.insert(name, record);
        gone
    }

    pub(super) fn remove(&mut self, name: &LoginName) -> Option<Record> {
        let record = self.all.remove(name)?;
        self.unproven -= usize::from(record.verifier.is_none());
        let uid = record.facts.login.uid;
        if self.by_uid.get(&uid) == Some(name) {
            self.by_uid.remove(&uid);
        }
        Some(record)
    }

    /// Makes a record suspect; whether there is one.
    pub(super) fn doubt(&mut self, name: &LoginName) -> bool {
        self.all.get_mut(name).map(|record| record.suspect = true).is_some()
    }

    /// The directory has confirmed again that this login enters.
    pub(super) fn renew(&mut self, name: &LoginName) {
        if let Some(record) = self.all.get_mut(name) {
            record.known = now();
        }
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn is_older(time: u64, days: u32) -> bool {
    now().saturating_sub(time) > u64::from(days) * 86_400
}
