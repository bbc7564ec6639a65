//! The directory in real MariaDB: the feed under open transactions, servers that stall, die and come back, and the same answers as SQLite.

use std::time::{Duration, Instant};

use tests::fleet::published;
use tests::mosh::MariaDb;
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(10);
/// An answer while a server is away.
const PROMISED: Duration = Duration::from_secs(2);

/// A machine with a primary that has the schema; identityd does not run yet.
macro_rules! scene {
    ($mosh:ident, $db:ident) => {
        let $mosh = boot!(Mosh::builder().without_daemon());
        let $db = $mosh.mariadb(1);
        $db.apply_schema();
    };
}

fn gecos(mosh: &Mosh, login: &str) -> String {
    let line = mosh.run(["getent", "passwd", login]);
    line.stdout.trim_end().split(':').nth(4).unwrap_or_default().to_owned()
}

#[test]
fn what_the_panel_writes_is_visible_at_once() {
    scene!(mosh, db);
    mosh.use_mariadb(&[db.socket()], "");
    mosh.daemon().start();
    let made = db.sql_as("identity_panel", "CALL new_login('ana', 'Ana Flores', NULL, '*', NULL)").success();
    assert_eq!(made.text(), "1000001");
    db.sql_as("identity_panel", "INSERT INTO login_capability SELECT uid, 'shell' FROM login WHERE name = 'ana'")
        .success();
    mosh.wait_until("ana is there", SOON, |mosh| gecos(mosh, "ana") == "Ana Flores");
    let began = Instant::now();
    db.sql_as("identity_panel", "UPDATE login SET gecos = 'Ana F.' WHERE name = 'ana'").success();
    mosh.wait_until("the change is visible", SOON, |mosh| gecos(mosh, "ana") == "Ana F.");
    eprintln!("visible after {:?}", began.elapsed());
    assert!(mosh.run(["id", "ana"]).success().text().contains("uid=1000001(ana) gid=1000001(ana)"));
    let checked = mosh.identityctl(["directory", "check"]);
    assert!(checked.status == Some(0), "{checked}");
    db.sql("CREATE USER boss@'%' IDENTIFIED BY 'test-password'; GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION");
    let arguments = ["--user", "boss", "--password-file", "/etc/identityd/mysql-admin.password"];
    mosh.identityctl(["schema", "check"].into_iter().chain(arguments)).success();
    assert!(
        mosh.identityctl(["schema", "apply"].into_iter().chain(arguments))
            .success()
            .text()
            .contains("Nothing to apply")
    );
    db.sql("DROP TRIGGER feed_key_insert; ALTER TABLE retired_id DROP COLUMN shell");
    let found = mosh.identityctl(["schema", "check"].into_iter().chain(arguments)).exit(1).text().to_owned();
    assert!(
        found.contains("feed_key_insert is missing") && found.contains("the table retired_id has no column shell"),
        "{found}"
    );
}

/// InnoDB counts by reading an index, which may take seconds: here somebody has locked the table.
#[test]
fn a_slow_count_of_the_logins_is_no_server_that_is_down() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', 'Ana', NULL, '*', NULL); CALL number_changes(); SET GLOBAL log_output = 'TABLE', general_log = 1");
    db.begin("LOCK TABLES login WRITE;");
    mosh.wait_until("the table is locked", SOON, |_| {
        !db.sql("SHOW OPEN TABLES FROM identity WHERE in_use > 0").is_empty()
    });
    mosh.use_mariadb(&[db.socket()], "");
    mosh.daemon().start();
    let counted = "SELECT count(*) FROM mysql.general_log WHERE command_type = 'Execute' AND argument LIKE '%count(*) FROM unix_group%'";
    mosh.wait_until("they are being counted", SOON, |_| db.sql(counted) != "0");
    mosh.wait_until("the reading has failed", SOON, |mosh| mosh.journal().contains("could not be read as a whole"));
    db.go_on("UNLOCK TABLES;");
    mosh.wait_until("the next one has not", Duration::from_secs(30), |mosh| gecos(mosh, "ana") == "Ana");
    // By the lock, whose end the server itself did not wait for: not by the time that it has for a look-up.
    let journal = mosh.journal();
    let failed = journal.lines().find(|line| line.contains("could not be read as a whole")).unwrap_or_default();
    assert!(!failed.contains("no answer within"), "{failed}");
}

