//! Who may use which service on this host: a verdict with its reasons.
