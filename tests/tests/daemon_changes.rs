//! A change of the directory is visible at once, however it was made, and costs the entries concerned alone.

use std::time::Duration;

use tests::limit::wide;
use tests::{Login, Mosh, boot};

const DB: &str = "/var/lib/identityd/directory.db";
const SOON: Duration = Duration::from_secs(2);

/// Commits and looks, and prints how long each change took to be seen. The clock starts when the commit has returned.
const WRITER: &str = r#"
import socket, sqlite3, struct, sys, time
db = sqlite3.connect("/var/lib/identityd/directory.db", isolation_level=None)
def passwd(name):
    s = socket.socket(socket.AF_UNIX); s.connect("/run/identityd/socket")
    s.sendall(struct.pack("<IHHQII", 0x3149464d, 1, 1, 1, len(name), 1000) + name)
    reply = b""
    while len(reply) < 24 or len(reply) < 24 + struct.unpack_from("<I", reply, 16)[0]:
        part = s.recv(65536)
        if not part: break
        reply += part
    return reply
times = []
for n in range(int(sys.argv[1])):
    db.execute("UPDATE login SET gecos = ? WHERE name = 'ana'", (f"change {n};",))
    began = time.monotonic()
    while f"change {n};".encode() not in passwd(b"ana"):
        if time.monotonic() - began > float(sys.argv[2]): sys.exit(f"change {n} was not seen within {sys.argv[2]} s")
    times.append((time.monotonic() - began) * 1000)
    time.sleep(0.01)
times.sort()
print(f"median {times[len(times) // 2]:.2f} ms, p99 {times[len(times) * 99 // 100]:.2f} ms, worst {times[-1]:.2f} ms")
"#;

/// The poll is switched off, in effect: what is seen was noticed.
macro_rules! machine {
    () => {{
        let mosh = boot!(Mosh::builder().logins(["ana", "ben"].map(Login::new)).without_daemon());
        mosh.configure("directory", "poll = \"60s\"");
        mosh.daemon().start();
        mosh
    }};
}

fn sql(mosh: &Mosh, statement: &str) {
    mosh.call(["setpriv", "--reuid=identityd", "--regid=identityd", "--clear-groups", "sqlite3", DB])
        .stdin(format!("PRAGMA foreign_keys = ON;\n{statement}\n"))
        .run()
        .success();
}

fn soon(mosh: &Mosh, what: &str, command: &str) {
    mosh.wait_until(what, SOON, |mosh| mosh.sh(command).ok());
}

fn how_many(normal: usize) -> String {
    std::env::var("CHANGES").unwrap_or_else(|_| normal.to_string())
}

#[test]
fn changes_by_plain_sql_are_seen_without_anybody_telling() {
    let mosh = machine!();
    mosh.write("/writer.py", WRITER);
    let writer =
        mosh.call(["setpriv", "--reuid=identityd", "--regid=identityd", "--clear-groups", "python3", "/writer.py"]);
    let limit = wide(Duration::from_secs(5)).as_secs().to_string();
    println!("by SQL: {}", writer.argument(&how_many(30)).argument(&limit).run().success().text());
}

