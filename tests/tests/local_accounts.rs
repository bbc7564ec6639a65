//! identityctl local: a server's own accounts go over to the directory, and come back.

use std::time::Duration;

use serde_json::Value;
use tests::mosh::{Auth, LdapLogin, group_ldif};
use tests::{Mosh, boot};

const LIMIT: Duration = Duration::from_secs(20);

/// Accounts as they grow on a server: with a group of their own, a shared one, passwords, rights of sudo and a crontab.
const ACCOUNTS: &str = "
useradd -m -s /bin/bash -u 2001 -c 'Ana' ana && echo ana:opensesame | chpasswd
useradd -m -s /bin/bash -u 2002 ben && echo ben:sesameopen | chpasswd
groupadd -g 3000 web && gpasswd -M ana,ben web
usermod -aG sudo ana
echo 'ben ALL=(ALL) NOPASSWD: /bin/true' >/etc/sudoers.d/ben && chmod 0440 /etc/sudoers.d/ben
useradd --system -g web -s /usr/sbin/nologin deploy";

/// A machine whose own accounts are in the directory.
macro_rules! imported {
    ($script:expr) => {{
        let mosh = boot!(Mosh::builder().prepare(&format!("{ACCOUNTS}\n{}", $script)));
        mosh.sh("identityctl import /etc --apply").success();
        mosh
    }};
}

const FILES: &str = "cat /etc/passwd /etc/shadow /etc/group /etc/gshadow; stat -c '%n %U:%G %a' /etc/passwd /etc/shadow /etc/group /etc/gshadow";

fn plan(mosh: &Mosh) -> Value {
    let output = mosh.identityctl(["local", "release", "--json"]).success();
    serde_json::from_str::<Value>(&output.stdout).expect("JSON")["plan"].clone()
}

/// Why an entry stays; `None`: it moves.
fn stays(plan: &Value, kind: &str, name: &str) -> Option<String> {
    let entries = plan["entries"].as_array().expect("entries");
    let entry = entries.iter().find(|entry| entry["kind"] == kind && entry["name"] == name);
    entry.unwrap_or_else(|| panic!("{name} in {plan:#}"))["stays"].as_str().map(str::to_owned)
}

#[test]
fn accounts_that_were_imported_move_over_and_come_back_to_the_byte() {
    let mosh = imported!("userdel deploy");
    let before = mosh.sh(FILES).success().stdout;
    let shown = mosh.identityctl(["local", "release"]).success();
    for text in ["moves", "local group sudo", "/etc/sudoers.d/ben", "To do it, add --apply"] {
        assert!(shown.stdout.contains(text), "{text}: {shown}");
    }
    assert_eq!(mosh.sh(FILES).success().stdout, before);
    let as_local = mosh.run(["id", "ana"]).success().stdout;

    mosh.identityctl(["local", "release", "--apply"]).success();
    for file in ["passwd", "shadow", "group", "gshadow"] {
        mosh.sh(&format!("grep -E '^(ana|ben|web):' /etc/{file}")).failure();
        assert!(!mosh.exists(&format!("/etc/{file}.lock")) && !mosh.exists(&format!("/etc/{file}.identityctl-old")));
        mosh.sh("ls /etc/*.identityctl-*").failure();
    }
    assert_eq!(mosh.run(["id", "ana"]).success().stdout, as_local);
    assert_eq!(
        mosh.run(["getent", "-s", "mayfirst", "passwd", "2001"]).success().text(),
        "ana:x:2001:2001:Ana:/home/ana:/bin/bash"
    );
    assert_eq!(mosh.run(["getent", "group", "web"]).success().text(), "web:x:3000:ana,ben");
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("ana", Auth::Password("opensesame"), "id -un").success().text(), "ana");
    let doctor = mosh.identityctl(["doctor"]);
    assert!(doctor.stdout.contains("login ben has rules of sudo"), "{doctor}");
    let again = mosh.identityctl(["local", "release", "--apply"]).success();
    assert!(again.stdout.contains("Nothing to move"), "{again}");

    mosh.identityctl(["local", "restore"]).success();
    mosh.sh("grep ^ana: /etc/passwd").failure();
    mosh.identityctl(["local", "restore", "--apply"]).success();
    assert_eq!(mosh.sh(FILES).success().stdout, before);
    assert_eq!(sshd.ssh("ana", Auth::Password("opensesame"), "id -un").success().text(), "ana");
    assert_eq!(mosh.run(["id", "ana"]).success().stdout, as_local);
    let again = mosh.identityctl(["local", "restore", "--apply"]).success();
    assert!(again.stdout.contains("Nothing to put back"), "{again}");
}

