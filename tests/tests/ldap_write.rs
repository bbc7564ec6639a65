//! identityctl on a directory in LDAP: the same commands and rules as in SQL, two administrators at once, interruptions, and whole copies.

use std::time::Duration;

use tests::administrator::{self, ctl, json, sound, with_stdin};
use tests::mosh::{LdapLogin, Output, Slapd, group_ldif};
use tests::{Mosh, administered, boot};

/// A configuration file with nothing but a directory, for `directory copy`.
fn other(mosh: &Mosh, name: &str, directory: &str) -> String {
    let path = format!("/root/{name}.toml");
    mosh.write(&path, &format!("[directory]\n{directory}\n"));
    mosh.sh(&format!("chown root:identityd {path}; chmod 0640 {path}")).success();
    path
}

fn in_ldap(mosh: &Mosh, slapd: Slapd<'_>) -> String {
    let lines = format!(
        "type = \"ldap\"\nservers = [\"{}\"]\nbase = \"dc=example,dc=org\"\nca_file = \"/srv/slapd/tls/ca.pem\"\nadmin_dn = \"cn=identityctl,ou=services,dc=example,dc=org\"",
        slapd.url()
    );
    other(mosh, "ldap", &lines)
}

#[test]
fn a_login_is_added_shown_listed_and_changed() {
    administered!(mosh, _slapd);
    administrator::a_login_is_added_shown_listed_and_changed(&mosh);
    sound(&mosh);
}

#[test]
fn a_login_is_locked_expired_moved_renamed_removed_and_restored_with_its_uid() {
    administered!(mosh, _slapd);
    administrator::a_login_is_locked_expired_moved_renamed_removed_and_restored_with_its_uid(&mosh);
    sound(&mosh);
}

#[test]
fn groups_and_their_members_are_kept() {
    administered!(mosh, _slapd);
    administrator::groups_and_their_members_are_kept(&mosh);
    sound(&mosh);
}

#[test]
fn memberships_are_kept_and_one_in_use_is_not_removed() {
    administered!(mosh, _slapd);
    administrator::memberships_are_kept_and_one_in_use_is_not_removed(&mosh);
    sound(&mosh);
}

#[test]
fn keys_are_added_from_a_file_or_standard_input_and_removed_by_fingerprint() {
    administered!(mosh, slapd);
    administrator::keys_are_added_from_a_file_or_standard_input_and_removed_by_fingerprint(&mosh);
    assert!(!slapd.stored("(uid=ana)").contains("mayfirstKeyAdded"), "the day of a key goes with it");
}

#[test]
fn impossible_names_ids_shells_and_homes_are_refused_with_the_rule() {
    administered!(mosh, _slapd);
    administrator::impossible_names_ids_shells_and_homes_are_refused_with_the_rule(&mosh);
}

#[test]
fn names_and_ids_are_given_once() {
    administered!(mosh, _slapd);
    administrator::names_and_ids_are_given_once(&mosh);
    sound(&mosh);
}

#[test]
fn passwords_come_from_standard_input_only() {
    administered!(mosh, slapd);
    administrator::passwords_come_from_standard_input_only(&mosh);
    with_stdin(&mosh, "login passwd ana --stdin", "secret\n").success();
    let stored = slapd.stored("(uid=ana)");
    // `{CRYPT}$y$` in base64.
    assert!(stored.contains("userPassword:: e0NSWVBUfSR5J") && !stored.contains("pwdReset"), "{stored}");
}

