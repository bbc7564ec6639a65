//! A fleet on one directory server: every host sees every change, and `identityctl wait --all` returns when that is so.
//!
//! `make fleet` (`FLEET=docs/benchmarks`) takes 20 hosts and 50 changes a second for a minute on each directory, and writes `fleet.md` and `fleet.csv` there. Without FLEET four hosts
//! for some seconds show that it works; no time is asserted.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::boot;
use tests::fleet::{Fleet, Kind, Probe, Spread, published, spreads};

/// Until every host has what was written; far above what it takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What is measured on one directory.
struct Figures {
    kind: Kind,
    hosts: u32,
    logins: u32,
    changes: usize,
    seconds: f64,
    one: Spread,
    every: Spread,
    wait: Spread,
    idle: Load,
    busy: Load,
}

/// What all hosts together cost, a second.
struct Load {
    questions: f64,
    server: f64,
    identityds: f64,
}

#[test]
fn every_host_of_a_fleet_on_mariadb_sees_every_change() {
    run(Kind::MariaDb);
}

#[test]
fn every_host_of_a_fleet_on_slapd_sees_every_change() {
    run(Kind::Slapd);
}

fn run(kind: Kind) {
    let folder = std::env::var("FLEET").ok();
    let (hosts, changes, idle) = if folder.is_some() { (20, 3000, 60) } else { (4, 150, 2) };
    let fleet = boot!(Fleet::of(kind, hosts, changes));
    everybody_is_on_the_list(&fleet);
    nobody_is_waited_for_in_vain(&fleet);
    let idle = load(&fleet, || std::thread::sleep(Duration::from_secs(idle)));
    let probe = Probe::start(&fleet.hosts);
    let mut sent = Vec::new();
    let began = Instant::now();
    let busy = load(&fleet, || sent = fleet.server.write(0, changes, 50));
    let seconds = began.elapsed().as_secs_f64();
    let written = fleet.written(&sent);
    let newest = written.iter().map(|change| change.generation).max().expect("a change");
    wait_for(&fleet, newest);
    let seen = probe.finish();
    let (one, every) = spreads(&written, &seen, fleet.hosts.len());
    assert_eq!(every.count(), changes as usize);
    let wait = waits(&fleet, if folder.is_some() { 40 } else { 3 });
    let figures =
        Figures { kind, hosts, logins: changes, changes: every.count(), seconds, one, every, wait, idle, busy };
    println!("{}", csv(&figures));
    if let Some(folder) = folder {
        write(&folder, &figures);
    }
}

/// Writes what was measured on this directory, and the two files of the benchmark out of what there is of both.
fn write(folder: &str, figures: &Figures) {
    let part = |kind: Kind, what: &str| tests::places::scratch().join(format!("fleet-{}.{what}", kind.name()));
    std::fs::write(part(figures.kind, "csv"), csv(figures)).expect("write the figures");
    std::fs::write(part(figures.kind, "md"), table(figures)).expect("write the table");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    std::fs::create_dir_all(&folder).expect("make the folder of the benchmarks");
    let all = |what: &str| {
        [Kind::MariaDb, Kind::Slapd]
            .map(|kind| std::fs::read_to_string(part(kind, what)).unwrap_or_default())
            .join("\n")
    };
    std::fs::write(folder.join("fleet.md"), format!("{}\n{}", HEAD, all("md"))).expect("write fleet.md");
    let csv = format!("directory,hosts,changes,what,median or value,p99,worst\n{}", all("csv").replace("\n\n", "\n"));
    std::fs::write(folder.join("fleet.csv"), csv).expect("write fleet.csv");
}

const HEAD: &str = "\
# A fleet on one directory

Written by `make fleet`. Each host is an identityd in name spaces of its own (mount, pid, network, ipc, uts) with its own `/run` and `/var/lib`; all run on one machine, with the directory server and
the writer, and share its processors. They reach the server through a unix socket; its files are in memory, so a commit waits for no disk.

One client writes 50 changes a second for a minute, each to another login, one after the other: for MariaDB an UPDATE, every fifth time a transaction that also gives a capability; for slapd a modify.
A change counts from **before it is sent**, so its own commit is in the time. It is visible on a host when the control page of the published snapshot names its generation: looked at a thousand times a second on each
host. \"Every host\" is the last of them.
";

