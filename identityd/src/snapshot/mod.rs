//! Publishes the directory as files that every process maps: `docs/snapshot.md`.
//!
//! Files are written under a temporary name, brought to the disk, renamed; then one word of the control page names the new pair. A
//! publisher that dies anywhere in between leaves the pair that was current. One thread owns the [`Publisher`]; only
//! [`Fold::run`] may run elsewhere.
//!
//! The published files lie in memory (`/run`); [`Publisher::keep`] copies them to the disk, now and then, and a publisher that finds
//! no usable files in memory starts with the copy.

mod files;
pub mod open;
#[cfg(test)]
mod tests;

use self::files::{ControlPage, Gate, Mapped, Open, Room, name_of};
use schema::snapshot::changes::{self, Change, Changes};
use schema::snapshot::control::{Control, NOTHING, RETIRED, Visibility};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::{Defect, FileKind, Header, Pair};
use schema::snapshot::pair::Snapshot;
use schema::snapshot::verify;
use schema::snapshot::view::{Group, Kind, Login, Lookup, View};
use schema::snapshot::write::{Meta, Notes, Tombstones, WriteError, Writer};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::files::Output as SnapshotFile;

/// A delta with more entries than this is due to be folded: writing it takes some milliseconds.
const FOLD_ENTRIES: usize = 4096;
/// The same in bytes.
const FOLD_BYTES: usize = 1 << 20;

/// Where the files are and who may read them.
#[derive(Debug, Clone)]
pub struct Places {
    /// What readers map: a directory on a file system in memory.
    pub live: PathBuf,
    /// The copy that survives a reboot.
    pub kept: PathBuf,
    /// Who may read the live files.
    pub visibility: Visibility,
}

impl Places {
    /// Of the directory that readers map.
    const fn mode(&self) -> u32 {
        match self.visibility {
            Visibility::Open => 0o755,
            Visibility::Members => 0o700,
        }
    }
}

/// Why a snapshot could not be published. What was published before still is.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file operation failed.
    #[error(
        "publishing the snapshot in {directory}: {source}; look-ups go on with the snapshot before. Is there room, and does it belong to identityd?"
    )]
    Files {
        /// Which directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A published file is not what was written.
    #[error("the published snapshot is damaged ({0}); publish everything anew")]
    Damaged(#[from] Defect),
    /// There is no base that changes could be added to.
    #[error("nothing is published yet; publish everything first")]
    NoBase,
}

/// Owns the published files of one directory.
pub struct Publisher {
    places: Places,
    live: Room,
    kept: Room,
    control: ControlPage,
    directory: [u8; 16],
    /// The highest base number ever seen here: none is used twice.
    last_base: u32,
    current: Option<Current>,
    /// What goes into the headers of the files to come.
    notes: Notes,
}

/// What is published.
struct Current {
    pair: Pair,
    base: Arc<Base>,
    /// Everything that differs from the base, published or about to be.
    changes: Changes,
    generation: u64,
    /// Some changes are in no file yet, because publishing them failed.
    unpublished: bool,
    /// As its newest file has them.
    notes: Notes,
    /// Changes since a fold began.
    since_fold: Option<Vec<Change>>,
}

/// A mapped base.
struct Base {
    file: Mapped,
    header: Header,
}

impl Base {
    fn view(&self) -> Result<View<'_>, Defect> {
        View::new(self.file.bytes(), &self.header).ok_or(Defect::Length)
    }
}

/// A fold on its way: everything that it needs, so that it can run in another thread.
pub struct Fold {
    live: Room,
    base: Arc<Base>,
    delta: Option<Base>,
    meta: Meta,
}

/// A folded base, not yet current.
pub struct Folded {
    from: [u8; 16],
    base: Base,
}

/// A new base about to be written, in whatever thread.
pub struct Load {
    live: Room,
    meta: Meta,
}

/// A new base, complete and not yet published. Dropped, it is removed.
pub struct Loaded {
    live: Room,
    file: SnapshotFile,
    base: Arc<Base>,
    published: bool,
}

