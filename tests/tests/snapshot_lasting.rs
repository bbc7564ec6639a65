//! Programs that live long (`tests/c/nss_lasting.c`): generations and bases come and go under them, or they may not map at all. All answers are right, at
//! once, and nobody holds more than the generation of now and one before. In `make test` 12 generations pass in each test, in `make lasting` 500 (`GENERATIONS=500`).

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

/// Runs the program while generations of several bases go by.
fn lasts(mosh: &Mosh, what: &str) {
    let count = std::env::var("GENERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let program = mosh.c_program("nss_lasting");
    let mut generations = mosh.generations(true);
    let mut running = mosh.call([program.as_str(), what]).limit(LONG).spawn();
    generations.pass(count, 2);
    assert!(running.alive(), "{}", running.finish(Duration::ZERO));
    running.signal(Signal::TERM);
    let output = running.finish(Duration::from_secs(60)).success();
    println!("{what}: {}", output.text());
}

#[test]
fn a_program_that_looks_up_now_and_then_holds_one_generation_and_grows_by_nothing() {
    lasts(&boot!(machine()), "now-and-then");
}

#[test]
fn a_program_with_five_hundred_threads_holds_two_generations_at_most() {
    lasts(&boot!(machine()), "five-hundred-threads");
}

#[test]
fn a_server_that_forks_in_the_middle_of_exchanges_has_children_that_go_on() {
    lasts(&boot!(machine()), "forking-server");
}

/// How long calls took is printed, and nothing asserted of it: on a busy machine the longest ones waited for a processor.
#[test]
fn look_ups_go_on_while_everything_is_read_anew_and_while_changes_are_folded() {
    let mosh = boot!(machine());
    mosh.configure("log", "level = \"debug\"");
    mosh.daemon().stop();
    mosh.daemon().start();
    let program = mosh.c_program("nss_lasting");
    let mut generations = mosh.generations(true);
    let mut running = mosh.call([program.as_str(), "without-a-pause"]).limit(LONG).spawn();
    let counted = |mosh: &Mosh| {
        let said = mosh.journal();
        ["the whole directory has been read", "a fold has ended"].map(|what| said.matches(what).count())
    };
    let before = counted(&mosh);
    let mut passed = [0, 0];
    while passed.iter().any(|count| *count < 2) {
        generations.pass(2, 1);
        assert!(running.alive(), "{}", running.finish(Duration::ZERO));
        let now = counted(&mosh);
        passed = [now[0] - before[0], now[1] - before[1]];
    }
    running.signal(Signal::TERM);
    let output = running.finish(Duration::from_secs(60)).success();
    println!("{} full readings and {} folds meanwhile; {}", passed[0], passed[1], output.text());
}

/// What would be mapped has to be there first, and large: a second base holds the many logins.
fn falls_back(what: &str) {
    let mosh = boot!(machine());
    let program = mosh.c_program("nss_lasting");
    let mut generations = mosh.generations(true);
    generations.pass(2, 2);
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
