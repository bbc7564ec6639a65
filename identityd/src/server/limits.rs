//! How many connections there may be: in all, for one user, and kept for root.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config;

/// Counts connections.
#[derive(Debug)]
pub struct Limits {
    state: Mutex<State>,
    own_uid: u32,
}

#[derive(Debug)]
struct State {
    config: config::Server,
    total: u32,
    by_uid: HashMap<u32, u32>,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// This user has too many.
    User,
    /// There are too many.
    Total,
}

impl Full {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Total => "total",
        }
    }
}

/// A place that is held until it is dropped.
#[derive(Debug)]
pub struct Place {
    limits: Arc<Limits>,
    uid: u32,
}

impl Limits {
    /// No connections yet.
    #[must_use]
    pub fn new(config: config::Server) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { config, total: 0, by_uid: HashMap::new() }),
            own_uid: rustix::process::geteuid().as_raw(),
        })
    }

    /// Other limits, for connections to come.
    pub fn set(&self, config: config::Server) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).config = config;
    }

    /// What is allowed now.
    #[must_use]
    pub fn config(&self) -> config::Server {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// A place for this user. Root has the whole house and no limit of its own, and so has the daemon itself: its watchdog asks as everybody
    /// does, and must not take crowding for its own death. The others stop before the part that is kept for root.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn admit(self: &Arc<Self>, uid: u32) -> Result<Place, Full> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = state.by_uid.get(&uid).copied().unwrap_or(0);
        if uid == 0 || uid == self.own_uid {
            if state.total >= state.config.connections {
                return Err(Full::Total);
            }
        } else {
            if own >= state.config.connections_per_user {
                return Err(Full::User);
            }
            if state.total >= state.config.connections.saturating_sub(state.config.reserved_for_root) {
                return Err(Full::Total);
            }
        }
        state.total += 1;
        state.by_uid.insert(uid, own + 1);
        Ok(Place { limits: Arc::clone(self), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.limits.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.total -= 1;
        if let Some(own) = state.by_uid.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                state.by_uid.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Arc<Limits> {
        Limits::new(config::Server {
            connections: 10,
            reserved_for_root: 4,
            connections_per_user: 4,
            ..config::Server::default()
        })
    }

    #[test]
    fn one_user_gets_its_share_and_no_more() {
        let limits = small();
        let places: Vec<_> = (0..4).map(|_| limits.admit(2000).unwrap()).collect();
        assert_eq!(limits.admit(2000).unwrap_err(), Full::User);
        assert!(limits.admit(2001).is_ok());
        drop(places);
        assert!(limits.admit(2000).is_ok());
        assert_eq!(limits.connections(), 0);
    }

    #[test]
    fn all_users_together_cannot_keep_root_out() {
        let limits = small();
        let users: Vec<_> = (0..6).map(|uid| limits.admit(2000 + uid).unwrap()).collect();
        assert_eq!(limits.admit(3000).unwrap_err(), Full::Total);
        let root: Vec<_> = (0..4).map(|_| limits.admit(0).unwrap()).collect();
        assert_eq!(limits.admit(0).unwrap_err(), Full::Total);
        drop((users, root));
    }
}
