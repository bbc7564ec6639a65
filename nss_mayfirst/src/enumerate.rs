//! Lists: `setpwent`, `getpwent_r`, `endpwent`, and the same for group and shadow.
//!
//! The snapshot is asked entry by entry for the next one, with a hint where the last one was. Without a current snapshot the list is read page by page, each over a fresh connection; between calls only
//! the page and the place in it are kept. Both give ascending ids, so that a list begun with one goes on with the other. libc's interface has one place per process,
//! so threads that list at once share it, one at a time.

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};

use schema::snapshot::pair::Spots;
use schema::wire::frame::{ListHead, Op};

use crate::buffer::Buffer;
use crate::entry::{Asked, Entry};
use crate::local::{self, Accounts};
use crate::lookup::read;
use crate::snapshot::Pinned;
use crate::source::{self, Deadline, Fault, Question, Record};
use crate::status::{Failure, Outcome};
use crate::sys::{self, Errno, Pages};

/// Where the process is in the list of passwd.
pub(crate) static PASSWD: Walk = Walk::new(Op::PasswdList, local::PASSWD);
/// Where the process is in the list of group.
pub(crate) static GROUP: Walk = Walk::new(Op::GroupList, local::GROUP);
/// Where the process is in the list of shadow. identityd shows it to root only.
pub(crate) static SHADOW: Walk = Walk::new(Op::ShadowList, local::PASSWD);

/// A deadline that begins when there is something to wait for: looking at two clocks takes as long as finding an entry.
#[derive(Default)]
struct Late(Cell<Option<Deadline>>);

impl Late {
    fn get(&self) -> Deadline {
        let deadline = self.0.get().unwrap_or_else(Deadline::new);
        self.0.set(Some(deadline));
        deadline
    }

    #[inline(never)]
    fn left_ms(&self) -> Option<u32> {
        self.get().left_ms()
    }
}

/// A list and the place in it.
pub(crate) struct Walk {
    op: Op,
    accounts: Accounts,
    /// Process and thread that hold the place ([`sys::caller`]); 0: nobody. A plain lock would stay locked for ever in a child that was
    /// forked while another thread held it: here the child sees that the holder is not of its process.
    holder: AtomicU64,
    place: UnsafeCell<Place>,
}

// SAFETY: `place` is only reached through `Held`, which one thread has at a time.
unsafe impl Sync for Walk {}

impl Walk {
    pub(crate) const fn new(op: Op, accounts: Accounts) -> Self {
        Self { op, accounts, holder: AtomicU64::new(0), place: UnsafeCell::new(Place::START) }
    }

    /// Back to the start, and the page given back: both `set*ent` and `end*ent`. Asks nobody.
    #[inline(never)]
    pub(crate) fn rewind(&self) -> Outcome {
        *self.hold(&Late::default())?.place() = Place::START;
        Ok(())
    }

    /// The next entry. When the buffer is too small the same comes again.
    pub(crate) fn next<E: Entry>(&self, mut buffer: Buffer<'_>, into: &mut MaybeUninit<E>) -> Outcome {
        let deadline = Late::default();
        let mut held = self.hold(&deadline)?;
        let place = held.place();
        loop {
            if place.ended {
                return Err(Failure::EndOfList);
            }
            let step = match place.page.as_mut() {
                Some(page) => sys::undisturbed(|| self.of_page(page, buffer.again(), into))?,
                None => match self.of_snapshot(place, buffer.again(), into, &deadline)? {
                    Some(step) => step,
                    // The socket has sent a page.
                    None => continue,
                },
            };
            match step {
                Step::To(cursor, entry) => {
                    place.cursor = cursor;
                    if entry {
                        return Ok(());
                    }
                }
                Step::End => place.turn()?,
            }
            deadline.left_ms().ok_or(Fault::TimedOut)?;
        }
    }

