//! Running programs in a test machine.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Mosh;
use crate::places;

/// A program that should have ended by then is stuck, or its machine is busy ([`crate::limit`]); alone, nothing that tests run takes a third of it.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was run.
    pub command: String,
    /// Exit code; 128 + n for signal n; `None`: it did not end in time and was killed.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
}

impl Output {
    /// It ended with 0; gives itself back for more questions.
    ///
    /// # Panics
    /// When it did not, with what it printed.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exit(0)
    }

    /// It ended with this code.
    ///
    /// # Panics
    /// When it did not, with what it printed.
    #[track_caller]
    pub fn exit(self, code: i32) -> Self {
        assert!(self.status == Some(code), "expected exit {code}\n{self}");
        self
    }

    /// It failed, but ended by itself.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn failure(self) -> Self {
        assert!(!matches!(self.status, Some(0) | None), "expected a failure\n{self}");
        self
    }

    /// Whether it ended with 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status == Some(0)
    }

    /// Whether it had to be killed.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.status.is_none()
    }

    /// Standard output without the last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        self.stdout.trim_end()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.map_or_else(|| "killed, it did not end in time".into(), |code| format!("exit {code}"));
        write!(f, "$ {}\n[{status} after {:?}]", self.command, self.took)?;
        for (name, text) in [("out", &self.stdout), ("err", &self.stderr)] {
            let cut: String = text.chars().take(4000).collect();
            for line in cut.lines() {
                write!(f, "\n  {name}| {line}")?;
            }
        }
        Ok(())
    }
}

/// A program to be run in a test machine.
#[derive(Debug)]
pub struct Call<'m> {
    mosh: &'m Mosh,
    argv: Vec<String>,
    stdin: Vec<u8>,
    env: Vec<(String, String)>,
    limit: Duration,
}

impl Call<'_> {
    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.argv.push(argument.into());
        self
    }

    /// What it reads. Without this, stdin is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// A variable of its environment, beside PATH, HOME, LANG and TERM.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// How long it may take, instead of a minute. Then its session is killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it as this login, with the groups that NSS gives, in a fresh environment. No PAM is asked.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        let switch = r#"user=$1; shift; gid=$(id -g -- "$user") || exit 125
            exec setpriv --reuid="$user" --regid="$gid" --init-groups --reset-env -- "$@""#;
        let mut argv: Vec<String> = ["/bin/sh", "-c", switch, "sh", name].map(String::from).into();
        argv.append(&mut self.argv);
        self.argv = argv;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started at all.
    pub fn run(self) -> Output {
        let (mosh, limit) = (self.mosh, self.limit);
        let mut running = self.spawn();
        let output = running.finish(limit);
        mosh.note(output.to_string());
        output
    }

    /// Starts it and returns at once.
    ///
    /// # Panics
    /// When it cannot be started at all.
    #[must_use]
    pub fn spawn(self) -> Running {
        let memory = |name: &str| {
            File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).expect("memfd_create"))
        };
        let copy = |file: &File| Stdio::from(file.try_clone().expect("dup"));
        // Files in memory instead of pipes: a daemon that keeps stdout open does not keep us.
        let (mut stdin, stdout, stderr) = (memory("stdin"), memory("stdout"), memory("stderr"));
        stdin.write_all(&self.stdin).and_then(|()| stdin.seek(SeekFrom::Start(0))).expect("fill stdin");
        for file in [&stdout, &stderr] {
            rustix::fs::fcntl_setfl(file, rustix::fs::OFlags::APPEND).expect("O_APPEND");
        }
        let child = Command::new(places::mosh_init())
            .args(["enter", &self.mosh.init.to_string()])
            .args(&self.argv)
            .env_clear()
            .envs([("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root")])
            .envs([("LANG", "C.UTF-8"), ("TERM", "dumb"), ("DEBIAN_FRONTEND", "noninteractive")])
            .envs(self.env)
            .stdin(copy(&stdin))
            .stdout(copy(&stdout))
            .stderr(copy(&stderr))
            .process_group(0)
            .spawn()
            .expect("run mosh-init");
        Running { command: self.argv.join(" "), child, stdout, stderr, started: Instant::now() }
    }
}

/// A program that runs in a test machine. Killed, with its session, when dropped.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    stdout: File,
    stderr: File,
    started: Instant,
}

impl Running {
    /// Waits for its end; after the limit its session is killed.
    pub fn finish(&mut self, limit: Duration) -> Output {
        let end = Instant::now() + limit;
        let mut pause = Duration::from_micros(200);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status.code(),
                Ok(None) if Instant::now() < end => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                _ => {
                    self.kill();
                    break None;
                }
            }
        };
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        Output { command: self.command.clone(), status, stdout, stderr, took: self.started.elapsed() }
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed so far on stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Sends a signal to the program itself.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.program() {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Kills its session and waits for the end.
    pub fn kill(&mut self) {
        if let Some(pid) = self.program() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The program, as the host numbers it: the only child of `mosh-init enter`.
    #[must_use]
    pub fn program(&self) -> Option<Pid> {
        let enter = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{enter}/task/{enter}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.alive() {
            self.kill();
        }
    }
}

fn text(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut file = file;
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Mosh {
    /// A program to run, with more to be said about it: `mosh.call(["id"]).user("ana").run()`.
    #[must_use]
    pub fn call<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Call<'_> {
        Call {
            mosh: self,
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            env: Vec::new(),
            limit: crate::limit::wide(LIMIT),
        }
    }

    /// Runs a program as root.
    pub fn run<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Output {
        self.call(argv).run()
    }

    /// Runs a script of /bin/sh as root.
    pub fn sh(&self, script: &str) -> Output {
        self.run(["/bin/sh", "-c", script])
    }

    /// Runs a script of /bin/sh as this login.
    pub fn sh_as(&self, login: &str, script: &str) -> Output {
        self.call(["/bin/sh", "-c", script]).user(login).run()
    }
}
