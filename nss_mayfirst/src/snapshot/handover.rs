//! The hand-over: readers use the current generation while a newer one takes its place and the old one is released.
//!
//! No reader ever waits. There are two slots; one is current. A reader *pins* the slot it uses: it takes a free seat and writes down which slot it uses, or, where the seat
//! that it looks at is taken, adds one to a counter of that slot; then it makes sure that the slot is still the current one. Whoever notices a newer generation fills the
//! other slot, makes it current, and empties the old slot when nobody has it pinned, now or at a later try.
//!
//! Why it is right (checked by the model in `model.rs`): the reader pins *before* it reads `current` for the second time, the
//! changer stores `current` *before* it reads the pins, and all four are sequentially consistent. So either the reader sees that its slot is no longer
//! current and does not use it, or the changer sees the pin and leaves the slot alone. A pin is taken off with Release and read with
//! Acquire, so whatever the reader read was read before the slot is emptied. That a pin may appear and vanish on a slot that is not current
//! does no harm: that reader never touched the slot's value.
//!
//! A seat is left by a plain store, since nobody else writes to it meanwhile: half the price of a counter, which takes a locked instruction (some 20 cycles) each way.
//!
//! Pins and lock are in memory that the kernel wipes in the child of a fork: the threads that held them do not exist there. The slots are not wiped: the
//! child goes on with the mappings it inherited.

use core::mem::MaybeUninit;

use super::atomics::{AtomicU32, AtomicU64, AtomicUsize, Ordering, Value, barrier};

/// Seats, each in a line of the cache of its own, so that threads seldom write the same one.
#[cfg(not(all(loom, test)))]
const SEATS: usize = 32;
#[cfg(all(loom, test))]
const SEATS: usize = 2;

const MASK: usize = SEATS - 1;
const _: () = assert!(SEATS.is_power_of_two());

/// No slot is current. Zero, as all else at first: the library's file then holds nothing of it.
const NONE: usize = 0;
/// How often a reader tries to pin: each failure means that a generation was exchanged within these nanoseconds.
const TRIES: usize = 4;

/// State of a slot; only the holder of the lock changes it.
const EMPTY: usize = 0;
/// A value is being put in or taken out. Found by a holder of the lock it means that a fork came in between: the value is given up, because nobody
/// knows whether it was already released.
const BETWEEN: usize = 1;
const FULL: usize = 2;

/// Two slots for generations. Lives for ever.
pub(super) struct Handover<T> {
    /// The number of the slot that is, 1 or 2.
    current: AtomicUsize,
    slots: [Slot<T>; 2],
}

struct Slot<T> {
    state: AtomicUsize,
    value: Value<MaybeUninit<T>>,
}

// SAFETY: a value is reached by shared reference from any thread (T: Sync) and taken out by another than put it in (T: Send); the hand-over makes sure that nobody
// has a reference when it is taken out.
unsafe impl<T: Send + Sync> Sync for Handover<T> {}

/// What is wiped by a fork. All zero is its first state.
pub(super) struct Pins {
    /// Different in each process, 0: just wiped.
    epoch: AtomicU64,
    /// 1 while somebody exchanges generations.
    lock: AtomicU32,
    seats: [Seat; SEATS],
}

/// One line of the cache.
#[repr(align(64))]
struct Seat {
    /// Which slot its only user has pinned; 0: free.
    taken: AtomicU32,
    /// Of each slot, how many have it pinned who found the seat taken.
    standing: [AtomicU32; 2],
}

/// A generation that stays as long as this.
pub(super) struct Guard<'a, T> {
    pins: &'a Pins,
    pin: Pin<'a>,
    epoch: u64,
    slot: &'a Slot<T>,
}

