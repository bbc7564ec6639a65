//! Which entries are not served, and why.
