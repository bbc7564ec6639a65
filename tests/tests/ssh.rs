//! sshd with Debian's configuration and our drop-in: who gets in, how, and what a person sees who does not.

use std::time::Duration;

use tests::limit::within;
use tests::mosh::{Auth, Builder, Output, Sshd};
use tests::{Login, Mosh, boot};

/// Longer than any wait of ours, shorter than a hang.
const NO_HANG: Duration = Duration::from_secs(10);
/// The private key that all logins of these tests have.
const KEY: &str = "/root/key";

/// A machine with a key for everybody and a local account `loc` (password `at-home-here`, the same key).
fn machine() -> Builder {
    Mosh::builder().prepare(
        "ssh-keygen -q -t ed25519 -N '' -C 'of ana' -f /root/key
         useradd -m -s /bin/bash loc && echo loc:at-home-here | chpasswd
         install -d -o loc -g loc -m 0700 ~loc/.ssh && install -o loc -g loc -m 0600 /root/key.pub ~loc/.ssh/authorized_keys",
    )
}

/// `ana` with `shell`, her password `secret`, and the key in the directory.
fn ana() -> Login {
    Login::new("ana").password("secret")
}

/// Every login gets the key.
fn give_keys(mosh: &Mosh, logins: &[&str]) {
    for login in logins {
        mosh.identityctl(["key", "add", login, "/root/key.pub"]).success();
    }
}

/// What a person saw, without their own name.
fn seen(output: &Output, name: &str) -> String {
    format!("{}{}", output.stdout, output.stderr).replace(name, "NAME")
}

