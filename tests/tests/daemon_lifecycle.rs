//! identityd's life under an init system: activation, readiness, watchdog, signals, one daemon on a server, metrics for a scraper.

use std::time::Duration;

use schema::wire::frame::{Op, Status};
use schema::wire::message::{Outcome, PamContext, Reply, Request, Secret};
use tests::{Login, Mosh, boot};

const SOON: Duration = Duration::from_secs(10);
const AS: &str =
    "setpriv --reuid identityd --regid identityd --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all";

fn with_ana() -> tests::mosh::Builder {
    Mosh::builder().login(Login::new("ana").password("her secret"))
}

fn ask(mosh: &Mosh, name: &str) -> Status {
    mosh.wire(0).ask(Op::PasswdByName, name.as_bytes()).0
}

/// Plays systemd: opens the notification socket, starts identityd with it, writes down what it says.
const INIT: &str = r#"
import os, signal, socket, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind("/run/notify"); os.chmod("/run/notify", 0o666)
log = open("/said", "w", buffering=1)
p = subprocess.Popen(sys.argv[1:] + ["/usr/sbin/identityd"], env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": "/run/notify",
    "WATCHDOG_USEC": "300000"}, stderr=open("/var/log/identityd.log", "a"))
open("/run/identityd.pid", "w").write(str(p.pid))
while True:
    log.write(s.recv(4096).decode().replace("\n", " ") + "\n")
"#;

#[test]
fn it_says_when_it_is_ready_and_as_long_as_look_ups_are_answered() {
    let mosh = boot!(with_ana().without_daemon());
    mosh.write("/init.py", INIT);
    mosh.sh("install -d -o identityd -g identityd /run/identityd").success();
    mosh.background(&format!("exec python3 /init.py {AS}"));
    let said = |mosh: &Mosh, word: &str| mosh.try_read("/said").unwrap_or_default().matches(word).count();
    mosh.wait_until("READY=1", SOON, |mosh| said(mosh, "READY=1") == 1);
    // Ready means: the next look-up is answered.
    assert_eq!(ask(&mosh, "ana"), Status::Found);
    mosh.wait_until("three signs of life", SOON, |mosh| said(mosh, "WATCHDOG=1") >= 3);
    mosh.daemon().reload();
    mosh.wait_until("RELOADING=1, then READY=1", SOON, |mosh| {
        said(mosh, "RELOADING=1") == 1 && said(mosh, "READY=1") == 2
    });
    mosh.daemon().stop();
    mosh.wait_until("STOPPING=1", SOON, |mosh| said(mosh, "STOPPING=1") == 1);
}

#[test]
fn a_look_up_before_its_start_waits_in_the_socket_of_systemd() {
    let mosh = boot!(with_ana().without_daemon());
    mosh.sh("install -d -o identityd -g identityd -m 0755 /run/identityd").success();
    mosh.background(&format!(
        "exec systemd-socket-activate -l /run/identityd/socket {AS} /usr/sbin/identityd 2>>/var/log/identityd.log"
    ));
    mosh.listening_at("/run/identityd/socket");
    assert_eq!(ask(&mosh, "ana"), Status::Found);
    // Its socket file is not ours to remove.
    let pid = mosh.sh("pgrep -x identityd").success().text().to_owned();
    mosh.run(["kill", &pid]).success();
    mosh.wait_until("it has ended", SOON, |mosh| !mosh.sh("pgrep -x identityd").ok());
    assert!(mosh.exists("/run/identityd/socket"));
}

#[test]
fn requests_under_way_are_answered_before_it_ends() {
    let mosh = boot!(with_ana());
    let context = PamContext { service: "sshd".into(), user: "ana".into(), ..PamContext::default() };
    let request = Request::Authenticate { context, password: Secret::new(b"wrong".to_vec()) };
    let payload = postcard::to_allocvec(&request).unwrap();
    let mut wire = mosh.wire(0);
    let header = schema::wire::frame::Header::request(Op::Message, 5, payload.len() as u32, 30_000);
    wire.send(&[&header.to_bytes()[..], &payload].concat()).unwrap();
    assert_eq!(wire.reply().unwrap().unwrap().0, Status::Working);
    mosh.daemon().stop();
    let (status, _, payload) = wire.reply().unwrap().expect("the answer to a request that it had accepted");
    assert_eq!(status, Status::Found);
    let Reply::Verdict(verdict) = postcard::from_bytes(&payload).unwrap() else { panic!("no verdict") };
    assert_eq!(verdict.outcome, Outcome::AuthError);
    assert!(!mosh.exists("/run/identityd/socket"), "its own socket file goes with it");
    assert!(mosh.journal().contains("stopping"), "{}", mosh.journal());
}

#[test]
fn after_a_crash_the_next_one_takes_over() {
    let mosh = boot!(with_ana());
    mosh.daemon().kill();
    assert!(mosh.exists("/run/identityd/socket"), "a dead socket file stays behind");
    mosh.daemon().start();
    assert_eq!(ask(&mosh, "ana"), Status::Found);
}

#[test]
fn a_second_daemon_is_refused_and_the_first_one_goes_on() {
    let mosh = boot!(with_ana());
    let second = mosh.sh(&format!("{AS} identityd")).exit(1);
    let pid = mosh.daemon().pid().unwrap();
    assert!(second.stderr.contains(&format!("identityd with pid {pid} is already running")), "{second}");
    assert_eq!(ask(&mosh, "ana"), Status::Found);
}

