//! The benchmark of look-ups: this module beside its peers, on the same data, in one run. `make bench`; docs/benchmarks/look-ups.md is what it writes.
//!
//! `SIZES="1000 10000"` and `PEERS="files sss"` run a part of it; the rows of a part replace the same rows in the table, the others stay.

mod chart;
mod facts;
mod goals;
mod measure;
mod ours;
mod peer;
mod report;
mod setup;
mod table;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use peer::Peer;
use table::{Row, Table};

/// Why there is no benchmark.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A word of SIZES or PEERS, or an argument.
    #[error("{0}")]
    Usage(String),
    /// No test machine, or none here.
    #[error("{0}")]
    Machine(#[from] crate::Refusal),
    /// A file of the report.
    #[error("cannot write {path}: {why}; what was measured is lost", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
}

/// What is to be run.
#[derive(Debug)]
struct Plan {
    sizes: Vec<u32>,
    peers: Vec<Peer>,
    out: PathBuf,
    measure: bool,
}

/// Runs what the environment says; the one argument is the folder of the report, `--report` before it writes the report anew without measuring.
///
/// # Errors
/// When no machine can be started, or the report cannot be written. A peer that does not work is a line in the table.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<(), BenchError> {
    let plan = plan(arguments)?;
    let csv = plan.out.join("look-ups.csv");
    let mut table = Table::read(&csv);
    if plan.measure {
        let all = Instant::now();
        facts::collect(&mut table);
        // Whoever has the least time gets the most important first: each part leaves a table and a page that are whole.
        for &peer in &plan.peers {
            for &size in &plan.sizes {
                let started = Instant::now();
                progress(&format!("{} with {size} logins", peer.label()));
                table.forget(peer.key(), size);
                let rows = match peer.obstacle(size) {
                    Some(why) => vec![Row::absent(peer.key(), size, "all", "", &why)],
                    None => measure_one(peer, size),
                };
                table.extend(rows);
                let seconds = started.elapsed().as_secs_f64();
                table.push(Row::new(peer.key(), size, "took", "", seconds, "s"));
                table.write(&csv)?;
                report::write(&table, &plan.out)?;
                progress(&format!("{} with {size} logins: {seconds:.0} s", peer.label()));
            }
        }
        facts::finish(&mut table, all.elapsed());
        table.write(&csv)?;
    }
    report::write(&table, &plan.out)?;
    println!("wrote {}", plan.out.display());
    Ok(())
}

fn plan(arguments: impl Iterator<Item = String>) -> Result<Plan, BenchError> {
    let mut arguments: Vec<_> = arguments.collect();
    let measure = arguments.first().is_none_or(|word| word != "--report");
    if !measure {
        arguments.remove(0);
    }
    let [out] = arguments.as_slice() else {
        return Err(BenchError::Usage(
            "usage: bench [--report] FOLDER, with SIZES and PEERS in the environment".into(),
        ));
    };
    let words = |name: &str, usual: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.trim().is_empty()).unwrap_or_else(|| usual.into());
        text.split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    let sizes = words("SIZES", "1000 10000 100000 1000000").iter().map(|word| size(word)).collect::<Result<_, _>>()?;
    let known = Peer::ALL.map(Peer::key).join(" ");
    let peers = words("PEERS", &known)
        .iter()
        .map(|word| {
            Peer::ALL
                .into_iter()
                .find(|peer| peer.key() == word)
                .ok_or_else(|| BenchError::Usage(format!("PEERS: there is no {word}; there are {known}")))
        })
        .collect::<Result<_, _>>()?;
    Ok(Plan { sizes, peers, out: PathBuf::from(out), measure })
}

fn size(word: &str) -> Result<u32, BenchError> {
    match word.parse() {
        Ok(size @ 200..=2_000_000) => Ok(size),
        _ => Err(BenchError::Usage(format!("SIZES: {word} is no number from 200 to 2000000"))),
    }
}

/// A machine of its own for each peer and size: what one fills and starts goes away with it. A panic of the harness (a step that failed, with what it
/// printed) costs this peer's rows, not the run.
fn measure_one(peer: Peer, size: u32) -> Vec<Row> {
    let attempt = std::panic::catch_unwind(|| measure::all(peer, size));
    attempt.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map_or("the set-up failed", String::as_str);
        let why = why
            .lines()
            .find(|line| line.contains("err|") || line.contains("waited"))
            .unwrap_or(why.lines().next().unwrap_or_default());
        vec![Row::absent(peer.key(), size, "all", "", why.trim())]
    })
}

/// On a terminal: one line that changes. In a pipe: nothing.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("bench: {text}");
    }
}

fn save(path: &Path, text: &str) -> Result<(), BenchError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|why| BenchError::File { path: path.into(), why })
}
