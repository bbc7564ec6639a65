//! What is measured of each peer, by the programs in `tests/c/bench`, inside its machine.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Mosh;

use super::peer::Peer;
use super::progress::Progress;
use super::table::{Row, Table};
use super::{BenchError, ours, setup};

/// Before the measures of the empty module that are taken beside this one's.
pub(super) const FLOOR: &str = "floor ";

/// How much time goes into each figure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Milliseconds for each of the five rounds of one kind of look-up.
    round: u32,
    /// Milliseconds for each of the three rounds of so many threads.
    threads: u32,
    /// Processes that are started for one figure.
    processes: u32,
    /// Files of distinct owners in the folder that `ls -l` lists.
    files: u32,
    /// Changes whose way is followed, at 100,000 logins and at other sizes, and the seconds that this may take.
    changes: (u32, u32),
    change_seconds: u32,
    /// Whether the memory of this machine is measured.
    pub(super) chase: bool,
}

impl Pace {
    pub(super) const FULL: Self = Self {
        round: 40,
        threads: 300,
        processes: 200,
        files: 10_000,
        changes: (1000, 300),
        change_seconds: 60,
        chase: true,
    };
    pub(super) const SMOKE: Self =
        Self { round: 1, threads: 5, processes: 3, files: 100, changes: (3, 3), change_seconds: 10, chase: false };
}

/// Where rows go, with what they have in common.
#[derive(Debug)]
pub(super) struct Rows<'t> {
    pub(super) peer: Peer,
    pub(super) size: u32,
    pub(super) over: u32,
    pace: Pace,
    table: &'t mut Table,
    file: &'t Path,
    progress: &'t Progress,
}

impl<'t> Rows<'t> {
    pub(super) fn new(
        peer: Peer,
        size: u32,
        pace: Pace,
        table: &'t mut Table,
        file: &'t Path,
        progress: &'t Progress,
    ) -> Self {
        Self { peer, size, over: size, pace, table, file, progress }
    }

    pub(super) fn put(&mut self, measure: &str, level: &str, value: f64, p99: Option<f64>, unit: &str) {
        let row = Row::new(self.peer.key(), self.size, measure, level, value, unit);
        self.table.push(Row { p99, over: Some(self.over), ..row });
    }

    pub(super) fn none(&mut self, measure: &str, level: &str, why: &str) {
        self.table.push(Row::absent(self.peer.key(), self.size, measure, level, why));
    }

    pub(super) fn value(&self, measure: &str, level: &str) -> Option<f64> {
        self.table.value(self.peer.key(), self.size, measure, level)
    }

    /// Lines of "WORD P50 P99", as the programs print them.
    fn take(&mut self, prefix: &str, level: &str, unit: &str, text: &str) {
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let measure = format!("{prefix}{}", words[0]);
            match words.get(1).and_then(|word| word.parse().ok()) {
                Some(value) => self.put(&measure, level, value, words.get(2).and_then(|word| word.parse().ok()), unit),
                None => self.none(&measure, level, &words.get(1..).unwrap_or_default().join(" ").replace('_', " ")),
            }
        }
    }

    /// Runs one step; what it has measured is on the disk before the next begins.
    fn step(&mut self, name: &str, step: impl FnOnce(&mut Self)) -> Result<(), BenchError> {
        self.progress.stage(name);
        step(self);
        self.table.write(self.file)
    }
}

/// All measures of one peer with so many logins.
pub(super) fn all(rows: &mut Rows<'_>) -> Result<(), BenchError> {
    let peer = rows.peer;
    let mosh = Mosh::builder().without_daemon().start()?;
    setup::programs(&mosh);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let now = mosh.run(["date", "-u", "+%Y-%m-%d %H:%M"]);
    rows.none("begun", "", &format!("{} load {}", now.text(), load.split(' ').next().unwrap_or_default()));
    rows.step("filling", |rows| {
        let started = Instant::now();
        setup::start(&mosh, peer, rows.size);
        rows.put("fill", "", started.elapsed().as_secs_f64(), None, "s");
        setup::name_service(&mosh, peer.service());
    })?;
    if peer == Peer::SssList {
        // Only the list and what it costs are another than without.
        rows.step("listing", |rows| list(&mosh, rows))?;
        return rows.step("memory", |rows| memory(&mosh, rows));
    }
    rows.step("comparing answers", |rows| warm(&mosh, rows))?;
    for level in peer.levels() {
        rows.step("look-ups", |rows| time(&mosh, rows, level))?;
    }
    rows.step("threads", |rows| threads(&mosh, rows))?;
    rows.step("listing", |rows| list(&mosh, rows))?;
    rows.step("processes", |rows| processes(&mosh, rows))?;
    rows.step("memory", |rows| memory(&mosh, rows))?;
    rows.step("changes", |rows| visibility(&mosh, rows))?;
    if peer.is_ours() {
        rows.step("starts", |rows| ours::more(&mosh, rows))?;
    }
    rows.step("offline", |rows| offline(&mosh, rows))
}

