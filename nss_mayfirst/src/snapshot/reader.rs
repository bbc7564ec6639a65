//! What `source` asks: the mapped snapshot of this machine, kept up to date.

use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use schema::snapshot::control::{NOTHING, RETIRED, STALE_SECONDS};
use schema::snapshot::pair::Snapshot;

use super::files::{self, Generation};
use super::handover::{Exchange, Guard, Handover, Pins};
use crate::sys;

/// How long after a failure to map the files (none there, no memory) nobody tries again.
const PAUSE_MS: u64 = 1000;
/// How often a thread that finds another exchanging generations looks again: mapping two files takes some 20 µs.
const PATIENCE: u32 = 64;
/// The same in milliseconds where nobody else answers: on a busy machine who exchanges, or still reads the generation before, may have no processor for so long.
const LAST_PATIENCE: u32 = 120;

/// The snapshot of one directory in this process. There is one; tests have others.
///
/// All zero at first, so that the library's file holds nothing of it.
pub(crate) struct Reader {
    #[cfg(test)]
    directory: &'static CStr,
    pub(super) handover: Handover<Generation>,
    /// The page with the pins, once there was a look-up.
    pins: AtomicPtr<Pins>,
    /// The last number given to a process, see [`Pins`].
    epochs: AtomicU64,
    /// Not before this moment shall the files be opened again, in milliseconds of the coarse clock.
    not_before: AtomicU64,
    /// When somebody last looked whether the control page is still the one at its path.
    pub(super) looked: AtomicU64,
    /// The [moment](Pinned::moment) at which everything was last seen to be in order: nothing else need be looked at in the same second but the word. 0: never.
    pub(super) seen: AtomicU64,
}

/// A generation that stays mapped as long as this, and the moment when it was the newest.
pub(crate) struct Pinned<'a> {
    guard: Guard<'a, Generation>,
    moment: u64,
}

impl Pinned<'_> {
    /// Base and delta together.
    #[inline(always)]
    pub(crate) fn snapshot(&self) -> Option<Snapshot<'_>> {
        self.guard.value().snapshot()
    }

    /// A number that differs between seconds and between generations. Never 0.
    #[inline(always)]
    pub(crate) fn moment(&self) -> u64 {
        self.moment
    }
}

#[inline(always)]
fn moment(word: u64, second: u64) -> u64 {
    word.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ second << 1 | 1
}

/// The snapshot of this machine.
#[cfg(not(test))]
pub(crate) static SNAPSHOT: Reader = Reader::new();

impl Reader {
    /// Nothing is opened before the first look-up. A test's `directory` ends in `/`.
    pub(crate) const fn new(#[cfg(test)] directory: &'static CStr) -> Self {
        Self {
            #[cfg(test)]
            directory,
            handover: Handover::new(),
            pins: AtomicPtr::new(core::ptr::null_mut()),
            epochs: AtomicU64::new(0),
            not_before: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        }
    }

