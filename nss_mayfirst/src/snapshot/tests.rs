//! The reader against files that come, change, vanish and are replaced under it.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use schema::snapshot::Answer;
use schema::snapshot::control::{HEARTBEAT, RETIRED, WORD};
use schema::snapshot::layout::Pair;
use schema::snapshot::pair::Snapshot;

use super::Reader;
use crate::testing::published::{Published, create_control, store};

/// What a look-up of `source` would have had.
#[derive(Debug, PartialEq, Eq)]
enum Read<R> {
    Current(R),
    Behind(R),
    Nothing,
}

fn read<R>(reader: &Reader, with: impl Fn(&Snapshot<'_>) -> R) -> Read<R> {
    if let Some(current) = reader.current() {
        return Read::Current(with(&current.snapshot().unwrap()));
    }
    reader.behind().map_or(Read::Nothing, |behind| Read::Behind(with(&behind.snapshot().unwrap())))
}

fn uid_of_ana(reader: &Reader) -> Read<u32> {
    read(reader, |snapshot| match snapshot.login_by_name(b"ana") {
        Answer::Found(login) => login.head.uid,
        other => panic!("{other:?}"),
    })
}

#[test]
fn without_files_there_is_nothing_and_no_mapping_stays() {
    let published = Published::new();
    assert_eq!(uid_of_ana(published.reader()), Read::Nothing);
    assert_eq!(published.mappings(), 0);
}

#[test]
fn a_published_pair_is_read_and_a_newer_one_replaces_it_at_once() {
    let published = Published::new();
    let reader = published.reader();
    let base = published.base(1);
    published.flip(1, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
    for number in 1..20 {
        published.delta(&base, number);
        published.flip(1, number);
        assert_eq!(uid_of_ana(reader), Read::Current(6000 + number));
        assert_eq!(published.mappings(), 3, "control, base and one delta");
    }
    published.base(2);
    published.flip(2, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5002));
    assert_eq!(published.mappings(), 2);
}

#[test]
fn a_pair_that_cannot_be_opened_leaves_the_one_before_and_says_so() {
    let published = Published::new();
    let reader = published.reader();
    let base = published.base(1);
    published.flip(1, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
    let other = published.base(7);
    let cases: [(&str, Vec<u8>); 6] = [
        ("missing", Vec::new()),
        ("truncated", other[..other.len() - 64].to_vec()),
        ("zeros", vec![0; other.len()]),
        ("of another number", base.clone()),
        ("of another version", [&other[..8], &[9], &other[9..]].concat()),
        ("with a flipped bit in the header", [&other[..100], &[other[100] ^ 1], &other[101..]].concat()),
    ];
    for (number, (what, bytes)) in (2..).zip(cases) {
        if !bytes.is_empty() {
            published.put(&format!("base.{number}"), &bytes);
        }
        published.flip(number, 0);
        assert_eq!(uid_of_ana(reader), Read::Behind(5001), "{what}");
        assert_eq!(published.mappings(), 2, "{what}");
        // A reader that starts now has nothing to fall back on.
        assert_eq!(uid_of_ana(published.reader()), Read::Nothing, "{what}");
    }
}

#[test]
fn a_link_a_pipe_or_a_directory_in_the_place_of_a_file_is_no_snapshot() {
    for name in ["control", "base.1", "delta.1.1"] {
        let published = Published::new();
        let base = published.base(1);
        published.delta(&base, 1);
        published.flip(1, 1);
        let (path, aside) = (published.path.join(name), published.path.join("aside"));
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert_eq!(uid_of_ana(published.reader()), Read::Nothing, "{name} is a link to the file");
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(uid_of_ana(published.reader()), Read::Nothing, "{name} is a pipe that nobody writes to");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(uid_of_ana(published.reader()), Read::Nothing, "{name} is a directory");
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert_eq!(uid_of_ana(published.reader()), Read::Current(6001), "{name} is what it was");
    }
}

#[test]
fn a_link_to_the_page_that_is_mapped_is_another_one() {
    let published = Published::new();
    let reader = published.reader();
    published.base(1);
    published.flip(1, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
    let (path, aside) = (published.path.join("control"), published.path.join("aside"));
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &path).unwrap();
    store(&published.control, HEARTBEAT, (crate::sys::coarse_ms() / 1000).wrapping_sub(31));
    next_second(reader);
    assert_eq!(
        uid_of_ana(reader),
        Read::Behind(5001),
        "what was true is better than nothing, and the socket better than that"
    );
}

#[test]
fn removed_files_go_on_answering_who_has_mapped_them() {
    let published = Published::new();
    let reader = published.reader();
    published.base(1);
    published.flip(1, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
    fs::remove_dir_all(&published.path).unwrap();
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
}

#[test]
fn a_page_that_nobody_maintains_is_looked_for_anew() {
    let published = Published::new();
    let reader = published.reader();
    published.base(1);
    published.flip(1, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
    store(&published.control, HEARTBEAT, (crate::sys::coarse_ms() / 1000).wrapping_sub(31));
    next_second(reader);
    assert_eq!(uid_of_ana(reader), Read::Current(5001), "still the one at its path");
    let new = create_control(&published.path);
    published.base(2);
    store(&new, WORD, Pair { base: 2, delta: 0 }.word());
    let again = published.reader();
    assert_eq!(uid_of_ana(again), Read::Current(5002));
    // The first reader looked just now; thirty seconds later it looks again.
    reader.looked.store(0, Ordering::Relaxed);
    next_second(reader);
    assert_eq!(uid_of_ana(reader), Read::Current(5002));
}

/// Nothing but the word is looked at twice in one second.
fn next_second(reader: &Reader) {
    reader.seen.store(0, Ordering::Relaxed);
}

#[test]
fn a_retired_page_is_left_at_once() {
    let published = Published::new();
    let reader = published.reader();
    published.base(1);
    published.flip(1, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
    let new = create_control(&published.path);
    published.base(2);
    store(&new, WORD, Pair { base: 2, delta: 0 }.word());
    store(&published.control, WORD, RETIRED);
    assert_eq!(uid_of_ana(reader), Read::Current(5002));
    store(&new, WORD, 0);
    assert_eq!(uid_of_ana(reader), Read::Nothing);
}

#[test]
fn a_child_of_a_fork_inherits_no_pins_and_goes_on() {
    let published = Published::new();
    let reader = published.reader();
    let base = published.base(1);
    published.flip(1, 0);
    // A pin is held while the child is made, as by another thread.
    let child = read(reader, |_| {
        // SAFETY: the child calls this room only, and _exit.
        unsafe { libc::fork() }
    });
    let Read::Current(child) = child else { panic!("{child:?}") };
    let newer = |reader: &Reader, number| {
        published.delta(&base, number);
        published.flip(1, number);
        let read = uid_of_ana(reader) == Read::Current(6000 + number);
        read && !reader.handover.has_retired()
    };
    if child == 0 {
        let fine = newer(reader, 1) && newer(reader, 2);
        // SAFETY: ends the child without the test harness's atexit handlers.
        unsafe { libc::_exit(i32::from(!fine)) };
    }
    let mut status = 0;
    // SAFETY: our child, a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child's look-ups");
    assert!(newer(reader, 3), "the parent's pin was taken off");
}

#[test]
fn threads_read_what_was_true_during_their_call_while_generations_change() {
    let published = Published::new();
    let reader = published.reader();
    let base = published.base(1);
    published.flip(1, 0);
    assert_eq!(uid_of_ana(reader), Read::Current(5001));
    // Announced before and confirmed after each flip: an answer lies between what was confirmed before the call and announced after.
    let (announced, confirmed, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    // On a busy machine a thread may else get its first turn when all is over.
    let begin = std::sync::Barrier::new(9);
    let reads = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (mut reads, mut behind) = (0_u32, 0_u32);
                    begin.wait();
                    while reads == 0 || !done.load(Ordering::Acquire) {
                        let least = confirmed.load(Ordering::SeqCst);
                        match uid_of_ana(reader) {
                            Read::Current(5001) => assert_eq!(least, 0),
                            Read::Current(uid) => {
                                let most = announced.load(Ordering::SeqCst);
                                assert!((least..=most).contains(&(uid - 6000)), "{least} <= {uid} - 6000 <= {most}");
                            }
                            Read::Behind(_) => behind += 1,
                            Read::Nothing => panic!("nothing"),
                        }
                        reads += 1;
                    }
                    (reads, behind)
                })
            })
            .collect();
        begin.wait();
        for number in 1..=100 {
            published.delta(&base, number);
            announced.store(number, Ordering::SeqCst);
            published.flip(1, number);
            confirmed.store(number, Ordering::SeqCst);
            let _ = fs::remove_file(published.path.join(format!("delta.1.{}", number.wrapping_sub(2))));
            std::thread::yield_now();
        }
        done.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(reads.iter().all(|(reads, _)| *reads > 0));
    assert_eq!(uid_of_ana(reader), Read::Current(6100));
    assert!(!reader.handover.has_retired());
    assert_eq!(published.mappings(), 3, "nothing is left of 100 generations: {reads:?}");
}
