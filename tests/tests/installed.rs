//! A machine right after the installation: wired as `packaging/setup` says, and nothing that was there before is worse for it.

use tests::mosh::Auth;
use tests::{Mosh, boot};

/// A login of the server itself.
const LOCAL: &str = "useradd -m -s /bin/bash zoe && echo zoe:opensesame | chpasswd";

#[test]
fn the_set_up_wires_nsswitch_pam_and_sshd() {
    let mosh = boot!(Mosh::builder().without_daemon());
    println!("an installed machine boots in {:?}", mosh.boot_time());
    let nsswitch = mosh.read("/etc/nsswitch.conf");
    for map in ["passwd:", "group:", "shadow:"] {
        let line = nsswitch.lines().find(|line| line.starts_with(map)).unwrap_or_default();
        assert!(line.contains("files mayfirst"), "{line}");
    }
    for stack in ["auth", "account", "password", "session"] {
        assert!(mosh.read(&format!("/etc/pam.d/common-{stack}")).contains("pam_mayfirst.so"), "common-{stack}");
    }
    assert_eq!(
        mosh.sh("stat -c '%U %a' /var/lib/identityd /run/identityd || :").text().lines().next(),
        Some("identityd 700")
    );
    mosh.sh("mkdir -p /run/sshd; sshd -T | grep -i authorizedkeyscommand").success();
}

#[test]
fn local_accounts_work_without_the_daemon() {
    let mosh = boot!(Mosh::builder().without_daemon().prepare(LOCAL));
    assert_eq!(mosh.run(["id", "-Gn", "zoe"]).success().text(), "zoe");
    mosh.expect("spawn su games -s /bin/sh -c {su - zoe -c whoami}; want {Password:}; send \"opensesame\\r\"; want {zoe}; finish").success();
    let sshd = mosh.sshd(&[]);
    assert_eq!(sshd.ssh("zoe", Auth::Password("opensesame"), "id -un").success().text(), "zoe");
    sshd.ssh("zoe", Auth::Password("wrong"), "id -un").failure();
    sshd.ssh("nobody-of-this-name", Auth::Password("wrong"), "id -un").failure();
    mosh.sh("echo 'zoe ALL=(ALL) ALL' >/etc/sudoers.d/zoe");
    mosh.call(["sudo", "-S", "id", "-un"]).stdin("opensesame\n").user("zoe").run().success();
}

#[test]
fn set_up_can_be_undone_to_the_byte() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let state = "cat /etc/nsswitch.conf /etc/pam.d/common-*; ls /etc/ssh/sshd_config.d";
    let wired = mosh.sh(state).stdout;
    mosh.run(["/usr/lib/identityd/setup", "disable"]).success();
    let bare = boot!(Mosh::builder().bare());
    assert_eq!(mosh.sh(state).stdout, bare.sh(state).stdout);
    mosh.run(["/usr/lib/identityd/setup", "enable"]).success();
    mosh.run(["/usr/lib/identityd/setup", "enable"]).success();
    assert_eq!(mosh.sh(state).stdout, wired);
}

#[test]
fn a_machine_whose_directory_is_on_a_server_is_wired_and_gets_no_file() {
    const CONFIG: &str = "/etc/identityd/identityd.toml";
    const FILE: &str = "/var/lib/identityd/directory.db";
    let mysql = "type = \"mysql\"\nservers = [\"db.example.org\"]\n";
    let ldap = "type = \"ldap\"\nservers = [\"ldaps://ldap.example.org\"]\nbase = \"dc=example,dc=org\"\n";
    for (directory, told) in [(mysql, "identityctl schema apply"), (ldap, "tree.ldif")] {
        let mosh = boot!(Mosh::builder().without_daemon());
        mosh.run(["/usr/lib/identityd/setup", "disable"]).success();
        mosh.sh(&format!("rm -f {FILE}*")).success();
        let old = mosh.read(CONFIG);
        assert!(old.contains("type = \"sqlite\"\n"), "{old}");
        mosh.write(CONFIG, &old.replace("type = \"sqlite\"\n", directory));
        let wired = mosh.run(["/usr/lib/identityd/setup", "enable"]).success();
        assert!(wired.stdout.contains(told) && wired.stdout.contains("nothing to create on this host"), "{wired}");
        assert!(mosh.read("/etc/nsswitch.conf").contains("mayfirst"));
        assert!(!mosh.exists(FILE));
        assert!(mosh.identityctl(["init", "--json"]).success().stdout.contains("\"generation\": null"));
        let doctor = mosh.identityctl(["doctor"]);
        assert!(!doctor.stdout.contains(FILE), "{doctor}");
    }
}

#[test]
fn the_installed_documentation_has_no_dead_links_and_the_manual_its_pages() {
    const DOCS: &str = "/usr/share/doc/identityd";
    let mosh = boot!(Mosh::builder().without_daemon());
    for page in ["man8/identityd.8", "man8/pam_mayfirst.8", "man5/identityd.toml.5", "man1/identityctl.1"] {
        assert!(mosh.exists(&format!("/usr/share/man/{page}")), "{page}");
    }
    let pages = mosh.sh(&format!("find {DOCS} /usr/share/identityd -name '*.md'")).success();
    let mut links = 0;
    for page in pages.text().lines() {
        let (text, folder) = (mosh.read(page), page.rsplit_once('/').map_or("", |(folder, _)| folder));
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(mosh.exists(&format!("{folder}/{target}")), "{page} has a link to {target}");
                links += 1;
            }
        }
    }
    assert!(links > 30, "only {links} links in {}", pages.text());
    for named in
        ["docs/operations.md", "packaging/examples/red/sample.sql", "packaging/examples/froxlor/identityd.toml"]
    {
        assert!(mosh.exists(&format!("{DOCS}/{named}")), "{named}");
    }
}

#[test]
fn a_module_that_libc_cannot_load_is_not_wired() {
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.run(["/usr/lib/identityd/setup", "disable"]).success();
    let unwired = mosh.read("/etc/nsswitch.conf");
    mosh.sh("cd /usr/lib/*-linux-gnu && cp -f libutil.so.1 other && mv -f other libnss_mayfirst.so.2").success();
    let refused = mosh.run(["/usr/lib/identityd/setup", "enable"]).failure();
    assert!(refused.stderr.contains("libc cannot load libnss_mayfirst.so.2"), "{}", refused.stderr);
    assert_eq!(mosh.read("/etc/nsswitch.conf"), unwired);
}
