//! The caching identity daemon `identityd` and the administrators' tool `identityctl`.
//!
//! Nothing in here calls `getpw*` or `getgr*`: it would ask itself. The rooms are described in `docs/architecture.md`.

pub mod accounts;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod directory;
pub mod feed;
pub mod fleet;
pub mod local;
mod memory;
pub mod policy;
pub mod quarantine;
pub mod replica;
pub mod server;
pub mod snapshot;
pub mod telemetry;
