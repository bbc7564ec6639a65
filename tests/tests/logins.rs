//! su, sudo, passwd, login, chsh, chfn, cron and screen lockers with logins of the directory.

use std::time::Duration;

use tests::mosh::{Builder, Output};
use tests::{Login, Mosh, boot};

const SOON: Duration = Duration::from_secs(20);

fn login(name: &str, capabilities: &[&'static str]) -> Login {
    Login::new(name).password("secret").capabilities(capabilities.iter().copied())
}

/// `ana` and `ben` have a shell, `web` has sftp only.
fn machine() -> Builder {
    Mosh::builder().login(login("ana", &["shell"])).login(login("ben", &["shell"])).login(login("web", &["sftp"]))
}

/// Runs a program on a terminal that asks for a password.
fn with_password(mosh: &Mosh, user: &str, program: &str, password: &str) -> Output {
    mosh.expect_as(user, &format!(r#"spawn {program}; want {{assword[^\n]*: *$}}; send "{password}\r"; finish"#))
}

#[test]
fn su_from_root_needs_no_password_and_makes_the_home() {
    let mosh = boot!(machine());
    assert_eq!(mosh.run(["su", "ana", "-c", "id -un"]).success().text(), "ana");
    let output = mosh.run(["su", "-", "ana", "-c", "id -un; pwd; echo $HOME; umask"]).success();
    assert!(output.text().starts_with("ana\n/home/members/users/ana\n/home/members/users/ana\n"), "{output}");
    assert_eq!(mosh.run(["runuser", "-u", "ana", "--", "id", "-un"]).success().text(), "ana");
    assert_eq!(mosh.run(["runuser", "-l", "ana", "-c", "id -un"]).success().text(), "ana");
    mosh.identityctl(["login", "lock", "ana"]).success();
    mosh.run(["su", "ana", "-c", "id"]).failure();
    mosh.run(["su", "nobody-at-all", "-c", "id"]).failure();
}

#[test]
fn su_between_logins_asks_for_the_password_of_the_other() {
    let mosh = boot!(machine());
    mosh.set_password("ben", "of-ben-42");
    let output = with_password(&mosh, "ana", "su ben -c {id -un}", "of-ben-42").success();
    assert!(output.stdout.contains("ben\r\n"), "{output}");
    with_password(&mosh, "ana", "su - ben -c {id -un}", "of-ben-42").success();
    let wrong = with_password(&mosh, "ana", "su ben -c {id -un}", "secret").failure();
    assert!(wrong.stdout.contains("Authentication failure"), "{wrong}");
    with_password(&mosh, "ana", "su root -c {id -un}", "secret").failure();
}

#[test]
fn sudo_knows_logins_and_groups_of_the_directory() {
    let mosh = boot!(
        machine()
            .file("/etc/sudoers.d/ours", "ana ALL=(ALL) ALL\n%club ALL=(ben) /usr/bin/id\n")
            .prepare("chmod 0440 /etc/sudoers.d/ours")
            .login(login("zoe", &["shell"]))
    );
    mosh.identityctl(["group", "add", "club"]).success();
    mosh.identityctl(["group", "add-member", "club", "zoe"]).success();
    let sudo = |user: &str, password: &str, arguments: &[&str]| {
        let argv = ["sudo", "-k", "-S"].iter().chain(arguments).map(|word| (*word).to_owned());
        mosh.call(argv).stdin(format!("{password}\n")).user(user).run()
    };
    assert_eq!(sudo("ana", "secret", &["id", "-un"]).success().text(), "root");
    assert_eq!(sudo("ana", "secret", &["-u", "ben", "id", "-un"]).success().text(), "ben");
    assert_eq!(sudo("ana", "secret", &["-i", "-u", "ben", "pwd"]).success().text(), "/home/members/users/ben");
    assert_eq!(sudo("zoe", "secret", &["-u", "ben", "/usr/bin/id", "-un"]).success().text(), "ben");
    let wrong = sudo("ana", "wrong-one", &["id", "-un"]).failure();
    assert!(wrong.stdout.is_empty() && wrong.stderr.contains("Sorry, try again"), "{wrong}");
    let other_command = sudo("zoe", "secret", &["id", "-un"]).failure();
    assert!(other_command.stderr.contains("not allowed to execute"), "{other_command}");
    let no_rule = sudo("ben", "secret", &["id", "-un"]).failure();
    assert!(no_rule.stderr.contains("not in the sudoers file"), "{no_rule}");
    mosh.identityctl(["group", "remove-member", "club", "zoe"]).success();
    sudo("zoe", "secret", &["-u", "ben", "/usr/bin/id", "-un"]).failure();
    mosh.identityctl(["login", "lock", "ana"]).success();
    sudo("ana", "secret", &["id", "-un"]).failure();
}

#[test]
fn passwd_changes_ones_own_password_and_says_why_it_does_not() {
    let mosh = boot!(machine());
    let wrong_old =
        mosh.expect_as("ana", r#"spawn passwd; want {Current password:}; send "not-this\r"; finish"#).failure();
    assert!(!wrong_old.stdout.contains("New password"), "{wrong_old}");
    let change = |new: &str, again: &str, then: &str| {
        mosh.expect_as(
            "ana",
            &format!(
                r#"spawn passwd; want {{Current password:}}; send "secret\r"; want {{New password:}}; send "{new}\r"
                   want {{Retype new password:}}; send "{again}\r"; {then}"#
            ),
        )
    };
    // After a refusal it asks again, three times in all.
    let short = change("short", "short", "want {at least 8}; want {New password:}; exit 5").exit(5);
    assert!(short.stdout.contains("at least 8"), "{short}");
    change("Correct-horse-7", "Correct-horse-8", "want {do not match}; exit 5").exit(5);
    change("secret", "secret", "want {New password:}; exit 5").exit(5);
    with_password(&mosh, "ben", "su ana -c true", "secret").success();
    let changed = change("Correct-horse-7", "Correct-horse-7", "finish").success();
    assert!(changed.stdout.contains("password updated successfully"), "{changed}");
    with_password(&mosh, "ben", "su ana -c true", "Correct-horse-7").success();
    with_password(&mosh, "ben", "su ana -c true", "secret").failure();
    let others = mosh.sh_as("ana", "passwd ben").failure();
    assert!(others.stderr.contains("may not view or modify"), "{others}");
}

#[test]
fn root_resets_a_password_with_passwd() {
    let mosh = boot!(machine());
    let output = mosh
        .expect(
            r#"spawn passwd ana; want {New password:}; send "abc\r"; want {Retype new password:}; send "abc\r"; finish"#,
        )
        .success();
    assert!(!output.stdout.contains("Current"), "{output}");
    with_password(&mosh, "ben", "su ana -c true", "abc").success();
}

#[test]
fn login_opens_a_session_on_a_terminal() {
    let mosh = boot!(machine());
    let output = mosh.expect(
        r#"spawn login; want {login: *$}; send "ana\r"; want {Password: *$}; send "secret\r"
           want {\$ *$}; send "id -un; pwd; tty; exit\r"; finish"#,
    );
    assert!(output.stdout.contains("\nana\r\n/home/members/users/ana\r\n/dev/pts/"), "{output}");
    let attempt = |name: &str, password: &str| {
        let output = mosh.expect(&format!(
            r#"spawn login; want {{login: *$}}; send "{name}\r"; want {{Password: *$}}; send "{password}\r"
               want {{Login incorrect[^:]*login: *$}}; exit 5"#
        ));
        output.exit(5).stdout.replace(name, "NAME")
    };
    assert_eq!(attempt("ana", "wrong-one"), attempt("xyz", "wrong-one"));
    let refused =
        mosh.expect(r#"spawn login; want {login: *$}; send "web\r"; want {Password: *$}; send "secret\r"; finish"#);
    assert!(refused.failure().stdout.contains("ermission denied"), "no shell, no session");
}

#[test]
fn login_asks_for_a_new_password_when_an_administrator_wants_one() {
    let mosh = boot!(machine());
    mosh.call(["identityctl", "login", "passwd", "ana", "--stdin", "--must-change"]).stdin("secret\n").run().success();
    let output = mosh.expect(
        r#"spawn login ana; want {Password: *$}; send "secret\r"; want {Current password:}; send "secret\r"
           want {New password:}; send "Correct-horse-7\r"; want {Retype new password:}; send "Correct-horse-7\r"
           want {\$ *$}; send "id -un; exit\r"; finish"#,
    );
    assert!(output.stdout.contains("\nana\r\n"), "{output}");
    with_password(&mosh, "ben", "su ana -c true", "Correct-horse-7").success();
}

#[test]
fn chsh_and_chfn_refuse_because_the_account_is_not_a_local_one() {
    let mosh = boot!(machine());
    let before = mosh.run(["getent", "passwd", "ana"]).success();
    for program in ["chsh -s /bin/sh", "chfn -r 12"] {
        let output = with_password(&mosh, "ana", program, "secret").failure();
        assert!(output.stdout.contains("does not exist in /etc/passwd"), "{output}");
        let by_root = mosh.sh(&format!("{program} ana")).failure();
        assert!(by_root.stderr.contains("does not exist in /etc/passwd"), "{by_root}");
    }
    for program in ["usermod -s /bin/sh ana", "userdel ana"] {
        let output = mosh.sh(program).failure();
        assert!(output.stderr.contains("does not exist"), "{output}");
    }
    assert_eq!(mosh.run(["getent", "passwd", "ana"]).success().text(), before.text());
}

#[test]
fn tools_that_edit_the_local_files_leave_logins_of_the_directory_alone() {
    let mosh = boot!(machine());
    let files = "cat /etc/passwd /etc/shadow /etc/group";
    let before = mosh.sh(files).success();
    for tool in [
        "passwd -l ana",
        "passwd -u ana",
        "passwd -d ana",
        "passwd -e ana",
        "chage -E 0 ana",
        "chage -d 0 ana",
        "usermod -L ana",
    ] {
        let output = mosh.sh(tool).failure();
        assert!(output.stderr.contains("does not exist"), "{output}");
    }
    assert_eq!(mosh.sh(files).success().text(), before.text());
    assert!(
        mosh.run(["passwd", "-S", "ana"]).success().text().starts_with("ana L "),
        "the hash is hidden: it looks locked"
    );
    mosh.call(["chpasswd"]).stdin("ana:given-by-root\n").run().success();
    with_password(&mosh, "ben", "su ana -c true", "given-by-root").success();
}

#[test]
fn a_login_of_the_directory_can_be_in_a_local_group() {
    let mosh = boot!(machine());
    mosh.run(["gpasswd", "-a", "ana", "games"]).success();
    assert_eq!(mosh.run(["id", "-Gn", "ana"]).success().text(), "ana games");
    assert_eq!(mosh.run(["su", "ana", "-c", "id -Gn"]).success().text(), "ana games");
    mosh.run(["gpasswd", "-d", "ana", "games"]).success();
    assert_eq!(mosh.run(["id", "-Gn", "ana"]).success().text(), "ana");
    mosh.run(["usermod", "-aG", "audio", "ana"]).success();
    assert_eq!(mosh.run(["id", "-Gn", "ana"]).success().text(), "ana audio");
}

#[test]
fn useradd_gives_no_name_that_the_directory_has() {
    let mosh = boot!(machine());
    let output = mosh.run(["useradd", "ana"]).failure();
    assert!(output.stderr.contains("already exists"), "{output}");
    let uid = mosh.run(["id", "-u", "ana"]).success();
    let taken = mosh.run(["useradd", "-u", uid.text(), "eva"]).failure();
    assert!(taken.stderr.contains("not unique"), "{taken}");
}

#[test]
fn cron_runs_jobs_of_logins_that_have_the_capability() {
    let mosh = boot!(
        Mosh::builder()
            .login(login("ana", &["shell", "cron"]))
            .login(login("ben", &["shell"]))
            .login(login("lea", &["cron"]))
            .login(login("mia", &["cron"]))
    );
    for name in ["ana", "ben", "lea", "mia"] {
        let table = format!("@reboot id -un >/tmp/{name}; id -Gn >>/tmp/{name}; pwd >>/tmp/{name}\n");
        mosh.call(["crontab", "-u", name, "-"]).stdin(table).run().success();
    }
    mosh.run(["crontab", "-u", "nobody-at-all", "-l"]).failure();
    let own = mosh.call(["crontab", "-l"]).user("mia").run().success();
    assert!(own.text().starts_with("@reboot"), "{own}");
    mosh.identityctl(["login", "lock", "lea"]).success();
    mosh.cron();
    mosh.wait_until("the jobs have run", SOON, |mosh| {
        ["ana", "mia"]
            .iter()
            .all(|name| mosh.try_read(&format!("/tmp/{name}")).is_ok_and(|text| text.lines().count() == 3))
    });
    assert_eq!(mosh.read("/tmp/ana"), "ana\nana\n/home/members/users/ana\n");
    for name in ["ben", "lea"] {
        mosh.wait_until("the refusal", SOON, |mosh| {
            mosh.syslog().contains(&format!("pam_mayfirst(cron:account): refused {name}"))
        });
        assert!(!mosh.exists(&format!("/tmp/{name}")), "{name}'s job has run");
    }
}

#[test]
fn a_screen_locker_that_is_not_root_checks_its_own_user_only() {
    let service = "auth include common-auth\naccount include common-account\n";
    let mosh = boot!(machine().file("/etc/pam.d/vlock", service));
    let unlock = |user: &str, of: &str, password: &str| {
        mosh.call(["pamtester", "vlock", of, "authenticate"]).stdin(format!("{password}\n")).user(user).run()
    };
    unlock("ana", "ana", "secret").success();
    unlock("ana", "ana", "wrong-one").failure();
    unlock("ana", "ben", "secret").failure();
    mosh.call(["pamtester", "vlock", "ana", "acct_mgmt"]).user("ana").run().success();
    mosh.call(["pamtester", "vlock", "ben", "acct_mgmt"]).user("ana").run().failure();
}
