//! What is measured of each peer, by the programs in `tests/c/bench`, inside its machine.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Mosh;

use super::peer::Peer;
use super::progress::Progress;
use super::table::{Row, Table};
use super::{BenchError, ours, setup};

/// Before the measures of the empty module that take turns with this one's.
pub(super) const FLOOR: &str = "floor ";
/// Before the measures of this module that take turns with a peer's, in the peer's machine.
pub(super) const BESIDE: &str = "mayfirst ";
/// Before the list of glibc's files that takes turns with this module's.
pub(super) const BESIDE_FILES: &str = "files ";
/// How often those that are held against each other take turns. The processors of a virtual machine have slow phases of seconds; each one's best turn counts, so that a ratio
/// is one of modules and not of phases.
const TURNS: u32 = 5;

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
    let service = rows.peer.service();
    let beside = match rows.peer {
        Peer::Ours => Some((Peer::Empty.service(), level, FLOOR)),
        Peer::Sss | Peer::Nscd if level == rows.peer.level() && restored_snapshot(mosh, rows) => {
            Some((Peer::Ours.service(), Peer::Ours.level(), BESIDE))
        }
        _ => None,
    };
    let Some((other, other_level, prefix)) = beside else {
        let text = time_of(mosh, rows, level, service, rows.pace.round);
        return rows.take("", level, "ns", &text);
    };
    // As long in all as a peer's that is measured alone.
    let round = (rows.pace.round / TURNS).max(1);
    let (mut others, mut own) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        // Only where it counts: nscd forgets all that it knows when the file is written.
        if other_level == "nsswitch" {
            setup::name_service(mosh, other);
        }
        others.push(time_of(mosh, rows, other_level, other, round));
        if other_level == "nsswitch" {
            setup::name_service(mosh, service);
        }
        own.push(time_of(mosh, rows, level, service, round));
    }
    rows.take(prefix, other_level, "ns", &best(&others));
    rows.take("", level, "ns", &best(&own));
}

fn time_of(mosh: &Mosh, rows: &Rows<'_>, level: &str, service: &str, round: u32) -> String {
    let kinds = "hot_name name hot_uid uid hot_groups groups largest";
    let mut text = look(mosh, "time", level, service, rows, &format!("{round} {kinds}"));
    if service == "empty" {
        // The floor of unknown names has a module of its own.
        if level == "nsswitch" {
            setup::name_service(mosh, "absent");
        }
        text += &look(mosh, "time", level, "absent", rows, &format!("{round} miss"));
        if level == "nsswitch" {
            setup::name_service(mosh, service);
        }
    } else {
        text += &look(mosh, "time", level, service, rows, &format!("{round} miss"));
    }
    text
}

/// Of the lines of several turns the one of each measure with the least p50; one that has no number voids all of its measure.
fn best(turns: &[String]) -> String {
    let mut all: Vec<(&str, f64, &str)> = Vec::new();
    for line in turns.iter().flat_map(|turn| turn.lines()) {
        let mut words = line.split(' ');
        let measure = words.next().unwrap_or_default();
        let value = words.next().and_then(|word| word.parse().ok()).unwrap_or(f64::NEG_INFINITY);
        match all.iter_mut().find(|known| known.0 == measure) {
            Some(known) if value < known.1 => *known = (measure, value, line),
            Some(_) => {}
            None => all.push((measure, value, line)),
        }
    }
    all.iter().map(|(_, _, line)| format!("{line}\n")).collect()
}

/// Puts the files that identityd published in this module's machine, of the same logins, into the machine of a peer: the module needs nothing else to answer.
fn restored_snapshot(mosh: &Mosh, rows: &Rows<'_>) -> bool {
    setup::restore(ours::kept_snapshot(rows.size).as_deref(), &mosh.outside(ours::SNAPSHOT))
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
    if rows.peer != Peer::Ours || rows.size > 100_000 {
        let text = look(mosh, "list", level, rows.peer.service(), rows, "");
        return rows.take("", level, "ms", &text);
    }
    // Beside glibc's files with the same logins, which are local ones for that program alone.
    let size = rows.size;
    mosh.sh(&format!("fill passwd {size} >/tmp/passwd.all")).success();
    let files = format!(
        "mount --bind /tmp/passwd.all /etc/passwd && look list {level} {} {size} {size}",
        Peer::Files.service()
    );
    let (mut others, mut own) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        others.push(mosh.run(["unshare", "-m", "/bin/sh", "-c", &files]).stdout);
        own.push(look(mosh, "list", level, rows.peer.service(), rows, ""));
    }
    rows.take(BESIDE_FILES, level, "ms", &best(&others));
    rows.take("", level, "ms", &best(&own));
}