#[test]
fn a_backup_that_was_restored_is_taken_anew() {
    scene!(mosh, db);
    mosh.use_mariadb(&[db.socket()], "");
    mosh.daemon().start();
    db.sql("CALL new_login('ana', '', NULL, '*', NULL); CALL number_changes()");
    let dump = format!("mariadb-dump --no-defaults --socket={}", db.socket());
    mosh.sh(&format!(
        "{dump} --single-transaction --routines --triggers --databases identity >/root/identity.sql
         {dump} --system=users --insert-ignore >/root/users.sql"
    ))
    .success();
    db.sql("CALL new_login('ben', '', NULL, '*', NULL); CALL number_changes()");
    let known = |mosh: &Mosh, login: &str| mosh.run(["getent", "passwd", login]).status == Some(0);
    mosh.wait_until("both are there", SOON, |mosh| known(mosh, "ana") && known(mosh, "ben"));
    mosh.daemon().stop();

    // The other server is a new one.
    let other = mosh.mariadb(2);
    mosh.sh(&format!(
        "set -e; mariadb --no-defaults --socket={socket} </root/identity.sql; mariadb --no-defaults --socket={socket} </root/users.sql",
        socket = other.socket()
    ))
    .success();
    other.sql("UPDATE directory SET identity = UUID(), generation = generation + 1000000");
    let config = "/etc/identityd/identityd.toml";
    mosh.write(config, &mosh.read(config).replace(&db.socket(), &other.socket()));
    mosh.daemon().start();
    mosh.wait_until("ben is gone, as in the backup", SOON, |mosh| !known(mosh, "ben"));
    assert!(known(&mosh, "ana"));
    other.sql_as("identity_panel", "CALL new_login('eva', '', NULL, '*', NULL); CALL number_changes()").success();
    mosh.wait_until("what comes then is seen", SOON, |mosh| known(mosh, "eva"));
}

#[test]
fn a_new_database_is_made_over_tcp_by_apply() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let db = mosh.mariadb(1);
    mosh.use_mariadb(&[format!("127.0.0.1:{}", db.port())], "plaintext = true");
    let root = format!("--socket={}", db.socket());
    let grant = "CREATE USER boss@'%' IDENTIFIED BY 'test-password'; GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION";
    mosh.call(["mariadb", "--no-defaults", &root, "-e", grant]).run().success();
    let arguments = ["--user", "boss", "--password-file", "/etc/identityd/mysql-admin.password"];
    let applied = mosh.identityctl(["schema", "apply"].into_iter().chain(arguments)).success();
    assert!(applied.text().contains("0001_tables") && applied.text().contains("ALTER USER"), "{applied}");
    mosh.identityctl(["schema", "check"].into_iter().chain(arguments)).success();
    assert_eq!(db.sql("CALL new_login('ana', NULL, NULL, NULL, NULL)"), "1000001");
}

