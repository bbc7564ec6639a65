//! What NSS says about a name: the second opinion on a verdict's uid.
#![allow(unsafe_code, reason = "getpwnam_r(3)")]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use schema::name::LoginName;

/// Largest buffer that is tried.
const MAX_BUFFER: usize = 1024 * 1024;

/// For so long it is asked again, each time after a pause, for a person who waits. A look-up of `nss_mayfirst` has 200 ms where nothing is published, and 25 within a second after one that was
/// not answered: after this it has had its whole time once more.
const PATIENCE: Duration = Duration::from_millis(1300);
/// See [`PATIENCE`].
const PAUSE: Duration = Duration::from_millis(50);

/// An answer of NSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There is such an account, with this uid.
    Uid(u32),
    /// There is none.
    Absent,
    /// No answer could be had.
    Unknown,
}

/// As [`uid_of`], and not refused for a bad moment: without an answer it is asked again for a while.
pub(crate) fn uid_in_the_end(name: &LoginName) -> Answer {
    until(PATIENCE, || uid_of(name))
}

fn until(patience: Duration, mut ask: impl FnMut() -> Answer) -> Answer {
    let began = Instant::now();
    loop {
        match ask() {
            Answer::Unknown if began.elapsed() < patience => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

/// The uid of a name, through getpwnam_r(3).
pub(crate) fn uid_of(name: &LoginName) -> Answer {
    let Ok(name) = CString::new(name.as_str()) else {
        return Answer::Absent;
    };
    let mut buffer = vec![0_u8; 2048];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        // SAFETY: name is NUL-terminated; entry, buffer (with its length) and found are valid for writes during the call.
        let error = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        match error {
            0 if found.is_null() => return Answer::Absent,
            // SAFETY: a non-null result points to `entry`, which getpwnam_r has filled.
            0 => return Answer::Uid(unsafe { (*found).pw_uid }),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < MAX_BUFFER => buffer = vec![0; buffer.len().saturating_mul(4)],
            _ => return Answer::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_not_be_found_out_is_asked_again() {
        for answer in [Answer::Uid(4321), Answer::Absent] {
            let mut answers = [Answer::Unknown, Answer::Unknown, answer, Answer::Uid(1)].into_iter();
            assert_eq!(until(Duration::from_secs(60), || answers.next().unwrap()), answer);
            assert_eq!(answers.len(), 1);
        }
        assert_eq!(until(Duration::from_millis(1), || Answer::Unknown), Answer::Unknown);
    }

    #[test]
    fn names_of_the_system_are_found_and_others_absent() {
        assert_eq!(uid_of(&"root".parse().unwrap()), Answer::Uid(0));
        assert_eq!(uid_of(&"no-such-login-here".parse().unwrap()), Answer::Absent);
    }
}