/// p50 and p99 in µs, as `fresh` prints them, behind the name of the measure.
fn fresh(mosh: &Mosh, measure: &str, arguments: &str) -> String {
    let line = format!("fresh {arguments}");
    let output = mosh.call(["/bin/sh", "-c", &line]).limit(Duration::from_secs(120)).run();
    let said = if output.ok() { output.text() } else { output.stderr.lines().next().unwrap_or("failed") };
    let said = if output.ok() { said.to_string() } else { said.replace(' ', "_") };
    format!("{measure} {said}\n")
}

/// Notes it.
fn note_fresh(rows: &mut Rows<'_>, text: &str) {
    // The names of measures have spaces, which end a word.
    for line in text.lines() {
        let (measure, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<f64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
        match words.as_slice() {
            [p50, p99] => rows.put(&measure.replace('_', " "), "nsswitch", *p50, Some(*p99), "us"),
            _ => rows.none(&measure.replace('_', " "), "nsswitch", &rest.replace('_', " ")),
        }
    }
}

/// Through nsswitch.conf, as every new process does it.
fn processes(mosh: &Mosh, rows: &mut Rows<'_>) {
    let slow = rows.value("name", rows.peer.level()).is_none_or(|ns| ns > 2e6);
    let count = if slow { rows.pace.processes.min(10) } else { rows.pace.processes };
    let name = first_name(mosh, rows.size);
    // All of a turn before the next: each is held against another of them.
    let turns = if count < TURNS * 10 { 1 } else { TURNS };
    let texts: Vec<_> = (0..turns).map(|_| processes_of(mosh, rows, &name, count / turns)).collect();
    note_fresh(rows, &best(&texts));
    ls(mosh, rows);
}

fn processes_of(mosh: &Mosh, rows: &Rows<'_>, name: &str, count: u32) -> String {
    let service = rows.peer.service();
    let mut text = String::new();
    if rows.peer == Peer::Ours {
        text += &fresh(mosh, "floor_load", &format!("load libnss_empty.so.2 {count}"));
    }
    if service != "files" {
        text += &fresh(mosh, "load", &format!("load libnss_{service}.so.2 {count}"));
    }
    text += &fresh(mosh, "first", &format!("first {name} {count}"));
    if rows.peer == Peer::Ours {
        text += &first_of_ten(mosh, count);
        setup::name_service(mosh, service);
    }
    text += &fresh(mosh, "true", &format!("run {count} /bin/true"));
    text + &fresh(mosh, "id", &format!("run {count} /usr/bin/id {name}"))
}

/// The first look-up with libnss-extrausers on a server with a handful of logins, as small as its files get.
fn first_of_ten(mosh: &Mosh, count: u32) -> String {
    setup::name_service(mosh, Peer::Extrausers.service());
    mosh.sh("mkdir -p /var/lib/extrausers; cd /var/lib/extrausers; for f in passwd group; do fill $f 10 | head -n 10 >$f; done; touch shadow")
        .success();
    let one = mosh.sh("tail -n 1 /var/lib/extrausers/passwd | cut -d : -f 1").success();
    fresh(mosh, "first_of_10", &format!("first {} {count}", one.text()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_turns_the_best_counts_and_a_wrong_answer_voids_all() {
        let turns = [
            "name 50.0 60.0 9\nuid 40.0 41.0 9\n",
            "name 45.0 99.0 9\nuid wrong\n",
            "name 47.0 48.0 9\nuid 30.0 31.0 9\n",
        ];
        assert_eq!(best(&turns.map(String::from)), "name 45.0 99.0 9\nuid wrong\n");
    }
}
