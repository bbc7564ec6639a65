//! A reply before it is written.

use std::sync::Arc;

use schema::wire::frame::{MAX_REPLY, Status};
use zeroize::Zeroize;

use crate::cache::Answer;
use crate::snapshot::{Published, Record};

/// A record of more is sent from where it lies.
const LARGE: usize = 4096;

/// Status and payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub status: Status,
    payload: Payload,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Payload {
    Nothing,
    /// The cache's own bytes: not copied, whatever their size.
    Shared(Arc<[u8]>),
    Owned(Vec<u8>),
    /// Of what is published: not copied either.
    Mapped(Record),
}

impl Reply {
    /// A status alone.
    #[must_use]
    pub fn bare(status: Status) -> Self {
        Self { status, payload: Payload::Nothing }
    }

    /// Found: these bytes of the cache.
    #[must_use]
    pub fn shared(bytes: &Arc<[u8]>) -> Self {
        Self { status: Status::Found, payload: Payload::Shared(Arc::clone(bytes)) }
    }

    /// Found: these bytes. More than a frame holds is Unknown: it cannot be said.
    #[must_use]
    pub fn owned(bytes: Vec<u8>) -> Self {
        if bytes.len() > MAX_REPLY as usize {
            return Self::bare(Status::Unknown);
        }
        Self { status: Status::Found, payload: Payload::Owned(bytes) }
    }

    /// Found: this record of what is published. A small one is copied: it keeps no old files mapped.
    #[must_use]
    pub fn published(published: &Arc<Published>, record: &[u8]) -> Self {
        let mapped = if record.len() < LARGE { None } else { Record::of(published, record) };
        match mapped {
            Some(mapped) if record.len() <= MAX_REPLY as usize => {
                Self { status: Status::Found, payload: Payload::Mapped(mapped) }
            }
            _ => Self::owned(record.to_vec()),
        }
    }

    /// The reply to an answer of the cache.
    #[must_use]
    pub fn of(answer: Answer<Self>) -> Self {
        match answer {
            Answer::Found(reply) => reply,
            Answer::Absent => Self::bare(Status::Absent),
            Answer::Unknown(reason) => {
                tracing::debug!(reason, "unknown");
                Self::bare(Status::Unknown)
            }
        }
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.payload {
            Payload::Nothing => &[],
            Payload::Shared(bytes) => bytes,
            Payload::Owned(bytes) => bytes,
            Payload::Mapped(record) => record.bytes(),
        }
    }
}

impl Drop for Reply {
    /// A shadow record, and a page of them, may hold hashes; the pages of the other lists are larger and hold none.
    fn drop(&mut self) {
        if let Payload::Owned(bytes) = &mut self.payload
            && bytes.len() < 128 * 1024
        {
            bytes.zeroize();
        }
    }
}
