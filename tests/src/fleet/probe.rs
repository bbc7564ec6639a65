//! Notes when a generation becomes visible on each machine: reads the control page of its published snapshot, as a program of that machine would
//! (docs/snapshot.md), a thousand times a second. All machines share the clock.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Mosh;

const CONTROL: &str = "/run/identityd/snapshot/control";
/// Offsets in the control page.
const WORD: u64 = 64;
const GENERATION: u64 = 80;
/// The word of a control page that was replaced.
const RETIRED: u64 = u64::MAX;

/// Looks at all machines until it is stopped.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Seen>>,
}

/// A generation was visible on a machine for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which machine, in the order given.
    pub host: usize,
    /// The generation.
    pub generation: u64,
    /// `CLOCK_MONOTONIC`.
    pub at: Duration,
}

impl Probe {
    /// Starts looking.
    #[must_use]
    pub fn start(machines: &[Mosh]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pages: Vec<_> = machines.iter().map(|mosh| mosh.outside(CONTROL)).collect();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut pages: Vec<_> = pages.into_iter().map(|path| Page { path, file: None, last: 0 }).collect();
            let mut seen = Vec::new();
            loop {
                // What was published before the end was asked for is looked at once more.
                let last = stopped.load(Ordering::Relaxed);
                for (host, page) in pages.iter_mut().enumerate() {
                    if let Some(generation) = page.news() {
                        seen.push(Seen { host, generation, at: now() });
                    }
                }
                if last {
                    break seen;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, thread }
    }

    /// Ends it and gives what was seen, in order of time.
    ///
    /// # Panics
    /// When the thread panicked.
    #[must_use]
    pub fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the probe")
    }
}

/// The generation that a machine has published.
#[must_use]
pub fn published(mosh: &Mosh) -> u64 {
    Page { path: mosh.outside(CONTROL), file: None, last: 0 }.news().unwrap_or(0)
}

/// `CLOCK_MONOTONIC`, the same in all machines.
#[must_use]
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

struct Page {
    path: std::path::PathBuf,
    file: Option<File>,
    last: u64,
}

impl Page {
    /// The generation, if it is another than before.
    fn news(&mut self) -> Option<u64> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let file = self.file.as_ref()?;
        let number = |at| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).ok().map(|()| u64::from_le_bytes(bytes))
        };
        let (word, generation) = (number(WORD)?, number(GENERATION)?);
        if word == RETIRED {
            self.file = None;
            return None;
        }
        (word != 0 && generation != self.last).then(|| {
            self.last = generation;
            generation
        })
    }
}
