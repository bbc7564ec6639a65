//! A whole directory into an empty one, and the proof that it is the same.

use std::collections::BTreeMap;
use std::fmt::Debug;

use schema::record::{Generation, Group, Login};
use sha2::{Digest, Sha256};

use super::store::{Parts, Store, Whole};
use super::{AccountsError, Thing};
use crate::directory::{DirectoryError, Entry, Kind};

/// What was copied, and found again.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    /// Logins with their hashes and capabilities.
    pub logins: usize,
    /// Groups with their members.
    pub groups: usize,
    /// Memberships.
    pub memberships: usize,
    /// Keys.
    pub keys: usize,
    /// Ids of deleted logins and groups.
    pub retired: usize,
    /// The generation of the copy.
    pub generation: Generation,
    /// What is not there as it was; empty: the copy is the same.
    pub differences: Vec<String>,
}

/// Copies, reads back and compares. `progress` gets what is going on, the steps done and how many there are.
///
/// # Errors
/// An entry of the source breaks the rules, the target is not empty or refuses an entry. Nothing is in the target then.
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    progress: &mut (dyn FnMut(&'static str, u64, u64) + Send),
) -> Result<Copied, AccountsError> {
    progress("reading", 0, 0);
    let source = from.whole(Parts::All).await?;
    sound(&source)?;
    empty(&to.whole(Parts::All).await?)?;
    let mut work = to.begin().await?;
    let steps = source.steps();
    work.take_over(&source, &mut |done| progress("writing", done, steps)).await?;
    let (generation, _) = work.commit().await?;
    progress("comparing", 0, 0);
    let there = to.whole(Parts::All).await?;
    Ok(Copied {
        logins: source.logins.len(),
        groups: source.groups.len(),
        memberships: source.memberships.len(),
        keys: source.keys.len(),
        retired: source.retired.len(),
        generation,
        differences: differences(&source, &there),
    })
}

/// Entries that break the rules cannot be copied as they are, and must not be lost without a word.
fn sound(source: &Whole) -> Result<(), AccountsError> {
    let logins = source.logins.iter().map(|login| quarantined(Thing::Login, &login.entry));
    let groups = source.groups.iter().map(|group| quarantined(Thing::Group, &group.entry));
    logins.chain(groups).find_map(Result::err).map_or(Ok(()), Err)
}

fn quarantined<T>(thing: Thing, entry: &Entry<T>) -> Result<(), AccountsError> {
    match entry {
        Entry::Valid(_) => Ok(()),
        Entry::Quarantined(entry) => {
            Err(AccountsError::Quarantined { thing, name: entry.name.clone(), reason: entry.reason.clone() })
        }
    }
}

fn empty(target: &Whole) -> Result<(), AccountsError> {
    let groups = target.groups.iter().filter(|group| group.rule.is_none()).count();
    let (logins, memberships, retired) = (target.logins.len(), target.memberships.len(), target.retired.len());
    if logins + groups + memberships + retired == 0 {
        return Ok(());
    }
    Err(AccountsError::Directory(DirectoryError::Refused(format!(
        "it is not empty: {logins} logins, {groups} groups, {memberships} memberships, {retired} retired ids; a copy goes into a new directory only"
    ))))
}

fn differences(source: &Whole, copy: &Whole) -> Vec<String> {
    let mut found = Vec::new();
    let logins = |whole: &Whole| -> BTreeMap<i64, (Option<Login>, [u8; 32])> {
        let valid = |entry: &Entry<Login>| match entry {
            Entry::Valid(login) => Some(login.clone()),
            Entry::Quarantined(_) => None,
        };
        // The hash itself must not get into a report: what is compared is a digest.
        let digest = |text: &str| -> [u8; 32] { Sha256::digest(text.as_bytes()).into() };
        let one =
            |login: &super::store::WholeLogin| (login.at.id, (valid(&login.entry), digest(login.password.expose())));
        whole.logins.iter().map(one).collect()
    };
    compare("login", &logins(source), &logins(copy), &mut found);
    let groups = |whole: &Whole| -> BTreeMap<i64, (Option<Group>, Option<String>)> {
        let valid = |entry: &Entry<Group>| match entry {
            Entry::Valid(group) => Some(group.clone()),
            Entry::Quarantined(_) => None,
        };
        whole.groups.iter().map(|group| (group.at.id, (valid(&group.entry), group.rule.clone()))).collect()
    };
    compare("group", &groups(source), &groups(copy), &mut found);
    let memberships = |whole: &Whole| -> BTreeMap<String, String> {
        let pair = |one: &schema::record::Membership| (one.name.to_string(), one.title.to_string());
        whole.memberships.iter().map(pair).collect()
    };
    compare("membership", &memberships(source), &memberships(copy), &mut found);
    let keys = |whole: &Whole| -> BTreeMap<(i64, String), _> {
        whole.keys.iter().map(|(uid, key)| ((*uid, key.fingerprint.clone()), (key.line.clone(), key.added))).collect()
    };
    compare("key", &keys(source), &keys(copy), &mut found);
    let retired = |whole: &Whole| -> BTreeMap<(bool, i64), _> {
        whole.retired.iter().map(|(kind, one)| ((*kind == Kind::Login, one.id), one.clone())).collect()
    };
    compare("retired id", &retired(source), &retired(copy), &mut found);
    if copy.next_id < source.next_id {
        found.push(format!("the next id is {} instead of {}", copy.next_id, source.next_id));
    }
    found
}

fn compare<K: Ord + Debug, V: PartialEq>(
    what: &str,
    source: &BTreeMap<K, V>,
    copy: &BTreeMap<K, V>,
    found: &mut Vec<String>,
) {
    for (key, value) in source {
        match copy.get(key) {
            None => found.push(format!("{what} {key:?} is missing")),
            Some(there) if there != value => found.push(format!("{what} {key:?} is another")),
            Some(_) => {}
        }
    }
    found.extend(copy.keys().filter(|key| !source.contains_key(key)).map(|key| format!("{what} {key:?} is too many")));
}