#[test]
fn who_comes_back_alone_leaves_nobody_without_a_primary_group_and_is_told_of_the_groups_that_stay() {
    let mosh = imported!("userdel deploy; useradd -M -d /home/cyd -s /bin/bash -u 2003 -g ben cyd");
    mosh.identityctl(["local", "release", "--apply"]).success();
    let shown = mosh.identityctl(["local", "restore", "ana"]).success();
    assert!(shown.stdout.contains("These groups stay in the directory") && shown.stdout.contains(": web"), "{shown}");
    let refused = mosh.identityctl(["local", "restore", "ben", "--apply"]).exit(1);
    assert!(refused.stderr.contains("ben is the primary group of cyd as well"), "{refused}");
    mosh.sh("grep -E '^(ana|ben|cyd):' /etc/passwd").failure();
    mosh.identityctl(["local", "restore", "ben", "cyd", "--apply"]).success();
    assert_eq!(mosh.run(["id", "-gn", "cyd"]).success().text(), "ben");
}

#[test]
fn an_administrator_stays_and_who_was_removed_meanwhile_is_named_before_it_comes_back() {
    let mosh = imported!("userdel deploy");
    mosh.identityctl(["local", "release", "--keep", "nobody-here"]).failure();
    mosh.identityctl(["local", "release", "ana", "--keep", "ben"]).exit(2);
    let shown = mosh.identityctl(["local", "release", "--keep", "ben", "--apply"]).success();
    assert!(shown.stdout.contains("it is kept (--keep)"), "{shown}");
    assert_eq!(mosh.sh("grep -cE '^(ana|ben):' /etc/passwd").text(), "1");
    mosh.sh("grep ^ben: /etc/passwd && grep ^web: /etc/group").success();

    mosh.identityctl(["login", "remove", "ana"]).success();
    mosh.wait_until("she is gone", LIMIT, |mosh| mosh.run(["getent", "passwd", "ana"]).stdout.is_empty());
    let shown = mosh.identityctl(["local", "restore"]).success();
    assert!(shown.stdout.contains("would be a login here again: ana"), "{shown}");
    let json = mosh.identityctl(["local", "restore", "--json"]).success();
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["not_in_directory"], serde_json::json!(["ana"]));
    mosh.identityctl(["local", "restore", "--apply"]).success();
    mosh.sh("grep ^ana: /etc/passwd").success();
}

#[test]
fn what_is_not_the_same_in_the_directory_stays_with_its_reason() {
    let mosh = imported!(
        "useradd -m -u 2003 -s /bin/bash cem; useradd -m -u 2004 -s /bin/bash dan
         useradd -m -u 2005 -s /bin/bash eva; useradd -m -u 2006 -s /bin/bash fay
         useradd -m -u 2008 -s /bin/bash ian; useradd -m -u 2009 -s /bin/bash jon; useradd -m -u 2011 -s /bin/bash kim
         for name in ian jon kim; do echo $name:secret | chpasswd; done"
    );
    mosh.sh(
        "usermod -u 2103 cem; usermod -d /srv/dan dan; useradd -m -u 2007 -s /bin/bash gus; gpasswd -a www-data fay
         usermod -s /usr/sbin/nologin ian; chage -E 0 jon; usermod -L kim
         echo ' odd:x:2010:2010::/:/bin/sh' >>/etc/passwd",
    )
    .success();
    let before = mosh.sh(FILES).success().stdout;
    let plan = plan(&mosh);
    for (kind, name, reason) in [
        ("account", "cem", "the directory has the uid 2003"),
        ("account", "dan", "the directory has the home /home/dan"),
        ("account", "gus", "the directory has no login"),
        ("account", "fay", "its primary group fay stays: its member www-data is not in the directory's group"),
        ("account", "odd", "not exactly as passwd(5) says"),
        ("account", "ian", "it has no shell here, and open in the directory"),
        ("account", "jon", "it has expired here"),
        ("account", "kim", "it is locked here"),
        // deploy is of the system and stays.
        ("group", "web", "it is the primary group of deploy, which stays"),
    ] {
        let found = stays(&plan, kind, name);
        assert!(found.as_ref().is_some_and(|found| found.contains(reason)), "{name}: {found:?}");
    }
    for name in ["ana", "ben", "eva"] {
        assert_eq!(stays(&plan, "account", name), None, "{plan:#}");
    }
    assert!(!plan.to_string().contains("\"root\""), "{plan:#}");
    let refused = mosh.identityctl(["local", "release", "cem", "--apply"]).exit(1);
    assert!(refused.stderr.contains("cem stays: the directory has the uid 2003"), "{refused}");
    assert_eq!(mosh.sh(FILES).success().stdout, before);

    mosh.identityctl(["local", "release", "eva", "--apply"]).success();
    mosh.sh("grep -E '^eva:' /etc/passwd /etc/shadow /etc/group /etc/gshadow").failure();
    mosh.sh("grep ^ana: /etc/passwd").success();
    // Somebody else has its uid meanwhile.
    mosh.sh("echo 'hal:x:2005:100::/:/bin/sh' >>/etc/passwd").success();
    let conflict = mosh.identityctl(["local", "restore", "--apply"]).exit(1);
    assert!(conflict.stderr.contains("hal with the id 2005 of eva"), "{conflict}");
    mosh.sh("sed -i /^hal:/d /etc/passwd && identityctl local restore eva --apply").success();
    assert_eq!(mosh.sh(FILES).success().stdout, before);
}