#[test]
fn changes_by_identityctl_are_seen_when_it_returns() {
    let mosh = machine!();
    let script = r#"
        for n in $(seq "$1"); do
            identityctl login set ana --gecos "change $n" >/dev/null || exit 2
            began=$(date +%s%N)
            getent passwd ana | grep -q ":change $n:" || { echo "change $n is not visible"; exit 1; }
            echo $((($(date +%s%N) - began) / 1000))
        done"#;
    let times = mosh.run(["sh", "-c", script, "sh", &how_many(10)]).success();
    let mut times: Vec<u32> = times.stdout.lines().map(|line| line.parse().unwrap()).collect();
    times.sort_unstable();
    println!(
        "by identityctl: getent afterwards, median {} us, worst {} us",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

#[test]
fn every_kind_of_change_is_seen() {
    let mosh = machine!();
    // Asked before, so that each answer is in the cache, the negative ones too.
    mosh.sh("getent passwd carol; getent group web; id ana; getent group ana; getent passwd ben");
    mosh.identityctl(["login", "add", "carol", "--capabilities", "sftp"]).success();
    mosh.sh("getent passwd carol && id -nG carol | grep -qw sftp-only").success();
    mosh.identityctl(["group", "add", "web"]).success();
    mosh.identityctl(["group", "add-member", "web", "ana"]).success();
    mosh.sh("id -nG ana | grep -qw web && getent group web | grep -q ana").success();
    mosh.identityctl(["login", "set", "carol", "--allow", "shell"]).success();
    mosh.sh("id -nG carol | grep -qw sftp-only").failure();
    mosh.sh("getent group sftp-only | grep -q carol").failure();
    mosh.identityctl(["login", "rename", "ana", "anna"]).success();
    mosh.sh("getent passwd ana").exit(2);
    mosh.sh("getent passwd anna && getent group web | grep -q anna").success();
    mosh.identityctl(["group", "remove-member", "web", "anna"]).success();
    mosh.sh("id -nG anna | grep -qw web").failure();
    mosh.identityctl(["login", "remove", "ben"]).success();
    mosh.sh("getent passwd ben").exit(2);
}

#[test]
fn the_same_by_plain_sql() {
    let mosh = machine!();
    mosh.sh("getent passwd ana; getent passwd anna; id ana; getent group web");
    sql(
        &mosh,
        "INSERT INTO unix_group (gid, name) VALUES (5000, 'web'); INSERT INTO group_member SELECT 5000, uid FROM login WHERE name = 'ana';",
    );
    soon(&mosh, "ana is in web", "id -nG ana | grep -qw web");
    sql(&mosh, "UPDATE login SET name = 'anna' WHERE name = 'ana';");
    soon(&mosh, "ana is called anna", "getent passwd anna && ! getent passwd ana && getent group web | grep -q anna");
    sql(&mosh, "UPDATE login SET shell = '/bin/sh' WHERE name = 'anna';");
    soon(&mosh, "the shell has changed", "getent passwd anna | grep -q ':/bin/sh$'");
    sql(&mosh, "DELETE FROM group_member; DELETE FROM unix_group WHERE gid = 5000;");
    soon(&mosh, "web is gone", "! getent group web && ! id -nG anna | grep -qw web");
}

#[test]
fn local_accounts_that_come_and_go_are_seen() {
    let mosh = machine!();
    mosh.run(["getent", "passwd", "ana"]).success();
    mosh.sh("useradd -u 1777 -M carol && useradd -u 1778 -M -d /srv dora").success();
    mosh.identityctl(["login", "add", "dora"]);
    let dora = mosh.sh("getent passwd dora").success();
    assert!(dora.stdout.contains(":1778:"), "{dora}");
    // A local account takes the name of a login: from now on the login is not served.
    mosh.sh("echo 'ben:x:1779:1779::/:/bin/sh' >>/etc/passwd").success();
    mosh.wait_until("ben is a local account", SOON, |mosh| {
        mosh.identityctl(["why", "ben", "--json"]).stdout.contains("local accounts win")
    });
}

#[test]
fn one_change_costs_the_entries_concerned_alone() {
    let mosh = boot!(Mosh::builder().logins(["ana", "ben"].map(Login::new)).lookup());
    let counted = |mosh: &Mosh, name: &str| -> u64 {
        let metrics = mosh.metrics();
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
    };
    mosh.sh("id ana; id ben; getent group ana; getent group ben").success();
    mosh.identityctl(["login", "set", "ana", "--gecos", "x"]).success();
    assert_eq!(counted(&mosh, "identityd_cache_flushes_total"), 0);
    let before = counted(&mosh, "identityd_cache_requests_total{result=\"miss\"}");
    mosh.sh("getent passwd ben; getent group ben; getent group ana").success();
    assert_eq!(counted(&mosh, "identityd_cache_requests_total{result=\"miss\"}"), before);
    mosh.sh("getent passwd ana").success();
    assert_eq!(counted(&mosh, "identityd_cache_requests_total{result=\"miss\"}"), before + 1);
}
