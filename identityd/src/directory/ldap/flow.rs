//! How much of a server's answers may wait to be taken: ldap3 queues them without a bound, and so a server could fill identityd's memory. What is above that stays in the network.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// What may wait on one connection, in KiB of memory.
const BUDGET: usize = 64 << 10;
/// What an element costs that has been taken apart, besides its bytes: a vector and its allocation.
const ELEMENT: usize = 96;

/// The answers of a connection that wait, by the number of their question.
#[derive(Debug)]
pub(super) struct Flow {
    room: Semaphore,
    waiting: Mutex<HashMap<u32, VecDeque<u32>>>,
}

impl Flow {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { room: Semaphore::new(BUDGET), waiting: Mutex::default() })
    }

    /// An answer comes, so many bytes in so many elements: waits until there is room for it.
    ///
    /// # Errors
    /// There never will be.
    pub(super) async fn enter(&self, question: u32, bytes: usize, elements: usize) -> io::Result<()> {
        let weight = (bytes + elements * ELEMENT).div_ceil(1024).max(1);
        let too_large = || io::Error::other("the server sent an entry of too many parts");
        let weight = u32::try_from(weight).ok().filter(|_| weight <= BUDGET).ok_or_else(too_large)?;
        self.room.acquire_many(weight).await.map_err(io::Error::other)?.forget();
        self.locked().entry(question).or_default().push_back(weight);
        Ok(())
    }

    /// The oldest answer to this question was taken.
    pub(super) fn taken(&self, question: u32) {
        let weight = self.locked().get_mut(&question).and_then(VecDeque::pop_front);
        self.room.add_permits(weight.unwrap_or(0) as usize);
    }

    /// Nobody takes the others.
    pub(super) fn over(&self, question: u32) {
        let left = self.locked().remove(&question).unwrap_or_default();
        self.room.add_permits(left.iter().map(|weight| *weight as usize).sum());
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u32, VecDeque<u32>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn what_waits_is_bounded_by_its_size_and_goes_on_when_some_is_taken() {
        let flow = Flow::new();
        for _ in 0..8 {
            flow.enter(1, 8 << 20, 0).await.unwrap();
        }
        assert!(tokio::time::timeout(SOON, flow.enter(2, 1, 1)).await.is_err());
        flow.taken(1);
        flow.enter(2, 8 << 20, 0).await.unwrap();
        flow.over(1);
        assert_eq!(flow.room.available_permits(), BUDGET - (8 << 10));
        flow.taken(2);
        flow.over(2);
        flow.taken(3);
        assert_eq!(flow.room.available_permits(), BUDGET);
    }

    #[tokio::test]
    async fn many_small_parts_weigh_what_they_cost_in_memory() {
        let flow = Flow::new();
        flow.enter(1, 1 << 20, 300_000).await.unwrap();
        assert!(flow.room.available_permits() < BUDGET - (27 << 10));
        assert!(flow.enter(2, 8 << 20, 2_000_000).await.is_err(), "it would wait for ever");
    }
}