/// How a slot is pinned.
enum Pin<'a> {
    /// By a seat.
    Seated(&'a AtomicU32),
    /// By a counter.
    Standing(&'a AtomicU32),
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    /// A newer generation is current.
    Done,
    /// There was nothing newer to be had.
    Refused,
    /// Somebody else is at it, or somebody still uses the generation before the current one.
    Busy,
}

impl<T> Handover<T> {
    /// Without a generation.
    #[cfg(not(all(loom, test)))]
    pub(super) const fn new() -> Self {
        Self { current: AtomicUsize::new(NONE), slots: [Slot::new(), Slot::new()] }
    }

    #[cfg(all(loom, test))]
    pub(super) fn new() -> Self {
        Self { current: AtomicUsize::new(NONE), slots: [Slot::new(), Slot::new()] }
    }

    /// Pins the current generation. `None`: there is none, or they change faster than we can look. `seat` is any number that differs between threads.
    #[inline(always)]
    pub(super) fn pin<'a>(&'a self, pins: &'a Pins, seat: usize, epochs: &AtomicU64) -> Option<Guard<'a, T>> {
        let epoch = pins.epoch(epochs);
        let seat = pins.seat(seat)?;
        for _ in 0..TRIES {
            let current = self.current.load(Ordering::Acquire);
            let slot = self.slot(current)?;
            let pin = seat.pin(current)?;
            let guard = Guard { pins, pin, epoch, slot };
            barrier();
            if self.current.load(Ordering::SeqCst) == current {
                return Some(guard);
            }
        }
        None
    }

    /// Whether a generation waits for its last reader.
    #[inline(always)]
    pub(super) fn has_retired(&self) -> bool {
        let current = self.current.load(Ordering::Relaxed);
        let spare = self.slot(beside(current));
        current != NONE && spare.is_some_and(|slot| slot.state.load(Ordering::Relaxed) == FULL)
    }

    /// Makes what `make` returns the current generation, given the one so far; `None` from it: leave things as they are. A generation that nobody uses any
    /// more goes to `release`, together with the one that stays, with which it may share things.
    pub(super) fn exchange(
        &self,
        pins: &Pins,
        make: impl FnOnce(Option<&T>) -> Option<T>,
        release: impl Fn(T, Option<&T>),
    ) -> Exchange {
        let Some(_lock) = pins.lock() else {
            return Exchange::Busy;
        };
        let current = self.current.load(Ordering::SeqCst);
        let spare = beside(current);
        if !self.empty(pins, spare, &release) {
            return Exchange::Busy;
        }
        let (Some(new), old) = (self.slot(spare), self.slot(current)) else {
            return Exchange::Refused;
        };
        // SAFETY: current, so full; only the holder of the lock could change that.
        let old = old.map(|slot| unsafe { slot.value() });
        let Some(value) = make(old) else {
            return Exchange::Refused;
        };
        new.put(value);
        self.current.store(spare, Ordering::SeqCst);
        barrier();
        if current != NONE {
            self.empty(pins, current, &release);
        }
        Exchange::Done
    }

    /// Tries again to release the generation before the current one.
    pub(super) fn tidy(&self, pins: &Pins, release: impl Fn(T, Option<&T>)) {
        let Some(_lock) = pins.lock() else {
            return;
        };
        let current = self.current.load(Ordering::SeqCst);
        barrier();
        if current != NONE {
            self.empty(pins, beside(current), &release);
        }
    }

    #[inline(always)]
    fn slot(&self, number: usize) -> Option<&Slot<T>> {
        self.slots.get(number.wrapping_sub(1))
    }

    /// Empties a slot that is not current, if nobody uses it. The lock is held.
    fn empty(&self, pins: &Pins, at: usize, release: &impl Fn(T, Option<&T>)) -> bool {
        let Some(slot) = self.slot(at) else {
            return false;
        };
        match slot.state.load(Ordering::Relaxed) {
            FULL if pins.used(at) => return false,
            FULL => {
                slot.state.store(BETWEEN, Ordering::Relaxed);
                // SAFETY: full, not current, and no reader has it pinned nor can pin it.
                let value = unsafe { slot.take() };
                let current = self.slot(self.current.load(Ordering::Relaxed));
                // SAFETY: current, so full, as long as the lock is held.
                release(value, current.map(|slot| unsafe { slot.value() }));
            }
            // A fork left it half-way: see BETWEEN.
            _ => {}
        }
        slot.state.store(EMPTY, Ordering::Relaxed);
        true
    }
}

impl<T> Slot<T> {
    #[cfg(not(all(loom, test)))]
    const fn new() -> Self {
        Self { state: AtomicUsize::new(EMPTY), value: Value::new(MaybeUninit::uninit()) }
    }

    #[cfg(all(loom, test))]
    fn new() -> Self {
        Self { state: AtomicUsize::new(EMPTY), value: Value::new(MaybeUninit::uninit()) }
    }

    /// The slot is empty and the lock held.
    fn put(&self, value: T) {
        self.state.store(BETWEEN, Ordering::Relaxed);
        // SAFETY: nobody refers to the value of an empty slot, and nobody else fills it.
        unsafe { self.value.get_mut().cast::<T>().write(value) };
        self.state.store(FULL, Ordering::Relaxed);
    }

    /// # Safety
    /// The slot is full and stays so for `'a`.
    unsafe fn value<'a>(&self) -> &'a T {
        // SAFETY: the caller's promise.
        unsafe { &*self.value.get().cast::<T>() }
    }

    /// # Safety
    /// The slot is full and nobody refers to its value.
    unsafe fn take(&self) -> T {
        // SAFETY: the caller's promise.
        unsafe { self.value.get_mut().cast::<T>().read() }
    }
}

impl Pins {
    /// For the model; else it is a page of zeros.
    #[cfg(all(loom, test))]
    pub(super) fn new() -> Self {
        Self {
            epoch: AtomicU64::new(0),
            lock: AtomicU32::new(0),
            seats: core::array::from_fn(|_| Seat {
                taken: AtomicU32::new(0),
                standing: [AtomicU32::new(0), AtomicU32::new(0)],
            }),
        }
    }

    /// The number of this process; a child of a fork finds 0 and takes the next.
    #[inline(always)]
    fn epoch(&self, epochs: &AtomicU64) -> u64 {
        match self.epoch.load(Ordering::Relaxed) {
            0 => self.first(epochs),
            epoch => epoch,
        }
    }

    #[cold]
    fn first(&self, epochs: &AtomicU64) -> u64 {
        let next = epochs.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        match self.epoch.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => next,
            Err(other) => other,
        }
    }

    #[inline(always)]
    fn seat(&self, number: usize) -> Option<&Seat> {
        self.seats.get(number & MASK)
    }

    /// Whether anybody has a slot pinned.
    fn used(&self, slot: usize) -> bool {
        self.seats.iter().any(|seat| seat.has_pinned(slot))
    }

    fn lock(&self) -> Option<Lock<'_>> {
        let free = self.lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        free.then(|| Lock(&self.lock))
    }
}

