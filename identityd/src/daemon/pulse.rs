//! Whether the run-time goes on. One task that blocks where it may not can hold up all others, the watchdog's with them, and then nothing here says so. So a thread of its own looks whether a task that
//! only counts still counts, and whether changes are followed. If not, only another process helps: this one says what its threads are at, and makes way for it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Host;

/// Between two counts.
const BEAT: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Looks that find the same count, one after the other. Looks and not time: the whole process may have been stopped for a while.
const FROZEN: u32 = 10;
/// Following the changes has stood still for so long although it was begun anew.
const HOPELESS: Duration = Duration::from_secs(300);
/// Threads that are named.
const NAMED: usize = 64;

/// What the task and the thread share.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    beats: AtomicU64,
    stopping: AtomicBool,
}

impl Pulse {
    /// Starts to count and to look.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(host: &Arc<Host>) -> std::io::Result<Arc<Self>> {
        let pulse = Arc::new(Self::default());
        let (counting, looking, host) = (Arc::clone(&pulse), Arc::clone(&pulse), Arc::clone(host));
        tokio::spawn(async move {
            loop {
                counting.beats.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(BEAT).await;
            }
        });
        std::thread::Builder::new().name("pulse".into()).spawn(move || looking.look(&host))?;
        Ok(pulse)
    }

    /// From now on it may stop.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn look(&self, host: &Host) {
        let mut counts = Counts::default();
        loop {
            std::thread::sleep(LOOK);
            let frozen = counts.look(self.beats.load(Ordering::Relaxed));
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            // While the directory is away another process could do no more than this one.
            let reachable = host.cache().source().is_reachable();
            let hopeless = host.feed().stands_still().filter(|(since, _)| reachable && *since >= HOPELESS);
            let why = match hopeless {
                _ if frozen => "no task has gone on".to_owned(),
                Some((_, step)) => format!("changes are not followed, also when that is begun anew ({step})"),
                None => continue,
            };
            tracing::error!(
                why,
                threads = threads(),
                "identityd has come to a standstill and begins anew as another process; report this with the journal"
            );
            // What holds up every task may be the log itself: then it has just come to its end.
            if frozen && !counts.look(self.beats.load(Ordering::Relaxed)) {
                tracing::warn!("identityd goes on after all");
                continue;
            }
            make_way();
        }
    }
}

/// The counts that were seen.
#[derive(Debug, Default)]
struct Counts {
    last: u64,
    same: u32,
}

impl Counts {
    /// Whether it has been the same for too many looks.
    fn look(&mut self, count: u64) -> bool {
        self.same = if count == self.last { self.same + 1 } else { 0 };
        self.last = count;
        self.same >= FROZEN
    }
}

/// Each thread: its name, its state (proc(5)), and where in the kernel it waits.
fn threads() -> String {
    let mut text = String::new();
    for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten().take(NAMED) {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let (name, stat, waits) = (read("comm"), read("stat"), read("wchan"));
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?');
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{} {state} {}", name.trim_end(), waits.trim_end());
    }
    text
}

/// Who looks after us, as systemd does, starts another process, and passes the socket to it. Else this becomes one: with the same arguments, and the same number for whoever noted that.
fn make_way() {
    if ["NOTIFY_SOCKET", "LISTEN_FDS"].iter().any(|name| std::env::var_os(name).is_some()) {
        std::process::abort();
    }
    let mut arguments = std::env::args_os();
    let own = arguments.next().unwrap_or_else(|| "identityd".into());
    let error = Command::new("/proc/self/exe").arg0(own).args(arguments).exec();
    tracing::error!(%error, "identityd cannot be started anew from here; start it again");
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_count_so_often_is_a_standstill_and_one_more_is_none() {
        let mut counts = Counts::default();
        assert!((1..=100).all(|count| !counts.look(count)));
        assert!((1..FROZEN).all(|_| !counts.look(100)) && !counts.look(101));
        assert!((1..FROZEN).all(|_| !counts.look(101)) && counts.look(101));
    }

    #[test]
    fn each_thread_is_named_with_its_state() {
        let found = threads();
        assert!(found.split("; ").all(|thread| thread.split(' ').count() >= 2), "{found}");
        let own = fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert!(found.contains(&format!("{} R", own.trim_end())), "{found}");
    }
}