#[test]
fn members_are_listed_by_name_or_by_dn_and_follow_a_new_name() {
    for style in ["name", "dn"] {
        administered!(mosh, slapd, "", &format!("write.members = \"{style}\""));
        for line in ["login add ana --capabilities shell", "login add ben", "group add web", "group add-member web ana"]
        {
            ctl(&mosh, line).success();
        }
        let listed = slapd.stored("(&(objectClass=posixGroup)(cn=web))");
        let expected = if style == "name" { "memberUid: ana" } else { "member: uid=ana,ou=logins,dc=example,dc=org" };
        assert!(listed.contains(expected), "{style}: {listed}");
        assert_eq!(json(&mosh, "group add-member web ana")["changed"], false, "{style}");
        ctl(&mosh, "login rename ana anna").success();
        assert_eq!(json(&mosh, "group show web")["members"], serde_json::json!(["anna"]), "{style}");
        assert_eq!(json(&mosh, "group list --member anna")["groups"][0]["name"], "web", "{style}");
        assert_eq!(json(&mosh, "login show anna")["group"], "anna", "{style}");
        ctl(&mosh, "login remove anna").success();
        assert_eq!(json(&mosh, "group show web")["members"], serde_json::json!([]), "{style}");
        let left = slapd.stored("(|(cn=anna)(uid=anna)(memberUid=anna)(member=uid=anna,ou=logins,dc=example,dc=org))");
        assert_eq!(left.matches("dn: ").count(), 2, "{style}: two retired ids and nothing else: {left}");
        sound(&mosh);
    }
}

#[test]
fn two_administrators_at_once_never_get_one_id_or_one_name() {
    administered!(mosh, slapd);
    // Each adds 12 logins of its own, and both the same 8 in the same order.
    let administrator = |mine: &str| {
        format!(
            "for number in 1 2 3 4 5 6 7 8 9 10 11 12; do identityctl login add {mine}$number >/dev/null || echo lost {mine}$number; done
             for number in 1 2 3 4 5 6 7 8; do identityctl login add both$number >/dev/null 2>>/root/{mine}.err && echo won both$number || true; done"
        )
    };
    let outputs: Vec<_> = ["x", "y"]
        .map(|mine| mosh.call(["sh", "-c", &administrator(mine)]).limit(Duration::from_secs(300)).spawn())
        .into_iter()
        .map(|mut running| running.finish(Duration::from_secs(300)).success())
        .collect();
    let said: String = outputs.iter().map(|output| output.stdout.as_str()).collect();
    assert!(!said.contains("lost"), "{said}");
    for number in 1..=8 {
        assert_eq!(said.matches(&format!("won both{number}\n")).count(), 1, "{said}");
    }
    for error in [mosh.read("/root/x.err"), mosh.read("/root/y.err")].concat().lines() {
        let clear = ["already", "exists", "somebody else", "note: "].iter().any(|word| error.contains(word));
        assert!(clear, "{error}");
    }
    let logins = json(&mosh, "login list");
    let uids: std::collections::BTreeSet<_> =
        logins["logins"].as_array().unwrap().iter().map(|login| login["uid"].as_u64().unwrap()).collect();
    assert_eq!(uids.len(), 32, "{logins}");
    assert!(!slapd.stored("(objectClass=posixGroup)").contains("is adding"), "no group waits for its login");
    sound(&mosh);
}

/// Runs a command which is killed when it is about to send to the server for the `n`-th time: not by the clock, so that it is known to be in the middle. Gives how often it came to send.
fn killed_before(mosh: &Mosh, n: usize, line: &str) -> (Output, usize) {
    let strace = format!("strace -f -qq -o /tmp/sent -e trace=sendto -e inject=sendto:signal=KILL:when={n}");
    let output = mosh.sh(&format!("{strace} identityctl {line}"));
    (output, mosh.read("/tmp/sent").matches("sendto(").count())
}

