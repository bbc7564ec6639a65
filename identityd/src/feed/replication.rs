//! The follower's part in replica mode: brings changes to what is published, and has everything read anew where that will not do.

use std::time::Duration;

use schema::record::Generation;
use schema::snapshot::write::Notes;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

use super::steps::Step;
use super::{Change, Changes, DirectoryError, Follower, Lane, RETRY, spread};
use crate::cache::Source;
use crate::directory::Kind;
use crate::replica::{Limits, Loaded, Loading, MOST_CHANGES, Mark, Outcome, Replica, Rules, ask};
use crate::telemetry::meters;
use std::sync::Arc;

/// Local accounts and rules are in force for so long before everything is published under them: useradd(8) writes several files.
const SETTLED: Duration = Duration::from_millis(300);
/// After a load that was not published; doubled each time.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest such pause where it came to nothing.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// The same where it is held back: an administrator who is away for a weekend must not cost a full reading for each change.
const HELD_AT_MOST: Duration = Duration::from_secs(300);
/// Readings given up one after the other, after which no other is expected to end.
const GIVEN_UP: u32 = 3;
/// For publishing a reading, of however many entries.
const PUBLISH_WAIT: Duration = Duration::from_secs(60);
/// Changes during a load that are published with it; more come in the usual way afterwards.
const MOST_SINCE: usize = 20_000;

/// The directory is asked about one entry after the other; if it changes meanwhile, the answers are of two generations. They are then asked again, together
/// with the changes since, so often; where somebody writes without a pause they are published all the same, and mended with the next changes.
pub(super) const ATTEMPTS: u32 = 3;

/// How a look at the changes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// They are published, or nothing is.
    Yes,
    /// They are not, and will be tried again later.
    No,
    /// There are newer ones: come again with all of them.
    Overtaken,
}

/// What the follower knows of the replica.
pub(super) struct Replication {
    pub(super) replica: Arc<Replica>,
    /// No other host reads this directory.
    alone: bool,
    /// The files of an earlier life have been looked at.
    adopted: bool,
    /// What is published cannot be brought forward; everything must be read. The newest generation for which the cache was emptied.
    lost: Option<Generation>,
    /// Why everything is to be read.
    wanted: Option<String>,
    loading: Option<Loading>,
    /// What it was at too long already when it was last looked at.
    overdue: Option<Step>,
    /// Readings that were given up since the last that has ended.
    given_up: u32,
    load_after: Instant,
    pause: Duration,
    /// Under which what is published was judged; `None`: by an earlier life.
    rules: Option<Rules>,
    /// Their digest.
    policy: [u8; 16],
    /// Other rules, and since when they are in force.
    other: Option<(Rules, Instant)>,
    /// The last publication failed.
    failing: bool,
    /// A reading was held back: of this generation, under these rules.
    held: Option<(Generation, Rules)>,
    /// While something is held back: what has been added up to this is published.
    added: Option<Generation>,
}

impl Replication {
    pub(super) fn new(replica: Arc<Replica>, alone: bool) -> Self {
        Self {
            replica,
            alone,
            adopted: false,
            lost: None,
            wanted: None,
            loading: None,
            overdue: None,
            given_up: 0,
            load_after: Instant::now(),
            pause: AGAIN,
            rules: None,
            policy: [0; 16],
            other: None,
            failing: false,
            held: None,
            added: None,
        }
    }

    /// Whether something is published that changes can be added to, or that must be replaced.
    pub(super) fn is_published(&self) -> bool {
        self.adopted && self.replica.published().is_some()
    }

    /// Whether programs map files of an earlier life that this one has not taken over: they could not be opened, or not yet.
    pub(super) fn leaves_behind(&self) -> bool {
        !self.adopted && self.replica.is_mapped()
    }

    /// What is published stands still until everything has been read. It is the directory that says so, to all hosts of a fleet at once: each reads when its turn comes.
    pub(super) fn lost(&mut self, reason: &str, newest: Generation) {
        self.lost = Some(newest);
        self.wanted = Some(reason.into());
        // What is being read may be of before.
        self.loading = None;
        self.added = None;
        if !self.alone {
            let logins = self.replica.published().map_or(0, |published| published.counts().0);
            self.load_after = self.load_after.max(Instant::now() + spread::pause(logins, rand::random()));
        }
    }

    /// Whether everything that was seen is published, and nothing else is wanted.
    pub(super) fn is_in_step(&self) -> bool {
        self.is_published() && self.wanted.is_none() && self.lost.is_none() && !self.failing
    }

