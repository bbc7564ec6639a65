//! Content synchronisation (RFC 4533), refresh and persist: the server tells of every change as it is committed.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::client::{Client, Incoming, LdapFailure};
use super::control::{self, SyncInfo, SyncState};
use super::cookie::Cookie;
use super::entry::Item;
use super::feed::{Feed, Op};
use super::map::Map;
use super::model::Uuid;
use super::node::Node;
use super::part::Part;
use super::pool::Pool;
use super::{follow, moved, node, pages, part};
use crate::memory;

/// e-syncRefreshRequired (RFC 4533 §5): the cookie is of no use any more.
const REFRESH_REQUIRED: u32 = 4096;
/// A server that says nothing for so long during a refresh is stuck.
const STUCK: Duration = Duration::from_secs(20);
/// Changes that were kept together, after which memory is given back.
const MANY: usize = 10_000;
/// For an answer to "are you there".
const THERE: Duration = Duration::from_millis(900);

/// Follows one base for ever.
pub(super) async fn follow(feed: Weak<Feed>, pool: Weak<Pool>, map: Map, part: Part) {
    let mut troubles = follow::Troubles::default();
    let mut followed = None;
    loop {
        let (Some(feed), Some(pool)) = (feed.upgrade(), pool.upgrade()) else { return };
        let failure = match pool.connect(false).await {
            Ok(client) => {
                let server = client.server;
                let session = Session { feed: &feed, pool: &pool, map: &map, part: &part, scope: part::scope(&map.0) };
                let failure = session.run(client, &mut troubles, &mut followed).await;
                if failure.is_away() || failure.is_behind() && pool.order.others_are_up(server) {
                    pool.down(server, &failure);
                }
                if failure.is_behind() && troubles.is_behind_for_long() {
                    session.begin_anew(server);
                }
                failure
            }
            Err(error) => LdapFailure::Away(error.to_string()),
        };
        follow::Troubles::note(&feed, &part.search.base, &failure);
        drop((feed, pool));
        troubles.rest(&part.search.base, &failure).await;
    }
}

/// One search that does not end.
struct Session<'a> {
    feed: &'a Arc<Feed>,
    pool: &'a Arc<Pool>,
    map: &'a Map,
    part: &'a Part,
    scope: u64,
}

/// What has come since the search began and is not taken in yet.
#[derive(Default)]
struct Refresh {
    ops: Vec<Op>,
    /// Entries that the server named as still there, or sent.
    present: HashSet<Uuid>,
    /// What is gone was named, or has to be found by what was not.
    someone_gone: bool,
    presents: bool,
}

