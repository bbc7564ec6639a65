//! The feed on a directory in memory.
