//! Everything anew: the whole directory, read beside what is published and written into a new base.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use schema::record::{Generation, Group};
use schema::snapshot::write::{WriteError, Writer};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::compare::{Difference, compare};
use super::entry::Rules;
use super::owner::Command;
use super::{NotPublished, Replica};
use crate::directory::{Directory, DirectoryError, Entry, Kind, Quarantined, StockedLogin};
use crate::feed::Steps;
use crate::memory;
use crate::snapshot::{self, PublishError, SnapshotFile};

/// For one page. A directory that says nothing for so long says nothing more.
const PAGE_WAIT: Duration = Duration::from_secs(60);
/// Before the first page. One in LDAP has to be read whole before it can be sorted (15 s for 100,000 logins, and more on a busy machine), and notices itself when its server stops.
const OPEN_WAIT: Duration = Duration::from_secs(900);
/// For the indexes and checksums of the files: some seconds for a million.
const FILES_WAIT: Duration = Duration::from_secs(300);
/// Between two lines of the log.
const TELL: Duration = Duration::from_secs(3);
/// Pages read ahead: reading, judging and writing go on at the same time.
const AHEAD: usize = 2;
/// After the end of a reading, until all of its memory is free.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Quarantined entries that are remembered one by one.
const MOST: usize = 10_000;

/// A load under way.
#[derive(Debug)]
pub struct Loading {
    /// Its end.
    pub ended: oneshot::Receiver<Result<Loaded, LoadError>>,
    /// The rules that it applies.
    pub rules: Rules,
    /// The directory that is being read.
    pub directory: Arc<dyn Directory>,
    /// What it is at.
    pub(crate) steps: Arc<Steps>,
    _wanted: Wanted,
}

/// Dropped, it says that nobody waits for the load any more.
#[derive(Debug)]
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for dyn Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Directory")
    }
}

