//! Servers of a directory that are worse than dead: they take a connection and never answer, drop it, send something else, or a byte at a time. The next one is asked.

use std::time::{Duration, Instant};

use tests::mosh::LdapLogin;
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);
const WAYS: [&str; 6] = ["silent", "closes", "resets", "garbage", "half", "drips"];

/// Listens on 127.0.0.1:PORT and treats everybody in the way that stands in /tmp/way.
const BROKEN: &str = r#"
import socket, struct, sys, threading, time
def treat(peer):
    way = open("/tmp/way").read()
    try:
        if way == "closes":
            peer.recv(64)
        elif way == "resets":
            peer.recv(64)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way == "garbage":
            peer.sendall(bytes(range(256)) * 64)
            time.sleep(60)
        elif way == "half":
            # The beginning of an answer in LDAP, or of a greeting of MariaDB, and no more.
            peer.sendall(b"\x30\x84\x00\x00\x00\x40\x02\x01" if sys.argv[2] == "ldap" else b"\x4a\x00\x00\x00\x0a5.5.5-10.11")
            time.sleep(60)
        elif way == "drips":
            while True:
                peer.sendall(b"\x30" if sys.argv[2] == "ldap" else b"\x4a")
                time.sleep(0.1)
        else:
            time.sleep(60)
    except OSError:
        pass
    peer.close()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    threading.Thread(target=treat, args=(server.accept()[0],), daemon=True).start()
"#;

fn broken(mosh: &Mosh, port: u16, of: &str) {
    mosh.write("/tmp/way", "silent");
    mosh.write("/tmp/broken.py", BROKEN);
    mosh.background(&format!("exec python3 /tmp/broken.py {port} {of}"));
    mosh.listening(port);
}

/// identityd starts anew for each way: it has no good connection, and does not know that the first server is bad.
fn the_other_one_answers(mosh: &Mosh, ask: impl Fn(&Mosh) -> bool) {
    for way in WAYS {
        mosh.daemon().stop();
        mosh.sh("rm -rf /run/identityd/snapshot /var/lib/identityd/snapshot").success();
        mosh.write("/tmp/way", way);
        mosh.daemon().start();
        let began = Instant::now();
        mosh.wait_until(&format!("an answer beside a server that is {way}"), SOON, &ask);
        println!("{way}: {:?}", began.elapsed());
        assert!(mosh.daemon().alive(), "{}", mosh.journal());
    }
}

#[test]
fn a_broken_ldap_server_is_passed_over() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&LdapLogin::new("ana", 20_001).capability("shell").ldif());
    broken(&mosh, 3890, "ldap");
    mosh.ldap_directory(&["ldap://127.0.0.1:3890".into(), slapd.url()], "");
    mosh.daemon().launch();
    the_other_one_answers(&mosh, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

#[test]
fn a_broken_mariadb_server_is_passed_over() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let db = mosh.mariadb(1);
    db.apply_schema();
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL)");
    broken(&mosh, 3399, "mariadb");
    mosh.use_mariadb(&["127.0.0.1:3399".into(), db.socket()], "plaintext = true");
    mosh.daemon().launch();
    the_other_one_answers(&mosh, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}
