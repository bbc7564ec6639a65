//! The directory is stopped for the whole of a login storm: people who were here before log in by ssh at once, all from one address, with the limits that identityd has by itself, and all get in.
//!
//! `make test` takes 8 people, `make login-storm` 32 (`PEOPLE=N`).

use std::time::Duration;

use tests::limit::within;
use tests::mosh::{Auth, Sshd};
use tests::population::{Dialect, Person, Population};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(30);
/// A login beside 31 others. OpenSSH's LoginGraceTime is 120 s, and people's patience is shorter.
const PROMISED: Duration = Duration::from_secs(10);
/// yescrypt as Debian's passwd(1) makes it.
const HASH: &str = "import crypt; print(crypt.crypt('secret', '$y$j9T$F5Jx5fExrKuPp53xLKQ..1$'))";

fn people() -> usize {
    std::env::var("PEOPLE").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

fn name(n: usize) -> String {
    format!("user{n:02}")
}

/// Everybody of the storm, and one who never comes before.
fn population(mosh: &Mosh) -> Population {
    let hash = mosh.run(["python3", "-W", "ignore", "-c", HASH]).success().text().to_owned();
    assert!(hash.starts_with("$y$j9T$") && hash.len() > 60, "{hash}");
    let names = (0..people()).map(name).chain(["stranger".into()]);
    let people = names.zip(20_000..).map(|(name, uid)| Person { hash: hash.clone(), ..Person::new(&name, uid) });
    Population { people: people.collect(), teams: Vec::new() }
}

/// All at once; how long each took, in ascending order.
fn storm(mosh: &Mosh, sshd: &Sshd<'_>) -> Vec<Duration> {
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..people())
            .map(|n| {
                scope.spawn(move || {
                    let output = sshd.ssh(&name(n), Auth::Password("secret"), "id -un");
                    assert!(output.text() == name(n), "{output}\n{}", about(mosh, &name(n)));
                    output.took
                })
            })
            .collect();
        logins.into_iter().map(|login| login.join().expect("a login")).collect()
    });
    times.sort_unstable();
    times
}

/// What the logs say of somebody: among so many the last lines are of others.
fn about(mosh: &Mosh, name: &str) -> String {
    let all = [mosh.journal(), mosh.syslog()].concat();
    all.lines().filter(|line| line.contains(name)).map(|line| format!("{line}\n")).collect()
}

fn said(directory: &str, when: &str, times: &[Duration]) {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!("| {directory} | {when} | {0} of {0} | {1:.1} s | {2:.1} s | {load} |", times.len(), at(50), at(100));
}

fn reachable(mosh: &Mosh, expected: bool) -> bool {
    mosh.identityctl(["--json", "status"]).stdout.contains(&format!("\"reachable\": {expected}"))
}

fn all_get_in(mosh: &Mosh, directory: &str, stop: impl Fn(), start: impl Fn()) {
    mosh.daemon().start();
    mosh.wait_until("all is published", SOON, |mosh| mosh.run(["getent", "passwd", "stranger"]).ok());
    let sshd = mosh.sshd(&["MaxStartups 200"]);
    said(directory, "there", &storm(mosh, &sshd));
    // In the background, with what the logins leave of the processors.
    mosh.wait_until("all of them are kept", SOON, |mosh| {
        mosh.sh("sqlite3 /var/lib/identityd/offline.db 'SELECT count(*) FROM record WHERE verifier IS NOT NULL AND suspect = 0'").text() == people().to_string()
    });
    stop();
    mosh.wait_until("identityd has noticed", SOON, |mosh| reachable(mosh, false));
    for when in ["away", "away, again"] {
        let times = storm(mosh, &sshd);
        said(directory, when, &times);
        within(PROMISED, "the last login", times[times.len() - 1]);
    }
    assert!(reachable(mosh, false), "it was away all the time");
    // What keeps working for those is no open door.
    assert!(!sshd.ssh(&name(0), Auth::Password("wrong"), "true").ok());
    assert!(!sshd.ssh("stranger", Auth::Password("secret"), "true").ok(), "has never been here");
    start();
    mosh.wait_until("the directory is back", SOON, |mosh| reachable(mosh, true));
    sshd.ssh("stranger", Auth::Password("secret"), "true").success();
}

#[test]
fn people_who_were_here_before_get_in_while_mariadb_is_away() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let db = mosh.mariadb(1);
    db.apply_schema();
    db.sql(&population(&mosh).sql(Dialect::MariaDb));
    mosh.use_mariadb(&[db.socket()], "");
    all_get_in(&mosh, "MariaDB", || db.kill(), || db.start());
}

#[test]
fn people_who_were_here_before_get_in_while_slapd_is_away() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&population(&mosh).ldif());
    mosh.ldap_directory(&[slapd.url()], "");
    all_get_in(&mosh, "slapd", || slapd.kill(), || slapd.start());
}

#[test]
fn people_who_were_here_before_get_in_while_the_file_of_the_embedded_directory_is_away() {
    const DIRECTORY: &str = "/var/lib/identityd/directory.db";
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.write("/tmp/people.sql", &population(&mosh).sql(Dialect::Sqlite));
    mosh.sh(&format!("identityctl init; setpriv --reuid=identityd --regid=identityd --clear-groups sqlite3 {DIRECTORY} </tmp/people.sql"))
        .success();
    let away = format!("for f in {DIRECTORY}*; do mv $f $f.away; done");
    // The file last: identityd opens it at once, and without its log it would be an older directory.
    let back = format!("for f in {DIRECTORY}-*.away {DIRECTORY}.away; do mv $f ${{f%.away}}; done");
    all_get_in(&mosh, "SQLite", || drop(mosh.sh(&away).success()), || drop(mosh.sh(&back).success()));
}
