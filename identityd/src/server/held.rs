//! Who holds which connections, and which of them gives way to another.
//!
//! A connection that waits for its client costs nothing but its place: it gives way. One that identityd works for ends by itself within the time of its
//! request, and is never given up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::limits::Full;
use crate::config;

/// A client has had its time: a look-up of libc takes 200 ms in all. So it is never one that has just come and is not yet heard.
pub(super) const GRACE: Duration = Duration::from_millis(200);
/// A user that holds fewer than this gets a place also where the others have taken theirs: sshd asks for keys as the login that knocks.
const FEW: u32 = 4;
/// The part of the users' places that is kept for those who hold few: one in so many.
const KEPT_FOR_FEW: u32 = 8;

/// All connections.
#[derive(Debug)]
pub(super) struct Held {
    own_uid: u32,
    next: u64,
    all: HashMap<u64, Connection>,
    by_uid: HashMap<u32, u32>,
}

#[derive(Debug)]
struct Connection {
    uid: u32,
    /// Since when it has been waiting for its client; `None`: identityd is at work for it.
    waits: Option<Instant>,
    leave: Arc<Notify>,
}

impl Held {
    /// None yet. `own_uid` is the daemon's.
    pub(super) fn new(own_uid: u32) -> Self {
        Self { own_uid, next: 0, all: HashMap::new(), by_uid: HashMap::new() }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// How many this user holds.
    pub(super) fn of(&self, uid: u32) -> u32 {
        self.by_uid.get(&uid).copied().unwrap_or(0)
    }

    /// Those of everybody but root and the daemon.
    pub(super) fn of_users(&self) -> u32 {
        let others = if self.own_uid == 0 { 0 } else { self.of(self.own_uid) };
        self.len().saturating_sub(self.of(0) + others)
    }

    /// Who holds most, and how many.
    pub(super) fn largest(&self) -> Option<(u32, u32)> {
        self.by_uid.iter().map(|(uid, count)| (*uid, *count)).max_by_key(|(_, count)| *count)
    }

    /// Which limit keeps another connection of this user out.
    pub(super) fn full_for(&self, uid: u32, limits: &config::Server) -> Option<Full> {
        if !self.is_privileged(uid) {
            let own = self.of(uid);
            if own >= limits.connections_per_user {
                return Some(Full::User);
            }
            let users = limits.connections.saturating_sub(limits.reserved_for_root);
            let kept = if own < FEW { 0 } else { users / KEPT_FOR_FEW };
            if self.of_users() >= users - kept {
                return Some(Full::Users);
            }
        }
        (self.len() >= limits.connections).then_some(Full::Total)
    }

    /// Takes a place.
    pub(super) fn take(&mut self, uid: u32, now: Instant) -> (u64, Arc<Notify>) {
        self.next += 1;
        let leave = Arc::new(Notify::new());
        self.all.insert(self.next, Connection { uid, waits: Some(now), leave: Arc::clone(&leave) });
        *self.by_uid.entry(uid).or_insert(0) += 1;
        (self.next, leave)
    }

    /// Gives a place back; nothing happens when it was taken away.
    pub(super) fn give_back(&mut self, number: u64) {
        let Some(connection) = self.all.remove(&number) else { return };
        if let Some(own) = self.by_uid.get_mut(&connection.uid) {
            *own -= 1;
            if *own == 0 {
                self.by_uid.remove(&connection.uid);
            }
        }
    }

    /// From now on it waits for its client, or (`None`) identityd works for it. `false`: its place was taken away.
    pub(super) fn set(&mut self, number: u64, waits: Option<Instant>) -> bool {
        self.all.get_mut(&number).map(|connection| connection.waits = waits).is_some()
    }

    /// Closes one connection that gives way to another of this user, which `full` keeps out. `false`: there is none.
    pub(super) fn make_room(&mut self, uid: u32, full: Full, now: Instant) -> bool {
        let Some(number) = self.gives_way(uid, full, now) else { return false };
        if let Some(connection) = self.all.get(&number) {
            connection.leave.notify_one();
        }
        self.give_back(number);
        true
    }

    /// Of the user who holds most, the one that has been waiting longest for its client. Never of one who holds fewer than the one who comes: who opens many
    /// connections pays for them alone.
    fn gives_way(&self, uid: u32, full: Full, now: Instant) -> Option<u64> {
        let own = self.of(uid);
        let waiting = || {
            self.all.iter().filter_map(|(number, connection)| {
                let waited = now.saturating_duration_since(connection.waits?);
                Some((self.of(connection.uid), waited, *number, connection.uid))
            })
        };
        let idle = waiting().filter(|(holds, waited, _, holder)| {
            let meant = match full {
                Full::User => *holder == uid,
                Full::Users => *holds >= own && !self.is_privileged(*holder),
                Full::Total => *holds >= own || self.is_privileged(uid),
            };
            meant && *waited >= GRACE
        });
        let chosen = idle.max().or_else(|| {
            // Root goes before any user that is not being worked for.
            let users = waiting().filter(|(.., holder)| self.is_privileged(uid) && !self.is_privileged(*holder));
            users.max()
        });
        chosen.map(|(_, _, number, _)| number)
    }

    /// Root has no limit of its own, and neither has the daemon: its watchdog asks as everybody does, and must not take crowding for its own death.
    fn is_privileged(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }
}
