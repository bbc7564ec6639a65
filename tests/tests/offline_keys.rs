//! Keys and cron while the directory is away and identityd was restarted: for who has entered this host before, and for nobody else.

use std::time::Duration;

use tests::mosh::{Auth, Builder, LdapLogin, Sshd};
use tests::{Login, Mosh, boot};

const SOON: Duration = Duration::from_secs(20);
/// The private keys of ana, and of everybody else.
const HERS: Auth<'_> = Auth::Key("/root/hers");
const KEY: Auth<'_> = Auth::Key("/root/key");
/// Says whether identityd noticed that its directory is away.
const AWAY: &str = "has not answered for";

/// Two key pairs, a file to send, and a job of cron that leaves a trace.
fn machine() -> Builder {
    Mosh::builder().file("/root/sent", "from here\n").prepare(
        "ssh-keygen -q -t ed25519 -N '' -C 'of ana' -f /root/hers
         ssh-keygen -q -t ed25519 -N '' -C 'of all' -f /root/key",
    )
}

/// ana has everything, web moves files, lea has jobs, ben could enter and never did.
fn people() -> [Login; 4] {
    let login = |name: &str, capabilities: &[&'static str]| {
        Login::new(name).password("secret").capabilities(capabilities.iter().copied())
    };
    [
        login("ana", &["shell", "sftp", "cron"]),
        login("ben", &["shell", "cron"]),
        login("lea", &["cron"]),
        login("web", &["sftp"]),
    ]
}

fn give_keys(mosh: &Mosh) {
    mosh.identityctl(["key", "add", "ana", "/root/hers.pub"]).success();
    for login in ["ana", "ben", "web"] {
        mosh.identityctl(["key", "add", login, "/root/key.pub"]).success();
    }
}

/// The directory of this machine is the embedded one.
macro_rules! embedded {
    ($builder:expr) => {{
        let mosh = boot!($builder.logins(people()));
        give_keys(&mosh);
        mosh
    }};
}

fn cron(mosh: &Mosh, login: &str) -> tests::mosh::Output {
    mosh.run(["pamtester", "cron", login, "acct_mgmt", "open_session"])
}

/// What `offline.db` says, counted.
fn kept(mosh: &Mosh, condition: &str) -> String {
    let question = format!("SELECT count(*) FROM record WHERE suspect = 0 AND {condition}");
    let script = "import sqlite3, sys; print(sqlite3.connect('/var/lib/identityd/offline.db').execute(sys.argv[1]).fetchone()[0])";
    mosh.run(["python3", "-c", script, &question]).text().to_owned()
}

/// ana and web come by key, lea has a job; this host keeps that.
fn enter<'m>(mosh: &'m Mosh, names: &[&str]) -> Sshd<'m> {
    let sshd = mosh.sshd(&[]);
    for name in names {
        match *name {
            "ana" => assert_eq!(sshd.ssh("ana", HERS, "id -un").success().text(), "ana"),
            "web" => drop(sshd.sftp("web", KEY, "put /root/sent site").success()),
            job => drop(cron(mosh, job).success()),
        }
    }
    let known = "json_extract(facts, '$.keys') IS NOT NULL AND json_extract(facts, '$.groups') IS NOT NULL";
    mosh.wait_until("it is kept", SOON, |mosh| kept(mosh, known) == names.len().to_string());
    sshd
}

/// The embedded directory goes, and identityd begins anew.
fn take_away(mosh: &Mosh) {
    // identityctl waits two seconds at most for what it has written; here it has to have been received.
    let newest = "sqlite3 -readonly /var/lib/identityd/directory.db 'SELECT generation FROM directory'";
    let newest = mosh.sh(newest).success();
    mosh.identityctl(["wait", "--generation", newest.text(), "--timeout", "50s"]).success();
    mosh.sh("mkdir -p /away && mv /var/lib/identityd/directory.db* /away/").success();
    restart(mosh);
}

