//! What glibc calls, by the names that it looks for (glibc nss/function.def; signatures: nss/nss.h and the manual, "NSS Modules Interface").
//! Each is one line into the rooms behind.

use core::ffi::{c_char, c_int, c_long};
use core::mem::MaybeUninit;

use crate::buffer::Buffer;
use crate::enumerate::{self, Walk};
use crate::status::{Failure, Outcome, SUCCESS};
use crate::sys::{self, Errno, GidArray};
use crate::{initgroups, lookup};

/// Runs a call that fills a struct of the caller's.
///
/// Nothing here looks after errno and cancellation: what the snapshot answers comes without a system call that could fail or be cancelled. The rooms that make
/// some call [`sys::undisturbed`] themselves.
///
/// # Safety
/// `result` and `errnop` are null or valid for writes.
#[inline(always)]
unsafe fn answer<E>(result: *mut E, errnop: *mut c_int, call: impl FnOnce(&mut MaybeUninit<E>) -> Outcome) -> c_int {
    // SAFETY: null or valid for writes (the caller's promise), and MaybeUninit needs no value.
    let outcome = match unsafe { result.cast::<MaybeUninit<E>>().as_mut() } {
        Some(result) => call(result),
        None => Err(Failure::Unavailable(Errno::EINVAL)),
    };
    // SAFETY: the caller's promise.
    unsafe { finish(outcome, errnop) }
}

/// The status of an outcome; errno is set last, because glibc's `errnop` is errno itself.
///
/// # Safety
/// `errnop` is null or valid for writes.
unsafe fn finish(outcome: Outcome, errnop: *mut c_int) -> c_int {
    let Err(failure) = outcome else {
        return SUCCESS;
    };
    if let Some(errno) = failure.errno().filter(|_| !errnop.is_null()) {
        // SAFETY: not null, so valid for writes (the caller's promise).
        unsafe { errnop.write(errno.raw()) };
    }
    failure.status()
}

/// Begins or ends a list.
fn rewind(walk: &Walk) -> c_int {
    sys::undisturbed(|| walk.rewind()).map_or_else(Failure::status, |()| SUCCESS)
}

macro_rules! by_name {
    ($($symbol:ident: $entry:ty = $look_up:path;)*) => {$(
        /// # Safety
        /// As glibc calls it: a string or null, a struct, a buffer of `buflen` bytes and an errno to write.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(
            name: *const c_char,
            result: *mut $entry,
            buffer: *mut c_char,
            buflen: usize,
            errnop: *mut c_int,
        ) -> c_int {
            // SAFETY: glibc's promises are those of the four.
            unsafe { answer(result, errnop, |into| $look_up(sys::name(name), Buffer::new(buffer, buflen), into)) }
        }
    )*};
}

macro_rules! by_id {
    ($($symbol:ident: $entry:ty = $look_up:path;)*) => {$(
        /// # Safety
        /// As glibc calls it: a struct, a buffer of `buflen` bytes and an errno to write.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(
            id: u32,
            result: *mut $entry,
            buffer: *mut c_char,
            buflen: usize,
            errnop: *mut c_int,
        ) -> c_int {
            // SAFETY: glibc's promises are those of the two.
            unsafe { answer(result, errnop, |into| $look_up(id, Buffer::new(buffer, buflen), into)) }
        }
    )*};
}

macro_rules! list {
    ($($walk:path: $set:ident, $next:ident -> $entry:ty, $end:ident;)*) => {$(
        /// Begins the list anew. `stayopen` says nothing here: no connection is kept anyway.
        #[unsafe(no_mangle)]
        pub extern "C" fn $set(_stayopen: c_int) -> c_int {
            rewind(&$walk)
        }

        /// # Safety
        /// As glibc calls it: a struct, a buffer of `buflen` bytes and an errno to write.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $next(
            result: *mut $entry,
            buffer: *mut c_char,
            buflen: usize,
            errnop: *mut c_int,
        ) -> c_int {
            // SAFETY: glibc's promises are those of the two.
            unsafe { answer(result, errnop, |into| $walk.next(Buffer::new(buffer, buflen), into)) }
        }

        /// Ends the list and gives its memory back.
        #[unsafe(no_mangle)]
        pub extern "C" fn $end() -> c_int {
            rewind(&$walk)
        }
    )*};
}

by_name! {
    _nss_mayfirst_getpwnam_r: libc::passwd = lookup::passwd_by_name;
    _nss_mayfirst_getgrnam_r: libc::group = lookup::group_by_name;
    _nss_mayfirst_getspnam_r: libc::spwd = lookup::shadow_by_name;
}

by_id! {
    _nss_mayfirst_getpwuid_r: libc::passwd = lookup::passwd_by_uid;
    _nss_mayfirst_getgrgid_r: libc::group = lookup::group_by_gid;
}

list! {
    enumerate::PASSWD: _nss_mayfirst_setpwent, _nss_mayfirst_getpwent_r -> libc::passwd, _nss_mayfirst_endpwent;
    enumerate::GROUP: _nss_mayfirst_setgrent, _nss_mayfirst_getgrent_r -> libc::group, _nss_mayfirst_endgrent;
    enumerate::SHADOW: _nss_mayfirst_setspent, _nss_mayfirst_getspent_r -> libc::spwd, _nss_mayfirst_endspent;
}

/// The groups of a login, for initgroups(3) and getgrouplist(3).
///
/// # Safety
/// As glibc calls it (grp/initgroups.c, `internal_getgrouplist`): a string or null, an array from malloc with its fill and its size, and an
/// errno to write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mayfirst_initgroups_dyn(
    name: *const c_char,
    primary: libc::gid_t,
    start: *mut c_long,
    size: *mut c_long,
    groups: *mut *mut libc::gid_t,
    limit: c_long,
    errnop: *mut c_int,
) -> c_int {
    // SAFETY: glibc's promise.
    let name = unsafe { sys::name(name) };
    // SAFETY: glibc's promise.
    let outcome = match unsafe { GidArray::from_c(start, size, groups, limit) } {
        Some(mut array) => initgroups::initgroups(name, primary, &mut array),
        None => Err(Failure::Unavailable(Errno::EINVAL)),
    };
    // SAFETY: glibc's promise.
    unsafe { finish(outcome, errnop) }
}
