//! Writing as identityd: at the nearest server that takes the change. A copy that cannot be written says so, and the next one is asked.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::client::{Client, LdapFailure};
use super::pool::Pool;
use crate::directory::DirectoryError;

/// The servers that may take a change, one after the other.
#[derive(Debug)]
pub(super) struct Writers<'p> {
    pool: &'p Pool,
    tried: Vec<usize>,
    /// Why none of those did.
    told: Vec<String>,
}

impl Pool {
    /// Those that may take a change.
    pub(super) const fn writers(&self) -> Writers<'_> {
        Writers { pool: self, tried: Vec::new(), told: Vec::new() }
    }

    /// Whether a server takes no changes at all, by what it said to one: a copy (10 with the place to write, or 53 where it knows none), or one that is closed for them (53). It is the last to
    /// be asked to write from now on.
    pub(super) fn takes_no_changes(&self, server: usize, failure: &LdapFailure) -> bool {
        let closed = matches!(failure, LdapFailure::Said { code: 10 | 53, .. });
        if closed {
            self.order.refused_to_write(server);
        }
        closed
    }
}

impl Writers<'_> {
    /// A connection to the next one, bound as identityd.
    ///
    /// # Errors
    /// There is no further one: what those said that there are.
    pub(super) async fn next(&mut self) -> Result<Client, DirectoryError> {
        let untried = |mut servers: Vec<usize>| {
            servers.retain(|server| !self.tried.contains(server));
            servers
        };
        let mut left = untried(self.pool.order.writable());
        if left.is_empty() {
            // Those that refused to write a while ago.
            left = untried(self.pool.order.candidates());
        }
        if left.is_empty() {
            let silent = self.pool.who_is_silent(&BTreeSet::new());
            let reasons: Vec<String> = self.told.drain(..).chain(silent).collect();
            return Err(self.pool.unavailable(format!("no server takes the change: {}", reasons.join("; "))));
        }
        let until = Instant::now() + self.pool.config.timeout.0;
        let connected = self.pool.connect_first(&left, true, until).await;
        connected.map_err(|failure| self.pool.unavailable(failure.to_string()))
    }

    /// Leaves this server out, because of what it said.
    pub(super) fn leave(&mut self, server: usize, failure: &LdapFailure) {
        if !self.tried.contains(&server) {
            self.tried.push(server);
        }
        self.told.push(format!("{} says {failure}", self.pool.url(server)));
    }
}
