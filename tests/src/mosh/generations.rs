//! Generations of the snapshot that pass while something else is tested.

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use super::{Mosh, Running};

/// Where the control page has its word: base number × 2³² + delta number (docs/snapshot.md).
const WORD: u64 = 64;

/// A writer that commits without end, so that generations come and go. It ends with this.
#[derive(Debug)]
pub struct Generations<'m> {
    mosh: &'m Mosh,
    writer: Running,
    seen: HashSet<u64>,
}

impl Mosh {
    /// Commits a change of some login's gecos every few milliseconds. With `bases` there are 4,400 logins more, `bulk1` and so on, and many of them change
    /// together: now and then everything goes into a new base, by a fold or because it is read anew.
    ///
    /// # Panics
    /// When nothing is published in time.
    #[must_use]
    pub fn generations(&self, bases: bool) -> Generations<'_> {
        self.write("/tmp/generations.py", include_str!("../../c/generations.py"));
        let argv =
            ["setpriv", "--reuid=identityd", "--regid=identityd", "--clear-groups", "python3", "/tmp/generations.py"];
        let call = self.call(argv).limit(Duration::from_secs(1800));
        let writer = if bases { call.argument("bases") } else { call }.spawn();
        let mut generations = Generations { mosh: self, writer, seen: HashSet::new() };
        generations.pass(5, 1);
        generations
    }
}

impl Generations<'_> {
    /// Waits until so many more generations have been current, and of so many bases. Those that come between two looks are not counted.
    ///
    /// # Panics
    /// When that takes minutes, or the writer ends.
    pub fn pass(&mut self, generations: usize, bases: usize) {
        let bases_of = |seen: &HashSet<u64>| seen.iter().map(|word| word >> 32).collect::<HashSet<_>>().len();
        self.seen.clear();
        let begun = Instant::now();
        while self.seen.len() < generations || bases_of(&self.seen) < bases {
            assert!(self.writer.alive(), "the writer has ended: {}", self.writer.finish(Duration::ZERO));
            let (seen, of) = (self.seen.len(), bases_of(&self.seen));
            assert!(begun.elapsed() < Duration::from_secs(600), "only {seen} generations of {of} bases have passed");
            self.seen.extend(self.current());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The word of now. `None`: nothing is published.
    fn current(&self) -> Option<u64> {
        let mut control = self.mosh.open("/run/identityd/snapshot/control", rustix::fs::OFlags::RDONLY).ok()?;
        let mut word = [0; 8];
        control.seek(SeekFrom::Start(WORD)).and_then(|_| control.read_exact(&mut word)).ok()?;
        Some(u64::from_le_bytes(word)).filter(|word| *word != 0 && *word != u64::MAX)
    }
}
