//! Passwords in LDAP: what slapd's policy says, and what a person reads of it.

use std::time::Duration;

use tests::administrator::with_stdin;
use tests::mosh::{Auth, LdapLogin, Slapd};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);

fn ana() -> LdapLogin {
    LdapLogin::new("ana", 20_001).capability("shell").password("secret of ana")
}

fn start(mosh: &Mosh, slapd: Slapd<'_>, more: &str) {
    mosh.ldap_directory(&[slapd.url()], more);
    mosh.daemon().start();
    mosh.wait_until("identityd has seen the directory", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

/// A conversation in which a password that must be changed is changed.
fn change(mosh: &Mosh, old: &str, new: &str) -> tests::mosh::Output {
    mosh.expect_as(
        "ana",
        &format!(
            "spawn passwd
             want {{assword:}}; send \"{old}\\r\"
             want {{assword:}}; send \"{new}\\r\"
             want {{assword:}}; send \"{new}\\r\"
             finish"
        ),
    )
}

#[test]
fn a_password_that_must_be_changed_is_changed_once() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&ana().ldif());
    start(&mosh, slapd, "");
    with_stdin(&mosh, "login passwd ana --stdin --must-change", "temporary one\n").success();
    let stored = slapd.stored("(uid=ana)");
    assert!(stored.contains("shadowLastChange: 0\n") && stored.contains("pwdReset: TRUE\n"), "{stored}");
    let asked = |mosh: &Mosh| mosh.identityctl(["why", "ana", "sshd"]).stdout.contains("NEW_AUTHTOK");
    mosh.wait_until("it has to be changed", SOON, asked);
    change(&mosh, "temporary one", "a better one 7").success();
    mosh.wait_until("it has not to be changed again", SOON, |mosh| !asked(mosh));
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("ana", Auth::Password("a better one 7"), "id -un").success().text(), "ana");
    assert!(!mosh.journal().contains("is not up to date"), "{}", mosh.journal());
}

#[test]
fn root_of_a_host_is_told_where_passwords_are_reset_unless_the_server_lets_identityd() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&ana().ldif());
    start(&mosh, slapd, "");
    let reset = |mosh: &Mosh, then: &str| {
        mosh.expect(&format!(
            "spawn passwd ana
             want {{assword:}}; send \"given by root\\r\"
             want {{assword:}}; send \"given by root\\r\"
             {then}"
        ))
    };
    reset(&mosh, "want {run identityctl login passwd}; want {assword:}; send \"\\003\"").success();
    let sshd = mosh.sshd(&[]);
    sshd.ssh("ana", Auth::Password("secret of ana"), "true").success();
    slapd
        .modify("dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nadd: olcAccess\nolcAccess: {0}to attrs=userPassword by dn.exact=\"cn=identityd,ou=services,dc=example,dc=org\" =xw by * break\n")
        .success();
    reset(&mosh, "finish").success();
    sshd.ssh("ana", Auth::Password("given by root"), "true").success();
}
