//! Enumeration: pages of packed records in ascending order of id (`docs/wire.md`, lists).

use std::sync::Arc;

use schema::packed::write;
use schema::wire::frame::{ListHead, Op, Status};

use super::Reply;
use super::connection::Asked;
use super::lookup::id;
use crate::daemon::Host;
use crate::directory::{DirectoryError, Entry};

/// A page is closed when it has so many bytes; one entry that is larger stands alone in its page.
const PAGE: usize = 256 * 1024;
/// Logins asked of the directory at a time.
const LOGINS: u32 = 1000;
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
    let page = async {
        match asked.op {
            Op::GroupList => groups(host, after).await,
            op => logins(host, after, op == Op::ShadowList).await,
        }
    };
    match tokio::time::timeout(asked.wait, page).await {
        Ok(Ok(page)) => Reply::owned(page),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a listing was not answered");
            Reply::bare(Status::Unknown)
        }
        Err(_) => Reply::bare(Status::Unknown),
    }
}

async fn logins(host: &Arc<Host>, mut after: u32, shadow: bool) -> Result<Vec<u8>, DirectoryError> {
    let mut page = Page::default();
    loop {
        let entries =
            host.cache().source().ask(|directory| async move { directory.logins_after(after, LOGINS).await }).await?;
        let last = entries.len() < LOGINS as usize;
        let before = after;
        for entry in entries {
            let (id, record) = match entry {
                Entry::Valid(login) => {
                    let id = login.uid.raw();
                    let record = host.serving(&login).ok().and_then(|serving| {
                        if shadow {
                            write::shadow(login.name.as_str(), "*", &login.aging).ok()
                        } else {
                            Some(write::passwd(&crate::quarantine::passwd(&login, serving)))
                        }
                    });
                    (Some(id), record)
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
        // An id that cannot be counted on from must not be a loop without end.
        if last || after == before {
            return Ok(page.close(0));
        }
    }
}

async fn groups(host: &Arc<Host>, mut after: u32) -> Result<Vec<u8>, DirectoryError> {
    let mut page = Page::default();
    loop {
        let entries =
            host.cache().source().ask(|directory| async move { directory.groups_after(after, GROUPS).await }).await?;
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

struct Page {
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
    fn push(&mut self, record: &[u8]) -> bool {
        let Ok(len) = u32::try_from(record.len()) else { return true };
        if self.count > 0 && self.bytes.len() + record.len() + 4 > PAGE {
            return false;
        }
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(record);
        self.count += 1;
        true
    }

    fn close(mut self, next_after: u32) -> Vec<u8> {
        let head = ListHead { next_after, count: self.count };
        for (slot, byte) in self.bytes.iter_mut().zip(head.to_bytes()) {
            *slot = byte;
        }
        self.bytes
    }
}
