//! The list of hosts in LDAP, when somebody is captured: what can be written there, and what is shown of a list that was filled.

use std::time::Duration;

use tests::mosh::{LdapLogin, Slapd};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);

fn start(mosh: &Mosh, slapd: Slapd<'_>) {
    mosh.ldap_directory(&[slapd.url()], "fleet_base = \"cn=fleet\"");
    slapd.keep_fleet();
}

fn host(name: &str) -> String {
    format!("dn: cn={name},cn=fleet\nobjectClass: mayfirstHost\ncn: {name}\nmayfirstGeneration: 1\n\n")
}

fn is_listed(mosh: &Mosh, name: &str) -> bool {
    mosh.identityctl(["fleet"]).stdout.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")))
}

#[test]
fn a_list_that_somebody_has_filled_is_shown_in_part_and_says_so() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&LdapLogin::new("ana", 20_001).ldif());
    start(&mosh, slapd);
    mosh.daemon().start();
    mosh.wait_until("this host has reported", SOON, |mosh| mosh.identityctl(["wait", "--all", "--timeout", "1s"]).ok());
    let many: String = (0..40).map(|number| host(&format!("no-host{number}"))).collect();
    slapd.as_account("identityd", &["ldapadd"], &many).success();
    slapd
        .modify("dn: olcDatabase={2}mdb,cn=config\nchangetype: modify\nreplace: olcLimits\nolcLimits: {0}dn.subtree=\"cn=identityd,ou=services,dc=example,dc=org\" size=10\n")
        .success();
    let list = mosh.identityctl(["fleet"]).success();
    assert!(list.stdout.contains("no-host") && list.stdout.contains("this host"), "{list}");
    assert!(
        list.stdout.contains(&format!("Not all hosts: {} has more than 10 entries below cn=fleet", slapd.url())),
        "{list}"
    );
    let waited = mosh.identityctl(["wait", "--all", "--timeout", "1s"]).exit(6);
    assert!(waited.stderr.contains("has more than 10"), "{waited}");
    for number in 0..40 {
        mosh.identityctl(["fleet", "forget", &format!("no-host{number}")]).success();
    }
    mosh.wait_until("the list is whole again", SOON, |mosh| {
        mosh.identityctl(["wait", "--all", "--timeout", "1s"]).ok()
    });
}

#[test]
fn a_host_with_an_account_of_its_own_writes_its_own_line_alone() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let own = "dn: cn=web1,cn=identityd,ou=services,dc=example,dc=org\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\n\
               cn: web1\nuserPassword: service-password\npwdPolicySubentry: cn=services,ou=policies,dc=example,dc=org\n\n";
    let slapd = mosh.slapd(&[own, &LdapLogin::new("ana", 20_001).ldif()].concat());
    start(&mosh, slapd);
    let config = mosh.read("/etc/identityd/identityd.toml");
    mosh.write("/etc/identityd/identityd.toml", &config.replace("\"cn=identityd,", "\"cn=web1,cn=identityd,"));
    mosh.configure("fleet", "host = \"web1\"");
    slapd.as_account("identityd", &["ldapadd"], &host("web2")).success();
    mosh.daemon().start();
    mosh.run(["getent", "passwd", "ana"]).success();
    let waited = |mosh: &Mosh| mosh.identityctl(["wait", "--hosts", "web1", "--timeout", "1s"]).ok();
    mosh.wait_until("it has reported", SOON, waited);
    assert!(is_listed(&mosh, "web1") && is_listed(&mosh, "web2"));

    let as_web1 = |program: &[&str], stdin: &str| slapd.as_account("web1,cn=identityd", program, stdin);
    let line = "changetype: modify\nreplace: mayfirstGeneration\nmayfirstGeneration: 9\n";
    as_web1(&["ldapmodify"], &format!("dn: cn=web1,cn=fleet\n{line}")).success();
    as_web1(&["ldapmodify"], &format!("dn: cn=web2,cn=fleet\n{line}")).exit(50);
    as_web1(&["ldapadd"], &host("web3")).exit(50);
    as_web1(&["ldapdelete", "cn=web2,cn=fleet"], "").exit(50);
    // An administrator takes it off.
    mosh.identityctl(["fleet", "forget", "web2"]).success();
    assert!(!is_listed(&mosh, "web2"));
}
