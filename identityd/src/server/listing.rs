//! Enumeration: pages of packed records in ascending order of id (`docs/wire.md`, lists).

use std::sync::Arc;

use schema::hash::PasswordHash;
use schema::packed::write;
use schema::record::Login;
use schema::wire::frame::{ListHead, Op, Status};
use zeroize::Zeroizing;

use super::connection::Asked;
use super::lookup::{self, id};
use super::pages::MadeOf;
use super::{Reply, published};
use crate::cache::Lane;
use crate::daemon::Host;
use crate::directory::{DirectoryError, Entry};

/// A page is closed when it has so many bytes; one entry that is larger stands alone in its page.
const PAGE: usize = 256 * 1024;
/// Logins asked of the directory at a time.
const LOGINS: u32 = 1000;
/// Shadow entries of one page: each may ask for its hash (some 60 µs), and a reader waits 200 ms for a page.
const SHADOWS: u32 = 200;
/// Groups asked of the directory at a time: they may be large.
const GROUPS: u32 = 100;

/// Answers with the page after an id.
pub(super) async fn answer(host: &Arc<Host>, asked: &Asked, payload: &[u8]) -> Reply {
    let Some(after) = id(payload) else {
        return Reply::bare(Status::Malformed);
    };
    if asked.op == Op::ShadowList && !asked.peer.is_root() {
        return Reply::bare(Status::Denied);
    }
    if !host.config().nss.enumerate {
        return Reply::owned(Page::default().close(0));
    }
    match tokio::time::timeout(asked.wait, published::page(host, asked.op, after, asked.peer)).await {
        Ok(Some(page)) => return Reply::owned(page),
        Ok(None) => {}
        Err(_) => return Reply::bare(Status::Unknown),
    }
    if !published::sees_all(host, asked.peer) {
        // Who is in whose groups is not known before something is published.
        return Reply::bare(Status::Unknown);
    }
    match tokio::time::timeout(asked.wait, page(host, asked, after)).await {
        Ok(Ok(page)) => Reply::shared(&page),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a listing was not answered");
            Reply::bare(Status::Unknown)
        }
        Err(_) => Reply::bare(Status::Unknown),
    }
}

async fn page(host: &Arc<Host>, asked: &Asked, after: u32) -> Result<Arc<[u8]>, DirectoryError> {
    // One page at a time for each user; root's programs are not one user.
    let _turn = if asked.peer.is_root() { None } else { host.pages.turn(asked.peer.uid).await };
    let made_of = MadeOf::now(host);
    if let Some(page) = host.pages.find(asked.op, after, &made_of) {
        return Ok(page);
    }
    let page: Arc<[u8]> = match asked.op {
        Op::GroupList => groups(host, after).await?,
        Op::ShadowList => shadow(host, after).await?,
        _ => logins(host, after).await?,
    }
    .into();
    host.pages.keep(asked.op, after, made_of, &page);
    Ok(page)
}

async fn logins(host: &Arc<Host>, mut after: u32) -> Result<Vec<u8>, DirectoryError> {
    let mut page = Page::default();
    loop {
        let (entries, last) = logins_after(host, after, LOGINS).await?;
        let before = after;
        for (id, login) in entries {
            let served = login.and_then(|login| Some((host.serving(&login).ok()?, login)));
            if let Some((serving, login)) = served
                && !page.push(&write::passwd(&crate::quarantine::passwd(&login, serving)))
            {
                return Ok(page.close(after));
            }
            after = id.unwrap_or(after).max(after);
        }
        // An id that cannot be counted on from must not be a loop without end.
        if last || after == before {
            return Ok(page.close(0));
        }
    }
}

/// One question to the directory a page: with `shadow_hash = "root"` each login is one more.
async fn shadow(host: &Arc<Host>, after: u32) -> Result<Vec<u8>, DirectoryError> {
    let mut page = Page::default();
    // A vector that grows would leave hashes behind where it was before.
    page.bytes.reserve(SHADOWS as usize * 512);
    let (entries, last) = logins_after(host, after, SHADOWS).await?;
    let mut next = after;
    for (id, login) in entries {
        if let Some(login) = login.filter(|login| host.serving(login).is_ok()) {
            let hash = lookup::shown_hash(host, &login.name).await?;
            let hash = hash.as_ref().map_or("*", PasswordHash::expose);
            if let Ok(record) = write::shadow(login.name.as_str(), hash, &login.aging) {
                // 200 records never fill a page.
                page.push(&Zeroizing::new(record));
            }
        }
        next = id.unwrap_or(next).max(next);
    }
    Ok(page.close(if last || next == after { 0 } else { next }))
}

/// Logins with an id above `after`, those that break a rule without their record, and whether these were the last.
async fn logins_after(
    host: &Host,
    after: u32,
    limit: u32,
) -> Result<(Vec<(Option<u32>, Option<Login>)>, bool), DirectoryError> {
    let source = host.cache().source();
    let entries =
        source.ask(Lane::Listing, |directory| async move { directory.logins_after(after, limit).await }).await?;
    let last = entries.len() < limit as usize;
    let entries = entries.into_iter().map(|entry| match entry {
        Entry::Valid(login) => (Some(login.uid.raw()), Some(login)),
        Entry::Quarantined(entry) => (u32::try_from(entry.id).ok(), None),
    });
    Ok((entries.collect(), last))
}

async fn groups(host: &Arc<Host>, mut after: u32) -> Result<Vec<u8>, DirectoryError> {
    let mut page = Page::default();
    loop {
        let entries = host
            .cache()
            .source()
            .ask(Lane::Listing, |directory| async move { directory.groups_after(after, GROUPS).await })
            .await?;
        let last = entries.len() < GROUPS as usize;
        let before = after;
        for entry in entries {
            let (id, record) = match entry {
                Entry::Valid(group) => {
                    let id = group.gid.raw();
                    (Some(id), host.served_group(&group).and_then(|group| write::group(&group).ok()))
                }
                Entry::Quarantined(entry) => (u32::try_from(entry.id).ok(), None),
            };
            if let Some(record) = record
                && !page.push(&record)
            {
                return Ok(page.close(after));
            }
            after = id.unwrap_or(after).max(after);
        }
        if last || after == before {
            return Ok(page.close(0));
        }
    }
}

pub(super) struct Page {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { bytes: vec![0; ListHead::SIZE], count: 0 }
    }
}

impl Page {
    /// Adds a record; `false` when the page is full.
    pub(super) fn push(&mut self, record: &[u8]) -> bool {
        let Ok(len) = u32::try_from(record.len()) else { return true };
        if self.count > 0 && self.bytes.len() + record.len() + 4 > PAGE {
            return false;
        }
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(record);
        self.count += 1;
        true
    }

    pub(super) fn close(mut self, next_after: u32) -> Vec<u8> {
        let head = ListHead { next_after, count: self.count };
        for (slot, byte) in self.bytes.iter_mut().zip(head.to_bytes()) {
            *slot = byte;
        }
        self.bytes
    }
}
