//! Servers that do not let identityd in, and servers that send it elsewhere.

use std::time::{Duration, Instant};

use tests::mosh::{LdapLogin, Slapd};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);

fn ana() -> LdapLogin {
    LdapLogin::new("ana", 20_001).capability("shell")
}

/// Published is nothing: each answer comes from a server.
fn start(mosh: &Mosh, slapd: Slapd<'_>, more: &str) {
    mosh.ldap_directory(&[slapd.url()], more);
    mosh.configure("snapshot", "mode = \"lookup\"");
    mosh.daemon().start();
    mosh.wait_until("ana is there", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

#[test]
fn a_server_that_refuses_identityds_password_is_left_alone_until_the_file_has_another_one() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let many: String = (0..40).map(|number| LdapLogin::new(&format!("many{number}"), 30_000 + number).ldif()).collect();
    let slapd = mosh.slapd(&[ana().ldif(), many].concat());
    start(&mosh, slapd, "");
    slapd
        .modify("dn: cn=identityd,ou=services,dc=example,dc=org\nchangetype: modify\nreplace: userPassword\nuserPassword: another one\n")
        .success();
    // A connection that is bound stays so.
    slapd.kill();
    let began = Instant::now();
    slapd.start();
    mosh.wait_until("it is refused", SOON, |mosh| mosh.journal().contains("does not let identityd in"));
    for number in 0..40 {
        mosh.run(["getent", "passwd", &format!("many{number}")]).failure();
    }
    let refused = slapd.log().matches("RESULT tag=97 err=49").count();
    // After half a second it is tried again, and then after twice as long each time: on a busy machine the questions take some seconds.
    let pauses = (1..8).take_while(|n| began.elapsed() >= Duration::from_millis(500) * (2_u32.pow(*n) - 1)).count();
    assert!((1..=3 + pauses).contains(&refused), "{refused} binds for 40 questions: {}", slapd.log());
    assert_eq!(mosh.journal().matches("does not let identityd in").count(), 1, "{}", mosh.journal());
    let status = mosh.identityctl(["status"]);
    assert_eq!(status.status, Some(1), "{status}");
    for word in ["invalidCredentials", "/etc/identityd/ldap-password"] {
        assert!(status.stdout.contains(word), "{word}: {status}");
    }
    // Sooner than the shortest pause.
    mosh.write("/etc/identityd/ldap-password", "another one\n");
    mosh.wait_until("it is let in", SOON, |mosh| mosh.run(["getent", "passwd", "many7"]).ok());
}

/// A slapd that refers to a second one for what is below `ou=far`, where dora is.
fn referring(mosh: &Mosh) -> [Slapd<'_>; 2] {
    let first = mosh.slapd(&ana().ldif());
    let second = mosh.slapd_with(2, "", "");
    let far = "ou=far,ou=logins,dc=example,dc=org";
    let dora = LdapLogin::new("dora", 20_004).capability("shell").ldif().replace("uid=dora,ou=", "uid=dora,ou=far,ou=");
    second.add_entries(&format!("dn: {far}\nobjectClass: organizationalUnit\nou: far\n\n{dora}")).success();
    let reference = format!(
        "dn: {far}\nobjectClass: referral\nobjectClass: extensibleObject\nou: far\nref: {}/{far}\n",
        second.url()
    );
    mosh.call(["ldapadd", "-M", "-Q", "-Y", "EXTERNAL", "-H", &first.ldapi()]).stdin(&reference).run().success();
    [first, second]
}

#[test]
fn a_referral_is_followed_to_a_server_that_the_configuration_names() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let [first, second] = referring(&mosh);
    start(&mosh, first, &format!("referrals = \"follow\"\nreferral_servers = [\"{}\"]", second.url()));
    let dora = "dora:x:20004:20004:Name of dora:/home/members/users/dora:/bin/bash";
    // Two servers are asked: on a busy machine the 200 ms of a look-up may be over before that; the next one has the answer.
    for key in ["dora", "20004"] {
        let mut answer = String::new();
        mosh.wait_until(&format!("{key} is answered"), SOON, |mosh| {
            answer = mosh.run(["getent", "passwd", key]).text().to_owned();
            !answer.is_empty()
        });
        assert_eq!(answer, dora);
    }
    // One that is away leaves out what is there, and no more.
    second.kill();
    mosh.wait_until("ana is still there", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

#[test]
fn a_referral_to_a_server_that_nobody_has_named_is_refused_and_no_password_goes_there() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let [first, second] = referring(&mosh);
    start(&mosh, first, "referrals = \"follow\"");
    for _ in 0..3 {
        mosh.run(["getent", "passwd", "dora"]).exit(2);
    }
    mosh.wait_until("ana is still there", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    mosh.wait_until("the log has the server", SOON, |mosh| {
        let journal = mosh.journal();
        journal.contains(&second.url()) && journal.contains("referral_servers")
    });
    let journal = mosh.journal();
    assert_eq!(journal.matches("a referral leads to a server").count(), 1, "{journal}");
    assert!(!second.log().contains("cn=identityd"), "{}", second.log());
    // Nor to a socket of this machine.
    let far = "ou=nearer,ou=logins,dc=example,dc=org";
    let reference = format!(
        "dn: {far}\nobjectClass: referral\nobjectClass: extensibleObject\nou: nearer\nref: {}/{far}\n",
        second.ldapi()
    );
    mosh.call(["ldapadd", "-M", "-Q", "-Y", "EXTERNAL", "-H", &first.ldapi()]).stdin(&reference).run().success();
    mosh.run(["getent", "passwd", "eva"]).exit(2);
    mosh.wait_until("the log has the socket", SOON, |mosh| mosh.journal().contains("ldapi://"));
}
