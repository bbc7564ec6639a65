//! What an administrator does with identityctl and what it must answer, whatever the directory is: each is a test of a machine whose directory is empty.
#![allow(missing_docs, reason = "each says what it shows by its name")]

use serde_json::Value;

use crate::Mosh;
use crate::mosh::Output;

/// A machine with a slapd as it is shipped, which identityctl administers; identityd does not run.
#[macro_export]
macro_rules! administered {
    ($mosh:ident, $slapd:ident) => {
        $crate::administered!($mosh, $slapd, "", "");
    };
    ($mosh:ident, $slapd:ident, $entries:expr, $more:expr) => {
        let $mosh = $crate::boot!($crate::Mosh::builder().without_daemon());
        let $slapd = $mosh.slapd($entries);
        $mosh.ldap_directory(&[$slapd.url()], $more);
    };
}

/// Runs a command line; words are split at spaces.
pub fn ctl(mosh: &Mosh, line: &str) -> Output {
    mosh.identityctl(line.split(' '))
}

pub fn json(mosh: &Mosh, line: &str) -> Value {
    let output = ctl(mosh, &format!("{line} --json")).success();
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}\n{output}"))
}

pub fn with_stdin(mosh: &Mosh, line: &str, stdin: &str) -> Output {
    let argv = std::iter::once("identityctl").chain(line.split(' '));
    mosh.call(argv).stdin(stdin).run()
}

#[track_caller]
pub fn a_login_is_added_shown_listed_and_changed(mosh: &Mosh) {
    ctl(mosh, "membership add coop --title Cooperative").success();
    with_stdin(mosh, "login add ana --gecos Ana --capabilities shell,sftp --membership coop --stdin", "secret\n")
        .success();
    let shown = json(mosh, "login show ana");
    assert_eq!((shown["name"].as_str(), shown["home"].as_str()), (Some("ana"), Some("/home/members/users/ana")));
    assert_eq!((shown["password"].as_str(), shown["membership"].as_str()), (Some("yescrypt"), Some("coop")));
    assert_eq!(shown["uid"], shown["gid"]);

    ctl(mosh, "login set ana --gecos Anna --home /srv/ana --shell /bin/sh --allow mail --deny sftp --max-days 90")
        .success();
    let shown = json(mosh, "login show ana");
    assert_eq!(
        (shown["gecos"].as_str(), shown["home"].as_str(), shown["shell"].as_str()),
        (Some("Anna"), Some("/srv/ana"), Some("/bin/sh"))
    );
    assert_eq!(
        (&shown["capabilities"], shown["aging"]["max_days"].as_u64()),
        (&serde_json::json!(["mail", "shell"]), Some(90))
    );
    ctl(mosh, "login set ana --max-days none").success();
    assert!(json(mosh, "login show ana")["aging"]["max_days"].is_null());

    assert_eq!(json(mosh, "login list --membership coop")["logins"].as_array().map(Vec::len), Some(1));
    assert_eq!(json(mosh, "login list --capability sftp")["logins"].as_array().map(Vec::len), Some(0));
    assert!(ctl(mosh, "login list an*").success().stdout.contains("Anna"));
}

#[track_caller]
pub fn a_login_is_locked_expired_moved_renamed_removed_and_restored_with_its_uid(mosh: &Mosh) {
    ctl(mosh, "membership add coop").success();
    ctl(mosh, "login add ana").success();
    let uid = json(mosh, "login show ana")["uid"].clone();
    ctl(mosh, "login lock ana").success();
    assert_eq!(json(mosh, "login list --locked")["logins"][0]["name"], "ana");
    ctl(mosh, "login unlock ana").success();
    ctl(mosh, "login expire ana 2031-02-28").success();
    assert_eq!(json(mosh, "login show ana")["aging"]["expires"], "2031-02-28");
    ctl(mosh, "login expire ana never").success();
    ctl(mosh, "login move ana coop").success();
    ctl(mosh, "login move ana -").success();
    ctl(mosh, "login rename ana anna").success();
    assert_eq!(json(mosh, "login show anna")["uid"], uid);
    ctl(mosh, "login remove anna").success();
    ctl(mosh, "login show anna").exit(3);
    assert_eq!(json(mosh, "login list --removed")[0]["uid"], uid);
    // Its uid is nobody else's.
    ctl(mosh, &format!("login add ben --uid {uid}")).exit(1);
    ctl(mosh, "login add ben").success();
    assert_ne!(json(mosh, "login show ben")["uid"], uid);
    ctl(mosh, "login restore anna").success();
    let back = json(mosh, "login show anna");
    assert_eq!(
        (&back["uid"], back["status"].as_str(), back["password"].as_str()),
        (&uid, Some("locked"), Some("locked"))
    );
}

