//! A client of the socket, for `identityctl`: frames and messages with a deadline.
