//! What the tables of MariaDB refuse, whoever writes: least privilege, triggers, ids that come once.

use tests::{Mosh, boot};

/// A machine with a primary that has the schema; identityd does not run yet.
macro_rules! scene {
    ($mosh:ident, $db:ident) => {
        let $mosh = boot!(Mosh::builder().without_daemon());
        let $db = $mosh.mariadb(1);
        $db.apply_schema();
    };
}

#[test]
fn each_user_is_refused_what_it_must_not_do() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', 'Ana', NULL, '$6$salt$hash', NULL)");
    for (user, text) in [
        ("identityd", "SELECT password_hash FROM login"),
        ("identityd", "SELECT * FROM login"),
        ("identityd", "CALL password_hash('ana')"),
        ("identityd", "UPDATE login SET gecos = 'x'"),
        ("identityd", "CALL fleet_forget('web1')"),
        ("identityd", "DELETE FROM touched"),
        ("identityd", "INSERT INTO `change` VALUES (99, 1, 'login', 'x', 5)"),
        ("identity_authentication", "SELECT uid FROM login"),
        ("identity_authentication", "SELECT password_hash FROM login"),
        ("identity_authentication", "SELECT name FROM unix_group"),
        ("identity_authentication", "CALL number_changes()"),
        ("identity_authentication", "CALL reset_password('ana', '$6$salt$new', 20000)"),
        ("identity_panel", "SELECT password_hash FROM login"),
        ("identity_panel", "DELETE FROM retired_id"),
        ("identity_panel", "UPDATE retired_id SET released = 1"),
        ("identity_panel", "INSERT INTO `change` VALUES (99, 1, 'login', 'x', 5)"),
        ("identity_panel", "DELETE FROM touched"),
        ("identity_panel", "UPDATE directory SET generation = 0"),
        ("identity_panel", "DELETE FROM reserved_name"),
        ("identity_panel", "CALL password_hash('ana')"),
        ("identity_panel", "DROP TABLE ssh_key"),
        ("identity_admin", "DROP TABLE ssh_key"),
        ("identity_owner", "SELECT 1"),
    ] {
        let refused = db.sql_as(user, text).failure();
        assert!(refused.stderr.contains("denied") || refused.stderr.contains("locked"), "{user}: {text}: {refused}");
    }
    assert_eq!(db.sql_as("identity_authentication", "CALL password_hash('ana')").success().text(), "$6$salt$hash");
    db.sql_as("identity_authentication", "CALL set_password('ana', '$6$other$hash', '$6$salt$new', 20000)").success();
    assert_eq!(db.sql("SELECT password_hash FROM login"), "$6$salt$hash");
    db.sql_as("identity_authentication", "CALL set_password('ana', '$6$salt$hash', '$6$salt$new', 20000)").success();
    assert_eq!(db.sql("SELECT password_hash, last_change FROM login"), "$6$salt$new\t20000");
    db.sql_as("identityd", "CALL number_changes()").success();
    db.sql_as("identity_panel", "UPDATE login SET password_hash = '*' WHERE name = 'ana'").success();
}

#[test]
fn what_the_rules_forbid_is_refused_in_words() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL); CALL new_login('eve', NULL, NULL, NULL, NULL); DELETE FROM login WHERE name = 'eve'");
    let insert = "INSERT INTO login (uid, name, gid, home) VALUES";
    for (text, words) in [
        (format!("{insert} (5000, 'a:b', 1000001, '/home/x')"), "login name: [a-z_]"),
        (format!("{insert} (5000, '1000', 1000001, '/home/x')"), "login name"),
        (format!("SET sql_mode = ''; {insert} (5000, '{}', 1000001, '/home/x')", "a".repeat(50)), "login name"),
        (format!("{insert} (5000, 'bea', 1000001, '/home/../etc')"), "login home: absolute, plain"),
        (format!("{insert} (5000, 'ana', 1000001, '/home/x')"), "a login of this name exists: names are unique"),
        (format!("{insert} (5000, 'bea', 4711, '/home/x')"), "there is no group of this gid"),
        (format!("{insert} (999, 'bea', 1000001, '/home/x')"), "login uid: 1000-2147483647"),
        (format!("{insert} (65534, 'bea', 1000001, '/home/x')"), "login uid: 1000-2147483647"),
        (format!("{insert} (1000002, 'bea', 1000001, '/home/x')"), "ids are never given out again"),
        (
            format!("{insert} (1000002, 'eve', 1000001, '/home/x')"),
            "this uid is retired: an administrator gives it back",
        ),
        ("INSERT INTO unix_group (gid, name) VALUES (1000002, 'eve')".into(), "this gid is retired"),
        ("UPDATE retired_id SET released = 1, name = 'ana'".into(), "a retired id stays as it is"),
        (format!("{insert} (5000, 'root', 1000001, '/home/x')"), "reserved for the system"),
        ("UPDATE login SET uid = 5000 WHERE name = 'ana'".into(), "the uid of a login never changes"),
        ("UPDATE login SET password_hash = '' WHERE name = 'ana'".into(), "login password_hash: a hash of crypt(5)"),
        ("UPDATE login SET gecos = 'a:b' WHERE name = 'ana'".into(), "login gecos"),
        ("UPDATE login SET status = 'gone' WHERE name = 'ana'".into(), "login status: active or locked"),
        ("DELETE FROM retired_id".into(), "a retired id is kept for ever"),
        ("DELETE FROM unix_group WHERE name = 'ana'".into(), "logins have this as their primary group"),
        ("INSERT INTO group_member VALUES (1000000, 1000001)".into(), "a rule derives the members"),
        ("DELETE FROM unix_group WHERE name = 'sftp-only'".into(), "sshd confines the members"),
        ("START TRANSACTION; UPDATE login SET gecos = 'x'; CALL number_changes()".into(), "transaction"),
    ] {
        let refused = db.try_sql(&text).failure();
        assert!(refused.stderr.contains(words), "{text}: {refused}");
    }
}

