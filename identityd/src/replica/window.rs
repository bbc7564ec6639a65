//! What has vanished of late. Who deletes logins one by one takes as many away as who deletes them together, so a removal is judged with those
//! before it: over a sliding window, and across restarts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::snapshot::Answer;
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::Kind as _;

use crate::config;
use crate::directory::Kind;
use crate::snapshot::Published;

/// However few there are: so many logins, and so many groups, may always go within a window.
const ALWAYS: usize = 20;
/// Looks at how many there are, in one window.
const SAMPLES: u64 = 60;
/// The first line of the record.
const HEAD: &str = "identityd removals 1";

/// How much may vanish without an administrator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Percent of the logins, and of the groups, that were published when the window began. 100: all.
    pub percent: u32,
    /// How long a window is.
    pub within: Duration,
}

impl From<&config::Snapshot> for Limits {
    fn from(configured: &config::Snapshot) -> Self {
        Self { percent: configured.max_removed, within: configured.removed_within.0 }
    }
}

/// A login or group as it was published. Who has its name under another id, or its id under another name, is somebody else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    group: bool,
    id: u32,
    name: Box<[u8]>,
}

impl Entry {
    pub(super) fn new(kind: Kind, id: u32, name: &[u8]) -> Self {
        Self { group: kind == Kind::Group, id, name: name.into() }
    }

    fn is_in(&self, snapshot: &Snapshot<'_>) -> bool {
        match self.group {
            true => matches!(snapshot.group_by_gid(self.id), Answer::Found(group) if group.name() == &*self.name),
            false => matches!(snapshot.login_by_uid(self.id), Answer::Found(login) if login.name() == &*self.name),
        }
    }
}

/// How many of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) logins: usize,
    pub(super) groups: usize,
}

impl Count {
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut count = Self::default();
        for entry in entries {
            *if entry.group { &mut count.groups } else { &mut count.logins } += 1;
        }
        count
    }
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { logins: self.logins + other.logins, groups: self.groups + other.groups }
    }
}

/// The removals of the last while, and of how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// How many were published, by when (seconds since 1970). The first of the window is what a share is of: logins that came since make none of them cheaper.
    samples: BTreeMap<u64, Count>,
    /// What has vanished and not come back, and when.
    gone: BTreeMap<Entry, u64>,
    /// The record of an earlier life could not be read: it may have used up everything.
    lost: Option<u64>,
    /// Since then something is held back. Nothing is forgotten until that has ended: waiting lets nothing through.
    held: Option<u64>,
}

impl Window {
    /// Without a record of what has vanished before.
    pub(super) fn lost(now: u64) -> Self {
        Self { lost: Some(now), ..Self::default() }
    }

    /// After an administrator's word: what has vanished until now counts no more.
    pub(super) fn forgive(&mut self) {
        *self = Self::default();
    }

    /// Forgets what is older than the window or has come back, and notes how many are published now.
    pub(super) fn slide(&mut self, now: u64, within: Duration, published: &Published) {
        self.forget(now, within);
        if !self.gone.is_empty()
            && let Some(snapshot) = published.snapshot()
        {
            self.gone.retain(|entry, _| !entry.is_in(&snapshot));
        }
        self.see(now, within, || {
            let (logins, groups) = published.counts();
            Count { logins: logins as usize, groups: groups as usize }
        });
    }

    fn forget(&mut self, now: u64, within: Duration) {
        let start = self.held.unwrap_or(now).min(now).saturating_sub(within.as_secs());
        self.samples = self.samples.split_off(&start);
        self.gone.retain(|_, at| *at >= start);
        self.lost = self.lost.filter(|at| *at >= start);
    }

    fn see(&mut self, now: u64, within: Duration, count: impl FnOnce() -> Count) {
        let often = (within.as_secs() / SAMPLES).max(1);
        // Where the clock was set back it is as late as before.
        let due = self.samples.last_key_value().is_none_or(|(at, _)| now.saturating_sub(*at) >= often);
        if due {
            let count = count();
            // Of none nothing can vanish: a directory that is being filled begins with its first logins.
            if count != Count::default() {
                self.samples.insert(now, count);
            }
        }
    }

