//! identityctl import and export: the plan first, all or nothing, twice the same, and back again.

use serde_json::Value;
use tests::{Mosh, boot};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash
ana:x:2001:2001:Ana:/home/members/coop/sites/7/users/ana:/bin/bash
ben:x:2002:2002::/home/ben:/usr/sbin/nologin
twin:x:2001:2001::/home/twin:/bin/bash
-rf:x:2003:2003::/home/rf:/bin/bash
high:x:4000000000:2004::/home/high:/bin/bash
broken line
last:x:2005:2005:No newline at the end:/home/last:/bin/bash";
const SHADOW: &str = "root:*:19000:0:99999:7:::
ana:$6$saltsalt$UC2KJSaCLcIUEaQSoF5wFkdpCFnQH.vQDvQJmvVqGwzo1J2bVYoRBsvHXVvmMQQ8y5lN.lRKfEnZT7YYC0kEQ/:19000:0:99999:7:::
ben:!:19000:0:99999:7:::
last:*:19000::::::";
const GROUP: &str = "root:x:0:
ana:x:2001:
ben:x:2002:
last:x:2005:
web:x:3000:ana,ben,nosuch
";

macro_rules! machine {
    () => {{
        let mosh = boot!(Mosh::builder().without_daemon());
        mosh.sh("mkdir /root/in").success();
        for (file, text) in [("passwd", PASSWD), ("shadow", SHADOW), ("group", GROUP)] {
            mosh.write(&format!("/root/in/{file}"), text);
        }
        mosh
    }};
}

fn generation(mosh: &Mosh) -> u64 {
    let output = mosh.identityctl(["init", "--json"]).success();
    let report: Value = serde_json::from_str(&output.stdout).expect("JSON");
    report["generation"].as_u64().expect("a generation")
}

fn names(mosh: &Mosh) -> Vec<String> {
    let output = mosh.identityctl(["login", "list", "--json"]).success();
    let list: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let names = list["logins"].as_array().expect("a list").iter();
    names.filter_map(|login| login["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn without_apply_the_plan_is_shown_and_nothing_changes() {
    let mosh = machine!();
    let before = generation(&mosh);
    let plan = mosh.identityctl(["import", "/root/in"]).exit(5);
    for line in ["passwd:4", "passwd:5", "passwd:6", "passwd:7", "To do it, add --apply"] {
        assert!(plan.stdout.contains(line), "{line}: {plan}");
    }
    assert!(!plan.stdout.contains("saltsalt"), "{plan}");
    mosh.identityctl(["import", "/root/in", "--dry-run", "--json"]).exit(5);
    assert_eq!((generation(&mosh), names(&mosh)), (before, vec![]));
}

#[test]
fn the_good_lines_are_taken_the_others_reported_and_a_second_run_changes_nothing() {
    let mosh = machine!();
    mosh.identityctl(["import", "/root/in", "--apply"]).exit(5);
    assert_eq!(names(&mosh), ["ana", "ben", "last"]);
    let shown = mosh.identityctl(["login", "show", "ana", "--json"]).success();
    let ana: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(
        (ana["uid"].as_u64(), ana["membership"].as_str(), ana["password"].as_str()),
        (Some(2001), Some("coop"), Some("sha512crypt"))
    );
    let after = generation(&mosh);
    let second = mosh.identityctl(["import", "/root/in", "--apply", "--json"]).exit(5);
    let report: Value = serde_json::from_str(&second.stdout).expect("JSON");
    assert_eq!(report["changed"], false, "{second}");
    assert_eq!(generation(&mosh), after);
}

#[test]
fn what_was_imported_is_exported_with_its_hashes_for_root_only() {
    let mosh = machine!();
    mosh.identityctl(["import", "/root/in", "--apply"]).exit(5);
    mosh.identityctl(["export", "/root/out"]).success();
    assert_eq!(mosh.sh("stat -c %a /root/out/shadow").success().text(), "600");
    let line =
        |text: &str, name: &str| text.lines().find(|line| line.starts_with(&format!("{name}:"))).map(str::to_owned);
    for name in ["ana", "last"] {
        assert_eq!(line(&mosh.read("/root/out/passwd"), name), line(PASSWD, name));
        assert_eq!(line(&mosh.read("/root/out/shadow"), name), line(SHADOW, name));
    }
    assert_eq!(mosh.identityctl(["export", "--passwd", "-"]).success().stdout, mosh.read("/root/out/passwd"));
    // Files that are there are not replaced without a word.
    mosh.identityctl(["export", "/root/out"]).exit(1);
    mosh.identityctl(["export", "/root/out", "--force"]).success();
}

#[test]
fn an_import_that_is_killed_leaves_nothing() {
    let mosh = machine!();
    let many: String =
        (0..20_000).map(|n| format!("u{n}:x:{}:{}::/home/u{n}:/bin/bash\n", 100_000 + n, 100_000 + n)).collect();
    mosh.write("/root/in/passwd", &many);
    mosh.sh("rm /root/in/shadow /root/in/group").success();
    let before = generation(&mosh);
    // From the first page that it writes on: SQLite's log, where pages of a transaction go that are too many for its memory.
    let mut in_the_middle = 0;
    for later in ["0", "0.02", "0.1", "0.4"] {
        mosh.sh(&format!(
            "written() {{ stat -c '%y %s' /var/lib/identityd/directory.db-wal 2>/dev/null; }}; before=$(written)
             identityctl import /root/in --apply >/dev/null 2>&1 & import=$!
             while test \"$(written)\" = \"$before\" && kill -0 $import 2>/dev/null; do :; done
             sleep {later}; kill -KILL $import 2>/dev/null; wait"
        ))
        .success();
        let now = names(&mosh).len();
        assert!(now == 0 || now == 20_000, "{now} logins: neither all nor nothing");
        if now == 0 {
            in_the_middle += 1;
            assert_eq!(generation(&mosh), before);
        }
    }
    assert!(in_the_middle > 0, "each kill came after the commit");
    mosh.identityctl(["import", "/root/in", "--apply"]).success();
    assert_eq!(names(&mosh).len(), 20_000);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let mosh = machine!();
    let missing = mosh.identityctl(["import", "/root/nothing"]).exit(1);
    assert!(missing.stderr.contains("/root/nothing/passwd"), "{missing}");
    mosh.identityctl(["import"]).exit(2);
    mosh.identityctl(["import", "--shadow", "/root/in/shadow"]).exit(2);
    mosh.identityctl(["import", "--passwd", "/root/in/passwd", "--membership", "Bad Name"]).exit(1);
    mosh.identityctl(["import", "--passwd", "/root/in/passwd", "--group", "/root/in/group"]).exit(5);
}