#[test]
fn an_open_transaction_blocks_nobody_and_is_not_missed() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL); CALL new_login('bea', 'Bea', NULL, NULL, NULL); CALL number_changes()");
    db.begin(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; CALL new_login('open', NULL, NULL, NULL, NULL); UPDATE login SET gecos = 'late' WHERE name = 'ana';
         INSERT INTO login_capability SELECT uid, 'sftp' FROM login WHERE name = 'open'; INSERT INTO touched VALUES (1, 'login', 'mark', 5);",
    );
    let is_open = || {
        let read = "SET SESSION TRANSACTION ISOLATION LEVEL";
        db.sql(&format!(
            "{read} READ UNCOMMITTED; SELECT count(*) FROM touched WHERE seq = 1; {read} READ COMMITTED; SELECT count(*) FROM touched WHERE seq = 1"
        )) == "1\n0"
    };
    mosh.wait_until("the transaction is open", SOON, |_| is_open());
    for number in 0..20 {
        db.sql(&format!("CALL new_login('other{number}', NULL, NULL, NULL, NULL)"));
        db.sql(&format!("INSERT INTO login_capability SELECT uid, 'sftp' FROM login WHERE name = 'other{number}'"));
    }
    db.sql("UPDATE login SET gecos = 'soon' WHERE name = 'bea'; CALL new_group('team'); DELETE FROM login WHERE name = 'other3'");
    let seen: u64 = db.sql("CALL number_changes()").parse().unwrap();
    assert!(is_open(), "nobody has waited for its end");
    assert_eq!(db.sql("SELECT count(*) FROM `change` WHERE name = 'ana' AND generation > 5"), "0");
    assert_eq!(db.sql("SELECT count(*) > 0 FROM `change` WHERE name = 'other19'"), "1");
    db.go_on("COMMIT;");
    mosh.wait_until("it has ended", SOON, |_| db.sql("SELECT gecos FROM login WHERE name = 'ana'") == "late");
    db.sql("CALL number_changes()");
    let late =
        db.sql(&format!("SELECT count(*) FROM `change` WHERE name IN ('ana', 'open', 'mark') AND generation > {seen}"));
    assert!(late.parse::<u32>().unwrap() >= 4, "{late}");
    // Without a hole, and nothing twice.
    assert_eq!(db.sql("SELECT count(*) = max(generation), count(*) = count(DISTINCT seq) FROM `change`"), "1\t1");
    assert_eq!(db.sql("SELECT count(*) FROM touched"), "0");
}

#[test]
fn a_call_that_was_given_up_is_not_followed_by_another_one_beside_it() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL); CALL number_changes()");
    mosh.use_mariadb(&[db.socket()], "timeout = \"500ms\"\nserver_timeout = \"250ms\"");
    mosh.daemon().start();
    mosh.wait_until("ana is there", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    // A reader's lock, for longer than identityd waits for any answer.
    db.begin("START TRANSACTION; SELECT generation FROM directory WHERE one = 1 FOR UPDATE;");
    let locked = "SELECT generation FROM directory WHERE one = 1 FOR UPDATE NOWAIT";
    mosh.wait_until("the lock is held", SOON, |_| !db.try_sql(locked).ok());
    db.sql("CALL new_login('bea', 'Bea', NULL, NULL, NULL)");
    // As the processlist names who executes a procedure: its definer.
    let waiting = "SELECT count(*) FROM information_schema.processlist WHERE user = 'identity_owner'";
    let count = || db.sql(waiting).parse::<u32>().unwrap();
    mosh.wait_until("a call waits", SOON, |_| count() == 1);
    let most = (0..150).map(|_| count()).max();
    assert_eq!(most, Some(1), "more than one call of this host waits for the lock");
    db.go_on("COMMIT;");
    mosh.wait_until("it goes on by itself", SOON, |mosh| mosh.run(["getent", "passwd", "bea"]).ok());
}

