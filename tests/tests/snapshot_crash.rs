//! A daemon that is killed while somebody writes, and a memory that is full: what is published is whole, and in the end it is the directory.

use std::time::{Duration, Instant};

use tests::{Login, Mosh, boot};

const SOON: Duration = Duration::from_secs(20);
/// For all that the writer writes; it takes some seconds.
const WRITING: Duration = Duration::from_secs(120);

/// Renames, changes, adds and removes logins, one commit each.
const WRITER: &str = r#"
import sqlite3, sys, time
db = sqlite3.connect("/var/lib/identityd/directory.db", isolation_level=None, timeout=20)
db.execute("PRAGMA foreign_keys = ON")
for n in range(int(sys.argv[1])):
    name, uid = f"w{n % 50}", 700000 + n % 50
    there = db.execute("SELECT name FROM login WHERE uid = ?", (uid,)).fetchone()
    if there is None:
        db.execute("INSERT OR IGNORE INTO unix_group (gid, name) VALUES (?, ?)", (uid, name))
        db.execute("INSERT INTO login (uid, name, gid, home) VALUES (?, ?, ?, ?)", (uid, name, uid, f"/home/members/users/{name}"))
    elif n % 7 == 0 and (n // 50) % 2:
        db.execute("UPDATE login SET name = ? WHERE uid = ?", (f"{name}x{n}", uid))
    else:
        db.execute("UPDATE login SET gecos = ? WHERE uid = ?", (f"change {n}", uid))
    time.sleep(0.004)
"#;

fn status(mosh: &Mosh) -> serde_json::Value {
    serde_json::from_str(&mosh.identityctl(["status", "--json"]).stdout).unwrap_or_default()
}

fn is_published(mosh: &Mosh) {
    mosh.wait_until("the directory is published", SOON, |mosh| status(mosh)["snapshot"]["published"].is_object());
}

#[test]
fn a_daemon_that_is_killed_again_and_again_ends_with_what_the_directory_says() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    is_published(&mosh);
    // Another name is a removal, and this writer gives many.
    mosh.configure("snapshot", "max_removed = 100");
    mosh.write("/writer.py", WRITER);
    mosh.background(
        "setpriv --reuid=identityd --regid=identityd --clear-groups python3 /writer.py 300 && touch /tmp/written",
    );
    let (mut kills, began) = (0, Instant::now());
    while !mosh.exists("/tmp/written") {
        assert!(began.elapsed() < WRITING, "the writer has not come to its end in {kills} kills");
        mosh.daemon().kill();
        mosh.run(["getent", "passwd", "ana"]).success();
        mosh.daemon().start();
        kills += 1;
        std::thread::sleep(Duration::from_millis(120));
    }
    mosh.wait_until("all changes are published", SOON, |mosh| {
        let status = status(mosh);
        let newest = mosh
            .sh("sqlite3 -readonly /var/lib/identityd/directory.db 'SELECT generation FROM directory'")
            .text()
            .parse::<u64>()
            .ok();
        newest.is_some() && status["snapshot"]["published"]["generation"].as_u64() == newest
    });
    let listed = mosh.sh("getent passwd | grep ^w | sort").success();
    let stored = mosh.sh("sqlite3 -readonly -separator : /var/lib/identityd/directory.db \
         \"SELECT name, 'x', uid, gid, gecos, home, '/usr/sbin/nologin' FROM login WHERE uid >= 700000\" | sort");
    // Local accounts such as www-data begin with a w as well.
    let ours = |text: &str| text.lines().filter(|line| line.contains(":7000")).map(String::from).collect::<Vec<_>>();
    assert_eq!(ours(&listed.stdout), ours(&stored.success().stdout));
    println!("killed {kills} times");
}

#[test]
fn a_full_memory_costs_publications_and_never_what_is_published() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")).without_daemon());
    mosh.sh(
        "install -d -o identityd -g identityd /run/identityd/snapshot
         mount -t tmpfs -o size=512k,uid=$(id -u identityd),gid=$(id -g identityd),mode=0755 tmpfs /run/identityd/snapshot",
    )
    .success();
    mosh.daemon().start();
    is_published(&mosh);
    mosh.sh("dd if=/dev/zero of=/run/identityd/snapshot/filler bs=4k 2>/dev/null; true");
    mosh.sh("identityctl login set ana --gecos 'written on a full memory'");
    mosh.wait_until("it is said", SOON, |mosh| {
        status(mosh)["snapshot"]["failure"].is_object() && mosh.metrics().contains("identityd_snapshot_failing 1")
    });
    mosh.run(["getent", "passwd", "ana"]).success();
    assert_eq!(status(&mosh)["health"], "degraded");
    mosh.sh("rm /run/identityd/snapshot/filler").success();
    mosh.wait_until("it is published", SOON, |mosh| mosh.sh("getent passwd ana | grep -q 'full memory'").ok());
    mosh.wait_until("all is well", SOON, |mosh| status(mosh)["health"] == "ok");
}
