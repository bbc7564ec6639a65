//! A test machine: Debian 12 with the product installed, in name spaces of its own.

mod build;
mod command;
mod compile;
mod daemon;
mod expect;
mod files;
mod generations;
mod login;
mod mariadb;
mod network;
mod services;
mod slapd;
mod wire;
mod wiring;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use build::Builder;
pub use command::{Call, Output, Running};
pub use daemon::Daemon;
pub use generations::Generations;
pub use login::Login;
pub use mariadb::MariaDb;
pub use services::{Auth, Sshd};
pub use slapd::{LdapLogin, Slapd, csn_micros, group_ldif};
pub use wire::Wire;

use crate::places;
use crate::skip::Refusal;

/// A running test machine. It ends, with everything in it, when this is dropped or the test process dies.
#[derive(Debug)]
pub struct Mosh {
    /// Its process 1, as the host numbers it.
    init: i32,
    /// Waits for init outside.
    keeper: Child,
    /// Closed: the machine ends.
    life: Option<ChildStdin>,
    root: File,
    /// What was done in it, for the report of a failed test.
    transcript: Mutex<Vec<String>>,
    running: Mutex<Vec<(String, Running)>>,
    boot_time: Duration,
}

/// What a machine shows to others: its name, and a folder that it shares with them.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    shared: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self { name: "mosh".into(), shared: PathBuf::new() }
    }
}

impl Mosh {
    /// Describes a machine; `start()` boots it.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// From the first system call to the end of the set-up.
    #[must_use]
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// Process 1 of the machine, as the host numbers it.
    #[must_use]
    pub fn init_pid(&self) -> i32 {
        self.init
    }

    /// Waits until the condition holds.
    ///
    /// # Panics
    /// When it does not within the limit, or the multiple of it that [`crate::limit`] allows.
    pub fn wait_until(&self, what: &str, limit: Duration, mut condition: impl FnMut(&Self) -> bool) {
        let (started, limit) = (Instant::now(), crate::limit::wide(limit));
        while !condition(self) {
            assert!(started.elapsed() < limit, "waited {limit:?} in vain until {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the condition holds, and prints how long it took: what is promised within this time, such as an answer while a server is away.
    ///
    /// # Panics
    /// When it took longer than [`crate::limit`] allows.
    #[track_caller]
    pub fn promised(&self, within: Duration, what: &str, condition: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        self.wait_until(what, within, condition);
        crate::limit::within(within, what, began.elapsed());
    }

    fn note(&self, line: String) {
        self.transcript.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
    }

    /// Boots a machine over these trees, the topmost first. What is written goes into memory, or into `upper/upper`.
    fn boot(lower: &[PathBuf], upper: Option<&Path>, place: &Place) -> Result<Self, Refusal> {
        if let Some(obstacle) = crate::skip::obstacle() {
            return Err(Refusal::CannotRun(obstacle));
        }
        let failed =
            |what: &str, error: std::io::Error| Refusal::Failed(format!("cannot boot a test machine: {what}: {error}"));
        let started = Instant::now();
        let scratch = places::scratch().join("mnt");
        std::fs::create_dir_all(&scratch).map_err(|error| failed("make its mount point", error))?;
        let mut keeper = Command::new(places::mosh_init())
            .arg("boot")
            .arg(&scratch)
            .arg(upper.unwrap_or(Path::new("")))
            .arg(&place.name)
            .arg(&place.shared)
            .args(lower)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed("run mosh-init (cargo builds it with the tests: cargo test -p tests)", error))?;
        let life = keeper.stdin.take();
        let mut init = None;
        let mut ready = false;
        // Two processes write: the pid comes from outside, the rest from init.
        let mut said = BufReader::new(
            keeper.stdout.take().into_iter().next().ok_or_else(|| Refusal::Failed("mosh-init has no stdout".into()))?,
        );
        let mut words = String::new();
        while !(ready && init.is_some()) {
            let mut line = String::new();
            if said.read_line(&mut line).map_err(|error| failed("read what init says", error))? == 0 {
                let _ = keeper.wait();
                let reason = words.trim();
                // What the kernel refuses to a container is a reason to skip; anything else is a fault of ours.
                let cannot = reason.contains("make name spaces") || reason.contains("Operation not permitted");
                let reason = format!("no test machine here: {reason}");
                return Err(if cannot { Refusal::CannotRun(reason) } else { Refusal::Failed(reason) });
            }
            match line.trim().split_once(' ') {
                Some(("pid", pid)) => init = pid.parse().ok(),
                None if line.trim() == "ready" => ready = true,
                _ => words.push_str(&line),
            }
        }
        let init = init.unwrap_or_default();
        let root = File::open(format!("/proc/{init}/root")).map_err(|error| failed("open its root", error))?;
        Ok(Self {
            init,
            keeper,
            life,
            root,
            transcript: Mutex::default(),
            running: Mutex::default(),
            boot_time: started.elapsed(),
        })
    }

    /// What a failed test wants to know.
    fn report(&self) {
        // The logs first: the transcript is long, and where output is cut it is cut at its end.
        eprintln!();
        for log in [daemon::LOG, "/var/log/syslog", services::SSHD_LOG] {
            let Ok(text) = self.try_read(log) else { continue };
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- {log}, last lines ---");
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
        }
        eprintln!("--- identityd, its threads and its files ---");
        eprintln!("{}", self.what_it_is_at());
        eprintln!("--- what was done in this test machine ---");
        for line in self.transcript.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            eprintln!("{line}");
        }
        eprintln!("--- end ---\n");
    }
}

impl Drop for Mosh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
        }
        // It mends itself; why it happened nobody would ask.
        for line in self.journal().lines().filter(|line| line.contains("report this with the journal")) {
            crate::skip::noted(line);
        }
        // init reads end of file, ends, and the kernel ends all others in the pid name space.
        drop(self.life.take());
        let _ = self.keeper.wait();
    }
}
