//! The Debian package: installed, upgraded under running programs, removed, purged.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tests::{Login, Mosh, boot, places};

const CONFIG: &str = "/etc/identityd/identityd.toml";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/mayfirst.conf";
const SETUP: &str = "/usr/lib/identityd/setup";
/// What is below /etc, but for what dpkg, pam-auth-update and useradd keep for themselves.
const ETC: &str = "find /etc \\( -name '*-' -o -name .pwd.lock -o -name ld.so.cache \\) -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort -k2";

/// What `make deb` makes of the product that is being tested.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(make)
}

fn make() -> PathBuf {
    let target = places::target();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let made = std::process::Command::new("sh")
        .arg(top.join("packaging/deb"))
        .arg(&target)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
}

/// Puts the package into the machine's /root.
fn bring(mosh: &Mosh) {
    std::fs::copy(package(), mosh.outside("/root/identityd.deb")).unwrap();
}

#[test]
fn a_package_changes_nothing_by_itself_is_upgraded_under_running_programs_and_goes_without_a_trace() {
    let mosh = boot!(Mosh::builder().bare());
    bring(&mosh);
    let bare = mosh.sh(ETC).stdout;
    let installed = mosh.run(["dpkg", "-i", "/root/identityd.deb"]).success();
    assert!(installed.stdout.contains("nothing is changed yet"), "{installed}");
    assert!(!mosh.read("/etc/nsswitch.conf").contains("mayfirst"));
    assert!(!mosh.exists(CONFIG));
    mosh.run(["getent", "passwd", "root"]).success();

    mosh.run([SETUP, "enable"]).success();
    mosh.sh(&format!("sed -i 's/^\\[auth\\]$/&\\nqueue = 77/' {CONFIG}; echo '# ours' | tee -a /etc/logrotate.d/identityd >>{DROP_IN}"))
        .success();
    mosh.run(["/etc/init.d/identityd", "start"]).success();
    mosh.add(&Login::new("ana"));
    let (edited, daemon) = (mosh.read(CONFIG), mosh.read("/run/identityd.pid"));
    assert!(edited.contains("queue = 77"), "{edited}");
    mosh.wait_until("ana is there", Duration::from_secs(10), |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    // A program that looks up all the time, and new ones: no look-up fails while the package is replaced.
    let mut storm = mosh
        .call([
            "sh",
            "-c",
            "while [ ! -e /tmp/enough ]; do getent passwd ana >/dev/null || { echo \"lost: $?\"; exit 1; }; done",
        ])
        .limit(Duration::from_secs(300))
        .spawn();
    mosh.run(["dpkg", "-i", "/root/identityd.deb"]).success();
    mosh.write("/tmp/enough", "");
    storm.finish(Duration::from_secs(60)).success();
    assert_eq!(mosh.read(CONFIG), edited);
    for path in ["/etc/logrotate.d/identityd", DROP_IN] {
        assert!(mosh.read(path).ends_with("# ours\n"), "{path}");
    }
    assert_ne!(mosh.read("/run/identityd.pid"), daemon, "it was restarted");
    mosh.wait_until("the restarted daemon answers", Duration::from_secs(10), |mosh| mosh.identityctl(["status"]).ok());

    mosh.run(["dpkg", "-r", "identityd"]).success();
    assert!(!mosh.read("/etc/nsswitch.conf").contains("mayfirst"));
    for gone in ["/usr/sbin/identityd", "/usr/lib/identityd", "/usr/share/man/man8/identityd.8.gz"] {
        assert!(!mosh.exists(gone), "{gone}");
    }
    mosh.sh("ls /usr/lib/*/libnss_mayfirst.so.2 /usr/lib/*/security/pam_mayfirst.so").failure();
    mosh.run(["getent", "passwd", "ana"]).failure();
    assert_eq!(mosh.read(CONFIG), edited, "configuration stays until the package is purged");

    let purged = mosh.run(["dpkg", "-P", "identityd"]).success();
    assert!(purged.stderr.contains("/var/lib/identityd holds a directory and stays"), "{purged}");
    mosh.run(["getent", "passwd", "identityd"]).failure();
    mosh.sh("pgrep -x identityd").failure();
    let left = mosh.sh("ls -A /var/lib/identityd | grep -v '^directory.db'; stat -c %U /var/lib/identityd/*").stdout;
    assert!(left.lines().all(|owner| owner == "root"), "{left}");
    assert_eq!(mosh.sh(ETC).stdout, bare);
}

#[test]
fn a_package_is_not_removed_where_pam_would_go_on_naming_its_module() {
    let mosh = boot!(Mosh::builder().bare());
    bring(&mosh);
    mosh.run(["dpkg", "-i", "/root/identityd.deb"]).success();
    mosh.run([SETUP, "enable"]).success();
    mosh.sh("echo 'auth required pam_mayfirst.so' >>/etc/pam.d/common-auth; sed -i 's/^# end of pam-auth-update config$//' /etc/pam.d/common-auth").success();
    let refused = mosh.run(["dpkg", "-r", "identityd"]).failure();
    assert!(refused.stderr.contains("still mentions pam_mayfirst.so"), "{refused}");
    mosh.sh("test -e /usr/lib/*/security/pam_mayfirst.so").success();
}

#[test]
fn a_package_is_not_removed_while_accounts_of_the_server_are_in_the_directory_alone() {
    let mosh = boot!(Mosh::builder().bare().prepare("useradd -m -u 2001 -s /bin/bash ana"));
    bring(&mosh);
    mosh.run(["dpkg", "-i", "/root/identityd.deb"]).success();
    mosh.run([SETUP, "enable"]).success();
    mosh.run(["/etc/init.d/identityd", "start"]).success();
    mosh.identityctl(["import", "/etc", "--apply"]);
    mosh.identityctl(["local", "release", "ana", "--apply"]).success();
    let (wired, moved) = (mosh.read("/etc/nsswitch.conf"), mosh.read("/etc/passwd"));
    let refused = mosh.run(["dpkg", "-r", "identityd"]).failure();
    assert!(refused.stderr.contains("identityctl local restore --apply"), "{refused}");
    assert_eq!((mosh.read("/etc/nsswitch.conf"), mosh.read("/etc/passwd")), (wired, moved));
    mosh.run(["id", "ana"]).success();
    mosh.identityctl(["local", "restore", "--apply"]).success();
    mosh.run(["dpkg", "-r", "identityd"]).success();
    mosh.run(["id", "ana"]).success();
}

#[test]
fn the_units_are_what_systemd_takes_and_names_are_restored_before_anything_else_is_started() {
    let mosh = boot!(Mosh::builder().bare());
    bring(&mosh);
    mosh.run(["dpkg", "-i", "/root/identityd.deb"]).success();
    mosh.run([SETUP, "enable"]).success();
    let units = "/usr/lib/systemd/system/identityd.service /usr/lib/systemd/system/identityd.socket /usr/lib/systemd/system/identityd-snapshot.service";
    let verified = mosh.sh(&format!("systemd-analyze verify --man=no {units} 2>&1"));
    let about_us: Vec<&str> = verified.stdout.lines().filter(|line| line.contains("identityd")).collect();
    assert!(verified.ok() && about_us.is_empty(), "{verified}");
    // What systemd would do at the next boot: sysinit.target comes before every service that has the usual dependencies, php-fpm and sshd among them.
    mosh.sh("systemctl enable identityd.socket identityd.service").success();
    let order = mosh.sh("systemd-analyze verify --man=no sysinit.target 2>&1");
    assert!(!order.stdout.contains("cycle") && !order.stdout.contains("identityd"), "{order}");
    let unit = mosh.read("/usr/lib/systemd/system/identityd-snapshot.service");
    let before: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix("Before=")).flat_map(str::split_whitespace).collect();
    for later in ["sysinit.target", "nss-user-lookup.target", "identityd.service"] {
        assert!(before.contains(&later), "{before:?}");
    }
}
