//! A full disk, and a file system that is mounted read-only, across a restart of identityd: everybody still enters, changes are refused with
//! the remedy, and all goes on by itself once there is space.

use std::time::Duration;

use tests::{Login, Mosh, boot};

const STATE: &str = "/var/lib/identityd";

/// A server whose directory is on a small file system of its own; identityd does not run.
fn small(mosh: &Mosh) {
    mosh.sh(&format!(
        "mkdir /root/state && cp -a {STATE}/. /root/state
         mount -t tmpfs -o size=1m,mode=0700,uid=$(id -u identityd),gid=$(id -g identityd) none {STATE}
         cp -a /root/state/. {STATE} && rm -f {STATE}/directory.db-*"
    ))
    .success();
}

fn machine() -> tests::mosh::Builder {
    Mosh::builder().login(Login::new("ana").password("secret")).login(Login::new("web").capabilities(["sftp"]))
}

/// Look-ups, passwords, the account stage; a change of the password is refused.
fn serves_without_writing(mosh: &Mosh, remedy: &str) {
    assert_eq!(mosh.run(["id", "-un", "ana"]).success().text(), "ana");
    assert!(mosh.run(["id", "-Gn", "web"]).success().text().contains("sftp-only"));
    // With a snapshot of its earlier life it answers before it has looked at the directory.
    mosh.wait_until("status says so", Duration::from_secs(10), |mosh| {
        let status = mosh.identityctl(["status", "--json"]).stdout;
        status.contains("\"degraded\"") && status.contains(remedy)
    });
    mosh.call(["pamtester", "sshd", "ana", "authenticate", "acct_mgmt"]).stdin("secret\n").run().success();
    let change = mosh.call(["pamtester", "passwd", "ana", "chauthtok"]).stdin("better-secret\nbetter-secret\n").run();
    assert!(!change.ok(), "{change}");
    mosh.call(["pamtester", "sshd", "ana", "authenticate"]).stdin("secret\n").run().success();
}

fn recovers(mosh: &Mosh) {
    mosh.wait_until("identityd writes again", Duration::from_secs(15), |mosh| {
        mosh.identityctl(["status", "--json"]).stdout.contains("\"ok\"")
    });
    mosh.identityctl(["login", "add", "zoe"]).success();
    mosh.run(["getent", "passwd", "zoe"]).success();
}

#[test]
fn after_a_restart_on_a_full_disk_everybody_still_enters() {
    let mosh = boot!(machine());
    mosh.daemon().stop();
    small(&mosh);
    mosh.sh(&format!("dd if=/dev/zero of={STATE}/fill bs=4096 2>/dev/null; ! test -s {STATE}/directory.db-wal"))
        .success();
    mosh.daemon().start();
    serves_without_writing(&mosh, "space");
    mosh.sh(&format!("rm {STATE}/fill")).success();
    recovers(&mosh);
}

#[test]
fn after_a_restart_on_a_file_system_mounted_read_only_everybody_still_enters() {
    let mosh = boot!(machine());
    mosh.daemon().stop();
    small(&mosh);
    mosh.sh(&format!("mount -o remount,ro {STATE}")).success();
    mosh.daemon().start();
    serves_without_writing(&mosh, "read-only");
    mosh.sh(&format!("mount -o remount,rw {STATE}")).success();
    recovers(&mosh);
}