impl Seat {
    #[inline(always)]
    fn pin(&self, slot: usize) -> Option<Pin<'_>> {
        match self.taken.compare_exchange(0, slot as u32, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => Some(Pin::Seated(&self.taken)),
            Err(_) => self.stand(slot),
        }
    }

    /// By another thread of the same number, or by this one, which a signal has interrupted.
    #[cold]
    fn stand(&self, slot: usize) -> Option<Pin<'_>> {
        let counter = self.standing.get(slot.wrapping_sub(1))?;
        counter.fetch_add(1, Ordering::SeqCst);
        Some(Pin::Standing(counter))
    }

    fn has_pinned(&self, slot: usize) -> bool {
        let stand = |counter: &AtomicU32| counter.load(Ordering::SeqCst) != 0;
        self.taken.load(Ordering::SeqCst) == slot as u32 || self.standing.get(slot.wrapping_sub(1)).is_some_and(stand)
    }
}

/// The slot that a newer generation is put into.
#[inline(always)]
fn beside(current: usize) -> usize {
    if current == 1 { 2 } else { 1 }
}

struct Lock<'a>(&'a AtomicU32);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl<T> Guard<'_, T> {
    /// The generation.
    #[inline(always)]
    pub(super) fn value(&self) -> &T {
        // SAFETY: pinned while current, so full until the pin is gone.
        unsafe { self.slot.value() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // In the child of a fork out of a signal handler the pin is gone already: taking it off would make it -1, for ever in use, or free somebody else's seat.
        if self.pins.epoch.load(Ordering::Relaxed) == self.epoch {
            match self.pin {
                Pin::Seated(taken) => taken.store(0, Ordering::Release),
                Pin::Standing(counter) => {
                    counter.fetch_sub(1, Ordering::Release);
                }
            }
        }
    }
}
