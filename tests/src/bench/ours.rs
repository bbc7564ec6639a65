//! What only our side has: filling the directory, starting from files or from nothing, what a publication costs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Mosh;

use super::measure::Rows;
use super::peer::Peer;
use super::setup;

const DIRECTORY: &str = "/var/lib/identityd/directory.db";
/// Where identityd publishes.
pub(super) const SNAPSHOT: &str = "/run/identityd/snapshot";

/// Fills the tables in one transaction, without the triggers, which look at each row: an import of a million logins takes minutes. One change afterwards
/// goes through them, so that the feed has begun.
const FILL: &str = r#"
mkdir -p /tmp/fill; cd /tmp/fill
fill passwd $N >passwd; fill group $N | cut -d : -f 1-3 >group; fill members $N >members
sqlite3 $DB "SELECT sql || ';' FROM sqlite_master WHERE type = 'trigger'" >triggers
sqlite3 $DB "SELECT 'DROP TRIGGER ' || name || ';' FROM sqlite_master WHERE type = 'trigger'" >drop
cat >fill.sql <<'END'
PRAGMA synchronous = OFF;
PRAGMA cache_size = -500000;
CREATE TEMP TABLE p (name, x, uid INTEGER, gid INTEGER, gecos, home, shell);
CREATE TEMP TABLE g (name, x, gid INTEGER);
CREATE TEMP TABLE m (gid INTEGER, uid INTEGER);
.separator :
.import passwd p
.import group g
.import members m
BEGIN;
.read drop
INSERT INTO unix_group (gid, name) SELECT gid, name FROM g ORDER BY gid;
INSERT INTO login (uid, name, gid, gecos, home, shell) SELECT uid, name, gid, gecos, home, shell FROM p ORDER BY uid;
INSERT INTO login_capability (uid, capability) SELECT uid, 'shell' FROM p ORDER BY uid;
INSERT INTO group_member (gid, uid) SELECT gid, uid FROM m ORDER BY gid, uid;
.read triggers
UPDATE login SET membership_id = 1 WHERE uid = 100000;
COMMIT;
PRAGMA wal_checkpoint(TRUNCATE);
END
sqlite3 -bail $DB <fill.sql >/dev/null
cd /; rm -r /tmp/fill
"#;

/// The directory, kept for the next run; then identityd.
pub(super) fn start(mosh: &Mosh, peer: Peer, size: u32) {
    mosh.run(["identityctl", "membership", "add", "bench"]).success();
    // With other tables than before it is filled anew.
    let tables = mosh.sh(&format!("sqlite3 {DIRECTORY} .schema | cksum | cut -d ' ' -f 1")).success();
    let (kept, inside) = (setup::kept(&format!("{}.db", tables.text()), size), mosh.outside(DIRECTORY));
    if !setup::restore(kept.as_deref(), &inside) {
        setup::long(mosh, &format!("N={size}\nDB={DIRECTORY}\n{FILL}"));
        setup::keep(&inside, kept.as_deref());
    }
    mosh.sh(&format!("rm -f {DIRECTORY}-*; chown identityd: {DIRECTORY}; chmod 600 {DIRECTORY}")).success();
    if peer == Peer::OursSocket {
        mode(mosh, "lookup");
    }
    launch(mosh);
    if peer == Peer::Ours {
        published(mosh);
        let kept = kept_snapshot(size);
        if let Some(before) = &kept {
            let _ = std::fs::remove_dir_all(before);
        }
        setup::keep(&mosh.outside(SNAPSHOT), kept.as_deref());
    }
}

/// What was published, for the machines of peers that this module takes turns with.
pub(super) fn kept_snapshot(size: u32) -> Option<PathBuf> {
    setup::kept("snapshot", size).filter(|_| size <= 100_000)
}

/// Waits until the snapshot is there, which a look-up need not: until then the socket answers.
fn published(mosh: &Mosh) {
    let script =
        "for i in $(seq 1200); do ls /run/identityd/snapshot/base.* >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1";
    mosh.call(["/bin/sh", "-c", script]).limit(Duration::from_secs(180)).run().success();
}

/// Starts identityd, as its own user, whom only /etc/passwd knows; returns the seconds to its first answer on the socket.
fn launch(mosh: &Mosh) -> f64 {
    setup::name_service(mosh, "files");
    let started = Instant::now();
    mosh.daemon().start();
    let took = started.elapsed().as_secs_f64();
    setup::first_answer(mosh, "mayfirst", Duration::from_secs(120));
    setup::name_service(mosh, "mayfirst");
    took
}

fn mode(mosh: &Mosh, mode: &str) {
    const CONFIG: &str = "/etc/identityd/identityd.toml";
    let old = mosh.read(CONFIG);
    if old.contains("[snapshot]") {
        mosh.write(CONFIG, &old.replace("[snapshot]", &format!("[snapshot]\nmode = \"{mode}\"")));
    }
}

/// Seconds of the processors that identityd has used so far, in ticks of 10 ms.
pub(super) fn processor_time(mosh: &Mosh) -> Option<f64> {
    let stat = mosh.try_read(&format!("/proc/{}/stat", mosh.daemon().pid()?)).ok()?;
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // utime and stime, fields 14 and 15 of proc_pid_stat(5); the first here is field 3.
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// Size of the files, starts, and the daemon's own counters.
pub(super) fn more(mosh: &Mosh, rows: &mut Rows<'_>) {
    let files = mosh.sh("du -k --apparent-size /run/identityd/snapshot | tail -n 1 | cut -f 1");
    if let Ok(kib) = files.text().parse::<f64>() {
        rows.put("snapshot files", "", kib / 1024.0, None, "MiB");
    }
    if rows.peer == Peer::OursSocket {
        return;
    }
    mosh.daemon().stop();
    // The files of /run are there, as after a crash of the daemon; then only the copy, as after a reboot; then nothing, as on a new server.
    let first = launch(mosh);
    rows.put("start with files", "", first * 1000.0, None, "ms");
    mosh.daemon().stop();
    if mosh.sh("ls /var/lib/identityd/snapshot/base.* >/dev/null 2>&1").ok() {
        mosh.sh("rm -rf /run/identityd/snapshot").success();
        rows.put("start with copy", "", launch(mosh) * 1000.0, None, "ms");
        mosh.daemon().stop();
    }
    mosh.sh("rm -rf /run/identityd/snapshot /var/lib/identityd/snapshot").success();
    let journal = mosh.journal().len();
    rows.put("start with nothing", "", launch(mosh) * 1000.0, None, "ms");
    // identityd says itself how long it read.
    let said = || {
        let journal = mosh.journal().split_off(journal);
        let line = journal.lines().find(|line| line.contains("the whole directory has been read"))?.to_string();
        line.rsplit_once("seconds=")?.1.split_whitespace().next()?.parse::<f64>().ok()
    };
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if let Some(seconds) = said() {
            rows.put("full load", "", seconds, None, "s");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    rows.none("full load", "", "identityd does not say that it has read the directory");
}