/// `make test` kills before some of the sends of each command, `KILLS=all` before each.
#[test]
fn killed_before_any_message_to_the_server_nothing_is_half_there_and_the_same_command_goes_on() {
    const NEVER: usize = 60_000;
    // How many points of each command, and how many messages lie between them.
    const POINTS: usize = 5;
    const STEP: usize = 4;
    administered!(mosh, slapd);
    // The first of all finds less to look at.
    for line in ["group add web", "login add first", "login rename first second", "login remove second"] {
        ctl(&mosh, line).success();
    }
    // What each sends when nobody kills it: greetings first, then questions, writes, and a farewell.
    let [add, rename, remove] = ["login add u", "login rename u ux", "login remove ux"].map(|line| {
        let (whole, sends) = killed_before(&mosh, NEVER, line);
        whole.success();
        sends
    });
    println!("messages of an addition: {add}, of another name: {rename}, of a removal: {remove}");
    // The last of them are the writes.
    let all = std::env::var("KILLS").is_ok_and(|kills| kills == "all");
    let points: Vec<usize> =
        if all { (1..add.max(rename).max(remove)).collect() } else { (1..=POINTS).map(|point| point * STEP).collect() };
    let (mut killed, mut tried) = (0, 0);
    for before_the_end in points {
        let name = format!("u{before_the_end}");
        let mut kill = |line: &str, sends: usize| {
            if let Some(n) = sends.checked_sub(before_the_end).filter(|n| *n > 0) {
                tried += 1;
                killed += usize::from(killed_before(&mosh, n, line).0.status == Some(137));
            }
        };
        kill(&format!("login add {name}"), add);
        let again = ctl(&mosh, &format!("login add {name}"));
        // It had come to its end, or its group is still taken for somebody's who is at it.
        if !again.ok() {
            let said = &again.stderr;
            assert!(said.contains("there is a login") || said.contains("run this again in a minute"), "{again}");
            if said.contains("in a minute") {
                assert!(slapd.stored(&format!("(&(cn={name})(objectClass=posixGroup))")).contains("is adding"));
                continue;
            }
        }
        ctl(&mosh, &format!("group add-member web {name}")).success();
        kill(&format!("login rename {name} {name}x"), rename);
        let again = ctl(&mosh, &format!("login rename {name} {name}x"));
        assert!(again.ok() || again.stderr.contains("there is no login"), "{again}");
        assert_eq!(json(&mosh, &format!("login show {name}x"))["group"], format!("{name}x"));
        assert_eq!(json(&mosh, &format!("group list --member {name}x"))["groups"][0]["name"], "web");
        let uid = json(&mosh, &format!("login show {name}x"))["uid"].clone();
        kill(&format!("login remove {name}x"), remove);
        let again = ctl(&mosh, &format!("login remove {name}x"));
        assert!(again.ok() || again.stderr.contains("there is no login"), "{again}");
        ctl(&mosh, &format!("login add stranger --uid {uid}")).exit(1);
        let left = slapd.stored(&format!("(|(uid={name}x)(cn={name}x)(memberUid={name}x)(memberUid={name}))"));
        assert_eq!(left.matches("dn: ").count(), left.matches("objectClass: mayfirstRetiredId").count(), "{left}");
    }
    println!("{killed} of {tried} commands were killed");
    assert!(killed > 0 && killed >= tried - tried / 4, "{killed} of {tried} commands were killed");
}

#[test]
fn what_an_interrupted_addition_left_is_taken_over_by_the_same_command() {
    let left = group_ldif(
        "zoe",
        30_001,
        &["description: identityctl is adding the login zoe", "createTimestamp: 20260101000000Z"],
    );
    // A group lists a name that nobody has: who gets it must not be in the group.
    let trap = group_ldif("board", 30_002, &["memberUid: zoe"]);
    administered!(mosh, slapd, &[left, trap].concat(), "");
    ctl(&mosh, "login add zoe").success();
    let zoe = json(&mosh, "login show zoe");
    assert_eq!((zoe["gid"].clone(), zoe["groups"].clone()), (zoe["uid"].clone(), serde_json::json!([])));
    let group = slapd.stored("(&(cn=zoe)(objectClass=posixGroup))");
    assert!(group.contains(&format!("gidNumber: {}", zoe["gid"])) && !group.contains("is adding"), "{group}");
    sound(&mosh);
}

