//! Notices changes of the directory and drops exactly the answers concerned.
