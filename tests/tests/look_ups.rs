//! The benchmark of look-ups (`make bench`) in its shortest form, over this module, `files` and the empty module with 200 logins: every figure comes out, and no answer is wrong. No time
//! is asserted.

use std::fs;

use tests::bench::{self, BenchError};
use tests::{Refusal, skip};

/// What each peer has, and at which level.
const ALL: [(&str, &str); 16] = [
    ("hot_name", "direct"),
    ("name", "direct"),
    ("hot_name", "dispatch"),
    ("name", "dispatch"),
    ("hot_uid", "dispatch"),
    ("uid", "dispatch"),
    ("miss", "dispatch"),
    ("hot_groups", "dispatch"),
    ("groups", "dispatch"),
    ("largest", "dispatch"),
    ("name", "nsswitch"),
    ("threads1", "dispatch"),
    ("threads16", "dispatch"),
    ("first", "nsswitch"),
    ("id", "nsswitch"),
    ("ls", "nsswitch"),
];
const OURS: [(&str, &str); 16] = [
    ("floor name", "dispatch"),
    ("floor load", "nsswitch"),
    ("load", "nsswitch"),
    ("list", "dispatch"),
    ("files list", "dispatch"),
    ("private identityd", ""),
    ("mapped identityd", ""),
    ("seen running", "nsswitch"),
    ("seen fresh worst", "nsswitch"),
    ("publish", ""),
    ("start with files", ""),
    ("start with copy", ""),
    ("start with nothing", ""),
    ("full load", ""),
    ("offline name", "dispatch"),
    ("offline miss", "dispatch"),
];

#[test]
fn the_benchmark_measures_every_figure() {
    let folder = tempfile::tempdir().expect("a folder");
    match bench::smoke(folder.path()) {
        Ok(()) => {}
        Err(BenchError::Machine(Refusal::CannotRun(reason))) => skip!("{reason}"),
        Err(error) => panic!("{error}"),
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
    let table = read("look-ups.csv");
    let value = |peer: &str, measure: &str, level: &str| {
        let start = format!("{peer},200,{measure},{level},");
        let row = table.lines().find_map(|line| line.strip_prefix(&start));
        row.and_then(|row| row.split(',').next()?.parse::<f64>().ok())
    };
    let peers = [("mayfirst", &ALL[..]), ("mayfirst", &OURS[..]), ("files", &ALL[..]), ("empty", &ALL[..])];
    for (peer, measures) in peers {
        for (measure, level) in measures {
            assert!(value(peer, measure, level).is_some(), "{peer} has no {measure} {level}:\n{table}");
        }
    }
    let page = read("look-ups.md");
    assert!(page.contains("## What was to be reached"), "{page}");
    assert!(
        page.contains("| random names of 1,000,000: of random names of 1,000 | ≤ 3 × | –  | not measured |"),
        "{page}"
    );
    for plot in ["look-ups-name.svg", "look-ups-seen.svg", "memory.svg"] {
        assert!(page.contains(&format!("({plot})")), "{plot} is not in the page:\n{page}");
        assert!(read(plot).starts_with("<svg"), "{plot} is no plot");
    }
}
