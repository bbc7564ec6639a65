//! A directory in LDAP: real slapds with the product's schema, and what libc, PAM and sshd see of them.

use std::time::{Duration, Instant};

use tests::mosh::{Auth, LdapLogin, Slapd, group_ldif};
use tests::{Mosh, boot};

/// A change is visible within this; the requirement is a second, the machine is shared.
const SOON: Duration = Duration::from_secs(5);
/// An answer while a server is away.
const PROMISED: Duration = Duration::from_secs(2);

fn ana() -> LdapLogin {
    LdapLogin::new("ana", 20_001).capability("shell").password("secret of ana")
}

fn ben() -> LdapLogin {
    LdapLogin::new("ben", 20_002).capability("sftp").password("secret of ben")
}

fn world() -> String {
    [
        ana().ldif(),
        ben().ldif(),
        group_ldif("radio", 21_000, &["memberUid: ana"]),
        group_ldif("tierra", 21_001, &["member: uid=ben,ou=logins,dc=example,dc=org"]),
    ]
    .concat()
}

fn start(mosh: &Mosh, servers: &[Slapd<'_>], more: &str) {
    let urls: Vec<String> = servers.iter().map(|slapd| slapd.url()).collect();
    mosh.ldap_directory(&urls, more);
    mosh.daemon().start();
    mosh.wait_until("identityd has seen the directory", Duration::from_secs(20), |mosh| {
        mosh.run(["getent", "passwd", "ana"]).ok()
    });
}

#[test]
fn what_is_in_ldap_is_what_libc_sees() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    start(&mosh, &[slapd], "");
    let entry = |map: &str, key: &str| mosh.run(["getent", map, key]).success().text().to_owned();
    assert_eq!(entry("passwd", "ana"), "ana:x:20001:20001:Name of ana:/home/members/users/ana:/bin/bash");
    assert_eq!(entry("passwd", "20002"), "ben:x:20002:20002:Name of ben:/home/members/users/ben:/usr/sbin/nologin");
    assert_eq!(entry("group", "radio"), "radio:x:21000:ana");
    assert_eq!(entry("group", "21001"), "tierra:x:21001:ben");
    assert_eq!(entry("group", "sftp-only"), "sftp-only:x:1000000:ben");
    assert_eq!(mosh.run(["id", "-G", "ben"]).success().text(), "20002 21001 1000000");
    mosh.run(["getent", "passwd", "nobody-at-all"]).exit(2);
    // A star is no wildcard.
    mosh.run(["getent", "passwd", "an*"]).exit(2);
    let listed = mosh.run(["getent", "passwd"]).success();
    assert!(listed.stdout.contains("\nana:x:20001:") && listed.stdout.contains("\nben:x:20002:"), "{listed}");
}

#[test]
fn members_by_dn_nested_and_in_themselves() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let odd = "dn: cn=Cora Ruiz,ou=logins,dc=example,dc=org\nobjectClass: account\nobjectClass: posixAccount\nobjectClass: mayfirstLogin\ncn: Cora Ruiz\nuid: cora\n\
               uidNumber: 20003\ngidNumber: 20003\nhomeDirectory: /home/members/users/cora\nloginShell: /bin/bash\nmayfirstCapability: shell\n\n";
    let groups = [
        group_ldif(
            "inner",
            22_000,
            &["member: cn=Cora Ruiz,ou=logins,dc=example,dc=org", "member: cn=outer,ou=groups,dc=example,dc=org"],
        ),
        group_ldif(
            "outer",
            22_001,
            &[
                "member: cn=inner,ou=groups,dc=example,dc=org",
                "member: cn=outer,ou=groups,dc=example,dc=org",
                "memberUid: ana",
            ],
        ),
        group_ldif("dangling", 22_002, &["member: uid=nobody,ou=logins,dc=example,dc=org"]),
    ];
    let slapd = mosh.slapd(&[world().as_str(), odd, &groups.concat()].concat());
    for feed in ["auto", "off"] {
        let more = format!("feed = \"{feed}\"");
        if feed == "auto" {
            start(&mosh, &[slapd], &more);
        } else {
            mosh.daemon().stop();
            let config = mosh.read("/etc/identityd/identityd.toml");
            mosh.write("/etc/identityd/identityd.toml", &config.replace("feed = \"auto\"", &more));
            // Such a server may not be listed.
            mosh.sh("sed -i 's/^\\[snapshot\\]$/&\\nmode = \"lookup\"/; s/^\\[auth\\]$/&\\noffline_days = 0/' /etc/identityd/identityd.toml").success();
            mosh.daemon().start();
        }
        // Without a list each answer is many questions to the server, and on a busy machine the 200 ms of a look-up may be over before it is there; the next one has it.
        let entry = |map: &str, key: &str| {
            let mut answer = String::new();
            mosh.wait_until(&format!("{map} {key} is answered, {feed}"), SOON, |mosh| {
                answer = mosh.run(["getent", map, key]).text().to_owned();
                !answer.is_empty()
            });
            answer
        };
        assert_eq!(entry("group", "inner"), "inner:x:22000:ana,cora", "{feed}");
        assert_eq!(entry("group", "outer"), "outer:x:22001:ana,cora", "{feed}");
        mosh.wait_until(&format!("cora is in her groups, {feed}"), SOON, |mosh| {
            mosh.run(["id", "-G", "cora"]).text() == "20003 22000 22001"
        });
    }
}