#[test]
fn who_has_seen_a_number_has_seen_all_below() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL); CALL number_changes()");
    // Eight writers, some slow, each numbering after its commits; a reader that keeps what it sees.
    let socket = db.socket();
    mosh.write(
        "/tmp/writer.sh",
        &format!(
            "for i in $(seq 1 25); do
                 echo \"START TRANSACTION; CALL new_login('w$1x$i', NULL, NULL, NULL, NULL); SELECT sleep($1 * 0.01); COMMIT; CALL number_changes();\"
             done | mariadb --no-defaults --socket={socket} identity >/dev/null"
        ),
    );
    mosh.write(
        "/tmp/reader.sh",
        &format!(
            "seen=0; readings=0; ended=no; until test $ended = yes; do
                 test -e /tmp/done && ended=yes
                 rows=$(mariadb --no-defaults --socket={socket} -N identity -e \"SELECT generation FROM \\`change\\` WHERE generation > $seen ORDER BY 1\")
                 touch /tmp/looked
                 test -z \"$rows\" || readings=$((readings + 1))
                 for row in $rows; do test $row = $((seen + 1)) || echo \"hole before $row\"; seen=$row; done
             done; echo $readings $seen"
        ),
    );
    let read = mosh.call(["sh", "/tmp/reader.sh"]).spawn();
    mosh.wait_until("it reads", SOON, |mosh| mosh.exists("/tmp/looked"));
    mosh.sh("for n in 1 2 3 4 5 6 7 8; do sh /tmp/writer.sh $n & done; wait; touch /tmp/done").success();
    let mut read = read;
    let read = read.finish(Duration::from_secs(60)).success();
    assert!(!read.stdout.contains("hole"), "{read}");
    let (readings, seen) = read.text().split_once(' ').expect("two numbers");
    assert!(readings.parse::<u32>().is_ok_and(|readings| readings > 1), "it has read while they wrote: {read}");
    assert_eq!(seen, db.sql("SELECT max(generation) FROM `change`"));
    assert_eq!(db.sql("SELECT count(DISTINCT name) FROM `change` WHERE name LIKE 'w%'"), "200");
}

#[test]
fn a_bulk_change_arrives_complete() {
    scene!(mosh, db);
    let many: u32 = std::env::var("BULK").ok().and_then(|text| text.parse().ok()).unwrap_or(5000);
    let range = format!("seq_2000000_to_{}", 2_000_000 + many - 1);
    db.sql(&format!(
        "START TRANSACTION; INSERT INTO unix_group (gid, name) SELECT seq, concat('u', seq) FROM {range};
         INSERT INTO login (uid, name, gid, home) SELECT seq, concat('u', seq), seq, concat('/home/members/users/u', seq) FROM {range}; COMMIT"
    ));
    let began = Instant::now();
    db.sql("CALL number_changes()");
    eprintln!("{} changes numbered in {:?}", 2 * many, began.elapsed());
    assert_eq!(db.sql("SELECT count(*) FROM touched"), "0");
    mosh.use_mariadb(&[db.socket()], "");
    mosh.daemon().start();
    let last = format!("u{}", 2_000_000 + many - 1);
    let minute = Duration::from_secs(60);
    let began = Instant::now();
    mosh.wait_until("all are published", minute, |mosh| published(mosh) > 0);
    eprintln!("{many} logins read and published in {:?}", began.elapsed());
    let began = Instant::now();
    db.sql("UPDATE login SET gecos = 'bulk'");
    eprintln!("{many} logins changed by one statement in {:?}", began.elapsed());
    let began = Instant::now();
    mosh.wait_until("the bulk is visible", minute, |mosh| gecos(mosh, &last) == "bulk");
    eprintln!("visible after {:?}", began.elapsed());
    let listed = mosh.call(["sh", "-c", "getent passwd | grep -c ':bulk:'"]).limit(Duration::from_secs(120)).run();
    assert_eq!(listed.success().text(), many.to_string());
}

