//! Answers that are kept: positive and negative lifetimes, joined loads, stale while refreshing.