fn restart(mosh: &Mosh) {
    mosh.daemon().stop();
    mosh.daemon().start();
    mosh.wait_until("it is noticed", SOON, |mosh| mosh.identityctl(["status"]).stdout.contains(AWAY));
}

fn bring_back(mosh: &Mosh) {
    // The file last: identityd opens it at once, and without its log it would be an older directory.
    mosh.sh(
        "cd /away && for file in directory.db-* directory.db; do test ! -e $file || mv $file /var/lib/identityd/; done",
    )
    .success();
    mosh.wait_until("it is well", SOON, |mosh| !mosh.identityctl(["status"]).stdout.contains(AWAY));
}

/// What works without the directory and what does not, after a restart.
fn goes_on(mosh: &Mosh, sshd: Sshd<'_>) {
    assert_eq!(sshd.ssh("ana", HERS, "id -un").success().text(), "ana");
    // Another key of hers, which was not used here, is as good.
    sshd.ssh("ana", KEY, "true").success();
    sshd.sftp("web", KEY, "put /root/sent more\nget more /root/back").success();
    assert_eq!(mosh.read("/root/back"), "from here\n");
    // An sftp-only login is as confined as ever.
    let output = sshd.ssh("web", KEY, "id -un").exit(1);
    assert!(output.stdout.contains("This service allows sftp connections only."), "{output}");
    let listed = sshd.sftp("web", KEY, "ls -1 /").success();
    assert!(!listed.stdout.contains("/etc"), "{listed}");
    cron(mosh, "ana").success();
    cron(mosh, "lea").success();
    let why = mosh.identityctl(["why", "ana", "sshd"]).success();
    assert!(why.text().contains("known without the directory?"), "{why}");
    // No password was used here, so none is right; who never was here stays outside.
    sshd.ssh("ana", Auth::Password("secret"), "true").exit(255);
    sshd.ssh("web", HERS, "true").exit(255);
    sshd.ssh("ben", KEY, "true").exit(255);
    cron(mosh, "ben").failure();
}

#[test]
fn who_came_by_key_and_jobs_of_cron_go_on_without_the_file() {
    let mosh = embedded!(machine());
    for name in ["lea", "ben"] {
        let table = format!("@reboot id -un >/tmp/{name}; id -Gn >>/tmp/{name}\n");
        mosh.call(["crontab", "-u", name, "-"]).stdin(table).run().success();
    }
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    take_away(&mosh);
    goes_on(&mosh, sshd);
    mosh.cron();
    mosh.wait_until("lea's job has run", SOON, |mosh| mosh.try_read("/tmp/lea").is_ok_and(|text| text == "lea\nlea\n"));
    mosh.wait_until("ben's has been refused", SOON, |mosh| {
        mosh.syslog().contains("identityd cannot reach the directory for ben")
    });
    assert!(!mosh.exists("/tmp/ben"));
    let status = mosh.identityctl(["status"]).stdout;
    assert!(status.contains("3 logins can still enter, 0 of them with their passwords"), "{status}");
    bring_back(&mosh);
    sshd.ssh("ben", KEY, "true").success();
}

#[test]
fn they_go_on_while_mariadb_is_away() {
    let mosh = boot!(machine().without_daemon());
    let db = mosh.mariadb(1);
    db.apply_schema();
    mosh.use_mariadb(&[db.socket()], "");
    people().iter().for_each(|login| mosh.add(login));
    give_keys(&mosh);
    mosh.daemon().start();
    mosh.wait_until("it is published", SOON, |mosh| mosh.run(["getent", "passwd", "web"]).ok());
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    db.kill();
    restart(&mosh);
    goes_on(&mosh, sshd);
    db.start();
    mosh.wait_until("it is well", SOON, |mosh| !mosh.identityctl(["status"]).stdout.contains(AWAY));
    // Removed by plain SQL, as a panel does, and received before it goes again.
    db.sql("USE identity; DELETE FROM ssh_key WHERE line LIKE '%of ana'");
    mosh.wait_until("it is received", SOON, |mosh| {
        kept(mosh, "facts LIKE '%of ana%'") == "0" && kept(mosh, "1") == "3"
    });
    // Silent this time: connections are taken, and nothing answers.
    db.pause();
    restart(&mosh);
    sshd.ssh("ana", HERS, "true").exit(255);
    sshd.ssh("ana", KEY, "true").success();
    sshd.sftp("web", KEY, "ls").success();
    cron(&mosh, "lea").success();
    db.resume();
}