#[test]
fn an_import_that_was_killed_goes_on_and_comes_back_out_byte_for_byte() {
    administered!(mosh, slapd);
    // IMPORT_LOGINS=10000 measures it.
    let logins = std::env::var("IMPORT_LOGINS").unwrap_or_else(|_| "150".into());
    let script = "mkdir /root/in; cd /root/in
         for number in $(seq 1 LOGINS); do
             uid=$((3000 + number)); name=member$number
             echo \"$name:x:$uid:$uid:Member $number:/home/members/users/$name:/bin/bash\" >>passwd
             echo \"$name:\\$6\\$salt$number\\$hash:19000:0:99999:7:::\" >>shadow
             echo \"$name:x:$uid:\" >>group
         done
         echo team:x:2999:member1,member150,member2 >team; cat team group >all; mv all group; rm team";
    mosh.sh(&script.replace("LOGINS", &logins)).success();
    let arrived = || {
        slapd.stored("(uidNumber>=3000)").matches("dn: ").count()
            + slapd.stored("(&(objectClass=posixGroup)(gidNumber>=2999))").matches("dn: ").count()
    };
    let mut before = arrived();
    for _ in 0..3 {
        killed_before(&mosh, 100, "import /root/in --apply").0.exit(137);
        assert!(arrived() > before, "it was killed in the middle");
        before = arrived();
    }
    assert!(before < 2 * logins.parse::<usize>().expect("a number"), "it was killed in the middle");
    let argv = ["identityctl", "import", "/root/in", "--apply"];
    let rest = mosh.call(argv).limit(Duration::from_secs(600)).run().success();
    println!("{logins} logins with their groups, the rest of them in {:?}", rest.took);
    assert!(ctl(&mosh, "import /root/in --apply").success().stdout.contains("Nothing to change"));
    ctl(&mosh, "export /root/out").success();
    for file in ["passwd", "shadow", "group"] {
        mosh.run(["diff", &format!("/root/in/{file}"), &format!("/root/out/{file}")]).success();
    }
    sound(&mosh);
}

#[test]
fn a_copy_from_sqlite_over_ldap_and_mariadb_to_sqlite_is_the_same_byte_for_byte() {
    let mosh = boot!(Mosh::builder().without_daemon());
    for line in [
        "membership add coop --title The_Cooperative",
        "membership add empty",
        "login add ana --gecos Ana --capabilities shell,sftp,mail --membership coop",
        "login add ben --locked --expires 2031-02-28 --capabilities sftp",
        "login add cora --uid 5000 --shell /bin/sh --home /srv/cora",
        "login set cora --max-days 90 --warn-days 7",
        "group add web",
        "group add-member web ana",
        "group add-member web cora",
        "login add gone",
        "login remove gone",
        "group add old",
        "group remove old",
    ] {
        ctl(&mosh, line).success();
    }
    with_stdin(&mosh, "login passwd ana --hash-stdin", "$6$salt$abcdef\n").success();
    with_stdin(&mosh, "login passwd ben --hash-stdin", "!$y$j9T$x$y\n").success();
    mosh.sh("ssh-keygen -q -t ed25519 -N '' -C ana@home -f /root/k").success();
    ctl(&mosh, "key add ana /root/k.pub").success();

    let slapd = mosh.slapd("");
    let db = mosh.mariadb(1);
    db.apply_schema();
    let plain = mosh.read("/etc/identityd/identityd.toml");
    // They write the password files.
    mosh.ldap_directory(&[slapd.url()], "");
    mosh.write("/etc/identityd/identityd.toml", &plain);
    mosh.use_mariadb(&[db.socket()], "");
    mosh.write("/etc/identityd/identityd.toml", &plain);
    let ldap = in_ldap(&mosh, slapd);
    let mysql = other(&mosh, "mysql", &format!("type = \"mysql\"\nservers = [\"{}\"]", db.socket()));
    mosh.sh("install -d -o identityd -g identityd -m 0700 /srv/new").success();
    let first = "sqlite:/var/lib/identityd/directory.db";
    for (from, to) in [(first, ldap.as_str()), (&ldap, &mysql), (&mysql, "sqlite:/srv/new/directory.db")] {
        let copied = mosh.identityctl(["directory", "copy", "--from", from, "--to", to, "--json"]).success();
        assert_eq!(copied.stderr, "", "quiet in a pipe");
        let report: serde_json::Value = serde_json::from_str(&copied.stdout).unwrap();
        assert_eq!(
            (report["same"].as_bool(), report["copied"]["logins"].as_u64()),
            (Some(true), Some(3)),
            "{report:#}"
        );
        assert_eq!(report["copied"]["retired"], 3, "a login, its group, and a group: {report:#}");
    }
    ctl(&mosh, "export /root/before").success();
    mosh.write(
        "/etc/identityd/identityd.toml",
        &plain.replace("type = \"sqlite\"\n", "type = \"sqlite\"\npath = \"/srv/new/directory.db\"\n"),
    );
    ctl(&mosh, "export /root/after").success();
    for file in ["passwd", "shadow", "group"] {
        mosh.run(["cmp", &format!("/root/before/{file}"), &format!("/root/after/{file}")]).success();
    }
    let shown = json(&mosh, "key list ana");
    assert!(shown[0]["added"].is_string(), "the day of a key comes along: {shown}");
    // What is there already is not mixed with something else.
    let again = mosh.identityctl(["directory", "copy", "--from", first, "--to", &mysql]).exit(1);
    assert!(again.stderr.contains("it is not empty"), "{again}");
    ctl(&mosh, "login add late").success();
    let again =
        mosh.identityctl(["directory", "copy", "--from", "sqlite:/srv/new/directory.db", "--to", &ldap]).success();
    assert!(again.text().contains("the same"), "what an earlier copy brought is the beginning of this one: {again}");
}

