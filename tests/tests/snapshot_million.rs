//! A million logins: how long the first publication takes, and what identityd needs beside the files. Runs when BIG_DB names an SQLite directory.

use std::time::{Duration, Instant};

use tests::{Mosh, boot, skip};

const LONG: Duration = Duration::from_secs(300);

fn status(mosh: &Mosh) -> serde_json::Value {
    serde_json::from_str(&mosh.identityctl(["status", "--json"]).stdout).unwrap_or_default()
}

/// Private memory in kB; the mapped files are shared.
fn private(mosh: &Mosh) -> u64 {
    let pid = mosh.daemon().pid().unwrap();
    let rollup = mosh.sh(&format!("cat /proc/{pid}/smaps_rollup")).success().stdout;
    let of = |name: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    // identityd alone maps the newest files before somebody looks a name up: they count as private clean then.
    of("Private_Dirty:") + of("Private_Hugetlb:")
}

#[test]
fn a_large_directory_is_published_within_seconds_and_few_megabytes() {
    let Ok(big) = std::env::var("BIG_DB") else { skip!("BIG_DB names no directory") };
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.sh("rm -f /var/lib/identityd/directory.db*").success();
    std::fs::copy(&big, mosh.outside("/var/lib/identityd/directory.db")).unwrap();
    mosh.sh("chown identityd:identityd /var/lib/identityd/directory.db && chmod 600 /var/lib/identityd/directory.db")
        .success();
    let began = Instant::now();
    mosh.daemon().start();
    println!("answers after {:?}", began.elapsed());
    let mut most = 0;
    mosh.wait_until("it is published", LONG, |mosh| {
        std::thread::sleep(Duration::from_millis(100));
        most = most.max(private(mosh));
        status(mosh)["snapshot"]["published"].is_object()
    });
    println!(
        "published after {:?}; private while loading at most {most} kB, then {} kB",
        began.elapsed(),
        private(&mosh)
    );
    println!("{}", mosh.sh("grep 'whole directory' /var/log/identityd.log").stdout);
    let mut times = Vec::new();
    for n in 0..20 {
        let name = format!("new{n}");
        mosh.identityctl(["login", "add", &name]).success();
        let began = Instant::now();
        mosh.run(["getent", "passwd", &name]).success();
        times.push(began.elapsed());
    }
    println!("private after 20 changes {} kB; {}", private(&mosh), status(&mosh)["snapshot"]);
    mosh.daemon().kill();
    let began = Instant::now();
    mosh.daemon().start();
    println!("after a kill it answers after {:?}", began.elapsed());
    mosh.wait_until("it goes on", LONG, |mosh| status(mosh)["snapshot"]["published"].is_object());
    println!("private then {} kB; {}", private(&mosh), status(&mosh)["snapshot"]);
    println!("{}", mosh.sh("tail -n 5 /var/log/identityd.log").stdout);
}