    /// Whether so many may not go, beside those that have.
    pub(super) fn is_too_much(&self, more: Count, limits: Limits) -> bool {
        let (gone, of) = (self.gone(), self.of());
        let percent = if self.lost.is_some() { 0 } else { limits.percent as usize };
        let exceeds = |gone: usize, more: usize, of: usize| {
            more > 0 && gone + more > ALWAYS && (gone + more) * 100 > of * percent
        };
        limits.percent < 100
            && (exceeds(gone.logins, more.logins, of.logins) || exceeds(gone.groups, more.groups, of.groups))
    }

    /// What was published when the window began.
    fn of(&self) -> Count {
        self.samples.first_key_value().map(|(_, count)| *count).unwrap_or_default()
    }

    /// How many have vanished in it.
    pub(super) fn gone(&self) -> Count {
        Count::of(self.gone.keys())
    }

    /// Counts these as vanished.
    pub(super) fn count(&mut self, now: u64, removed: impl IntoIterator<Item = Entry>) {
        self.gone.extend(removed.into_iter().map(|entry| (entry, now)));
    }

    /// Whether something is held back, perhaps since an earlier life.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Something is held back from now on.
    pub(super) fn hold(&mut self, now: u64) {
        self.held.get_or_insert(now);
    }

    /// Nothing is held back any more.
    pub(super) fn let_go(&mut self) {
        self.held = None;
    }

    fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        // Writing to a String cannot fail.
        for (at, count) in &self.samples {
            let _ = writeln!(text, "published {at} {} {}", count.logins, count.groups);
        }
        for (at, what) in [(self.lost, "lost"), (self.held, "held")] {
            let _ = at.map(|at| writeln!(text, "{what} {at}"));
        }
        for (entry, at) in &self.gone {
            let kind = if entry.group { "group" } else { "login" };
            let _ = writeln!(text, "{kind} {at} {} {}", entry.id, String::from_utf8_lossy(&entry.name));
        }
        text + "end\n"
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix("end\n")?.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut window = Self::default();
        for line in lines {
            let mut words = line.split(' ');
            let (what, at) = (words.next()?, words.next()?.parse().ok()?);
            match what {
                "published" => {
                    let count = Count { logins: words.next()?.parse().ok()?, groups: words.next()?.parse().ok()? };
                    window.samples.insert(at, count);
                }
                "lost" => window.lost = Some(at),
                "held" => window.held = Some(at),
                "login" | "group" => {
                    let (id, name) = (words.next()?.parse().ok()?, words.next()?.as_bytes().into());
                    window.gone.insert(Entry { group: what == "group", id, name }, at);
                }
                _ => return None,
            }
            if words.next().is_some() {
                return None;
            }
        }
        Some(window)
    }
}

/// The file in which a life tells the next one what has vanished.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    /// One writes at a time.
    turn: Mutex<()>,
    /// Somebody waits for the turn.
    waiting: AtomicBool,
    /// There is something to be noted.
    news: AtomicBool,
}

impl Record {
    /// Beside the copy of the snapshot.
    pub(super) fn in_directory(kept: &Path) -> Self {
        Self {
            path: kept.join("removals"),
            turn: Mutex::default(),
            waiting: AtomicBool::new(false),
            news: AtomicBool::new(false),
        }
    }

    /// What an earlier life has noted. Where that cannot be known, as if it had let go of as much as it may.
    pub(super) fn read(&self, now: u64) -> Window {
        let read = std::fs::read_to_string(&self.path);
        match read.as_deref().map(Window::from_text) {
            Ok(Some(window)) => window,
            Ok(None) => {
                tracing::warn!(file = %self.path.display(), "damaged: for a while few logins may vanish without an administrator's word");
                Window::lost(now)
            }
            Err(error) => {
                tracing::info!(file = %self.path.display(), %error, "what has vanished before is not known: for a while few logins may vanish without an administrator's word");
                Window::lost(now)
            }
        }
    }

    /// There is something to be noted. `true`: somebody waits already to do so, on a disk that hangs, and will note this as well.
    pub(super) fn is_waited_for(&self, news: bool) -> bool {
        self.news.fetch_or(news, Ordering::SeqCst);
        self.waiting.swap(true, Ordering::SeqCst)
    }

