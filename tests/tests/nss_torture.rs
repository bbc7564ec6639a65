//! The module in hard-pressed programs (`tests/c/nss_*.c`): real identityd, real libc, every answer held against the database.

use tests::mosh::Output;
use tests::{Login, Mosh, boot};

/// Logins t00…t19, a group `crew` with all of them, `empty` with nobody, and g1…g60 with t05.
fn crowd() -> tests::mosh::Builder {
    Mosh::builder().prepare(
        "cat >/tmp/crowd <<'END'
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19)
         INSERT INTO unix_group (gid, name) SELECT 5000 + i, printf('t%02d', i) FROM n;
         INSERT INTO login (uid, name, gid, gecos, home)
            SELECT gid, name, gid, 'Login ' || name, '/home/members/users/' || name FROM unix_group WHERE gid BETWEEN 5000 AND 5019;
         INSERT INTO login_capability SELECT uid, 'shell' FROM login;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
         INSERT INTO unix_group (gid, name) SELECT 6000 + i, 'g' || i FROM n;
         INSERT INTO unix_group (gid, name) VALUES (7000, 'crew'), (7001, 'empty');
         INSERT INTO group_member (gid, uid) SELECT 7000, uid FROM login;
         INSERT INTO group_member (gid, uid) SELECT gid, 5005 FROM unix_group WHERE gid BETWEEN 6001 AND 6060;
END
         sqlite3 -bail /var/lib/identityd/directory.db </tmp/crowd",
    )
}

/// What the database holds, for the programs.
fn write_truth(mosh: &Mosh) {
    mosh.sh(
        "sqlite3 -separator ' ' /var/lib/identityd/directory.db 'select name, uid, gid, home from login' >/tmp/truth",
    )
    .success();
}

/// With a snapshot of which new generations come all the time.
fn torture(program: &str, test: &str) -> Option<Output> {
    let mosh = start(crowd())?;
    write_truth(&mosh);
    let program = mosh.c_program(program);
    let _generations = mosh.generations(false);
    Some(mosh.run([program.as_str(), test]).success())
}

/// Without a snapshot, whose answers need neither a descriptor nor memory.
fn torture_over_the_socket(program: &str, test: &str) -> Option<Output> {
    let mosh = start(crowd().lookup())?;
    write_truth(&mosh);
    let program = mosh.c_program(program);
    Some(mosh.run([program.as_str(), test]).success())
}

/// `None`: skipped aloud.
fn start(builder: tests::mosh::Builder) -> Option<Mosh> {
    let (told, machine) = std::sync::mpsc::channel();
    let boot = || {
        let mosh = boot!(builder);
        let _ = told.send(mosh);
    };
    boot();
    machine.try_recv().ok()
}

#[test]
fn parents_and_children_get_their_own_answers_in_a_fork_storm() {
    torture("nss_crowd", "fork-storm");
}

#[test]
fn children_forked_in_the_middle_of_a_call_can_look_up_and_list() {
    torture("nss_crowd", "fork-in-mid-call");
}

#[test]
fn cancelled_threads_leave_no_descriptor_and_no_lock() {
    torture("nss_crowd", "cancel");
}

#[test]
fn sixteen_threads_list_and_look_up_at_once() {
    torture("nss_crowd", "enumerate");
}

#[test]
fn signals_disturb_no_look_up() {
    torture("nss_crowd", "signals");
}

#[test]
fn hundreds_of_threads_look_up() {
    torture("nss_crowd", "threads");
}

#[test]
fn after_ten_thousand_look_ups_the_descriptors_are_what_they_were() {
    torture("nss_guest", "same-descriptors");
}

#[test]
fn a_program_that_closes_all_descriptors_keeps_those_it_opens() {
    torture("nss_guest", "own-descriptors");
}

#[test]
fn without_a_descriptor_left_the_answer_is_unknown() {
    torture_over_the_socket("nss_guest", "no-descriptor-left");
}

#[test]
fn descriptors_above_fd_setsize_do_no_harm() {
    torture("nss_guest", "many-descriptors");
}

#[test]
fn look_ups_work_from_atexit_handlers_destructors_and_ending_threads() {
    let Some(output) = torture("nss_guest", "ends") else { return };
    assert_eq!(output.text(), "from atexit: ok\nfrom a destructor: ok");
}

