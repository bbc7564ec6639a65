//! Programs that look names up while the files under them are removed, replaced, torn, of another version, or for somebody else.

use std::time::Duration;

use tests::mosh::Running;
use tests::{Login, Mosh, boot};

const LIVE: &str = "/run/identityd/snapshot";
const KEPT: &str = "/var/lib/identityd/snapshot";
const SOON: Duration = Duration::from_secs(15);

/// A program that runs on: looks ana up by name and by uid, and a name that nobody has. Says what went wrong and how often all went well.
const READER: &str = r#"
import pwd, grp, sys, time
well = 0
expected = pwd.getpwnam("ana")
while True:
    try:
        assert pwd.getpwnam("ana") == expected and pwd.getpwuid(expected.pw_uid) == expected, "ana is another"
        assert grp.getgrgid(expected.pw_gid).gr_name == "ana", "the group of ana is another"
    except (KeyError, AssertionError, OSError) as error:
        print("WRONG", error, flush=True)
    try:
        print("WRONG", pwd.getpwnam("never-there"), flush=True)
    except KeyError:
        pass
    well += 1
    if well % 20 == 0:
        print("well", well, flush=True)
    time.sleep(0.002)
"#;

fn is_published(mosh: &Mosh) {
    mosh.wait_until("it is published", SOON, |mosh| mosh.identityctl(["snapshot", "print", "passwd", "ana"]).ok());
}

fn reader(mosh: &Mosh) -> Running {
    mosh.write("/tmp/reader.py", READER);
    let reader = mosh.call(["python3", "/tmp/reader.py"]).limit(Duration::from_secs(300)).spawn();
    mosh.wait_until("it reads", SOON, |_| reader.stdout().contains("well"));
    reader
}

/// That the program goes on, and nothing was wrong.
#[track_caller]
fn goes_on(mosh: &Mosh, reader: &mut Running) {
    let before = reader.stdout().len();
    mosh.wait_until("it reads on", SOON, |_| reader.stdout().len() > before + 20);
    assert!(reader.alive(), "{}", reader.finish(Duration::ZERO));
    assert!(!reader.stdout().contains("WRONG"), "{}", reader.stdout());
}

#[test]
fn files_removed_torn_or_replaced_under_a_running_program_give_no_wrong_answer() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    is_published(&mosh);
    let mut running = reader(&mosh);
    mosh.sh(&format!("cp -a {LIVE} /whole")).success();
    for script in [
        format!("rm {LIVE}/base.*"),
        format!("rm -r {LIVE}"),
        format!("cp -a /whole {LIVE}.new; truncate -s 700 {LIVE}.new/base.*; rm -rf {LIVE}; mv {LIVE}.new {LIVE}"),
        format!(
            "cp -a /whole {LIVE}.new; for f in {LIVE}.new/base.*; do dd if=/dev/zero of=$f bs=512 seek=1 count=2 conv=notrunc 2>/dev/null; done; rm -rf {LIVE}; mv {LIVE}.new {LIVE}"
        ),
        format!(
            "cp -a /whole {LIVE}.new; for f in {LIVE}.new/*; do printf '\\002' | dd of=$f bs=1 seek=8 conv=notrunc 2>/dev/null; done; rm -rf {LIVE}; mv {LIVE}.new {LIVE}"
        ),
        format!("cp -a /whole {LIVE}.new; : >{LIVE}.new/control; rm -rf {LIVE}; mv {LIVE}.new {LIVE}"),
    ] {
        mosh.sh(&script).success();
        goes_on(&mosh, &mut running);
        // A program that begins now: over the socket if need be, where not every answer comes in time.
        mosh.wait_until("a new program is answered", SOON, |mosh| mosh.sh("getent passwd ana && id ana").ok());
        mosh.run(["getent", "passwd", "never-there"]).exit(2);
    }
}

#[test]
fn a_daemon_puts_files_back_that_somebody_removed() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    is_published(&mosh);
    let mut running = reader(&mosh);
    for removed in [LIVE.to_owned(), format!("{LIVE}/base.*"), format!("{LIVE}/control")] {
        mosh.sh(&format!("rm -r {removed}")).success();
        mosh.wait_until("they are back", Duration::from_secs(30), |mosh| mosh.identityctl(["snapshot", "verify"]).ok());
        mosh.identityctl(["login", "set", "ana", "--shell", "/bin/sh"]).success();
        mosh.identityctl(["snapshot", "verify"]).success();
        assert!(running.alive());
    }
    mosh.identityctl(["login", "add", "eva"]).success();
    mosh.wait_until("changes go on", SOON, |mosh| mosh.identityctl(["snapshot", "print", "passwd", "eva"]).ok());
    running.signal(rustix::process::Signal::TERM);
}

