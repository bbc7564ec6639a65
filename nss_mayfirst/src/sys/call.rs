//! System calls by their numbers, through syscall(2).
//!
//! libc's own functions would be eighteen symbols more, and the loader resolves each by name in every process that looks anybody up: half of what loading the library took beyond
//! what it takes to load an empty one. Kept are functions that are more than a system call (`time`, `clock_gettime`, `realloc`, `memcpy` and their like).
//!
//! The calls are those that glibc makes for the same purpose, so a program that allows itself only certain ones (seccomp) need not know us. None of them is a cancellation point.

use core::ffi::{CStr, c_long};

use super::{Errno, Fd, Link};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the kernel's struct stat and timespec are taken for libc's, which is so where a long has 64 bits");

/// Makes a system call.
///
/// # Errors
/// What the kernel says.
///
/// # Safety
/// That of the call.
#[inline(never)]
pub(super) unsafe fn six(number: c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller's promise; the kernel looks at no more arguments than the call has.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| Errno::last())
}

/// The same with fewer arguments.
///
/// # Errors
/// What the kernel says.
///
/// # Safety
/// That of the call.
#[inline(always)]
pub(super) unsafe fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    for (slot, argument) in all.iter_mut().zip(arguments) {
        *slot = argument;
    }
    // SAFETY: the caller's promise.
    unsafe { six(number, all) }
}

/// poll(2). Waits at most `ms`.
///
/// # Safety
/// The descriptors are valid.
pub(super) unsafe fn poll(polls: &mut [libc::pollfd], ms: u32) -> Result<usize, Errno> {
    let at = polls.as_mut_ptr().expose_provenance();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as many as there are (the descriptors are the caller's promise).
    return unsafe { call(libc::SYS_poll, [at, polls.len(), ms as usize]) };
    #[cfg(not(target_arch = "x86_64"))]
    {
        let (seconds, rest) = (ms.checked_div(1000).unwrap_or(0), ms.checked_rem(1000).unwrap_or(0));
        let mut time = libc::timespec { tv_sec: seconds.into(), tv_nsec: rest.saturating_mul(1_000_000).into() };
        let time = (&raw mut time).expose_provenance();
        // SAFETY: as above, with a time of ours and no signal mask.
        unsafe { call(libc::SYS_ppoll, [at, polls.len(), time, 0, 0]) }
    }
}

/// fstat(2).
pub(super) fn stat_of(file: &Fd) -> Result<libc::stat, Errno> {
    stat(file.number(), c"", libc::AT_EMPTY_PATH as usize)
}

/// stat(2), or lstat(2).
pub(super) fn stat_at(path: &CStr, link: Link) -> Result<libc::stat, Errno> {
    let flags = if link == Link::Refused { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    stat(libc::AT_FDCWD as usize, path, flags as usize)
}

fn stat(from: usize, path: &CStr, flags: usize) -> Result<libc::stat, Errno> {
    // SAFETY: all zero is a valid stat.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    let at = (&raw mut stat).expose_provenance();
    // SAFETY: a descriptor of ours or AT_FDCWD, a string, and a place for the answer.
    unsafe { call(libc::SYS_newfstatat, [from, path.as_ptr().expose_provenance(), at, flags]) }?;
    Ok(stat)
}

/// How much of a file is brought in when it is mapped: what the kernel would bring in at its first use.
const AT_ONCE: usize = 65_536;

/// Maps bytes: of a file to read them, or new ones of zeros to write them. New ones and small files are there at once: bringing them in here is cheaper than an
/// exception at their first use, or two where a page of zeros is first read and then written.
pub(super) fn map(len: usize, file: Option<&Fd>) -> Result<*mut u8, Errno> {
    let (access, kind, from) = match file {
        Some(file) => (libc::PROT_READ, libc::MAP_SHARED, file.number()),
        None => (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, usize::MAX),
    };
    let kind = if file.is_none() || len <= AT_ONCE { kind | libc::MAP_POPULATE } else { kind };
    // SAFETY: a new mapping where the kernel likes.
    let at = unsafe { call(libc::SYS_mmap, [0, len, access as usize, kind as usize, from, 0]) }?;
    Ok(core::ptr::with_exposed_provenance_mut(at))
}

/// munmap(2).
///
/// # Safety
/// From [`map`] with the same length, and used by nobody.
pub(super) unsafe fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    let _ = unsafe { call(libc::SYS_munmap, [at.expose_provenance(), len]) };
}
