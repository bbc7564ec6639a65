//! The contract that all parts share: what a valid name, id, path and hash is, how records lie in memory, and what
//! goes over the socket.
//!
//! Without the feature `std` the crate is `no_std`, allocates nothing and cannot panic: this is what the NSS module
//! uses ([`id`], [`name`], [`packed`], [`snapshot`], [`wire::frame`]). With it come the validated record types and the
//! messages of PAM and `identityctl`.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

mod bytes;
pub mod id;
pub mod name;
pub mod packed;
pub mod snapshot;
pub mod wire;

#[cfg(feature = "std")]
pub mod capability;
#[cfg(feature = "std")]
pub mod date;
#[cfg(feature = "std")]
pub mod hash;
#[cfg(feature = "std")]
pub mod path;
#[cfg(feature = "std")]
pub mod record;
#[cfg(feature = "std")]
pub mod text;

/// Where things are. Compiled in: modules run in setuid programs and take nothing from the environment.
pub mod paths {
    /// The socket on which identityd answers.
    pub const SOCKET: &core::ffi::CStr = c"/run/identityd/socket";
    /// State of the daemon, owned by its user, mode 0700.
    pub const STATE_DIR: &str = "/var/lib/identityd";
    /// The embedded directory.
    pub const DIRECTORY_DB: &str = "/var/lib/identityd/directory.db";
    /// The copy of the snapshot that survives a reboot. Readers map [`crate::snapshot::DIRECTORY`].
    pub const SNAPSHOT: &str = "/var/lib/identityd/snapshot";
    /// The configuration file.
    pub const CONFIG: &str = "/etc/identityd/identityd.toml";
    /// Shell shown for a login that may not have one.
    pub const NOLOGIN: &str = "/usr/sbin/nologin";
}