/// A copy to the disk on its way.
pub struct Keep {
    kept: Room,
    files: Vec<(Pair, std::fs::File)>,
    pair: Pair,
    generation: u64,
}

/// The files of one generation, mapped as long as this lives.
pub struct Published {
    base: Arc<Base>,
    delta: Option<Base>,
    /// Their numbers.
    pub pair: Pair,
    /// All changes up to this are in them.
    pub generation: u64,
}

impl Publisher {
    /// Takes over what is published, verified to the last byte; else what was kept; else nothing. Files of another directory than `directory` are not
    /// taken over; `None`: of whichever directory they are.
    ///
    /// # Errors
    /// [`PublishError::Files`] when the directories cannot be made or written.
    pub fn open(places: Places, directory: Option<[u8; 16]>) -> Result<Self, PublishError> {
        Self::open_with(places, directory, Arc::new(Open))
    }

    fn open_with(places: Places, directory: Option<[u8; 16]>, gate: Arc<dyn Gate>) -> Result<Self, PublishError> {
        let fails = |path: &PathBuf| {
            let directory = path.clone();
            move |source| PublishError::Files { directory, source }
        };
        let live = Room::new(places.live.clone(), places.mode(), gate.clone()).map_err(fails(&places.live))?;
        let kept = Room::new_if_possible(places.kept.clone(), 0o700, gate);
        let old = ControlPage::open(&live);
        let (live_pairs, kept_pairs) = (live.pairs().map_err(fails(&places.live))?, kept.pairs().unwrap_or_default());
        let words = old.as_ref().map(|(page, _)| page.word()).filter(|word| *word != RETIRED);
        let published = words.map(Pair::from_word);
        let numbers = live_pairs.iter().chain(&kept_pairs).chain(&published).map(|pair| pair.base);
        let last_base = numbers.max().unwrap_or(0);
        let of_ours = |current: &Current| directory.is_none_or(|directory| current.base.header.directory == directory);
        let found = published.and_then(|pair| load(&live, pair).ok()).filter(of_ours);
        let resumed = found.is_some();
        let found = found
            .or_else(|| newest_pairs(kept_pairs).into_iter().find_map(|pair| load(&kept, pair).ok()).filter(of_ours));
        let directory = match (&found, directory) {
            (_, Some(directory)) => directory,
            (Some(current), None) => current.base.header.directory,
            (None, None) => rand::random(),
        };
        let wanted = Control { directory, visibility: places.visibility };
        // Under one page no pair ever names other files than before: a reader that still has them mapped would not notice.
        let reusable = resumed && old.as_ref().is_some_and(|(_, control)| *control == wanted);
        live.remove_temporary().map_err(fails(&places.live))?;
        if let Err(error) = kept.remove_temporary() {
            tracing::debug!(directory = %places.kept.display(), %error, "half a copy may be left there");
        }
        let mut publisher = Self {
            control: match old {
                Some((page, _)) if reusable => page,
                old => {
                    let new = ControlPage::create(&live, wanted).map_err(fails(&places.live))?;
                    if let Some((page, _)) = old {
                        page.flip(RETIRED, 0).map_err(fails(&places.live))?;
                    }
                    new
                }
            },
            places,
            live,
            kept,
            directory,
            last_base,
            current: None,
            notes: Notes::default(),
        };
        publisher.notes = found.as_ref().map(|current| current.notes).unwrap_or_default();
        match found {
            Some(current) if reusable => {
                publisher.current = Some(current);
                publisher.sweep(None);
            }
            Some(current) => publisher.restore(current, resumed)?,
            None => publisher.sweep(None),
        }
        Ok(publisher)
    }

