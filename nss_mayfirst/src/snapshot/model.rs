//! The hand-over, model-checked: loom runs these with every order in which threads can meet, and with every value that a load may see under the memory
//! model of C++11.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p nss_mayfirst --target-dir target/loom model`

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use super::handover::{Exchange, Handover, Pins};

/// A generation. Releasing it is noted, using it afterwards fails.
struct Generation {
    number: usize,
    released: Arc<AtomicBool>,
}

struct World {
    handover: Handover<Generation>,
    pins: Pins,
    epochs: AtomicU64,
    alive: AtomicUsize,
}

impl World {
    fn with_one_generation() -> loom::sync::Arc<Self> {
        let world = Self {
            handover: Handover::new(),
            pins: Pins::new(),
            epochs: AtomicU64::new(0),
            alive: AtomicUsize::new(0),
        };
        let world = loom::sync::Arc::new(world);
        assert_eq!(world.publish(), Exchange::Done);
        world
    }

    /// As a thread that sees a newer word: maps the next generation.
    fn publish(&self) -> Exchange {
        let make = |old: Option<&Generation>| {
            let alive = self.alive.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(alive <= 2, "more than the current and one previous generation");
            Some(Generation { number: old.map_or(0, |old| old.number) + 1, released: Arc::new(AtomicBool::new(false)) })
        };
        self.handover.exchange(&self.pins, make, |old, _| self.release(&old))
    }

    fn release(&self, old: &Generation) {
        assert!(!old.released.swap(true, Ordering::Relaxed), "released twice");
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }

    /// As a look-up.
    fn read(&self, seat: usize) -> Option<usize> {
        let guard = self.handover.pin(&self.pins, seat, &self.epochs)?;
        let number = guard.value().number;
        // Later in the same look-up: loom sees this access too.
        assert!(!guard.value().released.load(Ordering::Relaxed), "used after it was released");
        Some(number)
    }
}

fn model(bound: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(test);
}

#[test]
fn a_reader_never_uses_a_released_generation() {
    model(4, || {
        let world = World::with_one_generation();
        let reader = {
            let world = world.clone();
            thread::spawn(move || world.read(1))
        };
        assert_eq!(world.publish(), Exchange::Done);
        let _ = world.publish();
        assert!(reader.join().unwrap().is_none_or(|number| (1..=3).contains(&number)));
        let read = world.read(0);
        assert!(read.is_some_and(|number| number >= 2), "{read:?}");
    });
}

#[test]
fn two_readers_and_a_changer_do_not_disturb_each_other() {
    two_readers([0, 1]);
}

#[test]
fn nor_do_they_when_both_want_one_seat() {
    two_readers([1, 1]);
}

fn two_readers(seats: [usize; 2]) {
    model(3, move || {
        let world = World::with_one_generation();
        let readers = seats.map(|seat| {
            let world = world.clone();
            thread::spawn(move || world.read(seat))
        });
        assert_eq!(world.publish(), Exchange::Done);
        for reader in readers {
            assert!(reader.join().unwrap().is_some());
        }
    });
}

#[test]
fn of_two_changers_one_waits_its_turn_and_nothing_leaks() {
    model(3, || {
        let world = World::with_one_generation();
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                // Twice: being refused the lock once must not open it.
                [world.publish(), world.publish()]
            })
        };
        let mine = world.publish();
        let theirs = other.join().unwrap();
        assert!(mine == Exchange::Done || theirs.contains(&Exchange::Done));
        world.handover.tidy(&world.pins, |old, _| world.release(&old));
        assert_eq!(world.alive.load(Ordering::Relaxed), 1, "only the current generation is left");
    });
}

#[test]
fn a_late_reader_lets_the_old_generation_go_at_the_next_try() {
    model(4, || {
        let world = World::with_one_generation();
        let reader = {
            let world = world.clone();
            thread::spawn(move || {
                let read = world.read(1);
                if world.handover.has_retired() {
                    world.handover.tidy(&world.pins, |old, _| world.release(&old));
                }
                read
            })
        };
        assert_eq!(world.publish(), Exchange::Done);
        reader.join().unwrap();
        world.handover.tidy(&world.pins, |old, _| world.release(&old));
        assert_eq!(world.alive.load(Ordering::Relaxed), 1);
    });
}