    /// When to look again although nothing has happened.
    pub(super) fn impatience(&self) -> Option<Duration> {
        if self.failing {
            return Some(RETRY);
        }
        if !self.adopted || self.other.is_some() {
            return Some(SETTLED / 2);
        }
        (self.wanted.is_some() && self.loading.is_none() && self.held.is_none())
            .then(|| self.load_after.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)))
    }
}

impl Follower {
    /// Goes on where an earlier life has ended. `true`: it has published something, and the directory is to be told.
    pub(super) fn adopt(&mut self) -> bool {
        let Some(replication) = &mut self.replica else { return false };
        if replication.adopted || !replication.replica.is_open() {
            return false;
        }
        replication.adopted = true;
        match replication.replica.generation() {
            Some(generation) => {
                let notes = replication.replica.notes().unwrap_or_default();
                let rules = self.host.upgrade().map(|host| host.rules());
                match rules.filter(|rules| rules.policy() == notes.policy) {
                    Some(rules) => replication.set_rules(rules),
                    None => {
                        let reason = "it was published under other local accounts, rules or settings of the directory";
                        replication.wanted = Some(reason.into());
                    }
                }
                self.feed.publish(generation, notes.cursor().to_vec(), true);
                true
            }
            None => {
                replication.wanted = Some("nothing is published yet".into());
                // Every program asks, and what is answered is of what was applied.
                self.feed.visible.send_replace(*self.feed.applied.borrow());
                self.feed.alter();
                false
            }
        }
    }

    pub(super) fn is_waiting_for_a_load(&self) -> bool {
        self.replica.as_ref().is_some_and(|replication| replication.lost.is_some())
    }

    /// Publishes these changes, up to this one.
    pub(super) async fn follow(
        &mut self,
        changes: &[Change],
        last: Generation,
        attempt: u32,
    ) -> Result<Followed, DirectoryError> {
        let Some(replication) = self.replica.as_mut().filter(|replication| replication.is_published()) else {
            return Ok(Followed::Yes);
        };
        if replication.replica.generation() < Some(*self.feed.applied.borrow()) {
            // An order of a follower that had been given up was carried out after all.
            replication.lost("what is published is of before", last);
            return Ok(Followed::No);
        }
        if changes.len() > MOST_CHANGES as usize {
            replication.lost("many changes have come together", last);
            return Ok(Followed::No);
        }
        let Some(host) = self.host.upgrade() else { return Ok(Followed::No) };
        let (rules, limits) = (host.rules(), Limits::from(&host.config().snapshot));
        let source = self.cache.source();
        let asking = || self.feed.steps.begin_long("asks for what has changed", source.longest());
        let entries = ask(source, &rules, changes, &asking).await?;
        asking();
        if attempt < ATTEMPTS && newest(source).await? != last {
            return Ok(Followed::Overtaken);
        }
        let mark = Mark { generation: last, notes: Notes::new(replication.policy, &source.cursor(last)) };
        self.feed.steps.begin("publishes changes");
        let outcome = replication.replica.follow(entries, mark, limits).await;
        replication.failing = outcome == Outcome::Failed;
        if outcome == Outcome::TooMuch {
            // Counting exactly, and waiting, is the load's.
            replication.lost("many logins would vanish", last);
        }
        Ok(if outcome == Outcome::Published { Followed::Yes } else { Followed::No })
    }

    /// Begins a load if one is wanted, and publishes one that has ended.
    pub(super) async fn replicate(&mut self, newest: Generation) -> Result<(), DirectoryError> {
        self.end_load(newest).await?;
        let (Some(replication), Some(host)) = (&mut self.replica, self.host.upgrade()) else { return Ok(()) };
        if let Some(flushed) = &mut replication.lost
            && *flushed != newest
        {
            // Nobody says which entries have changed.
            *flushed = newest;
            self.feed.steps.begin("drops what was kept of the directory");
            self.cache.flush().await;
        }
        let rules = host.rules();
        match &replication.rules {
            Some(published) if *published != rules => match &replication.other {
                Some((other, since)) if *other == rules => {
                    if since.elapsed() >= SETTLED && replication.loading.is_none() {
                        replication.wanted = Some("the local accounts or the rules have changed".into());
                        replication.other = None;
                    }
                }
                _ => replication.other = Some((rules.clone(), Instant::now())),
            },
            _ => replication.other = None,
        }
        if replication.replica.was_accepted() {
            replication.held = None;
            replication.load_after = Instant::now();
        }
        if replication.held.as_ref().is_some_and(|(generation, under)| *generation == newest && *under == rules) {
            return Ok(());
        }
        replication.held = None;
        self.add(newest, &rules).await?;
        let Some(replication) = &mut self.replica else { return Ok(()) };
        if replication.loading.is_some() || Instant::now() < replication.load_after || !replication.adopted {
            return Ok(());
        }
        let (Some(reason), Some(directory)) = (replication.wanted.as_deref(), self.cache.source().directory()) else {
            return Ok(());
        };
        let feed = Arc::clone(&self.feed);
        replication.loading = Some(replication.replica.load(directory, rules, reason, move || feed.wake.notify_one()));
        Ok(())
    }

