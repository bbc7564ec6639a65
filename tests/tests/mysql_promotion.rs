//! MariaDB when the primary is lost with changes that no replica has: what its replicas may still say, and what becomes of the numbers that are given out a second time.

use std::time::Duration;

use schema::wire::message::{Outcome, PamContext, Reply, Request, Secret};
use tests::mosh::MariaDb;
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(30);
/// Three statements on one login: as many changes.
const LOGINS: [&str; 5] = ["ana", "ben", "cyd", "dan", "eve"];

/// A machine with a primary and a replica that has what the primary has; identityd, which has both in its list, has published it. `$mode` of the snapshot.
macro_rules! scene {
    ($mosh:ident, $primary:ident, $replica:ident, $mode:literal) => {
        let $mosh = boot!(Mosh::builder().without_daemon());
        let $primary = $mosh.mariadb(1);
        $primary.apply_schema();
        let $replica = $mosh.mariadb(2);
        $replica.follow($primary);
        let hash = $mosh.sh("openssl passwd -6 secret").success().text().to_owned();
        for login in LOGINS {
            $primary.sql(&format!("CALL new_login('{login}', 'one', NULL, '{hash}', NULL)"));
            $primary
                .sql(&format!("INSERT INTO login_capability SELECT uid, 'shell' FROM login WHERE name = '{login}'"));
        }
        $primary.sql("CALL number_changes()");
        let all = generation($primary);
        $mosh.wait_until("the replica has all", SOON, |_| generation($replica) == all);
        $mosh.use_mariadb(&[$primary.socket(), $replica.socket()], "");
        $mosh.configure("snapshot", concat!("mode = \"", $mode, "\""));
        $mosh.daemon().start();
        $mosh.wait_until("it answers", SOON, |mosh| gecos(mosh, "ana") == "one");
    };
}

fn generation(server: MariaDb<'_>) -> u64 {
    server.try_sql("SELECT generation FROM directory").stdout.trim().parse().unwrap_or(0)
}

fn gecos(mosh: &Mosh, login: &str) -> String {
    let line = mosh.run(["getent", "passwd", login]);
    line.stdout.trim_end().split(':').nth(4).unwrap_or_default().to_owned()
}

fn says(mosh: &Mosh, key: &str) -> serde_json::Value {
    let status: serde_json::Value =
        serde_json::from_str(&mosh.identityctl(["--json", "status"]).stdout).unwrap_or_default();
    status[key].clone()
}

/// The generation that the host serves.
fn applied(mosh: &Mosh) -> u64 {
    says(mosh, "generation")["directory"].as_u64().unwrap_or(0)
}

fn enters(mosh: &Mosh, login: &str) -> Outcome {
    let context = || PamContext { service: "sshd".into(), user: login.into(), ..PamContext::default() };
    let password = Secret::new(b"secret".to_vec());
    for request in [Request::Authenticate { context: context(), password }, Request::Account { context: context() }] {
        match mosh.wire(0).message(&request) {
            Ok(Reply::Verdict(verdict)) if verdict.outcome == Outcome::Success => {}
            Ok(Reply::Verdict(verdict)) => return verdict.outcome,
            other => panic!("no verdict: {other:?}"),
        }
    }
    Outcome::Success
}

/// Three changes of ben that reach the host and not the replica, numbered together.
fn lose(mosh: &Mosh, primary: MariaDb<'_>, replica: MariaDb<'_>) {
    replica.sql("STOP SLAVE");
    three_changes_of_ben(primary, "lost");
    let lost = generation(primary);
    mosh.wait_until("the host has what the replica lacks", SOON, |mosh| applied(mosh) == lost);
    // What is known of the directory comes first, then it is published.
    mosh.wait_until("and tells it", SOON, |mosh| gecos(mosh, "ben") == "lost");
    primary.kill();
}

fn promote(replica: MariaDb<'_>) {
    replica.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0");
}

fn three_changes_of_ben(server: MariaDb<'_>, last: &str) {
    let one = |gecos: &str| format!("UPDATE login SET gecos = '{gecos}' WHERE name = 'ben'; ");
    server.sql(&format!("BEGIN; {}{}{}COMMIT; CALL number_changes()", one("a"), one("b"), one(last)));
}

