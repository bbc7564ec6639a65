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

#[test]
fn a_password_policy_locks_asks_for_a_change_and_takes_one() {
    let ben = LdapLogin::new("ben", 20_002).capability("sftp").password("secret of ben").ldif();
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&[ana().ldif(), ben].concat());
    slapd.modify("dn: cn=default,ou=policies,dc=example,dc=org\nchangetype: modify\nreplace: pwdMaxFailure\npwdMaxFailure: 2\n").success();
    start(&mosh, slapd, "");
    let sshd = mosh.sshd(&[]);
    for _ in 0..2 {
        sshd.ssh("ben", Auth::Password("wrong"), "true").exit(255);
    }
    // Right, but locked.
    sshd.ssh("ben", Auth::Password("secret of ben"), "true").exit(255);
    assert!(mosh.journal().contains("password policy has locked the login"), "{}", mosh.journal());

    slapd
        .modify("dn: uid=ana,ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: userPassword\nuserPassword: temporary-one\n")
        .success();
    slapd
        .modify("dn: uid=ana,ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE\n")
        .success();
    mosh.wait_until("the login has to change its password", SOON, |mosh| {
        mosh.run(["pamtester", "sshd", "ana", "acct_mgmt"]).stderr.contains("required")
            || mosh.run(["identityctl", "why", "ana", "sshd"]).stdout.contains("NEW_AUTHTOK")
    });
    change(&mosh, "temporary-one", "a better one 7").success();
    assert_eq!(sshd.ssh("ana", Auth::Password("a better one 7"), "id -un").success().text(), "ana");
}

/// The policy of all logins, and a password from now on.
fn policy(slapd: Slapd<'_>, lines: &str) {
    let changes: String = lines
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a name and a value");
            format!("replace: {name}\n{name}: {value}\n-\n")
        })
        .collect();
    slapd.modify(&format!("dn: cn=default,ou=policies,dc=example,dc=org\nchangetype: modify\n{changes}")).success();
    // Set by somebody else it would have to be changed first.
    for change in ["replace: userPassword\nuserPassword: secret of ana\n", "delete: pwdReset\n"] {
        slapd.modify(&format!("dn: {}\nchangetype: modify\n{change}", LdapLogin::dn("ana"))).success();
    }
}

/// Somebody else becomes ana with her password; then these words of expect.
fn su(mosh: &Mosh, then: &str) -> tests::mosh::Output {
    mosh.expect(&format!(
        "spawn su games -s /bin/sh -c {{su - ana -c whoami}}; want {{assword:}}; send \"secret of ana\\r\"; {then}"
    ))
}

#[test]
fn a_person_reads_that_its_password_ends_soon() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&ana().ldif());
    policy(slapd, "pwdMaxAge: 864000\npwdExpireWarning: 863999");
    start(&mosh, slapd, "");
    // From its second second on.
    mosh.wait_until("su says so", SOON, |mosh| {
        su(mosh, "want {Your password ends in 9 days}; want {ana}; finish").ok()
    });
    mosh.sshd(&["KbdInteractiveAuthentication yes"]);
    mosh.expect(
        "spawn ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PreferredAuthentications=keyboard-interactive ana@127.0.0.1 whoami
         want {assword:}; send \"secret of ana\\r\"; want {Your password ends in 9 days}; want {ana}; finish",
    )
    .success();
}

#[test]
fn a_password_that_has_ended_is_taken_for_a_change_and_then_no_more() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&ana().ldif());
    policy(slapd, "pwdMaxAge: 1\npwdGraceAuthNLimit: 9");
    start(&mosh, slapd, "");
    let binds = |slapd: Slapd<'_>| slapd.stored("(uid=ana)").matches("pwdGraceUseTime:").count();
    mosh.wait_until("it has ended", SOON, |mosh| {
        let tried = mosh.call(["pamtester", "-v", "sshd", "ana", "authenticate"]).stdin("secret of ana\n").run();
        tried.ok() && binds(slapd) > 0
    });
    // Whoever comes in is told how often it is still taken, and changes it at once. Four of the times go: at the prompt, when the old one is asked for, and twice for the change.
    let left = format!("it will be taken {} more times. Change it now", 8 - binds(slapd));
    su(
        &mosh,
        &format!(
            "want {{{left}}}
             want {{assword:}}; send \"secret of ana\\r\"
             want {{assword:}}; send \"a better one 7\\r\"
             want {{assword:}}; send \"a better one 7\\r\"
             want {{ana}}; finish"
        ),
    )
    .success();
    // None left.
    policy(slapd, "pwdGraceAuthNLimit: 0");
    mosh.wait_until("it has ended for good", SOON, |mosh| {
        su(mosh, "want {Your password has ended. Ask an administrator}; finish").status == Some(1)
    });
    assert!(mosh.journal().contains("the password has ended"), "{}", mosh.journal());
}

#[test]
fn a_password_is_changed_as_a_hash_that_is_made_here() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&ana().ldif());
    start(&mosh, slapd, "password_change = \"attribute\"");
    change(&mosh, "secret of ana", "a better one 7").success();
    // `{CRYPT}$y$` in base64.
    assert!(slapd.stored("(uid=ana)").contains("userPassword:: e0NSWVBUfSR5J"), "{}", slapd.stored("(uid=ana)"));
    let sshd = mosh.sshd(&[]);
    sshd.ssh("ana", Auth::Password("a better one 7"), "true").success();
    sshd.ssh("ana", Auth::Password("secret of ana"), "true").exit(255);
}