/// Each way to prove who one is, with the right proof.
const WAYS: [Auth<'_>; 3] = [Auth::Password("secret"), Auth::Interactive("secret"), Auth::Key(KEY)];

/// Refused, with what ssh(1) says to everybody.
#[track_caller]
fn refused(sshd: Sshd<'_>, login: &str, way: Auth<'_>) -> Output {
    let output = sshd.ssh(login, way, "echo in").exit(255);
    assert!(!output.stdout.contains("in"), "{output}");
    output
}

#[test]
fn a_login_gets_in_by_password_by_conversation_and_by_key_and_finds_a_new_home() {
    let mosh = boot!(machine().login(ana()));
    give_keys(&mosh, &["ana"]);
    let sshd = mosh.sshd(&[]);
    for way in WAYS {
        let output = sshd.ssh("ana", way, "id -un; pwd; echo $SHELL; id -Gn").success();
        assert_eq!(output.text(), "ana\n/home/members/users/ana\n/bin/bash\nana", "{way:?}");
    }
    let stat = mosh.run(["stat", "-c", "%U:%G %a", "/home/members/users/ana", "/home/members/users/ana/.profile"]);
    assert_eq!(stat.success().text(), "ana:ana 700\nana:ana 644");
    let skeleton = mosh.sh("cd /etc/skel && ls -A").success();
    assert_eq!(mosh.sh("cd /home/members/users/ana && ls -A").success().text(), skeleton.text());
    assert!(mosh.syslog().contains("pam_mayfirst(sshd:session)"), "the home's creation is in the log");
}

#[test]
fn a_removed_key_is_refused_at_once() {
    let mosh = boot!(machine().login(ana()));
    give_keys(&mosh, &["ana"]);
    let sshd = mosh.sshd(&[]);
    sshd.ssh("ana", Auth::Key(KEY), "true").success();
    let fingerprint = mosh.sh("ssh-keygen -lf /root/key.pub | cut -d' ' -f2").success();
    mosh.identityctl(["key", "remove", "ana", fingerprint.text()]).success();
    refused(sshd, "ana", Auth::Key(KEY));
    sshd.ssh("ana", Auth::Password("secret"), "true").success();
}

#[test]
fn a_key_in_the_home_goes_on_working() {
    let mosh = boot!(machine().login(ana()));
    let sshd = mosh.sshd(&[]);
    sshd.ssh("ana", Auth::Password("secret"), "umask 077; mkdir .ssh; cat >.ssh/authorized_keys").success();
    mosh.sh("cat /root/key.pub >>~ana/.ssh/authorized_keys").success();
    assert_eq!(sshd.ssh("ana", Auth::Key(KEY), "id -un").success().text(), "ana");
}

#[test]
fn a_locked_login_is_refused_whatever_it_shows_and_comes_back_when_unlocked() {
    let mosh = boot!(machine().login(ana()));
    give_keys(&mosh, &["ana"]);
    let sshd = mosh.sshd(&[]);
    sshd.ssh("ana", Auth::Key(KEY), "umask 077; mkdir .ssh; cat >.ssh/authorized_keys").success();
    mosh.sh("cat /root/key.pub >>~ana/.ssh/authorized_keys").success();
    mosh.identityctl(["login", "lock", "ana"]).success();
    for way in WAYS {
        refused(sshd, "ana", way);
    }
    mosh.identityctl(["login", "unlock", "ana"]).success();
    for way in WAYS {
        sshd.ssh("ana", way, "true").success();
    }
}

#[test]
fn an_expired_login_is_refused_whatever_it_shows() {
    let mosh = boot!(machine().login(ana()));
    give_keys(&mosh, &["ana"]);
    let sshd = mosh.sshd(&[]);
    mosh.identityctl(["login", "expire", "ana", "2020-01-01"]).success();
    for way in WAYS {
        refused(sshd, "ana", way);
    }
    mosh.identityctl(["login", "expire", "ana", "never"]).success();
    sshd.ssh("ana", Auth::Key(KEY), "true").success();
}

#[test]
fn a_login_without_shell_and_sftp_is_refused_whatever_it_shows() {
    let mosh = boot!(machine().login(Login::new("mia").password("secret").capabilities(["mail"])));
    give_keys(&mosh, &["mia"]);
    let sshd = mosh.sshd(&[]);
    for way in WAYS {
        refused(sshd, "mia", way);
    }
    assert!(!mosh.exists("/home/members/users/mia"), "no session, no home");
    assert!(mosh.journal().contains("needs sftp or shell"), "the reason is in the log");
}

#[test]
fn a_wrong_password_and_an_unknown_login_look_alike() {
    let mosh = boot!(machine().login(ana()));
    let sshd = mosh.sshd(&[]);
    for wrong in [Auth::Password("wrong-one"), Auth::Interactive("wrong-one")] {
        let known = refused(sshd, "ana", wrong);
        let unknown = refused(sshd, "xyz", wrong);
        assert_eq!(seen(&known, "ana"), seen(&unknown, "xyz"));
        // Both wait for the module's pause; without it the unknown one would be back at once.
        let pause = Duration::from_millis(1500);
        assert!(known.took > pause && unknown.took > pause, "{:?} {:?}", known.took, unknown.took);
    }
    let ask = |name: &str| {
        let output = mosh.expect(&format!(
            "spawn ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
             -o PreferredAuthentications=keyboard-interactive -o NumberOfPasswordPrompts=1 {name}@127.0.0.1
             want {{assword: *$}}; send \"wrong-one\\r\"; finish"
        ));
        seen(&output.failure(), name)
    };
    assert_eq!(ask("ana"), ask("xyz"), "the same prompts");
    assert!(
        !mosh.syslog().contains("wrong-one")
            && !mosh.journal().contains("wrong-one")
            && !sshd.log().contains("wrong-one")
    );
}

#[test]
fn a_forced_change_happens_in_the_conversation_and_the_new_password_counts() {
    let mosh = boot!(machine().login(ana()));
    mosh.call(["identityctl", "login", "passwd", "ana", "--stdin", "--must-change"]).stdin("secret\n").run().success();
    let sshd = mosh.sshd(&[]);
    let client = "spawn ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
                  -o PreferredAuthentications=keyboard-interactive ana@127.0.0.1 echo got-in";
    let wrong_old = format!(
        r#"{client}; want {{assword: *$}}; send "secret\r"; want {{Current password:}}; send "not-this\r"; want {{assword: *$|closed|denied}}; exit 5"#
    );
    let output = mosh.expect(&wrong_old).exit(5);
    assert!(!output.stdout.contains("\ngot-in"), "{output}");
    let change = format!(
        r#"{client}; want {{assword: *$}}; send "secret\r"; want {{Current password:}}; send "secret\r"
           want {{New password:}}; send "Correct-horse-7\r"; want {{Retype new password:}}; send "Correct-horse-7\r"; want {{got-in\r}}; finish"#
    );
    mosh.expect(&change).success();
    sshd.ssh("ana", Auth::Password("Correct-horse-7"), "true").success();
    refused(sshd, "ana", Auth::Password("secret"));
}

#[test]
fn a_forced_change_without_a_conversation_is_left_to_passwd_and_needs_a_terminal() {
    let mosh = boot!(machine().login(ana()));
    give_keys(&mosh, &["ana"]);
    mosh.call(["identityctl", "login", "passwd", "ana", "--stdin", "--must-change"]).stdin("secret\n").run().success();
    let sshd = mosh.sshd(&[]);
    for way in [Auth::Password("secret"), Auth::Key(KEY)] {
        let output = sshd.ssh("ana", way, "echo got-in").exit(1);
        assert!(!output.stdout.contains("got-in"), "{output}");
        assert!(output.stderr.contains("Password change required but no TTY available"), "{output}");
    }
    let output = mosh.expect(
        r#"spawn ssh -tt -i /root/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null ana@127.0.0.1 echo got-in
           want {Current password:}; send "secret\r"; want {New password:}; send "Correct-horse-7\r"
           want {Retype new password:}; send "Correct-horse-7\r"; finish"#,
    );
    assert!(!output.stdout.contains("\ngot-in"), "sshd wants a second log-in: {output}");
    assert_eq!(sshd.ssh("ana", Auth::Password("Correct-horse-7"), "echo got-in").success().text(), "got-in");
}

#[test]
fn a_hung_or_dead_daemon_keeps_members_out_and_local_accounts_do_not_notice() {
    let mosh = boot!(machine().login(ana()));
    give_keys(&mosh, &["ana"]);
    let sshd = mosh.sshd(&[]);
    sshd.ssh("ana", Auth::Password("secret"), "true").success();
    // Where her session ends, identityd is told: that comes after ssh(1) has returned.
    mosh.wait_until("her session has ended", NO_HANG, |mosh| !mosh.run(["pgrep", "-f", "^sshd: ana"]).ok());
    // Each connection that the hung daemon has not taken is listed beside its socket.
    let questions = || mosh.read("/proc/1/net/unix").matches("/run/identityd/socket").count();
    for state in ["hung", "dead"] {
        if state == "hung" {
            mosh.daemon().pause();
        } else {
            mosh.daemon().resume();
            mosh.daemon().kill();
        }
        let before = questions();
        for way in [Auth::Password("at-home-here"), Auth::Interactive("at-home-here"), Auth::Key(KEY)] {
            let output = sshd.ssh("loc", way, "id -un").success();
            assert_eq!(output.text(), "loc");
            // What was left of ana's session may have gone meanwhile.
            assert!(questions() <= before, "{state}, {way:?}: nothing is asked about it");
            within(Duration::from_secs(2), &format!("{state}, {way:?}"), output.took);
        }
        // The method `password` takes twice as long, by sshd's own doing.
        for way in [Auth::Interactive("secret"), Auth::Key(KEY)] {
            let output = refused(sshd, "ana", way);
            within(NO_HANG, &format!("{state}, {way:?}"), output.took);
        }
        assert!(state == "dead" || questions() > before, "members are asked about");
    }
    mosh.daemon().start();
    // Published names are answered for before the directory has been opened.
    mosh.wait_until("the directory is asked", NO_HANG, |mosh| {
        mosh.identityctl(["--json", "status"]).stdout.contains("\"reachable\": true")
    });
    for way in WAYS {
        assert_eq!(sshd.ssh("ana", way, "id -un").success().text(), "ana");
    }
}

#[test]
fn a_local_account_is_served_as_without_us() {
    let local = |mosh: &Mosh| {
        let sshd = mosh.sshd(&["UsePAM yes", "KbdInteractiveAuthentication yes"]);
        for way in [Auth::Password("at-home-here"), Auth::Interactive("at-home-here"), Auth::Key(KEY)] {
            assert_eq!(sshd.ssh("loc", way, "id -un; pwd; id -Gn").success().text(), "loc\n/home/loc\nloc");
        }
        let wrong = refused(sshd, "loc", Auth::Interactive("wrong-one"));
        let batch = sshd.sftp("loc", Auth::Key(KEY), "pwd").success();
        mosh.run(["passwd", "-l", "loc"]).success();
        let locked = refused(sshd, "loc", Auth::Interactive("at-home-here"));
        mosh.run(["usermod", "-e", "2020-01-01", "loc"]).success();
        let expired = refused(sshd, "loc", Auth::Key(KEY));
        [wrong, batch, locked, expired].map(|output| (output.stdout, output.stderr))
    };
    let bare = boot!(machine().bare());
    let wired = boot!(machine());
    assert_eq!(local(&bare), local(&wired));
}