#[test]
fn without_the_daemon_torn_files_are_unavailable_and_never_no_such_user() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    is_published(&mosh);
    let probe = mosh.c_program("nss_probe");
    mosh.daemon().stop();
    mosh.sh(&format!("rm -f /run/identityd/socket; cp -a {LIVE} /whole; chmod u+w /whole/*")).success();
    let with = |script: &str| {
        mosh.sh(&format!("rm -rf {LIVE}; cp -a /whole {LIVE}; cd {LIVE}; {script}")).success();
        mosh.run([probe.as_str(), "pw", "ana", "pw", "never-there"]).success().stdout
    };
    let whole = with("true");
    assert!(whole.contains("SUCCESS") && whole.contains("NOTFOUND"), "{whole}");
    for torn in [
        "rm base.*",
        "rm control",
        "truncate -s 700 base.*",
        "truncate -s 0 base.*",
        "printf '\\002' | dd of=$(ls base.*) bs=1 seek=8 conv=notrunc 2>/dev/null",
        "printf '\\002' | dd of=control bs=1 seek=8 conv=notrunc 2>/dev/null",
        "printf 'x' | dd of=$(ls base.*) bs=1 seek=40 conv=notrunc 2>/dev/null",
        "f=$(ls base.*); dd if=/dev/zero of=$f bs=512 seek=1 count=$(($(stat -c %s $f) / 512)) conv=notrunc 2>/dev/null",
    ] {
        let said = with(torn);
        assert!(!said.contains("NOTFOUND") && !said.contains("SUCCESS"), "{torn}: {said}");
        assert!(said.contains("UNAVAIL"), "{torn}: {said}");
    }
}

#[test]
fn a_snapshot_of_another_version_is_replaced_by_the_daemon() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    is_published(&mosh);
    mosh.daemon().stop();
    mosh.sh(&format!("for f in {LIVE}/* {KEPT}/*; do chmod u+w $f; printf '\\007' | dd of=$f bs=1 seek=8 conv=notrunc 2>/dev/null; done")).success();
    mosh.daemon().start();
    is_published(&mosh);
    mosh.identityctl(["snapshot", "verify"]).success();
    mosh.daemon().kill();
    mosh.run(["getent", "passwd", "ana"]).success();
}

#[test]
fn in_a_chroot_names_resolve_where_the_files_are_and_are_unavailable_where_they_are_not() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    is_published(&mosh);
    let probe = mosh.c_program("nss_probe");
    mosh.sh(&format!(
        "for jail in /one /other; do
             mkdir -p $jail/run $jail/tmp $jail/etc
             for d in usr lib lib64 bin; do mkdir -p $jail/$d; mount --bind /$d $jail/$d; done
             cp /etc/passwd /etc/group /etc/nsswitch.conf $jail/etc; cp {probe} $jail/tmp/probe
         done
         mkdir -p /one{LIVE}; mount --bind {LIVE} /one{LIVE}; mount -o remount,bind,ro /one{LIVE}"
    ))
    .success();
    mosh.run(["chroot", "/one", "getent", "passwd", "ana"]).success();
    let one = mosh.run(["chroot", "/one", "/tmp/probe", "pw", "never-there"]).success().stdout;
    assert!(one.contains("NOTFOUND"), "{one}");
    let other = mosh.run(["chroot", "/other", "/tmp/probe", "pw", "ana"]).success().stdout;
    assert!(other.contains("UNAVAIL"), "{other}");
    // A change is seen through the bind mount as well.
    mosh.identityctl(["login", "add", "eva"]).success();
    mosh.wait_until("eva is seen inside", SOON, |mosh| mosh.run(["chroot", "/one", "getent", "passwd", "eva"]).ok());
}

#[test]
fn for_members_the_files_are_identityds_alone_and_lists_show_what_concerns_the_caller() {
    let mosh = boot!(Mosh::builder().without_daemon().logins(["ana", "ben", "cai", "dora"].map(Login::new)));
    mosh.sh(
        "identityctl group add web && identityctl group add-member web ana && identityctl group add-member web ben",
    )
    .success();
    mosh.configure("snapshot", "visibility = \"members\"");
    mosh.daemon().start();
    is_published(&mosh);
    assert_eq!(
        mosh.sh(&format!("stat -c '%U %a' {LIVE} {LIVE}/control {LIVE}/base.*")).text(),
        "identityd 700\nidentityd 600\nidentityd 400"
    );
    mosh.sh_as("ana", &format!("ls {LIVE}")).failure();
    mosh.sh_as("ana", "identityctl snapshot print passwd").exit(4);
    // Names and ids resolve for everybody.
    let uid = mosh.uid("cai");
    // Over the socket, where not every answer comes in time on a busy machine: what comes is right.
    mosh.wait_until("a name by its uid", SOON, |mosh| {
        let found = mosh.sh_as("ana", &format!("getent passwd {uid}")).stdout;
        assert!(found.is_empty() || found.starts_with("cai:"), "{found}");
        !found.is_empty()
    });
    mosh.wait_until("a group and a login", SOON, |mosh| mosh.sh_as("ana", "getent group cai && id dora").ok());
    // Lists: oneself, one's groups, their members.
    let names = |login: &str, map: &str| {
        let mut names = Vec::new();
        mosh.wait_until("a list comes", SOON, |mosh| {
            let list = mosh.sh_as(login, &format!("getent -s mayfirst {map}")).stdout;
            names = list.lines().filter_map(|line| line.split(':').next()).map(ToString::to_string).collect::<Vec<_>>();
            !names.is_empty()
        });
        names
    };
    assert_eq!(names("ana", "passwd"), ["ana", "ben"]);
    assert_eq!(names("cai", "passwd"), ["cai"]);
    let groups = names("ana", "group");
    assert!(
        groups.contains(&"web".into()) && groups.contains(&"ana".into()) && !groups.contains(&"cai".into()),
        "{groups:?}"
    );
    let all = mosh.sh("getent -s mayfirst passwd").success().stdout;
    assert_eq!(all.lines().count(), 4, "root sees all: {all}");
}