#[track_caller]
pub fn groups_and_their_members_are_kept(mosh: &Mosh) {
    ctl(mosh, "login add ana").success();
    ctl(mosh, "group add web").success();
    ctl(mosh, "group add-member web ana").success();
    assert_eq!(json(mosh, "group show web")["members"], serde_json::json!(["ana"]));
    assert_eq!(json(mosh, "group list --member ana")["groups"][0]["name"], "web");
    ctl(mosh, "group set web --rename www").success();
    ctl(mosh, "group remove-member www ana").success();
    ctl(mosh, "group remove www").success();
    ctl(mosh, "group show www").exit(3);
    // A group that is somebody's primary one stays.
    ctl(mosh, "group remove ana").exit(1);
    // Members of a rule's group are not chosen.
    ctl(mosh, "group add-member sftp-only ana").exit(1);
}

#[track_caller]
pub fn memberships_are_kept_and_one_in_use_is_not_removed(mosh: &Mosh) {
    ctl(mosh, "membership add coop --title Old").success();
    ctl(mosh, "membership set coop --title New --rename coop2").success();
    assert_eq!(json(mosh, "membership show coop2")["title"], "New");
    ctl(mosh, "login add ana --membership coop2").success();
    assert_eq!(json(mosh, "membership list")[0]["logins"], 1);
    ctl(mosh, "membership remove coop2").exit(1);
    ctl(mosh, "login move ana -").success();
    ctl(mosh, "membership remove coop2").success();
    ctl(mosh, "membership show coop2").exit(3);
}

