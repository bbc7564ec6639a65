//! Power loss at any moment, a disk that is full or read-only: what is published is always a state that the directory had, and names the generation of it.
//! `make test` kills identityd 20 times, `make crash` some thousand times (`KILLS=3000`).

use std::time::{Duration, Instant};

use tests::{Login, Mosh, boot};

const KEPT: &str = "/var/lib/identityd/snapshot";
const SOON: Duration = Duration::from_secs(15);

/// Changes the login w without end: its gecos is the number of the change. One line for each: number, generation.
const WRITER: &str = r#"
import json, subprocess, sys
n = 0
while True:
    n += 1
    out = subprocess.run(["identityctl", "--json", "login", "set", "w", "--gecos", f"change {n}"], capture_output=True, text=True)
    if out.returncode == 0:
        print(n, json.loads(out.stdout)["generation"], flush=True)
    else:
        print("failed:", out.stderr, file=sys.stderr, flush=True)
"#;

fn is_published(mosh: &Mosh, name: &str) {
    mosh.wait_until("it is published", SOON, |mosh| mosh.identityctl(["snapshot", "print", "passwd", name]).ok());
}

fn status(mosh: &Mosh) -> serde_json::Value {
    serde_json::from_str(&mosh.identityctl(["status", "--json"]).stdout).unwrap_or_default()
}

/// The generation that the files state.
fn generation(mosh: &Mosh) -> u64 {
    let header = mosh.identityctl(["snapshot", "print", "--json"]).success();
    let header: serde_json::Value = serde_json::from_str(&header.stdout).unwrap();
    let part = if header["delta"].is_null() { &header["base"] } else { &header["delta"] };
    part["generation"].as_u64().unwrap()
}

/// The number in the gecos of w, as libc gives it.
fn seen(mosh: &Mosh) -> u64 {
    let passwd = mosh.run(["getent", "passwd", "w"]).success().stdout;
    passwd
        .split(':')
        .nth(4)
        .and_then(|gecos| gecos.strip_prefix("change "))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// A number below `below`, other at every call.
fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

#[test]
fn killed_at_any_moment_and_after_power_loss_names_are_as_they_were_at_the_generation_that_is_stated() {
    let rounds: u32 = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mosh = boot!(Mosh::builder().logins(["w", "still"].map(Login::new)));
    is_published(&mosh, "w");
    mosh.write("/tmp/writer.py", WRITER);
    let mut writer = mosh.call(["python3", "/tmp/writer.py"]).spawn();
    let still = mosh.run(["getent", "passwd", "still"]).success().stdout;
    let mut dice = 0x9e37_79b9_7f4a_7c15;
    let (mut lost, mut newest) = (0, 0);
    let begun = Instant::now();
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(random(&mut dice, 120)));
        // A stop copies to the disk: killed in the middle of it, too.
        if random(&mut dice, 2) == 0 {
            mosh.sh("kill -TERM $(cat /run/identityd.pid)");
            std::thread::sleep(Duration::from_millis(random(&mut dice, 25)));
        }
        mosh.daemon().kill();
        if round % 3 != 0 {
            // What is in memory is gone.
            mosh.sh("rm -rf /run/identityd").success();
            mosh.identityctl(["snapshot", "restore"]).success();
            lost += 1;
        }
        mosh.identityctl(["snapshot", "verify"]).success();
        let (stated, value) = (generation(&mosh), seen(&mosh));
        assert_eq!(mosh.run(["getent", "passwd", "still"]).success().stdout, still);
        mosh.run(["getent", "passwd", "never-there"]).exit(2);
        // The writer notes a change after it was committed: wait until it is past that generation.
        let changes = || -> Vec<(u64, u64)> {
            let line = |line: &str| line.split_once(' ').and_then(|(n, at)| Some((n.parse().ok()?, at.parse().ok()?)));
            writer.stdout().lines().filter_map(line).collect()
        };
        mosh.wait_until("the writer is past it", SOON, |_| changes().last().is_some_and(|(_, at)| *at > stated));
        let expected = changes().iter().rev().find(|(_, at)| *at <= stated).map_or(0, |(n, _)| *n);
        assert_eq!(value, expected, "round {round}: generation {stated}");
        newest = newest.max(stated);
        mosh.daemon().start();
    }
    assert!(writer.alive(), "{}", writer.finish(Duration::ZERO));
    println!(
        "{rounds} kills, {lost} with all in memory lost, in {:.1} s; up to generation {newest}",
        begun.elapsed().as_secs_f32()
    );
    writer.signal(rustix::process::Signal::TERM);
    let last = mosh.identityctl(["login", "set", "w", "--gecos", "change 999999"]);
    assert!(last.ok(), "{last}");
    mosh.wait_until("all arrives", SOON, |mosh| seen(mosh) == 999_999);
    mosh.identityctl(["snapshot", "verify"]).success();
    mosh.identityctl(["snapshot", "compare", "--directory"]).success();
}

#[test]
fn a_full_disk_costs_the_copy_and_nothing_else() {
    let mosh = boot!(Mosh::builder().without_daemon().login(Login::new("ana")));
    mosh.sh(&format!(
        "install -d -m 0700 -o identityd -g identityd {KEPT}
         mount -t tmpfs -o size=64k,mode=0700,uid=$(id -u identityd),gid=$(id -g identityd) none {KEPT}
         dd if=/dev/zero of={KEPT}/fill bs=4096 2>/dev/null; true"
    ))
    .success();
    mosh.daemon().start();
    is_published(&mosh, "ana");
    mosh.identityctl(["login", "add", "eva"]).success();
    mosh.run(["getent", "passwd", "eva"]).success();
    mosh.wait_until("it is told", SOON, |mosh| !status(mosh)["snapshot"]["copy_failure"].is_null());
    mosh.sh(&format!("rm {KEPT}/fill")).success();
    mosh.daemon().stop();
    mosh.sh("rm -rf /run/identityd").success();
    mosh.identityctl(["snapshot", "restore"]).success();
    mosh.run(["getent", "passwd", "eva"]).success();
}

#[test]
fn on_a_read_only_disk_names_are_restored_and_published() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    is_published(&mosh, "ana");
    mosh.daemon().stop();
    mosh.sh("rm -rf /run/identityd; mount --bind /var/lib/identityd /var/lib/identityd && mount -o remount,bind,ro /var/lib/identityd").success();
    mosh.identityctl(["snapshot", "restore"]).success();
    mosh.run(["getent", "passwd", "ana"]).success();
    mosh.daemon().start();
    mosh.run(["getent", "passwd", "ana"]).success();
}
