//! What NSS says about a name: the second opinion on a verdict's uid.
#![allow(unsafe_code, reason = "getpwnam_r(3)")]

use std::ffi::CString;
use std::mem::MaybeUninit;

use schema::name::LoginName;

/// Largest buffer that is tried.
const MAX_BUFFER: usize = 1024 * 1024;

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
    fn names_of_the_system_are_found_and_others_absent() {
        assert_eq!(uid_of(&"root".parse().unwrap()), Answer::Uid(0));
        assert_eq!(uid_of(&"no-such-login-here".parse().unwrap()), Answer::Absent);
    }
}
