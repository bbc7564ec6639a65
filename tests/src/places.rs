//! Where the prepared root, the staged product and the harness's own program are.

use std::path::{Path, PathBuf};

/// The directory that cargo builds into: a test runs from its `release/deps`.
#[must_use]
pub fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(3).map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// The Debian root that `tests/prepare` builds; `TEST_ROOT` says otherwise.
#[must_use]
pub fn test_root() -> PathBuf {
    std::env::var_os("TEST_ROOT").map_or_else(|| target().join("test-root"), PathBuf::from)
}

/// The product as `make install DESTDIR=…` leaves it; `STAGE` says otherwise.
#[must_use]
pub fn stage() -> PathBuf {
    std::env::var_os("STAGE").map_or_else(|| target().join("stage"), PathBuf::from)
}

/// The program that boots a test machine and enters it (`src/bin/mosh-init.rs`). Cargo builds it before it runs a test.
#[must_use]
pub fn mosh_init() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors().nth(2).unwrap_or(Path::new(".")).join("mosh-init")
}

/// Where the programs in C are compiled to and skips are recorded.
#[must_use]
pub fn scratch() -> PathBuf {
    target().join("tests-scratch")
}
