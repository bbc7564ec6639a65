//! What a full reading would change of what is published.

use schema::snapshot::Answer;
use schema::snapshot::changes::{Change as Entry, Owned};
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::{Group, Kind, Login};

use crate::snapshot::Published;

/// Differences up to this go out as a delta; more are a base of their own.
const FEW: usize = 4096;
/// However few logins there are: so many may always go.
const ALWAYS: usize = 20;

/// How a reading differs from what is published.
#[derive(Debug, Default)]
pub struct Difference {
    /// All changes, in an order in which they can be applied. `None`: too many.
    pub(super) changes: Option<Vec<Entry>>,
    /// uids of published logins whose name would vanish, ascending.
    pub removed: Vec<u32>,
    /// Logins that are published.
    pub of: u64,
}

/// Whether so many logins may go without an administrator's word.
pub(super) fn is_too_much(removed: usize, of: u64, max_percent: u32) -> bool {
    removed > ALWAYS && removed as u64 * 100 > of * u64::from(max_percent)
}

/// Compares. `None`: one of the two is damaged.
pub(super) fn compare(published: &Published, new: &Snapshot<'_>) -> Option<Difference> {
    let mut walk = Walk::default();
    let mut removed = Vec::new();
    let mut of = 0;
    walk.differences(
        published.logins()?.inspect(|_| of += 1),
        new.base().entries::<Login<'_>>(),
        |one, other| one.record == other.record && one.packed_gids() == other.packed_gids(),
        |login, renamed| {
            if !renamed && new.login_by_name(login.name()) == Answer::Absent {
                removed.push(login.id());
            }
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
        |group, _| {
            Some([
                Entry::NoGroupNamed(std::str::from_utf8(group.name()).ok()?.parse().ok()?),
                Entry::NoGroupWith(group.id().try_into().ok()?),
            ])
        },
        |group| Entry::Group(Owned::from(group)),
    )?;
    // Who is there takes its name and id from whoever had it, so it comes last.
    walk.gone.append(&mut walk.there);
    Some(Difference { changes: (!walk.full).then_some(walk.gone), removed, of })
}

/// Differences, up to [`FEW`].
#[derive(Default)]
struct Walk {
    gone: Vec<Entry>,
    there: Vec<Entry>,
    full: bool,
}

impl Walk {
    /// Two lists in ascending order of id.
    fn differences<'a, 'b, O: Kind<'a>, N: Kind<'b>>(
        &mut self,
        old: impl Iterator<Item = O>,
        new: impl Iterator<Item = N>,
        same: impl Fn(&O, &N) -> bool,
        mut gone: impl FnMut(&O, bool) -> Option<[Entry; 2]>,
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
                        let entries = gone(&one, renamed)?;
                        self.keep(|walk| walk.gone.extend(entries.into_iter().take(if renamed { 1 } else { 2 })));
                    }
                    if let Some(other) = other {
                        self.keep(|walk| walk.there.push(there(other)));
                    }
                }
            }
        }
    }

    fn keep(&mut self, entry: impl FnOnce(&mut Self)) {
        self.full |= self.there.len() + self.gone.len() >= 2 * FEW;
        if !self.full {
            entry(self);
        }
    }
}
