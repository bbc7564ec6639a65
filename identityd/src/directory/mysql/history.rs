//! Which changes the numbers stand for that were read here. A number alone does not say it: when a replica becomes the primary that lacks changes, it gives
//! their numbers to others. Each change has a mark that no other one has (`change.seq`, a UUID_SHORT()), and the mark of the newest one says which history it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::feed::State;
use super::queries::Value;
use crate::directory::{Change, Kind};

/// The newest numbers whose marks are remembered: more than the follower asks for again (`feed::TAIL`).
const MARKS: usize = 64;
/// The newest changes whose entries are remembered.
const CHANGES: usize = 10_000;
/// So long nobody has to answer who has what was seen, until one that lacks some of it may: a primary that is only restarted is there again.
const PATIENT: Duration = Duration::from_secs(5);

/// How a server stands to what was read here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has all of it.
    #[default]
    Whole,
    /// It lacks the newest, or has others under their numbers.
    Lacking,
    /// Under a number that was read here it has another change.
    Other,
}

#[derive(Debug, Default)]
pub(super) struct History(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    marks: BTreeMap<u64, u64>,
    changes: VecDeque<Change>,
    /// Since when only servers answer that lack something.
    left: Option<Instant>,
}

impl History {
    /// The change of this number is this one.
    pub(super) fn note(&self, generation: u64, mark: Option<u64>) {
        let Some(mark) = mark.filter(|_| generation > 0) else { return };
        let mut told = self.lock();
        told.marks.insert(generation, mark);
        while told.marks.len() > MARKS {
            told.marks.pop_first();
        }
    }

    /// These were read, in their order.
    pub(super) fn tell(&self, changes: &[Change]) {
        let mut told = self.lock();
        let newest = told.changes.back().map(|change| change.generation);
        told.changes.extend(changes.iter().filter(|change| newest < Some(change.generation)).cloned());
        let more = told.changes.len().saturating_sub(CHANGES);
        told.changes.drain(..more);
    }

    /// Everything is read anew.
    pub(super) fn forget(&self) {
        *self.lock() = Told::default();
    }

    /// The newest number whose mark is known.
    pub(super) fn newest(&self) -> Option<u64> {
        self.lock().marks.last_key_value().map(|(generation, _)| *generation)
    }

    /// The mark of a number.
    pub(super) fn mark(&self, generation: u64) -> Option<u64> {
        self.lock().marks.get(&generation).copied()
    }

    /// Whether under this number there is another change than was read here. What is not known is none.
    pub(super) fn contradicts(&self, generation: u64, mark: Option<u64>) -> bool {
        matches!((self.mark(generation), mark), (Some(known), Some(mark)) if known != mark)
    }

    /// How a server stands that said this when it was asked for the mark of `asked`.
    pub(super) fn standing(&self, state: &State, asked: Option<u64>, seen: u64) -> Standing {
        if asked.is_some_and(|asked| self.contradicts(asked, state.asked)) {
            Standing::Other
        } else if state.generation < seen {
            Standing::Lacking
        } else {
            Standing::Whole
        }
    }

    /// A server answers that has everything, or none does.
    pub(super) fn is_whole(&self) {
        if self.lock().left.take().is_some() {
            tracing::info!("a server of the directory answers again that has all changes which were read here");
        }
    }

    /// Only servers answer that lack something. `true`: for so long that they may answer all the same.
    pub(super) fn is_left(&self, reason: &str) -> bool {
        let mut told = self.lock();
        if told.left.is_none() {
            tracing::warn!(reason, "only servers of the directory answer that lack changes which were read here");
        }
        told.left.get_or_insert_with(Instant::now).elapsed() >= PATIENT
    }

    /// Whether those that answer lack something; `true` in it: for so long that they may answer all the same.
    pub(super) fn left(&self) -> Option<bool> {
        self.lock().left.map(|since| since.elapsed() >= PATIENT)
    }

    /// Whether a question is about one entry that a server with the changes up to `has` may have in an older state.
    pub(super) fn has_changed(&self, values: &[(&str, Value<'_>)], has: u64) -> bool {
        let told = self.lock();
        let is_about = |change: &Change| {
            values.iter().any(|(what, value)| match (*what, value) {
                ("name", Value::Text(name)) => change.name == *name,
                ("uid", Value::Number(uid)) => change.kind == Kind::Login && i64::from(change.id) == *uid,
                ("gid", Value::Number(gid)) => change.kind == Kind::Group && i64::from(change.id) == *gid,
                _ => false,
            })
        };
        told.changes.iter().rev().take_while(|change| change.generation.0 > has).any(is_about)
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a question is about one entry, so that it can be told whether that has changed.
pub(super) fn is_about_one(values: &[(&str, Value<'_>)]) -> bool {
    matches!(values, [("name" | "uid" | "gid", _)])
}

/// What is kept beside a published generation: which directory it is, and the mark of its change.
pub(super) fn cursor(identity: &str, mark: Option<u64>) -> Vec<u8> {
    mark.map_or_else(|| identity.to_owned(), |mark| format!("{identity} {mark}")).into_bytes()
}

/// The two of a cursor.
pub(super) fn parts(cursor: &[u8]) -> (&str, Option<u64>) {
    let text = str::from_utf8(cursor).unwrap_or_default();
    text.split_once(' ').map_or((text, None), |(identity, mark)| (identity, mark.parse().ok()))
}

#[cfg(test)]
mod tests {
    use schema::record::Generation;

    use super::*;

    fn change(generation: u64, name: &str, id: u32) -> Change {
        Change { generation: Generation(generation), kind: Kind::Login, name: name.into(), id }
    }

    #[test]
    fn another_change_under_a_number_that_was_read_is_another_history() {
        let history = History::default();
        history.note(100, Some(7));
        let says = |generation: u64, asked: Option<u64>| State { generation, asked, ..State::default() };
        let standing = |state: &State, seen: u64| history.standing(state, history.newest(), seen);
        assert_eq!(standing(&says(100, Some(7)), 100), Standing::Whole);
        assert_eq!(standing(&says(130, Some(7)), 100), Standing::Whole);
        assert_eq!(standing(&says(130, Some(8)), 100), Standing::Other);
        assert_eq!(standing(&says(97, None), 100), Standing::Lacking);
        // The log does not reach back so far: then it is all read anew in any case.
        assert_eq!(standing(&says(900_000, None), 100), Standing::Whole);
    }

    #[test]
    fn a_replica_is_not_asked_about_what_has_changed_since() {
        let history = History::default();
        history.tell(&[change(98, "ana", 2000), change(99, "ben", 2001)]);
        history.tell(&[change(99, "ben", 2001), change(100, "cyd", 2002)]);
        assert!(history.has_changed(&[("name", Value::Text("ben"))], 98));
        assert!(history.has_changed(&[("uid", Value::Number(2002))], 98));
        assert!(!history.has_changed(&[("gid", Value::Number(2002))], 98));
        assert!(!history.has_changed(&[("name", Value::Text("ana"))], 98));
        assert!(is_about_one(&[("uid", Value::Number(1))]));
        assert!(!is_about_one(&[("after", Value::Number(1)), ("limit", Value::Number(9))]));
    }

    #[test]
    fn a_cursor_says_which_directory_and_which_change() {
        assert_eq!(parts(&cursor("a-b", Some(u64::MAX))), ("a-b", Some(u64::MAX)));
        assert_eq!(parts(&cursor("a-b", None)), ("a-b", None));
        assert_eq!(parts(b"\xff"), ("", None));
    }
}