#[track_caller]
pub fn keys_are_added_from_a_file_or_standard_input_and_removed_by_fingerprint(mosh: &Mosh) {
    ctl(mosh, "login add ana").success();
    mosh.sh("ssh-keygen -q -t ed25519 -N '' -C ana@home -f /root/k").success();
    ctl(mosh, "key add ana /root/k.pub").success();
    with_stdin(mosh, "key add ana", &mosh.read("/root/k.pub")).exit(1);
    let keys = json(mosh, "key list ana");
    let fingerprint = keys[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert!(mosh.sh("ssh-keygen -lf /root/k.pub").success().stdout.contains(&fingerprint));
    ctl(mosh, &format!("key remove ana {fingerprint}")).success();
    ctl(mosh, &format!("key remove ana {fingerprint}")).exit(3);
    with_stdin(mosh, "key add ana", "ssh-ed25519 AAAA not a key\n").exit(1);
    with_stdin(mosh, "key add ana", "").exit(1);
}

#[track_caller]
pub fn impossible_names_ids_shells_and_homes_are_refused_with_the_rule(mosh: &Mosh) {
    mosh.sh("mkdir -p /srv && ln -s /etc /srv/trap").success();
    let long = "x".repeat(300);
    for name in ["root", "-rf", "a:b", &long, "zoë", "日本", "Ana", "", "123", "ana.", "a/b", "..", "nobody"] {
        let refused = mosh.identityctl(["login", "add", "--", name]).exit(1);
        assert!(refused.stderr.starts_with("identityctl: ") && refused.stderr.len() < 400, "{refused}");
        mosh.identityctl(["group", "add", "--", name]).exit(1);
    }
    for id in ["0", "999", "60000", "65534", "65535", "2147483648", "4294967295"] {
        mosh.identityctl(["login", "add", "ana", "--uid", id]).exit(1);
        mosh.identityctl(["group", "add", "web", "--gid", id]).exit(1);
    }
    for home in ["/", "..", "relative", "/home/../etc", "/etc", "/root", "/srv/trap", "/srv/trap/x", "/home/a:b", ""] {
        let refused = mosh.identityctl(["login", "add", "ana", "--home", home]).exit(1);
        assert!(refused.stderr.starts_with("identityctl: "), "{refused}");
    }
    for shell in ["bash", "", "/bin/../bin/sh", "/bin/sh:x"] {
        mosh.identityctl(["login", "add", "ana", "--shell", shell]).exit(1);
    }
    for (option, value) in [
        ("--gecos", "a:b"),
        ("--gecos", "a\nb"),
        ("--capabilities", "Shell"),
        ("--membership", "none"),
        ("--expires", "tomorrow"),
        ("--group", "nosuch"),
    ] {
        mosh.identityctl(["login", "add", "ana", option, value]).failure();
    }
    // An id outside of 32 bits is a wrong command line.
    mosh.identityctl(["login", "add", "ana", "--uid", "4294967296"]).exit(2);
    assert_eq!(json(mosh, "login list")["logins"], serde_json::json!([]));
    assert_eq!(json(mosh, "group list")["groups"].as_array().map(Vec::len), Some(1), "only sftp-only");

    // A shell that this host lacks may be there on others: a warning.
    let warned = ctl(mosh, "login add ana --shell /opt/none").success();
    assert!(warned.stderr.contains("warning: the shell /opt/none does not exist"), "{warned}");
}

#[track_caller]
pub fn names_and_ids_are_given_once(mosh: &Mosh) {
    ctl(mosh, "login add ana --uid 5000").success();
    for line in [
        "login add ana",
        "login add ben --uid 5000",
        "group add ana",
        "group add web --gid 5000",
        "membership show none",
    ] {
        ctl(mosh, line).failure();
    }
    ctl(mosh, "login add ben").success();
    ctl(mosh, "login rename ben ana").exit(1);
}

#[track_caller]
pub fn passwords_come_from_standard_input_only(mosh: &Mosh) {
    ctl(mosh, "login add ana").success();
    with_stdin(mosh, "login passwd ana --stdin", "secret\n").success();
    with_stdin(mosh, "login passwd ana --stdin", "").exit(1);
    with_stdin(mosh, "login passwd ana --stdin", &"x".repeat(513)).exit(1);
    // The command line has no place for one.
    ctl(mosh, "login passwd ana secret").exit(2);
    ctl(mosh, "login add ben --password=secret").exit(2);
    with_stdin(mosh, "login passwd ana --hash-stdin", "$6$salt$abc\n").success();
    assert_eq!(json(mosh, "login show ana")["password"], "sha512crypt");
    let refused = with_stdin(mosh, "login passwd ana --hash-stdin", "plaintext\n").exit(1);
    assert!(!refused.stderr.contains("plaintext"), "{refused}");
    with_stdin(mosh, "login passwd nobodyhere --stdin", "x\n").exit(3);
    // Nothing prints a hash.
    assert!(!ctl(mosh, "login show ana --json").success().stdout.contains("salt"));
    ctl(mosh, "login passwd ana --none").success();
    assert_eq!(json(mosh, "login show ana")["password"], "locked");
}

/// Nothing is half there, as far as `doctor` can tell.
///
/// # Panics
/// Something is.
#[track_caller]
pub fn sound(mosh: &Mosh) {
    let report = mosh.identityctl(["doctor", "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap_or_else(|error| panic!("{error}: {report}"));
    let found = report["findings"].as_array().expect("a list").iter().find(|one| one["check"] == "directory");
    assert_eq!(found.expect("a finding")["severity"], "ok", "{report:#}");
    mosh.identityctl(["directory", "check"]).success();
}