/// Each account as it was before it moved: by name and number, with its groups.
const WHOLE: &str = "id ana && id ben && getent passwd 2001 && getent passwd 2002 && getent group web && getent group 3000 && getent group ben";

#[test]
fn an_account_is_known_at_every_moment_while_it_moves() {
    let mosh = imported!("userdel deploy");
    let before = mosh.sh(WHOLE).success().stdout;
    mosh.write("/root/before", &before);
    let watch = format!(
        "while [ ! -e /root/stop ]; do ({WHOLE}) >/root/now 2>&1; cmp /root/before /root/now || {{ cat /root/now; touch /root/stop; exit 1; }}; echo >>/root/rounds; done"
    );
    let rounds = |mosh: &Mosh| mosh.try_read("/root/rounds").map_or(0, |rounds| rounds.lines().count());
    let look = |mosh: &Mosh| {
        let so_far = rounds(mosh);
        mosh.wait_until("a look", LIMIT, |mosh| rounds(mosh) > so_far + 1 || mosh.exists("/root/stop"));
    };
    for _ in 0..4 {
        mosh.sh("rm -f /root/stop /root/rounds").success();
        let mut watching = mosh.call(["sh", "-c", &watch]).spawn();
        look(&mosh);
        mosh.identityctl(["local", "release", "--apply"]).success();
        look(&mosh);
        mosh.write("/root/stop", "");
        watching.finish(LIMIT).success();
        // Coming back, a look-up may be answered "could not be found out": between `files` and the module the account is in neither.
        mosh.identityctl(["local", "restore", "--apply"]).success();
        assert_eq!(mosh.sh(WHOLE).success().stdout, before);
    }
}

#[test]
fn killed_between_two_files_every_account_is_known_can_log_in_and_the_same_command_ends_it() {
    let mosh = imported!("userdel deploy");
    let files = mosh.sh(FILES).success().stdout;
    let before = mosh.sh(WHOLE).success().stdout;
    let sshd = mosh.sshd(&[]);
    let mut in_the_middle = 0;
    // On a slow machine a kill may come when all is done.
    let lines = [("ana", "group"), ("ana", "gshadow"), ("ana", "passwd"), ("web", "group"), ("web", "gshadow")];
    for (turn, (line, file)) in lines.into_iter().cycle().enumerate().take(50) {
        if turn >= lines.len() && in_the_middle > 0 {
            break;
        }
        // As soon as this file is another one. The last is shadow.
        let killed = mosh.sh(&format!(
            "identityctl local release --apply & while grep -q ^{line}: /etc/{file}; do :; done; kill -9 $!; wait $!; grep -c ^ana: /etc/shadow"
        ));
        in_the_middle += u32::from(killed.text().ends_with('1'));
        assert_eq!(mosh.sh(WHOLE).success().stdout, before, "after {line} in {file}");
        assert_eq!(sshd.ssh("ana", Auth::Password("opensesame"), "id -un").success().text(), "ana", "after {file}");
        mosh.identityctl(["local", "release", "--apply"]).success();
        mosh.sh("grep -E '^(ana|ben|web):' /etc/passwd /etc/shadow /etc/group /etc/gshadow; ls /etc/*.lock /etc/*.identityctl-*").failure();
        assert_eq!(mosh.sh(WHOLE).success().stdout, before);
        mosh.identityctl(["local", "restore", "--apply"]).success();
        assert_eq!(mosh.sh(FILES).success().stdout, files, "after {file}");
    }
    assert!(in_the_middle > 0, "each kill came after the end");
}

