//! Servers of a directory that are worse than dead: they take a connection and never answer, drop it, send something else, or a byte at a time. The next one is asked.

use std::time::Duration;

use tests::mosh::LdapLogin;
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);
/// An answer from the other server, from the start of identityd on.
const PROMISED: Duration = Duration::from_secs(2);
const WAYS: [&str; 6] = ["silent", "closes", "resets", "garbage", "half", "drips"];

/// Listens on 127.0.0.1:PORT and treats everybody in the way that stands in /tmp/way.
const BROKEN: &str = r#"
import socket, struct, sys, threading, time
def treat(peer):
    way = open("/tmp/way").read()
    open("/tmp/asked", "a").write(way + "\n")
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

/// Speaks LDAP over TLS, or MariaDB's protocol, well enough to be believed, and lies in the way that stands in /tmp/way.
const LYING: &str = r#"
import socket, ssl, sys, threading
def exactly(peer, count):
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data

def tlv(tag, content):
    size = len(content)
    return bytes([tag]) + (bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")) + content
def ldap_message(number, op):
    return tlv(0x30, tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) + op)
def result(tag):
    return tlv(tag, b"\x0a\x01\x00\x04\x00\x04\x00")
def attribute(name, *values):
    return tlv(0x30, tlv(4, name.encode()) + tlv(0x31, b"".join(tlv(4, value.encode()) for value in values)))
MALLORY = tlv(0x64, tlv(4, b"uid=mallory,ou=logins,dc=example,dc=org") + tlv(0x30,
    attribute("objectClass", "posixAccount", "mayfirstLogin") + attribute("uid", "mallory") + attribute("cn", "mallory")
    + attribute("uidNumber", "20666") + attribute("gidNumber", "20666") + attribute("homeDirectory", "/home/mallory")
    + attribute("loginShell", "/bin/bash") + attribute("mayfirstCapability", "shell")
    + attribute("entryUUID", "11111111-2222-3333-4444-555555555555") + attribute("createTimestamp", "20200101000000Z")))
def ldap(peer, way):
    while True:
        head = exactly(peer, 2)
        size = head[1]
        if size >= 128:
            size = int.from_bytes(exactly(peer, size - 128), "big")
        body = exactly(peer, size)
        number, op = int.from_bytes(body[2:2 + body[1]], "big"), body[2 + body[1]]
        if op == 0x60:
            peer.sendall(ldap_message(number, result(0x61)))
        elif op == 0x63:
            asked(way)
            if way == "answers to another question":
                peer.sendall(ldap_message(number + 7, MALLORY) + ldap_message(number + 7, result(0x65)))
            elif way == "answers as if something else was asked":
                peer.sendall(ldap_message(number, result(0x67)))
            elif way == "finds another entry":
                peer.sendall(ldap_message(number, MALLORY) + ldap_message(number, result(0x65)))
            else:
                peer.sendall(ldap_message(number, result(0x65)))
        elif op == 0x42:
            return

OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
def text(value):
    return bytes([len(value)]) + value.encode()
COLUMN = text("def") + text("") * 3 + text("name") * 2 + b"\x0c\x2d\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
def mariadb(peer, way):
    def send(number, *packets):
        for packet in packets:
            peer.sendall(len(packet).to_bytes(3, "little") + bytes([number % 256]) + packet)
            number += 1
    def receive():
        head = exactly(peer, 4)
        return exactly(peer, int.from_bytes(head[:3], "little"))
    able = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x20000 | 0x80000
    send(0, b"\x0a5.5.5-10.11.6-MariaDB\x00" + b"\x07\x00\x00\x00" + b"12345678\x00" + (able & 0xffff).to_bytes(2, "little") + b"\x2d\x02\x00"
        + (able >> 16).to_bytes(2, "little") + b"\x15" + bytes(10) + b"123456789012\x00" + b"mysql_native_password\x00")
    receive()
    send(2, OK)
    while True:
        command = receive()
        first = 9 if way == "answers to another question" else 1
        asked(way)
        if command[0] == 0x01:
            return
        elif command[0] == 0x19:
            continue
        elif command[0] == 0x16:
            columns = 1 if way == "finds another entry" else 0
            send(first, b"\x00\x01\x00\x00\x00" + columns.to_bytes(2, "little") + bytes(5), *([COLUMN, EOF] if columns else []))
        elif way == "finds another entry" and command[0] == 0x17:
            send(first, b"\x01", COLUMN, EOF, b"\x00\x00" + text("mallory"), EOF)
        elif way == "finds another entry" and command[0] == 0x03:
            send(first, b"\x01", COLUMN, EOF, text("mallory"), EOF)
        else:
            send(first, OK)

def asked(way):
    open("/tmp/asked", "a").write(way + "\n")
def treat(peer):
    way = open("/tmp/way").read()
    try:
        if way == "silent":
            threading.Event().wait(60)
        elif sys.argv[2] == "ldap":
            ldap(context.wrap_socket(peer, server_side=True), way)
        else:
            mariadb(peer, way)
    except OSError:
        pass
    peer.close()
