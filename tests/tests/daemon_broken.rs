//! identityd over a directory that is full, read-only, damaged, gone or replaced: what it knows it serves, what it does not is Unknown, never Absent.

use std::time::Duration;

use schema::wire::frame::{Op, Status};
use schema::wire::message::{Outcome, PamContext, Reply, Request, Secret, Verdict};
use tests::{Login, Mosh, boot};

const STATE: &str = "/var/lib/identityd";
const DB: &str = "/var/lib/identityd/directory.db";
const SOON: Duration = Duration::from_secs(5);

fn ask(mosh: &Mosh, name: &str) -> Status {
    mosh.wire(0).ask(Op::PasswdByName, name.as_bytes()).0
}

fn until(mosh: &Mosh, name: &str, wanted: Status) {
    mosh.wait_until(&format!("{name} is {wanted:?}"), SOON, |mosh| ask(mosh, name) == wanted);
}

fn health(mosh: &Mosh) -> String {
    let Ok(Reply::Status(text)) = mosh.wire(0).message(&Request::Status) else { panic!("no status") };
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["health"].as_str().unwrap().to_owned()
}

fn change_password(mosh: &Mosh, new: &str) -> Verdict {
    let context = PamContext { service: "passwd".into(), user: "ana".into(), ..PamContext::default() };
    match mosh.wire(0).message(&Request::ChangePassword { context, old: None, new: Secret::new(new.into()) }) {
        Ok(Reply::Verdict(verdict)) => verdict,
        other => panic!("{other:?}"),
    }
}

/// Its file last: a directory that is opened without its log would lack what is in there.
fn bring_back(mosh: &Mosh) {
    mosh.sh(&format!("cd /away && for file in *-*; do test ! -e $file || mv $file {STATE}/; done && mv * {STATE}/"))
        .success();
}

fn sql(mosh: &Mosh, statements: &str) {
    mosh.call(["setpriv", "--reuid=identityd", "--regid=identityd", "--clear-groups", "sqlite3", "-bail", DB])
        .stdin(statements)
        .run()
        .success();
}

/// What a foreign program may have done to the file: these tables with the same rows, without keys, CHECKs and triggers; and then these statements.
fn rebuild(mosh: &Mosh, tables: &[&str], statements: &str) {
    let copies: String = tables
        .iter()
        .map(|table| {
            format!(
                "CREATE TABLE copy AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE copy RENAME TO {table};\n"
            )
        })
        .collect();
    sql(
        mosh,
        &format!("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN;\n{copies}{statements};\nCOMMIT;\n"),
    );
}

/// ana is known to the daemon; ben is in the directory, and nobody has asked for him.
macro_rules! machine {
    () => {{
        let mosh =
            boot!(Mosh::builder().logins(["ana", "ben"].map(|name| Login::new(name).password("secret"))).lookup());
        assert_eq!(ask(&mosh, "ana"), Status::Found);
        mosh
    }};
}

#[test]
fn a_full_disk_stops_changes_and_nothing_else() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana").password("secret")).without_daemon());
    mosh.sh(&format!(
        "cp -a {STATE} /saved && mount -t tmpfs -o size=1m,mode=0700,uid=$(id -u identityd),gid=$(id -g identityd) none {STATE} && cp -a /saved/. {STATE}/"
    ))
    .success();
    mosh.daemon().start();
    mosh.sh(&format!("cat /dev/zero >{STATE}/filler"));
    assert_eq!(ask(&mosh, "ana"), Status::Found);
    assert_eq!(ask(&mosh, "nobody-here"), Status::Absent);
    let verdict = change_password(&mosh, "a new long password");
    assert_eq!(verdict.outcome, Outcome::Unavailable, "{verdict:?}");
    assert!(verdict.info.as_deref().unwrap_or_default().contains("has not been changed"), "{verdict:?}");
    assert_eq!(health(&mosh), "ok");
    assert_eq!(ask(&mosh, "nobody-else"), Status::Absent);
    mosh.sh(&format!("rm {STATE}/filler")).success();
    assert_eq!(change_password(&mosh, "a new long password").outcome, Outcome::Success);
}

