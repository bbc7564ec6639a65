//! What slapd refuses as it is shipped, whoever writes, and what identityctl says of it: who may do what, ids that come once, words as in SQL.

use tests::administrator::{ctl, json, sound};
use tests::mosh::{LdapLogin, group_ldif};
use tests::{Mosh, administered, boot};

#[test]
fn what_is_refused_is_refused_in_the_same_words_as_in_sql() {
    let refusals = |mosh: &Mosh| -> Vec<String> {
        for line in [
            "membership add coop",
            "login add ana --membership coop --capabilities sftp",
            "login add gone --uid 5001",
            "group add web --gid 5002",
            "group add-member web ana",
            "login remove gone",
        ] {
            ctl(mosh, line).success();
        }
        [
            "login add ana",
            "login add ben --uid 5001",
            "login add web",
            "login add ben --group nosuch",
            "login add ben --membership nosuch",
            "login rename ana ana2 --json x",
            "login rename nobody-here ana2",
            "login restore ana",
            "login restore nobody-here",
            "login set ana --membership nosuch",
            "login move ana nosuch",
            "login lock nobody-here",
            "group add web",
            "group add ana",
            "group add other --gid 5002",
            "group add other --gid 5001",
            "group set nosuch --rename x",
            "group set web --rename ana",
            "group set sftp-only --rename x",
            "group remove sftp-only",
            "group remove ana",
            "group add-member sftp-only ana",
            "group remove-member web nobody-here",
            "group remove-member nosuch ana",
            "membership add coop",
            "membership remove coop",
            "membership set nosuch --title X",
            "key list nobody-here",
            "key remove ana 17",
        ]
        .iter()
        .map(|line| {
            let output = ctl(mosh, line);
            format!("{line}: {:?} {}", output.status, output.stderr)
        })
        .collect()
    };
    let sql = boot!(Mosh::builder().without_daemon());
    let expected = refusals(&sql);
    drop(sql);
    administered!(mosh, _slapd);
    let found = refusals(&mosh);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn nobody_gets_an_id_that_somebody_had_before_whoever_writes() {
    administered!(mosh, slapd);
    let uid = json(&mosh, "login add gone --capabilities shell")["result"]["uid"].as_u64().expect("a uid");
    ctl(&mosh, "login add ana").success();
    ctl(&mosh, "login remove gone").success();
    let panel = |program: &[&str], stdin: &str| slapd.as_account("panel", program, stdin);
    let login = |name: &str, uid: u64| LdapLogin::new(name, u32::try_from(uid).expect("a uid")).ldif();
    let refused = panel(&["ldapadd"], &login("thief", uid)).exit(19);
    assert!(refused.stderr.contains("non-unique attributes"), "{refused}");
    // Nor does its own name get it back so: an administrator says whether it is the same person.
    panel(&["ldapadd"], &login("gone", uid)).exit(19);
    panel(&["ldapadd"], &group_ldif("thieves", u32::try_from(uid).expect("a gid"), &[])).exit(19);
    let other =
        format!("dn: uid=ana,ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: uidNumber\nuidNumber: {uid}\n");
    panel(&["ldapmodify"], &other).exit(19);
    ctl(&mosh, &format!("login add thief --uid {uid}")).exit(1);

    // A panel removes first and puts the id down then.
    panel(&["ldapadd"], &login("ben", 20_002)).success();
    let retired = "dn: cn=login-20002,ou=retired,dc=example,dc=org\nobjectClass: mayfirstRetiredId\ncn: login-20002\nmayfirstKind: login\n\
                   uid: ben\nuidNumber: 20002\n";
    panel(&["ldapadd"], retired).exit(19);
    panel(&["ldapdelete", &LdapLogin::dn("ben")], "").success();
    panel(&["ldapadd"], retired).success();
    panel(&["ldapadd"], &login("ben", 20_002)).exit(19);

    // Nor by a detour: as what no filter of names looks at first, and as a login or a group then.
    let retired_thief = |place: &str, id: &str| {
        format!(
            "dn: cn=thief,{place},dc=example,dc=org\nobjectClass: mayfirstRetiredId\ncn: thief\nmayfirstKind: x\nuid: thief\n{id}: {uid}\n"
        )
    };
    for place in ["ou=logins", "ou=groups", "ou=retired"] {
        for id in ["uidNumber", "gidNumber"] {
            panel(&["ldapadd"], &retired_thief(place, id)).exit(19);
        }
    }
    let group = format!(
        "dn: cn=thieves,ou=groups,dc=example,dc=org\n{}\n",
        [
            "objectClass: account",
            "objectClass: posixAccount",
            "cn: thieves",
            "uid: thieves",
            "uidNumber: 20003",
            &format!("gidNumber: {uid}"),
            "homeDirectory: /home/thieves",
        ]
        .join("\n")
    );
    panel(&["ldapadd"], &group.replace("dn: cn=", "dn: uid=")).success();
    let becomes = |dn: &str, class: &str| {
        panel(&["ldapmodify"], &format!("dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: {class}\n"))
    };
    for class in ["posixGroup", "1.3.6.1.1.1.2.2", "POSIXGROUP"] {
        becomes("uid=thieves,ou=groups,dc=example,dc=org", class).exit(50);
    }
    becomes("cn=login-20002,ou=retired,dc=example,dc=org", "posixAccount").exit(50);
    panel(&["ldapdelete", "uid=thieves,ou=groups,dc=example,dc=org"], "").success();

    ctl(&mosh, "login restore gone").success();
    assert_eq!(json(&mosh, "login show gone")["uid"], uid);
    assert!(!slapd.stored("(objectClass=mayfirstRetiredId)").contains("uid: gone"));
    // What an interrupted restoration left: the id is down without its number.
    ctl(&mosh, "login remove gone").success();
    let let_go = format!("dn: cn=login-{uid},ou=retired,dc=example,dc=org\nchangetype: modify\ndelete: uidNumber\n");
    slapd.as_account("identityctl", &["ldapmodify"], &let_go).success();
    ctl(&mosh, &format!("login add thief --uid {uid}")).exit(1);
    ctl(&mosh, "login restore gone").success();
    ctl(&mosh, "login remove gone").success();
    panel(&["ldapadd"], &login("thief", uid)).exit(19);
    sound(&mosh);
}

#[test]
fn each_account_of_the_server_may_do_what_it_is_for_and_no_more() {
    administered!(mosh, slapd);
    ctl(&mosh, "login add ana").success();
    ctl(&mosh, "login add gone").success();
    ctl(&mosh, "login remove gone").success();
    let as_account = |account: &str, program: &[&str], stdin: &str| slapd.as_account(account, program, stdin);
    let ana = "dn: uid=ana,ou=logins,dc=example,dc=org\nchangetype: modify\n";
    let shell = format!("{ana}replace: loginShell\nloginShell: /bin/sh\n");
    as_account("identityd", &["ldapmodify"], &shell).exit(50);
    as_account("panel", &["ldapmodify"], &shell).success();
    as_account("panel", &["ldapmodify"], &format!("{ana}replace: userPassword\nuserPassword: a new password\n"))
        .success();
    for account in ["identityd", "panel"] {
        let seen =
            as_account(account, &["ldapsearch", "-LLL", "-b", "dc=example,dc=org", "(uid=ana)", "userPassword"], "");
        assert!(!seen.stdout.contains("userPassword:"), "{account}: {seen}");
        let other = "dn: cn=identityctl,ou=services,dc=example,dc=org\nchangetype: modify\nreplace: userPassword\nuserPassword: mine from now on\n";
        as_account(account, &["ldapmodify"], other).exit(50);
    }
    let retired = slapd.stored("(objectClass=mayfirstRetiredId)");
    let dn = retired.lines().find_map(|line| line.strip_prefix("dn: ")).expect("a retired id").to_owned();
    as_account("panel", &["ldapdelete", &dn], "").exit(50);
    let elsewhere = "dn: ou=retired,dc=example,dc=org\nchangetype: modrdn\nnewrdn: ou=rubbish\ndeleteoldrdn: 1\n";
    as_account("panel", &["ldapmodify"], elsewhere).exit(50);
    // Whose server is captured has nobody change a password, and makes none that had to be changed good.
    for day in ["replace: shadowLastChange\nshadowLastChange: 0\n", "delete: shadowLastChange\n"] {
        as_account("identityd", &["ldapmodify"], &format!("{ana}{day}")).exit(50);
    }
    as_account("panel", &["ldapmodify"], &format!("{ana}replace: shadowLastChange\nshadowLastChange: 20000\n"))
        .success();
    // Wrong passwords lock logins, never an account that the fleet needs.
    for account in ["identityd", "panel", "identityctl"] {
        let dn = format!("cn={account},ou=services,dc=example,dc=org");
        for _ in 0..11 {
            let bind = ["ldapwhoami", "-x", "-ZZ", "-H", &slapd.url(), "-D", &dn, "-w", "wrong"];
            mosh.call(bind).env("LDAPTLS_CACERT", "/srv/slapd/tls/ca.pem").run().exit(49);
        }
        as_account(account, &["ldapwhoami"], "").success();
    }
    // A password for all to read is refused, with the remedy.
    mosh.sh("chmod 0644 /etc/identityd/ldap-admin.password").success();
    let refused = ctl(&mosh, "login add ben").exit(1);
    assert!(refused.stderr.contains("may be read by others") && refused.stderr.contains("chmod 600"), "{refused}");
}
