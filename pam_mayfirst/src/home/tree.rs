//! Removes a temporary directory and all that is in it, following nothing.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir};
use rustix::io::Errno;

use super::path;

/// Deeper than anything that we make. What is deeper stays.
const MAX_DEPTH: u32 = 64;

/// Removes it as far as possible, and no more than `left` entries. A left-over is a directory that nobody else sees; the next login sweeps it away.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str, left: &mut u32) {
    empty(parent, name, MAX_DEPTH, left);
    let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
}

fn empty(parent: BorrowedFd<'_>, name: &str, depth: u32, left: &mut u32) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    // O_NOFOLLOW: a directory that its owner exchanges for a link meanwhile is not entered.
    let Ok(dir) = path::open_dir(parent, name) else {
        return;
    };
    let Ok(entries) = Dir::read_from(&dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Some(less) = left.checked_sub(1) else {
            return;
        };
        *left = less;
        remove_entry(dir.as_fd(), name, depth, left);
    }
}

fn remove_entry(dir: BorrowedFd<'_>, name: &CStr, depth: u32, left: &mut u32) {
    if rustix::fs::unlinkat(dir, name, AtFlags::empty()) == Err(Errno::ISDIR) {
        if let Ok(name) = name.to_str() {
            empty(dir, name, depth, left);
        }
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR);
    }
}