#[test]
fn a_session_without_foreign_keys_and_checks_plants_nothing() {
    scene!(mosh, db);
    db.sql("CALL new_login('ana', NULL, NULL, NULL, NULL); CALL new_login('eve', NULL, NULL, NULL, NULL); DELETE FROM login WHERE name = 'eve'");
    let key = "INTO ssh_key (uid, line, fingerprint) VALUES (1000003, 'ssh-ed25519 AAAA', concat('SHA256:', repeat('a', 43)))";
    let login = "INSERT INTO login (uid, name, gid, home, membership_id) VALUES";
    let no_login = "there is no login of this uid";
    for (text, words) in [
        (format!("INSERT {key}"), no_login),
        (format!("INSERT IGNORE {key}"), no_login),
        (format!("REPLACE {key}"), no_login),
        ("INSERT INTO login_capability VALUES (1000003, 'shell')".into(), no_login),
        ("INSERT INTO group_member VALUES (1000001, 1000003)".into(), no_login),
        ("INSERT INTO group_member VALUES (1000002, 1000001)".into(), "there is no group of this gid"),
        (format!("{login} (5000, 'bea', 1000002, '/home/bea', NULL)"), "there is no group of this gid"),
        (format!("{login} (5000, 'bea', 4711, '/home/bea', NULL)"), "there is no group of this gid"),
        (format!("{login} (5000, 'bea', 1000001, '/home/bea', 9)"), "there is no such membership"),
        (format!("{login} (0, 'bea', 1000001, '/home/bea', NULL)"), "login uid: 1000-2147483647"),
        (format!("{login} (NULL, 'bea', 1000001, '/home/bea', NULL)"), "login uid: 1000-2147483647"),
        (format!("{login} (5000, 'a:b', 1000001, '/home/bea', NULL)"), "login name: [a-z_]"),
        ("UPDATE login SET gid = 1000002".into(), "there is no group of this gid"),
        ("UPDATE login SET gid = NULL".into(), "there is no group of this gid"),
        ("UPDATE login SET uid = NULL".into(), "the uid of a login never changes"),
        ("UPDATE login SET name = 'a:b'".into(), "login name: [a-z_]"),
        ("UPDATE login SET membership_id = 9".into(), "there is no such membership"),
        ("INSERT INTO unix_group (gid, name) VALUES (27, 'bea')".into(), "group gid: 1000-2147483647"),
        ("INSERT INTO unix_group (gid, name) VALUES (5000, 'a:b')".into(), "group name: [a-z_]"),
        ("UPDATE unix_group SET name = 'a:b' WHERE name = 'ana'".into(), "group name: [a-z_]"),
    ] {
        let off = "SET SESSION foreign_key_checks = 0, check_constraint_checks = 0, sql_mode = ''";
        let refused = db.sql_as("identity_panel", &format!("{off}; {text}")).failure();
        assert!(refused.stderr.contains(words), "{text}: {refused}");
    }
    let rows = "SELECT (SELECT count(*) FROM ssh_key), (SELECT count(*) FROM login_capability), (SELECT count(*) FROM group_member), (SELECT count(*) FROM login)";
    assert_eq!(db.sql(rows), "0\t0\t0\t1");

    // What is there from before the triggers asked is counted, and no login gets it.
    db.sql(&format!("SET SESSION foreign_key_checks = 0; DROP TRIGGER ssh_key_insert; INSERT {key}"));
    mosh.use_mariadb(&[db.socket()], "");
    db.sql("CREATE USER boss@'%' IDENTIFIED BY 'test-password'; GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION");
    let check = ["schema", "check", "--user", "boss", "--password-file", "/etc/identityd/mysql-admin.password"];
    let found = mosh.identityctl(check).exit(1);
    assert!(found.text().contains("ssh_key has 1 rows"), "{found}");
    let refused = db.sql_as("identity_panel", "CALL new_login('bea', NULL, NULL, NULL, NULL)").failure();
    assert!(refused.stderr.contains("wait for this uid without a login"), "{refused}");
}