#[test]
fn a_hash_that_crypt_cannot_check_is_not_lost_without_a_word() {
    let entries = [
        LdapLogin::new("ana", 20_001).line("userPassword: {SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ8zJaF").ldif(),
        LdapLogin::new("ben", 20_002).line("userPassword: {CRYPT}$6$salt$abc").ldif(),
        group_ldif("ana", 20_001, &[]),
        group_ldif("ben", 20_002, &[]),
    ];
    administered!(mosh, slapd, &entries.concat(), "");
    let ldap = in_ldap(&mosh, slapd);
    mosh.sh("install -d -o identityd -g identityd -m 0700 /srv/new").success();
    let copy = ["directory", "copy", "--from", &ldap, "--to", "sqlite:/srv/new/directory.db"];
    let refused = mosh.identityctl(copy).exit(1);
    assert!(
        refused.stderr.contains("ana ({SSHA})") && refused.stderr.contains("--drop-foreign-passwords"),
        "{refused}"
    );
    let copied = mosh.identityctl(copy.into_iter().chain(["--drop-foreign-passwords"])).success();
    assert!(copied.stderr.contains("left out: the password of ana ({SSHA})"), "{copied}");
    let shown = ctl(&mosh, "login show ana").success();
    assert!(shown.text().contains("its password is stored as {SSHA}"), "{shown}");
    let exported = ctl(&mosh, "export /root/out").success();
    assert!(exported.stderr.contains("the password of ana is {SSHA}"), "{exported}");
    assert_eq!(
        mosh.read("/root/out/shadow").lines().map(|line| line.split(':').nth(1).unwrap()).collect::<Vec<_>>(),
        ["*", "$6$salt$abc"]
    );

    // Who may not read them does not copy a directory of logins without passwords.
    let panel = mosh.read(&ldap).replace("cn=identityctl,", "cn=panel,");
    mosh.write(&ldap, &panel);
    let refused = mosh.identityctl(copy).exit(1);
    assert!(refused.stderr.contains("may not read userPassword"), "{refused}");
}

