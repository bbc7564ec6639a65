//! Lines of authorized_keys(5) that are taken and refused.
