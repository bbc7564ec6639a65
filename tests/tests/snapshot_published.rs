//! What the directory says is published: at the start, after changes, after a restart, and what local accounts take from it.

use std::time::Duration;

use schema::wire::message::{Reply, Request};
use tests::{Login, Mosh, boot};

const DB: &str = "/var/lib/identityd/directory.db";
const SOON: Duration = Duration::from_secs(10);

fn machine() -> tests::mosh::Builder {
    Mosh::builder().logins(["ana", "ben", "cai"].map(Login::new))
}

fn status(mosh: &Mosh) -> serde_json::Value {
    serde_json::from_str(&mosh.identityctl(["status", "--json"]).stdout).unwrap()
}

fn is_published(mosh: &Mosh) {
    mosh.wait_until("the directory is published", SOON, |mosh| {
        status(mosh)["snapshot"]["published"]["logins"].as_u64().is_some()
    });
}

fn sql(mosh: &Mosh, statement: &str) {
    mosh.call(["setpriv", "--reuid=identityd", "--regid=identityd", "--clear-groups", "sqlite3", DB])
        .stdin(format!("PRAGMA foreign_keys = ON;\n{statement}\n"))
        .run()
        .success();
}

#[test]
fn names_resolve_without_the_daemon_once_it_has_published() {
    let mosh = boot!(machine());
    is_published(&mosh);
    mosh.daemon().kill();
    mosh.sh("getent passwd ana && getent group ben && id cai").success();
    mosh.run(["getent", "passwd", "nobody-of-ours"]).exit(2);
}

#[test]
fn a_change_is_in_the_files_when_identityctl_returns() {
    let mosh = boot!(machine());
    is_published(&mosh);
    mosh.identityctl(["login", "add", "dora", "--capabilities", "sftp"]).success();
    mosh.daemon().kill();
    mosh.sh("getent passwd dora && id -nG dora | grep -qw sftp-only").success();
}

#[test]
fn a_restart_goes_on_where_the_files_end() {
    let mosh = boot!(machine());
    is_published(&mosh);
    mosh.daemon().kill();
    sql(
        &mosh,
        "UPDATE login SET gecos = 'while away' WHERE name = 'ben'; DELETE FROM login_capability; DELETE FROM login WHERE name = 'cai';",
    );
    mosh.daemon().start();
    mosh.wait_until("the changes are published", SOON, |mosh| {
        mosh.sh("getent passwd ben | grep -q 'while away' && ! getent passwd cai").ok()
    });
}

#[test]
fn files_that_are_gone_come_back_from_the_copy() {
    let mosh = boot!(machine());
    is_published(&mosh);
    mosh.daemon().stop();
    mosh.sh("rm -r /run/identityd/snapshot && mv /var/lib/identityd/directory.db /").success();
    mosh.daemon().start();
    mosh.wait_until("they are back", SOON, |mosh| mosh.sh("getent passwd ana && id ben").ok());
}

#[test]
fn a_local_account_takes_its_name_out_of_what_is_published() {
    let mosh = boot!(machine());
    is_published(&mosh);
    mosh.sh("echo 'ben:x:1779:1779::/:/bin/sh' >>/etc/passwd").success();
    mosh.wait_until("ben is not published", SOON, |mosh| {
        status(mosh)["snapshot"]["published"]["logins"].as_u64() == Some(2)
    });
    mosh.sh("sed -i /^ben:/d /etc/passwd").success();
    mosh.wait_until("ben is published again", SOON, |mosh| mosh.sh("getent passwd ben").ok());
}

#[test]
fn twenty_thousand_rows_by_plain_sql_arrive_complete() {
    let mosh = boot!(machine());
    is_published(&mosh);
    sql(
        &mosh,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO unix_group (gid, name) SELECT 3000000 + i, 'bulk' || i FROM n;
         INSERT INTO login (uid, name, gid, home) SELECT gid, name, gid, '/home/members/users/' || name FROM unix_group WHERE gid > 3000000;",
    );
    mosh.wait_until("all are published", Duration::from_secs(60), |mosh| {
        status(mosh)["snapshot"]["published"]["logins"].as_u64() == Some(20_003)
    });
    assert_eq!(mosh.sh("getent passwd | grep -c ^bulk").success().text(), "20000");
}