/// What is stored as the password of an account, out of its base64.
fn stored_hash(mosh: &Mosh, slapd: Slapd<'_>, filter: &str) -> String {
    let stored = slapd.stored(filter);
    let value = stored.lines().find_map(|line| line.strip_prefix("userPassword:: ")).expect("a password");
    mosh.call(["base64", "-d"]).stdin(value).run().success().stdout
}

/// Somebody writes with a password, as ldapmodify does.
fn writes(mosh: &Mosh, slapd: Slapd<'_>, dn: &str, password: &str, ldif: &str) -> tests::mosh::Output {
    mosh.call(["ldapmodify", "-x", "-ZZ", "-H", &slapd.url(), "-D", dn, "-w", password])
        .env("LDAPTLS_CACERT", "/srv/slapd/tls/ca.pem")
        .stdin(format!("dn: {dn}\nchangetype: modify\n{ldif}"))
        .run()
}

#[test]
fn a_password_that_the_server_hashes_is_no_des() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&ana().ldif());
    start(&mosh, slapd, "");
    let hash = |filter: &str| {
        let hash = stored_hash(&mosh, slapd, filter);
        assert!(hash.starts_with("{CRYPT}$6$") && hash.len() == "{CRYPT}$6$$".len() + 16 + 86, "{hash}");
        hash
    };
    change(&mosh, "secret of ana", "a better one 7").success();
    let first = hash("(uid=ana)");
    // In the clear, and by the service account itself.
    let dn = LdapLogin::dn("ana");
    writes(&mosh, slapd, &dn, "a better one 7", "replace: userPassword\nuserPassword: a better one 8\n").success();
    assert_ne!(hash("(uid=ana)"), first);
    slapd.as_account("panel", &["ldappasswd", "-s", "the panel's own"], "").success();
    hash("(cn=panel)");
    // What an export writes is what shadow(5) takes.
    mosh.identityctl(["export", "/srv/exported"]).success();
    let shadow = mosh.read("/srv/exported/shadow");
    assert!(shadow.lines().any(|line| line.starts_with("ana:$6$")), "{shadow}");
    mosh.sshd(&[]).ssh("ana", Auth::Password("a better one 8"), "true").success();
    // What was stored as DES before is named.
    let said = |mosh: &Mosh| mosh.identityctl(["doctor"]).stdout.contains("stored as DES");
    assert!(!said(&mosh));
    // More than 8 characters, as a server without the line makes it.
    let des = format!(
        "dn: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: {{CRYPT}}AbZWccL2EBpV62Yymahost/w\n"
    );
    slapd.modify(&des).success();
    assert!(said(&mosh));
}

#[test]
fn nobody_stores_a_hash_that_keeps_the_server_busy() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&ana().ldif());
    let long = "a".repeat(86);
    let short = "a".repeat(43);
    let accounts = [
        (LdapLogin::dn("ana"), "secret of ana"),
        ("cn=identityd,ou=services,dc=example,dc=org".to_owned(), "service-password"),
    ];
    for (dn, password) in &accounts {
        let before = slapd.stored("(userPassword=*)");
        for hash in [
            format!("{{CRYPT}}$6$rounds=999999999$abcdefgh${long}"),
            format!("{{crypt}}$6$rounds=999999999$abcdefgh${long}"),
            format!("{{CRYPT}}$5$rounds=999999999$abcdefgh${short}"),
            format!("{{CRYPT}}$y$jFT$abcdefgh${short}"),
            format!("{{CRYPT}}$7$zzzz.zzz.abcdefgh${short}"),
            format!("{{CRYPT}}$2b$31${}", "a".repeat(53)),
            "{SSHA}YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh".to_owned(),
        ] {
            for change in ["replace", "add"] {
                let ldif = format!("{change}: userPassword\nuserPassword: {hash}\n");
                writes(&mosh, slapd, dn, password, &ldif).exit(50);
            }
        }
        assert_eq!(slapd.stored("(userPassword=*)"), before);
    }
}

#[test]
fn a_password_is_changed_at_the_provider_where_the_nearest_server_is_a_copy() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let provider = mosh.slapd(&ana().ldif());
    let consumer = mosh.slapd_copy_of(&provider);
    mosh.ldap_directory(&[consumer.url()], "");
    mosh.daemon().start();
    mosh.wait_until("ana is there", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    let refused = mosh.expect_as(
        "ana",
        "spawn passwd
         want {assword:}; send \"secret of ana\\r\"
         want {assword:}; send \"a better one 7\\r\"
         want {assword:}; send \"a better one 7\\r\"
         finish",
    );
    refused.failure();
    assert!(mosh.journal().contains("a copy that cannot be written"), "{}", mosh.journal());

    mosh.daemon().stop();
    mosh.ldap_directory_is_at("/etc/identityd/identityd.toml", &[consumer.url(), provider.url()]);
    mosh.daemon().start();
    mosh.wait_until("ana is there", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    change(&mosh, "secret of ana", "a better one 7").success();
    let sshd = mosh.sshd(&[]);
    mosh.wait_until("the copy has it", SOON, |_| sshd.ssh("ana", Auth::Password("a better one 7"), "true").ok());

    // A copy that does not know where to write says so in another way.
    mosh.daemon().stop();
    let nowhere = "dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\ndelete: olcUpdateRef\n";
    consumer.modify(nowhere).success();
    mosh.daemon().start();
    mosh.wait_until("ana is there", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    change(&mosh, "a better one 7", "a better one 8").success();
    mosh.wait_until("the copy has it", SOON, |_| sshd.ssh("ana", Auth::Password("a better one 8"), "true").ok());
}
