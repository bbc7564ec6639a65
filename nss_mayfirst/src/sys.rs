//! The libc room: every call into libc, and every descriptor, is here.

use core::ffi::{CStr, c_int, c_long};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::buffer::Space;

mod call;
mod gid_array;
mod mapping;
mod pages;

use call::call;
pub(crate) use gid_array::GidArray;
pub(crate) use mapping::{Mapping, give_back, page_wiped_by_fork, thread_number};
pub(crate) use pages::Pages;

unsafe extern "C" {
    // pthread_setcancelstate(3); the crate libc does not declare it for glibc.
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// PTHREAD_CANCEL_DISABLE of glibc's pthread.h.
const CANCEL_DISABLE: c_int = 1;

/// A value of errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(c_int);

impl Errno {
    pub(crate) const ENOENT: Self = Self(libc::ENOENT);
    pub(crate) const ERANGE: Self = Self(libc::ERANGE);
    pub(crate) const ENOMEM: Self = Self(libc::ENOMEM);
    pub(crate) const ENOBUFS: Self = Self(libc::ENOBUFS);
    pub(crate) const EINVAL: Self = Self(libc::EINVAL);
    pub(crate) const EINTR: Self = Self(libc::EINTR);
    pub(crate) const EAGAIN: Self = Self(libc::EAGAIN);
    pub(crate) const EACCES: Self = Self(libc::EACCES);
    pub(crate) const EPROTO: Self = Self(libc::EPROTO);
    pub(crate) const ETIMEDOUT: Self = Self(libc::ETIMEDOUT);
    pub(crate) const ECONNREFUSED: Self = Self(libc::ECONNREFUSED);

    pub(crate) fn raw(self) -> c_int {
        self.0
    }

    fn last() -> Self {
        // SAFETY: the address of this thread's errno is valid at any time.
        Self(unsafe { *Self::place() })
    }

    fn set(self) {
        // SAFETY: as in `last`.
        unsafe { *Self::place() = self.0 };
    }

    fn place() -> *mut c_int {
        // SAFETY: has no conditions.
        unsafe { libc::__errno_location() }
    }
}

/// Runs a call with cancellation off, so that a cancelled thread leaves no descriptor and no lock behind, and with errno as it was
/// afterwards.
pub(crate) fn undisturbed<T>(call: impl FnOnce() -> T) -> T {
    let quiet = Quiet::begin();
    let result = call();
    quiet.end();
    result
}

/// What [`undisturbed`] puts back.
struct Quiet {
    errno: Errno,
    /// The cancel state of before, if it could be changed.
    cancel: Option<c_int>,
}

impl Quiet {
    #[inline(never)]
    fn begin() -> Self {
        let errno = Errno::last();
        let mut before = 0;
        // SAFETY: a valid state and a valid place for the old one.
        let disabled = unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut before) } == 0;
        Self { errno, cancel: disabled.then_some(before) }
    }

    #[inline(never)]
    fn end(self) {
        if let Some(before) = self.cancel {
            // SAFETY: the state that was there, and null for "don't tell".
            unsafe { pthread_setcancelstate(before, core::ptr::null_mut()) };
        }
        self.errno.set();
    }
}

/// A name that C hands over, no further read than a name can be long: the rest makes it invalid anyway.
///
/// # Safety
/// `name` is null or a string that outlives `'a`.
#[inline]
pub(crate) unsafe fn name<'a>(name: *const libc::c_char) -> &'a [u8] {
    if name.is_null() {
        return &[];
    }
    let mut len = 0_usize;
    // A loop, because names have some eight bytes: a call of strnlen(3) costs more than the bytes.
    // SAFETY: a string (the caller's promise), read to its NUL at most.
    while len <= schema::name::MAX_LEN && unsafe { *name.wrapping_add(len) } != 0 {
        len = len.wrapping_add(1);
    }
    // SAFETY: `len` bytes were just read there.
    unsafe { core::slice::from_raw_parts(name.cast(), len) }
}

/// Says that every byte has a value.
///
/// # Safety
/// It has.
pub(crate) unsafe fn written(space: Space<'_>) -> &mut [u8] {
    // SAFETY: same place, same length, and initialised (the caller's promise).
    unsafe { &mut *(core::ptr::from_mut(space) as *mut [u8]) }
}

/// Copies `bytes` into a space of the same length.
pub(crate) fn copy<'b>(bytes: &[u8], space: Space<'b>) -> &'b mut [u8] {
    let len = bytes.len().min(space.len());
    let (space, _) = space.split_at_mut_checked(len).unwrap_or_default();
    // SAFETY: `len` bytes on both sides, and an exclusive borrow does not overlap a shared one.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), space.as_mut_ptr().cast(), len) };
    // SAFETY: just written.
    unsafe { written(space) }
}

