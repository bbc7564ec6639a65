//! identityd and a slapd over time: restarts, an emptied directory, outages; and directories that are laid out in other ways.

use std::time::Duration;

use tests::mosh::{Auth, LdapLogin, Slapd};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);

fn world() -> String {
    (0..20).map(|number| login(number).ldif()).collect()
}

fn login(number: u32) -> LdapLogin {
    LdapLogin::new(&format!("u{number}"), 30_000 + number).capability("shell")
}

fn start(mosh: &Mosh, slapd: Slapd<'_>, more: &str) {
    mosh.ldap_directory(&[slapd.url()], more);
    mosh.daemon().start();
    there(mosh, "u19");
}

fn there(mosh: &Mosh, login: &str) {
    mosh.wait_until(&format!("{login} is there"), SOON, |mosh| mosh.run(["getent", "passwd", login]).ok());
}

fn gone(mosh: &Mosh, login: &str) {
    mosh.wait_until(&format!("{login} is gone"), SOON, |mosh| mosh.run(["getent", "passwd", login]).status == Some(2));
}

/// The password of one login is kept for the time when slapd is away: that is done after the login is in.
fn is_kept(mosh: &Mosh) -> bool {
    kept(mosh) == "1"
}

fn kept(mosh: &Mosh) -> String {
    let count = "import sqlite3; print(sqlite3.connect('/var/lib/identityd/offline.db').execute('SELECT count(*) FROM record WHERE suspect = 0 AND verifier IS NOT NULL').fetchone()[0])";
    mosh.run(["python3", "-c", count]).text().to_owned()
}

#[test]
fn after_a_restart_it_goes_on_with_what_changed_meanwhile() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    start(&mosh, slapd, "");
    let readings = |mosh: &Mosh| mosh.journal().matches("the whole directory has been read").count();
    mosh.wait_until("it is published", SOON, |mosh| readings(mosh) == 1);
    mosh.daemon().stop();
    slapd.add_entries(&login(100).ldif()).success();
    slapd
        .modify(&format!("dn: {}\nchangetype: modify\nreplace: loginShell\nloginShell: /bin/sh\n", LdapLogin::dn("u3")))
        .success();
    mosh.daemon().start();
    there(&mosh, "u100");
    mosh.wait_until("a change of then is seen", SOON, |mosh| {
        mosh.run(["getent", "passwd", "u3"]).text().ends_with(":/bin/sh")
    });
    assert!(mosh.journal().contains("went on where the last process had stopped"), "{}", mosh.journal());
    assert_eq!(readings(&mosh), 1, "everything was read again:\n{}", mosh.journal());

    // Somebody who was removed meanwhile is named by a number that this process has never seen: everything is compared.
    mosh.daemon().kill();
    slapd.remove(&LdapLogin::dn("u4")).success();
    mosh.daemon().start();
    gone(&mosh, "u4");
    there(&mosh, "u5");
}

#[test]
fn an_emptied_directory_is_held_back_until_an_administrator_agrees() {
    let mosh = boot!(Mosh::builder().without_daemon());
    // A handful may always go.
    let many: String = (0..60).map(|number| login(number).ldif()).collect();
    let slapd = mosh.slapd(&many);
    start(&mosh, slapd, "");
    mosh.wait_until("it is published", SOON, |mosh| mosh.journal().contains("the whole directory has been read"));
    let removals: String =
        (0..50).map(|number| format!("dn: {}\nchangetype: delete\n\n", LdapLogin::dn(&format!("u{number}")))).collect();
    slapd.modify(&removals).success();
    mosh.wait_until("it is held back", SOON, |mosh| mosh.identityctl(["status"]).stdout.contains("held back"));
    let published = |mosh: &Mosh| mosh.sh("getent passwd | grep -c ':Name of u'").text().parse::<u32>().unwrap_or(0);
    assert!(published(&mosh) > 30, "more than a handful has gone");
    mosh.identityctl(["snapshot", "accept", "--yes"]).success();
    mosh.wait_until("all of it is let through", SOON, |mosh| published(mosh) == 10);
}

#[test]
fn who_has_logged_in_here_gets_in_while_slapd_is_away() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let known = LdapLogin::new("ana", 20_001).capability("shell").password("secret of ana");
    let strange = LdapLogin::new("ben", 20_002).capability("shell").password("secret of ben");
    let slapd = mosh.slapd(&[world(), known.ldif(), strange.ldif()].concat());
    start(&mosh, slapd, "");
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("ana", Auth::Password("secret of ana"), "id -un").success().text(), "ana");
    mosh.wait_until("it is kept", SOON, is_kept);
    slapd.kill();
    mosh.wait_until("it is noticed", SOON, |mosh| mosh.identityctl(["status"]).stdout.contains("has not answered for"));
    assert_eq!(sshd.ssh("ana", Auth::Password("secret of ana"), "id -un").success().text(), "ana");
    sshd.ssh("ana", Auth::Password("wrong"), "true").exit(255);
    sshd.ssh("ben", Auth::Password("secret of ben"), "true").exit(255);
    let age = |mosh: &Mosh| -> f64 {
        let metrics = mosh.metrics();
        let line = metrics.lines().find(|line| line.starts_with("identityd_data_age_seconds ")).expect("the age");
        line.rsplit(' ').next().unwrap_or_default().parse().expect("a number")
    };
    assert!(age(&mosh) > 0.0);
    slapd.start();
    mosh.wait_until("it is back", SOON, |mosh| age(mosh) == 0.0);
    assert_eq!(sshd.ssh("ben", Auth::Password("secret of ben"), "id -un").success().text(), "ben");
}

