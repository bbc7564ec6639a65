//! MariaDB as docs/mysql.md sets it up: the rights that make the tables, and what is said of a replica that can be written.

use std::time::Duration;

use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(30);
const PAGE: &str = include_str!("../../docs/mysql.md");

/// The statements of the page that give an account its rights, with the password of tests.
fn rights() -> String {
    let lines = PAGE.lines().map(str::trim).filter(|line| line.contains("'boss'@'%'"));
    lines.map(|line| line.replace("'…' REQUIRE SSL", "'test-password'") + "\n").collect()
}

#[test]
fn the_rights_of_the_page_are_enough_to_apply_the_schema() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let db = mosh.mariadb(1);
    mosh.use_mariadb(&[format!("127.0.0.1:{}", db.port())], "plaintext = true");
    let socket = format!("--socket={}", db.socket());
    assert_eq!(rights().matches("GRANT").count(), 3, "two statements, one of them WITH GRANT OPTION: {}", rights());
    mosh.call(["mariadb", "--no-defaults", &socket, "-e", &rights()]).run().success();
    let arguments = ["--user", "boss", "--password-file", "/etc/identityd/mysql-admin.password"];
    mosh.identityctl(["schema", "apply"].into_iter().chain(arguments)).success();
    mosh.identityctl(["schema", "check"].into_iter().chain(arguments)).success();
    for account in ["identity_panel", "identity_admin", "identityd", "identity_authentication"] {
        db.sql(&format!("ALTER USER '{account}'@'%' IDENTIFIED BY 'test-password' ACCOUNT UNLOCK"));
    }
    db.sql_as("identity_panel", "CALL new_login('ana', 'Ana', NULL, NULL, NULL); CALL number_changes()").success();
    // One right less, and it says where they are listed; a server without a binary log, or with this setting, does without it.
    let root = |text: &str| mosh.call(["mariadb", "--no-defaults", &socket, "-e", text]).run().success();
    root("DROP DATABASE identity; REVOKE SUPER ON *.* FROM 'boss'@'%'");
    let refused = mosh.identityctl(["schema", "apply"].into_iter().chain(arguments)).failure();
    assert!(refused.stderr.contains("SUPER") && refused.stderr.contains("docs/mysql.md"), "{refused}");
    root("DROP DATABASE identity; SET GLOBAL log_bin_trust_function_creators = 1");
    mosh.identityctl(["schema", "apply"].into_iter().chain(arguments)).success();
}

#[test]
fn a_replica_that_can_be_written_is_named_by_each_check() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let primary = mosh.mariadb(1);
    primary.apply_schema();
    let replica = mosh.mariadb(2);
    replica.follow(primary);
    primary.sql("CALL new_login('ana', 'Ana', NULL, '*', NULL); CALL number_changes()");
    mosh.wait_until("the replica has all", SOON, |_| {
        replica.try_sql("SELECT count(*) FROM login").stdout.trim() == "1"
    });
    // The first server twice, by its socket and by its address: that is one.
    let servers = [primary.socket(), replica.socket(), format!("127.0.0.1:{}", primary.port())];
    mosh.use_mariadb(&servers, "plaintext = true");
    mosh.daemon().start();
    let checks: [&[&str]; 3] = [&["directory", "check"], &["schema", "check"], &["doctor"]];
    let said = |what: &str| checks.map(|check| mosh.identityctl(check.iter().copied()).stdout.contains(what));
    let names = format!("{} and {} can be written (read_only is 0)", primary.socket(), replica.socket());
    assert_eq!(said("can be written (read_only is 0)"), [false; 3]);
    let doctor = mosh.identityctl(["doctor"]);
    assert!(doctor.stdout.contains("not more than one can be written"), "{doctor}");
    replica.sql("SET GLOBAL read_only = 0");
    assert_eq!(said(&names), [true; 3]);
    mosh.identityctl(["directory", "check"]).exit(1);
    mosh.identityctl(["schema", "check"]).exit(1);
    // A host where no administrator writes has no such password, and doctor asks for none.
    mosh.sh("rm /etc/identityd/mysql-admin.password").success();
    replica.sql("SET GLOBAL read_only = 1");
    let doctor = mosh.identityctl(["doctor"]);
    assert!(doctor.stdout.contains("not more than one can be written"), "{doctor}");
    assert!(!doctor.stdout.contains("mysql-admin.password"), "{doctor}");
}