#[test]
fn an_emptied_directory_is_held_back_until_somebody_accepts_it() {
    let mosh = boot!(Mosh::builder().logins((0..40).map(|n| Login::new(&format!("login{n}")))));
    is_published(&mosh);
    sql(&mosh, "DELETE FROM group_member; DELETE FROM login_capability; DELETE FROM ssh_key; DELETE FROM login;");
    mosh.wait_until("it is held back", SOON, |mosh| status(mosh)["snapshot"]["held"]["logins"] == 40);
    mosh.run(["getent", "passwd", "login7"]).success();
    assert_eq!(status(&mosh)["health"], "degraded");
    mosh.daemon().kill();
    mosh.daemon().start();
    mosh.wait_until("it is still held back", SOON, |mosh| status(mosh)["snapshot"]["held"]["logins"] == 40);
    mosh.run(["getent", "passwd", "login7"]).success();
    assert_eq!(mosh.wire(0).message(&Request::AcceptRemoval), Ok(Reply::Done));
    mosh.wait_until("they are gone", SOON, |mosh| !mosh.run(["getent", "passwd", "login7"]).ok());
}

#[test]
fn removals_one_by_one_are_held_back_also_over_a_restart_while_additions_go_on() {
    let mosh = boot!(Mosh::builder().logins((0..60).map(|n| Login::new(&format!("login{n}")))));
    is_published(&mosh);
    let remove = |mosh: &Mosh, n: u32| mosh.identityctl(["login", "remove", &format!("login{n}")]).success();
    // The first twenty may always go, and a restart does not give another twenty.
    (0..15).for_each(|n| drop(remove(&mosh, n)));
    mosh.daemon().kill();
    mosh.daemon().start();
    (15..30).for_each(|n| drop(remove(&mosh, n)));
    mosh.wait_until("the rest is held back", SOON, |mosh| status(mosh)["snapshot"]["held"]["logins"] == 10);
    assert_eq!(status(&mosh)["snapshot"]["held"]["gone"], 20);
    assert!(mosh.identityctl(["status"]).stdout.contains("identityctl snapshot accept"));
    mosh.run(["getent", "passwd", "login19"]).exit(2);
    mosh.run(["getent", "passwd", "login20"]).success();
    mosh.identityctl(["login", "add", "newcomer", "--capabilities", "sftp"]).success();
    mosh.wait_until("an addition is published", SOON, |mosh| mosh.sh("id -nG newcomer | grep -qw sftp-only").ok());
    assert!(mosh.run(["getent", "passwd", "login25"]).ok());
    mosh.identityctl(["snapshot", "verify", "/var/lib/identityd/snapshot"]).success();
    let accepted = mosh.identityctl(["snapshot", "accept", "--yes"]).success();
    assert!(accepted.stdout.contains("10 logins"), "{}", accepted.stdout);
    mosh.wait_until("they are gone", SOON, |mosh| !mosh.run(["getent", "passwd", "login29"]).ok());
    remove(&mosh, 30);
    mosh.wait_until("one more may go", SOON, |mosh| !mosh.run(["getent", "passwd", "login30"]).ok());
}

#[test]
fn what_somebody_has_written_into_both_copies_goes_with_them_and_not_before() {
    let mosh = boot!(machine());
    is_published(&mosh);
    mosh.daemon().stop();
    // Published and directory differ, and neither generation nor settings tell: as after somebody wrote into the copies.
    let row = "SELECT sql FROM sqlite_master WHERE name = 'feed_login_update'";
    let trigger = mosh.run(["sqlite3", DB, row]).success().text().to_owned();
    sql(
        &mosh,
        &format!("DROP TRIGGER feed_login_update; UPDATE login SET gecos = 'As it is' WHERE name = 'ana'; {trigger};"),
    );
    let shown = |mosh: &Mosh| mosh.run(["getent", "passwd", "ana"]).success().text().contains("As it is");
    mosh.daemon().start();
    is_published(&mosh);
    assert!(!shown(&mosh), "the files are believed");
    // docs/operations.md, After a compromise.
    mosh.daemon().stop();
    mosh.sh("rm -rf /run/identityd/snapshot /var/lib/identityd/snapshot").success();
    mosh.daemon().start();
    mosh.wait_until("everything is read anew", SOON, shown);
    // Until then identityd answers over its socket.
    is_published(&mosh);
    assert!(mosh.identityctl(["snapshot", "compare", "--directory"]).success().stdout.contains("They say the same"));
}
