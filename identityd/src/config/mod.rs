//! The configuration file: every key documented, unknown keys refused.
