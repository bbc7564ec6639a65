//! The benchmark: look-ups over the socket against glibc's `files` with the same logins in the same run, and logins through PAM.
//!
//! `make bench` (`BENCH=docs/benchmarks`) takes 10,000 logins and writes `socket.csv` and `socket.md` there. Without BENCH a short form shows that it
//! works; no time is asserted.

use std::fmt::Write as _;
use std::path::Path;

use tests::{Mosh, boot};

const KINDS: [(&str, &str); 4] =
    [("name", "getpwnam_r"), ("uid", "getpwuid_r"), ("groups", "getgrouplist"), ("miss", "getpwnam_r, no such login")];

/// A row of the table of look-ups, in microseconds.
struct Row {
    kind: &'static str,
    source: &'static str,
    level: &'static str,
    p50: f64,
    p99: f64,
}

#[test]
fn look_ups_and_logins_are_measured() {
    let folder = std::env::var("BENCH").ok();
    let (logins, count) = if folder.is_some() { (10_000, 5_000) } else { (100, 50) };
    let load_before = load();
    let mut rows = Vec::new();
    {
        let files = boot!(Mosh::builder().bare());
        let (passwd, _, group) = account_files(logins, "*");
        for (path, lines) in [("/etc/passwd", &passwd), ("/etc/group", &group)] {
            let all = files.read(path) + lines;
            files.write(path, &all);
        }
        names(&files, logins);
        for (kind, _) in KINDS {
            // A search through 10,000 lines takes long: a fifth of the number is enough.
            rows.push(measure(&files, kind, "files", "configure", count / 5));
            rows.push(measure(&files, kind, "files", "nsswitch", count / 5));
        }
    }
    let mosh = boot!(Mosh::builder());
    let hash = mosh
        .run([
            "python3",
            "-W",
            "ignore",
            "-c",
            "import crypt; print(crypt.crypt('secret', '$5$rounds=1000$benchmark'))",
        ])
        .success();
    let (passwd, shadow, group) = account_files(logins, hash.text());
    mosh.sh("mkdir -p /tmp/import").success();
    for (name, text) in [("passwd", passwd), ("shadow", shadow), ("group", group)] {
        mosh.write(&format!("/tmp/import/{name}"), &text);
    }
    let import = mosh.run(["identityctl", "import", "/tmp/import", "--apply"]).success();
    println!("import of {logins} logins: {:.2} s", import.took.as_secs_f64());
    names(&mosh, logins);
    rows.push(Row { level: "direct, first time", ..measure(&mosh, "name", "mayfirst", "direct", count) });
    for (kind, _) in KINDS {
        // The first round fills identityd's cache.
        measure(&mosh, kind, "mayfirst", "direct", count);
        for level in ["direct", "configure", "nsswitch"] {
            rows.push(measure(&mosh, kind, "mayfirst", level, count));
        }
    }
    let pam = pam(&mosh, if folder.is_some() { 300 } else { 5 });
    let text = report(&mosh, logins, &rows, &pam, import.took.as_secs_f64(), &load_before);
    println!("{text}");
    if let Some(folder) = folder {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        std::fs::create_dir_all(&folder).expect("make the folder of the benchmarks");
        std::fs::write(folder.join("socket.md"), text).expect("write socket.md");
        std::fs::write(folder.join("socket.csv"), csv(&rows)).expect("write socket.csv");
    }
}

/// passwd, shadow and group of so many logins, each with its own group.
fn account_files(logins: u32, hash: &str) -> (String, String, String) {
    let (mut passwd, mut shadow, mut group) = (String::new(), String::new(), String::new());
    for n in 0..logins {
        let (name, id) = (format!("user{n:05}"), 20_000 + n);
        let _ = writeln!(passwd, "{name}:x:{id}:{id}:Member {n}:/home/members/users/{name}:/bin/bash");
        let _ = writeln!(shadow, "{name}:{hash}:19000:0:99999:7:::");
        let _ = writeln!(group, "{name}:x:{id}:");
    }
    (passwd, shadow, group)
}

fn names(mosh: &Mosh, logins: u32) {
    let text: String = (0..logins).map(|n| format!("user{n:05} {0} {0}\n", 20_000 + n)).collect();
    mosh.write("/tmp/names", &text);
}