fn look(mosh: &Mosh, what: &str, level: &str, service: &str, rows: &Rows<'_>, rest: &str) -> String {
    let (size, over) = (rows.size, rows.over);
    let line = format!("look {what} {level} {service} {size} {over} {rest}");
    let output = mosh.call(["/bin/sh", "-c", &line]).limit(Duration::from_secs(300)).run();
    if output.ok() { output.stdout } else { format!("{what} {}", output.stderr.replace(' ', "_").trim()) }
}

/// Every field of every answer is compared here; then only what tells two logins apart.
fn warm(mosh: &Mosh, rows: &mut Rows<'_>) {
    if rows.peer == Peer::Empty {
        return;
    }
    let (wanted, seconds) = rows.peer.warm(rows.size);
    rows.over = wanted;
    let text = look(mosh, "warm", "nsswitch", rows.peer.service(), rows, &(seconds * 1000).to_string());
    let mut words = text.split_whitespace().skip(1);
    let (asked, took) =
        (words.next().and_then(|word| word.parse().ok()), words.next().and_then(|word| word.parse().ok()));
    let miss = words.next().and_then(|word| word.parse().ok());
    let (Some(asked), Some(took)) = (asked, took) else {
        panic!("not the right answer: {}", text.trim_start_matches("warm ").replace('_', " "))
    };
    let (asked, took): (u32, f64) = (asked, took);
    // Only a peer that keeps what it was asked for is limited to that.
    if matches!(rows.peer, Peer::Sss | Peer::SssList | Peer::Nscd | Peer::SssNoCache) {
        rows.over = asked.max(1);
    }
    if asked > 0 {
        rows.put("cold", "", f64::from(1_000_000) * took / f64::from(asked), None, "us for name uid and groups");
    }
    if let Some(us) = miss {
        rows.put("cold miss", "", us, None, "us");
    }
}

fn time(mosh: &Mosh, rows: &mut Rows<'_>, level: &str) {
    if rows.peer == Peer::Ours {
        // The floor once more, a second before: what a ratio is made of should have met the same machine.
        setup::name_service(mosh, Peer::Empty.service());
        time_of(mosh, rows, level, Peer::Empty.service(), FLOOR);
        setup::name_service(mosh, rows.peer.service());
    }
    time_of(mosh, rows, level, rows.peer.service(), "");
}

fn time_of(mosh: &Mosh, rows: &mut Rows<'_>, level: &str, service: &str, prefix: &str) {
    let round = rows.pace.round;
    let kinds = "hot_name name hot_uid uid hot_groups groups largest";
    let mut text = look(mosh, "time", level, service, rows, &format!("{round} {kinds}"));
    if service == "empty" {
        // The floor of unknown names has a module of its own.
        if level == "nsswitch" {
            setup::name_service(mosh, "absent");
        }
        text += &look(mosh, "time", level, "absent", rows, &format!("{round} miss"));
        setup::name_service(mosh, service);
    } else {
        text += &look(mosh, "time", level, service, rows, &format!("{round} miss"));
    }
    rows.take(prefix, level, "ns", &text);
}

fn threads(mosh: &Mosh, rows: &mut Rows<'_>) {
    let rest = format!("{} 1 4 16", rows.pace.threads);
    let text = look(mosh, "threads", rows.peer.level(), rows.peer.service(), rows, &rest);
    rows.take("", rows.peer.level(), "look-ups/s", &text);
}

fn list(mosh: &Mosh, rows: &mut Rows<'_>) {
    if rows.peer == Peer::Empty {
        return;
    }
    let level = rows.peer.level();
    if matches!(rows.peer, Peer::Sss | Peer::SssNoCache) {
        rows.none("list", level, "nothing without enumerate");
        return;
    }
    let text = look(mosh, "list", level, rows.peer.service(), rows, "");
    rows.take("", level, "ms", &text);
}

/// p50 and p99 in µs, as `fresh` prints them.
fn fresh(mosh: &Mosh, rows: &mut Rows<'_>, measure: &str, arguments: &str) {
    let line = format!("fresh {arguments}");
    let output = mosh.call(["/bin/sh", "-c", &line]).limit(Duration::from_secs(120)).run();
    let words: Vec<f64> = output.stdout.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match words.as_slice() {
        [p50, p99] if output.ok() => rows.put(measure, "nsswitch", *p50, Some(*p99), "us"),
        _ => rows.none(measure, "nsswitch", output.stderr.lines().next().unwrap_or("failed")),
    }
}

