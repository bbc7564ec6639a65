//! The outcomes of a call, as nsswitch.conf(5) and glibc's manual ("NSS Modules Interface") name them.

use core::ffi::c_int;

use crate::sys::Errno;

/// The answer is in the caller's structures.
pub(crate) const SUCCESS: c_int = 1;

const TRYAGAIN: c_int = -2;
const UNAVAIL: c_int = -1;
const NOTFOUND: c_int = 0;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no such entry: certain. NOTFOUND, ENOENT.
    NotFound,
    /// A list has come to its end. NOTFOUND, and errno stays: programs clear it before getpwent(3) and take what is there
    /// afterwards for an error (glibc's files keeps it too: nss/nss_files/files-XXX.c, `internal_getent`).
    EndOfList,
    /// The caller's buffer is too small. The only way to TRYAGAIN with ERANGE, on which glibc comes back with a larger one.
    TooSmall,
    /// No memory. TRYAGAIN, ENOMEM.
    NoMemory,
    /// It could not be found out. UNAVAIL with this errno.
    Unavailable(Errno),
}

impl Failure {
    /// The value of `enum nss_status`.
    pub(crate) fn status(self) -> c_int {
        match self {
            Self::NotFound | Self::EndOfList => NOTFOUND,
            Self::TooSmall | Self::NoMemory => TRYAGAIN,
            Self::Unavailable(_) => UNAVAIL,
        }
    }

    /// What the caller finds in errno; `None`: what was there before.
    pub(crate) fn errno(self) -> Option<Errno> {
        match self {
            Self::NotFound => Some(Errno::ENOENT),
            Self::EndOfList => None,
            Self::TooSmall => Some(Errno::ERANGE),
            Self::NoMemory => Some(Errno::ENOMEM),
            Self::Unavailable(errno) => Some(errno),
        }
    }
}

/// How a call ends.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erange_comes_with_tryagain_and_with_nothing_else() {
        let all = [
            Failure::NotFound,
            Failure::EndOfList,
            Failure::TooSmall,
            Failure::NoMemory,
            Failure::Unavailable(Errno::ETIMEDOUT),
        ];
        for failure in all {
            assert_eq!(failure.errno() == Some(Errno::ERANGE), failure == Failure::TooSmall, "{failure:?}");
        }
        assert_eq!(Failure::TooSmall.status(), TRYAGAIN);
    }
}