#[track_caller]
fn measure(mosh: &Mosh, kind: &'static str, source: &'static str, level: &'static str, count: u32) -> Row {
    let program = mosh.c_program("bench_lookups");
    let output = mosh.run([&program, level, source, &count.to_string(), kind, "/tmp/names"]).success();
    let numbers = numbers(output.text());
    Row { kind, source, level, p50: numbers[0], p99: numbers[1] }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A whole login's p50 and p99, the p50 of its steps, and that of the hash alone.
fn pam(mosh: &Mosh, count: u32) -> Vec<f64> {
    mosh.write(
        "/etc/pam.d/screen",
        "auth required pam_mayfirst.so\naccount required pam_mayfirst.so\nsession required pam_mayfirst.so\n",
    );
    let program = mosh.c_program("bench_pam");
    let mut figures =
        numbers(mosh.run([&program, "screen", "user00042", "secret", &count.to_string()]).success().text());
    let hash = "import crypt, time\nt = []\nfor i in range(50):\n  a = time.perf_counter()\n  \
                crypt.crypt('secret', '$5$rounds=1000$benchmark')\n  t.append(time.perf_counter() - a)\nprint(sorted(t)[25] * 1e6)";
    figures.extend(numbers(mosh.run(["python3", "-W", "ignore", "-c", hash]).success().text()));
    figures
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

fn csv(rows: &[Row]) -> String {
    let mut text = String::from("look-up,source,level,p50_us,p99_us\n");
    for row in rows {
        let _ = writeln!(text, "{},{},{},{:.2},{:.2}", row.kind, row.source, row.level, row.p50, row.p99);
    }
    text
}

fn report(mosh: &Mosh, logins: u32, rows: &[Row], pam: &[f64], import: f64, load_before: &str) -> String {
    let line = |file: &str, start: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .find(|line| line.starts_with(start))
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("?")
            .to_string()
    };
    let said = |argv: &[&str]| mosh.run(argv.iter().copied()).stdout.lines().next().unwrap_or("?").to_string();
    let mut text = format!(
        "# Over the socket\n\nWritten by `make bench`. {logins} logins, each with its own group; `files` has the same ones in `/etc/passwd` and `/etc/group`, \
         in the same run.\n\n| | |\n|---|---|\n| processor | {}, {} of them |\n| kernel | {} |\n| libc | {} |\n| identityd | {} |\n\
         | load before and after | {load_before}; {} |\n\nMicroseconds. The load says how far to trust them: with others on the machine take the ratios, not the \
         digits.\n\n| look-up | through | p50 | p99 | `files`, same way, p50 | ratio of the p50 |\n|---|---|---|---|---|---|\n",
        line("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().map_or(0, usize::from),
        said(&["uname", "-r"]),
        said(&["ldd", "--version"]),
        said(&["identityd", "--version"]),
        load(),
    );
    for (kind, function) in KINDS {
        for row in rows.iter().filter(|row| row.kind == kind && row.source == "mayfirst") {
            let level = if row.level == "nsswitch" { "nsswitch" } else { "configure" };
            let files = rows.iter().find(|other| other.kind == kind && other.source == "files" && other.level == level);
            let files = files.map_or(f64::NAN, |row| row.p50);
            let through = match row.level {
                "direct" => "the module's symbol (dlopen)",
                "direct, first time" => "the same, not yet in identityd's cache",
                "configure" => "`__nss_configure_lookup(\"mayfirst\")`",
                _ => "nsswitch.conf, `files mayfirst`",
            };
            let _ = writeln!(
                text,
                "| {function} | {through} | {:.1} | {:.1} | {files:.1} | {:.2} |",
                row.p50,
                row.p99,
                row.p50 / files
            );
        }
    }
    let [whole, p99, authenticate, account, session, hash] = pam else { return text };
    let _ = writeln!(
        text,
        "\nThe look-ups of `files` search {logins} lines, ours one table; with nsswitch.conf's `files mayfirst`, `files` has the system's accounts only.\n\n\
         ## Logins through PAM\n\n`pam_start` to `pam_end` with authenticate, account and session, one after the other, `pam_mayfirst` alone in the stack, \
         the cheapest hash that libcrypt takes (SHA-256 with 1,000 rounds).\n\n| | µs |\n|---|---|\n| a login, p50 | {whole:.0} |\n| a login, p99 | {p99:.0} |\n\
         | of it authenticate, p50 | {authenticate:.0} |\n| of it account, p50 | {account:.0} |\n| of it session, p50 | {session:.0} |\n\
         | the hash alone, p50 | {hash:.0} |\n| a login without its hash | {:.0} |\n\nThat is {:.0} logins a second, one after the other, without the hash's own \
         cost.\n\n## Import\n\n`identityctl import --apply` of {logins} logins took {import:.2} s.",
        whole - hash,
        1e6 / (whole - hash)
    );
    text
}
