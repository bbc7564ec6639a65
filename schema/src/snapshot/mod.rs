//! The published snapshot: the whole public directory as files that every process maps and reads without asking anybody.
//!
//! A *base* holds every login and group, a *delta* all that has changed since, a *control* page names the current pair in one
//! atomic word. The page with every field and its bounds is `docs/snapshot.md`.
//!
//! The reading half ([`layout`], [`hash`], [`view`], [`pair`], [`control`]) works over `&[u8]`, allocates nothing, cannot panic and
//! holds no `unsafe`: who maps the files is another room's business. Writing, verifying and folding need the feature `std`.

pub mod control;
pub mod hash;
pub mod layout;
pub mod pair;
pub mod view;

#[cfg(feature = "std")]
pub mod changes;
#[cfg(feature = "std")]
pub mod examine;
#[cfg(feature = "std")]
pub mod verify;
#[cfg(feature = "std")]
pub mod write;

/// Where readers find the files. On a file system in memory: no disk can make them wait or fail them. Ends in `/`.
pub const DIRECTORY: &core::ffi::CStr = c"/run/identityd/snapshot/";

/// What a look-up found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<T> {
    /// The entry.
    Found(T),
    /// There is no such entry at this generation: certain.
    Absent,
    /// The files cannot say (damaged, or not what they claim to be). Never to be taken for [`Answer::Absent`]: ask the socket.
    Unusable,
}

impl<T> Answer<T> {
    /// The same answer about something else.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Found(value) => Answer::Found(f(value)),
            Self::Absent => Answer::Absent,
            Self::Unusable => Answer::Unusable,
        }
    }
}