    #[cfg(not(test))]
    fn directory(&self) -> &'static CStr {
        schema::snapshot::DIRECTORY
    }

    #[cfg(test)]
    fn directory(&self) -> &'static CStr {
        self.directory
    }

    /// The newest generation. `None`: there is none, or it cannot be mapped just now. Who holds it must not look up anything itself.
    #[inline(always)]
    pub(crate) fn current(&self) -> Option<Pinned<'_>> {
        // SAFETY: null or a page that stays for ever, of zeros at first, which is a valid `Pins`; all its parts are atomics.
        let Some(pins) = (unsafe { self.pins.load(Ordering::Acquire).as_ref() }) else {
            return self.catch_up();
        };
        let Some(guard) = self.handover.pin(pins, sys::thread_number(), &self.epochs) else {
            return self.catch_up();
        };
        let generation = guard.value();
        let (word, current) = (generation.word(), generation.current_word());
        let moment = moment(word, sys::second());
        if current != word || self.seen.load(Ordering::Relaxed) != moment {
            drop(guard);
            return self.catch_up();
        }
        Some(Pinned { guard, moment })
    }

    /// The newest generation, mapped if need be.
    #[cold]
    #[inline(never)]
    fn catch_up(&self) -> Option<Pinned<'_>> {
        self.catch_up_while(PATIENCE, sys::give_way)
    }

    /// `rest` lets others go on who are exchanging generations.
    fn catch_up_while(&self, patience: u32, rest: fn()) -> Option<Pinned<'_>> {
        let pins = self.pins()?;
        if self.handover.has_retired() {
            sys::undisturbed(|| self.handover.tidy(pins, files::release));
        }
        for _ in 0..patience {
            let guard = self.handover.pin(pins, sys::thread_number(), &self.epochs);
            match guard.map(|guard| (self.state(guard.value()), guard)) {
                Some((State::Newest, guard)) => {
                    let moment = moment(guard.value().word(), sys::second());
                    // A generation that still waits for its last reader is released by whoever comes by.
                    if !self.handover.has_retired() {
                        self.seen.store(moment, Ordering::Relaxed);
                    }
                    return Some(Pinned { guard, moment });
                }
                Some((State::Withdrawn, _)) => return None,
                // The pin goes: the slot may have to be emptied.
                Some((State::Other, _)) | None => {}
            }
            match self.refresh(pins) {
                Exchange::Done => {}
                Exchange::Refused => return None,
                Exchange::Busy => rest(),
            }
        }
        None
    }

    /// The generation at hand, after [`Self::current`] had none: true before, so better than nothing. `None`: there was never one, or the directory has
    /// withdrawn it. If only another thread stands between us and the newest one, it is waited for: what was confirmed to a writer must be seen.
    #[cold]
    #[inline(never)]
    pub(crate) fn behind(&self) -> Option<Pinned<'_>> {
        if let Some(newest) = self.catch_up_while(LAST_PATIENCE, || sys::undisturbed(|| sys::pause_ms(1))) {
            return Some(newest);
        }
        let guard = self.handover.pin(self.pins()?, sys::thread_number(), &self.epochs)?;
        let moment = moment(guard.value().word(), sys::second());
        (self.state(guard.value()) != State::Withdrawn).then_some(Pinned { guard, moment })
    }

    /// Whether a generation is what the directory holds now.
    fn state(&self, generation: &Generation) -> State {
        match generation.current_word() {
            word if word == generation.word() => self.heartbeat(generation),
            NOTHING => State::Withdrawn,
            _ => State::Other,
        }
    }

    /// When nobody maintains the page, another may have taken its place: looks at the path, at most once in thirty seconds.
    fn heartbeat(&self, generation: &Generation) -> State {
        let now = sys::coarse_ms().wrapping_div(1000);
        if now.abs_diff(generation.heartbeat()) <= STALE_SECONDS {
            return State::Newest;
        }
        let looked = self.looked.load(Ordering::Relaxed);
        if now.abs_diff(looked) <= STALE_SECONDS && looked != 0 {
            return State::Newest;
        }
        match sys::undisturbed(|| generation.is_at(self.directory())) {
            // Removed, or not to be seen from here (chroot): what was true when it was mapped is the best there is.
            None | Some(true) => {
                self.looked.store(now, Ordering::Relaxed);
                State::Newest
            }
            // Not noted: who maps the other page looks once more.
            Some(false) => State::Other,
        }
    }

    /// Maps what is published now.
    #[cold]
    fn refresh(&self, pins: &Pins) -> Exchange {
        let now = sys::coarse_ms();
        let not_before = self.not_before.load(Ordering::Relaxed);
        if now < not_before && not_before.wrapping_sub(now) <= PAUSE_MS {
            return Exchange::Refused;
        }
        let mut overtaken = false;
        let open = |old: Option<&Generation>| {
            // Another thread was faster. (A page out of date by its heartbeat is current by its own word.)
            overtaken = old.is_some_and(|old| old.is_current() && old.is_at(self.directory()) != Some(false));
            if overtaken { None } else { Generation::open(self.directory(), old) }
        };
        let exchange = sys::undisturbed(|| self.handover.exchange(pins, open, files::release));
        if overtaken {
            return Exchange::Done;
        }
        if exchange == Exchange::Refused {
            self.not_before.store(now.wrapping_add(PAUSE_MS), Ordering::Relaxed);
        }
        exchange
    }

    /// The page with the pins; `None` where there is no memory for it, or the kernel does not wipe pages.
    #[inline]
    fn pins(&self) -> Option<&Pins> {
        let pins = self.pins.load(Ordering::Acquire);
        // SAFETY: null or a page that stays for ever, of zeros at first, which is a valid `Pins`; all its parts are atomics.
        unsafe { pins.as_ref() }.or_else(|| self.first_pins())
    }

    #[cold]
    fn first_pins(&self) -> Option<&Pins> {
        let len = size_of::<Pins>();
        let page = sys::undisturbed(|| sys::page_wiped_by_fork(len))?;
        let new: NonNull<Pins> = page.cast();
        let (first, null) = (Ordering::AcqRel, core::ptr::null_mut());
        match self.pins.compare_exchange(null, new.as_ptr(), first, Ordering::Acquire) {
            // SAFETY: as in `pins`.
            Ok(_) => Some(unsafe { new.as_ref() }),
            Err(other) => {
                // SAFETY: ours, and nobody has seen it.
                unsafe { sys::give_back(page, len) };
                // SAFETY: as in `pins`.
                unsafe { other.as_ref() }
            }
        }
    }
}

/// What a mapped generation is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is the newest.
    Newest,
    /// There is another, or none of ours.
    Other,
    /// The directory has withdrawn its snapshot.
    Withdrawn,
}

const _: () = assert!(RETIRED != NOTHING);