#[test]
fn a_daemon_starts_on_a_full_disk() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")).without_daemon());
    mosh.sh(&format!(
        "cp -a {STATE} /saved && mount -t tmpfs -o size=1m,mode=0700,uid=$(id -u identityd),gid=$(id -g identityd) none {STATE} && cp -a /saved/. {STATE}/; cat /dev/zero >{STATE}/filler"
    ));
    mosh.daemon().start();
    mosh.sh(&format!("rm {STATE}/filler")).success();
    until(&mosh, "ana", Status::Found);
}

#[test]
fn a_file_system_that_turns_read_only_stops_changes_and_nothing_else() {
    let mosh = machine!();
    // Elsewhere first: a mount in which somebody has just opened a file for writing does not become read-only.
    mosh.sh(&format!(
        "mkdir /ro && mount --bind {STATE} /ro && mount -o remount,bind,ro /ro && mount --move /ro {STATE}"
    ))
    .success();
    assert_eq!(ask(&mosh, "ben"), Status::Found);
    assert_eq!(ask(&mosh, "nobody-here"), Status::Absent);
    // One that starts now can open the database only if its log is still there; nothing is Absent either way.
    mosh.daemon().stop();
    mosh.daemon().start();
    assert_ne!(ask(&mosh, "ana"), Status::Absent);
    assert_eq!(change_password(&mosh, "a new long password").outcome, Outcome::Unavailable);
    mosh.sh(&format!("mount -o remount,bind,rw {STATE}")).success();
    // What SQLite has opened read-only stays so; a restart opens it anew.
    mosh.daemon().stop();
    mosh.daemon().start();
    until(&mosh, "ana", Status::Found);
    assert_eq!(change_password(&mosh, "a new long password").outcome, Outcome::Success);
}

#[test]
fn while_the_directory_is_away_known_logins_are_served_and_others_are_unknown() {
    let mosh = machine!();
    mosh.sh(&format!("mkdir /away && mv {DB}* /away/")).success();
    // Before that, ben would still be found, and be known from then on.
    mosh.wait_until("it is noticed", SOON, |mosh| health(mosh) == "degraded");
    assert_eq!(ask(&mosh, "ben"), Status::Unknown);
    assert_eq!(ask(&mosh, "ana"), Status::Found);
    mosh.identityctl(["status"]).exit(1);
    assert!(mosh.identityctl(["status"]).stdout.contains("the directory has not answered for"));
    // Nothing was made in its place.
    assert!(!mosh.exists(DB));
    bring_back(&mosh);
    until(&mosh, "ben", Status::Found);
    mosh.wait_until("it is well", SOON, |mosh| health(mosh) == "ok");
}

#[test]
fn a_damaged_directory_is_unknown_until_it_is_restored() {
    let mosh = machine!();
    // Everything in one file first, and a good copy of it.
    mosh.daemon().stop();
    mosh.sh(&format!("cp -a {DB} /good")).success();
    mosh.daemon().start();
    assert_eq!(ask(&mosh, "ana"), Status::Found);
    mosh.sh(&format!("head -c 300000 /dev/urandom >/noise && cat /noise >{DB}")).success();
    // SQLite may still have its pages in memory; what it has not is Unknown.
    for _ in 0..50 {
        assert_eq!(ask(&mosh, "ana"), Status::Found);
        assert_ne!(ask(&mosh, "ben"), Status::Absent);
    }
    mosh.daemon().stop();
    mosh.daemon().start();
    assert_eq!(ask(&mosh, "ana"), Status::Unknown);
    assert_eq!(health(&mosh), "down");
    mosh.wait_until("status has the reason", SOON, |mosh| {
        mosh.identityctl(["status"]).exit(1).stdout.contains("not an SQLite database")
    });
    mosh.sh(&format!("rm -f {DB}*; cp -a /good {DB}")).success();
    until(&mosh, "ben", Status::Found);
    until(&mosh, "nobody-here", Status::Absent);
}

