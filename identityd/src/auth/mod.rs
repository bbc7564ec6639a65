//! Passwords: verification through libcrypt in a bounded pool, and the making of new hashes.

mod create;

pub use create::{NewHashError, new_hash};
