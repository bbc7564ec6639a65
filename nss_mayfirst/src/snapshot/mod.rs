//! The published snapshot as this process sees it: mapped at the first look-up, exchanged when a newer pair is published, used without
//! a system call in between.
//!
//! `source` asks here first. [`Read::Current`] is the answer; with the two others it asks the socket, and may fall back on
//! [`Read::Behind`] when nobody answers there.

mod atomics;
mod handover;

// Loom's atomics cannot stand in a static: the model is made of the two rooms above alone.
#[cfg(not(all(loom, test)))]
mod files;
#[cfg(not(all(loom, test)))]
mod reader;

#[cfg(all(loom, test))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(all(loom, test)))]
#[cfg_attr(not(test), expect(unused_imports, reason = "`source` asks the socket alone until identityd publishes"))]
pub(crate) use self::reader::{Read, Reader};
