//! `pam_mayfirst.so`: carries the conversation between PAM and identityd. Options, return codes and stacks: `docs/pam.md`.
//!
//! identityd decides, this module obeys: it holds no policy, except that it never handles an account below the floor, never answers for a local
//! account, and never creates a home outside the prefix that its PAM line allows. It keeps nothing between two calls but the items of PAM:
//! sshd asks for authentication, account and session from different processes.
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod account;
mod auth;
mod client;
mod code;
mod confine;
mod entry;
mod handle;
mod home;
mod local;
mod log;
mod nss;
mod options;
mod password;
mod session;
mod stage;