#[test]
fn they_go_on_while_slapd_is_away() {
    let mosh = boot!(machine().without_daemon());
    let key = |file: &str| format!("sshPublicKey: {}", mosh.read(file).trim());
    let (hers, all) = (key("/root/hers.pub"), key("/root/key.pub"));
    let login = |name: &str, uid: u32, capabilities: &[&str]| {
        let login = LdapLogin::new(name, uid).password("secret");
        capabilities.iter().fold(login, |login, capability| login.capability(capability))
    };
    let people = [
        login("ana", 20_001, &["shell", "sftp", "cron"]).line(&hers).line(&all).ldif(),
        login("ben", 20_002, &["shell", "cron"]).line(&all).ldif(),
        login("lea", 20_003, &["cron"]).ldif(),
        login("web", 20_004, &["sftp"]).line(&all).ldif(),
    ];
    let slapd = mosh.slapd(&people.concat());
    mosh.ldap_directory(&[slapd.url()], "");
    mosh.daemon().start();
    mosh.wait_until("it is published", SOON, |mosh| mosh.run(["getent", "passwd", "web"]).ok());
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    slapd.kill();
    restart(&mosh);
    goes_on(&mosh, sshd);
}

#[test]
fn a_key_that_was_removed_before_does_not_work() {
    let mosh = embedded!(machine());
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    let fingerprint = mosh.sh("ssh-keygen -lf /root/hers.pub | cut -d' ' -f2").success();
    mosh.identityctl(["key", "remove", "ana", fingerprint.text()]).success();
    mosh.wait_until("it is received", SOON, |mosh| {
        kept(mosh, "facts LIKE '%of ana%'") == "0" && kept(mosh, "1") == "3"
    });
    take_away(&mosh);
    sshd.ssh("ana", HERS, "true").exit(255);
    sshd.ssh("ana", KEY, "true").success();
}

#[test]
fn a_locked_an_expired_and_a_removed_login_stay_outside() {
    let mosh = embedded!(machine());
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    mosh.identityctl(["login", "lock", "ana"]).success();
    mosh.identityctl(["login", "expire", "web", "2020-01-01"]).success();
    mosh.identityctl(["login", "remove", "lea"]).success();
    take_away(&mosh);
    sshd.ssh("ana", HERS, "true").exit(255);
    sshd.sftp("web", KEY, "ls").exit(255);
    for name in ["ana", "web", "lea"] {
        cron(&mosh, name).failure();
    }
}

#[test]
fn after_the_days_nobody_enters_by_key() {
    let mosh = embedded!(machine());
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    mosh.daemon().stop();
    let script = "import sqlite3; db = sqlite3.connect('/var/lib/identityd/offline.db'); \
                  db.execute('UPDATE record SET known = known - 7 * 86400 - 60'); db.commit()";
    mosh.run(["python3", "-c", script]).success();
    mosh.daemon().start();
    take_away(&mosh);
    sshd.ssh("ana", HERS, "true").exit(255);
    cron(&mosh, "lea").failure();
    mosh.configure("auth", "offline_days = 30");
    restart(&mosh);
    sshd.ssh("ana", HERS, "true").success();
    cron(&mosh, "lea").success();
}

#[test]
fn without_a_snapshot_sshd_could_not_confine_to_files_so_such_a_login_stays_outside() {
    let mosh = embedded!(machine().lookup());
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    take_away(&mosh);
    assert_eq!(sshd.ssh("ana", HERS, "id -un").success().text(), "ana");
    sshd.sftp("web", KEY, "ls").exit(255);
    assert!(mosh.journal().contains("may confine it"), "{}", mosh.journal());
}

