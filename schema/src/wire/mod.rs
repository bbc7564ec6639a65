//! What goes over the socket: frames, and the messages inside them. The page is `docs/wire.md`.

pub mod frame;

#[cfg(feature = "std")]
pub mod message;
