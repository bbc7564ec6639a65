//! `make bench`: measures this module beside its peers and writes `docs/benchmarks/look-ups.*`; see [`tests::bench`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match tests::bench::run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