    /// The next entry of the snapshot; without a current one, `None` and a page of the socket's; when nobody answers there either, an entry of the snapshot before.
    fn of_snapshot<E: Entry>(
        &self,
        place: &mut Place,
        mut buffer: Buffer<'_>,
        into: &mut MaybeUninit<E>,
        deadline: &Late,
    ) -> Outcome<Option<Step>> {
        let cursor = place.cursor;
        let load = |page: &mut Option<Page>| {
            *page = Some(Page::load(self.op, cursor, deadline)?);
            Ok(None)
        };
        if !E::PUBLISHED {
            return load(&mut place.page);
        }
        let spots = Cell::from_mut(&mut place.spots);
        if let Some(step) = self.of_generation(source::published(), cursor, spots, buffer.again(), into) {
            return step.map(Some);
        }
        match load(&mut place.page) {
            Err(Failure::Unavailable(errno)) => {
                let step = self.of_generation(source::published_before(), cursor, spots, buffer, into);
                step.map_or(Err(Failure::Unavailable(errno)), |step| step.map(Some))
            }
            other => other,
        }
    }

    #[inline(never)]
    fn of_generation<E: Entry>(
        &self,
        pinned: Option<Pinned<'_>>,
        cursor: Cursor,
        spots: &Cell<Spots>,
        buffer: Buffer<'_>,
        into: &mut MaybeUninit<E>,
    ) -> Option<Outcome<Step>> {
        match read(&pinned?, Asked::After(cursor.id(), spots), self.accounts, buffer, into)? {
            (0, Err(Failure::NotFound)) => Some(Ok(Step::End)),
            (0, Err(failure)) => Some(Err(failure)),
            (id, outcome) => Some(servable(outcome).map(|servable| Step::To(Cursor::after(id), servable))),
        }
    }

    #[inline(never)]
    fn of_page<E: Entry>(&self, page: &mut Page, buffer: Buffer<'_>, into: &mut MaybeUninit<E>) -> Outcome<Step> {
        if page.left == 0 {
            return Ok(Step::End);
        }
        let (record, end) = page.entry()?;
        let (servable, id) = match E::unpack(&mut &*record, buffer, Asked::After(0, &Cell::new(Spots::NOWHERE))) {
            Err(Failure::TooSmall) => return Err(Failure::TooSmall),
            // An entry that libc must not see hides no other.
            Err(_) => (false, None),
            Ok((entry, identity)) => {
                into.write(entry);
                (servable(local::refuse_exactly(self.accounts, identity))?, identity.id)
            }
        };
        page.pass(end);
        page.cursor = page.cursor.passed(id);
        Ok(Step::To(page.cursor, servable))
    }

    #[inline(never)]
    fn hold(&self, deadline: &Late) -> Outcome<Held<'_>> {
        let me = sys::caller();
        loop {
            let Err(holder) = self.holder.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) else {
                return Ok(Held(self));
            };
            if sys::same_process(holder, me) {
                // This very thread: a signal handler inside the call that it interrupted. Waiting would be for ever.
                if holder == me || deadline.left_ms().is_none() {
                    return Err(Failure::Unavailable(Errno::EAGAIN));
                }
                sys::undisturbed(|| sys::pause_ms(1));
            } else if self.holder.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                let mut held = Held(self);
                held.forget_what_may_be_torn();
                return Ok(held);
            }
        }
    }
}

#[cfg(test)]
impl Walk {
    /// As a child finds it that was forked while another thread was in a call.
    pub(crate) fn held_by_another_process(&self) {
        self.holder.store(sys::caller().wrapping_add(1 << 32), Ordering::SeqCst);
    }

    /// As a signal handler finds it that interrupted a call.
    pub(crate) fn held_by_this_thread(&self) {
        self.holder.store(sys::caller(), Ordering::SeqCst);
    }
}

/// Not an entry that is local.
fn servable(refused: Outcome) -> Outcome<bool> {
    match refused {
        Ok(()) => Ok(true),
        Err(Failure::NotFound) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// The right to the place, given back when it goes.
struct Held<'a>(&'a Walk);

impl Held<'_> {
    fn place(&mut self) -> &mut Place {
        // SAFETY: `hold` gave the place to this thread alone, and the borrow ends before it is given back.
        unsafe { &mut *self.0.place.get() }
    }

    /// After a fork in the middle of a call: the page may be half changed, so it is neither looked at nor given back; nor are the spots believed. The cursor is one
    /// word and true.
    fn forget_what_may_be_torn(&mut self) {
        // SAFETY: as in `place`; only the address is taken.
        let page = unsafe { &raw mut (*self.0.place.get()).page };
        // SAFETY: a valid place; `write` does not look at what was there.
        unsafe { page.write(None) };
        self.place().spots = Spots::NOWHERE;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.holder.store(0, Ordering::Release);
    }
}