#[test]
fn every_change_is_seen_soon() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    start(&mosh, &[slapd], "");
    let soon = |what: &str, condition: &dyn Fn(&Mosh) -> bool| {
        let began = Instant::now();
        mosh.wait_until(what, SOON, |mosh| condition(mosh));
        println!("{what}: {:?}", began.elapsed());
    };
    // Each name is asked for before, so that an answer is remembered that must go.
    mosh.run(["getent", "passwd", "dora"]).exit(2);
    mosh.run(["id", "ana"]).success();
    mosh.run(["getent", "group", "radio"]).success();
    slapd.add_entries(&LdapLogin::new("dora", 20_004).capability("shell").ldif()).success();
    soon("a new login is there", &|mosh| mosh.run(["getent", "passwd", "dora"]).ok());
    slapd
        .modify(
            "dn: uid=ana,ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: loginShell\nloginShell: /bin/sh\n",
        )
        .success();
    soon("a changed shell is seen", &|mosh| mosh.run(["getent", "passwd", "ana"]).text().ends_with(":/bin/sh"));
    slapd
        .modify("dn: cn=radio,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: memberUid\nmemberUid: ben\n")
        .success();
    soon("a new member is seen in the group", &|mosh| {
        mosh.run(["getent", "group", "radio"]).text().ends_with(":ana,ben")
    });
    soon("and in its list of groups", &|mosh| mosh.run(["id", "-G", "ben"]).text().contains("21000"));
    slapd
        .modify("dn: cn=radio,ou=groups,dc=example,dc=org\nchangetype: modify\ndelete: memberUid\nmemberUid: ana\n")
        .success();
    soon("a member that left has the group no more", &|mosh| !mosh.run(["id", "-G", "ana"]).text().contains("21000"));
    slapd
        .modify("dn: uid=dora,ou=logins,dc=example,dc=org\nchangetype: modrdn\nnewrdn: uid=dorotea\ndeleteoldrdn: 1\n")
        .success();
    soon("a new name is there", &|mosh| mosh.run(["getent", "passwd", "dorotea"]).ok());
    soon("an old name is gone", &|mosh| mosh.run(["getent", "passwd", "dora"]).status == Some(2));
    slapd.remove("uid=dorotea,ou=logins,dc=example,dc=org").success();
    soon("a removed login is gone", &|mosh| mosh.run(["getent", "passwd", "20004"]).status == Some(2));
}

#[test]
fn groups_that_slapd_corrects_by_itself_follow_a_login_that_is_renamed() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let inner = group_ldif("inner", 21_002, &["member: uid=ben,ou=logins,dc=example,dc=org"]);
    let outer = group_ldif("outer", 21_003, &["member: cn=inner,ou=groups,dc=example,dc=org"]);
    let slapd = mosh.slapd(&[world(), inner, outer].concat());
    start(&mosh, &[slapd], "");
    let ids = |mosh: &Mosh, login: &str| mosh.run(["id", "-G", login]).text().to_owned();
    assert_eq!(ids(&mosh, "ben"), "20002 21001 21002 21003 1000000");
    let rename = |what: &str, rdn: &str| {
        slapd
            .modify(&format!("dn: {what},dc=example,dc=org\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n"))
            .success();
    };
    rename("uid=ben,ou=logins", "uid=benno");
    mosh.wait_until("its groups have it under its new name", SOON, |mosh| {
        ids(mosh, "benno") == "20002 21001 21002 21003 1000000"
    });
    assert_eq!(mosh.run(["getent", "group", "tierra"]).success().text(), "tierra:x:21001:benno");
    rename("cn=inner,ou=groups", "cn=core");
    mosh.wait_until("and so a group in a group", SOON, |mosh| {
        mosh.run(["getent", "group", "outer"]).text() == "outer:x:21003:benno" && ids(mosh, "benno").contains("21003")
    });
}