/// Where the first such byte is. libc's memchr(3) takes 32 bytes at a time; a loop, built for size, takes one.
pub(crate) fn position(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: looks at as many bytes as there are.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), c_int::from(byte), bytes.len()) };
    (!found.is_null()).then(|| found.addr().wrapping_sub(bytes.as_ptr().addr()))
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now_ns() -> u64 {
    let (seconds, nanos) = clock(libc::CLOCK_MONOTONIC);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Which second it is, by the clock on the wall: to notice that time has passed, not how much. One load, some 3 ns, where any `clock_gettime` takes 12.
#[inline(always)]
pub(crate) fn second() -> u64 {
    // SAFETY: null is allowed.
    unsafe { libc::time(core::ptr::null_mut()) }.cast_unsigned()
}

/// Milliseconds of CLOCK_MONOTONIC_COARSE (4 ms steps).
pub(crate) fn coarse_ms() -> u64 {
    let (seconds, nanos) = clock(libc::CLOCK_MONOTONIC_COARSE);
    seconds.saturating_mul(1000).saturating_add(nanos.checked_div(1_000_000).unwrap_or(0))
}

fn clock(which: libc::clockid_t) -> (u64, u64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer. These clocks always exist.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned())
}

/// Waits, or less when a signal comes.
pub(crate) fn pause_ms(ms: u32) {
    // SAFETY: no descriptors.
    let _ = unsafe { call::poll(&mut [], ms) };
}

/// Lets another thread run.
pub(crate) fn give_way() {
    // SAFETY: has no conditions.
    let _ = unsafe { call(libc::SYS_sched_yield, []) };
}

/// This process and this thread, in one word: never 0. Threads that run at the same time have the same number once in 2³².
pub(crate) fn caller() -> u64 {
    // SAFETY: has no conditions.
    let thread = unsafe { libc::pthread_self() };
    (u64::from(process()) << 32) | (thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32)
}

/// getpid(2), remembered where a fork forgets it: two system calls for each entry of a list took longer than all the rest.
fn process() -> u32 {
    static REMEMBERED: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());
    // SAFETY: only returns a number, and does not fail.
    let ask = || unsafe { call(libc::SYS_getpid, []) }.unwrap_or(1) as u32;
    // SAFETY: null or a page that stays for ever, of zeros at first, and only used as an atomic.
    let Some(remembered) = (unsafe { REMEMBERED.load(Ordering::Acquire).as_ref() }) else {
        if let Some(page) = undisturbed(|| page_wiped_by_fork(size_of::<AtomicU32>())) {
            let null = core::ptr::null_mut();
            let first = REMEMBERED.compare_exchange(null, page.cast().as_ptr(), Ordering::AcqRel, Ordering::Relaxed);
            if first.is_err() {
                // SAFETY: ours, and nobody has seen it.
                unsafe { give_back(page, size_of::<AtomicU32>()) };
            }
        }
        return ask();
    };
    match remembered.load(Ordering::Relaxed) {
        0 => {
            let process = ask();
            remembered.store(process, Ordering::Relaxed);
            process
        }
        process => process,
    }
}

/// Whether two of [`caller`]'s words are of one process.
pub(crate) fn same_process(one: u64, other: u64) -> bool {
    one >> 32 == other >> 32
}

/// Ends the process.
#[cfg(all(feature = "module", not(test)))]
pub(crate) fn abort() -> ! {
    // SAFETY: has no conditions.
    unsafe { libc::abort() }
}

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ready {
    /// Bytes, or the end, have come.
    ToReceive,
    /// There is room.
    ToSend,
}

/// A descriptor of ours, closed when it goes. Never 0, 1 or 2: a program that closed those may be writing to them at this moment.
pub(crate) struct Fd(c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody afterwards.
        let _ = unsafe { call(libc::SYS_close, [self.number()]) };
    }
}

impl Fd {
    fn new(raw: Result<usize, Errno>) -> Result<Self, Errno> {
        // The kernel's descriptors are numbers of C's int.
        let fd = Self(raw? as c_int);
        if fd.0 > libc::STDERR_FILENO {
            return Ok(fd);
        }
        let above = libc::STDERR_FILENO.saturating_add(1) as usize;
        // SAFETY: a valid descriptor and number; `fd` closes the low one.
        Self::new(unsafe { call(libc::SYS_fcntl, [fd.number(), libc::F_DUPFD_CLOEXEC as usize, above]) })
    }

    /// As an argument of a system call.
    fn number(&self) -> usize {
        self.0 as usize
    }

    /// A stream socket that no child inherits and that does not block.
    pub(crate) fn unix_socket() -> Result<Self, Errno> {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: numbers only.
        Self::new(unsafe { call(libc::SYS_socket, [libc::AF_UNIX as usize, kind as usize, 0]) })
    }

