//! The test machines themselves: that they boot, keep apart, go away, and leave the host alone.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Mosh, boot, skip};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_machine_boots_and_says_how_fast() {
    let mosh = boot!(Mosh::builder().bare());
    println!("a bare machine boots in {:?}", mosh.boot_time());
    let id = mosh.run(["id", "-un"]).success();
    println!("a program in it takes {:?}", id.took);
    assert_eq!(id.text(), "root");
    assert_eq!(mosh.read("/etc/hostname"), "mosh\n");
}

#[test]
fn a_machine_has_terminals_loopback_and_syslog() {
    let mosh = boot!(Mosh::builder().bare());
    assert_eq!(mosh.run(["script", "-qc", "tty", "/dev/null"]).success().text(), "/dev/pts/0");
    assert!(mosh.run(["ip", "addr", "show", "lo"]).success().stdout.contains("127.0.0.1/8"));
    mosh.run(["logger", "hello from inside"]).success();
    mosh.wait_until("the message is in syslog", SOON, |mosh| mosh.syslog().contains("hello from inside"));
}

#[test]
fn the_host_is_not_touched() {
    if let Some(obstacle) = skip::obstacle() {
        skip!("{obstacle}");
    }
    let before = Host::now();
    {
        let mosh = boot!(Mosh::builder().bare());
        mosh.sh("useradd -m zoe; echo zoe:x | chpasswd; touch /etc/written /run/written /tmp/written /var/written; hostname other").success();
        mosh.sh("mount -t tmpfs none /mnt && rm -rf /usr/share/perl* && ip addr add 10.9.8.7/24 dev lo").success();
        mosh.background("exec sleep 1000");
        assert!(mosh.exists("/etc/written"));
        assert_eq!(Host::now(), before, "while it runs");
    }
    assert_eq!(Host::now(), before, "after it has gone");
}

#[test]
fn an_absolute_symlink_in_a_machine_does_not_lead_to_the_host() {
    let mosh = boot!(Mosh::builder().bare());
    mosh.sh("ln -s /etc/written-through-a-link /root/link").success();
    mosh.write("/root/link", "inside");
    assert!(!Path::new("/etc/written-through-a-link").exists());
    assert_eq!(mosh.read("/etc/written-through-a-link"), "inside");
}

#[test]
fn two_machines_do_not_see_each_other() {
    let (one, two) = (boot!(Mosh::builder().bare()), boot!(Mosh::builder().bare()));
    one.write("/etc/only-in-one", "");
    one.background("exec python3 -m http.server --bind 127.0.0.1 8000");
    one.listening(8000);
    assert!(!two.exists("/etc/only-in-one"));
    assert!(!two.run(["ps", "-ef"]).success().stdout.contains("http.server"));
    two.run(["curl", "-s", "http://127.0.0.1:8000/"]).exit(7);
    one.run(["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8000/"]).success();
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let mosh = boot!(Mosh::builder().bare());
    let mut hanging = mosh.call(["sh", "-c", "echo begun; sleep 777 & sleep 777"]).spawn();
    mosh.wait_until("it has begun", SOON, |_| hanging.stdout().contains("begun"));
    let started = Instant::now();
    let output = hanging.finish(Duration::from_millis(300));
    assert!(output.timed_out());
    assert_eq!(output.text(), "begun");
    assert!(started.elapsed() < SOON);
    mosh.wait_until("no sleep is left", SOON, |mosh| !mosh.run(["pgrep", "-f", "sleep 777"]).ok());
}

#[test]
fn a_daemon_that_keeps_stdout_open_does_not_keep_the_test() {
    let mosh = boot!(Mosh::builder().bare());
    let output = mosh.sh("setsid sleep 777 & echo started").success();
    assert!(output.took < SOON);
    mosh.run(["pgrep", "-f", "sleep 777"]).success();
}

#[test]
fn orphans_are_reaped() {
    let mosh = boot!(Mosh::builder().bare());
    mosh.sh("for i in 1 2 3 4 5 6 7 8 9; do (setsid true &) ; done").success();
    mosh.wait_until("no zombie is left", SOON, |mosh| !mosh.run(["ps", "-eo", "stat"]).stdout.contains('Z'));
}

#[test]
fn exit_codes_signals_input_and_environment_come_through() {
    let mosh = boot!(Mosh::builder().bare());
    mosh.run(["sh", "-c", "exit 42"]).exit(42);
    mosh.run(["sh", "-c", "kill -KILL $$"]).exit(137);
    mosh.run(["/no/such/program"]).exit(126);
    assert_eq!(mosh.call(["cat"]).stdin("from outside").run().success().text(), "from outside");
    assert_eq!(mosh.call(["sh", "-c", "echo $WORD"]).env("WORD", "given").run().success().text(), "given");
    let as_games = mosh.call(["sh", "-c", "id -un; id -gn; echo $HOME"]).user("games").run().success();
    assert_eq!(as_games.text(), "games\ngames\n/usr/games");
}

