//! The newest generation, and the changes after one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use schema::record::Generation;
use sqlx::mysql::MySqlRow;

use super::Inner;
use super::history::{self, Standing};
use super::node::{Node, Role};
use super::queries::{FeedQueries, Value};
use crate::directory::servers::Fault;
use crate::directory::sql::Columns;
use crate::directory::{Change, Changes, DirectoryError, Kind};

/// A replica is usually some milliseconds behind its primary: so long is waited for it, in steps, before the next poll finds the rest.
const LAG: [Duration; 3] = [Duration::from_millis(4), Duration::from_millis(10), Duration::from_millis(25)];

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) generation: u64,
    pub(super) identity: String,
    /// Something is committed and not numbered.
    pub(super) pending: bool,
    pub(super) writable: bool,
    /// Of its newest change.
    pub(super) mark: Option<u64>,
    /// Of the change that it was asked for.
    pub(super) asked: Option<u64>,
    pub(super) standing: Standing,
}

impl State {
    pub(super) fn read(server: &str, rows: &[MySqlRow]) -> Result<Self, DirectoryError> {
        let damaged = |reason: &str| DirectoryError::Damaged { directory: server.into(), reason: reason.into() };
        let row = rows.first().ok_or_else(|| damaged("the row of the table directory is gone; restore a backup"))?;
        let generation = row.number("generation").map_err(|error| damaged(&error))?.unwrap_or(0);
        Ok(Self {
            generation: u64::try_from(generation).unwrap_or(0),
            identity: String::from_utf8_lossy(&row.bytes("identity")).into_owned(),
            pending: row.number("pending").ok().flatten().is_some_and(|pending| pending > 0),
            writable: row.number("read_only") == Ok(Some(0)),
            mark: mark(row, "mark"),
            asked: mark(row, "known_mark"),
            standing: Standing::Whole,
        })
    }
}

/// Whether changes get their numbers; since when not, and why. Answers go on as of what was numbered before.
#[derive(Debug, Default)]
pub(super) struct Numbering(Mutex<Option<(Instant, String)>>);

impl Numbering {
    /// For how long they have not, and why.
    pub(super) fn not_followed(&self) -> Option<(Duration, String)> {
        self.lock().as_ref().map(|(since, reason)| (since.elapsed(), reason.clone()))
    }

    fn works(&self) {
        if self.lock().take().is_some() {
            tracing::info!("changes are numbered again");
        }
    }

