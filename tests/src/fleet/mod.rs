//! A fleet: many test machines, each with its identityd, on one directory server.

pub mod probe;
pub mod spread;

pub use probe::Probe;
pub use spread::{Spread, Written, spreads};