/// The directory as it was at one generation, written and not yet published.
pub struct Loaded {
    pub(super) base: snapshot::Loaded,
    /// All changes up to this are in it.
    pub generation: Generation,
    /// What is not published, and why.
    pub quarantined: Vec<Quarantined>,
    /// How it differs from what is published. `None`: nothing was.
    pub difference: Option<Difference>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// Why a load came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The files could not be written.
    #[error(transparent)]
    Files(#[from] PublishError),
    /// There is no thread to do it, or none to publish it.
    #[error(transparent)]
    Ended(#[from] NotPublished),
}

/// By what a load is known to others.
struct Watched {
    steps: Arc<Steps>,
    wanted: Arc<AtomicBool>,
    number: u64,
}

enum Page {
    Logins(Vec<StockedLogin>),
    Groups(Vec<Entry<Group>>),
}

impl Replica {
    /// Begins to read everything. `then` is called at its end, whatever that is.
    pub fn load(
        self: &Arc<Self>,
        directory: Arc<dyn Directory>,
        rules: Rules,
        reason: &str,
        then: impl FnOnce() + Send + 'static,
    ) -> Loading {
        let (done, ended) = oneshot::channel();
        let steps = Arc::new(Steps::default());
        let wanted = Arc::new(AtomicBool::new(true));
        let loading = Loading {
            ended,
            rules: rules.clone(),
            directory: Arc::clone(&directory),
            steps: Arc::clone(&steps),
            _wanted: Wanted(Arc::clone(&wanted)),
        };
        let number = self.state().begin_load(reason);
        let watched = Watched { steps, wanted, number };
        tracing::info!(reason, "reading the whole directory");
        let (replica, runtime) = (Arc::clone(self), Handle::current());
        let run = move || {
            let began = Instant::now();
            let result = replica.read(&runtime, &directory, &rules, began, &watched);
            replica.state().end_load(number, result.as_ref().err().map(ToString::to_string));
            if let Err(error) = &result {
                tracing::warn!(%error, "the directory could not be read as a whole; what is published stays");
            }
            let _ = done.send(result);
            then();
            drop((replica, runtime, directory, rules));
            memory::give_back();
            // What other threads free only now: SQLite's, which closes its connection, and the publisher's.
            std::thread::sleep(AFTERWARDS);
            memory::give_back();
        };
        if let Err(error) = std::thread::Builder::new().name("load".into()).spawn(run) {
            // The sender is gone with the closure: the follower sees a load that has failed.
            tracing::warn!(%error, "no thread to read the directory");
            self.state().end_load(number, None);
        }
        loading
    }

    fn read(
        &self,
        runtime: &Handle,
        directory: &Arc<dyn Directory>,
        rules: &Rules,
        began: Instant,
        Watched { steps, wanted, number }: &Watched,
    ) -> Result<Loaded, LoadError> {
        steps.begin("waits for the publisher");
        let (done, place) = oneshot::channel();
        self.send(Command::StartLoad { done })?;
        let place = place.blocking_recv().map_err(|_| super::ended())??;
        steps.begin_long("opens a view of the directory", OPEN_WAIT);
        let opening =
            async { tokio::time::timeout(OPEN_WAIT, directory.stock()).await.map_err(|_| silent(OPEN_WAIT))? };
        let mut stock = runtime.block_on(opening)?;
        let (generation, expected) = (stock.generation(), stock.expected());
        let (send, mut pages) = mpsc::channel::<Result<Page, DirectoryError>>(AHEAD);
        let reader = runtime.spawn(async move {
            loop {
                let page =
                    tokio::time::timeout(PAGE_WAIT, stock.logins()).await.unwrap_or_else(|_| Err(silent(PAGE_WAIT)));
                let (last, failed) = (page.as_ref().is_ok_and(Vec::is_empty), page.is_err());
                if last {
                    break;
                }
                if send.send(page.map(Page::Logins)).await.is_err() || failed {
                    return;
                }
            }
            loop {
                let page =
                    tokio::time::timeout(PAGE_WAIT, stock.groups()).await.unwrap_or_else(|_| Err(silent(PAGE_WAIT)));
                let end = page.as_ref().map_or(true, Vec::is_empty);
                if send.send(page.map(Page::Groups)).await.is_err() || end {
                    return;
                }
            }
        });
        let mut filling = Filling {
            rules,
            quarantined: Vec::new(),
            names: HashSet::new(),
            keys: RandomState::new(),
            failed: None,
            read: (0, 0),
            complete: false,
        };
        let mut told = began;
        let base = place.write(generation.0, |writer| {
            loop {
                steps.begin_long("waits for a page", PAGE_WAIT);
                let Some(page) = pages.blocking_recv() else { break };
                if !wanted.load(Ordering::Relaxed) {
                    return Err(filling.fail(given_up()));
                }
                filling.page(writer, page)?;
                self.state().progress(*number, filling.read, expected);
                if told.elapsed() >= TELL {
                    told = Instant::now();
                    let (logins, groups) = filling.read;
                    let rate = (logins + groups) as f64 / began.elapsed().as_secs_f64();
                    tracing::info!(
                        logins,
                        of = expected.0,
                        groups,
                        of_groups = expected.1,
                        entries_per_second = rate as u64,
                        "reading the whole directory"
                    );
                }
            }
            steps.begin_long("writes the files", FILES_WAIT);
            // The reader ends with an empty page; without it, it has died.
            if filling.complete { Ok(()) } else { Err(filling.fail(silent(PAGE_WAIT))) }
        });
        reader.abort();
        let Filling { quarantined, failed, read, .. } = filling;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let base = base?;
        let seconds = began.elapsed().as_secs_f32();
        tracing::info!(
            logins = read.0,
            groups = read.1,
            not_served = quarantined.len(),
            %generation,
            seconds,
            "the whole directory has been read"
        );
        steps.begin_long("compares with what is published", FILES_WAIT);
        let difference = match (self.published(), base.snapshot()) {
            (Some(published), Ok(new)) => compare(&published, &new),
            _ => None,
        };
        Ok(Loaded { base, generation, quarantined, difference })
    }
}

struct Filling<'a> {
    rules: &'a Rules,
    quarantined: Vec<Quarantined>,
    /// Names so far, as hashes under a random key: 19 MB for a million.
    names: HashSet<u64>,
    keys: RandomState,
    failed: Option<DirectoryError>,
    read: (u64, u64),
    complete: bool,
}

impl Filling<'_> {
    fn page(
        &mut self,
        writer: &mut Writer<SnapshotFile>,
        page: Result<Page, DirectoryError>,
    ) -> Result<(), WriteError> {
        match page {
            Ok(Page::Logins(logins)) => {
                self.read.0 += logins.len() as u64;
                for StockedLogin { entry, gids } in logins {
                    let login = match entry {
                        Entry::Valid(login) => login,
                        Entry::Quarantined(entry) => {
                            self.refuse(entry);
                            continue;
                        }
                    };
                    match self.rules.pack_login(&login, &gids) {
                        Ok(_) if self.is_taken(login.name.as_str()) => {
                            let reason = taken(login.name.as_str(), "login");
                            let (name, id) = (login.name.to_string(), login.uid.raw().into());
                            self.refuse(Quarantined { kind: Kind::Login, name, id, reason });
                        }
                        Ok(packed) => {
                            self.rules.local_login(&login).into_iter().for_each(|entry| self.refuse(entry));
                            let written = writer.login(&packed.record, &packed.gids);
                            self.written(written, Kind::Login, login.name.as_str(), login.uid.raw())?;
                        }
                        Err(entry) => self.refuse(entry),
                    }
                }
            }
            Ok(Page::Groups(groups)) => {
                if self.read.1 == 0 || groups.is_empty() {
                    // Logins and groups may share names. At the end the memory is needed for the indexes.
                    self.names = HashSet::new();
                }
                self.complete = groups.is_empty();
                self.read.1 += groups.len() as u64;
                for entry in groups {
                    let group = match entry {
                        Entry::Valid(group) => group,
                        Entry::Quarantined(entry) => {
                            self.refuse(entry);
                            continue;
                        }
                    };
                    match self.rules.pack_group(&group) {
                        Ok(_) if self.is_taken(group.name.as_str()) => {
                            let reason = taken(group.name.as_str(), "group");
                            let (name, id) = (group.name.to_string(), group.gid.raw().into());
                            self.refuse(Quarantined { kind: Kind::Group, name, id, reason });
                        }
                        Ok(packed) => {
                            self.rules.local_group(&group).into_iter().for_each(|entry| self.refuse(entry));
                            let written = writer.group(&packed.record);
                            self.written(written, Kind::Group, group.name.as_str(), group.gid.raw())?;
                        }
                        Err(entry) => self.refuse(entry),
                    }
                }
            }
            Err(error) => return Err(self.fail(error)),
        }
        Ok(())
    }