    fn fails(&self, error: &DirectoryError) {
        let reason = format!(
            "they cannot be numbered: {error}; it needs a server that can be written (read_only = 0), and EXECUTE on number_changes there"
        );
        let mut failing = self.lock();
        if failing.is_none() {
            tracing::warn!(%error, "changes cannot be numbered: none becomes visible until that is mended");
        }
        let since = failing.take().map_or_else(Instant::now, |(since, _)| since);
        *failing = Some((since, reason));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The newest generation that can be read now. What is committed on the primary is numbered first; while it is away, the others still have what
    /// was numbered before.
    pub(super) async fn generation(&self) -> Result<u64, DirectoryError> {
        match &self.queries.feed {
            FeedQueries::Own { .. } => {
                let near = self.nearest().await?;
                if near.standing != Standing::Whole {
                    return Ok(near.generation);
                }
                // The usual case, one question a poll: it is the primary itself, and nothing is pending.
                if near.writable && !near.pending {
                    self.numbering.works();
                    return Ok(near.generation);
                }
                let newest = match self.number_pending(&near).await {
                    Ok(newest) => newest,
                    Err(error) => {
                        self.numbering.fails(&error);
                        return Ok(near.generation);
                    }
                };
                self.numbering.works();
                let mut shown = if near.writable { newest } else { near.generation };
                for pause in LAG {
                    if shown >= newest {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                    shown = self.nearest().await?.generation;
                }
                // Before anybody goes on from it: if the primary dies now, a replica without it must be known to lack it.
                self.seen.fetch_max(shown, Ordering::Relaxed);
                Ok(shown)
            }
            FeedQueries::Log { .. } => {
                let near = self.nearest().await?;
                if near.standing == Standing::Whole {
                    self.numbering.works();
                }
                Ok(near.generation)
            }
            FeedQueries::Updated { since } => self.noticed.look(self, since.as_ref()).await,
        }
    }

    /// Numbers what is committed on the primary; its newest generation.
    pub(super) async fn number(&self) -> Result<u64, DirectoryError> {
        let at = self.find_primary().await?;
        match self.nodes.get(at) {
            Some(node) => self.number_at(node).await,
            None => Err(self.nowhere("no such server")),
        }
    }

    async fn number_at(&self, node: &Arc<Node>) -> Result<u64, DirectoryError> {
        let FeedQueries::Own { number, .. } = &self.queries.feed else {
            return Err(DirectoryError::Refused(
                "these tables have a feed of their own: there is nothing to number".into(),
            ));
        };
        let state = State::read(&node.name, &node.call(number, &[]).await?)?;
        node.shows(state.generation);
        self.seen.fetch_max(state.generation, Ordering::Relaxed);
        Ok(state.generation)
    }

    /// Numbers what is pending, unless another host does. All of a fleet see it within one poll, and numbering takes the lock of one row: each waits for a moment of its
    /// own before it begins, and most find it done then.
    async fn number_pending(&self, near: &State) -> Result<u64, DirectoryError> {
        // The nearest server may just have said that it is the primary, and what is pending.
        let at = if near.writable { self.primary.load(Ordering::Relaxed) } else { self.find_primary().await? };
        let Some(node) = self.nodes.get(at) else { return Err(self.nowhere("no such server")) };
        let state = if near.writable { near.clone() } else { self.state(at, node).await? };
        if !state.pending {
            return Ok(state.generation);
        }
        let longest = self.config.poll.0.min(self.config.server_timeout.0 / 2);
        tokio::time::sleep(longest.mul_f64(rand::random())).await;
        let now = self.state(at, node).await?;
        // What is pending after somebody has numbered came later: the next poll finds it.
        if now.pending && now.generation == state.generation { self.number_at(node).await } else { Ok(now.generation) }
    }

    /// What the nearest server says that has all that was seen. The primary is believed whatever it says: after a restored backup, or when a replica was promoted that
    /// lacked changes, it has others under these numbers. Where for long only servers answer that lack something, nothing is new.
    async fn nearest(&self) -> Result<State, DirectoryError> {
        let lacking = Mutex::new(None);
        let asked = self
            .servers
            .ask(async |at| {
                let node = self.node(at)?;
                let state = self.state(at, node).await?;
                let believed = state.writable || self.nodes.len() == 1;
                match state.standing {
                    Standing::Whole => Ok(state),
                    _ if believed => self.turned(node, state),
                    _ => {
                        let fault = self.lacks(node, &state);
                        lacking.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(state);
                        Err(fault)
                    }
                }
            })
            .await;
        let lacking = lacking.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (asked, lacking) {
            (Ok(state), _) => {
                self.history.is_whole();
                self.history.note(state.generation, state.mark);
                self.seen.fetch_max(state.generation, Ordering::Relaxed);
                Ok(state)
            }
            (Err(error @ DirectoryError::Unavailable { .. }), Some(state)) => {
                self.numbering.fails(&error);
                if !self.history.is_left(&error.to_string()) {
                    return Err(error);
                }
                Ok(State { generation: self.seen.load(Ordering::Relaxed), writable: false, pending: false, ..state })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The primary lacks what was read here, or has something else in its place.
    fn turned(&self, node: &Node, state: State) -> Result<State, Fault> {
        if !matches!(self.queries.feed, FeedQueries::Own { .. }) {
            // The follower compares the newest changes.
            self.history.forget();
            self.seen.store(state.generation, Ordering::Relaxed);
            return Ok(State { standing: Standing::Whole, ..state });
        }
        let reason = format!(
            "it is at generation {}, and here {} was read; as after the promotion of a replica that lacked changes, or a restored backup",
            state.generation,
            self.history.newest().unwrap_or_default().max(self.seen.load(Ordering::Relaxed))
        );
        Err(Fault::Final(DirectoryError::Turned { directory: node.name.clone(), reason }))
    }

    /// Whether what was published with this cursor can be gone on after.
    pub(super) async fn go_on(&self, generation: Generation, cursor: &[u8]) -> Result<bool, DirectoryError> {
        let (identity, mark) = history::parts(cursor);
        // Whichever answers, behind or not: each says which directory it holds.
        let state = self.servers.ask(async |at| Ok(self.state(at, self.node(at)?).await?)).await?;
        if state.identity != identity {
            return Ok(false);
        }
        self.history.note(generation.0, mark);
        self.seen.fetch_max(generation.0, Ordering::Relaxed);
        loop {
            match self.generation().await {
                Ok(_) => return Ok(true),
                Err(DirectoryError::Turned { .. }) => {
                    self.history.forget();
                    self.seen.store(0, Ordering::Relaxed);
                    return Ok(false);
                }
                // Who opens the directory once more begins to wait once more.
                Err(DirectoryError::Unavailable { .. }) if self.history.left() == Some(false) => {
                    tokio::time::sleep(self.config.poll.0).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn changes(&self, since: Generation, limit: u32) -> Result<Changes, DirectoryError> {
        let query = match &self.queries.feed {
            FeedQueries::Own { changes, .. } | FeedQueries::Log { changes, .. } => changes,
            FeedQueries::Updated { .. } => return Ok(self.noticed.after(since, limit)),
        };
        let number = i64::try_from(since.0).unwrap_or(i64::MAX);
        let values = [("since", Value::Number(number)), ("limit", Value::Number(limit.into()))];
        let rows = self.ask(Role::Reader, query, &values).await.map_err(|error| match error {
            // Nothing is wrong with those that answer but that they do not have this.
            DirectoryError::Unavailable { directory, reason } if self.history.left() == Some(true) => {
                DirectoryError::Outdated { directory, reason }
            }
            error => error,
        })?;
        let column =
            |row: &MySqlRow, name: &str| row.number(name).ok().flatten().and_then(|number| u64::try_from(number).ok());
        let oldest = rows.first().and_then(|row| column(row, "oldest"));
        let newest = rows.first().and_then(|row| column(row, "newest"));
        if oldest.is_some_and(|oldest| oldest > since.0 + 1) || newest.is_some_and(|newest| newest < since.0) {
            return Ok(Changes::Gap);
        }
        let other = |row: &MySqlRow| {
            column(row, "generation").is_some_and(|generation| self.history.contradicts(generation, mark(row, "mark")))
        };
        let began = rows.first().and_then(|row| mark(row, "since_mark"));
        if self.history.contradicts(since.0, began) || rows.iter().any(other) {
            return Ok(Changes::Gap);
        }
        let changes: Vec<Change> = rows.iter().filter_map(change).collect();
        if let (Some(change), Some(row)) = (changes.last(), rows.last()) {
            self.history.note(change.generation.0, mark(row, "mark"));
        }
        self.history.tell(&changes);
        Ok(Changes::List(changes))
    }
}

/// The mark of a change in a row, as a text: it may be too large for a signed number.
pub(super) fn mark(row: &MySqlRow, column: &str) -> Option<u64> {
    str::from_utf8(&row.bytes(column)).ok()?.parse().ok()
}

/// A change from a row; `None` for the row that only has the counters.
fn change(row: &MySqlRow) -> Option<Change> {
    let generation = row.number("generation").ok().flatten().and_then(|number| u64::try_from(number).ok())?;
    named(row).map(|(kind, name, id)| Change { generation: Generation(generation), kind, name, id })
}

/// What a row of a feed is about.
pub(super) fn named(row: &MySqlRow) -> Option<(Kind, String, u32)> {
    let kind = match row.bytes("kind").as_slice() {
        b"group" => Kind::Group,
        b"login" => Kind::Login,
        _ => return None,
    };
    let id = row.number("id").ok().flatten().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
    Some((kind, String::from_utf8_lossy(&row.bytes("name")).into_owned(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_changes_are_not_numbered_is_a_trouble_until_they_are() {
        let numbering = Numbering::default();
        assert_eq!(numbering.not_followed(), None);
        numbering.fails(&DirectoryError::Refused("no server can be written".into()));
        let (_, reason) = numbering.not_followed().unwrap();
        assert!(reason.contains("no server can be written") && reason.contains("EXECUTE"), "{reason}");
        numbering.works();
        assert_eq!(numbering.not_followed(), None);
    }
}
