//! identityd in a test machine: started, stopped, killed, paused, asked.

use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use schema::snapshot::control::{NOTHING, RETIRED, WORD};
use schema::wire::frame::{HEADER, Header, Op, Status};

use super::{Mosh, Output};
use crate::limit::wide;

/// What identityd writes to stderr.
pub(super) const LOG: &str = "/var/log/identityd.log";
const SOCKET: &str = "/run/identityd/socket";
/// A name that nobody has.
const NOBODY: &[u8; 13] = b"nobody-at-all";
const PID: &str = "/run/identityd.pid";

/// The daemon of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Daemon<'m>(&'m Mosh);

impl Daemon<'_> {
    /// Starts it as an init script does, and waits until it answers a look-up.
    ///
    /// # Panics
    /// When it does not within 10 s.
    #[track_caller]
    pub fn start(self) {
        let mosh = self.0;
        // The troubles of an earlier life are not those of this one.
        let before = mosh.journal().len();
        self.launch();
        mosh.wait_until("identityd answers", Duration::from_secs(10), |mosh| {
            assert!(self.alive(), "identityd ended at once:\n{}", mosh.journal());
            answer(&mosh.outside(SOCKET)).is_ok()
        });
        // On a busy machine the first look-up of a test would else meet the first reading of the directory, and its 200 ms may be over before that.
        let limit = Instant::now() + wide(FIRST_PUBLICATION);
        while !mosh.is_ready(before) && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        if Instant::now() >= limit {
            mosh.note("identityd is not ready yet".into());
        }
    }

    /// Starts it with the privileges that `packaging/init.d/identityd` gives it, and returns at once.
    #[track_caller]
    pub fn launch(self) {
        self.0
            .sh(&format!(
                "install -d -o identityd -g identityd -m 0755 /run/identityd
                 setsid sh -c 'echo $$ >{PID}
                     exec setpriv --reuid identityd --regid identityd --clear-groups --no-new-privs --inh-caps=-all \\
                         --bounding-set=-all /usr/sbin/identityd' >>{LOG} 2>&1 </dev/null &
                 until test -s {PID}; do :; done"
            ))
            .success();
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Panics
    /// When it does not end within 10 s.
    #[track_caller]
    pub fn stop(self) {
        self.end("TERM");
    }

    /// Kills it, as a crash would.
    ///
    /// # Panics
    /// When it does not go.
    #[track_caller]
    pub fn kill(self) {
        self.end("KILL");
    }

    /// Stops it in mid-air (SIGSTOP): connections are taken by the kernel, nothing answers.
    pub fn pause(self) {
        self.signal("STOP");
    }

    /// Goes on after [`Daemon::pause`].
    pub fn resume(self) {
        self.signal("CONT");
    }

    /// Reads its configuration again (SIGHUP).
    pub fn reload(self) {
        self.signal("HUP");
    }

    /// Its pid inside the machine, if it runs.
    #[must_use]
    pub fn pid(self) -> Option<u32> {
        let pid = self.process()?;
        let stat = self.0.try_read(&format!("/proc/{pid}/stat")).ok()?;
        (!stat.rsplit_once(") ")?.1.starts_with(['Z', 'X'])).then_some(pid)
    }

    /// The same until it has been reaped.
    fn process(self) -> Option<u32> {
        let pid = self.0.try_read(PID).ok()?.trim().parse().ok()?;
        // A pid that was given to another program has another one; in the middle of an execve(2), and of a zombie, it is empty.
        let command = self.0.try_read(&format!("/proc/{pid}/cmdline")).ok()?;
        (command.is_empty() || command.contains("identityd")).then_some(pid)
    }

    /// Whether it runs.
    #[must_use]
    pub fn alive(self) -> bool {
        self.pid().is_some()
    }

    fn signal(self, signal: &str) {
        if let Some(pid) = self.pid() {
            self.0.run(["kill", &format!("-{signal}"), &pid.to_string()]);
        }
    }

    /// Until it has been reaped: a zombie's other threads may still hold its lock.
    #[track_caller]
    fn end(self, signal: &str) {
        let pid = self.process();
        self.signal(signal);
        if let Some(pid) = pid {
            self.0.wait_until("identityd has ended", Duration::from_secs(10), |mosh| {
                !mosh.exists(&format!("/proc/{pid}"))
            });
        }
        self.0.sh(&format!("rm -f {PID}"));
    }
}

/// Asks for a name that nobody has.
fn answer(socket: &Path) -> io::Result<Option<Status>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(&Header::request(Op::PasswdByName, 1, 13, 1000).to_bytes())?;
    stream.write_all(NOBODY)?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    Ok(Header::parse(&header).ok().and_then(|header| Status::from_raw(header.kind)))
}

