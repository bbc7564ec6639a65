//! The socket: peer credentials, limits, deadlines, dispatch.
