//! What a full reading would change of what is published.

use schema::snapshot::Answer;
use schema::snapshot::changes::{Change as Entry, Owned};
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::{Group, Kind, Login};

use super::window::{Count, Entry as Vanished};
use crate::directory::Kind as EntryKind;
use crate::snapshot::Published;

/// Differences up to this go out as a delta; more are a base of their own.
const FEW: usize = 4096;

/// How a reading differs from what is published.
#[derive(Debug, Default)]
pub struct Difference {
    /// What is no longer there. `None`: too many.
    gone: Option<Vec<Entry>>,
    /// What is there now. `None`: too many.
    there: Option<Vec<Entry>>,
    /// Published logins and groups that would vanish: nobody has their name and id any more.
    pub removed: Removed,
}

impl Difference {
    /// All changes, in an order in which they can be applied. `None`: too many.
    pub(super) fn changes(self) -> Option<Vec<Entry>> {
        let (mut changes, there) = self.gone.zip(self.there)?;
        // Who is there takes its name and id from whoever had it, so it comes last.
        changes.extend(there);
        Some(changes)
    }

    /// Those that are new or other than before. `None`: too many.
    pub(super) fn there(self) -> Option<Vec<Entry>> {
        self.there
    }
}

/// Ids of what would vanish, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Of logins.
    pub uids: Vec<u32>,
    /// Of groups.
    pub gids: Vec<u32>,
}

impl Removed {
    pub(super) fn count(&self) -> Count {
        Count { logins: self.uids.len(), groups: self.gids.len() }
    }

    pub(super) fn without(&self, others: &Self) -> Self {
        let left = |ids: &[u32], others: &[u32]| -> Vec<u32> {
            ids.iter().copied().filter(|id| others.binary_search(id).is_err()).collect()
        };
        Self { uids: left(&self.uids, &others.uids), gids: left(&self.gids, &others.gids) }
    }

    /// As they are published.
    pub(super) fn entries(&self, published: &Published) -> Vec<Vanished> {
        let Some(snapshot) = published.snapshot() else { return Vec::new() };
        let logins = self.uids.iter().filter_map(|uid| match snapshot.login_by_uid(*uid) {
            Answer::Found(login) => Some(Vanished::new(EntryKind::Login, *uid, login.name())),
            _ => None,
        });
        let groups = self.gids.iter().filter_map(|gid| match snapshot.group_by_gid(*gid) {
            Answer::Found(group) => Some(Vanished::new(EntryKind::Group, *gid, group.name())),
            _ => None,
        });
        logins.chain(groups).collect()
    }
}

/// Compares. `None`: one of the two is damaged.
pub(super) fn compare(published: &Published, new: &Snapshot<'_>) -> Option<Difference> {
    let mut walk = Walk::default();
    let mut removed = Removed::default();
    walk.differences(
        published.logins()?,
        new.base().entries::<Login<'_>>(),
        |one, other| one.record == other.record && one.packed_gids() == other.packed_gids(),
        |login| {
            removed.uids.push(login.id());
            Some([
                Entry::NoLoginNamed(std::str::from_utf8(login.name()).ok()?.parse().ok()?),
                Entry::NoLoginWith(login.id().try_into().ok()?),
            ])
        },
        |login| Entry::Login(Owned::from(login)),
    )?;
    walk.differences(
        published.groups()?,
        new.base().entries::<Group<'_>>(),
        |one, other| one.record == other.record,
        |group| {
            removed.gids.push(group.id());
            Some([
                Entry::NoGroupNamed(std::str::from_utf8(group.name()).ok()?.parse().ok()?),
                Entry::NoGroupWith(group.id().try_into().ok()?),
            ])
        },
        |group| Entry::Group(Owned::from(group)),
    )?;
    let few = |changes: Vec<Entry>| (changes.len() < 2 * FEW).then_some(changes);
    Some(Difference { gone: few(walk.gone), there: few(walk.there), removed })
}

/// Differences, up to twice [`FEW`] of each sort: more than that is not told apart from that.
#[derive(Default)]
struct Walk {
    gone: Vec<Entry>,
    there: Vec<Entry>,
}

impl Walk {
    /// Two lists in ascending order of id.
    fn differences<'a, 'b, O: Kind<'a>, N: Kind<'b>>(
        &mut self,
        old: impl Iterator<Item = O>,
        new: impl Iterator<Item = N>,
        same: impl Fn(&O, &N) -> bool,
        mut gone: impl FnMut(&O) -> Option<[Entry; 2]>,
        there: impl Fn(N) -> Entry,
    ) -> Option<()> {
        let (mut old, mut new) = (old.peekable(), new.peekable());
        loop {
            let (one, other) = match (old.peek(), new.peek()) {
                (None, None) => return Some(()),
                (Some(one), Some(other)) if one.id() == other.id() => (old.next(), new.next()),
                (Some(one), Some(other)) if one.id() > other.id() => (None, new.next()),
                (Some(_), _) => (old.next(), None),
                (None, Some(_)) => (None, new.next()),
            };
            match (one, other) {
                (Some(one), Some(other)) if same(&one, &other) => {}
                (one, other) => {
                    let renamed = one.zip(other).is_some_and(|(one, other)| one.name() != other.name());
                    if let Some(one) = one.filter(|_| other.is_none() || renamed) {
                        // Of one that was renamed only the name is gone.
                        let entries = gone(&one)?;
                        let entries = entries.into_iter().take(if renamed { 1 } else { 2 });
                        self.gone.extend(entries.take((2 * FEW).saturating_sub(self.gone.len())));
                    }
                    if let Some(other) = other.filter(|_| self.there.len() < 2 * FEW) {
                        self.there.push(there(other));
                    }
                }
            }
        }
    }
}