    /// The newest change that is published: where to go on in the feed. `None`: nothing is published, or only a part; publish everything.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.current.as_ref().map(|current| current.generation)
    }

    /// What the newest file notes for the publisher's next life.
    #[must_use]
    pub fn notes(&self) -> Option<Notes> {
        self.current.as_ref().map(|current| current.notes)
    }

    /// What the files to come are to note.
    pub fn note(&mut self, notes: Notes) {
        self.notes = notes;
    }

    /// The pair that is published.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        self.current.as_ref().map(|current| current.pair)
    }

    /// Publishes everything anew: `fill` writes all logins in order of uid, then all groups in order of gid, as they are at `generation`.
    ///
    /// # Errors
    /// [`PublishError`]; what was published before still is.
    pub fn replace(
        &mut self,
        generation: u64,
        fill: impl FnOnce(&mut Writer<SnapshotFile>) -> Result<(), WriteError>,
    ) -> Result<(), PublishError> {
        let load = self.start_load();
        let loaded = load.write(generation, fill)?;
        self.finish_load(loaded, generation, Vec::new())
    }

    /// Begins to publish everything anew; changes of what is published now go on being published meanwhile.
    #[must_use]
    pub fn start_load(&mut self) -> Load {
        self.last_base += 1;
        let pair = Pair { base: self.last_base, delta: 0 };
        Load { live: self.live.clone(), meta: meta(self.directory, pair, 0, self.notes) }
    }

    /// Makes a loaded base the current one, together with what the directory says of everything that has changed between its generation
    /// and `generation`.
    ///
    /// # Errors
    /// [`PublishError`]; what was published before still is.
    pub fn finish_load(&mut self, loaded: Loaded, generation: u64, since: Vec<Change>) -> Result<(), PublishError> {
        let pair = loaded.base.header.pair;
        self.live.publish(&loaded.file, &name_of(pair)).map_err(|error| self.failed(error))?;
        let base = loaded.take();
        let mut changes = Changes::default();
        for change in since {
            changes.apply(&base.view()?, change)?;
        }
        let notes = notes_of(&base);
        let pending = !changes.is_empty() || generation != base.header.generation || notes != self.notes;
        let next = Current { pair, base, changes, generation, notes, unpublished: false, since_fold: None };
        if pending { self.make_current_with_delta(next) } else { self.make_current(next) }
    }

    /// What is published, as a reader has it.
    ///
    /// # Errors
    /// [`PublishError::Files`]: it cannot be mapped.
    pub fn published(&self) -> Result<Option<Published>, PublishError> {
        let Some(current) = &self.current else { return Ok(None) };
        let delta = if current.pair.delta == 0 { None } else { Some(map(&self.live, current.pair)?) };
        let generation = delta.as_ref().map_or(current.base.header.generation, |delta| delta.header.generation);
        Ok(Some(Published { base: current.base.clone(), delta, pair: current.pair, generation }))
    }

    /// Publishes changes: what the directory says at `generation` about every name and id that changed since the generation before.
    ///
    /// The cost grows with what has changed since the base, not with the directory.
    ///
    /// # Errors
    /// [`PublishError`]. The changes are remembered and go out with the next publication.
    pub fn publish(&mut self, generation: u64, changes: Vec<Change>) -> Result<(), PublishError> {
        let current = self.current.as_mut().ok_or(PublishError::NoBase)?;
        if let Some(since) = &mut current.since_fold {
            since.extend(changes.iter().cloned());
        }
        let base = current.base.clone();
        current.unpublished = true;
        for change in changes {
            current.changes.apply(&base.view()?, change)?;
        }
        self.write_delta(generation)
    }

    /// Whether the delta has grown so large that it is time for [`Self::start_fold`].
    #[must_use]
    pub fn fold_is_due(&self) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let large = current.changes.len() > FOLD_ENTRIES || current.changes.bytes() > FOLD_BYTES;
            // A fold starts from the files, which must hold everything.
            large && current.since_fold.is_none() && !current.unpublished
        })
    }

    /// Begins to fold base and delta into a new base. Publishing goes on meanwhile.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn start_fold(&mut self) -> Result<Fold, PublishError> {
        let current = self.current.as_mut().ok_or(PublishError::NoBase)?;
        let delta = match current.pair.delta {
            0 => None,
            _ => Some(map(&self.live, current.pair)?),
        };
        let pair = Pair { base: self.last_base + 1, delta: 0 };
        self.last_base = pair.base;
        current.since_fold = Some(Vec::new());
        let meta = meta(self.directory, pair, current.generation, current.notes);
        Ok(Fold { live: self.live.clone(), base: current.base.clone(), delta, meta })
    }

    /// Makes a folded base the current one, with a delta of what has changed since the fold began.
    ///
    /// # Errors
    /// [`PublishError`]; the pair before is still current.
    pub fn finish_fold(&mut self, folded: Result<Folded, PublishError>) -> Result<(), PublishError> {
        let current = self.current.as_mut().ok_or(PublishError::NoBase)?;
        let since = current.since_fold.take().unwrap_or_default();
        let folded = folded?;
        if folded.from != current.base.header.identity {
            // Everything was published anew meanwhile.
            return Ok(());
        }
        let (generation, pair) = (current.generation, folded.base.header.pair);
        let base = Arc::new(folded.base);
        let mut changes = Changes::default();
        for change in since {
            changes.apply(&base.view()?, change)?;
        }
        let notes = notes_of(&base);
        let pending = !changes.is_empty() || generation != base.header.generation || notes != self.notes;
        let next = Current { pair, base, changes, generation, notes, unpublished: false, since_fold: None };
        if pending { self.make_current_with_delta(next) } else { self.make_current(next) }
    }

    /// Whether readers find what this publisher maintains. Not if somebody has removed or replaced it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let files = |current: &Current| {
            let base = Pair { delta: 0, ..current.pair };
            [base, current.pair].iter().all(|pair| self.live.path_of(*pair).exists())
        };
        self.control.is_in(&self.live) && self.current.as_ref().is_none_or(files)
    }

    /// Puts back what somebody has removed or replaced, out of what is mapped here, under a new control page.
    ///
    /// # Errors
    /// [`PublishError`]; may be tried again.
    pub fn put_back(&mut self) -> Result<(), PublishError> {
        self.live = self.live.made_again(self.places.mode()).map_err(|error| self.failed(error))?;
        let wanted = Control { directory: self.directory, visibility: self.places.visibility };
        let new = ControlPage::create(&self.live, wanted).map_err(|error| self.failed(error))?;
        let old = std::mem::replace(&mut self.control, new);
        if let Some(current) = &self.current {
            let (base, generation) = (current.base.header.pair, current.generation);
            self.write_again(&current.base).map_err(|error| self.failed(error))?;
            if current.changes.is_empty() && generation == current.base.header.generation {
                self.control.flip(base.word(), generation).map_err(|error| self.failed(error))?;
            } else {
                self.write_delta(generation)?;
            }
        }
        old.flip(RETIRED, 0).map_err(|error| self.failed(error))
    }

    fn write_again(&self, base: &Base) -> io::Result<()> {
        use std::io::Write;
        let name = name_of(base.header.pair);
        let mut file = self.live.create(&name)?;
        file.write_all(base.file.bytes())?;
        self.live.publish(&file, &name)
    }

    /// Says that the page is maintained, at this second of CLOCK_MONOTONIC. To be called every ten seconds.
    pub fn heartbeat(&self, seconds: u64) {
        self.control.heartbeat(seconds);
    }

    /// Copies what is published to the disk. Costs as much as the delta, or the base where that is new.
    ///
    /// # Errors
    /// [`PublishError::Files`]; an older copy stays.
    pub fn keep(&self) -> Result<(), PublishError> {
        match self.start_keep()? {
            Some(keep) => keep.run().map(drop),
            None => Ok(()),
        }
    }

    /// The same in two steps, of which the second may run in any thread, one at a time. `None`: nothing is published.
    ///
    /// # Errors
    /// [`PublishError::Files`].
    pub fn start_keep(&self) -> Result<Option<Keep>, PublishError> {
        let Some(current) = &self.current else { return Ok(None) };
        let base = Pair { delta: 0, ..current.pair };
        let mut files = Vec::new();
        for pair in [base, current.pair] {
            if !files.iter().any(|(other, _)| *other == pair) {
                // Open: it may have been removed when its turn comes.
                files.push((pair, self.live.open(pair).map_err(|error| self.failed(error))?));
            }
        }
        Ok(Some(Keep { kept: self.kept.clone(), files, pair: current.pair, generation: current.generation }))
    }

    /// Withdraws the snapshot: readers ask the socket.
    ///
    /// # Errors
    /// [`PublishError::Files`].
    pub fn withdraw(&mut self) -> Result<(), PublishError> {
        self.current = None;
        self.control.flip(NOTHING, 0).map_err(|error| self.failed(error))?;
        self.sweep(None);
        Ok(())
    }

    /// Puts found files under a new control page, or those that were kept into memory.
    fn restore(&mut self, current: Current, live: bool) -> Result<(), PublishError> {
        if !live {
            self.live.copy_from(&self.kept, Pair { delta: 0, ..current.pair }).map_err(|error| self.failed(error))?;
            if current.pair.delta != 0 {
                self.live.copy_from(&self.kept, current.pair).map_err(|error| self.failed(error))?;
            }
        } else {
            // They may have been for others than now.
            for pair in [Pair { delta: 0, ..current.pair }, current.pair] {
                self.live.set_mode(pair).map_err(|error| self.failed(error))?;
            }
        }
        let base = Arc::new(map(&self.live, Pair { delta: 0, ..current.pair })?);
        self.make_current(Current { base, ..current })
    }

    fn write_delta(&mut self, generation: u64) -> Result<(), PublishError> {
        let current = self.current.as_ref().ok_or(PublishError::NoBase)?;
        let pair = Pair { base: current.base.header.pair.base, delta: current.pair.delta + 1 };
        let file = self.live.create(&name_of(pair)).map_err(|error| self.failed(error))?;
        let meta = meta(self.directory, pair, generation, self.notes);
        let (file, _) = current.changes.write(file, &current.base.header, meta, random_key)?;
        self.live.publish(&file, &name_of(pair)).map_err(|error| self.failed(error))?;
        self.control.flip(pair.word(), generation).map_err(|error| self.failed(error))?;
        let before = current.pair;
        if let Some(current) = &mut self.current {
            current.pair = pair;
            current.generation = generation;
            current.notes = self.notes;
            current.unpublished = false;
        }
        self.sweep(Some(before));
        Ok(())
    }

    fn make_current_with_delta(&mut self, next: Current) -> Result<(), PublishError> {
        let generation = next.generation;
        let before = self.current.replace(next);
        let written = self.write_delta(generation);
        if written.is_err() {
            self.current = before;
        }
        written
    }

    fn make_current(&mut self, next: Current) -> Result<(), PublishError> {
        let pair = next.pair;
        self.control.flip(pair.word(), next.generation).map_err(|error| self.failed(error))?;
        let before = self.current.replace(next).map(|before| before.pair);
        self.sweep(before);
        Ok(())
    }

    /// Removes old files. The pair before stays for one more publication: a reader may have read the word and not yet opened the files. What cannot be
    /// removed now is tried again after the next publication.
    fn sweep(&self, before: Option<Pair>) {
        let folding = self.current.as_ref().is_some_and(|current| current.since_fold.is_some());
        let folded = folding.then_some(Pair { base: self.last_base, delta: 0 });
        let keep: Vec<Pair> = self.pair().into_iter().chain(before).chain(folded).collect();
        if let Err(error) = self.live.sweep(&keep) {
            tracing::warn!(directory = %self.places.live.display(), %error, "old snapshot files could not be removed");
        }
    }

    fn failed(&self, source: io::Error) -> PublishError {
        PublishError::Files { directory: self.places.live.clone(), source }
    }
}

