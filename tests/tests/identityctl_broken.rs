//! identityctl on a directory that is missing, damaged, full, read-only or somebody else's: an error with its remedy, and nothing lost.

use tests::{Mosh, boot};

const DB: &str = "/var/lib/identityd/directory.db";

macro_rules! machine {
    () => {
        boot!(Mosh::builder().without_daemon())
    };
}

fn refused(mosh: &Mosh, words: &str, remedy: &str) {
    for line in ["login list", "login add zoe", "export /tmp/export"] {
        let output = mosh.identityctl(line.split(' ')).exit(4);
        assert!(output.stderr.starts_with("identityctl: ") && output.stderr.contains(words), "{words}: {output}");
        assert!(output.stderr.contains(remedy), "{remedy}: {output}");
        assert!(!output.stderr.contains("panic"), "{output}");
    }
}

#[test]
fn a_missing_directory_is_not_created_by_accident() {
    let mosh = machine!();
    mosh.sh(&format!("rm -f {DB}*")).success();
    refused(&mosh, "does not exist", "identityctl init");
    assert!(!mosh.exists(DB));
    mosh.identityctl(["init"]).success();
    mosh.identityctl(["init"]).success();
    mosh.identityctl(["directory", "check"]).success();
    assert_eq!(mosh.sh(&format!("stat -c '%a %U' {DB}")).success().text(), "600 identityd");
}

#[test]
fn a_damaged_directory_is_said_to_be_damaged() {
    let mosh = machine!();
    mosh.sh(&format!("rm -f {DB}-*; head -c 20000 /dev/urandom > {DB}")).success();
    refused(&mosh, "not an SQLite database", "restore a backup");
    // Damaged in the middle.
    mosh.sh(&format!("rm -f {DB}*")).success();
    mosh.identityctl(["init"]).success();
    mosh.sh(&format!("dd if=/dev/urandom of={DB} bs=4096 seek=1 count=20 conv=notrunc 2>&1")).success();
    let output = mosh.identityctl(["login", "list"]).exit(4);
    assert!(output.stderr.contains("damaged"), "{output}");
}

#[test]
fn a_directory_that_others_can_read_is_refused() {
    let mosh = machine!();
    mosh.sh(&format!("chmod 644 {DB}")).success();
    refused(&mosh, "lets others at the password hashes", "chmod 600");
}

#[test]
fn a_link_in_place_of_the_directory_is_not_followed() {
    let mosh = machine!();
    mosh.sh(&format!("rm -f {DB}*; ln -s /etc/shadow {DB}; cp -p /etc/shadow /root/before")).success();
    refused(&mosh, "it is a link", "real file");
    mosh.sh("cmp /etc/shadow /root/before").success();
}

#[test]
fn a_full_disk_changes_nothing_and_is_said() {
    let mosh = machine!();
    mosh.identityctl(["login", "add", "ana"]).success();
    // A small file system with the directory in it, filled to the brim.
    mosh.sh(
        "cd /var/lib/identityd && mkdir /root/keep && cp -a . /root/keep && mount -t tmpfs -o size=300k,mode=700,uid=$(id -u identityd),gid=$(id -g identityd) none /var/lib/identityd &&
         cp -a /root/keep/. /var/lib/identityd/ && { dd if=/dev/zero of=/var/lib/identityd/ballast bs=1k 2>/dev/null; true; }",
    )
    .success();
    let mut failed = None;
    for number in 0..50 {
        let output = mosh.identityctl(["login", "add", &format!("b{number}")]);
        if !output.ok() {
            failed = Some(output.exit(4));
            break;
        }
    }
    let output = failed.expect("a full disk refuses sooner or later");
    assert!(output.stderr.starts_with("identityctl: "), "{output}");
    mosh.sh("rm /var/lib/identityd/ballast").success();
    mosh.identityctl(["login", "show", "ana"]).success();
    mosh.identityctl(["login", "add", "zoe"]).success();
}

#[test]
fn a_read_only_file_system_is_said() {
    let mosh = machine!();
    mosh.identityctl(["login", "add", "ana"]).success();
    mosh.sh("mount --bind /var/lib/identityd /var/lib/identityd && mount -o remount,bind,ro /var/lib/identityd")
        .success();
    let output = mosh.identityctl(["login", "add", "ben"]).exit(4);
    assert!(output.stderr.contains("read-only") || output.stderr.contains("read-write"), "{output}");
    mosh.sh("umount /var/lib/identityd").success();
    mosh.identityctl(["login", "show", "ben"]).exit(3);
}

#[test]
fn an_export_to_a_full_disk_leaves_no_half_file_with_hashes() {
    let mosh = machine!();
    mosh.identityctl(["login", "add", "ana"]).success();
    mosh.sh("mkdir /mnt/small && mount -t tmpfs -o size=4k none /mnt/small && dd if=/dev/zero of=/mnt/small/ballast bs=4k count=1 2>/dev/null").success();
    mosh.identityctl(["export", "/mnt/small"]).exit(1);
    assert_eq!(mosh.sh("ls /mnt/small").success().text(), "ballast");
}