    pub(crate) fn connect(&self, path: &CStr) -> Result<(), Errno> {
        // SAFETY: all zero is a valid sockaddr_un.
        let mut address: libc::sockaddr_un = unsafe { core::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (slot, byte) in address.sun_path.iter_mut().zip(path.to_bytes()) {
            *slot = byte.cast_signed();
        }
        let at = (&raw const address).expose_provenance();
        // SAFETY: an address of that length, alive during the call.
        unsafe { call(libc::SYS_connect, [self.number(), at, size_of::<libc::sockaddr_un>()]) }.map(|_| ())
    }

    /// Lets [`Self::connect`] wait at most `ms` from now on. Sending and receiving do not wait all the same.
    pub(crate) fn wait_in_connect(&self, ms: u32) -> Result<(), Errno> {
        let (seconds, rest) = (ms.checked_div(1000).unwrap_or(0), ms.checked_rem(1000).unwrap_or(0));
        let time = libc::timeval { tv_sec: seconds.into(), tv_usec: rest.saturating_mul(1000).into() };
        let (level, option) = (libc::SOL_SOCKET as usize, libc::SO_SNDTIMEO as usize);
        let at = (&raw const time).expose_provenance();
        // SAFETY: a value of that length.
        unsafe { call(libc::SYS_setsockopt, [self.number(), level, option, at, size_of::<libc::timeval>()]) }?;
        // SAFETY: numbers only; the one flag of ours, O_NONBLOCK, goes.
        unsafe { call(libc::SYS_fcntl, [self.number(), libc::F_SETFL as usize, 0]) }.map(|_| ())
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        // The program's SIGPIPE is not ours to raise.
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as usize;
        let at = bytes.as_ptr().expose_provenance();
        // SAFETY: reads as many bytes as there are; no address.
        unsafe { call(libc::SYS_sendto, [self.number(), at, bytes.len(), flags, 0, 0]) }
    }

    pub(crate) fn receive(&self, into: &mut [MaybeUninit<u8>]) -> Result<usize, Errno> {
        let at = into.as_mut_ptr().expose_provenance();
        // SAFETY: writes at most as many bytes as there is room; wants no address.
        unsafe { call(libc::SYS_recvfrom, [self.number(), at, into.len(), libc::MSG_DONTWAIT as usize, 0, 0]) }
    }

    /// Reads up to the length of `into`; nothing is the end of the file.
    pub(crate) fn read<'b>(&self, into: Space<'b>) -> Result<&'b [u8], Errno> {
        loop {
            let at = into.as_mut_ptr().expose_provenance();
            // SAFETY: writes at most as many bytes as there is room.
            match unsafe { call(libc::SYS_read, [self.number(), at, into.len()]) } {
                Ok(len) => {
                    let (read, _) = into.split_at_mut_checked(len).unwrap_or_default();
                    // SAFETY: `read` has just written these.
                    return Ok(unsafe { written(read) });
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Waits at most `ms`; a signal or the time ends it too, so the caller tries and looks at its clock.
    pub(crate) fn wait(&self, ready: Ready, ms: u32) -> Result<(), Errno> {
        let events = match ready {
            Ready::ToReceive => libc::POLLIN,
            Ready::ToSend => libc::POLLOUT,
        };
        let mut poll = [libc::pollfd { fd: self.0, events, revents: 0 }];
        // SAFETY: a descriptor of ours.
        match unsafe { call::poll(&mut poll, ms) } {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// A file at a moment, in one number: another number, another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// No file.
    pub(crate) const NOTHING: Self = Self(1);

    /// Of an open file, and its size.
    pub(crate) fn of(file: &Fd) -> Result<(Self, usize), Errno> {
        call::stat_of(file).map(|stat| (Self::from(&stat), count(stat.st_size)))
    }

    pub(crate) fn of_path(path: &CStr) -> Result<Self, Errno> {
        match call::stat_at(path, Link::Followed) {
            Ok(stat) => Ok(Self::from(&stat)),
            Err(Errno::ENOENT) => Ok(Self::NOTHING),
            Err(errno) => Err(errno),
        }
    }

    fn from(stat: &libc::stat) -> Self {
        let parts = [
            stat.st_dev,
            stat.st_ino,
            stat.st_size.cast_unsigned(),
            stat.st_mtime.cast_unsigned(),
            stat.st_mtime_nsec.cast_unsigned(),
        ];
        let mix = |sum: u64, part: u64| (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        // Neither 0, "never", nor NOTHING.
        Self(parts.into_iter().fold(0, mix) | 2)
    }
}

/// What a symbolic link at the end of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// The way to the file: an administrator may have put /etc/passwd elsewhere.
    Followed,
    /// Not the file: ELOOP. Who may write into a directory of ours must not lead every program elsewhere.
    Refused,
}

/// Opens a file that must not make the caller wait, whatever lies there.
pub(crate) fn open_to_read(path: &CStr, link: Link) -> Result<Fd, Errno> {
    let no_follow = if link == Link::Refused { libc::O_NOFOLLOW } else { 0 };
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY | no_follow;
    let at = path.as_ptr().expose_provenance();
    // SAFETY: a string.
    Fd::new(unsafe { call(libc::SYS_openat, [libc::AT_FDCWD as usize, at, flags as usize]) })
}

/// A `long` of C's as a count.
pub(crate) fn count(value: c_long) -> usize {
    usize::try_from(value).unwrap_or(0)
}
