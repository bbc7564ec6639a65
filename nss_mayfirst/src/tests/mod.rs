//! Tests through the exported symbols, against a peer that speaks frames.

mod hostile;
mod initgroups;
mod lists;
mod lookups;
mod patience;
mod snapshot;