    /// Notes on the disk what there is to be noted when its turn has come, so that the last of several is not the oldest. Without news only where there is no record yet.
    pub(super) fn write(&self, window: impl FnOnce() -> Window) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(false, Ordering::SeqCst);
        if !self.news.swap(false, Ordering::SeqCst) && self.path.exists() {
            return;
        }
        let window = window();
        if let Err(error) = self.try_write(&window.to_text()) {
            // What this life knows of it stays in force, and is noted with the next.
            self.news.store(true, Ordering::SeqCst);
            tracing::warn!(file = %self.path.display(), %error, "what has vanished of late cannot be noted for the next start");
        }
    }

    fn try_write(&self, text: &str) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if !directory.exists() {
            std::fs::DirBuilder::new().mode(0o700).create(directory)?;
        }
        let new = self.path.with_file_name("new.removals");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        std::fs::File::open(directory)?.sync_all()
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIMITS: Limits = Limits { percent: 10, within: HOUR };

    fn logins(logins: usize) -> Count {
        Count { logins, groups: 0 }
    }

    fn gone(at: u64, uids: std::ops::Range<u32>) -> Window {
        let mut window = Window { samples: [(at, logins(1000))].into(), ..Window::default() };
        window.count(at, uids.map(|uid| Entry::new(Kind::Login, uid, b"ana")));
        window
    }

    #[test]
    fn what_has_vanished_counts_with_what_is_to_vanish() {
        let window = gone(10_000, 0..60);
        assert!(!window.is_too_much(logins(40), LIMITS));
        assert!(window.is_too_much(logins(41), LIMITS));
        // Nothing more is nothing too much.
        assert!(!gone(10_000, 0..200).is_too_much(Count { logins: 0, groups: 3 }, LIMITS));
        assert!(!window.is_too_much(logins(1000), Limits { percent: 100, ..LIMITS }));
    }

    #[test]
    fn after_its_time_a_removal_is_forgotten_unless_something_is_held_back() {
        let mut window = gone(10_000, 0..100);
        window.forget(13_600, HOUR);
        assert_eq!(window.gone(), logins(100));
        let mut holding = window.clone();
        holding.hold(13_600);
        for (window, left) in [(&mut window, 0), (&mut holding, 100)] {
            window.forget(13_601, HOUR);
            assert_eq!(window.gone(), logins(left));
        }
        holding.let_go();
        holding.forget(13_601, HOUR);
        assert_eq!(holding.gone(), logins(0));
    }

    #[test]
    fn logins_that_came_since_make_no_removal_cheaper() {
        let mut window = Window::default();
        window.see(10_000, HOUR, Count::default);
        window.see(10_001, HOUR, || logins(1000));
        window.see(11_000, HOUR, || logins(50_000));
        assert_eq!(window.of(), logins(1000));
        window.forget(13_602, HOUR);
        assert_eq!(window.of(), logins(50_000));
    }

    #[test]
    fn without_a_record_few_may_vanish_for_the_length_of_a_window() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::in_directory(&folder.path().join("kept"));
        let window = Window { samples: [(10_000, logins(1000))].into(), ..record.read(10_000) };
        assert!(!window.is_too_much(logins(20), LIMITS));
        assert!(window.is_too_much(logins(21), LIMITS));
        record.write(|| window.clone());
        assert!(!record.is_waited_for(false));
        record.write(|| unreachable!("it is there, and there is no news"));
        assert!(!record.is_waited_for(true) && record.is_waited_for(false));
        record.write(|| window.clone());
        let mut window = record.read(13_000);
        window.forget(13_601, HOUR);
        window.see(13_601, HOUR, || logins(1000));
        assert!(!window.is_too_much(logins(21), LIMITS));
        std::fs::write(folder.path().join("kept/removals"), "identityd removals 1\nlogin 7").unwrap();
        assert_eq!(record.read(7), Window::lost(7));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::in_directory(folder.path());
        let mut window = gone(10_000, 0..3);
        window.count(10_001, [Entry::new(Kind::Group, 7, b"web")]);
        window.hold(10_002);
        record.write(|| window.clone());
        assert_eq!(record.read(20_000), window);
    }
}
