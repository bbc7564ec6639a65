//! identityctl as administrators use it, on a machine without a running daemon: the directory alone.

use std::time::Duration;

use serde_json::Value;
use tests::administrator::{self, ctl, json};
use tests::limit::within;
use tests::{Mosh, boot};

macro_rules! machine {
    () => {
        boot!(Mosh::builder().without_daemon())
    };
}

#[test]
fn a_login_is_added_shown_listed_and_changed() {
    administrator::a_login_is_added_shown_listed_and_changed(&machine!());
}

#[test]
fn a_login_is_locked_expired_moved_renamed_removed_and_restored_with_its_uid() {
    administrator::a_login_is_locked_expired_moved_renamed_removed_and_restored_with_its_uid(&machine!());
}

#[test]
fn groups_and_their_members_are_kept() {
    administrator::groups_and_their_members_are_kept(&machine!());
}

#[test]
fn memberships_are_kept_and_one_in_use_is_not_removed() {
    administrator::memberships_are_kept_and_one_in_use_is_not_removed(&machine!());
}

#[test]
fn keys_are_added_from_a_file_or_standard_input_and_removed_by_fingerprint() {
    administrator::keys_are_added_from_a_file_or_standard_input_and_removed_by_fingerprint(&machine!());
}

#[test]
fn impossible_names_ids_shells_and_homes_are_refused_with_the_rule() {
    administrator::impossible_names_ids_shells_and_homes_are_refused_with_the_rule(&machine!());
}

#[test]
fn names_and_ids_are_given_once() {
    administrator::names_and_ids_are_given_once(&machine!());
}

#[test]
fn passwords_come_from_standard_input_only() {
    administrator::passwords_come_from_standard_input_only(&machine!());
}

#[test]
fn a_password_is_asked_twice_on_a_terminal_and_not_shown() {
    let mosh = machine!();
    ctl(&mosh, "login add ana").success();
    let talk = |second: &str| {
        mosh.expect(&format!(
            "spawn identityctl login passwd ana\nwant {{New password of ana: }}\nsend \"secret\\r\"\nwant {{Once more: }}\nsend \"{second}\\r\"\nfinish"
        ))
    };
    let done = talk("secret").success();
    assert!(!done.stdout.contains("secret"), "{done}");
    assert_eq!(json(&mosh, "login show ana")["password"], "yescrypt");
    talk("other").exit(1);
}

#[test]
fn others_than_root_are_told_so() {
    let mosh = machine!();
    for line in ["login list", "login add ana", "init", "export /tmp/x"] {
        let argv = std::iter::once("identityctl").chain(line.split(' '));
        let refused = mosh.call(argv).user("nobody").run().exit(1);
        assert!(refused.stderr.contains("run it as root"), "{refused}");
    }
}

#[test]
fn a_change_without_the_daemon_is_stored_and_said() {
    let mosh = machine!();
    let added = ctl(&mosh, "login add ana --json").success();
    let report: Value = serde_json::from_str(&added.stdout).expect("JSON");
    assert_eq!((report["changed"].as_bool(), report["visible"].as_bool()), (Some(true), Some(false)));
    assert!(added.stderr.contains("note: the change is stored"), "{added}");
}

#[test]
fn questions_without_the_daemon_say_that_it_is_away() {
    let mosh = machine!();
    for line in ["status", "metrics", "reload", "ssh-keys ana", "why ana sshd"] {
        let away = ctl(&mosh, line).exit(4);
        within(Duration::from_secs(2), line, away.took);
    }
    // sshd asks about everybody: what cannot be a login has no keys, daemon or not.
    assert_eq!(ctl(&mosh, "ssh-keys -rf").success().stdout, "");
    assert!(ctl(&mosh, "why root").exit(4).stdout.contains("A local account"));
    let doctor = ctl(&mosh, "doctor --json").exit(1);
    let report: Value = serde_json::from_str(&doctor.stdout).expect("JSON");
    // Set-up has wired everything; only what the daemon brings is missing.
    for check in ["user", "modules", "nsswitch", "pam", "sshd", "caches", "clock"] {
        let findings = report["findings"].as_array().expect("a list").iter().filter(|one| one["check"] == check);
        let severities: Vec<_> = findings.map(|one| one["severity"].as_str().unwrap_or_default()).collect();
        assert!(!severities.is_empty() && severities.iter().all(|severity| *severity == "ok"), "{check}: {doctor}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mosh = machine!();
    let output = mosh.sh("identityctl completion bash | head -c 10; identityctl --help | head -1").success();
    assert!(!output.stderr.contains("panic"), "{output}");
}