if sys.argv[2] == "ldap":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/srv/slapd/tls/server.pem", "/srv/slapd/tls/server.key")
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    threading.Thread(target=treat, args=(server.accept()[0],), daemon=True).start()
"#;

fn serve(mosh: &Mosh, program: &str, port: u16, of: &str) {
    mosh.write("/tmp/way", "silent");
    mosh.write("/tmp/broken.py", program);
    mosh.background(&format!("exec python3 /tmp/broken.py {port} {of}"));
    mosh.listening(port);
}

/// identityd starts anew for each way: it has no good connection, and does not know that the first server is bad.
fn the_other_one_answers(mosh: &Mosh, ways: &[&str], ask: impl Fn(&Mosh) -> bool) {
    for way in ways {
        mosh.daemon().stop();
        mosh.sh("rm -rf /run/identityd/snapshot /var/lib/identityd/snapshot").success();
        mosh.write("/tmp/way", way);
        // Not `start`, which waits for a first publication: the time counts from here on.
        mosh.daemon().launch();
        mosh.wait_until("identityd listens", SOON, |mosh| mosh.exists("/run/identityd/socket"));
        mosh.promised(PROMISED, &format!("an answer beside a server that is {way}"), &ask);
        // It may note that after the other one's answer.
        mosh.wait_until(&format!("somebody has asked the server that is {way}"), SOON, |mosh| {
            mosh.try_read("/tmp/asked").unwrap_or_default().lines().any(|asked| asked == *way)
        });
        assert!(mosh.daemon().alive(), "{}", mosh.journal());
    }
}

#[test]
fn a_broken_ldap_server_is_passed_over() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&LdapLogin::new("ana", 20_001).capability("shell").ldif());
    serve(&mosh, BROKEN, 3890, "ldap");
    mosh.ldap_directory(&["ldap://127.0.0.1:3890".into(), slapd.url()], "");
    mosh.daemon().launch();
    the_other_one_answers(&mosh, &WAYS, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

#[test]
fn a_broken_mariadb_server_is_passed_over() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let db = mosh.mariadb(1);
    db.apply_schema();
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL)");
    serve(&mosh, BROKEN, 3399, "mariadb");
    mosh.use_mariadb(&["127.0.0.1:3399".into(), db.socket()], "plaintext = true");
    mosh.daemon().launch();
    the_other_one_answers(&mosh, &WAYS, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}

const LIES: [&str; 4] =
    ["answers to another question", "answers as if something else was asked", "finds another entry", "finds nothing"];

#[test]
fn a_lying_ldap_server_is_passed_over() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let slapd = mosh.slapd(&LdapLogin::new("ana", 20_001).capability("shell").ldif());
    serve(&mosh, LYING, 3891, "ldap");
    mosh.ldap_directory(&["ldaps://localhost:3891".into(), slapd.url()], "");
    mosh.daemon().launch();
    // What is left over is the answers of a directory with other contents: nobody can know who is right, unless the other one has been seen before.
    the_other_one_answers(&mosh, &LIES[..2], |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    for (mode, lie) in [("replica", LIES[2]), ("replica", LIES[3]), ("lookup", LIES[2]), ("lookup", LIES[3])] {
        mosh.daemon().stop();
        mosh.sh("rm -rf /run/identityd/snapshot /var/lib/identityd/snapshot /tmp/asked").success();
        mosh.write("/tmp/way", "silent");
        mosh.sh(&format!(
            "sed -i '/^mode = /d; s/^\\[snapshot\\]$/&\\nmode = \"{mode}\"/' /etc/identityd/identityd.toml"
        ))
        .success();
        mosh.daemon().start();
        mosh.wait_until("the good server is followed", SOON, |mosh| {
            let started = mosh.journal();
            let started = started.rsplit("identityd::daemon::run: ready").next().unwrap_or_default();
            started.contains("following the directory's changes") && mosh.run(["getent", "passwd", "ana"]).ok()
        });
        mosh.write("/tmp/way", lie);
        mosh.wait_until(&format!("the server that {lie} was asked"), SOON, |mosh| mosh.exists("/tmp/asked"));
        let fresh = format!("{mode}{}", lie.len());
        slapd.add_entries(&LdapLogin::new(&fresh, 21_000 + lie.len() as u32).ldif()).success();
        mosh.promised(PROMISED, &format!("{mode}: a new login beside a server that {lie}"), |mosh| {
            mosh.run(["getent", "passwd", &fresh]).ok()
        });
        assert!(mosh.run(["getent", "passwd", "ana"]).ok(), "{mode}, {lie}: {}", mosh.journal());
        mosh.run(["getent", "passwd", "mallory"]).exit(2);
        slapd.remove(&LdapLogin::dn(&fresh)).success();
    }
}

#[test]
fn a_lying_mariadb_server_is_passed_over() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let db = mosh.mariadb(1);
    db.apply_schema();
    db.sql("CALL new_login('ana', 'Ana', NULL, NULL, NULL)");
    serve(&mosh, LYING, 3399, "mariadb");
    mosh.use_mariadb(&["127.0.0.1:3399".into(), db.socket()], "plaintext = true");
    mosh.daemon().launch();
    the_other_one_answers(&mosh, &LIES, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
}
