//! Whether a directory is still the one whose changes were published: what its newest published change was about.
//!
//! A file that was restored from a backup and written to since may have gone further than what was published, with other changes under the same
//! numbers. Its generation alone does not tell.

use std::sync::{Mutex, PoisonError};

use schema::record::Generation;
use sha2::{Digest, Sha256};

use crate::directory::{Change, Kind};

/// Changes read last, the newest at the end: who asks for a cursor asks for one of them.
const REMEMBERED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct History {
    newest: Mutex<Vec<(Generation, [u8; 16])>>,
}

impl History {
    pub(super) fn remember(&self, changes: &[Change]) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.extend(changes.iter().rev().take(REMEMBERED).rev().map(|change| (change.generation, of(change))));
        let old = newest.len().saturating_sub(REMEMBERED);
        newest.drain(..old);
    }

    /// What the change of this number was about; empty: not known any more.
    pub(super) fn cursor(&self, generation: Generation) -> Vec<u8> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let found = newest.iter().rev().find(|(number, _)| *number == generation);
        found.map(|(_, digest)| digest.to_vec()).unwrap_or_default()
    }
}

pub(super) fn of(change: &Change) -> [u8; 16] {
    let kind = if change.kind == Kind::Login { "login" } else { "group" };
    let text = format!("{} {kind} {} {}", change.generation, change.id, change.name);
    let mut digest = [0; 16];
    for (slot, byte) in digest.iter_mut().zip(Sha256::digest(text)) {
        *slot = byte;
    }
    digest
}
