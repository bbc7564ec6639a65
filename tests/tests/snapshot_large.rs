//! A large directory: all of it is published, what is asked is answered rightly, a restart and a reboot go on from the files. What it cost is printed;
//! nothing is asserted of times. `make test` takes 20,000 logins, `make million` a million (`LOGINS=1000000`).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tests::{Mosh, boot};

const DB: &str = "/var/lib/identityd/directory.db";
const LONG: Duration = Duration::from_secs(300);
/// uids and gids of the logins begin behind it, those of the teams behind the other.
const FIRST: u32 = 3_000_000;
const FIRST_TEAM: u32 = 2_000_000;
/// Logins in a team.
const TEAM: u32 = 100;

/// Fills the tables in one transaction. Without the triggers, which look at each row and would take minutes for a million; one change afterwards goes through
/// them, so that the feed has begun.
fn fill(mosh: &Mosh, logins: u32) {
    let script = format!(
        r#"
set -e; cd /tmp
sqlite3 {DB} "SELECT sql || ';' FROM sqlite_master WHERE type = 'trigger'" >triggers
sqlite3 {DB} "SELECT 'DROP TRIGGER \"' || name || '\";' FROM sqlite_master WHERE type = 'trigger'" >drop
sqlite3 -bail {DB} <<'END'
BEGIN;
.read drop
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {logins}) SELECT i FROM n;
INSERT INTO unix_group (gid, name) SELECT {FIRST_TEAM} + i, 'team' || i FROM n WHERE i <= {teams};
INSERT INTO unix_group (gid, name) SELECT {FIRST} + i, 'user' || i FROM n;
INSERT INTO login (uid, name, gid, gecos, home)
    SELECT {FIRST} + i, 'user' || i, {FIRST} + i, 'Member ' || i, '/home/members/users/user' || i FROM n;
INSERT INTO login_capability (uid, capability) SELECT {FIRST} + i, 'shell' FROM n;
INSERT INTO group_member (gid, uid) SELECT {FIRST_TEAM} + (i - 1) / {TEAM} + 1, {FIRST} + i FROM n;
.read triggers
UPDATE login SET gecos = 'The first' WHERE uid = {FIRST} + 1;
COMMIT;
PRAGMA wal_checkpoint(TRUNCATE);
END
rm -f {DB}-*
chown identityd: {DB}
"#,
        teams = logins / TEAM
    );
    mosh.call(["/bin/sh", "-c", &script]).limit(LONG).run().success();
}

fn status(mosh: &Mosh) -> serde_json::Value {
    serde_json::from_str(&mosh.identityctl(["status", "--json"]).stdout).unwrap_or_default()
}