    /// While a removal is held back, what is added does not wait for the next reading.
    async fn add(&mut self, newest: Generation, rules: &Rules) -> Result<(), DirectoryError> {
        let Some(replication) = &mut self.replica else { return Ok(()) };
        let Some(added) = replication.added.filter(|added| *added < newest) else { return Ok(()) };
        let source = self.cache.source();
        let asking = || self.feed.steps.begin_long("asks for what has been added", source.longest());
        asking();
        let changes = source
            .ask(Lane::Reserved, |directory| async move { directory.changes_after(added, MOST_CHANGES + 1).await })
            .await?;
        let changes = match changes {
            Changes::List(changes) if changes.len() <= MOST_CHANGES as usize => changes,
            // The next reading brings them.
            Changes::List(_) | Changes::Gap => {
                replication.added = None;
                return Ok(());
            }
        };
        let there = ask(source, rules, &changes, &asking).await?;
        self.feed.steps.begin("publishes what has been added");
        replication.added = Some(changes.last().map_or(newest, |change| change.generation));
        if replication.replica.add(there).await {
            self.feed.alter();
        }
        Ok(())
    }

    async fn end_load(&mut self, newest: Generation) -> Result<(), DirectoryError> {
        let Some(replication) = &mut self.replica else { return Ok(()) };
        let Some(loading) = &mut replication.loading else { return Ok(()) };
        let ended = match loading.ended.try_recv() {
            Err(TryRecvError::Empty) => {
                // Twice the same, as for the follower itself.
                let before = std::mem::replace(&mut replication.overdue, loading.steps.overdue());
                let Some(step) = replication.overdue.filter(|step| before == Some(*step)) else { return Ok(()) };
                let seconds = step.since.elapsed().as_secs();
                tracing::error!(
                    step = step.what,
                    seconds,
                    "the reading of the whole directory stands still, and is given up for another one; report this with the journal"
                );
                meters::stood_still("reading");
                replication.given_up += 1;
                if replication.given_up >= GIVEN_UP {
                    self.feed.steps.stands_still(step);
                }
                None
            }
            Err(TryRecvError::Closed) => None,
            Ok(ended) => {
                if replication.given_up >= GIVEN_UP {
                    self.feed.steps.goes_on();
                }
                replication.given_up = 0;
                Some(ended)
            }
        };
        let Some(Loading { rules, directory, .. }) = replication.loading.take() else { return Ok(()) };
        let still = self.cache.source().directory().is_some_and(|now| Arc::ptr_eq(&now, &directory));
        let outcome = match ended {
            Some(Ok(loaded)) if still => self.publish_load(loaded, rules, newest).await,
            // Another directory has taken its place meanwhile; or why it failed is in the log.
            Some(_) | None => Ok(Outcome::Overtaken),
        };
        // Whatever it was, another reading costs as much as this one.
        if let Some(replication) = &mut self.replica {
            match &outcome {
                Ok(Outcome::Published) => replication.pause = AGAIN,
                Ok(Outcome::TooMuch) => replication.put_off(HELD_AT_MOST),
                Ok(Outcome::Failed | Outcome::Overtaken) | Err(_) => replication.put_off(AGAIN_AT_MOST),
            }
        }
        outcome.map(drop)
    }