impl Load {
    /// Writes the base: `fill` writes all logins in order of uid, then all groups in order of gid, as they are at `generation`.
    ///
    /// # Errors
    /// [`PublishError`]. It may be written again.
    pub fn write(
        &self,
        generation: u64,
        fill: impl FnOnce(&mut Writer<SnapshotFile>) -> Result<(), WriteError>,
    ) -> Result<Loaded, PublishError> {
        let failed = |source| PublishError::Files { directory: self.live.path(""), source };
        let name = name_of(self.meta.pair);
        let temporary = self.live.path(&format!("new.{name}"));
        let created = seconds_now();
        let meta = Meta { generation, created, identity: rand::random(), ..self.meta };
        let written = || {
            let mut writer = Writer::new(self.live.create(&name).map_err(failed)?, meta)?;
            fill(&mut writer)?;
            let (file, _) = writer.finish(&Tombstones::default(), random_key)?;
            let base = map_file(&temporary, self.meta.pair).map_err(|error| match error {
                PublishError::Files { source, .. } => failed(source),
                other => other,
            })?;
            Ok(Loaded { live: self.live.clone(), file, base: Arc::new(base), published: false })
        };
        let written = written();
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }
}

impl Keep {
    /// Writes the copy, and returns up to which generation it goes. A base of a million logins takes as long as the disk needs for 212 MB.
    ///
    /// # Errors
    /// [`PublishError::Files`]; an older copy stays.
    pub fn run(self) -> Result<u64, PublishError> {
        let fails = |source| PublishError::Files { directory: self.kept.path(""), source };
        self.kept.make(0o700).map_err(fails)?;
        let there = self.kept.pairs().map_err(fails)?;
        for (pair, file) in &self.files {
            if !there.contains(pair) {
                self.kept.copy(file, *pair).map_err(fails)?;
            }
        }
        self.kept.sweep(&[self.pair]).map_err(fails)?;
        Ok(self.generation)
    }
}

