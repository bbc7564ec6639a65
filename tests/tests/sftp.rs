//! sftp: for members with a shell, and for those who may move files and nothing else.

use tests::mosh::{Auth, Builder};
use tests::{Login, Mosh, boot};

const SECRET: Auth<'_> = Auth::Password("secret");
const HOME: &str = "/home/members/users";

fn login(name: &str, capabilities: &[&'static str]) -> Login {
    Login::new(name).password("secret").capabilities(capabilities.iter().copied())
}

/// `ana` has a shell and sftp, `web` has sftp only, `mia` mail only.
fn machine() -> Builder {
    Mosh::builder()
        .login(login("ana", &["shell", "sftp"]))
        .login(login("web", &["sftp"]))
        .login(login("mia", &["mail"]))
        .file("/root/sent", "from here\n")
}

#[test]
fn a_login_with_a_shell_sees_the_machine_and_moves_files() {
    let mosh = boot!(machine());
    let sshd = mosh.sshd(&[]);
    let output = sshd.sftp("ana", SECRET, "pwd\nput /root/sent mine\nget mine /root/back\nls /etc/hostname").success();
    assert!(output.stdout.contains(&format!("Remote working directory: {HOME}/ana")), "{output}");
    assert!(output.stdout.contains("/etc/hostname"), "{output}");
    assert_eq!(mosh.read("/root/back"), "from here\n");
    assert_eq!(mosh.run(["stat", "-c", "%U:%G", &format!("{HOME}/ana/mine")]).success().text(), "ana:ana");
}

#[test]
fn an_sftp_only_login_moves_files_in_its_own_home() {
    let mosh = boot!(machine());
    let sshd = mosh.sshd(&[]);
    for way in [SECRET, Auth::Interactive("secret")] {
        let output =
            sshd.sftp("web", way, "pwd\nput /root/sent site\nget site /root/back\nmkdir a\nrmdir a\nls -l").success();
        // The chroot is /home, and the kernel knows the link /home/home -> . no more once it has been followed.
        assert!(output.stdout.contains("Remote working directory: /members/users/web"), "{output}");
        assert_eq!(mosh.read("/root/back"), "from here\n");
    }
    assert_eq!(mosh.run(["stat", "-c", "%U:%G %a", &format!("{HOME}/web")]).success().text(), "web:web 700");
    assert_eq!(mosh.run(["stat", "-c", "%U:%G", &format!("{HOME}/web/site")]).success().text(), "web:web");
}

#[test]
fn an_sftp_only_login_sees_neither_the_machine_nor_other_homes() {
    let mosh = boot!(machine());
    let sshd = mosh.sshd(&[]);
    sshd.sftp("ana", SECRET, "put /root/sent hers").success();
    let refusals = [
        ("get /etc/passwd /root/x", "not found"),
        (&format!("ls {HOME}"), "Permission denied"),
        (&format!("ls {HOME}/ana"), "Permission denied"),
        (&format!("get {HOME}/ana/hers /root/x"), "not found"),
        ("put /root/sent /home/x", "ermission denied"),
        ("ls ../../../../../etc", "not found"),
    ];
    for (command, refusal) in refusals {
        let output = sshd.sftp("web", SECRET, command);
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(refusal), "{command}: {output}");
    }
    assert!(!mosh.exists("/root/x") && !mosh.exists("/home/x"));
    let listed = sshd.sftp("web", SECRET, "ls -1 /").success();
    let names: Vec<_> = listed.stdout.lines().filter(|line| line.starts_with('/')).collect();
    assert_eq!(names, ["/home", "/members"], "{listed}");
}