/// Through nsswitch.conf, as every new process does it.
fn processes(mosh: &Mosh, rows: &mut Rows<'_>) {
    let slow = rows.value("name", rows.peer.level()).is_none_or(|ns| ns > 2e6);
    let count = if slow { rows.pace.processes.min(10) } else { rows.pace.processes };
    let service = rows.peer.service();
    let name = first_name(mosh, rows.size);
    if rows.peer == Peer::Ours {
        fresh(mosh, rows, &format!("{FLOOR}load"), &format!("load libnss_empty.so.2 {count}"));
    }
    if service != "files" {
        fresh(mosh, rows, "load", &format!("load libnss_{service}.so.2 {count}"));
    }
    fresh(mosh, rows, "first", &format!("first {name} {count}"));
    if rows.peer == Peer::Extrausers {
        // As on a server with a handful of logins: the goal of a first look-up.
        mosh.sh("cd /var/lib/extrausers && for f in passwd group; do mv $f all.$f; tail -n 10 all.$f >$f; done")
            .success();
        let one = mosh.sh("tail -n 1 /var/lib/extrausers/passwd | cut -d : -f 1").success();
        fresh(mosh, rows, "first of 10", &format!("first {} {count}", one.text()));
        mosh.sh("cd /var/lib/extrausers && for f in passwd group; do mv all.$f $f; done").success();
    }
    fresh(mosh, rows, "true", &format!("run {count} /bin/true"));
    fresh(mosh, rows, "id", &format!("run {count} /usr/bin/id {name}"));
    ls(mosh, rows);
}

/// `ls -l` of files that have an owner each.
fn ls(mosh: &Mosh, rows: &mut Rows<'_>) {
    let files = rows.pace.files;
    if rows.size < files {
        return;
    }
    // A name and a group for each file.
    let expected = rows.value("name", "nsswitch").map(|ns| ns * 2.0 * f64::from(files) / 1e9);
    let Some(expected) = expected.filter(|&seconds| seconds < 8.0) else {
        let why = expected.map_or("no look-ups".into(), |seconds| format!("would take {seconds:.0} s and more"));
        rows.none("ls", "nsswitch", &why);
        return;
    };
    let files = rows.over.min(files);
    mosh.sh(&format!("mkdir -p /tmp/owned; fresh own /tmp/owned {} {files}", rows.size)).success();
    // A folder of so many files without names, to be taken off: ls -ln.
    for (measure, options) in [("ls", "-l"), ("ls-n", "-ln")] {
        let count = if expected > 1.0 { 1 } else { 3 };
        let line = format!("fresh run {count} /bin/ls {options} /tmp/owned");
        let output = mosh.call(["/bin/sh", "-c", &line]).limit(Duration::from_secs(120)).run();
        match output.stdout.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()) {
            Some(us) => {
                let row = Row::new(rows.peer.key(), rows.size, measure, "nsswitch", us / 1000.0, "ms");
                rows.table.push(Row { over: Some(files), ..row });
            }
            None => rows.none(measure, "nsswitch", "failed"),
        }
    }
}

/// The name of the login that is asked for first, so that a cache has it.
fn first_name(mosh: &Mosh, size: u32) -> String {
    mosh.sh(&format!("fill names {size} | head -n 1 | cut -d ' ' -f 1")).success().text().to_string()
}

/// Of each daemon, in MiB: private; and what it has mapped of the files that it shares with its readers.
fn memory(mosh: &Mosh, rows: &mut Rows<'_>) {
    let directory: &[_] = if rows.peer.asks_slapd() { &["slapd"] } else { &[] };
    for daemon in rows.peer.daemons().iter().chain(directory) {
        let script = format!(
            r"for pid in $(pgrep -x {daemon}); do cat /proc/$pid/smaps; done | awk '
                /^[0-9a-f]+-[0-9a-f]+ / {{ data = $6 ~ /snapshot|\/sss\/mc\/|cache\/nscd/ }}
                /^Rss:/ {{ if (data) mapped += $2 }}
                /^Private_(Clean|Dirty):/ {{ if (!data) private += $2 }}
                /^Shared_(Clean|Dirty):/ {{ if (!data) shared += $2 }}
                END {{ print private / 1024, shared / 1024, mapped / 1024 }}'"
        );
        let output = mosh.sh(&script);
        let words: Vec<f64> = output.text().split(' ').filter_map(|word| word.parse().ok()).collect();
        let [private, shared, mapped] = words.as_slice() else { continue };
        rows.put(&format!("private {daemon}"), "", *private, None, "MiB");
        rows.put(&format!("shared {daemon}"), "", *shared, None, "MiB");
        rows.put(&format!("mapped {daemon}"), "", *mapped, None, "MiB");
    }
}

