//! Logins and groups below several bases: each is followed by a search of its own, and together they are one directory.

use std::time::Duration;

use tests::mosh::{LdapLogin, Slapd, group_ldif};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);
const BASES: &str = "login_bases = [\"ou=logins,dc=example,dc=org\", \"ou=staff,dc=example,dc=org\"]\n\
                     group_bases = [\"ou=groups,dc=example,dc=org\"]";
const STAFF: &str = "dn: ou=staff,dc=example,dc=org\nobjectClass: organizationalUnit\nou: staff\n\n";

fn ana() -> LdapLogin {
    LdapLogin::new("ana", 20_001).capability("shell")
}

fn start(mosh: &Mosh, slapd: Slapd<'_>) {
    mosh.ldap_directory(&[slapd.url()], BASES);
    mosh.daemon().start();
    mosh.wait_until("it is published", SOON, |mosh| mosh.identityctl(["status"]).ok());
}

fn seen(mosh: &Mosh, what: &str, line: &[&str], end: &str) {
    mosh.wait_until(what, SOON, |mosh| mosh.run(line.iter().copied()).text().ends_with(end));
}

/// identityd may not see the groups, from the next search on.
const HIDDEN: &str = "dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nadd: olcAccess\n\
                      olcAccess: {0}to dn.subtree=\"ou=groups,dc=example,dc=org\" by dn.exact=\"cn=identityd,ou=services,dc=example,dc=org\" none by * break\n";
const SHOWN: &str = "dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\ndelete: olcAccess\nolcAccess: {0}\n";

#[test]
fn a_change_counts_as_seen_when_every_base_has_come_so_far() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&[STAFF, &ana().ldif(), &group_ldif("radio", 21_000, &["memberUid: ana"])].concat());
    start(&mosh, slapd);
    let wait = |mosh: &Mosh, number: u64, limit: &str| {
        mosh.identityctl(["wait", "--generation", &number.to_string(), "--timeout", limit])
    };
    let shell = |shell: &str| {
        let dn = LdapLogin::dn("ana");
        slapd.modify(&format!("dn: {dn}\nchangetype: modify\nreplace: loginShell\nloginShell: {shell}\n")).success();
        slapd.generation_of(&dn)
    };
    let number = shell("/bin/sh");
    wait(&mosh, number, "20s").success();

    // The search below the groups ends and is refused from now on; the other ones go on.
    slapd.modify(HIDDEN).success();
    slapd.kill();
    slapd.start();
    mosh.wait_until("one search is refused", SOON, |mosh| mosh.journal().contains("noSuchObject"));
    let number = shell("/bin/dash");
    seen(&mosh, "the login's change is served", &["getent", "passwd", "ana"], ":/bin/dash");
    let refused = wait(&mosh, number, "1s").failure();
    assert!(refused.stderr.contains("not visible yet"), "{refused}");
    mosh.wait_until("status names the base", Duration::from_secs(40), |mosh| {
        let status = mosh.identityctl(["status"]);
        status.status == Some(1)
            && status.stdout.contains("its changes have not come")
            && status.stdout.contains("ou=groups")
    });

    slapd.modify(SHOWN).success();
    wait(&mosh, number, "60s").success();
    mosh.wait_until("status is well again", SOON, |mosh| mosh.identityctl(["status"]).ok());
}

#[test]
fn a_login_that_moves_from_one_base_to_another_keeps_its_groups() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let radio = group_ldif("radio", 21_000, &["member: uid=ana,ou=logins,dc=example,dc=org"]);
    let slapd = mosh.slapd(&[STAFF, &ana().ldif(), &radio].concat());
    start(&mosh, slapd);
    seen(&mosh, "it is in the group", &["id", "-G", "ana"], "20001 21000");
    let mut above = "logins";
    for round in 0..6 {
        let to = if above == "logins" { "staff" } else { "logins" };
        slapd
            .modify(&format!(
                "dn: uid=ana,ou={above},dc=example,dc=org\nchangetype: modrdn\nnewrdn: uid=ana\ndeleteoldrdn: 0\nnewsuperior: ou={to},dc=example,dc=org\n"
            ))
            .success();
        above = to;
        let dn = format!("uid=ana,ou={above},dc=example,dc=org");
        let home = format!("/home/members/users/ana{round}");
        slapd
            .modify(&format!("dn: {dn}\nchangetype: modify\nreplace: homeDirectory\nhomeDirectory: {home}\n"))
            .success();
        let number = slapd.generation_of(&dn).to_string();
        mosh.identityctl(["wait", "--generation", &number, "--timeout", "20s"]).success();
        assert!(mosh.run(["getent", "passwd", "ana"]).success().text().contains(&home), "round {round}");
        seen(&mosh, "it is still in the group", &["id", "-G", "ana"], "20001 21000");
        seen(&mosh, "and the group has it", &["getent", "group", "radio"], ":ana");
    }
    slapd.remove(&format!("uid=ana,ou={above},dc=example,dc=org")).success();
    mosh.wait_until("a removed login is gone", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).status == Some(2));
}