#[test]
fn the_counter_of_ids_goes_one_by_one_and_can_be_set_back() {
    scene!(mosh, db);
    for setting in ["auto_increment_increment = 65535", "insert_id = 2147483000"] {
        let refused = db.sql_as("identity_panel", &format!("SET SESSION {setting}; CALL fresh_id()")).failure();
        assert!(refused.stderr.contains("ids are given out one by one"), "{setting}: {refused}");
    }
    // As many servers of a cluster.
    db.sql_as("identity_panel", "SET SESSION auto_increment_increment = 3; CALL fresh_id()").success();
    db.sql("INSERT INTO fresh_id VALUES (2147483647)");
    let refused = db.sql_as("identity_panel", "CALL fresh_id()").failure();
    assert!(refused.stderr.contains("no id is left"), "{refused}");
    db.sql("DELETE FROM fresh_id WHERE id >= 1002000; ALTER TABLE fresh_id AUTO_INCREMENT = 1002000");
    assert_eq!(db.sql_as("identity_panel", "CALL fresh_id()").success().text(), "1002000");
}

#[test]
fn a_server_changes_only_passwords_that_their_owners_know() {
    scene!(mosh, db);
    for (name, hash) in [("ana", "$6$salt$ana"), ("bea", "!$6$salt$bea"), ("cleo", "*"), ("dana", "$6$salt$dana")] {
        db.sql(&format!("CALL new_login('{name}', NULL, NULL, '{hash}', NULL)"));
    }
    db.sql("UPDATE login SET status = 'locked' WHERE name = 'dana'");
    let call = |text: &str| db.sql_as("identity_authentication", text);
    for (name, old, words) in [
        ("ana", "NULL", "the old password is missing"),
        ("bea", "'!$6$salt$bea'", "locked or has no password"),
        ("cleo", "'*'", "locked or has no password"),
        ("dana", "'$6$salt$dana'", "locked or has no password"),
    ] {
        let refused = call(&format!("CALL set_password('{name}', {old}, '$6$salt$new', 20000)")).failure();
        assert!(refused.stderr.contains(words), "{name}: {refused}");
    }
    // Root's reset is a right of its own, and does not unlock either.
    db.sql("GRANT EXECUTE ON PROCEDURE reset_password TO 'identity_authentication'@'%'");
    assert_eq!(call("CALL reset_password('cleo', '$6$salt$new', 20000)").success().text(), "1\t1");
    assert_eq!(call("CALL reset_password('nobody-here', '$6$salt$new', 20000)").success().text(), "0\t0");
    let refused = call("CALL reset_password('bea', '$6$salt$new', 20000)").failure();
    assert!(refused.stderr.contains("locked with !"), "{refused}");
    assert_eq!(
        db.sql("SELECT password_hash FROM login ORDER BY name"),
        "$6$salt$ana\n!$6$salt$bea\n$6$salt$new\n$6$salt$dana"
    );
}

#[test]
fn a_retired_id_comes_back_by_the_administrator_and_a_login_has_a_hundred_keys() {
    scene!(mosh, db);
    mosh.use_mariadb(&[db.socket()], "");
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL); DELETE FROM login WHERE name = 'ana'");
    let taken = db.sql_as("identity_panel", "INSERT INTO unix_group (gid, name) VALUES (1000001, 'ana')").failure();
    assert!(taken.stderr.contains("this gid is retired"), "{taken}");
    mosh.identityctl(["login", "restore", "ana"]).success();
    assert_eq!(db.sql("SELECT uid, gid FROM login WHERE name = 'ana'"), "1000001\t1000001");
    assert_eq!(db.sql("SELECT count(*) FROM retired_id"), "0");
    let key = "INSERT INTO ssh_key (uid, line, fingerprint) SELECT 1000001, 'ssh-ed25519 AAAA', concat('SHA256:', lpad(seq, 43, '0')) FROM";
    db.sql(&format!("{key} seq_1_to_100"));
    let refused = db.try_sql(&format!("{key} seq_101_to_101")).failure();
    assert!(refused.stderr.contains("the login has 100 keys: remove one first"), "{refused}");
}
