//! Logins while the directory is away: who has entered this host before gets in, unless what was received says no.

use std::time::Duration;

use schema::wire::message::{Outcome, PamContext, Reply, Request, Secret, Verdict};
use tests::mosh::Auth;
use tests::{Login, Mosh, boot};

const STATE: &str = "/var/lib/identityd";
const SOON: Duration = Duration::from_secs(10);

fn ask(mosh: &Mosh, request: &Request) -> Verdict {
    match mosh.wire(0).message(request) {
        Ok(Reply::Verdict(verdict)) => verdict,
        other => panic!("no verdict: {other:?}"),
    }
}

fn context(user: &str) -> PamContext {
    PamContext { service: "sshd".into(), user: user.into(), ..PamContext::default() }
}

fn login(mosh: &Mosh, user: &str, password: &str) -> Outcome {
    let password = Secret::new(password.as_bytes().to_vec());
    let verdict = ask(mosh, &Request::Authenticate { context: context(user), password });
    if verdict.outcome == Outcome::Success {
        let account = ask(mosh, &Request::Account { context: context(user) });
        assert_eq!(account.uid, verdict.uid);
        return account.outcome;
    }
    verdict.outcome
}

fn health(mosh: &Mosh) -> String {
    let status: serde_json::Value =
        serde_json::from_str(&mosh.identityctl(["--json", "status"]).stdout).unwrap_or_default();
    status["health"].as_str().unwrap_or_default().to_owned()
}

fn take_away(mosh: &Mosh) {
    // identityctl waits two seconds at most for what it has written; here it has to have been received.
    let newest = "sqlite3 -readonly /var/lib/identityd/directory.db 'SELECT generation FROM directory'";
    let newest = mosh.sh(newest).success();
    mosh.identityctl(["wait", "--generation", newest.text(), "--timeout", "50s"]).success();
    mosh.sh(&format!("mkdir -p /away && mv {STATE}/directory.db* /away/")).success();
    mosh.wait_until("it is noticed", SOON, |mosh| health(mosh) == "degraded");
}

fn bring_back(mosh: &Mosh) {
    // The file last: identityd opens it at once, and without its log it would be an older directory.
    mosh.sh(&format!("mv /away/directory.db-* {STATE}/; mv /away/directory.db {STATE}/")).success();
    mosh.wait_until("it is well", SOON, |mosh| health(mosh) == "ok");
}

fn kept(mosh: &Mosh, user: &str) -> bool {
    let question =
        format!("SELECT count(*) FROM record WHERE name = '{user}' AND suspect = 0 AND verifier IS NOT NULL");
    let script = "import sqlite3, sys; print(sqlite3.connect('/var/lib/identityd/offline.db').execute(sys.argv[1]).fetchone()[0])";
    mosh.run(["python3", "-c", script, &question]).text() == "1"
}

/// ana has logged in once, and this host keeps that.
fn seen(mosh: &Mosh) {
    assert_eq!(login(mosh, "ana", "her secret"), Outcome::Success);
    mosh.wait_until("it is kept", SOON, |mosh| mosh.exists("/var/lib/identityd/offline.db") && kept(mosh, "ana"));
}

macro_rules! machine {
    () => {{
        let shell = ["shell", "sftp"];
        let mosh = boot!(
            Mosh::builder()
                .login(Login::new("ana").password("her secret").capabilities(shell))
                .login(Login::new("ben").password("his secret").capabilities(shell))
        );
        seen(&mosh);
        mosh
    }};
}

#[test]
fn who_has_logged_in_here_gets_in_while_the_directory_is_away_and_after_a_restart() {
    let mosh = machine!();
    assert_eq!(
        mosh.run(["stat", "-c", "%a %U", &format!("{STATE}/host.key"), &format!("{STATE}/offline.db")]).text(),
        "600 identityd\n600 identityd"
    );
    take_away(&mosh);
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Success);
    // Whether a name is there, and was here, cannot be told from the answer.
    for (user, password) in [("ana", "his secret"), ("ben", "his secret"), ("nobody-at-all", "his secret")] {
        assert_eq!(login(&mosh, user, password), Outcome::Unavailable, "{user}");
    }
    assert!(mosh.journal().contains("wrong password"), "{}", mosh.journal());
    mosh.daemon().stop();
    mosh.daemon().start();
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Success);
    assert_eq!(login(&mosh, "ana", "wrong"), Outcome::Unavailable);
    bring_back(&mosh);
    assert_eq!(login(&mosh, "ben", "his secret"), Outcome::Success);
    assert!(!mosh.journal().contains("her secret"));
}

