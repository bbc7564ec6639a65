//! A full reading from each kind of directory: how long it takes, what identityd needs of memory, and what look-ups cost meanwhile.
//!
//! `make directories` (`DIRECTORIES=docs/benchmarks`) takes 100,000 logins and writes `directories.md` there; LOGINS takes another number. Without it 2,000 show that it works; no time is asserted.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::fleet::published;
use tests::population::{Dialect, Population};
use tests::{Mosh, boot};

const LONG: Duration = Duration::from_secs(600);
const KINDS: [&str; 3] = ["SQLite", "MariaDB", "slapd"];

/// What was measured on one directory.
struct Figures {
    kind: &'static str,
    first: Duration,
    again: Duration,
    rest: Costs,
    during: Costs,
    /// Megabytes: private at rest, the most ever resident.
    private: f64,
    peak: f64,
    files: f64,
}

/// Look-ups in microseconds: median, p99, worst; of the snapshot, and through the daemon.
struct Costs {
    looked: u64,
    mapped: [f64; 3],
    asked: [f64; 3],
}

#[test]
fn a_directory_is_read_from_each_kind_while_look_ups_go_on() {
    let folder = std::env::var("DIRECTORIES").ok();
    let logins = std::env::var("LOGINS").ok().and_then(|text| text.parse().ok());
    let logins: u32 = logins.unwrap_or(if folder.is_some() { 100_000 } else { 2_000 });
    let people = Population::plain(logins);
    let mut all = Vec::new();
    for kind in KINDS {
        let mosh = boot!(Mosh::builder().without_daemon());
        fill(&mosh, kind, &people);
        all.push(measure(&mosh, kind, logins));
    }
    let text = report(&all, logins);
    println!("{text}");
    if let Some(folder) = folder {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        std::fs::create_dir_all(&folder).expect("make the folder of the benchmarks");
        std::fs::write(folder.join("directories.md"), text).expect("write directories.md");
    }
}

fn fill(mosh: &Mosh, kind: &str, people: &Population) {
    let long = |script: &str| mosh.call(["sh", "-c", script]).limit(LONG).run().success();
    match kind {
        "SQLite" => {
            mosh.write("/tmp/people.sql", &people.sql(Dialect::Sqlite));
            mosh.identityctl(["init"]);
            long("su -s /bin/sh identityd -c 'sqlite3 -bail /var/lib/identityd/directory.db' </tmp/people.sql");
        }
        "MariaDB" => {
            let mariadb = mosh.mariadb(1);
            mariadb.apply_schema();
            mosh.write("/tmp/people.sql", &people.sql(Dialect::MariaDb));
            long(&format!("mariadb --no-defaults --socket={} identity </tmp/people.sql", mariadb.socket()));
            mariadb.sql("CALL number_changes()");
            mosh.use_mariadb(&[mariadb.socket()], "");
        }
        _ => {
            let slapd = mosh.slapd(&people.ldif());
            mosh.ldap_directory(&[slapd.url()], "");
        }
    }
    mosh.sh("rm -f /tmp/people.sql").success();
}

fn measure(mosh: &Mosh, kind: &'static str, logins: u32) -> Figures {
    let began = Instant::now();
    mosh.daemon().launch();
    mosh.wait_until("all is published", LONG, |mosh| {
        published(mosh) > 0 && status(mosh)["snapshot"]["published"]["logins"].as_u64() >= Some(logins.into())
    });
    let first = began.elapsed();
    let files = mosh.sh("du -sb /run/identityd/snapshot | cut -f1").success();
    let files = files.text().parse::<f64>().unwrap_or(0.0) / 1e6;
    mosh.write("/tmp/look.py", LOOK);
    let rest = costs(mosh, logins, || std::thread::sleep(Duration::from_secs(2)));
    let private = memory(mosh, "smaps_rollup", "Private_Dirty:");
    // A new local account: everything is judged, so everything is read again.
    let during = costs(mosh, logins, || {
        mosh.sh("echo 'localone:x:999:999::/nonexistent:/usr/sbin/nologin' >>/etc/passwd").success();
        mosh.wait_until("all is read again", LONG, |mosh| readings(mosh).len() > 1);
    });
    let again = readings(mosh).last().copied().unwrap_or_default();
    Figures { kind, first, again, rest, during, private, peak: memory(mosh, "status", "VmHWM:"), files }
}

/// How long each full reading took.
fn readings(mosh: &Mosh) -> Vec<Duration> {
    let seconds = |line: &str| line.split("seconds=").nth(1)?.split_whitespace().next()?.parse().ok();
    let journal = mosh.journal();
    let lines = journal.lines().filter(|line| line.contains("the whole directory has been read"));
    lines.map(|line| Duration::from_secs_f64(seconds(line).unwrap_or(f64::NAN))).collect()
}