#[test]
fn a_written_login_is_visible_at_once_on_a_host_that_follows() {
    administered!(mosh, _slapd);
    mosh.daemon().start();
    mosh.run(["getent", "passwd", "ana"]).exit(2);
    let added = json(&mosh, "login add ana --capabilities shell");
    assert_eq!((added["visible"].as_bool(), added["changed"].as_bool()), (Some(true), Some(true)), "{added}");
    assert!(mosh.run(["getent", "passwd", "ana"]).success().text().ends_with(":/home/members/users/ana:/bin/bash"));
    for line in [
        "login set ana --shell /bin/sh",
        "group add web",
        "group add-member web ana",
        "login lock ana",
        "login unlock ana",
    ] {
        assert_eq!(json(&mosh, line)["visible"], true, "{line}");
    }
    let again = json(&mosh, "login unlock ana");
    assert_eq!((again["visible"].as_bool(), again["changed"].as_bool()), (Some(true), Some(false)), "{again}");
    assert!(mosh.run(["id", "ana"]).success().text().contains("(web)"));
    assert_eq!(json(&mosh, "login rename ana anna")["visible"], true);
    mosh.run(["getent", "passwd", "anna"]).success();
    assert_eq!(json(&mosh, "login remove anna")["visible"], true);
    mosh.run(["getent", "passwd", "anna"]).exit(2);
    with_stdin(&mosh, "login add ben --capabilities shell --stdin", "secret of ben\n").success();
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("ben", tests::mosh::Auth::Password("secret of ben"), "id -un").success().text(), "ben");
}

#[test]
fn a_copy_that_cannot_be_written_says_where_to_write() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let provider = mosh.slapd("");
    let consumer = mosh.slapd_copy_of(&provider);
    let plain = mosh.read("/etc/identityd/identityd.toml");
    mosh.ldap_directory(&[consumer.url()], "");
    let refused = ctl(&mosh, "login add ana").exit(1);
    assert!(
        refused.stderr.contains(&provider.url()) && refused.stderr.contains("not in [directory] servers"),
        "{refused}"
    );
    mosh.write("/etc/identityd/identityd.toml", &plain);
    mosh.ldap_directory(&[consumer.url(), provider.url()], "");
    ctl(&mosh, "login add ana").success();
    assert!(provider.stored("(uid=ana)").contains("uidNumber: 1000001"));
    mosh.wait_until("the copy has it", Duration::from_secs(20), |_| consumer.stored("(uid=ana)").contains("uidNumber"));
}

#[test]
fn root_of_the_servers_own_machine_needs_no_password() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd("");
    mosh.ldap_directory(&[slapd.ldapi()], "admin_dn = \"\"");
    ctl(&mosh, "login add ana").success();
    with_stdin(&mosh, "login passwd ana --stdin", "secret\n").success();
    let ana = json(&mosh, "login show ana");
    assert_eq!((ana["password"].as_str(), ana["uid"].as_u64()), (Some("yescrypt"), Some(1_000_001)));
    assert!(
        ana["aging"]["last_change"].as_str().is_some_and(|day| day != "1970-01-01"),
        "nobody is made to change it: {ana}"
    );
    let refused = mosh.call(["identityctl", "login", "list"]).user("nobody").run().exit(1);
    assert!(refused.stderr.contains("run it as root"), "{refused}");
    // Root's ids go and come while a file of identityd's is open.
    let own = other(
        &mosh,
        "own",
        &format!("type = \"ldap\"\nservers = [\"{}\"]\nbase = \"dc=example,dc=org\"", slapd.ldapi()),
    );
    mosh.sh("install -d -o identityd -g identityd -m 0700 /srv/new").success();
    mosh.identityctl(["directory", "copy", "--from", &own, "--to", "sqlite:/srv/new/directory.db"]).success();
    mosh.ldap_directory_is(&own, "ldap://localhost:1389");
    let refused = mosh.identityctl(["directory", "copy", "--from", &own, "--to", "sqlite:/srv/new/other.db"]).exit(1);
    assert!(refused.stderr.contains("nobody to write as"), "{refused}");
}
