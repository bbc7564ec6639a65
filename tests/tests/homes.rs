//! Whose home it is: nobody enters in a home of somebody else, who could have programs run there.

use std::time::Duration;

use tests::mosh::Auth;
use tests::{Login, Mosh, boot};

/// A trap of eve's in ana's home: what bash and sshd would run as ana.
const TRAP: &str = "set -e; home=$(getent passwd ana | cut -d: -f6); install -d -o eve -m 0755 $home $home/.ssh
    echo 'touch /tmp/trapped-$(id -un)' | tee $home/.bash_profile $home/.bashrc $home/.ssh/rc >/dev/null; chown -R eve $home";

fn machine() -> tests::mosh::Builder {
    let login = |name| Login::new(name).password("sesame");
    Mosh::builder()
        .login(login("ana").capabilities(["shell", "sftp", "cron"]))
        .login(login("eve").capabilities(["shell"]))
        .login(login("radio").capabilities(["sftp"]))
}

fn trapped(mosh: &Mosh) -> bool {
    mosh.sh("ls /tmp/trapped-* 2>/dev/null").ok()
}

#[test]
fn who_owns_the_home_of_another_login_does_not_get_that_login() {
    let mosh = boot!(machine());
    mosh.sh(TRAP).success();
    let sshd = mosh.sshd(&[]);
    sshd.ssh("ana", Auth::Password("sesame"), "true").failure();
    mosh.run(["su", "-", "ana", "-c", "true"]).failure();
    assert!(!trapped(&mosh));
    let (ana, eve) = (mosh.uid("ana"), mosh.uid("eve"));
    let line = format!("refusing ana (uid {ana}): its home /home/members/users/ana belongs to uid {eve}");
    mosh.wait_until("it is logged", Duration::from_secs(5), |mosh| mosh.syslog().contains(&line));
    sshd.ssh("eve", Auth::Password("sesame"), "true").success();
    let doctor = mosh.identityctl(["doctor"]).stdout;
    assert!(doctor.contains("ana") && doctor.contains(&format!("uid {eve}")), "{doctor}");

    mosh.sh("rm -r ~ana/.ssh ~ana/.bash*; chown -R ana ~ana").success();
    assert_eq!(sshd.ssh("ana", Auth::Password("sesame"), "id -un").success().text(), "ana");
    assert!(!mosh.identityctl(["doctor"]).stdout.contains("refused: their homes"));
}

#[test]
fn homes_of_root_shared_places_and_confined_logins_are_let_in() {
    let mosh = boot!(machine());
    let sshd = mosh.sshd(&[]);
    // Root's, as a folder around a site.
    mosh.sh("install -d -o root -m 0755 /home/members/users/ana").success();
    assert_eq!(sshd.ssh("ana", Auth::Password("sesame"), "pwd").success().text(), "/home/members/users/ana");
    // A login that gets files only, in a folder of somebody else.
    mosh.sh("install -d -o eve -m 0755 /home/members/users/radio").success();
    sshd.sftp("radio", Auth::Password("sesame"), "pwd").success();
    // Said to be shared.
    mosh.sh("chown eve /home/members/users/ana").success();
    sshd.ssh("ana", Auth::Password("sesame"), "true").failure();
    mosh.sh("sed -i '/pam_mayfirst/s|$| shared_homes=/srv:/home/members|' /etc/pam.d/common-session /etc/pam.d/common-session-noninteractive")
        .success();
    sshd.ssh("ana", Auth::Password("sesame"), "true").success();
    let doctor = mosh.identityctl(["doctor"]).stdout;
    assert!(!doctor.contains("refused: their homes"), "{doctor}");
}