/// `identityctl wait --all` of these hosts returned, so each of them has it: looked at from outside, at once.
fn wait_for(fleet: &Fleet, generation: u64) {
    let limit = format!("{}s", LIMIT.as_secs());
    let output = fleet.hosts[0].call([
        "identityctl",
        "wait",
        "--all",
        "--generation",
        &generation.to_string(),
        "--timeout",
        &limit,
    ]);
    let output = output.limit(2 * LIMIT).run();
    let have: Vec<u64> = fleet.hosts.iter().map(published).collect();
    output.success();
    assert!(
        have.iter().all(|published| *published >= generation),
        "wait --all returned before all had {generation}: {have:?}"
    );
}

fn everybody_is_on_the_list(fleet: &Fleet) {
    let asked = &fleet.hosts[0];
    asked.wait_until("every host has reported", LIMIT, |mosh| {
        let output = mosh.identityctl(["--json", "fleet"]);
        let value: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let hosts = value["hosts"].as_array().map_or(&[][..], Vec::as_slice);
        let current = hosts.iter().filter(|host| host["behind"] == 0).count();
        hosts.len() == fleet.hosts.len() && current == hosts.len()
    });
    let table = asked.identityctl(["fleet"]).success();
    assert!(table.stdout.contains("mosh00") && table.stdout.contains("this host"), "{table}");
}

/// A host that hangs is named; when it goes on, it is enough. One that is forgotten is on the list again when it reports.
fn nobody_is_waited_for_in_vain(fleet: &Fleet) {
    let (asked, hung) = (&fleet.hosts[0], fleet.hosts.last().expect("a host"));
    hung.daemon().pause();
    let before = fleet.server.generations()["l0"];
    let _ = fleet.server.write(0, 1, 50);
    // In MariaDB a host numbers it, soon.
    let generation = || fleet.server.generations()["l0"];
    asked.wait_until("the change has its number", LIMIT, |_| generation() > before);
    let generation = generation().to_string();
    // All others have it; they report at most once a second.
    let others: Vec<String> = (0..fleet.hosts.len() - 1).map(|n| format!("mosh{n:02}")).collect();
    let limit = format!("{}s", LIMIT.as_secs());
    let argv = ["identityctl", "wait", "--hosts", &others.join(","), "-g", &generation, "--timeout", &limit];
    asked.call(argv).limit(2 * LIMIT).run().success();
    let output = asked.identityctl(["--json", "wait", "--all", "-g", &generation, "--timeout", "3s"]).exit(6);
    let value: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let missing: Vec<_> =
        value["missing"].as_array().expect("a list").iter().map(|host| host["host"].clone()).collect();
    let name = format!("mosh{:02}", fleet.hosts.len() - 1);
    assert_eq!(missing, [Value::from(name.clone())], "{output}");
    hung.daemon().resume();
    wait_for(fleet, generation.parse().expect("a generation"));
    asked.identityctl(["wait", "--hosts", &name, "-g", &generation]).success();
    asked.identityctl(["fleet", "forget", "elsewhere"]).exit(1);
    asked.identityctl(["fleet", "forget", &name]).success();
    assert!(!asked.identityctl(["fleet"]).success().stdout.contains(&name));
    let _ = fleet.server.write(1, 1, 50);
    asked.wait_until("it has reported again", LIMIT, |mosh| mosh.identityctl(["fleet"]).stdout.contains(&name));
}

/// How long `wait --all` takes after one change to a fleet at rest, from sending the change to the return of the command.
fn waits(fleet: &Fleet, count: u32) -> Spread {
    let mut times = Vec::new();
    for n in 0..count {
        // At rest: a host reports at most once a second.
        std::thread::sleep(Duration::from_millis(1100));
        let (_, sent) = fleet.server.write(n, 1, 50).pop().expect("it was sent");
        // Without a number: what a panel that writes plain SQL can do.
        fleet.hosts[0].call(["identityctl", "wait", "--all"]).limit(LIMIT).run().success();
        times.push(tests::fleet::probe::now().saturating_sub(sent));
    }
    Spread::new(times)
}

fn load(fleet: &Fleet, during: impl FnOnce()) -> Load {
    let before = (fleet.server.questions(), fleet.server.processor_time(), fleet.processor_time(), Instant::now());
    during();
    let seconds = before.3.elapsed().as_secs_f64();
    let rate = |time: Duration| time.as_secs_f64() / seconds;
    Load {
        questions: (fleet.server.questions() - before.0) as f64 / seconds,
        server: rate(fleet.server.processor_time().saturating_sub(before.1)),
        identityds: rate(fleet.processor_time().saturating_sub(before.2)),
    }
}