#[test]
fn a_server_that_is_killed_stopped_or_back_is_noticed() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let many: String = (0..40)
        .map(|number| LdapLogin::new(&format!("many{number}"), 30_000 + number).capability("shell").ldif())
        .collect();
    let servers = mosh.mirrored_slapds(&[world(), many].concat());
    // Published is nothing: each answer comes from a server.
    mosh.configure("snapshot", "mode = \"lookup\"");
    start(&mosh, &servers, "");
    let mut fresh = 0;
    let mut look = |what: &str| {
        // One look-up has 200 ms; a program that asks again gets its answer from the other server.
        mosh.promised(PROMISED, what, |mosh| mosh.run(["getent", "passwd", &format!("many{fresh}")]).ok());
        fresh += 1;
    };
    look("both up");
    servers[0].pause();
    look("the first is stopped");
    look("and again");
    servers[1].add_entries(&LdapLogin::new("eva", 20_005).capability("shell").ldif()).success();
    mosh.promised(PROMISED, "a change at the second is seen", |mosh| mosh.run(["getent", "passwd", "eva"]).ok());
    servers[0].resume();
    mosh.wait_until("the first is asked again", Duration::from_secs(20), |mosh| {
        mosh.journal().contains("the LDAP server answers again")
    });
    servers[1].kill();
    look("the second is killed");
    servers[1].start();
    servers[0].kill();
    mosh.wait_until("the second is up", Duration::from_secs(10), |mosh| mosh.run(["getent", "passwd", "many39"]).ok());
    look("the first is killed");
    // Questions go to the other one: that is no trouble of this host's, and is said.
    mosh.wait_until("status names the first", Duration::from_secs(10), |mosh| {
        let status = mosh.identityctl(["status"]);
        status.ok()
            && status.stdout.contains("directory.servers (2)")
            && status.stdout.contains(&format!("does not serve, others do: {}", servers[0].url()))
    });
    servers[0].start();
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    mosh.ldap_directory(&[slapd.url()], "ca_file = \"/srv/slapd/tls/other.pem\"");
    mosh.daemon().launch();
    mosh.wait_until("identityd says why", Duration::from_secs(10), |mosh| mosh.journal().contains("certificate"));
    mosh.run(["getent", "passwd", "ana"]).failure();
    assert!(!slapd.log().contains("BIND dn=\"cn=identityd"), "a password was sent to a server that nobody knows");
}

#[test]
fn a_password_is_not_sent_in_the_clear_unless_the_configuration_says_so() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    mosh.ldap_directory(&[slapd.url()], "tls = \"none\"");
    let checked = mosh.run(["identityd", "--check"]).failure();
    assert!(checked.stderr.contains("in the clear"), "{checked}");
}

#[test]
fn the_local_socket_says_who_identityd_is() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    let uid = mosh.run(["id", "-u", "identityd"]).success().text().to_owned();
    let gid = mosh.run(["id", "-g", "identityd"]).success().text().to_owned();
    slapd
        .modify(&format!(
            "dn: cn=config\nchangetype: modify\nadd: olcAuthzRegexp\nolcAuthzRegexp: gidNumber={gid}\\+uidNumber={uid},cn=peercred,cn=external,cn=auth \
             cn=identityd,ou=services,dc=example,dc=org\n"
        ))
        .success();
    mosh.ldap_directory(&[slapd.ldapi()], "sasl = \"external\"");
    mosh.daemon().start();
    mosh.wait_until("a login is seen", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

#[test]
fn a_login_enters_by_a_bind_and_a_wrong_password_is_tried_once() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let servers = mosh.mirrored_slapds(&world());
    start(&mosh, &servers, "");
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("ana", Auth::Password("secret of ana"), "id -un").success().text(), "ana");
    let binds = || servers.iter().map(|slapd| slapd.log().matches("BIND dn=\"uid=ana,").count()).sum::<usize>();
    // One line for the request, one for the mechanism that was accepted.
    let before = binds();
    sshd.ssh("ana", Auth::Password("wrong"), "true").exit(255);
    let tried = binds() - before;
    assert_eq!(tried, 1, "{}", servers[0].log());
    sshd.ssh("nobody-at-all", Auth::Password("wrong"), "true").exit(255);
}

#[test]
fn what_is_cut_short_is_no_directory() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let many: String = (0..60)
        .map(|number| LdapLogin::new(&format!("many{number}"), 30_000 + number).capability("shell").ldif())
        .collect();
    let slapd = mosh.slapd(&[world(), many].concat());
    slapd
        .modify("dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nreplace: olcLimits\nolcLimits: {0}dn.exact=\"cn=identityd,ou=services,dc=example,dc=org\" size=20\n")
        .success();
    mosh.ldap_directory(&[slapd.url()], "");
    mosh.daemon().start();
    mosh.wait_until("the server has cut a list short", SOON, |mosh| mosh.journal().contains("sizeLimitExceeded"));
    // One by one they are there, a list is not.
    mosh.wait_until("a look-up is answered", SOON, |mosh| mosh.run(["getent", "passwd", "many7"]).ok());
    let listed = mosh.run(["getent", "passwd"]);
    assert!(!listed.stdout.contains("many"), "a part of the directory was listed: {listed}");
}

