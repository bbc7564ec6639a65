//! Logins through PAM, timed. `make bench` (`BENCH=docs/benchmarks`) takes 300 of them and writes `logins.md` there; look-ups are measured by
//! `tests/src/bench`. Without BENCH a short form shows that it works; no time is asserted.

use std::fmt::Write as _;
use std::path::Path;

use tests::{Mosh, boot};

#[test]
fn logins_are_measured() {
    let folder = std::env::var("BENCH").ok();
    let (logins, count) = if folder.is_some() { (10_000, 300) } else { (100, 5) };
    let load_before = load();
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
    let pam = pam(&mosh, count);
    let text = report(&mosh, logins, &pam, import.took.as_secs_f64(), &load_before);
    println!("{text}");
    if let Some(folder) = folder {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        std::fs::create_dir_all(&folder).expect("make the folder of the benchmarks");
        std::fs::write(folder.join("logins.md"), text).expect("write logins.md");
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

fn report(mosh: &Mosh, logins: u32, pam: &[f64], import: f64, load_before: &str) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("?")
        .trim_start_matches(['\t', ' ', ':']);
    let said = |argv: &[&str]| mosh.run(argv.iter().copied()).stdout.lines().next().unwrap_or("?").to_string();
    let mut text = format!(
        "# Logins through PAM\n\nWritten by `make bench`, with {logins} logins in the directory.\n\n| | |\n|---|---|\n| processor | {model}, {} of them |\n\
         | kernel | {} |\n| libc | {} |\n| identityd | {} |\n| load before and after | {load_before}; {} |\n\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        said(&["uname", "-r"]),
        said(&["ldd", "--version"]),
        said(&["identityd", "--version"]),
        load(),
    );
    let [whole, p99, authenticate, account, session, hash] = pam else { return text };
    let _ = writeln!(
        text,
        "`pam_start` to `pam_end` with authenticate, account and session, one after the other, `pam_mayfirst` alone in the stack, \
         the cheapest hash that libcrypt takes (SHA-256 with 1,000 rounds).\n\n| | µs |\n|---|---|\n| a login, p50 | {whole:.0} |\n| a login, p99 | {p99:.0} |\n\
         | of it authenticate, p50 | {authenticate:.0} |\n| of it account, p50 | {account:.0} |\n| of it session, p50 | {session:.0} |\n\
         | the hash alone, p50 | {hash:.0} |\n| a login without its hash | {:.0} |\n\nThat is {:.0} logins a second, one after the other, without the hash's own \
         cost.\n\n## Import\n\n`identityctl import --apply` of {logins} logins took {import:.2} s.",
        whole - hash,
        1e6 / (whole - hash)
    );
    text
}