    async fn publish_load(
        &mut self,
        loaded: Loaded,
        rules: Rules,
        seen: Generation,
    ) -> Result<Outcome, DirectoryError> {
        let cache = Arc::clone(&self.cache);
        let source = cache.source();
        let applied = *self.feed.applied.borrow();
        let lost = self.is_waiting_for_a_load();
        let (mut since, mut at): (Vec<Change>, _) = (Vec::new(), loaded.generation);
        let (mut until, mut attempt) = (seen, 0);
        let asking = || self.feed.steps.begin_long("asks for what has changed since a reading", source.longest());
        let entries = loop {
            // Not less than what is published, unless that no longer counts.
            while at < until && (since.len() < MOST_SINCE || (!lost && at < applied)) {
                asking();
                let changes = source
                    .ask(Lane::Reserved, |directory| async move { directory.changes_after(at, MOST_CHANGES).await })
                    .await?;
                match changes {
                    Changes::List(changes) if !changes.is_empty() => {
                        at = changes.last().map_or(at, |change| change.generation);
                        since.extend(changes);
                    }
                    // It is no longer the directory that was read: once more.
                    Changes::List(_) | Changes::Gap => return Ok(Outcome::Overtaken),
                }
            }
            let entries = ask(source, &rules, &since, &asking).await?;
            asking();
            until = newest(source).await?;
            attempt += 1;
            if until <= at || attempt >= ATTEMPTS || since.len() >= MOST_SINCE {
                break entries;
            }
        };
        for entry in source.quarantine().replace(loaded.quarantined.clone()) {
            let kind = if entry.kind == Kind::Login { "login" } else { "group" };
            tracing::warn!(kind, name = entry.name, id = entry.id, reason = entry.reason, "not served: quarantined");
        }
        let Some(replication) = &mut self.replica else { return Ok(Outcome::Overtaken) };
        let Some(limits) = self.host.upgrade().map(|host| Limits::from(&host.config().snapshot)) else {
            return Ok(Outcome::Overtaken);
        };
        let mark = Mark { generation: at, notes: Notes::new(rules.policy(), &source.cursor(at)) };
        self.feed.steps.begin("drops what has changed");
        if lost {
            self.cache.flush().await;
        } else {
            self.cache.apply(&since).await;
        }
        self.feed.steps.begin_long("publishes a reading", PUBLISH_WAIT);
        let outcome = replication.replica.finish(loaded, entries, mark, limits).await;
        match outcome {
            Outcome::Published => {
                replication.set_rules(rules);
                replication.wanted = None;
                replication.lost = None;
                replication.held = None;
                replication.added = None;
            }
            Outcome::Failed => return Ok(outcome),
            Outcome::TooMuch => {
                // Read again when the directory or the rules have changed, or an administrator says so.
                replication.lost = Some(seen);
                replication.held = Some((seen, rules));
                replication.added = Some(at);
                self.feed.alter();
                return Ok(outcome);
            }
            Outcome::Overtaken => {
                replication.lost("many logins would vanish", seen);
                return Ok(outcome);
            }
        }
        self.tail.clear();
        self.remember(&since);
        self.publish(at);
        Ok(outcome)
    }
}

async fn newest(source: &Source) -> Result<Generation, DirectoryError> {
    source.ask(Lane::Reserved, |directory| async move { directory.generation().await }).await
}

impl Replication {
    fn set_rules(&mut self, rules: Rules) {
        self.policy = rules.policy();
        self.rules = Some(rules);
    }

    /// What a reading under way is at.
    #[cfg(test)]
    pub(super) fn reading(&self) -> Option<&super::Steps> {
        self.loading.as_ref().map(|loading| &*loading.steps)
    }

    /// The next reading is begun at once.
    #[cfg(test)]
    pub(super) fn do_not_wait(&mut self) {
        self.load_after = Instant::now();
    }

    /// No other reading before this, each time twice as long.
    fn put_off(&mut self, at_most: Duration) {
        self.load_after = Instant::now() + self.pause.min(at_most);
        self.pause = (self.pause * 2).min(at_most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Places;

    #[test]
    fn each_reading_in_vain_doubles_the_pause_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places {
            live: folder.path().join("live"),
            kept: folder.path().join("kept"),
            visibility: schema::snapshot::control::Visibility::Open,
        };
        let mut replication = Replication::new(Replica::start_in(places).unwrap(), false);
        let mut pauses = |at_most: Duration, times: usize| -> Vec<u64> {
            let pause = |_| {
                let before = Instant::now();
                replication.put_off(at_most);
                // Above by what passed between the two.
                replication.load_after.duration_since(before).as_secs()
            };
            (0..times).map(pause).collect()
        };
        assert_eq!(pauses(HELD_AT_MOST, 8), [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pauses(AGAIN_AT_MOST, 2), [60, 60]);
    }
}