/// Asked for names that are in no cache, and published is nothing: each answer comes from a server. Promised is one within two seconds.
#[test]
fn a_server_that_is_killed_stalled_or_back_is_passed_over() {
    scene!(mosh, primary);
    for number in 0..40 {
        primary.sql(&format!("CALL new_login('u{number}', 'one', NULL, NULL, NULL)"));
    }
    let replica = mosh.mariadb(2);
    replica.follow(primary);
    mosh.wait_until("the replica has all", Duration::from_secs(30), |_| {
        replica.try_sql("SELECT count(*) FROM login").stdout.trim() == "40"
    });
    mosh.use_mariadb(&[replica.socket(), primary.socket()], "");
    mosh.configure("snapshot", "mode = \"lookup\"");
    mosh.daemon().start();
    let mut fresh = 0;
    let mut ask = |what: &str| {
        // Never asked before, so it is not in the cache.
        let name = format!("u{fresh}");
        fresh += 1;
        mosh.promised(PROMISED, what, |mosh| !gecos(mosh, &name).is_empty());
    };
    ask("both up");
    replica.pause();
    ask("the nearest stopped in mid-air");
    ask("once more");
    replica.resume();
    back(&mosh, primary, &mut ask, "the primary stopped, the nearest back", MariaDb::pause, MariaDb::resume);
    replica.kill();
    ask("the nearest killed");
    // A question of the feed that met it too may have failed a moment ago.
    mosh.wait_until("it is named", SOON, |mosh| {
        let status = mosh.identityctl(["status"]);
        status.ok()
            && ["directory.servers (2)", "does not serve, others do"].iter().all(|what| status.stdout.contains(what))
    });
    replica.start();
    replica.try_sql("SET GLOBAL read_only = 1");
    back(
        &mosh,
        primary,
        &mut ask,
        "the primary killed, the nearest back",
        |primary| primary.kill(),
        |primary| primary.start(),
    );
    primary.sql("UPDATE login SET gecos = 'two' WHERE name = 'u1'");
    mosh.wait_until("a change arrives after all that", SOON, |mosh| gecos(mosh, "u1") == "two");
}

#[test]
fn a_replica_that_lags_is_passed_over_and_look_ups_outlive_the_primary() {
    scene!(mosh, primary);
    for number in 0..40 {
        primary.sql(&format!("CALL new_login('u{number}', 'one', NULL, NULL, NULL)"));
    }
    let replica = mosh.mariadb(2);
    replica.follow(primary);
    mosh.wait_until("the replica has all", Duration::from_secs(30), |_| {
        replica.try_sql("SELECT count(*) FROM login").stdout.trim() == "40"
    });
    mosh.use_mariadb(&[replica.socket(), primary.socket()], "");
    mosh.daemon().start();
    mosh.wait_until("all is published", SOON, |mosh| gecos(mosh, "u39") == "one");
    let questions = |server: MariaDb<'_>| -> u64 {
        let text =
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'COM_STMT_EXECUTE'";
        server.sql(text).parse().unwrap()
    };
    // Keys are in no snapshot: each is asked for.
    let ask = |from: u32| {
        for number in from..from + 10 {
            mosh.identityctl(["ssh-keys", &format!("u{number}")]).success();
        }
    };
    // identityd has given the changes their numbers at the primary: the replica is behind until it has these too.
    mosh.wait_until("the nearest server is asked", SOON, |_| {
        let before = questions(replica);
        ask(0);
        questions(replica) >= before + 10
    });

    // It lags: what is new comes from the primary, and what is asked for meanwhile does too.
    replica.sql("STOP SLAVE SQL_THREAD");
    primary.sql("UPDATE login SET gecos = 'two' WHERE name = 'u1'");
    mosh.wait_until("a change that the replica does not have", SOON, |mosh| gecos(mosh, "u1") == "two");
    let before = questions(primary);
    ask(10);
    assert!(questions(primary) >= before + 10, "a server that is behind is not asked");
    replica.sql("START SLAVE SQL_THREAD");
    mosh.wait_until("the replica is asked again", SOON, |_| {
        let before = questions(replica);
        ask(20);
        questions(replica) >= before + 10
    });

    primary.kill();
    ask(30);
    assert_eq!(gecos(&mosh, "u1"), "two");
    let listed = mosh.sh("getent passwd | grep -c :one:").success().text().to_owned();
    assert_eq!(listed, "39");
    primary.start();
    primary.sql("UPDATE login SET gecos = 'three' WHERE name = 'u1'");
    mosh.wait_until("a change after the primary is back", Duration::from_secs(30), |mosh| gecos(mosh, "u1") == "three");
}