#[test]
fn it_refuses_to_run_as_root() {
    let mosh = boot!(with_ana().without_daemon());
    let output = mosh.run(["identityd"]).exit(1);
    assert!(output.stderr.contains("must not run as root") && output.stderr.contains("setpriv"), "{output}");
}

#[test]
fn a_configuration_with_a_mistake_changes_nothing() {
    let mosh = boot!(with_ana());
    let good = mosh.read("/etc/identityd/identityd.toml");
    for (bad, word) in [
        ("not toml at all", "identityd.toml"),
        ("[server]\nconnection = 5", "connection"),
        ("[auth]\nqueue = 0", "queue"),
    ] {
        mosh.write("/etc/identityd/identityd.toml", bad);
        let refused = mosh.identityctl(["reload"]).exit(1);
        assert!(refused.stderr.contains(word), "{refused}");
        let before = mosh.journal().matches("the new configuration was refused").count();
        mosh.daemon().reload();
        mosh.wait_until("the log says so", SOON, |mosh| {
            mosh.journal().matches("the new configuration was refused").count() > before
        });
        assert_eq!(ask(&mosh, "ana"), Status::Found);
        let check = mosh.run(["identityd", "--check"]).exit(1);
        assert!(check.stderr.contains(word), "{check}");
    }
    mosh.write("/etc/identityd/identityd.toml", &good);
    mosh.identityctl(["reload"]).success();
    mosh.run(["identityd", "--check"]).success();
}

#[test]
fn a_reload_brings_new_rules_into_force() {
    let mosh = boot!(with_ana());
    mosh.configure("access", "deny_logins = [\"ana\"]");
    mosh.identityctl(["reload"]).success();
    let why = mosh.identityctl(["why", "ana", "sshd"]).success();
    assert!(why.stdout.contains("deny_logins names it") && why.stdout.contains("PAM_PERM_DENIED"), "{why}");
}

#[test]
fn metrics_are_offered_on_a_loopback_port_or_a_socket() {
    let mosh = boot!(with_ana().without_daemon());
    mosh.configure("metrics", "listen = \"127.0.0.1:9477\"");
    mosh.daemon().start();
    mosh.listening(9477);
    let scraped = mosh.run(["curl", "-sS", "http://127.0.0.1:9477/metrics"]).success();
    assert!(scraped.stdout.contains("identityd_uptime_seconds"), "{scraped}");
    mosh.daemon().stop();
    let config = mosh.read("/etc/identityd/identityd.toml");
    mosh.write("/etc/identityd/identityd.toml", &config.replace("127.0.0.1:9477", "/run/identityd/metrics"));
    mosh.daemon().start();
    mosh.listening_at("/run/identityd/metrics");
    let scraped = mosh.run(["curl", "-sS", "--unix-socket", "/run/identityd/metrics", "http://x/metrics"]).success();
    assert!(scraped.stdout.contains("identityd_uptime_seconds"), "{scraped}");
    let outside = config.replace("127.0.0.1:9477", "0.0.0.0:9477");
    mosh.write("/etc/identityd/identityd.toml", &outside);
    mosh.run(["identityd", "--check"]).exit(1);
}

/// Stops the threads of the run-time, as a task would that blocks in each; the others go on.
const FREEZE: &str = r#"
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
tasks = f"/proc/{sys.argv[1]}/task"
workers = [int(tid) for tid in os.listdir(tasks) if open(f"{tasks}/{tid}/comm").read().startswith("tokio")]
for tid in workers:
    if ptrace(SEIZE, tid, 0, 0) or ptrace(INTERRUPT, tid, 0, 0):
        sys.exit(os.strerror(ctypes.get_errno()))
open("/frozen", "w").write(str(len(workers)))
try:
    while True:
        os.waitpid(-1, WALL)
except ChildProcessError:
    pass  # they are gone
"#;

#[test]
fn a_run_time_that_does_not_go_on_makes_way_for_another_process() {
    let mosh = boot!(with_ana());
    assert_eq!(ask(&mosh, "ana"), Status::Found);
    let pid = mosh.daemon().pid().expect("a pid");
    mosh.write("/freeze.py", FREEZE);
    mosh.background(&format!("exec python3 /freeze.py {pid} 2>/freeze.log"));
    let said = |mosh: &Mosh| mosh.try_read("/freeze.log").unwrap_or_default();
    mosh.wait_until("its threads are stopped", SOON, |mosh| mosh.exists("/frozen") || !said(mosh).is_empty());
    assert!(mosh.exists("/frozen"), "{}", said(&mosh));
    mosh.run(["getent", "passwd", "ana"]).success();
    mosh.wait_until("it begins anew", Duration::from_secs(30), |mosh| {
        mosh.journal().contains("begins anew as another process") && mosh.identityctl(["status"]).status == Some(0)
    });
    assert_eq!(ask(&mosh, "ana"), Status::Found);
    // The same number: whoever has noted it can still stop it.
    assert_eq!(mosh.daemon().pid(), Some(pid));
    let journal = mosh.journal();
    assert!(journal.contains("tokio-rt-worker t ") && journal.matches("ready ").count() == 2, "{journal}");
    // It was meant to happen.
    mosh.write("/var/log/identityd.log", "");
}