/// How far the list was read.
struct Place {
    cursor: Cursor,
    /// A hint where that is in the snapshot.
    spots: Spots,
    page: Option<Page>,
    ended: bool,
}

impl Place {
    const START: Self = Self { cursor: Cursor::after(0), spots: Spots::NOWHERE, page: None, ended: false };

    /// To the page after this one.
    fn turn(&mut self) -> Outcome {
        match self.page.take() {
            Some(page) if page.next_after == 0 => self.ended = true,
            // The daemon would send us round in circles.
            Some(page) if page.next_after <= page.asked => return Err(Fault::Protocol.into()),
            Some(page) => self.cursor = Cursor::after(page.next_after.max(self.cursor.id())),
            // The snapshot has no further entry.
            None => self.ended = true,
        }
        Ok(())
    }
}

/// A step in a list.
enum Step {
    /// To this place; whether libc may see the entry that was passed.
    To(Cursor, bool),
    /// The page, or the snapshot, has no further entry.
    End,
}

/// The last id that was passed, and how many entries without a usable id since then, in one word: true at any moment, whoever is asked next.
#[derive(Clone, Copy)]
struct Cursor(u64);

impl Cursor {
    const fn after(id: u32) -> Self {
        Self((id as u64) << 32)
    }

    const fn id(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn entries_passed(self) -> u32 {
        self.0 as u32
    }

    fn passed(self, id: Option<u32>) -> Self {
        match id.filter(|id| *id > self.id()) {
            Some(id) => Self::after(id),
            // A page has fewer entries than MAX_REPLY bytes.
            None => Self(self.0.wrapping_add(1)),
        }
    }
}

/// A page in memory.
struct Page {
    memory: Pages,
    /// Where the next entry begins.
    at: usize,
    /// Entries still to come.
    left: u32,
    /// The id after which it begins.
    asked: u32,
    /// The id after which the next begins; 0: this is the last.
    next_after: u32,
    cursor: Cursor,
}

impl Page {
    #[cold]
    #[inline(never)]
    fn load(op: Op, cursor: Cursor, deadline: &Late) -> Outcome<Self> {
        sys::undisturbed(|| Self::read(op, cursor, &deadline.get()))
    }

    fn read(op: Op, cursor: Cursor, deadline: &Deadline) -> Outcome<Self> {
        let mut answer =
            source::ask_until(Question::Id(op, cursor.id()), deadline)?.ok_or(Failure::from(Fault::Protocol))?;
        let len = answer.left();
        let mut memory = Pages::new(len.max(1)).map_err(|_| Failure::NoMemory)?;
        let bytes = answer.read(memory.space().get_mut(..len).unwrap_or_default())?;
        let (head, _) = ListHead::split(bytes).ok_or(Failure::from(Fault::Protocol))?;
        let (at, left, asked) = (ListHead::SIZE, head.count, cursor.id());
        let mut page = Self { memory, at, left, asked, next_after: head.next_after, cursor };
        for _ in 0..cursor.entries_passed().min(head.count) {
            let (_, end) = page.entry()?;
            page.pass(end);
        }
        Ok(page)
    }

    /// The record of the next entry, and where it ends.
    fn entry(&self) -> Outcome<(&[u8], usize)> {
        let bytes = self.memory.bytes();
        let rest = bytes.get(self.at..).unwrap_or_default();
        let (record, after) = ListHead::next_entry(rest).ok_or(Failure::from(Fault::Protocol))?;
        Ok((record, bytes.len().saturating_sub(after.len())))
    }

    fn pass(&mut self, end: usize) {
        self.at = end;
        self.left = self.left.saturating_sub(1);
    }
}
