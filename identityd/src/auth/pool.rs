//! Hashes cost processor time and memory: so many at one time, so many waiting, and no login may fill the queue alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schema::hash::PasswordHash;
use schema::wire::message::Secret;
use tokio::sync::Semaphore;

use crate::config;

/// The pool.
#[derive(Debug)]
pub struct Pool {
    workers: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Verified instead of a hash that is not there, so that the time is the same.
    dummy: PasswordHash,
}

#[derive(Debug)]
struct Queue {
    config: config::Auth,
    waiting: u32,
    by_login: HashMap<String, u32>,
}

/// Why a verification is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// Too many of this login.
    Login,
    /// Too many of all.
    Total,
}

/// A place in the queue, held until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    pool: Arc<Pool>,
    login: String,
}

impl Pool {
    /// A pool as configured. `workers` holds for its life.
    ///
    /// # Errors
    /// libcrypt does not work.
    pub fn new(config: config::Auth) -> Result<Arc<Self>, super::HashingError> {
        let workers = match config.workers {
            0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            workers => workers as usize,
        };
        Ok(Arc::new(Self {
            workers: Arc::new(Semaphore::new(workers)),
            dummy: super::new_hash(b"nobody's password")?,
            queue: Mutex::new(Queue { config, waiting: 0, by_login: HashMap::new() }),
        }))
    }

    /// Other limits, from now on.
    pub fn set(&self, config: config::Auth) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).config = config;
    }

    /// How long a verification may wait for its turn.
    fn deadline(&self) -> Duration {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).config.deadline.0
    }

    /// A place for a verification of this login, whether it exists or not.
    ///
    /// # Errors
    /// The queue is full.
    pub fn enter(self: &Arc<Self>, login: &str) -> Result<Ticket, Crowded> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let own = queue.by_login.get(login).copied().unwrap_or(0);
        if own >= queue.config.queue_per_login {
            return Err(Crowded::Login);
        }
        if queue.waiting >= queue.config.queue {
            return Err(Crowded::Total);
        }
        queue.waiting += 1;
        queue.by_login.insert(login.into(), own + 1);
        Ok(Ticket { pool: Arc::clone(self), login: login.into() })
    }

    /// Computes something in the pool. `None`: its turn did not come in time.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = tokio::time::timeout(self.deadline(), Arc::clone(&self.workers).acquire_owned()).await;
        let turn = turn.ok()?.ok()?;
        // The place is given back when the work is done, not when the client is gone.
        let work = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        work.await.ok()
    }

    /// Verifies a password; without a usable hash, the dummy, and the answer is no. `None`: its turn did not come in time.
    pub async fn verify(&self, password: Secret, hash: Option<PasswordHash>) -> Option<Result<bool, String>> {
        let real = hash.filter(PasswordHash::is_usable);
        let dummy = self.dummy.clone();
        self.run(move || match real {
            Some(hash) => super::verify(password.expose(), &hash),
            None => super::verify(password.expose(), &dummy).map(|_| false),
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queue = self.pool.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting -= 1;
        if let Some(own) = queue.by_login.get_mut(&self.login) {
            *own -= 1;
            if *own == 0 {
                queue.by_login.remove(&self.login);
            }
        }
    }
}