/// Looks up names at random as long as this takes.
fn costs(mosh: &Mosh, logins: u32, during: impl FnOnce()) -> Costs {
    mosh.sh("rm -f /tmp/stop /tmp/looks /tmp/looked").success();
    mosh.background(&format!(
        "python3 -W ignore /tmp/look.py {logins} >/tmp/looked.new 2>&1; mv /tmp/looked.new /tmp/looked"
    ));
    mosh.wait_until("it looks", LONG, |mosh| mosh.exists("/tmp/looks") || mosh.exists("/tmp/looked"));
    during();
    mosh.write("/tmp/stop", "");
    mosh.wait_until("it has ended", LONG, |mosh| mosh.exists("/tmp/looked"));
    let text = mosh.read("/tmp/looked");
    let mut numbers = text.split_whitespace().map(|word| word.parse::<f64>().unwrap_or_else(|_| panic!("{text}")));
    let mut next = || numbers.next().expect("seven numbers");
    Costs { looked: next() as u64, mapped: [next(), next(), next()], asked: [next(), next(), next()] }
}

/// Every tenth look-up is of shadow, which the daemon answers over its socket.
const LOOK: &str = r#"
import os, pwd, random, spwd, sys, time
count, mapped, asked = int(sys.argv[1]), [], []
def timed(times, ask):
    began = time.perf_counter_ns()
    ask()
    times.append((time.perf_counter_ns() - began) / 1000)
def shadow(name):
    # A machine with much else to do may take longer than the 200 ms of a look-up: it is asked again, and all of that counts.
    for attempt in range(50):
        try:
            return spwd.getspnam(name)
        except (KeyError, OSError):
            time.sleep(0.1)
    raise KeyError(name)
while not os.path.exists("/tmp/stop"):
    for n in range(10):
        name = f"l{random.randrange(count)}"
        timed(*((asked, lambda: shadow(name)) if n == 0 else (mapped, lambda: pwd.getpwnam(name))))
    open("/tmp/looks", "w").close()
    time.sleep(0.002)
print(len(mapped) + len(asked))
for times in (mapped, asked):
    times.sort()
    print(times[len(times) // 2], times[len(times) * 99 // 100], times[-1])
"#;

fn status(mosh: &Mosh) -> Value {
    serde_json::from_str(&mosh.identityctl(["status", "--json"]).stdout).unwrap_or_default()
}

/// A value of a file of identityd's in /proc, in megabytes.
fn memory(mosh: &Mosh, file: &str, name: &str) -> f64 {
    let pid = mosh.daemon().pid().expect("identityd runs");
    let text = mosh.sh(&format!("cat /proc/{pid}/{file}")).success().stdout;
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn report(all: &[Figures], logins: u32) -> String {
    let mut text = format!(
        "# Reading a whole directory\n\nWritten by `make directories`. {logins} logins, each with a group of its own, and {} groups of a hundred. identityd, the directory's server and the program that looks up \
         names share one machine; the servers' files are in memory. nsswitch.conf is the real one (`files mayfirst`), the program is Python, so a look-up has some microseconds of its own.\n\n",
        logins.div_ceil(100)
    );
    let _ = writeln!(
        text,
        "| directory | from the start of identityd until all is published | reading it once more | private memory | at most resident | snapshot |\n|---|---|---|---|---|---|"
    );
    for figures in all {
        let Figures { kind, private, peak, files, .. } = figures;
        let (first, again) = (figures.first.as_secs_f64(), figures.again.as_secs_f64());
        let _ =
            writeln!(text, "| {kind} | {first:.2} s | {again:.2} s | {private:.1} MB | {peak:.1} MB | {files:.1} MB |");
    }
    let _ = writeln!(
        text,
        "\nResident memory includes the pages of the snapshot that identityd itself has mapped; every program shares them.\n\n\
         Look-ups of names at random, in µs: `getpwnam` from the snapshot, `getspnam` by root from identityd.\n\n\
         | directory | | look-ups | getpwnam: median | p99 | worst | getspnam: median | p99 | worst |\n|---|---|---|---|---|---|---|---|---|"
    );
    for figures in all {
        for (when, costs) in [("at rest", &figures.rest), ("during the second reading", &figures.during)] {
            let [a, b, c] = costs.mapped;
            let [d, e, f] = costs.asked;
            let _ = writeln!(
                text,
                "| {} | {when} | {} | {a:.1} | {b:.0} | {c:.0} | {d:.0} | {e:.0} | {f:.0} |",
                figures.kind, costs.looked
            );
        }
    }
    text
}