impl Session<'_> {
    /// The only server that answers has been behind what was seen for long: it was restored from a backup, or the one that had more is gone for good. What it has is the directory.
    fn begin_anew(&self, server: usize) {
        tracing::warn!(
            server = self.pool.url(server),
            base = self.part.search.base,
            "the LDAP server has less than was seen before, and no other one answers; everything is asked anew"
        );
        if let Some(cookie) = self.feed.locked().cookies.get_mut(self.part.number) {
            *cookie = Cookie::default();
        }
        self.pool.saw(None);
    }

    /// Runs until it fails.
    async fn run(
        &self,
        mut client: Client,
        troubles: &mut follow::Troubles,
        followed: &mut Option<usize>,
    ) -> LdapFailure {
        // What a server lacks would look removed.
        if let Err(failure) = self.pool.vet(&mut client).await {
            return failure;
        }
        let cookie = self.feed.locked().cookies.get(self.part.number).cloned().unwrap_or_default();
        let sent = cookie.bytes();
        let mut search = self.part.search.clone();
        search.limit = 0;
        let mut incoming = match client.stream(&search, vec![control::sync_request(sent.as_deref())]).await {
            Ok(incoming) => incoming,
            Err(failure) => return failure,
        };
        match self.refresh(&mut incoming, cookie, sent.is_some()).await {
            Ok(()) => {}
            Err(failure) => return self.ended(incoming, failure).await,
        }
        tracing::info!(server = self.pool.url(client.server), base = search.base, "following the directory's changes");
        troubles.over(self.feed, &search.base);
        if followed.replace(client.server).is_some_and(|before| before != client.server) {
            self.feed.tell_again(self.scope);
        }
        let failure = self.persist(&mut client, &mut incoming).await;
        match failure {
            Ok(()) => self.ended(incoming, LdapFailure::Away("the server ended the synchronisation".into())).await,
            Err(failure) => failure,
        }
    }

    /// Takes everything until the server says that we are up to date.
    async fn refresh(&self, incoming: &mut Incoming, mut cookie: Cookie, with_cookie: bool) -> Result<(), LdapFailure> {
        let mut refresh = Refresh::default();
        loop {
            let item = tokio::time::timeout(STUCK, incoming.next()).await;
            let item =
                item.map_err(|_| LdapFailure::Away("it stopped in the middle of a synchronisation".into()))??;
            match item {
                None => return Err(LdapFailure::Away("the server ended the synchronisation".into())),
                Some(Item::Reference(_)) => {}
                Some(Item::Entry(entry, controls)) => {
                    let (state, uuid, sent) = control::sync_state(&controls).map_err(strange)?;
                    match state {
                        SyncState::Present => drop(refresh.present.insert(uuid)),
                        SyncState::Add | SyncState::Modify => {
                            refresh.present.insert(uuid);
                            refresh.ops.push(Op::Put(uuid, node::of(self.map, &entry, uuid)));
                        }
                        SyncState::Delete => {
                            refresh.someone_gone = true;
                            refresh.ops.push(Op::Gone(uuid));
                        }
                    }
                    sent.iter().for_each(|sent| cookie.merge(sent));
                }
                Some(Item::Intermediate(name, value)) => {
                    let Some((info, sent)) = control::sync_info(&name, &value).map_err(strange)? else { continue };
                    sent.iter().for_each(|sent| cookie.merge(sent));
                    let done = match info {
                        SyncInfo::NewCookie => false,
                        SyncInfo::Names { gone: true, uuids } => {
                            refresh.someone_gone |= !uuids.is_empty();
                            refresh.ops.extend(uuids.into_iter().map(Op::Gone));
                            false
                        }
                        SyncInfo::Names { gone: false, uuids } => {
                            refresh.presents = true;
                            refresh.present.extend(uuids);
                            false
                        }
                        SyncInfo::Presents { done } => {
                            // What was not named is gone.
                            refresh.presents = true;
                            done
                        }
                        SyncInfo::Deletes { done } => done,
                    };
                    if done {
                        return self.take_in(refresh, cookie, with_cookie).await;
                    }
                }
            }
        }
    }

    /// The refresh is complete.
    async fn take_in(&self, mut refresh: Refresh, cookie: Cookie, with_cookie: bool) -> Result<(), LdapFailure> {
        let number = self.part.number;
        let known = self.feed.locked().is_complete(number);
        if with_cookie && !known {
            // A new process goes on with the cookie of the one before, and does not know yet what there was.
            let groups = |op: &Op| matches!(op, Op::Put(_, Some(Node::Group(_))));
            let blind = refresh.someone_gone || refresh.presents || refresh.ops.iter().any(groups);
            let mut listed = self.list().await?;
            // What has changed is to be seen as a change.
            let changed: HashSet<Uuid> = refresh.ops.iter().map(Op::uuid).collect();
            listed.retain(|(uuid, _)| !changed.contains(uuid));
            tracing::info!(
                entries = listed.len(),
                changes = refresh.ops.len(),
                again = blind,
                "went on where the last process had stopped"
            );
            {
                let mut state = self.feed.locked();
                for (uuid, node) in listed {
                    state.take_in_quietly(number, Op::Put(uuid, node));
                }
                state.model.shrink();
            }
            if blind {
                self.feed.gap();
            }
            self.feed.mark(number);
        } else if refresh.presents || !with_cookie {
            if refresh.present.is_empty() {
                // Everything is gone, or the server only means that nothing has changed: look.
                refresh.present = self.list().await?.into_iter().map(|(uuid, _)| uuid).collect();
            }
            let known = self.feed.locked().known(number);
            refresh.ops.extend(known.into_iter().filter(|uuid| !refresh.present.contains(uuid)).map(Op::Gone));
        }
        let many = refresh.ops.len() >= MANY;
        self.commit(refresh.ops, cookie);
        if many {
            // Nobody waits for it.
            drop(tokio::task::spawn_blocking(memory::give_back));
        }
        Ok(())
    }

    /// All that is there now.
    async fn list(&self) -> Result<Vec<(Uuid, Option<Node>)>, LdapFailure> {
        let mut listed = Vec::new();
        let searches = [self.part.search.clone()];
        let take = |entry| {
            let uuid = node::uuid_of(&entry);
            listed.push((uuid, node::of(self.map, &entry, uuid)));
        };
        pages::all(self.pool, &searches, take).await.map_err(|error| LdapFailure::Away(error.to_string()))?;
        Ok(listed)
    }

    fn commit(&self, ops: Vec<Op>, cookie: Cookie) {
        let (reached, listing) = {
            let mut state = self.feed.locked();
            let mut listing = Vec::new();
            if state.is_complete(self.part.number) {
                listing.extend(ops.iter().flat_map(|op| state.left_behind(op)));
            }
            if let Some(place) = state.cookies.get_mut(self.part.number) {
                *place = cookie;
            }
            (state.reached(), listing)
        };
        self.pool.saw(self.feed.position());
        self.feed.apply(self.part.number, ops, reached, self.scope);
        if !listing.is_empty() {
            let (feed, pool) = (Arc::downgrade(self.feed), Arc::downgrade(self.pool));
            tokio::spawn(moved::look_again(feed, pool, self.map.clone(), listing));
        }
    }

    /// Takes each change as it comes. `Ok`: the server ended it.
    async fn persist(&self, client: &mut Client, incoming: &mut Incoming) -> Result<(), LdapFailure> {
        let mut cookie = self.feed.locked().cookies.get(self.part.number).cloned().unwrap_or_default();
        let every = self.map.0.poll.0.max(Duration::from_millis(500));
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        loop {
            let back = self.pool.back.notified();
            let item = tokio::select! {
                item = incoming.next() => item?,
                _ = ping.tick() => {
                    if client.is_worn() {
                        return Err(LdapFailure::Said { code: 0, text: "the connection is replaced".into() });
                    }
                    let there = tokio::time::timeout(THERE, client.ping()).await;
                    there.unwrap_or_else(|_| Err(LdapFailure::Away("it takes questions and does not answer them".into())))?;
                    self.feed.saw_server();
                    continue;
                }
                () = back => {
                    if self.pool.order.candidates().first().is_some_and(|first| *first < client.server) {
                        // Not its fault: nothing is noted against it.
                        return Err(LdapFailure::Said { code: 0, text: "a nearer server is back".into() });
                    }
                    continue;
                }
            };
            match item {
                None => return Ok(()),
                Some(Item::Reference(_)) => {}
                Some(Item::Entry(entry, controls)) => {
                    let (state, uuid, sent) = control::sync_state(&controls).map_err(strange)?;
                    sent.iter().for_each(|sent| cookie.merge(sent));
                    let op = match state {
                        SyncState::Delete => Op::Gone(uuid),
                        _ => Op::Put(uuid, node::of(self.map, &entry, uuid)),
                    };
                    self.commit(vec![op], cookie.clone());
                }
                Some(Item::Intermediate(name, value)) => {
                    let Some((info, sent)) = control::sync_info(&name, &value).map_err(strange)? else { continue };
                    sent.iter().for_each(|sent| cookie.merge(sent));
                    let ops = match info {
                        SyncInfo::Names { gone: true, uuids } => uuids.into_iter().map(Op::Gone).collect(),
                        _ => Vec::new(),
                    };
                    self.commit(ops, cookie.clone());
                }
            }
        }
    }

    /// The server ended it: with a result that says why.
    async fn ended(&self, incoming: Incoming, failure: LdapFailure) -> LdapFailure {
        let result = incoming.result().await;
        if result.rc == REFRESH_REQUIRED {
            tracing::info!(base = self.part.search.base, "the server asks for a full synchronisation");
            let mut state = self.feed.locked();
            if let Some(cookie) = state.cookies.get_mut(self.part.number) {
                *cookie = Cookie::default();
            }
            let known = state.is_complete(self.part.number);
            drop(state);
            if !known {
                self.feed.gap();
            }
            return LdapFailure::Said { code: REFRESH_REQUIRED, text: result.text };
        }
        if result.rc == 0 || result.rc == 88 {
            failure
        } else {
            LdapFailure::Said { code: result.rc, text: result.text }
        }
    }
}

fn strange(error: super::ber::Malformed) -> LdapFailure {
    LdapFailure::Away(error.to_string())
}
