//! `identityctl wait`: returns when a generation is visible here, on some hosts, or on every host of the fleet.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use schema::record::Generation;
use schema::wire::message::{Reply, Request};
use serde_json::{Value, json};

use super::args::WaitArgs;
use super::fleet::{self, behind, span};
use super::output::{Output, printable};
use super::questions::unexpected;
use super::{CliError, Exit};
use crate::client::Client;
use crate::directory::fleet::HostName;
use crate::fleet::{Fleet, HostLine};

/// Between two looks at the list: a host reports at most once a second, so this adds a tenth of that at most.
const LOOK: Duration = Duration::from_millis(100);
/// Of standard input: a generation, or the JSON of a change.
const MAX_INPUT: u64 = 1 << 20;
/// One question of a longer wait.
const STEP: Duration = Duration::from_secs(4);
/// Missing hosts that the line of progress names.
const NAMED: usize = 5;

pub(super) fn run(output: &Output, args: &WaitArgs) -> Result<Exit, CliError> {
    let end = Instant::now() + args.timeout.0;
    let started = Instant::now();
    let generation = match args.generation.as_deref() {
        Some("-") => from_input()?,
        Some(text) => parse(text)?,
        None => fleet::ask(&Client::new())?.newest,
    };
    let progress = Progress::new(output);
    let state = if args.all || !args.hosts.is_empty() {
        fleet_has(generation, args, end, &progress)?
    } else {
        this_host_has(generation, end, &progress)?
    };
    progress.0.finish_and_clear();
    tell(output, generation, &state, started.elapsed())
}

/// Who has it, who has not, and who was not waited for.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    newest: Generation,
    have: usize,
    missing: Vec<Missing>,
    silent: Vec<HostName>,
    /// The last question failed: why.
    failure: Option<String>,
}

#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct Missing {
    host: String,
    /// Null: it has never reported.
    generation: Option<Generation>,
    reported_seconds: Option<u64>,
    trouble: Option<String>,
    #[serde(skip)]
    behind: String,
}

impl State {
    fn of(fleet: &Fleet, generation: Generation, args: &WaitArgs) -> Self {
        let mut state = Self { newest: fleet.newest, ..Self::default() };
        let mut wanted: BTreeSet<&HostName> = args.hosts.iter().collect();
        for line in &fleet.hosts {
            let named = wanted.remove(&line.host);
            if !named && !args.all {
                continue;
            }
            if line.generation >= generation {
                state.have += 1;
            } else if named || args.registered || line.reported_within(args.within.0) {
                state.missing.push(Missing::of(line, fleet.newest));
            } else {
                state.silent.push(line.host.clone());
            }
        }
        state.missing.extend(wanted.into_iter().map(Missing::unheard));
        // Nobody knows who else there is.
        state.failure = fleet.incomplete.clone().filter(|_| args.all);
        state
    }

    fn reached(&self) -> bool {
        self.missing.is_empty() && self.failure.is_none()
    }

    fn json(&self, generation: Generation, took: Duration) -> Value {
        json!({
            "generation": generation, "reached": self.reached(), "hosts": self.have, "missing": self.missing, "silent": self.silent,
            "took_ms": took.as_millis(), "error": self.failure,
        })
    }
}

impl Missing {
    fn of(line: &HostLine, newest: Generation) -> Self {
        Self {
            host: line.host.to_string(),
            generation: Some(line.generation),
            reported_seconds: Some(line.reported_seconds),
            trouble: line.trouble.clone(),
            behind: behind(line, newest.0),
        }
    }

    fn unheard(host: &HostName) -> Self {
        Self { host: host.to_string(), generation: None, reported_seconds: None, trouble: None, behind: String::new() }
    }

    /// Why it is waited for.
    fn text(&self) -> String {
        let (Some(generation), Some(ago)) = (self.generation, self.reported_seconds) else {
            return format!("{} has never reported", self.host);
        };
        let trouble = self.trouble.as_deref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let text =
            format!("{} is at {generation} ({} behind, reported {} ago){trouble}", self.host, self.behind, span(ago));
        printable(&text)
    }
}