/// How long a test waits for the first publication, which takes milliseconds where the machine has time for it.
const FIRST_PUBLICATION: Duration = Duration::from_secs(5);
/// How long a test waits for what was sent to syslog(3) before.
const LOGGED: Duration = Duration::from_secs(5);
/// How a message begins that tells when those before it have been written.
const MARK: &str = "mark of the tests";

impl Mosh {
    /// Whether there is a snapshot, as the control page says (`docs/snapshot.md`); with look-ups alone, whether the directory is asked: before it is open, nobody is absent for certain. Or
    /// there is trouble with the directory: identityd has said so since its log was so long.
    fn is_ready(&self, before: usize) -> bool {
        let lookup =
            self.try_read("/etc/identityd/identityd.toml").is_ok_and(|text| text.contains("mode = \"lookup\""));
        let page = self.open("/run/identityd/snapshot/control", OFlags::RDONLY);
        let word = page.and_then(|page| {
            let mut word = [0; 8];
            page.read_exact_at(&mut word, WORD as u64).map(|()| u64::from_le_bytes(word))
        });
        let trouble = || {
            let journal = self.journal();
            let said = journal.get(before..).unwrap_or(&journal);
            said.lines().any(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        };
        let opened = || answer(&self.outside(SOCKET)).is_ok_and(|status| status == Some(Status::Absent));
        trouble() || if lookup { opened() } else { word.is_ok_and(|word| word != NOTHING && word != RETIRED) }
    }

    /// identityd of this machine.
    #[must_use]
    pub fn daemon(&self) -> Daemon<'_> {
        Daemon(self)
    }

    /// Puts a line into a section of identityd's configuration; reload or start it afterwards.
    ///
    /// # Panics
    /// When there is no such section.
    #[track_caller]
    pub fn configure(&self, section: &str, line: &str) {
        const CONFIG: &str = "/etc/identityd/identityd.toml";
        let (old, head) = (self.read(CONFIG), format!("[{section}]\n"));
        assert!(old.contains(&head), "no section [{section}] in {CONFIG}");
        self.write(CONFIG, &old.replace(&head, &format!("{head}{line}\n")));
    }

    /// Runs identityctl as root.
    pub fn identityctl<S: Into<String>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.run(["identityctl".to_string()].into_iter().chain(arguments.into_iter().map(Into::into)))
    }

    /// The metrics of identityd, as Prometheus would read them.
    ///
    /// # Panics
    /// When identityd does not give them.
    #[must_use]
    #[track_caller]
    pub fn metrics(&self) -> String {
        self.identityctl(["metrics"]).success().stdout
    }

    /// What identityd has logged.
    #[must_use]
    pub fn journal(&self) -> String {
        self.try_read(LOG).unwrap_or_default()
    }

    /// Each thread of identityd with its state and what it waits for, and what it has published: for whoever asks why nothing goes on.
    pub(super) fn what_it_is_at(&self) -> String {
        let mut lines = Vec::new();
        if let Some(pid) = self.daemon().pid() {
            let tasks = self.outside(&format!("/proc/{pid}/task"));
            for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
                let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
                let state = read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?');
                lines.push(format!("{} {state} {} {}", read("comm").trim(), read("wchan"), read("syscall").trim()));
            }
        }
        for folder in ["/run/identityd/snapshot", "/var/lib/identityd/snapshot"] {
            let files = std::fs::read_dir(self.outside(folder)).into_iter().flatten().flatten();
            let names: Vec<_> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
            lines.push(format!("{folder}: {}", names.join(" ")));
        }
        lines.join("\n")
    }

    /// What programs and PAM modules have sent to syslog(3), all of it: the machine's init writes one message after the other, and may not have had its turn yet.
    #[must_use]
    pub fn syslog(&self) -> String {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{MARK} {}", MARKS.fetch_add(1, Ordering::Relaxed));
        let limit = Instant::now() + wide(LOGGED);
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_write_timeout(Some(wide(LOGGED)))?;
            socket.send_to(mark.as_bytes(), self.outside("/dev/log"))
        });
        // A machine whose /dev/log a test has taken away.
        assert!(
            sent.as_ref().is_ok() || sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound),
            "/dev/log: {sent:?}"
        );
        loop {
            let text = self.try_read("/var/log/syslog").unwrap_or_default();
            if sent.is_err() || text.lines().any(|line| line == mark) || Instant::now() >= limit {
                return text.lines().filter(|line| !line.starts_with(MARK)).map(|line| format!("{line}\n")).collect();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
