//! Hashes cost processor time and memory: so many at one time, so many waiting, and neither one login nor one origin may fill the queue alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    held: HashMap<Bucket, u32>,
}

/// What places are counted by, besides all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bucket {
    Login(String),
    /// All names that there are not: an attacker invents them.
    Nobody,
    Origin(String),
}

/// One place: whose password it is about, and where the attempt comes from.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The login; `None`: there is none of this name.
    pub login: Option<&'a str>,
    /// The remote host, or the local user, as far as known.
    pub origin: Option<&'a str>,
    /// When it began.
    pub began: Instant,
}

/// All unknown names together have this part of the queue.
const PART: u32 = 4;

/// Why a verification is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// Too many of this login.
    Login,
    /// Too many of names that there are not.
    Nobody,
    /// Too many from there.
    Origin,
    /// Too many of all.
    Total,
}

/// A place in the queue, held until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    pool: Arc<Pool>,
    buckets: Vec<Bucket>,
    /// When the attempt began.
    pub began: Instant,
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
            queue: Mutex::new(Queue { config, waiting: 0, held: HashMap::new() }),
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

    /// A place for a verification.
    ///
    /// # Errors
    /// The queue is full, or this login or this origin has as many places as it may.
    pub fn enter(self: &Arc<Self>, attempt: Attempt<'_>) -> Result<Ticket, Crowded> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let nobodys = (queue.config.queue / PART).max(queue.config.queue_per_login);
        let mut wanted = vec![match attempt.login {
            Some(login) => (Bucket::Login(login.into()), queue.config.queue_per_login, Crowded::Login),
            None => (Bucket::Nobody, nobodys, Crowded::Nobody),
        }];
        let each = queue.config.queue_per_address;
        wanted.extend(attempt.origin.map(|origin| (Bucket::Origin(origin.into()), each, Crowded::Origin)));
        for (bucket, most, crowded) in &wanted {
            if queue.held.get(bucket).is_some_and(|held| held >= most) {
                return Err(*crowded);
            }
        }
        if queue.waiting >= queue.config.queue {
            return Err(Crowded::Total);
        }
        queue.waiting += 1;
        let buckets: Vec<Bucket> = wanted.into_iter().map(|(bucket, ..)| bucket).collect();
        for bucket in &buckets {
            *queue.held.entry(bucket.clone()).or_insert(0) += 1;
        }
        Ok(Ticket { pool: Arc::clone(self), buckets, began: attempt.began })
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
        for bucket in &self.buckets {
            if let Some(held) = queue.held.get_mut(bucket) {
                *held -= 1;
                if *held == 0 {
                    queue.held.remove(bucket);
                }
            }
        }
    }
}
