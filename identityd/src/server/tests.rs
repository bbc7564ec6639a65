//! The socket, hostile clients included.