/// From the start of the command that writes it to the moment that a process sees it.
fn visibility(mosh: &Mosh, rows: &mut Rows<'_>) {
    let (size, pace) = (rows.size, rows.pace);
    let many = if size == 100_000 { pace.changes.0 } else { pace.changes.1 };
    let (count, limit, command) = match rows.peer {
        Peer::Ours | Peer::OursSocket => (
            if rows.peer == Peer::Ours { many } else { many.min(50) },
            2000,
            r#"identityctl login set "$NAME" --gecos "$GECOS" >/dev/null"#,
        ),
        Peer::Files if size <= 100_000 => {
            (5, 5000, r#"sed -i "s/^\($NAME:.*:\)[^:]*\(:[^:]*:[^:]*\)$/\1$GECOS\2/" /etc/passwd"#)
        }
        Peer::Extrausers if size <= 100_000 => {
            (5, 5000, r#"sed -i "s/^\($NAME:.*:\)[^:]*\(:[^:]*:[^:]*\)$/\1$GECOS\2/" /var/lib/extrausers/passwd"#)
        }
        Peer::Nslcd | Peer::Nscd | Peer::Sss | Peer::SssNoCache => (
            20,
            3000,
            r#"printf 'dn: uid=%s,ou=people,dc=bench\nchangetype: modify\nreplace: gecos\ngecos: %s\n' "$NAME" "$GECOS" |
               ldapmodify -x -H ldap://127.0.0.1/ -D cn=admin,dc=bench -w secret >/dev/null"#,
        ),
        _ => return,
    };
    let before = rows.peer.is_ours().then(|| ours::processor_time(mosh)).flatten();
    let output = mosh
        .call([
            "/usr/local/bin/seen",
            &size.to_string(),
            &count.to_string(),
            &limit.to_string(),
            &pace.change_seconds.to_string(),
            command,
        ])
        .limit(Duration::from_secs(120))
        .run();
    if !output.ok() {
        rows.none("seen running", "nsswitch", output.stderr.lines().next().unwrap_or("took too long"));
        return;
    }
    for line in output.stdout.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).map(|us| us / 1000.0);
        match (words[0], number(1)) {
            ("late", Some(late)) if late > 0.0 => {
                rows.put(
                    "seen late",
                    "nsswitch",
                    late * 1000.0,
                    None,
                    &format!("changes not seen within {} s", limit / 1000),
                );
            }
            ("changes", Some(changes)) => rows.put("seen changes", "nsswitch", changes * 1000.0, None, ""),
            ("late", _) | (_, None) => {}
            (what, Some(p50)) => {
                rows.put(&format!("seen {what}"), "nsswitch", p50, number(2), "ms");
                if let Some(worst) = number(3) {
                    rows.put(&format!("seen {what} worst"), "nsswitch", worst, None, "ms");
                }
            }
        }
    }
    let spent = before.zip(ours::processor_time(mosh)).map(|(before, after)| after - before);
    if let Some((spent, changes)) = spent.zip(rows.value("seen changes", "nsswitch")) {
        rows.put("publish", "", spent * 1e6 / changes.max(1.0), None, "us of processor time");
    }
}

/// The directory is gone; then the peer's own daemons as well.
fn offline(mosh: &Mosh, rows: &mut Rows<'_>) {
    if rows.peer.daemons().is_empty() {
        return;
    }
    if !rows.peer.is_ours() {
        end(mosh, "slapd");
        still(mosh, rows, "away ");
    }
    end(mosh, &rows.peer.daemons().join("|"));
    still(mosh, rows, "offline ");
}

/// pkill -x takes a pattern of whole names.
fn end(mosh: &Mosh, names: &str) {
    mosh.sh(&format!("pkill -x -KILL '{names}'; for i in $(seq 100); do pgrep -x '{names}' >/dev/null || exit 0; sleep 0.05; done; exit 1")).success();
}

fn still(mosh: &Mosh, rows: &mut Rows<'_>, prefix: &str) {
    let (service, level) = (rows.peer.service(), rows.peer.level());
    let mut text = String::new();
    for kind in ["hot_name", "name", "groups", "miss"] {
        text += &look(mosh, "time", level, service, rows, &format!("20 {kind}"));
        // nslcd tries for ten seconds each time.
        if text.contains("error_after") {
            break;
        }
    }
    rows.take(prefix, level, "ns", &text);
}
