//! `identityctl snapshot` on a machine, with identityd and without: printing, verifying, comparing, and names before identityd runs.

use std::time::Duration;

use tests::{Login, Mosh, boot};

const LIVE: &str = "/run/identityd/snapshot";
const KEPT: &str = "/var/lib/identityd/snapshot";
const SOON: Duration = Duration::from_secs(10);

fn machine() -> tests::mosh::Builder {
    Mosh::builder()
        .login(Login::new("ana").capabilities(["shell"]))
        .logins(["ben", "cai"].map(|name| Login::new(name).capabilities(["sftp"])))
}

macro_rules! published {
    () => {{
        let mosh = boot!(machine());
        published(&mosh);
        mosh
    }};
}

/// Until ana is in the snapshot.
fn published(mosh: &Mosh) {
    mosh.wait_until("the snapshot is published", SOON, |mosh| {
        mosh.identityctl(["snapshot", "print", "passwd", "ana"]).ok()
    });
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The name of the current base, and of the delta; makes a delta first.
fn pair(mosh: &Mosh) -> (String, String) {
    mosh.identityctl(["login", "add", "dora"]).success();
    mosh.wait_until("the change is published", SOON, |mosh| {
        mosh.identityctl(["snapshot", "print", "passwd", "dora"]).ok()
    });
    let header = json(&mosh.identityctl(["snapshot", "print", "--json"]).success().stdout);
    (
        format!("base.{}", header["control"]["base"]),
        format!("delta.{}.{}", header["control"]["base"], header["control"]["delta"]),
    )
}

#[test]
fn print_shows_what_libc_answers() {
    let mosh = published!();
    for (map, key) in [("passwd", "ana"), ("passwd", "cai"), ("group", "ben"), ("group", "sftp-only")] {
        let printed = mosh.identityctl(["snapshot", "print", map, key]).success();
        assert_eq!(printed.stdout, mosh.run(["getent", map, key]).success().stdout, "{map} {key}");
    }
    let uid = mosh.uid("ana").to_string();
    assert!(mosh.identityctl(["snapshot", "print", "passwd", &uid]).success().stdout.starts_with("ana:x:"));
    let groups = mosh.identityctl(["snapshot", "print", LIVE, "initgroups", "ben"]).success();
    assert_eq!(groups.stdout.trim(), format!("ben {}", mosh.run(["id", "-G", "ben"]).success().text()));
    mosh.identityctl(["snapshot", "print", "passwd", "nobody-here"]).exit(3);
    let all = mosh.identityctl(["snapshot", "print", "passwd"]).success();
    assert_eq!(all.stdout.lines().count(), 3, "{all}");
    let header = json(&mosh.identityctl(["snapshot", "print", "--json"]).success().stdout);
    assert_eq!(header["control"]["visibility"], "open");
    let beat = header["control"]["heartbeat_age"].as_u64().expect("a heartbeat");
    assert!(beat <= 30, "{header}");
    let list = json(&mosh.identityctl(["snapshot", "print", "group", "--json"]).success().stdout);
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .any(|group| group["name"] == "sftp-only" && group["members"] == serde_json::json!(["ben", "cai"])),
        "{list}"
    );
    // Names are for everybody, as /etc/passwd is.
    assert!(mosh.sh_as("ben", "identityctl snapshot print passwd ana").success().stdout.starts_with("ana:x:"));
}

#[test]
fn a_live_snapshot_verifies_while_it_changes() {
    let mosh = published!();
    mosh.sh(
        "(n=0; while [ $n -lt 40 ]; do identityctl login add -- m$n; n=$((n+1)); done; touch /done) >/dev/null 2>&1 &",
    )
    .success();
    let mut verified = 0;
    while !mosh.exists("/done") || verified < 3 {
        mosh.identityctl(["snapshot", "verify"]).success();
        verified += 1;
    }
    println!("verified {verified} times while 40 logins came");
    let quiet = mosh.identityctl(["snapshot", "verify"]).success();
    assert_eq!(quiet.stderr, "", "no progress in a pipe");
    let report = json(&mosh.identityctl(["snapshot", "verify", "--json"]).success().stdout);
    assert_eq!(report["damaged"], false);
}

#[test]
fn verify_says_what_is_torn_and_where() {
    let mosh = published!();
    let (base, delta) = pair(&mosh);
    mosh.sh(&format!("cp -a {LIVE} /torn; cp -a {LIVE} /whole")).success();
    let torn = |what: &str, script: &str, said: &str| {
        mosh.sh(&format!("rm -rf /torn; cp -a /whole /torn; cd /torn; chmod u+w *; {script}")).success();
        let report = mosh.identityctl(["snapshot", "verify", "/torn"]).exit(1);
        assert!(report.stdout.contains(said), "{what}: {report}");
    };
    for file in [&base, &delta] {
        torn("cut", &format!("truncate -s 700 {file}"), "another length");
        torn("empty", &format!("truncate -s 0 {file}"), "shorter than a header");
        torn(
            "a lost page",
            &format!("dd if=/dev/zero of={file} bs=512 seek=1 count=1 conv=notrunc 2>/dev/null"),
            "zeros, as a lost page leaves",
        );
        torn(
            "one bit",
            &format!("printf '\\001' | dd of={file} bs=1 seek=520 conv=notrunc 2>/dev/null"),
            "does not match its checksum",
        );
        torn("gone", &format!("rm {file}"), "not here");
    }
    torn(
        "another version",
        &format!("printf '\\002' | dd of={base} bs=1 seek=8 conv=notrunc 2>/dev/null"),
        "version 2 of the format",
    );
    torn(
        "a foreign delta",
        &format!(
            "cp {delta} delta.77.1; rm {delta}; mv delta.77.1 {delta}; printf 'x' | dd of={base} bs=1 seek=40 conv=notrunc 2>/dev/null"
        ),
        "DAMAGED",
    );
    torn(
        "a page that is not one",
        "printf 'nonsense' | dd of=control bs=1 conv=notrunc 2>/dev/null",
        "DAMAGED  control",
    );
    mosh.identityctl(["snapshot", "verify", "/whole"]).success();
    mosh.identityctl(["snapshot", "verify", "/nowhere"]).failure();
}

