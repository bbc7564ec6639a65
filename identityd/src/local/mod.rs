//! The server's own names and ids, from `/etc/passwd` and `/etc/group`.
