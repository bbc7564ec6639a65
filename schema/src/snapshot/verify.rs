//! Reads all of a file and proves it: every byte against the checksum, every entry, every way to find it.
//!
//! identityd does it when it takes files over at start, `identityctl snapshot` when it is asked to ([`super::examine`] says more than yes or no). A client never
//! does: it would read 200 MB for one name.

use super::examine;
use super::hash::BodySum;
use super::layout::{Defect, HEADER, Header};

/// More than two would wait for the memory.
const THREADS: usize = 2;

/// Checks header and checksum: the file is what its writer wrote. Reads every byte once.
///
/// # Errors
/// The first [`Defect`] found.
pub fn checksum(file: &[u8]) -> Result<Header, Defect> {
    let header = Header::parse(file)?;
    let body = file.get(HEADER..).unwrap_or_default();
    // One piece cannot be shared.
    let threads = match body.len() {
        0..=BodySum::PIECE => 1,
        _ => std::thread::available_parallelism().map_or(1, |processors| processors.get().min(THREADS)),
    };
    let sum = BodySum::of(body, threads);
    if sum == header.body_sum { Ok(header) } else { Err(Defect::BodySum) }
}

/// Checks everything: also that the writer made no mistake.
///
/// # Errors
/// The first [`Defect`] found.
pub fn full(file: &[u8]) -> Result<Header, Defect> {
    examine::file(file, &mut |_| ()).map_err(|faults| faults.first().map_or(Defect::Entry, |fault| fault.defect))
}
