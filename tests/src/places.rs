//! Where the prepared root, the staged product and the harness's own program are.

use std::path::{Path, PathBuf};

/// The directory that cargo builds into.
#[must_use]
pub fn target() -> PathBuf {
    programs().parent().map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// Its `release`: a program runs from there, a test from `deps` below.
fn programs() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let folder = exe.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder).to_path_buf() } else { folder.to_path_buf() }
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
    programs().join("mosh-init")
}

/// Where the programs in C are compiled to and what machines have in common is kept; `TEST_SCRATCH` says otherwise, for machines over another root.
#[must_use]
pub fn scratch() -> PathBuf {
    std::env::var_os("TEST_SCRATCH").map_or_else(|| target().join("tests-scratch"), PathBuf::from)
}