#[test]
fn groups_of_access_are_judged_by_what_is_kept() {
    let mosh = embedded!(machine());
    for (group, login) in [("staff2", "ana"), ("others", "web")] {
        mosh.identityctl(["group", "add", group]).success();
        mosh.identityctl(["group", "add-member", group, login]).success();
    }
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    let sed = |line: &str| {
        mosh.sh(&format!(
            "sed -i '/^allow_groups/d; /^deny_groups/d; s/^.access.$/&\\n{line}/' /etc/identityd/identityd.toml"
        ))
        .success()
    };
    sed("allow_groups = [\"staff2\"]");
    take_away(&mosh);
    sshd.ssh("ana", HERS, "true").success();
    sshd.sftp("web", KEY, "ls").exit(255);
    // With the gid of a local group it permits nothing, and still denies.
    mosh.sh("gid=$(getent group staff2 | cut -d: -f3) && echo here:x:$gid: >>/etc/group").success();
    restart(&mosh);
    sshd.ssh("ana", HERS, "true").exit(255);
    sed("deny_groups = [\"staff2\"]");
    restart(&mosh);
    sshd.ssh("ana", HERS, "true").exit(255);
    sshd.sftp("web", KEY, "ls").success();
}

#[test]
fn a_member_with_a_shell_makes_this_host_keep_nothing_of_others() {
    let mosh = embedded!(machine());
    enter(&mosh, &["ana"]);
    for program in [
        &["pamtester", "cron", "ben", "acct_mgmt"][..],
        &["pamtester", "su", "ben", "acct_mgmt"],
        &["identityctl", "ssh-keys", "ben"],
        &["identityctl", "why", "ben", "sshd"],
    ] {
        mosh.call(program.iter().copied()).user("ana").run().failure();
    }
    mosh.call(["su", "ben", "-c", "true"]).user("ana").stdin("wrong\n").run().failure();
    // Strangers knock with a key that is not hers.
    mosh.run(["identityctl", "ssh-keys", "web"]).success();
    cron(&mosh, "lea").success();
    mosh.wait_until("lea is kept", SOON, |mosh| kept(mosh, "name = 'lea'") == "1");
    assert_eq!(kept(&mosh, "name NOT IN ('ana', 'lea')"), "0");
}

#[test]
fn a_reload_turns_it_off_with_all_that_was_kept_and_on_again() {
    let mosh = embedded!(machine());
    let sshd = enter(&mosh, &["ana", "web", "lea"]);
    mosh.configure("auth", "offline_days = 0");
    mosh.identityctl(["reload"]).success();
    assert_eq!(mosh.sh("cd /var/lib/identityd && ls | grep -E '^(offline|host)' || true").text(), "");
    assert!(mosh.journal().contains("what this host kept of logins has been removed"), "{}", mosh.journal());
    sshd.ssh("ana", HERS, "true").success();
    assert!(!mosh.exists("/var/lib/identityd/offline.db"));
    mosh.sh("sed -i 's/^offline_days = 0$/offline_days = 7/' /etc/identityd/identityd.toml").success();
    mosh.daemon().reload();
    // The file is there before it is in use.
    mosh.wait_until("it is kept again", SOON, |mosh| mosh.journal().contains("is kept from now on"));
    assert_eq!(
        mosh.run(["stat", "-c", "%a %U", "/var/lib/identityd/host.key", "/var/lib/identityd/offline.db"]).text(),
        "600 identityd\n600 identityd"
    );
    sshd.ssh("ana", HERS, "true").success();
    mosh.wait_until("ana is kept", SOON, |mosh| kept(mosh, "name = 'ana'") == "1");
    take_away(&mosh);
    sshd.ssh("ana", HERS, "true").success();
    cron(&mosh, "lea").failure();
}