#[test]
fn a_replica_that_lacks_changes_answers_when_nobody_else_does_but_not_about_those() {
    scene!(mosh, primary, replica, "lookup");
    assert_eq!(enters(&mosh, "ana"), Outcome::Success);
    replica.sql("STOP SLAVE");
    primary.sql("UPDATE login SET status = 'locked' WHERE name = 'cyd'; CALL number_changes()");
    lose(&mosh, primary, replica);
    let before = applied(&mosh);
    // Never asked for before, so it is in no cache.
    mosh.wait_until("a login that has not changed", SOON, |mosh| gecos(mosh, "dan") == "one");
    mosh.wait_until("its password", SOON, |mosh| enters(mosh, "dan") == Outcome::Success);
    mosh.wait_until("that of another one", SOON, |mosh| enters(mosh, "eve") == Outcome::Success);
    // The replica says that cyd is active and knows the password: this host has heard otherwise.
    assert_eq!(enters(&mosh, "cyd"), Outcome::Unavailable);
    assert_eq!(enters(&mosh, "ben"), Outcome::Unavailable);
    mosh.wait_until("who entered before", SOON, |mosh| enters(mosh, "ana") == Outcome::Success);
    assert_eq!(applied(&mosh), before, "nothing older is taken for news");
    mosh.wait_until("it is said", SOON, |mosh| says(mosh, "health") == "degraded");
    let status = mosh.identityctl(["status"]);
    assert!(status.stdout.contains("it is behind: generation"), "{status}");

    promote(replica);
    mosh.wait_until("the promoted one's word holds", SOON, |mosh| gecos(mosh, "ben") == "one");
    mosh.wait_until("all is well but the server that is gone", SOON, |mosh| enters(mosh, "cyd") == Outcome::Success);
    replica.sql("UPDATE login SET gecos = 'two' WHERE name = 'eve'");
    mosh.wait_until("a change there", SOON, |mosh| gecos(mosh, "eve") == "two");
}

/// The promoted replica gives the same numbers to changes of the same login: only their marks tell them apart.
#[test]
fn a_change_under_a_number_that_was_given_out_before_is_not_missed() {
    scene!(mosh, primary, replica, "replica");
    lose(&mosh, primary, replica);
    let lost = applied(&mosh);
    assert_eq!(generation(replica) + 3, lost);
    // Numbered before the host can look.
    mosh.daemon().pause();
    promote(replica);
    three_changes_of_ben(replica, "promoted");
    assert_eq!(generation(replica), lost);
    mosh.daemon().resume();
    mosh.wait_until("what the promoted one has", SOON, |mosh| gecos(mosh, "ben") == "promoted");
    replica.sql("UPDATE login SET gecos = 'two' WHERE name = 'ana'");
    mosh.wait_until("a change after that", SOON, |mosh| gecos(mosh, "ana") == "two");
}

#[test]
fn a_host_that_was_off_when_a_replica_was_promoted_reads_everything() {
    scene!(mosh, primary, replica, "replica");
    lose(&mosh, primary, replica);
    let lost = applied(&mosh);
    mosh.daemon().stop();
    promote(replica);
    three_changes_of_ben(replica, "promoted");
    // Beyond the numbers of the lost ones.
    replica.sql("UPDATE login SET gecos = 'two' WHERE name IN ('ana', 'cyd'); CALL number_changes()");
    assert!(generation(replica) > lost);
    // Until everything is read, this host has nothing of the new history, although its number is higher than the first of that one.
    mosh.daemon().start();
    let first = (generation(replica) - 4).to_string();
    mosh.identityctl(["wait", "--generation", &first, "--all", "--timeout", "100s"]).success();
    assert_eq!(gecos(&mosh, "ben"), "promoted");
    assert_eq!(gecos(&mosh, "ana"), "two");
}

/// The lost changes were already seen by a host that is then restarted: it has nobody to ask but the replica, which is no reason to publish less than it had.
#[test]
fn a_restart_beside_a_replica_that_lacks_changes_publishes_nothing_older() {
    scene!(mosh, primary, replica, "replica");
    lose(&mosh, primary, replica);
    let lost = applied(&mosh);
    mosh.daemon().stop();
    mosh.daemon().start();
    mosh.wait_until("the replica is asked", SOON, |mosh| {
        mosh.journal().contains("only servers of the directory answer")
    });
    mosh.wait_until("passwords are checked by the replica", SOON, |mosh| enters(mosh, "ana") == Outcome::Success);
    assert_eq!(gecos(&mosh, "ben"), "lost");
    assert_eq!(applied(&mosh), lost);
    primary.start();
    primary.sql("UPDATE login SET gecos = 'back' WHERE name = 'ben'");
    mosh.wait_until("the primary is back with all of it", SOON, |mosh| gecos(mosh, "ben") == "back");
    assert!(!mosh.journal().contains("everything is asked anew"), "{}", mosh.journal());
}
