//! Test machines, and what tests of the whole system share. How to use it: `docs/testing.md`.
//!
//! A [`Mosh`] is a Debian 12 with the product installed, in its own name spaces: it boots in a fraction of a second, and nothing in it
//! touches the machine that the tests run on.

pub mod administrator;
pub mod bench;
pub mod fleet;
pub mod limit;
pub mod mosh;
pub mod namespace;
pub mod places;
pub mod population;
pub mod skip;

pub use mosh::{Login, Mosh};
pub use skip::Refusal;