#[test]
fn a_password_that_was_replaced_while_identityd_was_down_does_not_enter() {
    for mode in ["replica", "lookup"] {
        let mosh = boot!(Mosh::builder().without_daemon());
        let known = LdapLogin::new("ana", 20_001).capability("shell").password("secret of ana");
        let slapd = mosh.slapd(&[world(), known.ldif()].concat());
        mosh.configure("snapshot", &format!("mode = \"{mode}\""));
        start(&mosh, slapd, "");
        let sshd = mosh.sshd(&[]);
        sshd.ssh("ana", Auth::Password("secret of ana"), "id -un").success();
        mosh.wait_until("it is kept", SOON, is_kept);
        mosh.daemon().stop();
        slapd
            .modify("dn: uid=ana,ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: userPassword\nuserPassword: another one\n")
            .success();
        mosh.daemon().start();
        mosh.wait_until("it is no longer kept", SOON, |mosh| kept(mosh) == "0");
        slapd.kill();
        mosh.wait_until("it is noticed", SOON, |mosh| {
            mosh.run(["getent", "passwd", "nobody-at-all"]);
            mosh.identityctl(["status"]).stdout.contains("has not answered for")
        });
        sshd.ssh("ana", Auth::Password("secret of ana"), "true").exit(255);
    }
}

#[test]
fn changes_that_do_not_come_although_the_server_answers_are_shown() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    start(&mosh, slapd, "");
    mosh.wait_until("it is published", SOON, |mosh| mosh.identityctl(["status"]).ok());
    // Look-ups of one entry are within the limit, following everything is not.
    slapd
        .modify("dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nreplace: olcLimits\nolcLimits: {0}dn.exact=\"cn=identityd,ou=services,dc=example,dc=org\" size=3\n")
        .success();
    slapd.kill();
    slapd.start();
    for number in 100..110 {
        slapd.add_entries(&login(number).ldif()).success();
    }
    mosh.daemon().stop();
    mosh.daemon().start();
    mosh.wait_until("status says so", Duration::from_secs(40), |mosh| {
        let status = mosh.identityctl(["status"]);
        status.status == Some(1) && status.stdout.contains("its changes have not come")
    });
    there(&mosh, "u1");
}

#[test]
fn several_bases_filters_defaults_and_overrides() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let elsewhere = "dn: ou=staff,dc=example,dc=org\nobjectClass: organizationalUnit\nou: staff\n\n\
                     dn: uid=sam,ou=staff,dc=example,dc=org\nobjectClass: account\nobjectClass: posixAccount\nobjectClass: mayfirstLogin\nuid: sam\ncn: Sam\n\
                     uidNumber: 40000\ngidNumber: 40000\nhomeDirectory: /nowhere\nmayfirstCapability: shell\n\n";
    let hidden = login(50).line("description: hidden").ldif();
    let slapd = mosh.slapd(&[world().as_str(), elsewhere, &hidden].concat());
    let lines = "login_bases = [\"ou=logins,dc=example,dc=org\", \"ou=staff,dc=example,dc=org\"]\ngroup_bases = [\"ou=groups,dc=example,dc=org\"]\n\
                 login_filter = \"(&(objectClass=posixAccount)(!(description=hidden)))\"\n\
                 [directory.overrides]\nhome = \"/srv/homes/{name}\"\n[directory.defaults]\nshell = \"/bin/sh\"\n";
    start(&mosh, slapd, lines);
    let entry = |name: &str| mosh.run(["getent", "passwd", name]).success().text().to_owned();
    assert_eq!(entry("sam"), "sam:x:40000:40000:Sam:/srv/homes/sam:/bin/sh");
    assert_eq!(entry("u1"), "u1:x:30001:30001:Name of u1:/srv/homes/u1:/bin/bash");
    mosh.run(["getent", "passwd", "u50"]).exit(2);
    // Who comes into the filter is there, who leaves it is gone.
    let change = |how: &str| format!("dn: {}\nchangetype: modify\n{how}\n", LdapLogin::dn("u50"));
    slapd.modify(&change("delete: description")).success();
    there(&mosh, "u50");
    slapd.modify(&change("add: description\ndescription: hidden")).success();
    gone(&mosh, "u50");
}

#[test]
fn a_connection_that_is_encrypted_from_its_beginning() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    mosh.ldap_directory(&[slapd.ldaps()], "");
    mosh.daemon().start();
    there(&mosh, "u1");
    assert!(slapd.log().contains("TLS established"), "{}", slapd.log());
}
