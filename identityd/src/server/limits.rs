//! How many connections there may be: in all, for one user, and kept for root. When there are too many, those that only wait give way ([`super::held`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::crowding::{Crowd, Crowding};
use super::held::Held;
use crate::config;
use crate::telemetry::meters;

/// While half of the places are taken, a connection that waits for its client is closed after this: every client of ours asks once.
const UNDER_PRESSURE: Duration = Duration::from_secs(1);

/// Counts connections.
#[derive(Debug)]
pub struct Limits {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: config::Server,
    held: Held,
    crowding: Crowding,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// This user has too many.
    User,
    /// All users together have.
    Users,
    /// There are too many.
    Total,
}

impl Full {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Users => "users",
            Self::Total => "total",
        }
    }
}

/// A place that is held until it is dropped, or taken away.
#[derive(Debug)]
pub struct Place {
    limits: Arc<Limits>,
    number: u64,
    leave: Arc<Notify>,
}

/// The place was taken away meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken;

impl Limits {
    /// No connections yet.
    #[must_use]
    pub fn new(config: config::Server) -> Arc<Self> {
        let held = Held::new(rustix::process::geteuid().as_raw());
        Arc::new(Self { state: Mutex::new(State { config, held, crowding: Crowding::default() }) })
    }

    /// Other limits, for connections to come.
    pub fn set(&self, config: config::Server) {
        self.state().config = config;
    }

    /// What is allowed now.
    #[must_use]
    pub fn config(&self) -> config::Server {
        self.state().config.clone()
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.state().held.len()
    }

    /// Places have run out within the last minute: a user who held most of them then, and how many.
    #[must_use]
    pub fn crowded_by(&self) -> Option<(u32, u32)> {
        self.state().crowding.recent(Instant::now()).map(|crowd| (crowd.uid, crowd.holds))
    }

    /// A place for this user. Root has the whole house and no limit of its own, and so has the daemon itself. The others stop before the part that is kept
    /// for root, and those who hold some already stop before the part that is kept for who holds few. Where no place is left, a connection that waits for its
    /// client is closed.
    ///
    /// # Errors
    /// Which limit is reached, and nobody who waits can be closed.
    pub fn admit(self: &Arc<Self>, uid: u32, now: Instant) -> Result<Place, Full> {
        let mut state = self.state();
        let mut line = None;
        let place = loop {
            let State { config, held, crowding } = &mut *state;
            let Some(full) = held.full_for(uid, config) else {
                let (number, leave) = held.take(uid, now);
                break Ok(Place { limits: Arc::clone(self), number, leave });
            };
            let crowd = held.largest().map_or(Crowd { uid, holds: 0 }, |(uid, holds)| Crowd { uid, holds });
            let made_room = held.make_room(uid, full, now);
            line = line.or(crowding.note(crowd, made_room, now));
            if !made_room {
                meters::refused(full.label());
                break Err(full);
            }
            meters::gave_way(full.label());
        };
        drop(state);
        if let Some(line) = line {
            line.write();
        }
        place
    }

    fn longest_wait(&self) -> Duration {
        let state = self.state();
        let State { config, held, .. } = &*state;
        let users = config.connections.saturating_sub(config.reserved_for_root);
        let pressed = held.of_users() >= users / 2 || held.len() >= config.connections / 2;
        if pressed { config.idle_timeout.0.min(UNDER_PRESSURE) } else { config.idle_timeout.0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// From now on only the client can go on: the connection may be closed for another.
    pub(super) fn waits(&self) {
        self.limits.state().held.set(self.number, Some(Instant::now()));
    }

    /// From now on identityd works for it.
    ///
    /// # Errors
    /// It was too late: another connection has its place.
    pub(super) fn works(&self) -> Result<(), Taken> {
        if self.limits.state().held.set(self.number, None) { Ok(()) } else { Err(Taken) }
    }

    /// Ends when another connection has its place.
    pub(super) async fn taken(&self) {
        self.leave.notified().await;
    }

    /// Ends when the client has been silent for as long as it may, which becomes shorter when places become few.
    pub(super) async fn silent_too_long(&self) {
        let began = Instant::now();
        loop {
            let left = self.limits.longest_wait().saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(UNDER_PRESSURE)).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.state().held.give_back(self.number);
    }
}

#[cfg(test)]
mod tests;