/// Looks at the list until nobody is missing or the time is over. A directory that is away for a moment is waited for as well.
fn fleet_has(generation: Generation, args: &WaitArgs, end: Instant, progress: &Progress) -> Result<State, CliError> {
    let client = Client::new();
    loop {
        let state = match fleet::ask(&client.clone().within(STEP)) {
            Ok(fleet) => State::of(&fleet, generation, args),
            // Not the daemon but its directory: that may pass.
            Err(CliError::Unavailable(reason)) => State { failure: Some(reason), ..State::default() },
            Err(error) => return Err(error),
        };
        if state.reached() || Instant::now() + LOOK > end {
            return Ok(state);
        }
        progress.show(generation, &state);
        std::thread::sleep(LOOK);
    }
}

/// identityd itself waits: it answers in the moment in which the generation is visible.
fn this_host_has(generation: Generation, end: Instant, progress: &Progress) -> Result<State, CliError> {
    loop {
        let rest = end.saturating_duration_since(Instant::now()).max(LOOK);
        match Client::new().within(rest.min(STEP)).ask(&Request::Refresh { generation }) {
            Ok(Reply::Done) => return Ok(State { have: 1, ..State::default() }),
            Ok(Reply::Failed(reason)) => {
                let state = State { failure: Some(reason), ..State::default() };
                if Instant::now() + LOOK > end {
                    return Ok(state);
                }
                progress.show(generation, &state);
            }
            Ok(other) => return Err(unexpected(other)),
            // Its own answer came too late: it was about to say "not yet".
            Err(crate::client::ClientError::TimedOut { .. } | crate::client::ClientError::Unknown)
                if Instant::now() + LOOK < end => {}
            Err(crate::client::ClientError::TimedOut { .. } | crate::client::ClientError::Unknown) => {
                return Ok(State { failure: Some("it is not visible yet".into()), ..State::default() });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn tell(output: &Output, generation: Generation, state: &State, took: Duration) -> Result<Exit, CliError> {
    if !state.silent.is_empty() {
        let names: Vec<_> = state.silent.iter().map(HostName::as_str).collect();
        eprintln!(
            "identityctl: note: not waited for, since they have not reported lately: {} (identityctl fleet forget HOST, or --registered)",
            names.join(", ")
        );
    }
    let json = state.json(generation, took);
    if state.reached() {
        output.show(&json, |_| {
            let hosts = if state.have == 1 { "1 host has".into() } else { format!("{} hosts have", state.have) };
            format!("{hosts} generation {generation}.\n")
        })?;
        return Ok(Exit::Ok);
    }
    for missing in &state.missing {
        eprintln!("identityctl: {}", missing.text());
    }
    if let Some(reason) = &state.failure {
        eprintln!("identityctl: {}", printable(reason));
    }
    output.show(&json, |_| format!("The time is over; generation {generation} is not everywhere.\n"))?;
    Ok(Exit::TimedOut)
}

fn parse(text: &str) -> Result<Generation, CliError> {
    let bad = || CliError::Refused(format!("{:?} is no generation; each change prints its own", printable(text)));
    text.trim().parse().map(Generation).map_err(|_| bad())
}

/// A number, or the JSON of a change, in which it is called `generation`.
fn from_input() -> Result<Generation, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text);
    read.map_err(CliError::io("read the generation from standard input"))?;
    from_text(&text)
}

fn from_text(text: &str) -> Result<Generation, CliError> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => {
            object.get("generation").and_then(Value::as_u64).map(Generation).ok_or_else(|| {
                CliError::Refused(
                    "the JSON on standard input has no generation; pipe the output of a change with --json".into(),
                )
            })
        }
        _ => parse(text.get(..text.len().min(80)).unwrap_or_default()),
    }
}

/// One line on a terminal; nothing in a pipe.
struct Progress(ProgressBar);

impl Progress {
    fn new(output: &Output) -> Self {
        if output.is_json() || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {elapsed} {msg}").unwrap_or(ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    fn show(&self, generation: Generation, state: &State) {
        self.0.set_message(printable(&progress(generation, state)));
    }
}

