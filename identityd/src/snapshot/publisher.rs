//! The owner of the published files: takes them over, publishes changes, keeps them in place.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use schema::snapshot::changes::{Change, Changes};
use schema::snapshot::control::{Control, NOTHING, RETIRED, Visibility};
use schema::snapshot::layout::Pair;
use schema::snapshot::write::{Notes, WriteError, Writer};

use super::base::{Base, map, map_checked, meta, notes_of, random_key};
use super::files::{ControlPage, Gate, Open, Room, name_of};
use super::fold::{Fold, Folded};
use super::keep::Keep;
use super::load::{Load, Loaded};
use super::published::Published;
use super::{Places, PublishError, SnapshotFile};

/// A delta with more entries than this is due to be folded: writing it takes some milliseconds.
const FOLD_ENTRIES: usize = 4096;
/// The same in bytes.
const FOLD_BYTES: usize = 1 << 20;

/// Owns the published files of one directory.
pub struct Publisher {
    places: Places,
    pub(super) live: Room,
    kept: Room,
    pub(super) control: ControlPage,
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
    /// A fold that began from its files.
    folding: Option<Folding>,
}

/// A fold under way in another thread.
struct Folding {
    /// The base that it writes.
    pair: Pair,
    /// Changes since it began.
    since: Vec<Change>,
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

    pub(super) fn open_with(
        places: Places,
        directory: Option<[u8; 16]>,
        gate: Arc<dyn Gate>,
    ) -> Result<Self, PublishError> {
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

    /// Takes the same files over under a new control page, for others than before: readers of the old page are told to look again. A fold or a load under way comes
    /// to nothing.
    ///
    /// # Errors
    /// [`PublishError::Files`]; everything stays as it was.
    pub fn show_to(&mut self, visibility: Visibility) -> Result<(), PublishError> {
        let places = Places { visibility, ..self.places.clone() };
        let mut next = Self::open_with(places, Some(self.directory), self.live.gate())?;
        // Files that are still being written, in other threads, have numbers that the directory does not show.
        next.last_base = next.last_base.max(self.last_base);
        *self = next;
        Ok(())
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
    pub fn finish_load(&mut self, mut loaded: Loaded, generation: u64, since: Vec<Change>) -> Result<(), PublishError> {
        let pair = loaded.base.header.pair;
        self.live.publish(&mut loaded.file, &name_of(pair)).map_err(|error| self.failed(error))?;
        self.go_on_from(loaded.base, generation, since)
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
        if let Some(folding) = &mut current.folding {
            folding.since.extend(changes.iter().cloned());
        }
        let (base, before) = (current.base.clone(), current.pair);
        current.unpublished = true;
        for change in changes {
            current.changes.apply(&base.view()?, change)?;
        }
        self.write_delta(generation)?;
        self.sweep(Some(before));
        Ok(())
    }

    /// Whether the delta has grown so large that it is time for [`Self::start_fold`].
    #[must_use]
    pub fn fold_is_due(&self) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let large = current.changes.len() > FOLD_ENTRIES || current.changes.bytes() > FOLD_BYTES;
            // A fold starts from the files, which must hold everything.
            large && current.folding.is_none() && !current.unpublished
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
        self.last_base += 1;
        let pair = Pair { base: self.last_base, delta: 0 };
        current.folding = Some(Folding { pair, since: Vec::new() });
        let meta = meta(self.directory, pair, current.generation, current.notes);
        Ok(Fold { live: self.live.clone(), base: current.base.clone(), delta, meta })
    }

    /// Makes a folded base the current one, with a delta of what has changed since the fold began. A fold that is no longer waited for, because everything was
    /// published anew or taken over meanwhile, is dropped: nobody has kept what has changed since.
    ///
    /// # Errors
    /// [`PublishError`]; the pair before is still current.
    pub fn finish_fold(&mut self, folded: Result<Folded, PublishError>) -> Result<(), PublishError> {
        let current = self.current.as_mut().ok_or(PublishError::NoBase)?;
        let (generation, folding) = (current.generation, current.folding.take());
        let base = folded?.base;
        match folding.filter(|folding| folding.pair == base.header.pair) {
            Some(Folding { since, .. }) => self.go_on_from(Arc::new(base), generation, since),
            None => Ok(()),
        }
    }

    /// Makes a base that is in place the current one, with a delta of what has changed since it was begun.
    fn go_on_from(&mut self, base: Arc<Base>, generation: u64, since: Vec<Change>) -> Result<(), PublishError> {
        let mut changes = Changes::default();
        for change in since {
            changes.apply(&base.view()?, change)?;
        }
        let (pair, notes) = (base.header.pair, notes_of(&base));
        let pending = !changes.is_empty() || generation != base.header.generation || notes != self.notes;
        let next = Current { pair, base, changes, generation, notes, unpublished: false, folding: None };
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
                let before = current.pair;
                self.write_delta(generation)?;
                self.sweep(Some(before));
            }
        }
        old.flip(RETIRED, 0).map_err(|error| self.failed(error))
    }

    fn write_again(&self, base: &Base) -> io::Result<()> {
        use std::io::Write;
        let name = name_of(base.header.pair);
        let mut file = self.live.create(&name)?;
        file.write_all(base.file.bytes())?;
        self.live.publish(&mut file, &name)
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
        let (mut file, _) = current.changes.write(file, &current.base.header, meta, random_key)?;
        self.live.publish(&mut file, &name_of(pair)).map_err(|error| self.failed(error))?;
        self.control.flip(pair.word(), generation).map_err(|error| self.failed(error))?;
        if let Some(current) = &mut self.current {
            current.pair = pair;
            current.generation = generation;
            current.notes = self.notes;
            current.unpublished = false;
        }
        Ok(())
    }

    fn make_current_with_delta(&mut self, next: Current) -> Result<(), PublishError> {
        let generation = next.generation;
        let before = self.current.replace(next);
        let written = self.write_delta(generation);
        match written {
            Ok(()) => self.sweep(before.map(|before| before.pair)),
            Err(_) => self.current = before,
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
        let folding = self.current.as_ref().and_then(|current| current.folding.as_ref()).map(|folding| folding.pair);
        let keep: Vec<Pair> = self.pair().into_iter().chain(before).chain(folding).collect();
        if let Err(error) = self.live.sweep(&keep) {
            tracing::warn!(directory = %self.places.live.display(), %error, "old snapshot files could not be removed");
        }
    }

    fn failed(&self, source: io::Error) -> PublishError {
        PublishError::Files { directory: self.places.live.clone(), source }
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
    Ok(Current { pair, base: Arc::new(base), changes, generation, notes, unpublished: false, folding: None })
}

/// The pairs to try in turn: the newest base with its newest delta first, a base alone last.
fn newest_pairs(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_unstable_by(|one, other| other.cmp(one));
    pairs
}
