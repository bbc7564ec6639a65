//! How far a run is, on stderr: one line that changes on a terminal, one line for each part in a file or pipe.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::table::Table;

/// The parts that are still to come, with what they took the last time, or may take.
#[derive(Debug)]
pub(super) struct Progress {
    left: Vec<f64>,
    parts: usize,
    part: String,
    begun: Instant,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(parts: &[(Peer, u32)], table: &Table) -> Self {
        let seconds = |&(peer, size): &(Peer, u32)| {
            // A part that failed says nothing of how long a whole one takes.
            let whole =
                table.obstacle(peer.key(), size).is_none() && table.row(peer.key(), size, "failed", "").is_none();
            table.value(peer.key(), size, "took", "").filter(|_| whole).unwrap_or_else(|| peer.usual_seconds(size))
        };
        Self {
            left: parts.iter().map(seconds).rev().collect(),
            parts: parts.len(),
            part: String::new(),
            begun: Instant::now(),
            terminal: stderr().is_terminal(),
        }
    }

    /// How long all that is left may take.
    pub(super) fn estimate(&self) -> Duration {
        Duration::from_secs_f64(self.left.iter().sum())
    }

    pub(super) fn begin(&mut self, peer: Peer, size: u32) {
        let number = self.parts - self.left.len() + 1;
        self.part =
            format!("{number}/{} {}, {} logins", self.parts, peer.label(), super::report::thousands(size.into()));
        self.begun = Instant::now();
        self.stage("starting");
    }

    /// What of this part is done now.
    pub(super) fn stage(&self, what: &str) {
        if self.terminal {
            let spent = self.begun.elapsed().as_secs_f64();
            let part = self.left.last().copied().unwrap_or_default();
            let left = self.left.iter().sum::<f64>() - spent.min(part);
            // Back to the start of the line; the rest of the old one is erased.
            let _ = write!(stderr(), "\rbench: {}: {what} (some {} left)\x1b[K", self.part, span(left));
            let _ = stderr().flush();
        }
    }

    pub(super) fn end(&mut self, outcome: &str) {
        self.left.pop();
        let start = if self.terminal { "\r" } else { "" };
        let end = if self.terminal { "\x1b[K" } else { "" };
        let took = self.begun.elapsed().as_secs_f64();
        let _ = writeln!(stderr(), "{start}bench: {}: {outcome}{}{end}", self.part, span(took));
    }
}

/// 59 s, 12 min.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 100.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
