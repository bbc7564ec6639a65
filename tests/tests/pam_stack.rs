//! The PAM stacks that pam-auth-update writes from our profiles, walked by pamtester(1), passwd(1) and su(1).

use std::time::Duration;

use tests::limit::within;
use tests::mosh::{Builder, Output};
use tests::{Login, Mosh, boot};

/// A service of nothing but Debian's common stacks.
const SERVICE: &str = "auth include common-auth\naccount include common-account\npassword include common-password\nsession include common-session\n";

/// Longer than any wait of ours, shorter than a hang.
const NO_HANG: Duration = Duration::from_secs(5);

/// A machine with the service `stack`, a local account `loc` and a login `ana`.
macro_rules! with_ana {
    () => {{ boot!(machine_with_loc().login(Login::new("ana").password("secret"))) }};
}

fn machine_with_loc() -> Builder {
    Mosh::builder()
        .file("/etc/pam.d/stack", SERVICE)
        .prepare("useradd -m -s /bin/sh loc && echo loc:at-home-here | chpasswd")
        .prepare(r#"sed -i 's/^\[services\]$/&\nstack = "any"/' /etc/identityd/identityd.toml"#)
}

/// pamtester walks these stages; each line of `answers` goes to one prompt.
fn walk(mosh: &Mosh, user: &str, stages: &str, answers: &str) -> Output {
    let argv = ["pamtester", "stack", user].into_iter().chain(stages.split(' '));
    mosh.call(argv).stdin(format!("{answers}\n")).run()
}

/// What the person saw.
fn seen(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn the_profiles_give_the_stacks_of_the_documentation() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let stack = |name: &str| -> Vec<String> {
        let text = mosh.read(&format!("/etc/pam.d/common-{name}"));
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(
        stack("auth"),
        [
            "auth [success=1 default=ignore] pam_localuser.so",
            "auth [success=2 ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so",
            "auth [success=1 default=ignore] pam_unix.so nullok try_first_pass",
            "auth requisite pam_deny.so",
            "auth required pam_permit.so",
        ]
    );
    assert_eq!(
        stack("account"),
        [
            "account [success=1 default=ignore] pam_localuser.so",
            "account [success=2 new_authtok_reqd=done ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so",
            "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so",
            "account requisite pam_deny.so",
            "account required pam_permit.so",
        ]
    );
    assert_eq!(
        stack("password"),
        [
            "password [success=2 default=ignore] pam_unix.so obscure yescrypt",
            "password [success=1 ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so",
            "password requisite pam_deny.so",
            "password required pam_permit.so",
        ]
    );
    for sessions in ["session", "session-noninteractive"] {
        let lines = stack(sessions);
        let ours = [
            "session [success=1 default=ignore] pam_localuser.so",
            "session [success=ok ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so",
        ];
        assert!(lines.windows(2).any(|pair| pair == ours), "{sessions}: {lines:?}");
    }
}

#[test]
fn local_accounts_need_neither_the_daemon_nor_the_module() {
    let mosh = boot!(machine_with_loc().without_daemon());
    let everything = "authenticate acct_mgmt setcred open_session close_session";
    for without in ["the daemon", "the module"] {
        let output = walk(&mosh, "loc", everything, "at-home-here").success();
        assert_eq!(seen(&output).matches("Password:").count(), 1, "one prompt without {without}");
        walk(&mosh, "loc", "authenticate", "wrong").failure();
        walk(&mosh, "root", "acct_mgmt", "").success();
        walk(&mosh, "loc", "chauthtok", "at-home-here\nat-home-here").success();
        mosh.sh("rm /usr/lib/*/security/pam_mayfirst.so || true").success();
    }
    walk(&mosh, "ana", "acct_mgmt", "").failure();
    walk(&mosh, "ana", "authenticate", "secret").failure();
}

#[test]
fn local_accounts_change_their_password_with_pam_unix() {
    let mosh = boot!(machine_with_loc().without_daemon());
    mosh.expect_as(
        "loc",
        r#"spawn passwd; want {Current password:}; send "at-home-here\r"; want {New password:}; send "Other-4-home\r"
           want {Retype new password:}; send "Other-4-home\r"; finish"#,
    )
    .success();
    walk(&mosh, "loc", "authenticate", "Other-4-home").success();
}

#[test]
fn without_the_daemon_known_and_unknown_names_look_alike() {
    let mosh = boot!(machine_with_loc().without_daemon());
    let one = walk(&mosh, "ana", "authenticate", "secret").failure();
    let other = walk(&mosh, "nobody-at-all", "authenticate", "secret").failure();
    assert_eq!(seen(&one), seen(&other));
    assert!(seen(&one).contains("Password:"), "{}", seen(&one));
    assert!(seen(&one).contains("cannot retrieve authentication info"), "{}", seen(&one));
    for user in ["ana", "nobody-at-all"] {
        let account = walk(&mosh, user, "acct_mgmt", "").failure();
        within(NO_HANG, "the account stage", account.took);
    }
    assert!(mosh.syslog().contains("pam_mayfirst(stack:auth): cannot connect to identityd"));
}

#[test]
fn a_login_goes_through_all_stages_and_finds_its_home() {
    let mosh = with_ana!();
    let output = walk(&mosh, "ana", "authenticate acct_mgmt setcred open_session close_session", "secret").success();
    assert_eq!(seen(&output).matches("Password:").count(), 1);
    let home = mosh.sh("getent passwd ana | cut -d: -f6").success().text().to_owned();
    assert_eq!(mosh.run(["stat", "-c", "%U %F", &home]).success().text(), "ana directory");
    assert_eq!(mosh.run(["stat", "-c", "%U", &format!("{home}/.profile")]).success().text(), "ana");
    assert_eq!(mosh.sh(&format!("ls -A $(dirname {home}) | grep mayfirst- | wc -l")).success().text(), "0");
}

#[test]
fn a_wrong_password_and_an_unknown_login_look_alike() {
    let mosh = with_ana!();
    let wrong = walk(&mosh, "ana", "authenticate", "wrong").failure();
    let unknown = walk(&mosh, "nobody-at-all", "authenticate", "wrong").failure();
    assert_eq!(seen(&wrong), seen(&unknown));
    assert!(seen(&wrong).contains("Authentication failure"), "{}", seen(&wrong));
    walk(&mosh, "ana", "authenticate", "").failure();
    assert!(!mosh.syslog().contains("wrong\n"), "a password in the log");
}

#[test]
fn a_locked_login_is_stopped_by_account_alone() {
    let mosh = with_ana!();
    walk(&mosh, "ana", "acct_mgmt", "").success();
    mosh.identityctl(["login", "lock", "ana"]).success();
    mosh.wait_until("the lock is seen", NO_HANG, |mosh| !walk(mosh, "ana", "acct_mgmt", "").ok());
    let output = walk(&mosh, "ana", "acct_mgmt", "").failure();
    assert!(seen(&output).contains("Permission denied"), "{}", seen(&output));
}

/// Whoever stands behind our line would otherwise decide: pam_unix is content with a shadow entry without dates.
#[test]
fn below_minimum_uid_logins_of_the_directory_are_refused_and_local_accounts_are_not() {
    let mosh = with_ana!();
    mosh.sh("sed -i '/pam_mayfirst/s/$/ minimum_uid=2000000000/' /etc/pam.d/common-*; sed -i 's/^shadow:.*/shadow: files mayfirst/' /etc/nsswitch.conf")
        .success();
    for (stage, answers) in [("authenticate", "secret"), ("acct_mgmt", ""), ("open_session", ""), ("chauthtok", "")] {
        walk(&mosh, "ana", stage, answers).failure();
    }
    assert!(mosh.syslog().contains("is below minimum_uid=2000000000 of this line"), "{}", mosh.syslog());
    walk(&mosh, "loc", "authenticate acct_mgmt open_session close_session", "at-home-here").success();
}

#[test]
fn a_daemon_that_hangs_is_noticed_and_local_accounts_do_not_care() {
    let mosh = with_ana!();
    mosh.daemon().pause();
    for stage in ["authenticate", "acct_mgmt"] {
        let output = walk(&mosh, "ana", stage, "secret").failure();
        assert!(seen(&output).contains("cannot retrieve authentication info"), "{}", seen(&output));
        within(NO_HANG, "the stack", output.took);
    }
    assert!(mosh.syslog().contains("identityd does not answer (waited 800 ms)"));
    walk(&mosh, "loc", "authenticate acct_mgmt open_session close_session", "at-home-here").success();
    mosh.daemon().resume();
    mosh.wait_until("it answers again", NO_HANG, |mosh| mosh.identityctl(["status"]).ok());
    walk(&mosh, "ana", "authenticate acct_mgmt", "secret").success();
}

#[test]
fn a_login_changes_its_own_password() {
    let mosh = with_ana!();
    let passwd = |old: &str, new: &str| {
        mosh.expect_as(
            "ana",
            &format!(
                r#"spawn passwd; want {{Current password:}}; send "{old}\r"; want {{New password:}}; send "{new}\r"
                   want {{Retype new password:}}; send "{new}\r"; finish"#
            ),
        )
    };
    passwd("secret", "Correct-horse-7").success();
    walk(&mosh, "ana", "authenticate", "Correct-horse-7").success();
    walk(&mosh, "ana", "authenticate", "secret").failure();
    mosh.expect_as("ana", r#"spawn passwd; want {Current password:}; send "secret\r"; finish"#).failure();
    walk(&mosh, "ana", "authenticate", "Correct-horse-7").success();
    assert!(mosh.syslog().contains("password changed for ana by its owner"));
}

#[test]
fn root_resets_a_password_without_the_old_one() {
    let mosh = with_ana!();
    let output = walk(&mosh, "ana", "chauthtok", "Correct-horse-7\nCorrect-horse-7").success();
    assert!(!seen(&output).contains("Current password"), "{}", seen(&output));
    walk(&mosh, "ana", "authenticate", "Correct-horse-7").success();
    let differ = walk(&mosh, "ana", "chauthtok", "One-thing-9\nAnother-thing-9").failure();
    assert!(seen(&differ).contains("do not match"), "{}", seen(&differ));
    walk(&mosh, "ana", "authenticate", "Correct-horse-7").success();
    walk(&mosh, "nobody-at-all", "chauthtok", "Correct-horse-7\nCorrect-horse-7").failure();
}

#[test]
fn a_failed_change_is_reported_as_failed() {
    let mosh = with_ana!();
    for _ in 0..2 {
        let output = walk(&mosh, "ana", "chauthtok", "\n\n\n\n\n\n").failure();
        assert!(seen(&output).contains("No password has been supplied"), "{}", seen(&output));
    }
    walk(&mosh, "ana", "authenticate", "secret").success();
}

#[test]
fn who_is_in_a_denied_group_stays_outside_also_where_its_gid_is_a_local_groups_or_it_is_quarantined() {
    let mosh = boot!(
        machine_with_loc().login(Login::new("ana").password("secret")).login(Login::new("ben").password("secret"))
    );
    mosh.sh("identityctl group add suspended && identityctl group add-member suspended ana").success();
    mosh.configure("access", r#"deny_groups = ["suspended"]"#);
    mosh.identityctl(["reload"]).success();
    let enters = |user: &str| walk(&mosh, user, "authenticate acct_mgmt", "secret").ok();
    assert!(!enters("ana") && enters("ben"));

    let gid = mosh.sh("getent group suspended | cut -d: -f3").success().text().to_owned();
    mosh.sh(&format!("groupadd -o -g {gid} devs")).success();
    mosh.wait_until("the group has no number here", NO_HANG, |mosh| {
        !mosh.run(["getent", "-s", "mayfirst", "group", "suspended"]).ok()
    });
    assert!(!enters("ana") && enters("ben"));

    // A directory's group of a local name is quarantined: nobody knows who is in it.
    mosh.sh("groupdel devs && echo suspended:x:990: >>/etc/group").success();
    mosh.wait_until("the name is local", NO_HANG, |mosh| {
        !mosh.run(["getent", "-s", "mayfirst", "group", "suspended"]).ok()
    });
    assert!(!enters("ana"));
}