#[test]
fn a_conversation_with_a_terminal_can_be_driven() {
    let mosh = boot!(Mosh::builder().bare().prepare("useradd -m -s /bin/bash zoe && echo zoe:opensesame | chpasswd"));
    let talk = r#"spawn su - games -s /bin/sh -c "su - zoe"
        want {Password:}; send "opensesame\r"; want {\$ }; send "whoami; exit 3\r"; want {zoe}; finish"#;
    mosh.expect(talk).exit(3);
    mosh.expect(r#"set timeout 1; spawn cat; want {never}"#).exit(97);
    mosh.expect(r#"spawn true; want {never}"#).exit(98);
}

#[test]
fn a_program_in_c_is_compiled_and_copied() {
    let mosh = boot!(Mosh::builder().bare());
    let program = mosh.c_program("hello");
    assert_eq!(mosh.run([program]).success().text(), "hello from C");
}

#[test]
fn real_sshd_sftp_cron_dovecot_and_php_run_for_a_local_account() {
    let mosh = boot!(Mosh::builder().bare().prepare("useradd -m -s /bin/bash zoe && echo zoe:opensesame | chpasswd"));
    let sshd = mosh.sshd(&["KbdInteractiveAuthentication yes"]);
    let password = tests::mosh::Auth::Password("opensesame");
    assert_eq!(sshd.ssh("zoe", password, "id -un").success().text(), "zoe");
    assert_eq!(sshd.ssh("zoe", tests::mosh::Auth::Interactive("opensesame"), "id -un").success().text(), "zoe");
    sshd.ssh("zoe", tests::mosh::Auth::Password("wrong"), "id -un").failure();
    assert!(sshd.sftp("zoe", password, "pwd").success().stdout.contains("/home/zoe"));
    mosh.sh("su zoe -c 'ssh-keygen -q -t ed25519 -N \"\" -f ~/.ssh/id_ed25519 && cp ~/.ssh/id_ed25519.pub ~/.ssh/authorized_keys'").success();
    assert_eq!(sshd.ssh("zoe", tests::mosh::Auth::Key("/home/zoe/.ssh/id_ed25519"), "id -un").success().text(), "zoe");
    mosh.dovecot("");
    mosh.run(["curl", "-s", "--user", "zoe:opensesame", "imap://127.0.0.1/"]).success();
    mosh.run(["curl", "-s", "--user", "zoe:wrong", "imap://127.0.0.1/"]).failure();
    mosh.php_fpm("zoe");
    mosh.write("/tmp/whoami.php", "<?php echo posix_geteuid();");
    let page = mosh
        .call(["cgi-fcgi", "-bind", "-connect", "/run/php/zoe.sock"])
        .env("SCRIPT_FILENAME", "/tmp/whoami.php")
        .env("REQUEST_METHOD", "GET")
        .run()
        .success();
    assert!(page.stdout.ends_with("1000"), "{page}");
    mosh.cron();
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    // The process that is killed is this test once more.
    if std::env::var_os("HOLD_A_MACHINE").is_some() {
        let mosh = boot!(Mosh::builder().bare());
        mosh.background("exec sleep 1000");
        println!("init {}", mosh.init_pid());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    if let Some(obstacle) = skip::obstacle() {
        skip!("{obstacle}");
    }
    let mut child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", "a_killed_test_process_leaves_nothing", "--nocapture"])
        .env("HOLD_A_MACHINE", "1")
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("run ourselves");
    let mut said = std::io::BufReader::new(child.stdout.take().expect("its stdout"));
    let init = loop {
        let mut line = String::new();
        assert_ne!(std::io::BufRead::read_line(&mut said, &mut line).expect("read"), 0, "it ended early");
        if let Some((_, pid)) = line.split_once("init ") {
            break pid.trim().to_string();
        }
    };
    let spaces = std::fs::read_link(format!("/proc/{init}/ns/pid")).expect("its pid name space");
    assert!(!in_space(&spaces).is_empty());
    child.kill().expect("SIGKILL");
    child.wait().expect("wait");
    let started = Instant::now();
    while !in_space(&spaces).is_empty() {
        assert!(started.elapsed() < SOON, "left: {:?}", in_space(&spaces));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_skip_is_recorded_and_is_a_failure_in_ci() {
    let list = tempfile::NamedTempFile::new().expect("a temporary file");
    let run = |ci: &str| {
        Command::new(std::env::current_exe().expect("our own path"))
            .args(["--exact", "a_machine_boots_and_says_how_fast"])
            .env("TEST_ROOT", "/nonexistent")
            .env("TEST_SKIPS", list.path())
            .env("CI", ci)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("run ourselves")
    };
    assert!(run("").success());
    let recorded = std::fs::read_to_string(list.path()).expect("the list");
    assert!(recorded.starts_with("a_machine_boots_and_says_how_fast: "), "{recorded}");
    assert!(!run("true").success());
}

/// What a test could do to the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    files: BTreeSet<String>,
    mounts: String,
    host_name: String,
    addresses: String,
}

impl Host {
    fn now() -> Self {
        let list = "find /etc -xdev -printf '%p %m %U %G %s %T@\\n'; find /home /root /run /var /mnt -maxdepth 1 -printf '%p %m %U %G\\n'";
        let files = Command::new("sh").args(["-c", list]).output().expect("find");
        Self {
            files: String::from_utf8_lossy(&files.stdout).lines().map(String::from).collect(),
            mounts: std::fs::read_to_string("/proc/self/mounts").expect("mounts"),
            host_name: std::fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname"),
            addresses: std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default(),
        }
    }
}

/// The processes in a pid name space.
fn in_space(space: &Path) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter(|process| std::fs::read_link(process.path().join("ns/pid")).is_ok_and(|link| link == space))
        .map(|process| process.path().display().to_string())
        .collect()
}