/// Fail-back: once the nearest is used again, the other one may go.
fn back<'m>(
    mosh: &'m Mosh,
    primary: MariaDb<'m>,
    ask: &mut impl FnMut(&str),
    what: &str,
    away: impl Fn(MariaDb<'m>),
    home: impl Fn(MariaDb<'m>),
) {
    let told = |mosh: &Mosh| mosh.journal().matches("answers again").count();
    let lost = mosh.journal().matches("this server of the directory does not answer").count();
    mosh.wait_until("the nearest is back", SOON, |mosh| told(mosh) >= lost);
    away(primary);
    ask(what);
    home(primary);
}

#[test]
fn a_password_file_that_others_may_read_and_plain_tcp_are_refused() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL)");
    mosh.use_mariadb(&[format!("127.0.0.1:{}", db.port())], "");
    mosh.sh("chmod 0644 /etc/identityd/mysql.password").success();
    mosh.daemon().start();
    let loose = mosh.identityctl(["directory", "check"]).failure();
    assert!(loose.stderr.contains("chmod 0640 /etc/identityd/mysql.password"), "{loose}");
    mosh.sh("chmod 0640 /etc/identityd/mysql.password").success();
    let plain = mosh.identityctl(["directory", "check"]).failure().to_string();
    assert!(plain.contains("encrypted") || plain.contains("TLS"), "{plain}");
    assert_eq!(gecos(&mosh, "ana"), "");
}

#[test]
fn the_samples_over_somebody_elses_tables_run_and_a_missing_column_is_named() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let db = mosh.mariadb(1);
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/examples");
    mosh.use_mariadb(&[db.socket()], "");
    let original = mosh.read("/etc/identityd/identityd.toml");
    let root = format!("--socket={}", db.socket());
    for user in ["identityd", "identity_authentication"] {
        let make = format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'test-password'");
        mosh.call(["mariadb", "--no-defaults", &root, "-e", &make]).run().success();
    }
    for (sample, database, login) in [
        ("red", "red", "ana:x:6001:5001:Ana Flores:/home/members/radio/users/ana:/bin/bash"),
        ("froxlor", "froxlor", "web1:x:10000:10000::/var/customers/webs/web1:/bin/bash"),
    ] {
        let tables = std::fs::read_to_string(format!("{top}/{sample}/sample.sql")).unwrap();
        let config = std::fs::read_to_string(format!("{top}/{sample}/identityd.toml")).unwrap();
        mosh.write("/tmp/sample.sql", &tables);
        let make = format!("CREATE DATABASE {database};\nUSE {database};\nSOURCE /tmp/sample.sql");
        mosh.call(["mariadb", "--no-defaults", &root, "-e", &make]).run().success();
        let config = config.replace("/run/mysqld/mysqld.sock", &db.socket());
        let rest = original.split_once("\n[cache]").unwrap().1;
        mosh.write("/etc/identityd/identityd.toml", &format!("{config}\n[cache]{rest}"));
        let checked = mosh.identityctl(["directory", "check"]);
        assert!(checked.status == Some(0), "{checked}");
        mosh.daemon().start();
        let name = login.split(':').next().unwrap();
        // What was published of the directory before stays until this one has been read.
        mosh.wait_until("it is published", SOON, |mosh| mosh.run(["getent", "passwd", name]).text() == login);
        mosh.daemon().stop();
        let broken = config.replace("AS status", "AS state");
        mosh.write("/etc/identityd/identityd.toml", &format!("{broken}\n[cache]{rest}"));
        let checked = mosh.identityctl(["directory", "check"]).exit(1);
        assert!(checked.stdout.contains("no column status in the result"), "{checked}");
    }
}
