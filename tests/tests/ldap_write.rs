//! identityctl on a directory in LDAP: the same commands and rules as in SQL, two administrators at once, interruptions, whole copies, and who may do what.

use std::time::Duration;

use tests::administrator::{self, ctl, json, with_stdin};
use tests::mosh::{LdapLogin, Output, Slapd, group_ldif};
use tests::{Mosh, boot};

/// A machine with a slapd as it is shipped, which identityctl administers; identityd does not run.
macro_rules! machine {
    ($mosh:ident, $slapd:ident) => {
        machine!($mosh, $slapd, "", "");
    };
    ($mosh:ident, $slapd:ident, $entries:expr, $more:expr) => {
        let $mosh = boot!(Mosh::builder().without_daemon());
        let $slapd = $mosh.slapd($entries);
        $mosh.ldap_directory(&[$slapd.url()], $more);
    };
}

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

/// Nothing is half there, as far as `doctor` can tell.
#[track_caller]
fn sound(mosh: &Mosh) {
    let report = mosh.identityctl(["doctor", "--json"]);
    let report: serde_json::Value =
        serde_json::from_str(&report.stdout).unwrap_or_else(|error| panic!("{error}: {report}"));
    let found = report["findings"].as_array().expect("a list").iter().find(|one| one["check"] == "directory");
    assert_eq!(found.expect("a finding")["severity"], "ok", "{report:#}");
    mosh.identityctl(["directory", "check"]).success();
}

#[test]
fn a_login_is_added_shown_listed_and_changed() {
    machine!(mosh, _slapd);
    administrator::a_login_is_added_shown_listed_and_changed(&mosh);
    sound(&mosh);
}

#[test]
fn a_login_is_locked_expired_moved_renamed_removed_and_restored_with_its_uid() {
    machine!(mosh, _slapd);
    administrator::a_login_is_locked_expired_moved_renamed_removed_and_restored_with_its_uid(&mosh);
    sound(&mosh);
}

#[test]
fn groups_and_their_members_are_kept() {
    machine!(mosh, _slapd);
    administrator::groups_and_their_members_are_kept(&mosh);
    sound(&mosh);
}

#[test]
fn memberships_are_kept_and_one_in_use_is_not_removed() {
    machine!(mosh, _slapd);
    administrator::memberships_are_kept_and_one_in_use_is_not_removed(&mosh);
    sound(&mosh);
}

#[test]
fn keys_are_added_from_a_file_or_standard_input_and_removed_by_fingerprint() {
    machine!(mosh, slapd);
    administrator::keys_are_added_from_a_file_or_standard_input_and_removed_by_fingerprint(&mosh);
    assert!(!slapd.stored("(uid=ana)").contains("mayfirstKeyAdded"), "the day of a key goes with it");
}

#[test]
fn impossible_names_ids_shells_and_homes_are_refused_with_the_rule() {
    machine!(mosh, _slapd);
    administrator::impossible_names_ids_shells_and_homes_are_refused_with_the_rule(&mosh);
}

#[test]
fn names_and_ids_are_given_once() {
    machine!(mosh, _slapd);
    administrator::names_and_ids_are_given_once(&mosh);
    sound(&mosh);
}

#[test]
fn passwords_come_from_standard_input_only() {
    machine!(mosh, slapd);
    administrator::passwords_come_from_standard_input_only(&mosh);
    with_stdin(&mosh, "login passwd ana --stdin", "secret\n").success();
    let stored = slapd.stored("(uid=ana)");
    // `{CRYPT}$y$` in base64.
    assert!(stored.contains("userPassword:: e0NSWVBUfSR5J") && !stored.contains("pwdReset"), "{stored}");
}

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
    machine!(mosh, _slapd);
    let found = refusals(&mosh);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn members_are_listed_by_name_or_by_dn_and_follow_a_new_name() {
    for style in ["name", "dn"] {
        machine!(mosh, slapd, "", &format!("write.members = \"{style}\""));
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
    machine!(mosh, slapd);
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
    machine!(mosh, slapd);
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
    machine!(mosh, slapd, &[left, trap].concat(), "");
    ctl(&mosh, "login add zoe").success();
    let zoe = json(&mosh, "login show zoe");
    assert_eq!((zoe["gid"].clone(), zoe["groups"].clone()), (zoe["uid"].clone(), serde_json::json!([])));
    let group = slapd.stored("(&(cn=zoe)(objectClass=posixGroup))");
    assert!(group.contains(&format!("gidNumber: {}", zoe["gid"])) && !group.contains("is adding"), "{group}");
    sound(&mosh);
}

#[test]
fn an_import_that_was_killed_goes_on_and_comes_back_out_byte_for_byte() {
    machine!(mosh, slapd);
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
    machine!(mosh, slapd, &entries.concat(), "");
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
    machine!(mosh, _slapd);
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

#[test]
fn nobody_gets_an_id_that_somebody_had_before_whoever_writes() {
    machine!(mosh, slapd);
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
    machine!(mosh, slapd);
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
