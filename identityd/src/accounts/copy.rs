//! A whole directory into an empty one, and the proof that it is the same.

use std::collections::BTreeMap;
use std::fmt::Debug;

use schema::record::{Generation, Group, Login};
use sha2::{Digest, Sha256};

use super::store::{Parts, Store, Whole, WholeGroup};
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
    /// What was left out on purpose.
    pub left_out: Vec<String>,
}

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Logins whose password crypt(5) does not take are copied without one, instead of refusing the copy.
    pub drop_foreign_passwords: bool,
}

/// Copies, reads back and compares. `progress` gets what is going on, the steps done and how many there are.
///
/// # Errors
/// An entry of the source breaks the rules, the target is not empty or refuses an entry. Nothing is in the target then; in LDAP what was written stays, and the same copy goes on from it.
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    options: CopyOptions,
    progress: &mut (dyn FnMut(&'static str, u64, u64) + Send),
) -> Result<Copied, AccountsError> {
    progress("reading", 0, 0);
    let mut source = from.whole(Parts::All).await?;
    sound(&source)?;
    let mut left_out = without_foreign_passwords(&source, options)?;
    left_out.extend(without_strangers(&mut source));
    let target = to.whole(Parts::All).await?;
    if !(to.goes_on() && is_part(&source, &target)) {
        empty(&target)?;
    }
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
        differences: differences(&source, &there, &|_| true),
        left_out,
    })
}

/// A hash in a form of somebody else's: not every directory can keep it, and nobody must lose a password without a word.
fn without_foreign_passwords(source: &Whole, options: CopyOptions) -> Result<Vec<String>, AccountsError> {
    const NAMED: usize = 20;
    let shown = |(name, form): &(String, String)| format!("{name} ({form})");
    if options.drop_foreign_passwords || source.foreign.is_empty() {
        return Ok(source.foreign.iter().map(|one| format!("the password of {}", shown(one))).collect());
    }
    let first: Vec<String> = source.foreign.iter().take(NAMED).map(shown).collect();
    let more = source.foreign.len().saturating_sub(NAMED);
    Err(AccountsError::Invalid(format!(
        "passwords that crypt(5) cannot check cannot be copied: {}{}; give these logins new ones first, or leave them without a password with --drop-foreign-passwords",
        first.join(", "),
        if more > 0 { format!(" and {more} more") } else { String::new() }
    )))
}

/// In LDAP a group may list names that nobody has. They are in nobody's answer, and no table can hold them.
fn without_strangers(source: &mut Whole) -> Vec<String> {
    let logins: std::collections::HashSet<&str> = source.logins.iter().map(|login| login.at.name.as_str()).collect();
    let mut left_out = Vec::new();
    for stored in &mut source.groups {
        if let Entry::Valid(group) = &mut stored.entry {
            group.members.retain(|member| {
                let known = logins.contains(member.as_str());
                if !known {
                    left_out.push(format!("{member} in the group {}: there is no such login", stored.at.name));
                }
                known
            });
        }
    }
    left_out
}

/// Whether everything of `target` is in `source` too, and the same there: the beginning of an interrupted copy.
fn is_part(source: &Whole, target: &Whole) -> bool {
    let begun = target.logins.len() + target.memberships.len() + target.retired.len() > 0
        || target.groups.iter().any(|group| group.rule.is_none());
    // What the source has more is not there yet. Groups with a rule every directory has.
    let differences = differences(target, source, &|group| group.rule.is_none());
    begun && differences.iter().all(|difference| difference.ends_with(TOO_MANY) || difference.starts_with(NEXT_ID))
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

fn differences(source: &Whole, copy: &Whole, which: &dyn Fn(&WholeGroup) -> bool) -> Vec<String> {
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
        let groups = whole.groups.iter().filter(|group| which(group));
        groups.map(|group| (group.at.id, (valid(&group.entry), group.rule.clone()))).collect()
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
        found.push(format!("{NEXT_ID} is {} instead of {}", copy.next_id, source.next_id));
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
    found.extend(copy.keys().filter(|key| !source.contains_key(key)).map(|key| format!("{what} {key:?} {TOO_MANY}")));
}

const NEXT_ID: &str = "the next id";
const TOO_MANY: &str = "is too many";