#[test]
fn an_sftp_only_login_gets_no_shell_no_command_and_no_tunnel() {
    let mosh = boot!(machine().prepare("ssh-keygen -q -t ed25519 -N '' -f /root/key"));
    mosh.identityctl(["key", "add", "web", "/root/key.pub"]).success();
    let sshd = mosh.sshd(&[]);
    for way in [SECRET, Auth::Key("/root/key")] {
        for command in ["", "id", "/bin/sh -c id"] {
            let output = sshd.ssh("web", way, command).exit(1);
            assert!(output.stdout.contains("This service allows sftp connections only."), "{output}");
            assert!(!output.stdout.contains("uid="), "{output}");
        }
    }
    let ssh = |options: &str| {
        mosh.sh(&format!(
            "timeout 60 ssh -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o ExitOnForwardFailure=yes {options} web@127.0.0.1"
        ))
    };
    let tunnel = ssh("-W 127.0.0.1:22").failure();
    assert!(!tunnel.stdout.contains("SSH-2.0"), "{tunnel}");
    assert!(tunnel.stderr.contains("administratively prohibited"), "{tunnel}");
    let remote = ssh("-N -R 127.0.0.1:2222:127.0.0.1:22").failure();
    assert!(remote.stderr.contains("remote port forwarding failed"), "{remote}");
    let socket = ssh("-N -R /tmp/sock:127.0.0.1:22").failure();
    assert!(socket.stderr.contains("remote port forwarding failed"), "{socket}");
    let terminal = mosh.expect(
        "spawn ssh -tt -i /root/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null web@127.0.0.1; finish",
    );
    assert!(terminal.stdout.contains("PTY allocation request failed"), "{terminal}");
}

#[test]
fn scp_works_over_sftp_and_rsync_does_not() {
    let mosh = boot!(machine().prepare("ssh-keygen -q -t ed25519 -N '' -f /root/key"));
    for login in ["web", "ana"] {
        mosh.identityctl(["key", "add", login, "/root/key.pub"]).success();
    }
    let _sshd = mosh.sshd(&[]);
    let options =
        "-i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
    let scp = |flags: &str, login: &str| mosh.sh(&format!("scp {flags} {options} /root/sent {login}@127.0.0.1:copied"));
    let rsync = |login: &str| mosh.sh(&format!("rsync -e 'ssh {options}' /root/sent {login}@127.0.0.1:synced"));
    scp("", "web").success();
    assert_eq!(mosh.read(&format!("{HOME}/web/copied")), "from here\n");
    scp("-O", "web").failure();
    rsync("web").failure();
    for flags in ["", "-O"] {
        scp(flags, "ana").success();
    }
    rsync("ana").success();
}

#[test]
fn an_sftp_only_login_changes_an_old_password_in_the_conversation_only() {
    let mosh = boot!(machine());
    mosh.call(["identityctl", "login", "passwd", "web", "--stdin", "--must-change"]).stdin("secret\n").run().success();
    let sshd = mosh.sshd(&[]);
    // sshd would run passwd(1) in the session, and the session is in a chroot without programs.
    let output = sshd.sftp("web", SECRET, "pwd").failure();
    assert!(!output.stdout.contains("Remote working directory"), "{output}");
    mosh.expect(
        r#"spawn sftp -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PreferredAuthentications=keyboard-interactive web@127.0.0.1
           want {assword: *$}; send "secret\r"; want {Current password:}; send "secret\r"
           want {New password:}; send "Correct-horse-7\r"; want {Retype new password:}; send "Correct-horse-7\r"
           want {sftp> *$}; send "pwd\r"; want {/members/users/web}; send "bye\r"; finish"#,
    )
    .success();
    sshd.sftp("web", Auth::Password("Correct-horse-7"), "pwd").success();
}

#[test]
fn su_and_a_forced_shell_give_nothing_to_an_sftp_only_login() {
    let mosh = boot!(machine());
    assert_eq!(mosh.sh("getent passwd web | cut -d: -f7").success().text(), "/usr/sbin/nologin");
    mosh.run(["su", "-", "web", "-c", "id"]).failure();
    mosh.run(["su", "-s", "/bin/sh", "web", "-c", "id"]).failure();
}

#[test]
fn a_mail_only_login_has_neither_sftp_nor_shell() {
    let mosh = boot!(machine());
    let sshd = mosh.sshd(&[]);
    for way in [SECRET, Auth::Interactive("secret")] {
        let output = sshd.sftp("mia", way, "pwd").failure();
        assert!(!output.stdout.contains("Remote working directory"), "{output}");
        sshd.ssh("mia", way, "id").exit(255);
    }
}

#[test]
fn taking_the_shell_away_leaves_sftp_at_the_next_connection() {
    let mosh = boot!(machine());
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("ana", SECRET, "id -un").success().text(), "ana");
    mosh.identityctl(["login", "set", "ana", "--deny", "shell"]).success();
    let output = sshd.ssh("ana", SECRET, "id -un").exit(1);
    assert!(output.stdout.contains("sftp connections only"), "{output}");
    sshd.sftp("ana", SECRET, "pwd").success();
    mosh.identityctl(["login", "set", "ana", "--deny", "sftp"]).success();
    sshd.sftp("ana", SECRET, "pwd").failure();
}
