//! A bar on a terminal while gigabytes are read; nothing in a pipe.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts bytes.
pub(super) fn bytes(doing: &'static str, total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {percent}%, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(doing);
    bar
}