#[test]
fn a_server_without_synchronisation_is_polled() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&world());
    start(&mosh, &[slapd], "feed = \"poll\"\npoll = \"200ms\"\npoll_removed = \"1s\"");
    mosh.run(["getent", "passwd", "dora"]).exit(2);
    slapd.add_entries(&LdapLogin::new("dora", 20_004).capability("shell").ldif()).success();
    mosh.wait_until("a new login is there", SOON, |mosh| mosh.run(["getent", "passwd", "dora"]).ok());
    slapd.remove("uid=dora,ou=logins,dc=example,dc=org").success();
    mosh.wait_until("a removed login is gone", SOON, |mosh| mosh.run(["getent", "passwd", "dora"]).status == Some(2));
}

#[test]
fn nslcd_gives_the_same_answers() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let shells: String = (0..20)
        .map(|number| LdapLogin::new(&format!("many{number}"), 30_000 + number).capability("shell").ldif())
        .collect();
    let groups: String = (0..5)
        .map(|number| {
            let members: Vec<String> = (0..4).map(|member| format!("memberUid: many{}", number * 4 + member)).collect();
            group_ldif(
                &format!("team{number}"),
                31_000 + number,
                &members.iter().map(String::as_str).collect::<Vec<_>>(),
            )
        })
        .collect();
    let slapd = mosh.slapd(&[world(), shells, groups].concat());
    start(&mosh, &[slapd], "");
    mosh.write(
        "/etc/nslcd.conf",
        &format!(
            "uid nslcd\ngid nslcd\nuri {}\nbase dc=example,dc=org\nsasl_mech EXTERNAL\nmap group member member\nnss_min_uid 1000\n",
            slapd.ldapi()
        ),
    );
    let (uid, gid) = (
        mosh.run(["id", "-u", "nslcd"]).success().text().to_owned(),
        mosh.run(["id", "-g", "nslcd"]).success().text().to_owned(),
    );
    slapd
        .modify(&format!(
            "dn: cn=config\nchangetype: modify\nadd: olcAuthzRegexp\nolcAuthzRegexp: gidNumber={gid}\\+uidNumber={uid},cn=peercred,cn=external,cn=auth \
             cn=identityd,ou=services,dc=example,dc=org\n"
        ))
        .success();
    mosh.background("exec nslcd -n 2>/var/log/nslcd.log");
    mosh.wait_until("nslcd answers", Duration::from_secs(10), |mosh| {
        mosh.run(["getent", "-s", "ldap", "passwd", "ana"]).ok()
    });
    let ask = |source: &str, map: &str, key: &str| mosh.run(["getent", "-s", source, map, key]).stdout;
    let mut differences = Vec::new();
    let logins: Vec<String> =
        (0..20).map(|number| format!("many{number}")).chain(["ana".into(), "20001".into(), "none".into()]).collect();
    for login in &logins {
        for map in ["passwd", "initgroups"] {
            let (ours, theirs) = (ask("mayfirst", map, login), ask("ldap", map, login));
            // The order of gids is nobody's promise. nslcd leaves the primary group out of initgroups, which libc adds, and shows another sign for the password.
            let primary = ask("mayfirst", "passwd", login).split(':').nth(3).unwrap_or_default().to_owned();
            let sorted = |text: &str| {
                let mut words: Vec<String> = text.replace(":*:", ":x:").split_whitespace().map(Into::into).collect();
                words.retain(|word| *word != primary);
                words.sort();
                words
            };
            if sorted(&ours) != sorted(&theirs) {
                differences.push(format!("{map} {login}: {ours:?} {theirs:?}"));
            }
        }
    }
    for group in ["radio", "tierra", "team0", "team4", "31002", "none"] {
        let (ours, theirs) = (ask("mayfirst", "group", group), ask("ldap", "group", group));
        let members = |text: &str| {
            let (head, members) = text.trim().rsplit_once(':').unwrap_or_default();
            let mut members: Vec<&str> = members.split(',').collect();
            members.sort_unstable();
            format!("{}:{}", head.replace(":*:", ":x:"), members.join(","))
        };
        if members(&ours) != members(&theirs) {
            differences.push(format!("group {group}: {ours:?} {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
