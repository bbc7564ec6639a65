//! Reads all of a file and proves it: every byte against the checksum, every entry, every way to find it.
//!
//! identityd does it when it takes files over at start, `identityctl snapshot` when it is asked to. A client never does: it would read
//! 200 MB for one name.

use super::hash::Checksum;
use super::layout::{BUCKET, Defect, FREE, FileKind, GONE, HEADER, Header, STRIDE, STRIDE_ENTRY, Section};
use super::view::{Group, Kind, Login, Lookup, View};
use crate::name;

/// Checks header and checksum: the file is what its writer wrote. Reads every byte once.
///
/// # Errors
/// The first [`Defect`] found.
pub fn checksum(file: &[u8]) -> Result<Header, Defect> {
    let header = Header::parse(file)?;
    let sum = Checksum::of(file.get(HEADER..).unwrap_or_default());
    if sum == header.body_sum { Ok(header) } else { Err(Defect::BodySum) }
}

/// Checks everything: also that the writer made no mistake.
///
/// # Errors
/// The first [`Defect`] found.
pub fn full(file: &[u8]) -> Result<Header, Defect> {
    let header = checksum(file)?;
    let view = View::new(file, &header).ok_or(Defect::Length)?;
    let counts = header.counts;
    area::<Login<'_>>(&view, counts.logins, |login| {
        login.head.check_strings(login.strings).is_ok() && login.gids().is_some()
    })?;
    area::<Group<'_>>(&view, counts.groups, |group| group.head.check_strings(group.strings, |_| ()).is_ok())?;
    let dead_logins = counts.dead_login_names as usize;
    slots(&view, Section::LoginNames, counts.logins as usize + dead_logins, 0)?;
    slots(&view, Section::GroupNames, counts.groups as usize + counts.dead_group_names as usize, 0)?;
    slots(&view, Section::LoginIds, counts.logins as usize, counts.dead_uids as usize)?;
    slots(&view, Section::GroupIds, counts.groups as usize, counts.dead_gids as usize)?;
    let stones = counts.dead_login_names | counts.dead_uids | counts.dead_group_names | counts.dead_gids;
    if header.kind == FileKind::Base && stones != 0 { Err(Defect::Field) } else { Ok(header) }
}

/// Every entry is well formed, in order, in the stride table, and found by its name and by its id.
fn area<'a, K: Kind<'a> + PartialEq>(view: &View<'a>, count: u32, well: impl Fn(&K) -> bool) -> Result<(), Defect> {
    let key = view.header().key;
    let (strides, _) = view.section(K::STRIDES).ok_or(Defect::Sections)?.as_chunks::<STRIDE_ENTRY>();
    let mut last = 0;
    let mut seen = 0_u32;
    for entry in view.entries::<K>() {
        if !well(&entry) || name::check(entry.name()).is_err() || entry.id() <= last {
            return Err(Defect::Entry);
        }
        if view.by_name(entry.name(), key.name(entry.name())) != Lookup::Here(entry)
            || view.by_id(entry.id(), key.id(entry.id())) != Lookup::Here(entry)
        {
            return Err(Defect::Index);
        }
        if seen.is_multiple_of(STRIDE) {
            let stride = strides.get((seen / STRIDE) as usize).ok_or(Defect::Index)?;
            if stride.first_chunk() != Some(&entry.id().to_le_bytes()) || view.next::<K>(last) != Lookup::Here(entry) {
                return Err(Defect::Index);
            }
        }
        last = entry.id();
        seen += 1;
    }
    // A walk that ended early has seen fewer.
    if seen == count { Ok(()) } else { Err(Defect::Entry) }
}

/// An index has as many entries as the header counts: nothing is found that is not there.
fn slots(view: &View<'_>, index: Section, entries: usize, gone: usize) -> Result<(), Defect> {
    let (mut found, mut dead) = (0, 0);
    for bucket in view.section(index).unwrap_or_default().chunks_exact(BUCKET) {
        for reference in bucket.get(BUCKET / 2..).unwrap_or_default().as_chunks::<4>().0 {
            match u32::from_le_bytes(*reference) {
                FREE => {}
                0 => return Err(Defect::Index),
                GONE => dead += 1,
                _ => found += 1,
            }
        }
    }
    if (found, dead) == (entries, gone) { Ok(()) } else { Err(Defect::Index) }
}