fn progress(generation: Generation, state: &State) -> String {
    if let Some(reason) = &state.failure {
        return reason.clone();
    }
    let named: Vec<_> = state.missing.iter().take(NAMED).map(|missing| missing.host.as_str()).collect();
    let more = state.missing.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let all = state.have + state.missing.len();
    format!("{} of {all} hosts have generation {generation}; missing: {}{more}", state.have, named.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::directory::fleet::{HostReport, Reported};

    fn args(line: &str) -> WaitArgs {
        let words = ["identityctl", "wait"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Wait(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn fleet(hosts: &[(&str, u64, u64)]) -> Fleet {
        let reported = |(host, generation, age): &(&str, u64, u64)| Reported {
            report: HostReport {
                host: host.parse().unwrap(),
                generation: Generation(*generation),
                newest: Generation(*generation),
                stale: Duration::ZERO,
                version: "0.1.0".into(),
                trouble: String::new(),
                cursor: Vec::new(),
            },
            age: Duration::from_secs(*age),
        };
        Fleet::new(Generation(10), hosts.iter().map(reported).collect::<Vec<_>>().into(), None)
    }

    fn missing(state: &State) -> Vec<&str> {
        state.missing.iter().map(|missing| missing.host.as_str()).collect()
    }

    #[test]
    fn everybody_who_reported_lately_is_waited_for() {
        let fleet = fleet(&[("a", 10, 1), ("b", 9, 2), ("c", 3, 5000), ("d", 11, 9000)]);
        let state = State::of(&fleet, Generation(10), &args("--all"));
        assert_eq!((state.have, missing(&state), state.reached()), (2, vec!["b"], false));
        assert_eq!(state.silent, ["c".parse().unwrap()]);
        let state = State::of(&fleet, Generation(10), &args("--all --registered"));
        assert_eq!(missing(&state), ["b", "c"]);
        let state = State::of(&fleet, Generation(10), &args("--all --within 2h"));
        assert_eq!(missing(&state), ["b", "c"]);
        assert!(State::of(&fleet, Generation(9), &args("--all")).reached());
    }

    #[test]
    fn all_hosts_have_it_only_if_all_are_known() {
        let mut fleet = fleet(&[("a", 10, 1)]);
        fleet.incomplete = Some("there are more".into());
        assert!(!State::of(&fleet, Generation(10), &args("--all")).reached());
        assert!(State::of(&fleet, Generation(10), &args("--hosts a")).reached());
    }

    #[test]
    fn a_named_host_is_waited_for_whether_it_was_heard_of_or_not() {
        let fleet = fleet(&[("a", 10, 1), ("b", 9, 2), ("c", 3, 5000)]);
        let state = State::of(&fleet, Generation(10), &args("--hosts a,c,unheard"));
        assert_eq!((state.have, missing(&state)), (1, vec!["c", "unheard"]));
        assert_eq!(state.missing[1].text(), "unheard has never reported");
    }

    #[test]
    fn the_generation_comes_alone_or_in_the_json_of_a_change() {
        assert_eq!(from_text("4711\n").unwrap(), Generation(4711));
        assert_eq!(from_text(r#"{"result": null, "generation": 12}"#).unwrap(), Generation(12));
        for bad in ["", "x", "-1", r#"{"result": null}"#, "[1]"] {
            assert!(from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn progress_names_some_of_the_missing() {
        let hosts: Vec<(String, u64, u64)> =
            (0..9).map(|n| (format!("web{n}"), if n < 2 { 10 } else { 4 }, 1)).collect();
        let hosts: Vec<_> = hosts.iter().map(|(host, generation, age)| (host.as_str(), *generation, *age)).collect();
        let state = State::of(&fleet(&hosts), Generation(10), &args("--all"));
        assert_eq!(
            progress(Generation(10), &state),
            "2 of 9 hosts have generation 10; missing: web2, web3, web4, web5, web6 and 2 more"
        );
    }

    #[test]
    fn what_contradicts_itself_is_a_wrong_command_line() {
        for line in ["--all --hosts a", "--hosts -x;", "--timeout soon", "--registered --within 5m"] {
            let words = ["identityctl", "wait"].into_iter().chain(line.split_whitespace());
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
