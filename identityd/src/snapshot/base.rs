//! A published file, mapped into identityd; what goes into the header of the next.

use std::path::Path;

use schema::snapshot::hash::Key;
use schema::snapshot::layout::{Defect, FileKind, Header, Pair};
use schema::snapshot::verify;
use schema::snapshot::view::View;
use schema::snapshot::write::{Meta, Notes};

use super::PublishError;
use super::files::{Mapped, Room};

/// A mapped base.
pub(super) struct Base {
    pub(super) file: Mapped,
    pub(super) header: Header,
}

impl Base {
    pub(super) fn view(&self) -> Result<View<'_>, Defect> {
        View::new(self.file.bytes(), &self.header).ok_or(Defect::Length)
    }
}

pub(super) fn map_checked(room: &Room, pair: Pair) -> Result<Base, PublishError> {
    let base = map(room, pair)?;
    verify::checksum(base.file.bytes())?;
    Ok(base)
}

pub(super) fn map(room: &Room, pair: Pair) -> Result<Base, PublishError> {
    map_file(&room.path_of(pair), pair).map_err(|error| match error {
        PublishError::Files { source, .. } => PublishError::Files { directory: room.path(""), source },
        other => other,
    })
}

pub(super) fn map_file(path: &Path, pair: Pair) -> Result<Base, PublishError> {
    let files = |source| PublishError::Files { directory: path.to_owned(), source };
    let file = Mapped::open(path).map_err(files)?;
    let header = Header::parse(file.bytes())?;
    let kind = if pair.delta == 0 { FileKind::Base } else { FileKind::Delta };
    if header.pair != pair || header.kind != kind {
        return Err(Defect::Foreign.into());
    }
    Ok(Base { file, header })
}

pub(super) fn meta(directory: [u8; 16], pair: Pair, generation: u64, notes: Notes) -> Meta {
    Meta {
        directory,
        identity: rand::random(),
        base_identity: [0; 16],
        pair,
        generation,
        created: seconds_now(),
        notes,
    }
}

pub(super) fn notes_of(file: &Base) -> Notes {
    Notes::new(file.header.policy, file.header.cursor(file.file.bytes()))
}

pub(super) fn seconds_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn random_key() -> Key {
    Key(rand::random(), rand::random())
}
