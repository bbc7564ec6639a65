//! The database itself refuses what the rules forbid, whoever writes: each statement is what a panel would send, with foreign keys off.

use super::World;

/// Statements that must be refused, each with a part of the message.
const REFUSED: &[(&str, &str)] = &[
    // Names.
    ("INSERT INTO new_login (name) VALUES ('')", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('-rf')", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('a:b')", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('1000')", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('josé')", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('Ana')", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('ana.')", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('ana' || char(10))", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES (CAST(x'616e6100' AS TEXT))", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES (replace(hex(zeroblob(150)), '00', 'aa'))", "name: [a-z_]"),
    ("INSERT INTO new_login (name) VALUES ('root')", "reserved for the system"),
    ("INSERT INTO new_login (name) VALUES ('luz')", "exists: names are unique"),
    (
        "INSERT OR REPLACE INTO login (uid, name, gid, home) VALUES (5001, 'luz', 1000001, '/h/x')",
        "exists: names are unique",
    ),
    ("INSERT OR REPLACE INTO login (uid, name, gid, home) VALUES (1000001, 'x', 1000001, '/h/x')", "uids are unique"),
    ("UPDATE OR REPLACE login SET name = 'eva' WHERE name = 'luz'", "exists: names are unique"),
    ("UPDATE login SET name = 'sudo' WHERE name = 'luz'", "reserved for the system"),
    // Ids.
    ("INSERT INTO login (uid, name, gid, home) VALUES (0, 'x', 1000001, '/h/x')", "login uid: 1000-"),
    ("INSERT INTO login (uid, name, gid, home) VALUES (999, 'x', 1000001, '/h/x')", "login uid: 1000-"),
    ("INSERT INTO login (uid, name, gid, home) VALUES (-1, 'x', 1000001, '/h/x')", "login uid: 1000-"),
    ("INSERT INTO login (uid, name, gid, home) VALUES (60000, 'x', 1000001, '/h/x')", "login uid: 1000-"),
    ("INSERT INTO login (uid, name, gid, home) VALUES (65534, 'x', 1000001, '/h/x')", "login uid: 1000-"),
    ("INSERT INTO login (uid, name, gid, home) VALUES (65535, 'x', 1000001, '/h/x')", "login uid: 1000-"),
    ("INSERT INTO login (uid, name, gid, home) VALUES (2147483648, 'x', 1000001, '/h/x')", "login uid: 1000-"),
    ("INSERT INTO login (uid, name, gid, home) VALUES ('abc', 'x', 1000001, '/h/x')", "datatype mismatch"),
    ("INSERT INTO login (uid, name, gid, home) VALUES (5001, 'x', 77777, '/h/x')", "no group of this gid"),
    ("UPDATE login SET uid = 5001 WHERE name = 'luz'", "uid of a login never changes"),
    ("UPDATE login SET gid = 77777 WHERE name = 'luz'", "no group of this gid"),
    ("UPDATE unix_group SET gid = 5001 WHERE name = 'luz'", "gid of a group never changes"),
    ("INSERT INTO unix_group (gid, name) VALUES (999, 'x')", "group gid: 1000-"),
    ("INSERT INTO unix_group (gid, name) VALUES (65534, 'x')", "group gid: 1000-"),
    ("INSERT INTO unix_group (gid, name) VALUES (5001, 'sudo')", "reserved for the system"),
    ("INSERT INTO unix_group (gid, name) VALUES (5001, 'a:b')", "group name: [a-z_]"),
    ("INSERT INTO unix_group (gid, name) VALUES (1000001, 'x')", "gids are unique"),
    ("INSERT INTO unix_group (gid, name) VALUES (5001, 'luz')", "names are unique"),
    ("INSERT INTO unix_group (gid, name, rule) VALUES (5001, 'x', 'all')", "group rule"),
    // Used ids: gone had 1000003.
    ("INSERT INTO login (uid, name, gid, home) VALUES (1000003, 'x', 1000001, '/h/x')", "uid was used before"),
    ("INSERT INTO unix_group (gid, name) VALUES (1000003, 'x')", "gid was used before"),
    ("DELETE FROM retired_id", "kept for ever"),
    ("UPDATE retired_id SET name = 'x'", "stays as it is"),
    ("UPDATE retired_id SET released = 1, name = 'x'", "stays as it is"),
    // Nor are they given back by an INSERT alone: the same name could be changed afterwards.
    ("INSERT INTO login (uid, name, gid, home) VALUES (1000003, 'gone', 1000001, '/h/x')", "this uid is retired"),
    ("INSERT INTO unix_group (gid, name) VALUES (1000003, 'gone')", "this gid is retired"),
    // Paths.
    ("UPDATE login SET home = '' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = 'home/luz' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/home/../etc' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/..' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/home/./luz' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/home//luz' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/home/luz/' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/home/a:b' WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/home/a' || char(10) WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = CAST(x'2f6100' AS TEXT) WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = '/' || hex(zeroblob(150)) WHERE name = 'luz'", "login home: absolute"),
    ("UPDATE login SET home = NULL WHERE name = 'luz'", "NOT NULL"),
    ("UPDATE login SET shell = 'bash' WHERE name = 'luz'", "login shell: absolute"),
    ("UPDATE login SET shell = '' WHERE name = 'luz'", "login shell: absolute"),
    // Text.
    ("UPDATE login SET gecos = 'a:b' WHERE name = 'luz'", "login gecos"),
    ("UPDATE login SET gecos = 'a' || char(10) WHERE name = 'luz'", "login gecos"),
    ("UPDATE login SET gecos = 'a' || char(133) WHERE name = 'luz'", "login gecos"),
    ("UPDATE login SET gecos = CAST(x'610062' AS TEXT) WHERE name = 'luz'", "login gecos"),
    ("UPDATE login SET gecos = hex(zeroblob(128)) WHERE name = 'luz'", "login gecos"),
    ("UPDATE login SET status = 'gone' WHERE name = 'luz'", "login status"),
    // Hashes.
    ("UPDATE login SET password_hash = '' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = 'hello' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$6$a:b' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$6$a b' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$6$a' || char(10) WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$6$aé' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$6$a!' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$6$a\\b' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$9$a' WHERE name = 'luz'", "login password_hash"),
    ("UPDATE login SET password_hash = '$6$' || hex(zeroblob(191)) WHERE name = 'luz'", "login password_hash"),
    // Aging.
    ("UPDATE login SET last_change = -1 WHERE name = 'luz'", "login last_change"),
    ("UPDATE login SET expires = 2932897 WHERE name = 'luz'", "login last_change"),
    ("UPDATE login SET max_days = -1 WHERE name = 'luz'", "login min_days"),
    ("UPDATE login SET max_days = 'never' WHERE name = 'luz'", "cannot store TEXT"),
    // What belongs together.
    ("UPDATE login SET membership_id = 77 WHERE name = 'luz'", "no membership of this id"),
    ("DELETE FROM membership WHERE name = 'radio'", "logins belong to this membership"),
    ("INSERT OR REPLACE INTO membership (id, name) VALUES (1, 'other')", "names are unique"),
    ("INSERT INTO membership (name) VALUES ('Radio')", "membership name"),
    ("DELETE FROM unix_group WHERE name = 'luz'", "primary group"),
    ("INSERT INTO group_member (gid, uid) VALUES (1000000, 1000001)", "a rule derives the members"),
    ("DELETE FROM unix_group WHERE name = 'sftp-only'", "sshd confines the members"),
    ("UPDATE unix_group SET name = 'sftp' WHERE name = 'sftp-only'", "sshd confines the members"),
    ("INSERT INTO group_member (gid, uid) VALUES (77777, 1000001)", "no group of this gid"),
    ("INSERT INTO group_member (gid, uid) VALUES (1000001, 77777)", "no login of this uid"),
    ("INSERT INTO login_capability (uid, capability) VALUES (77777, 'mail')", "no login of this uid"),
    ("INSERT INTO login_capability (uid, capability) VALUES (1000001, 'Mail')", "capability: [a-z]"),
    ("INSERT INTO login_capability (uid, capability) VALUES (1000001, 'a,b')", "capability: [a-z]"),
    ("INSERT INTO login_capability (uid, capability) VALUES (1000001, '')", "capability: [a-z]"),
    (
        "INSERT INTO ssh_key (uid, line, fingerprint) VALUES (1000001, 'a' || char(10) || 'b', 'SHA256:' || substr(hex(zeroblob(30)), 1, 43))",
        "ssh_key line",
    ),
    (
        "INSERT INTO ssh_key (uid, line, fingerprint) VALUES (1000001, 'ssh-ed25519 AAAA', 'MD5:00')",
        "ssh_key fingerprint",
    ),
    (
        "INSERT INTO ssh_key (uid, line, fingerprint) VALUES (77777, 'ssh-ed25519 AAAA', 'SHA256:' || substr(hex(zeroblob(30)), 1, 43))",
        "no login of this uid",
    ),
];

async fn peopled() -> World {
    let world = World::new().await;
    let made = "INSERT INTO membership (name) VALUES ('radio'); \
        INSERT INTO new_login (name, membership_id) VALUES ('luz', 1); \
        INSERT INTO new_login (name) VALUES ('eva'); \
        INSERT INTO new_login (name) VALUES ('gone'); \
        DELETE FROM login WHERE name = 'gone';";
    world.sql(made).await.unwrap();
    world
}

#[tokio::test]
async fn each_forbidden_statement_is_refused_with_its_rule() {
    let world = peopled().await;
    let before = world.ask("SELECT generation || '' FROM directory").await;
    let mut wrong = Vec::new();
    for (statement, part) in REFUSED {
        let refusal = world.sql(statement).await;
        if !refusal.as_ref().is_err_and(|text| text.contains(part)) {
            wrong.push(format!("{statement}: {refusal:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        world.ask("SELECT generation || '' FROM directory").await,
        before,
        "a refused statement leaves no trace"
    );
}

#[tokio::test]
async fn what_a_panel_does_with_plain_sql_is_done_right() {
    let world = peopled().await;
    world
        .sql("INSERT INTO login_capability (uid, capability) SELECT uid, 'sftp' FROM login WHERE name = 'luz'")
        .await
        .unwrap();
    world.sql("INSERT INTO unix_group (gid, name) SELECT id, 'web' FROM next_id").await.unwrap();
    world
        .sql("INSERT INTO group_member (gid, uid) SELECT g.gid, l.uid FROM unix_group g, login l WHERE g.name = 'web'")
        .await
        .unwrap();
    world.sql("UPDATE login SET name = 'lucia' WHERE name = 'luz'").await.unwrap();
    world.sql("DELETE FROM login WHERE name = 'lucia'").await.unwrap();
    let left = "SELECT (SELECT count(*) FROM login_capability) || ' ' || (SELECT count(*) FROM group_member) || ' ' \
        || (SELECT group_concat(kind || ' ' || name) FROM retired_id WHERE id = 1000001)";
    assert_eq!(world.ask(left).await, "0 1 group lucia,login lucia");
    assert_eq!(world.ask("SELECT count(*) || '' FROM pragma_foreign_key_check").await, "0");
}

#[tokio::test]
async fn a_login_has_a_hundred_keys_and_no_more() {
    let world = peopled().await;
    let key = |number: u32| {
        format!(
            "INSERT INTO ssh_key (uid, line, fingerprint) VALUES (1000001, 'ssh-ed25519 AAAA', 'SHA256:{number:043}')"
        )
    };
    for number in 0..100 {
        world.sql(&key(number)).await.unwrap();
    }
    let refusal = world.sql(&key(100)).await.unwrap_err();
    assert!(refusal.contains("the login has 100 keys: remove one first"), "{refusal}");
    world.sql("DELETE FROM ssh_key WHERE id = 1").await.unwrap();
    world.sql(&key(100)).await.unwrap();
}