impl Loaded {
    /// What is in it.
    ///
    /// # Errors
    /// [`Defect`]: it is not what was written.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, Defect> {
        Ok(Snapshot::checked_before(self.base.view()?, None))
    }

    fn take(mut self) -> Arc<Base> {
        self.published = true;
        self.base.clone()
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if !self.published {
            let name = name_of(self.base.header.pair);
            let _ = std::fs::remove_file(self.live.path(&format!("new.{name}")));
        }
    }
}

impl Published {
    /// To look things up in.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot<'_>> {
        let delta = match &self.delta {
            Some(delta) => Some(delta.view().ok()?),
            None => None,
        };
        Some(Snapshot::checked_before(self.base.view().ok()?, delta))
    }

    /// Bytes of the base and of the delta.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.base.header.len as u64, self.delta.as_ref().map_or(0, |delta| delta.header.len as u64))
    }

    /// All logins in order of uid. `None`: damaged.
    #[must_use]
    pub fn logins(&self) -> Option<impl Iterator<Item = Login<'_>>> {
        self.entries()
    }

    /// All groups in order of gid. `None`: damaged.
    #[must_use]
    pub fn groups(&self) -> Option<impl Iterator<Item = Group<'_>>> {
        self.entries()
    }

    /// From the front to the end of both files: a fraction of what asking for each next entry costs.
    fn entries<'a, K: Kind<'a>>(&'a self) -> Option<impl Iterator<Item = K>> {
        let base = self.base.view().ok()?;
        let delta = match &self.delta {
            Some(delta) => Some(delta.view().ok()?),
            None => None,
        };
        let shadowed = move |entry: &K| {
            let key = |view: &View<'_>| view.header().key.id(entry.id());
            delta.is_some_and(|delta| !matches!(delta.by_id::<K>(entry.id(), key(&delta)), Lookup::Nothing))
        };
        let mut old = base.entries::<K>().filter(move |entry| !shadowed(entry)).peekable();
        let mut new = delta.into_iter().flat_map(|delta| delta.entries::<K>()).peekable();
        Some(std::iter::from_fn(move || match (old.peek(), new.peek()) {
            (Some(one), Some(other)) if one.id() > other.id() => new.next(),
            (Some(_), _) => old.next(),
            (None, _) => new.next(),
        }))
    }

    /// How many logins and groups.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let base = self.base.header.counts;
        let (logins, groups) = (u64::from(base.logins), u64::from(base.groups));
        let (Some(delta), Ok(view)) = (&self.delta, self.base.view()) else { return (logins, groups) };
        let Ok(changes) = delta.view() else { return (logins, groups) };
        // An id of the base that is dead has left it, one that is in both is the same entry, others have come.
        let key = self.base.header.key;
        let is_new = |found: bool| u64::from(!found);
        let in_base = |id| matches!(view.by_id::<Login<'_>>(id, key.id(id)), Lookup::Here(_));
        let new_logins: u64 = changes.entries::<Login<'_>>().map(|login| is_new(in_base(login.id()))).sum();
        let in_base = |id| matches!(view.by_id::<Group<'_>>(id, key.id(id)), Lookup::Here(_));
        let new_groups: u64 = changes.entries::<Group<'_>>().map(|group| is_new(in_base(group.id()))).sum();
        let dead = delta.header.counts;
        let logins = (logins + new_logins).saturating_sub(dead.dead_uids.into());
        let groups = (groups + new_groups).saturating_sub(dead.dead_gids.into());
        (logins, groups)
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published")
            .field("pair", &self.pair)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Fold {
    /// Writes the new base. Takes seconds for a million logins; may run in any thread.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn run(self) -> Result<Folded, PublishError> {
        let failed = |source| PublishError::Files { directory: self.live.path(""), source };
        let delta = match &self.delta {
            Some(delta) => Some(delta.view()?),
            None => None,
        };
        let old = Snapshot::new(self.base.view()?, delta)?;
        let name = name_of(self.meta.pair);
        let file = self.live.create(&name).map_err(failed)?;
        let (file, _) = changes::fold(&old, file, self.meta, random_key)?;
        self.live.publish(&file, &name).map_err(failed)?;
        Ok(Folded { from: self.base.header.identity, base: map(&self.live, self.meta.pair)? })
    }
}

/// Reads a pair and checks every byte of it.
fn load(room: &Room, pair: Pair) -> Result<Current, PublishError> {
    let base = map_checked(room, Pair { delta: 0, ..pair })?;
    let (mut changes, mut generation) = (Changes::default(), base.header.generation);
    let mut notes = notes_of(&base);
    if pair.delta != 0 {
        let delta = map_checked(room, pair)?;
        base.header.check_delta(&delta.header)?;
        changes = Changes::from_delta(&delta.view()?)?;
        generation = delta.header.generation;
        notes = notes_of(&delta);
    }
    Ok(Current { pair, base: Arc::new(base), changes, generation, notes, unpublished: false, since_fold: None })
}

fn map_checked(room: &Room, pair: Pair) -> Result<Base, PublishError> {
    let base = map(room, pair)?;
    verify::checksum(base.file.bytes())?;
    Ok(base)
}

fn map(room: &Room, pair: Pair) -> Result<Base, PublishError> {
    map_file(&room.path_of(pair), pair).map_err(|error| match error {
        PublishError::Files { source, .. } => PublishError::Files { directory: room.path(""), source },
        other => other,
    })
}

fn map_file(path: &Path, pair: Pair) -> Result<Base, PublishError> {
    let files = |source| PublishError::Files { directory: path.to_owned(), source };
    let file = Mapped::open(path).map_err(files)?;
    let header = Header::parse(file.bytes())?;
    let kind = if pair.delta == 0 { FileKind::Base } else { FileKind::Delta };
    if header.pair != pair || header.kind != kind {
        return Err(Defect::Foreign.into());
    }
    Ok(Base { file, header })
}

/// The pairs to try in turn: the newest base with its newest delta first, a base alone last.
fn newest_pairs(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_unstable_by(|one, other| other.cmp(one));
    pairs
}

fn meta(directory: [u8; 16], pair: Pair, generation: u64, notes: Notes) -> Meta {
    Meta {
        directory,
        identity: rand::random(),
        base_identity: [0; 16],
        pair,
        generation,
        created: seconds_now(),
        notes,
    }
}

fn notes_of(file: &Base) -> Notes {
    Notes::new(file.header.policy, file.header.cursor(file.file.bytes()))
}

fn seconds_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn random_key() -> Key {
    Key(rand::random(), rand::random())
}
