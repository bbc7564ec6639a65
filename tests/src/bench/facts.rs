//! Machine, versions, date and load: rows of the table without a peer.

use std::time::Duration;

use crate::Mosh;

use super::measure::Pace;
use super::table::{Row, Table};
use super::{BenchError, setup};

/// What the machine is, before anything runs; and what a load from its memory costs.
pub(super) fn collect(table: &mut Table, pace: Pace) -> Result<(), BenchError> {
    let mosh = Mosh::builder().without_daemon().start()?;
    table.forget("machine", 0);
    let mut fact = |name: &str, text: &str| table.push(Row::absent("machine", 0, name, "", text.trim()));
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches([' ', '\t', ':']);
    fact("load before", read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ").as_str());
    fact("processor", &format!("{model} × {}", std::thread::available_parallelism().map_or(0, usize::from)));
    fact("kernel", &read("/proc/sys/kernel/osrelease"));
    let memory = read("/proc/meminfo").split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    fact("memory", &format!("{} GiB", memory / (1 << 20)));
    let asked = |name: &str| std::env::var(name).map(|value| format!(" {name}='{value}'")).unwrap_or_default();
    fact("command", &format!("make bench{}{}{}", asked("SIZES"), asked("PEERS"), asked("BENCH_ALL")));
    fact("date", mosh.run(["date", "-u", "+%Y-%m-%d %H:%M UTC"]).text());
    fact("identityd", mosh.run(["identityd", "--version"]).text());
    let packages = [
        "libc6",
        "libnss-extrausers",
        "libnss-ldapd",
        "nslcd",
        "nscd",
        "sssd-ldap",
        "libnss-sss",
        "slapd",
        "coreutils",
    ];
    let versions = mosh.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n"].into_iter().chain(packages));
    for line in versions.stdout.lines() {
        if let Some((package, version)) = line.split_once(' ') {
            fact(package, version);
        }
    }
    let sizes = mosh.sh("stat -c '%n %s' /usr/lib/*/libnss_mayfirst.so.2 /usr/lib/*/libnss_sss.so.2 /usr/lib/*/libnss_ldap.so.2 /usr/lib/*/libnss_extrausers.so.2");
    for line in sizes.stdout.lines() {
        if let Some((path, bytes)) = line.rsplit_once(' ') {
            fact(path.rsplit('/').next().unwrap_or(path), &format!("{bytes} bytes"));
        }
    }
    if !pace.chase {
        return Ok(());
    }
    setup::programs(&mosh);
    for line in mosh.run(["chase"]).stdout.lines() {
        let Some((kib, ns)) = line.split_once(' ') else { continue };
        if let Ok(ns) = ns.parse() {
            table.push(Row::new("machine", 0, &format!("chase {kib}"), "", ns, "ns"));
        }
    }
    Ok(())
}

pub(super) fn finish(table: &mut Table, took: Duration) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    table.push(Row::absent("machine", 0, "load after", "", &load.split(' ').take(3).collect::<Vec<_>>().join(" ")));
    table.push(Row::new("machine", 0, "run", "", took.as_secs_f64(), "s"));
}
