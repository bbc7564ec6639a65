//! Programs that live long (`tests/c/nss_lasting.c`): generations and bases come and go under them, or they may not map at all. All answers are right, at
//! once, and nobody holds more than the generation of now and one before.

use std::time::Duration;

use rustix::process::Signal;
use tests::{Mosh, boot};

const LONG: Duration = Duration::from_secs(900);

/// Twenty logins that stay, beside those that the writer changes.
fn machine() -> tests::mosh::Builder {
    Mosh::builder().prepare(
        "cat >/tmp/stay <<'END'
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19)
         INSERT INTO unix_group (gid, name) SELECT 5000 + i, printf('t%02d', i) FROM n;
         INSERT INTO login (uid, name, gid, home) SELECT gid, name, gid, '/home/members/users/' || name FROM unix_group WHERE gid BETWEEN 5000 AND 5019;
END
         sqlite3 -bail /var/lib/identityd/directory.db </tmp/stay
         sqlite3 -separator ' ' /var/lib/identityd/directory.db 'SELECT name, uid, gid, home FROM login' >/tmp/truth",
    )
}

/// Runs the program while so many generations, of several bases, go by.
fn lasts(mosh: &Mosh, what: &str, count: usize) {
    let program = mosh.c_program("nss_lasting");
    let mut generations = mosh.generations(true);
    let mut running = mosh.call([program.as_str(), what]).limit(LONG).spawn();
    generations.pass(count, 3);
    assert!(running.alive(), "{}", running.finish(Duration::ZERO));
    running.signal(Signal::TERM);
    let output = running.finish(Duration::from_secs(60)).success();
    println!("{what}: {}", output.text());
}

#[test]
fn a_program_that_looks_up_now_and_then_holds_one_generation_and_grows_by_nothing() {
    lasts(&boot!(machine()), "now-and-then", 200);
}

#[test]
fn a_program_with_five_hundred_threads_holds_two_generations_at_most() {
    lasts(&boot!(machine()), "five-hundred-threads", 100);
}

#[test]
fn a_server_that_forks_in_the_middle_of_exchanges_has_children_that_go_on() {
    lasts(&boot!(machine()), "forking-server", 150);
}

/// Without generations that pass: what is mapped has to be there first, and large.
fn falls_back(what: &str) {
    let mosh = boot!(machine());
    let program = mosh.c_program("nss_lasting");
    let mut generations = mosh.generations(true);
    generations.pass(10, 1);
    mosh.call([program.as_str(), what]).limit(LONG).run().success();
}

#[test]
fn who_may_not_lock_more_memory_is_answered_over_the_socket_until_he_may() {
    falls_back("too-little-to-lock");
}

#[test]
fn who_has_no_address_space_left_is_answered_over_the_socket_until_he_has() {
    falls_back("too-little-address-space");
}
