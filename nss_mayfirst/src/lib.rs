//! The NSS module: passwd, group, shadow and initgroups of the directory's logins, asked from identityd.
//!
//! glibc loads it into every process that looks up a user, so it is a guest everywhere: no threads, no thread-local storage, no descriptor
//! that outlives a call, no allocation but what the interface demands, no panic. What an administrator should know is in `docs/nss.md`.
//!
//! | room | subject |
//! |---|---|
//! | `abi` | the exported symbols, one line each |
//! | `lookup` | by name and by id: what is answered without asking, and what an answer must be |
//! | `initgroups` | the groups of a login |
//! | `enumerate` | `setpwent`, `getpwent`, `endpwent` and their like |
//! | `entry` | a packed record into libc's struct and the caller's buffer |
//! | `buffer` | the caller's buffer |
//! | `local` | the server's own accounts, which win |
//! | `source` | where to ask |
//! | `snapshot` | the published snapshot, mapped |
//! | `status` | the outcomes of NSS |
//! | `sys` | libc |
//!
//! The product is built alone, with `cargo build --profile module -p nss_mayfirst --features module`: then it is `no_std` on libc. Without
//! the feature it is an ordinary library, for tests.
#![cfg_attr(all(feature = "module", not(test)), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::integer_division_remainder_used
    )
)]

// Without these the model of the hand-over is checked: loom's atomics cannot stand in a static.
#[cfg(not(all(loom, test)))]
pub mod abi;
#[cfg(not(all(loom, test)))]
mod buffer;
#[cfg(not(all(loom, test)))]
mod entry;
#[cfg(not(all(loom, test)))]
mod enumerate;
#[cfg(not(all(loom, test)))]
mod initgroups;
#[cfg(not(all(loom, test)))]
mod local;
#[cfg(not(all(loom, test)))]
mod lookup;
#[cfg(not(all(loom, test)))]
mod source;
#[cfg(not(all(loom, test)))]
mod status;
#[cfg(not(all(loom, test)))]
mod sys;

mod snapshot;

#[cfg(all(test, not(loom)))]
mod testing;
#[cfg(all(test, not(loom)))]
mod tests;

/// Never called: `nss_mayfirst/check` proves that no panic is left in the library. Linking `core` demands it.
#[cfg(all(feature = "module", not(test)))]
#[panic_handler]
fn never(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abort()
}
