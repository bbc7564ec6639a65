//! Names with capital letters in LDAP, which compares without regard to them: quarantined, or with `case = "fold"` served in small letters.

use std::time::Duration;

use tests::mosh::{LdapLogin, group_ldif};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);

/// Ana and Ben with capitals, a group with one, and two entries that are both called cora but for a capital.
fn world() -> String {
    let created = |year: u32| format!("createTimestamp: {year}0101000000Z");
    let second = LdapLogin::new("Cora", 20_004).line(&created(2021)).ldif();
    [
        LdapLogin::new("Ana", 20_001).capability("shell").password("secret of ana").ldif(),
        LdapLogin::new("Ben", 20_002).capability("sftp").ldif(),
        LdapLogin::new("cora", 20_003).capability("shell").line(&created(2020)).ldif(),
        second.replace("dn: uid=Cora,", "dn: cn=Name of Cora,"),
        LdapLogin::new("small", 20_005).capability("shell").ldif(),
        group_ldif("Radio", 21_000, &["memberUid: ANA", "member: uid=Ben,ou=logins,dc=example,dc=org"]),
        group_ldif("both", 21_001, &["memberUid: Cora"]),
    ]
    .concat()
}

fn get(mosh: &Mosh, map: &str, key: &str) -> String {
    mosh.run(["getent", map, key]).text().to_owned()
}

/// The same for who is there. Over the socket the 200 ms of a look-up may be over on a busy machine before the server has answered; the next one has it.
fn found(mosh: &Mosh, map: &str, key: &str) -> String {
    let mut answer = String::new();
    mosh.wait_until(&format!("{map} {key} is answered"), SOON, |mosh| {
        answer = get(mosh, map, key);
        !answer.is_empty()
    });
    answer
}

fn is_in(mosh: &Mosh, login: &str, groups: &str) {
    mosh.wait_until(&format!("{login} is in {groups}"), SOON, |mosh| mosh.run(["id", "-G", login]).text() == groups);
}

fn start(mosh: &Mosh, mode: &str, more: &str) {
    mosh.ldap_directory(&["ldap://localhost:1389".into()], more);
    mosh.configure("snapshot", &format!("mode = \"{mode}\""));
    mosh.daemon().start();
    mosh.wait_until("the directory answers", SOON, |mosh| !get(mosh, "passwd", "small").is_empty());
}

fn folded(mode: &str) {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    start(&mosh, mode, "case = \"fold\"");
    assert_eq!(found(&mosh, "passwd", "ana"), "ana:x:20001:20001:Name of Ana:/home/members/users/Ana:/bin/bash");
    assert_eq!(found(&mosh, "passwd", "20002").split(':').next(), Some("ben"));
    assert_eq!(found(&mosh, "group", "radio"), "radio:x:21000:ana,ben");
    is_in(&mosh, "ana", "20001 21000");
    is_in(&mosh, "ben", "20002 21000 1000000");
    // The small name alone: two names for one login would be two mailboxes, two lines of sudoers.
    mosh.run(["getent", "passwd", "Ana"]).exit(2);
    mosh.run(["getent", "group", "Radio"]).exit(2);
    // Of two that become one name the first keeps it; nobody ever gets the other one's uid.
    assert_eq!(found(&mosh, "passwd", "cora").split(':').nth(2), Some("20003"));
    mosh.run(["getent", "passwd", "20004"]).exit(2);
    assert_eq!(found(&mosh, "group", "both"), "both:x:21001:cora");
    mosh.wait_until("the second cora is named with its reason", SOON, |mosh| {
        mosh.journal().contains("the name belongs to uid 20003, which was there first")
    });
    mosh.call(["pamtester", "sshd", "ana", "authenticate"]).stdin("secret of ana\n").run().success();
    // Other capitals are no other name.
    slapd
        .modify("dn: uid=Ana,ou=logins,dc=example,dc=org\nchangetype: modrdn\nnewrdn: uid=aNA\ndeleteoldrdn: 1\n")
        .success();
    slapd
        .modify(
            "dn: uid=aNA,ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: loginShell\nloginShell: /bin/sh\n",
        )
        .success();
    mosh.wait_until("a change after that is seen", SOON, |mosh| get(mosh, "passwd", "ana").ends_with(":/bin/sh"));
    assert_eq!(found(&mosh, "group", "radio"), "radio:x:21000:ana,ben");
}

#[test]
fn with_fold_they_are_served_in_small_letters_from_the_snapshot() {
    folded("replica");
}

#[test]
fn with_fold_they_are_served_in_small_letters_by_the_socket() {
    folded("lookup");
}

#[test]
fn otherwise_they_are_quarantined() {
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.slapd(&world());
    start(&mosh, "replica", "");
    for absent in ["ana", "Ana", "ben", "Cora", "20001", "20004"] {
        mosh.run(["getent", "passwd", absent]).exit(2);
    }
    assert_eq!(get(&mosh, "passwd", "cora").split(':').nth(2), Some("20003"));
    for name in ["Ana", "Ben", "Cora", "Radio"] {
        mosh.wait_until(&format!("status names {name}"), SOON, |mosh| {
            mosh.identityctl(["--json", "status"]).stdout.contains(&format!("\"name\": \"{name}\""))
        });
    }
}