    /// An entry that the writer refuses is left out; everything else goes on.
    fn written(&mut self, written: Result<(), WriteError>, kind: Kind, name: &str, id: u32) -> Result<(), WriteError> {
        match written {
            Err(WriteError::Entry(reason)) => {
                let reason = format!("{reason}; correct it in the directory");
                self.refuse(Quarantined { kind, name: name.into(), id: id.into(), reason });
                Ok(())
            }
            other => other,
        }
    }

    /// Whether an entry with a lower id has this name. One in 10⁷ readings of a million names meets two names with one hash.
    fn is_taken(&mut self, name: &str) -> bool {
        !self.names.insert(self.keys.hash_one(name))
    }

    fn refuse(&mut self, entry: Quarantined) {
        if self.quarantined.len() < MOST {
            self.quarantined.push(entry);
        }
    }

    fn fail(&mut self, error: DirectoryError) -> WriteError {
        self.failed = Some(error);
        WriteError::Io(std::io::Error::other("the directory failed"))
    }
}

fn taken(name: &str, what: &str) -> String {
    format!("another {what} with a lower id has the name {name}; rename one of the two in the directory")
}

fn given_up() -> DirectoryError {
    DirectoryError::Unavailable { directory: "being read as a whole".into(), reason: "the reading was given up".into() }
}

fn silent(waited: Duration) -> DirectoryError {
    DirectoryError::Unavailable {
        directory: "being read as a whole".into(),
        reason: format!("no answer within {} s", waited.as_secs()),
    }
}