#[test]
fn what_getent_does_not_find_is_put_back() {
    let mosh = imported!("userdel deploy");
    let files = mosh.sh(FILES).success().stdout;
    mosh.sh("sed -i 's/ mayfirst//' /etc/nsswitch.conf").success();
    let refused = mosh.identityctl(["local", "release", "--apply", "--timeout", "1s"]).exit(1);
    assert!(refused.stderr.contains("all files are as they were"), "{refused}");
    assert_eq!(mosh.sh(FILES).success().stdout, files);
    // Nor without identityd.
    mosh.daemon().stop();
    mosh.identityctl(["local", "release", "--apply"]).exit(4);
    assert_eq!(mosh.sh(FILES).success().stdout, files);
}

#[test]
fn accounts_move_in_lookup_mode_too() {
    let mosh = imported!("userdel deploy");
    mosh.configure("snapshot", "mode = \"lookup\"");
    mosh.daemon().stop();
    mosh.daemon().start();
    let before = mosh.sh(WHOLE).success().stdout;
    mosh.identityctl(["local", "release", "--apply"]).success();
    // Over the socket: on a busy machine one of so many look-ups may take longer than the 200 ms that it has.
    mosh.wait_until("every account is as it was", LIMIT, |mosh| mosh.sh(WHOLE).stdout == before);
}

#[test]
fn accounts_move_to_a_directory_in_mariadb_where_nobody_administers_too() {
    let mosh = boot!(Mosh::builder().without_daemon().prepare(&format!("{ACCOUNTS}\nuserdel deploy")));
    let db = mosh.mariadb(1);
    db.apply_schema();
    mosh.use_mariadb(&[db.socket()], "");
    mosh.daemon().start();
    mosh.identityctl(["import", "/etc", "--apply"]).success();
    mosh.sh("rm /etc/identityd/mysql-admin.password; usermod -p '*' ben").success();
    let before = mosh.sh(WHOLE).success().stdout;
    let moved = mosh.identityctl(["local", "release", "--apply"]).success();
    assert!(moved.stdout.contains("has another password in the directory"), "{moved}");
    assert_eq!(mosh.sh(WHOLE).success().stdout, before);
    mosh.sh("grep -E '^(ana|ben|web):' /etc/passwd /etc/shadow /etc/group /etc/gshadow").failure();
}

#[test]
fn accounts_move_to_a_directory_in_ldap_where_passwords_are_checked_by_a_bind() {
    let mosh = boot!(Mosh::builder().without_daemon().prepare(
        "useradd -m -d /home/members/users/ana -s /bin/bash -u 2001 ana && echo ana:opensesame | chpasswd
         groupadd -g 3000 web && gpasswd -M ana web"
    ));
    let slapd = mosh.slapd(
        &[
            LdapLogin::new("ana", 2001).capability("shell").password("another").ldif(),
            group_ldif("ana", 2001, &[]),
            group_ldif("web", 3000, &["memberUid: ana"]),
        ]
        .concat(),
    );
    mosh.ldap_directory(&[slapd.url()], "");
    mosh.daemon().start();
    let whole = "id ana && getent passwd 2001 | cut -d: -f1-4,6-7 && getent group 3000";
    let before = mosh.sh(whole).success().stdout;
    mosh.identityctl(["local", "release", "--apply"]).success();
    assert_eq!(mosh.sh(whole).success().stdout, before);
    mosh.sh("grep -E '^(ana|web):' /etc/passwd /etc/shadow /etc/group /etc/gshadow").failure();
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("ana", Auth::Password("another"), "id -un").success().text(), "ana");
}