#[test]
fn ssh_with_a_password_goes_on_without_the_directory() {
    let mosh = machine!();
    let sshd = mosh.sshd(&[]);
    take_away(&mosh);
    assert_eq!(sshd.ssh("ana", Auth::Password("her secret"), "id -un").success().text(), "ana");
    mosh.daemon().stop();
    mosh.daemon().start();
    assert_eq!(sshd.ssh("ana", Auth::Password("her secret"), "id -un").success().text(), "ana");
    sshd.ssh("ana", Auth::Password("wrong"), "id -un").failure();
    sshd.ssh("ben", Auth::Password("his secret"), "id -un").failure();
}

#[test]
fn a_lock_that_was_received_before_the_outage_refuses() {
    let mosh = machine!();
    mosh.identityctl(["login", "lock", "ana"]).success();
    take_away(&mosh);
    assert_ne!(login(&mosh, "ana", "her secret"), Outcome::Success);
    mosh.daemon().stop();
    mosh.daemon().start();
    assert_ne!(login(&mosh, "ana", "her secret"), Outcome::Success);
}

#[test]
fn a_new_password_that_was_received_refuses_the_old_one() {
    let mosh = machine!();
    mosh.call(["identityctl", "login", "passwd", "ana", "--stdin"]).stdin("another secret\n").run().success();
    take_away(&mosh);
    assert_ne!(login(&mosh, "ana", "her secret"), Outcome::Success);
    bring_back(&mosh);
    assert_eq!(login(&mosh, "ana", "another secret"), Outcome::Success);
    mosh.wait_until("it is kept", SOON, |mosh| kept(mosh, "ana"));
    take_away(&mosh);
    assert_eq!(login(&mosh, "ana", "another secret"), Outcome::Success);
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Unavailable);
}

#[test]
fn a_removed_login_does_not_come_back_with_an_outage() {
    let mosh = machine!();
    mosh.identityctl(["login", "remove", "ana"]).success();
    take_away(&mosh);
    assert_ne!(login(&mosh, "ana", "her secret"), Outcome::Success);
}

#[test]
fn after_the_days_it_is_refused_and_with_none_nothing_is_kept() {
    let mosh = machine!();
    take_away(&mosh);
    mosh.daemon().stop();
    let script = "import sqlite3; db = sqlite3.connect('/var/lib/identityd/offline.db'); \
                  db.execute('UPDATE record SET known = known - 7 * 86400 - 60, verified = verified - 7 * 86400 - 60'); db.commit()";
    mosh.run(["python3", "-c", script]).success();
    mosh.daemon().start();
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Unavailable);
    mosh.configure("auth", "offline_days = 30");
    mosh.daemon().stop();
    mosh.daemon().start();
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Success);
    mosh.sh("sed -i 's/^offline_days = 30$/offline_days = 0/' /etc/identityd/identityd.toml").success();
    mosh.daemon().stop();
    mosh.daemon().start();
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Unavailable);
    assert!(!mosh.exists(&format!("{STATE}/offline.db")));
}

#[test]
fn the_file_with_another_hosts_key_lets_nobody_in() {
    let mosh = machine!();
    take_away(&mosh);
    mosh.daemon().stop();
    mosh.sh(&format!("rm {STATE}/host.key")).success();
    mosh.daemon().start();
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Unavailable);
    assert!(!kept(&mosh, "ana"));
}

#[test]
fn a_key_that_others_may_read_is_refused_and_look_ups_go_on() {
    let mosh = machine!();
    mosh.daemon().stop();
    mosh.sh(&format!("chmod 644 {STATE}/host.key")).success();
    mosh.daemon().start();
    // Published names are answered for before the directory has been opened.
    mosh.wait_until("the directory is asked", SOON, |mosh| login(mosh, "ana", "her secret") == Outcome::Success);
    assert!(mosh.journal().contains("mode 0644"), "{}", mosh.journal());
    take_away(&mosh);
    assert_eq!(login(&mosh, "ana", "her secret"), Outcome::Unavailable);
}