fn csv(figures: &Figures) -> String {
    let mut text = String::new();
    let name = figures.kind.name();
    let (hosts, changes) = (figures.hosts, figures.changes);
    for (what, spread) in [("one host", &figures.one), ("every host", &figures.every), ("wait --all", &figures.wait)] {
        let times: Vec<_> = [0.5, 0.99, 1.0].iter().map(|share| format!("{:.1}", spread.at(*share))).collect();
        let _ = writeln!(text, "{name},{hosts},{changes},visible on {what} [ms],{}", times.join(","));
    }
    for (what, load) in [("idle", &figures.idle), ("writing", &figures.busy)] {
        let _ = writeln!(text, "{name},{hosts},{changes},{what}: questions a second,{:.2},,", load.questions);
        let _ = writeln!(text, "{name},{hosts},{changes},{what}: server CPU %,{:.2},,", load.server * 100.0);
        let _ = writeln!(
            text,
            "{name},{hosts},{changes},{what}: CPU % of one identityd,{:.3},,",
            load.identityds * 100.0 / f64::from(hosts)
        );
    }
    text
}

fn table(figures: &Figures) -> String {
    let (hosts, name) = (f64::from(figures.hosts), figures.kind.name());
    let mut text = format!(
        "## {name}\n\n{} hosts, {} logins, {} changes in {:.0} s.\n\n| from sending a change until | median | p99 | worst |\n|---|---|---|---|\n",
        figures.hosts, figures.logins, figures.changes, figures.seconds
    );
    for (what, spread) in [
        ("it is visible on a host", &figures.one),
        ("it is visible on **every** host", &figures.every),
        ("`wait --all` has returned (one change, fleet at rest)", &figures.wait),
    ] {
        let _ = writeln!(
            text,
            "| {what} | {:.0} ms | {:.0} ms | {:.0} ms |",
            spread.at(0.5),
            spread.at(0.99),
            spread.at(1.0)
        );
    }
    let _ = writeln!(
        text,
        "\n| load | at rest | while writing | at rest, one host | at rest, 1,000 hosts |\n|---|---|---|---|---|"
    );
    let (idle, busy) = (&figures.idle, &figures.busy);
    let scaled = |value: f64| (value / hosts, value / hosts * 1000.0);
    let (one, thousand) = scaled(idle.questions);
    let _ = writeln!(
        text,
        "| questions to the directory a second | {:.1} | {:.1} | {one:.2} | {thousand:.0} |",
        idle.questions, busy.questions
    );
    let (one, thousand) = scaled(idle.server);
    let _ = writeln!(
        text,
        "| processor time of the server (100 % is one core) | {:.1} % | {:.1} % | {:.3} % | {:.0} % |",
        idle.server * 100.0,
        busy.server * 100.0,
        one * 100.0,
        thousand * 100.0
    );
    let _ = writeln!(
        text,
        "| processor time of all identityds | {:.1} % | {:.1} % | {:.3} % | on 1,000 machines |",
        idle.identityds * 100.0,
        busy.identityds * 100.0,
        idle.identityds * 100.0 / hosts
    );
    let expected = match figures.kind {
        Kind::MariaDb => "a poll each 250 ms (4 a second) and a heartbeat each 30 s (0.03)",
        Kind::Slapd => {
            "whether the server is still there, each 500 ms (2 a second), and a heartbeat each 30 s (0.03); changes are pushed"
        }
    };
    let rate = f64::from(figures.changes as u32) / figures.seconds;
    // What a host does while changes come, a second: what it does at rest is in both.
    let questions = (busy.questions - idle.questions - rate) / hosts;
    let server = (busy.server - idle.server) / hosts;
    let _ = writeln!(
        text,
        "\nArithmetic. At rest: one host is the total divided by {hosts}; 1,000 hosts are one host times 1,000. By design a host at rest asks for {expected}. While {rate:.0} changes a second come, a host asks \
         ({:.0} - {:.0} - {rate:.0} of the writer) / {hosts} = {questions:.1} questions a second more, among them one report a second, and costs the server ({:.1} % - {:.1} %) / {hosts} = {:.2} % of a core, the writer's own \
         work included; for 1,000 hosts {:.0} questions a second and {:.1} cores. A burst of changes adds one report a host and second, 1,000 a second for 1,000 hosts while it lasts, whatever its rate.",
        busy.questions,
        idle.questions,
        busy.server * 100.0,
        idle.server * 100.0,
        server * 100.0,
        questions * 1000.0 + idle.questions / hosts * 1000.0,
        (server + idle.server / hosts) * 1000.0,
    );
    text
}