#[test]
fn compare_lists_what_differs() {
    let mosh = published!();
    mosh.sh(&format!("cp -a {LIVE} /before")).success();
    mosh.identityctl(["snapshot", "compare", LIVE, "/before"]).success();
    mosh.identityctl(["login", "add", "zoe"]).success();
    mosh.identityctl(["login", "remove", "ben"]).success();
    mosh.identityctl(["login", "set", "cai", "--gecos", "Cai Other"]).success();
    mosh.wait_until("all is published", SOON, |mosh| {
        mosh.identityctl(["snapshot", "print", "passwd", "cai"]).stdout.contains("Cai Other")
    });
    let differ = mosh.identityctl(["snapshot", "compare", "/before", LIVE]).exit(1);
    for part in
        ["- login ben", "+ login zoe", "~ login cai", "gecos", "-> Cai Other", "~ group sftp-only", "members -ben"]
    {
        assert!(differ.stdout.contains(part), "{part}: {differ}");
    }
    mosh.identityctl(["snapshot", "compare", "/before", "/nowhere"]).exit(4);
}

#[test]
fn after_a_reboot_names_resolve_before_identityd_runs() {
    let mosh = published!();
    let (_, _) = pair(&mosh);
    let passwd = mosh.run(["getent", "passwd", "dora"]).success().stdout;
    mosh.daemon().stop();
    assert!(mosh.exists(&format!("{KEPT}/control")) || mosh.sh(&format!("ls {KEPT}/base.*")).ok(), "a copy is kept");
    mosh.sh("rm -rf /run/identityd").success();
    assert!(!mosh.run(["getent", "passwd", "dora"]).ok());
    let restored = mosh.identityctl(["snapshot", "restore"]).success();
    assert!(restored.stdout.contains("is restored"), "{restored}");
    assert_eq!(mosh.run(["getent", "passwd", "dora"]).success().stdout, passwd);
    assert!(mosh.run(["id", "-Gn", "ben"]).success().text().contains("sftp-only"));
    mosh.run(["getent", "passwd", "nobody-here"]).exit(2);
    assert_eq!(
        mosh.sh(&format!("stat -c '%U %a' /run/identityd {LIVE} {LIVE}/control {LIVE}/base.*")).text(),
        "identityd 755\nidentityd 755\nidentityd 644\nidentityd 444"
    );
    // A second time there is nothing to do; then identityd takes over what is there.
    assert!(mosh.identityctl(["snapshot", "restore"]).success().stdout.contains("nothing to restore"));
    mosh.daemon().start();
    mosh.identityctl(["login", "add", "eva"]).success();
    mosh.wait_until("it goes on", SOON, |mosh| mosh.run(["getent", "passwd", "eva"]).ok());
    mosh.identityctl(["snapshot", "verify"]).success();
}

#[test]
fn restore_takes_no_broken_copy_and_leaves_a_running_identityd_alone() {
    let mosh = published!();
    assert!(mosh.identityctl(["snapshot", "restore"]).success().stdout.contains("nothing to restore"));
    mosh.sh_as("ben", "identityctl snapshot restore").success();
    mosh.daemon().stop();
    mosh.sh(&format!("rm -rf /run/identityd; for f in {KEPT}/base.*; do chmod u+w $f; printf 'x' | dd of=$f bs=1 seek=600 conv=notrunc 2>/dev/null; done")).success();
    let nothing = mosh.identityctl(["snapshot", "restore"]).success();
    assert!(nothing.stdout.contains("holds no snapshot"), "{nothing}");
    assert!(!mosh.run(["getent", "passwd", "ana"]).ok());
    mosh.sh_as("root", "true").success();
    mosh.daemon().start();
    mosh.wait_until("identityd publishes anew", SOON, |mosh| mosh.identityctl(["snapshot", "verify"]).ok());
}

#[test]
fn the_units_are_in_order() {
    let mosh = boot!(Mosh::builder().without_daemon());
    if !mosh.sh("command -v systemd-analyze").ok() {
        tests::skip!("the test root has no systemd-analyze");
    }
    let judged = mosh.sh("systemd-analyze verify --man=no /usr/lib/systemd/system/identityd*.service /usr/lib/systemd/system/identityd.socket").success();
    assert_eq!((judged.stdout.as_str(), judged.stderr.as_str()), ("", ""));
}
