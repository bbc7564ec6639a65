//! Passwords: verification through libcrypt in a bounded pool, and the making of new hashes.
