//! The benchmark of look-ups: this module beside its peers, on the same data, in one run. `make bench`; docs/benchmarks/look-ups.md is what it writes.
//!
//! `SIZES="1000 10000"` and `PEERS="files sss"` run a part of it; the rows of a part replace the same rows in the table, the others stay.

mod chart;
mod facts;
mod goals;
mod measure;
mod ours;
mod peer;
mod progress;
mod report;
mod setup;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use measure::{Pace, Rows};
use peer::Peer;
use progress::Progress;
use table::{Row, Table};

/// Why there is no benchmark, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A word of SIZES or PEERS, or an argument.
    #[error("{0}")]
    Usage(String),
    /// No test machine, or none here.
    #[error("{0}")]
    Machine(#[from] crate::Refusal),
    /// A file of the report.
    #[error("cannot write {path}: {why}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Peers whose rows are not all there; the report is written without them.
    #[error("{} failed, all else is in the report; when the reason is gone, run them again with SIZES and PEERS:\n  {}", .0.len(), .0.join("\n  "))]
    Failed(Vec<String>),
}

/// What is to be run.
#[derive(Debug)]
struct Plan {
    sizes: Vec<u32>,
    peers: Vec<Peer>,
    out: PathBuf,
    pace: Pace,
}

/// Runs what the environment says; the one argument is the folder of the report, `--report` before it writes the report anew without measuring.
///
/// # Errors
/// When no machine can be started, the report cannot be written, or a peer did not work; what was measured is in the table.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<(), BenchError> {
    let mut arguments: Vec<_> = arguments.collect();
    let report_only = arguments.first().is_some_and(|word| word == "--report");
    if report_only {
        arguments.remove(0);
    }
    let [out] = arguments.as_slice() else {
        return Err(BenchError::Usage(
            "usage: bench [--report] FOLDER, with SIZES and PEERS in the environment".into(),
        ));
    };
    let out = PathBuf::from(out);
    if report_only {
        return report::write(&Table::read(&out.join(TABLE)), &out);
    }
    measured(&plan(out)?)
}

/// A short form for a test: that every figure is measured and written, not how large it is.
///
/// # Errors
/// As [`run`].
pub fn smoke(out: &Path) -> Result<(), BenchError> {
    let peers = vec![Peer::Empty, Peer::Ours, Peer::Files];
    measured(&Plan { sizes: vec![200], peers, out: out.into(), pace: Pace::SMOKE })
}

const TABLE: &str = "look-ups.csv";

fn measured(plan: &Plan) -> Result<(), BenchError> {
    let csv = plan.out.join(TABLE);
    let mut table = Table::read(&csv);
    let all = Instant::now();
    // Whoever has the least time gets the most important first: each part leaves a table and a page that are whole.
    let parts: Vec<_> = plan.peers.iter().flat_map(|&peer| plan.sizes.iter().map(move |&size| (peer, size))).collect();
    let mut progress = Progress::new(&parts, &table);
    eprintln!("bench: {} parts, some {}", parts.len(), progress::span(progress.estimate().as_secs_f64()));
    facts::collect(&mut table, plan.pace)?;
    let mut failed = Vec::new();
    for (peer, size) in parts {
        let started = Instant::now();
        progress.begin(peer, size);
        table.forget(peer.key(), size);
        let mut outcome = String::new();
        if let Some(why) = peer.obstacle(size) {
            table.push(Row::absent(peer.key(), size, "all", "", &why));
            outcome = format!("left out: {why}; ");
        } else if let Some(why) = measure_one(&mut Rows::new(peer, size, plan.pace, &mut table, &csv, &progress))? {
            // With nothing measured, the reason stands where the figures would.
            let nothing = table.row(peer.key(), size, "name", peer.level()).is_none();
            table.push(Row::absent(peer.key(), size, if nothing { "all" } else { "failed" }, "", &why));
            failed.push(format!("SIZES={size} PEERS={}: {why}", peer.key()));
            outcome = format!("failed: {why}; ");
        } else if let Some(why) = table.wrong(peer.key(), size) {
            failed.push(format!("SIZES={size} PEERS={}: {why}", peer.key()));
            outcome = format!("{why}; ");
        }
        table.push(Row::new(peer.key(), size, "took", "", started.elapsed().as_secs_f64(), "s"));
        table.write(&csv)?;
        report::write(&table, &plan.out)?;
        progress.end(&outcome);
    }
    facts::finish(&mut table, all.elapsed());
    table.write(&csv)?;
    report::write(&table, &plan.out)?;
    println!("wrote {}", plan.out.display());
    if failed.is_empty() { Ok(()) } else { Err(BenchError::Failed(failed)) }
}

fn plan(out: PathBuf) -> Result<Plan, BenchError> {
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
    Ok(Plan { sizes, peers, out, pace: Pace::FULL })
}

fn size(word: &str) -> Result<u32, BenchError> {
    match word.parse() {
        Ok(size @ 200..=2_000_000) => Ok(size),
        _ => Err(BenchError::Usage(format!("SIZES: {word} is no number from 200 to 2000000"))),
    }
}

/// A machine of its own for each peer and size: what one fills and starts goes away with it. A panic of the harness (a step that failed, with what it
/// printed) costs this peer the rest of its rows, not the run; the reason is given back.
fn measure_one(rows: &mut Rows<'_>) -> Result<Option<String>, BenchError> {
    match catch_unwind(AssertUnwindSafe(|| measure::all(rows))) {
        Ok(Ok(())) => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().map_or("the set-up failed", String::as_str);
            let telling = why.lines().find(|line| line.contains("err|") || line.contains("in vain"));
            Ok(Some(telling.or(why.lines().next()).unwrap_or_default().trim().to_string()))
        }
    }
}

/// Beside its place, then renamed: a run that is interrupted leaves a whole file.
fn save(path: &Path, text: &str) -> Result<(), BenchError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = path.with_extension("new");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&beside, text))
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|why| BenchError::File { path: path.into(), why })
}