#[test]
fn a_replaced_directory_is_taken_at_once_and_nothing_of_the_old_one_stays() {
    let mosh = machine!();
    assert_eq!(ask(&mosh, "carol"), Status::Absent);
    mosh.sh(&format!("cp -a {DB} /old && mkdir /away && mv {DB}* /away/")).success();
    mosh.identityctl(["init"]).success();
    mosh.identityctl(["login", "add", "carol"]).success();
    until(&mosh, "carol", Status::Found);
    until(&mosh, "ana", Status::Absent);
    // A restored backup has an older generation.
    mosh.sh(&format!("rm {DB}*")).success();
    bring_back(&mosh);
    until(&mosh, "ana", Status::Found);
    until(&mosh, "carol", Status::Absent);
}

#[test]
fn a_daemon_without_a_directory_starts_and_waits_for_it() {
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.sh(&format!("rm -f {DB}*")).success();
    mosh.daemon().start();
    assert_eq!(ask(&mosh, "ana"), Status::Unknown);
    assert_eq!(health(&mosh), "down");
    mosh.identityctl(["init"]).success();
    mosh.identityctl(["login", "add", "ana"]).success();
    until(&mosh, "ana", Status::Found);
}

#[test]
fn of_two_entries_with_one_name_or_id_the_first_keeps_it() {
    let mosh = machine!();
    rebuild(
        &mosh,
        &["login", "unix_group"],
        "INSERT INTO login SELECT (SELECT uid FROM login WHERE name = 'ana'), 'thief', gid, '', '/home/thief', '/bin/bash', 'active', '*',
             NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM login WHERE name = 'ben';
         INSERT INTO login SELECT 7000, 'ana', gid, '', '/home/thief', '/bin/bash', 'active', '*',
             NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM login WHERE name = 'ben';
         INSERT INTO unix_group SELECT gid, 'thieves', NULL FROM unix_group WHERE name = 'ana';
         INSERT INTO unix_group VALUES (7001, 'ana', NULL)",
    );
    mosh.daemon().stop();
    mosh.daemon().start();
    let uid = mosh.uid("ana");
    assert_ne!(uid, 7000);
    assert_eq!(mosh.run(["id", "-un", &uid.to_string()]).text(), "ana");
    for absent in ["getent passwd thief", "getent passwd 7000", "getent group thieves", "getent group 7001"] {
        mosh.sh(absent).exit(2);
    }
    assert_eq!(mosh.sh(&format!("getent group {uid} | cut -d: -f1")).text(), "ana");
    assert_eq!(mosh.sh("getent passwd | cut -d: -f1 | grep -cx ana").text(), "1");
    mosh.wait_until("the thieves are in quarantine", Duration::from_secs(10), |mosh| {
        let status = mosh.identityctl(["status"]).stdout;
        status.contains("uid belongs to ana, which was there first")
            && status.contains("gid belongs to ana, which was there first")
    });
}

#[test]
fn a_row_that_breaks_the_form_of_a_page_costs_the_rows_beside_it_nothing() {
    let mosh = boot!(Mosh::builder().logins(["ana", "ben", "cleo"].map(Login::new)).without_daemon());
    mosh.identityctl(["group", "add", "club"]).success();
    for member in ["ana", "ben", "cleo"] {
        mosh.identityctl(["group", "add-member", "club", member]).success();
    }
    // The control characters stand between the fields and the rows of a page; a NULL is a row that is counted and not written.
    rebuild(
        &mosh,
        &["login", "group_member"],
        "INSERT INTO group_member SELECT gid, NULL FROM unix_group WHERE name = 'club';
         UPDATE login SET gecos = 'Ben' || char(31) || char(30) || 'B' WHERE name = 'ben'",
    );
    mosh.daemon().start();
    mosh.wait_until("it is published", Duration::from_secs(30), |mosh| {
        mosh.identityctl(["snapshot", "print", "passwd", "ana"]).ok()
    });
    for name in ["ana", "cleo"] {
        mosh.run(["getent", "passwd", name]).success();
        assert!(mosh.run(["id", "-Gn", name]).text().contains("club"), "{name}");
    }
    mosh.sh("getent passwd ben").exit(2);
    assert!(mosh.sh("getent group club").text().ends_with(":ana,ben,cleo"), "{}", mosh.sh("getent group club"));
    let status = mosh.identityctl(["status"]).stdout;
    assert!(status.contains("ben") && status.contains("gecos"), "{status}");
}