/// Memory of identityd's own in KiB; the files it maps are everybody's.
fn own(mosh: &Mosh) -> u64 {
    let status = mosh.daemon().pid().and_then(|pid| mosh.try_read(&format!("/proc/{pid}/status")).ok());
    let line = status.as_deref().unwrap_or_default().lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// What is asked of a sample of logins, what all of them together are, and what nobody is called.
#[track_caller]
fn is_right(mosh: &Mosh, logins: u32, added: usize) {
    let sample: Vec<u32> = (0..50).map(|n| 1 + n * (logins - 1) / 49).collect();
    let ask = |database: &str, keys: &dyn Fn(u32) -> String| {
        let keys = sample.iter().map(|n| keys(*n));
        mosh.run(["getent".to_owned(), database.to_owned()].into_iter().chain(keys)).success().stdout
    };
    let mut passwd = String::new();
    let mut group = String::new();
    let mut groups = String::new();
    for &n in &sample {
        let gecos = if n == 1 { "The first".into() } else { format!("Member {n}") };
        let id = FIRST + n;
        let _ = writeln!(passwd, "user{n}:x:{id}:{id}:{gecos}:/home/members/users/user{n}:/bin/bash");
        let team = (n - 1) / TEAM + 1;
        let mut members: Vec<_> = (1..=TEAM).map(|m| format!("user{}", (team - 1) * TEAM + m)).collect();
        members.sort_unstable();
        let _ = writeln!(group, "team{team}:x:{}:{}", FIRST_TEAM + team, members.join(","));
        let _ = writeln!(groups, "user{n} {id} {}", FIRST_TEAM + team);
    }
    same(&ask("passwd", &|n| format!("user{n}")), &passwd);
    same(&ask("passwd", &|n| (FIRST + n).to_string()), &passwd);
    same(&ask("group", &|n| format!("team{}", (n - 1) / TEAM + 1)), &group);
    same(&ask("group", &|n| (FIRST_TEAM + (n - 1) / TEAM + 1).to_string()), &group);
    let script = "for login; do echo $login $(id -G $login); done";
    let names = sample.iter().map(|n| format!("user{n}"));
    let head = ["/bin/sh", "-c", script, "sh"].map(String::from);
    same(&mosh.run(head.into_iter().chain(names)).success().stdout, &groups);
    mosh.run(["getent", "passwd", "user0"]).exit(2);
    mosh.run(["getent", "passwd", &(FIRST + logins + 1).to_string()]).exit(2);
    let listed = |database: &str, name: &str| {
        let script = format!("getent {database} | cut -d : -f 1 | grep -c '^{name}[0-9]*$'");
        mosh.call(["/bin/sh", "-c", &script]).limit(LONG).run().text().parse::<usize>().unwrap()
    };
    assert_eq!(listed("passwd", "user"), logins as usize);
    assert_eq!(listed("passwd", "new"), added);
    assert_eq!(listed("group", "user"), logins as usize);
    assert_eq!(listed("group", "team"), (logins / TEAM) as usize);
}

/// Line by line: all of them at once are nothing to read.
#[track_caller]
fn same(answered: &str, expected: &str) {
    for (line, wanted) in answered.lines().zip(expected.lines()) {
        assert_eq!(line, wanted);
    }
    assert_eq!(answered.lines().count(), expected.lines().count());
}

/// Starts identityd and returns how long it took until its first answer.
fn start(mosh: &Mosh) -> Duration {
    let began = Instant::now();
    mosh.daemon().start();
    began.elapsed()
}

fn wait_until_it_goes_on(mosh: &Mosh, logins: usize) {
    mosh.wait_until("what was published is known", LONG, |mosh| {
        status(mosh)["snapshot"]["published"]["logins"].as_u64() == Some(logins as u64)
    });
}

#[test]
fn a_large_directory_is_published_as_a_whole_and_goes_on_after_a_restart() {
    const ADDED: usize = 20;
    let logins: u32 = std::env::var("LOGINS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    // Whole teams.
    let logins = logins.div_ceil(TEAM).max(1) * TEAM;
    let mosh = boot!(Mosh::builder().without_daemon());
    fill(&mosh, logins);

    let first = start(&mosh);
    let (mut most, mut progress) = (0, 0);
    mosh.wait_until("it is published", LONG, |mosh| {
        most = most.max(own(mosh));
        let snapshot = &status(mosh)["snapshot"];
        progress += u32::from(snapshot["loading"]["logins"].as_u64().is_some_and(|read| read > 0));
        snapshot["published"].is_object()
    });
    assert_eq!(status(&mosh)["snapshot"]["published"]["logins"], logins);
    is_right(&mosh, logins, 0);
    let said = mosh.journal();
    let seconds = said
        .lines()
        .filter(|line| line.contains("the whole directory has been read"))
        .find_map(|line| line.rsplit_once("seconds=")?.1.split_whitespace().next().map(str::to_owned))
        .expect("identityd says how long it read");
    println!(
        "{logins} logins: first answer after {first:.0?}, all read and published in {seconds} s, progress seen {progress} times"
    );
    println!("own memory of identityd: at most {most} kB while reading, {} kB then", own(&mosh));

    let mut seen = Vec::new();
    for n in 0..ADDED {
        let name = format!("new{n}");
        let began = Instant::now();
        mosh.identityctl(["login", "add", &name]).success();
        mosh.run(["getent", "passwd", &name]).success();
        seen.push(began.elapsed());
    }
    seen.sort_unstable();
    println!(
        "a change is seen by a new process after {:.0?} in the middle, {:.0?} at most",
        seen[ADDED / 2],
        seen[ADDED - 1]
    );

    let published = status(&mosh)["snapshot"]["published"]["generation"].clone();
    mosh.daemon().kill();
    is_right(&mosh, logins, ADDED);
    println!("after a kill the first answer takes {:.0?}", start(&mosh));
    wait_until_it_goes_on(&mosh, logins as usize + ADDED);
    assert_eq!(status(&mosh)["snapshot"]["published"]["generation"], published);
    assert_eq!(mosh.journal().matches("the whole directory has been read").count(), 1, "the files are gone on with");
    println!("own memory of identityd then: {} kB", own(&mosh));
    is_right(&mosh, logins, ADDED);

    // As after a reboot: only what is on the disk.
    mosh.daemon().stop();
    mosh.sh("rm -r /run/identityd/snapshot").success();
    println!("without the files in memory, from the copy on the disk, it takes {:.0?}", start(&mosh));
    wait_until_it_goes_on(&mosh, logins as usize + ADDED);
    assert_eq!(mosh.journal().matches("the whole directory has been read").count(), 1, "the copy is gone on with");
    is_right(&mosh, logins, ADDED);
}
