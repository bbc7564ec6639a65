//! The published snapshot as this process sees it: mapped at the first look-up, exchanged when a newer pair is published, used without
//! a system call in between.
//!
//! `source` asks here first. When there is no current generation it asks the socket, and falls back on the one [behind](Reader::behind) when nobody answers
//! there.

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

#[cfg(not(test))]
pub(crate) use self::reader::SNAPSHOT;
#[cfg(not(all(loom, test)))]
pub(crate) use self::reader::{Pinned, Reader};
