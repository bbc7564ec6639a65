//! The storm: 8 processes of 16 threads look up while a writer changes logins and identityd is killed and started again every second.
//!
//! # What is right
//! An answer is right when it was true at some moment of its call. A call lasts from just before the first instruction of libc's function to just
//! after its return. A version of an entry (its gecos, whether it exists, whether a login is in a group) is *true* from before its
//! transaction began until identityd confirmed its successor: the reply Done to Refresh, which promises that the change is visible. So:
//! - the old value is accepted while the change is under way, and a wrong answer in any call that began after the confirmation;
//! - NOTFOUND for a login that exists, or a login that was never there, is a wrong answer; so is one field of another entry;
//! - "could not be found out" (UNAVAIL) is no answer, and there is a snapshot from before the first look-up on: not one is allowed.
//!
//! A restart changes nothing in this: an identityd that starts after a confirmation reads a database in which the change is committed, and
//! the lock of the state directory keeps the old one and the new one from answering at the same time.
//!
//! # What else is measured
//! - The longest call, in wall time and without the time in which its thread was ready but had no processor (schedstat, proc(5)): the
//!   machine has far fewer than 128 processors. Half of the calls go to the module directly: these must be below 250 ms. Through libc a call may
//!   wait for a lock of libc (`nss_database.c`) whose holder has no processor, which no clock tells from a hang: at most one in a thousand.
//! - Descriptors (the same set), resident memory and malloc's blocks of each process, after the first tenth and at the end.
//!
//! `make test` lasts six seconds and gets 20,000 answers at least, `make storm` a minute and 200,000 (`STORM=200000`). From the snapshot they are millions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tests::mosh::{Output, Running};
use tests::{Mosh, boot};

const PROCESSES: usize = 8;
const THREADS: usize = 16;
const KILL_EVERY: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(900);

#[test]
fn no_answer_is_wrong_while_identityd_is_killed_and_logins_change() {
    let answers: usize = std::env::var("STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let mosh = boot!(Mosh::builder());
    let program = mosh.c_program("storm");
    mosh.write("/tmp/storm_writer.py", include_str!("../c/storm_writer.py"));
    let mut writer = mosh.call(["python3", "/tmp/storm_writer.py"]).limit(LONGEST).spawn();
    mosh.wait_until("the writer is ready", Duration::from_secs(30), |_| {
        assert!(writer.alive(), "the writer ended: {}", writer.finish(Duration::ZERO));
        writer.stdout().contains("ready")
    });

    let begun = Instant::now();
    let each = (answers / PROCESSES).to_string();
    // From the snapshot so many come in an instant; the daemon is to be killed again and again meanwhile.
    let seconds = (answers * 3).div_ceil(10_000).to_string();
    let mut storm: Vec<_> = (0..PROCESSES)
        .map(|_| mosh.call([program.as_str(), &THREADS.to_string(), &each, &seconds]).limit(LONGEST).spawn())
        .collect();
    let kills = kill_until_all_have_ended(&mosh, &mut storm);
    let took = begun.elapsed();

    writer.signal(rustix::process::Signal::TERM);
    let changes = writer.finish(Duration::from_secs(30)).success();
    let figures: Vec<_> =
        storm.iter_mut().map(|process| Figures::of(&process.finish(Duration::ZERO).success())).collect();
    for process in &mut storm {
        print!("{}", process.finish(Duration::ZERO).stderr);
    }
    let sum = |name: &str| figures.iter().map(|figures| figures.of_name(name)).sum::<i64>();
    let most = |name: &str| figures.iter().map(|figures| figures.of_name(name)).max().unwrap_or_default();
    println!(
        "storm: {} answers and {} times \"could not be found out\" in {:.1} s, identityd killed {kills} times; {}",
        sum("answered"),
        sum("unavailable"),
        took.as_secs_f64(),
        changes.text().lines().last().unwrap_or_default()
    );
    println!(
        "storm: longest call of the module {:.1} ms, through libc {:.1} ms ({:.1} ms with the wait for a processor); above 250 ms: module {}, \
         libc {}; growth of a process: resident {} KiB, malloc {} bytes, descriptors none",
        most("longest_module_us") as f64 / 1000.0,
        most("longest_us") as f64 / 1000.0,
        most("longest_wall_us") as f64 / 1000.0,
        sum("module_slow"),
        sum("slow"),
        most("resident_growth_kib"),
        most("malloc_growth")
    );
    assert!(sum("answered") >= (answers / PROCESSES * PROCESSES) as i64);
    assert_eq!(sum("unavailable"), 0, "there is a snapshot: everything can be found out");
    assert!(kills >= 2 || took < 3 * KILL_EVERY, "identityd was killed {kills} times");
    assert_eq!(sum("module_slow"), 0, "calls of the module longer than 250 ms");
    // A thread that waits for libc's lock waits as long as its holder has no processor; without a hang they are few.
    assert!(sum("slow") * 1000 <= sum("calls"), "{} of {} calls longer than 250 ms", sum("slow"), sum("calls"));
    assert!(most("resident_growth_kib") < 1024, "a process grew by {} KiB", most("resident_growth_kib"));
    assert!(most("malloc_growth") < 64 * 1024, "a process grew by {} bytes", most("malloc_growth"));
}

fn kill_until_all_have_ended(mosh: &Mosh, storm: &mut [Running]) -> u32 {
    let mut kills = 0;
    let mut next = Instant::now() + KILL_EVERY;
    while storm.iter_mut().any(Running::alive) {
        if Instant::now() >= next {
            mosh.daemon().kill();
            // On a machine with much else to do a start takes longer than the second: it answers again before the next one begins.
            mosh.daemon().start();
            kills += 1;
            next = Instant::now() + KILL_EVERY;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    kills
}

/// The line of figures of a process: names and numbers.
struct Figures(HashMap<String, i64>);

impl Figures {
    fn of(output: &Output) -> Self {
        let words: Vec<_> = output.text().split_whitespace().collect();
        Self(words.chunks(2).filter_map(|pair| Some((pair[0].into(), pair.get(1)?.parse().ok()?))).collect())
    }

    #[track_caller]
    fn of_name(&self, name: &str) -> i64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no figure {name}"))
    }
}