#[test]
fn a_program_that_loads_the_module_again_and_again_has_its_mappings_once() {
    torture("nss_guest", "load-and-unload");
}

#[test]
fn small_stacks_are_enough() {
    torture("nss_guest", "small-stacks");
}

#[test]
fn without_memory_answers_are_right_or_unknown() {
    torture_over_the_socket("nss_guest", "no-memory");
}

#[test]
fn without_memory_what_is_mapped_answers() {
    torture("nss_guest", "no-memory-but-files");
}

#[test]
fn look_ups_work_with_locked_memory() {
    torture("nss_guest", "locked-memory");
}

#[test]
fn in_a_chroot_without_our_socket_the_answer_is_unknown() {
    torture_over_the_socket("nss_guest", "in-a-chroot");
}

fn caller(test: &str) {
    let Some(mosh) = start(crowd()) else { return };
    write_truth(&mosh);
    let program = mosh.c_program("nss_caller");
    mosh.run([&program, test, "crew", "7000", "empty", "t05"]).success();
}

#[test]
fn every_size_of_a_buffer_is_taken_and_nothing_is_written_past_its_end() {
    caller("buffers");
}

#[test]
fn a_list_read_with_too_small_buffers_has_each_entry_once() {
    caller("lists-with-small-buffers");
}

#[test]
fn initgroups_respects_every_limit_and_start() {
    caller("initgroups");
}

/// libnss-cache and libnss-db walk every group for one login: at 100,000 groups that is 60 ms a login.
#[test]
fn the_groups_of_a_login_cost_the_same_however_many_groups_there_are() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    let calls = |what: &str| {
        mosh.run(["strace", "-f", "-qq", "-c", "-o", "/tmp/calls", "id", "-G", "ana"]).success();
        let total = mosh.sh("awk '$NF == \"total\" { print $(NF - 1) }' /tmp/calls; rm /tmp/calls").success();
        println!("{what}: {} system calls", total.text());
        total.text().split_whitespace().next().and_then(|n| n.parse::<u32>().ok()).expect("a number of calls")
    };
    let few = calls("with few groups");
    mosh.sh(
        "sqlite3 /var/lib/identityd/directory.db \"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO unix_group (gid, name) SELECT 500000 + i, 'extra' || i FROM n\"",
    )
    .success();
    mosh.wait_until("the groups are served", std::time::Duration::from_secs(5), |mosh| {
        mosh.run(["getent", "group", "extra5000"]).ok()
    });
    assert_eq!(calls("with 5,000 more"), few);
}

/// A setuid program takes nothing from its caller: neither paths nor a way to ask somebody else.
#[test]
fn a_setuid_program_of_a_member_gets_true_answers() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")).login(Login::new("ben")));
    let probe = mosh.c_program("nss_probe");
    mosh.sh(&format!("cp {probe} /usr/local/bin/setuid && chmod 4755 /usr/local/bin/setuid && mkdir -m 777 /tmp/evil"))
        .success();
    let hostile = |argv: &[&str]| {
        let mut said = String::new();
        // Entries of shadow come over the socket, for which a call has 200 ms: on a busy machine not at the first try.
        mosh.wait_until("every answer comes in time", std::time::Duration::from_secs(10), |mosh| {
            let call = mosh.call(argv.iter().copied()).user("ana").env("LD_LIBRARY_PATH", "/tmp/evil");
            let call = call.env("HOME", "/tmp/evil").env("IDENTITYD_SOCKET", "/tmp/evil/socket");
            said = call.run().success().stdout;
            !said.contains(&format!("\t{}\t", libc::ETIMEDOUT))
        });
        said
    };
    let as_root = hostile(&["/usr/local/bin/setuid", "pw", "ben", "sp", "ben", "pw", "root"]);
    let lines: Vec<_> = as_root.lines().map(|line| line.split('\t').collect::<Vec<_>>()).collect();
    assert_eq!(lines[0][1], "SUCCESS");
    assert_eq!(lines[1][1], "SUCCESS", "the effective uid counts");
    assert!(lines[1][5].starts_with("ben:*:"), "no hash: {}", lines[1][5]);
    assert_eq!(lines[2][1], "NOTFOUND");
    let as_ana = hostile(&[&probe, "sp", "ben"]);
    let answer: Vec<_> = as_ana.trim().split('\t').collect();
    assert_eq!(answer[1..3], ["UNAVAIL", &libc::EACCES.to_string()]);
}
