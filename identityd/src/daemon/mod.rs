//! The daemon put together: start, reload, stop.
