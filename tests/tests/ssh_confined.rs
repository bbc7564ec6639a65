//! A login without `shell` gets files over ssh and nothing else, whatever sshd's configuration came to; and a captured daemon opens no account of
//! the server.

use std::process::Command;

use tests::mosh::{Auth, Output};
use tests::{Login, Mosh, boot};

/// Any daemon's place on the socket. `keys FILE` gives that key for every name; `drop OP…` passes on to the real daemon but closes on these
/// operations; `drop session` closes on OpenSession.
const IN_BETWEEN: &str = r#"
import os, socket, struct, sys, threading
path = '/run/identityd/socket'
mode, words = sys.argv[1], sys.argv[2:]
if mode == 'drop':
    os.rename(path, path + '.real')
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o666)
listener.listen(100)
print('listens', flush=True)

def read(stream, size):
    data = b''
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more: raise EOFError
        data += more
    return data

def frame(stream):
    head = read(stream, 24)
    _, _, kind, ident, size, _ = struct.unpack('<4sHHQII', head)
    return head, kind, ident, read(stream, size)

def varint(number):
    data = b''
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])

def give_keys(client):
    head, kind, ident, body = frame(client)
    print(kind, body, flush=True)
    if kind == 64:
        line = open(words[0], 'rb').read().strip()
        body = b'\x02\x01' + varint(len(line)) + line
        client.sendall(struct.pack('<4sHHQII', b'MFI1', 1, 0, ident, len(body), 0) + body)
    else:
        client.sendall(struct.pack('<4sHHQII', b'MFI1', 1, 2, ident, 0, 0))

def pass_on(client):
    with socket.socket(socket.AF_UNIX) as real:
        real.connect(path + '.real')
        while True:
            head, kind, ident, body = frame(client)
            if str(kind) in words or (kind == 64 and body[0] == 4 and 'session' in words):
                print('dropped', kind, flush=True)
                return
            real.sendall(head + body)
            while True:
                head, kind, ident, body = frame(real)
                client.sendall(head + body)
                if kind != 7: break

def serve(client):
    with client:
        try:
            give_keys(client) if mode == 'keys' else pass_on(client)
        except (EOFError, OSError):
            pass

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// Lets something else sit on the socket, as this user.
fn in_between(mosh: &Mosh, user: &str, words: &str) {
    mosh.write("/usr/local/bin/in-between.py", IN_BETWEEN);
    mosh.background(&format!(
        "exec setpriv --reuid {user} --regid {user} --clear-groups python3 /usr/local/bin/in-between.py {words} >/tmp/in-between.log"
    ));
    mosh.wait_until("something sits on the socket", std::time::Duration::from_secs(10), |mosh| {
        mosh.try_read("/tmp/in-between.log").is_ok_and(|log| log.contains("listens"))
    });
}

/// A key pair of the machine's root.
const KEY: &str = "/root/.ssh/key";

fn make_key(mosh: &Mosh) -> String {
    mosh.sh(&format!("mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -C '' -f {KEY}")).success();
    mosh.read(&format!("{KEY}.pub")).trim().to_owned()
}

/// ssh with more arguments before the login.
fn ssh(mosh: &Mosh, login: &str, before: &str, after: &str) -> Output {
    mosh.call(["/bin/sh", "-c", &format!(
        "timeout 20 sshpass -e ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
         -o PreferredAuthentications=password -o NumberOfPasswordPrompts=1 {before} {login}@127.0.0.1 {after} </dev/null"
    )])
    .env("SSHPASS", "secret")
    .run()
}

/// Whether the login can use a TCP port, and a socket of the Unix domain, of the server.
fn forwards(mosh: &Mosh, login: &str) -> (bool, bool) {
    let port = ssh(mosh, login, "-W 127.0.0.1:22", "").stdout.starts_with("SSH-2.0");
    let script = format!(
        r#"timeout 20 sshpass -e ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
               -o PreferredAuthentications=password -N -L 7779:/run/identityd/socket {login}@127.0.0.1 </dev/null >/dev/null 2>&1 &
           ssh=$!
           python3 -c "
import socket, struct, time
end = time.monotonic() + 10
while time.monotonic() < end:
    try:
        stream = socket.create_connection(('127.0.0.1', 7779), 5)
        break
    except OSError:
        time.sleep(0.05)
stream.sendall(struct.pack('<4sHHQII', b'MFI1', 1, 1, 7, 4, 1000) + b'root')
print(len(stream.recv(24)))"
           kill $ssh; wait $ssh 2>/dev/null"#
    );
    let socket = mosh.call(["/bin/sh", "-c", &script]).env("SSHPASS", "secret").run();
    (port, socket.text() == "24")
}

/// A machine with ana (a shell), radio (sftp only) and loc (the server's own), where sshd has no restriction for sftp-only logins.
macro_rules! without_match {
    () => {
        boot!(
            Mosh::builder()
                .prepare("sed -i '/^Match Group/,$d' /etc/ssh/sshd_config.d/mayfirst.conf; useradd -m -s /bin/sh loc && echo loc:secret | chpasswd")
                .login(Login::new("ana").password("secret").capabilities(["shell", "sftp"]))
                .login(Login::new("radio").password("secret").capabilities(["sftp"]))
        )
    };
}

#[test]
fn a_captured_daemon_opens_no_account_of_the_server() {
    let mosh = boot!(Mosh::builder().without_daemon().prepare("useradd -m -s /bin/sh loc"));
    make_key(&mosh);
    mosh.sh(&format!("cp {KEY}.pub /tmp/key.pub; install -d -o identityd -g identityd /run/identityd")).success();
    in_between(&mosh, "identityd", "keys /tmp/key.pub");
    // It does give the key, for whoever is not the server's own.
    assert!(mosh.identityctl(["ssh-keys", "stranger"]).success().stdout.starts_with("ssh-ed25519"));
    let sshd = mosh.sshd(&["LogLevel VERBOSE"]);
    for local in ["root", "loc", "identityd", "daemon"] {
        sshd.ssh(local, Auth::Key(KEY), "id").failure();
        assert_eq!(mosh.identityctl(["ssh-keys", local]).success().stdout, "", "{local}");
        let asked = mosh.read("/tmp/in-between.log");
        assert!(!asked.contains(&format!("x0{:x}{local}", local.len())), "asked about {local}: {asked}");
    }
    assert!(!sshd.log().contains("Accepted"), "{}", sshd.log());
    // The server's own keys still count.
    mosh.sh(&format!("cp {KEY}.pub /root/.ssh/authorized_keys")).success();
    assert_eq!(sshd.ssh("root", Auth::Key(KEY), "id -u").success().text(), "0");
}

#[test]
fn without_the_file_of_accounts_no_keys_are_given() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    let key = make_key(&mosh);
    mosh.identityctl(["key", "add", "ana", &format!("{KEY}.pub")]).success();
    assert_eq!(mosh.identityctl(["ssh-keys", "ana"]).success().text(), key);
    let without = mosh.sh("mv /etc/passwd /etc/passwd.away; identityctl ssh-keys ana; code=$?; mv /etc/passwd.away /etc/passwd; exit $code");
    assert_eq!(without.exit(1).stdout, "");
}

#[test]
fn sshd_asks_for_keys_as_the_login_itself() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    make_key(&mosh);
    mosh.identityctl(["key", "add", "ana", &format!("{KEY}.pub")]).success();
    mosh.sh("mv /usr/bin/identityctl /usr/bin/identityctl.real
             printf '#!/bin/sh\\nid -un >>/tmp/asked-as\\nexec /usr/bin/identityctl.real \"$@\"\\n' >/usr/bin/identityctl
             chmod 755 /usr/bin/identityctl; : >/tmp/asked-as; chmod 666 /tmp/asked-as")
        .success();
    assert_eq!(mosh.sshd(&[]).ssh("ana", Auth::Key(KEY), "id -un").success().text(), "ana");
    assert!(mosh.read("/tmp/asked-as").lines().all(|user| user == "ana"), "{}", mosh.read("/tmp/asked-as"));
    // And the service's user gets nothing about her, nor does the daemon let it.
    let own = mosh.call(["identityctl.real", "ssh-keys", "ana"]).user("identityd").run().success();
    assert_eq!(own.stdout, "");
}

#[test]
fn a_login_without_shell_is_confined_without_any_match() {
    let mosh = without_match!();
    let sshd = {
        mosh.sh("sed -i 's/^Subsystem.*/Subsystem sftp internal-sftp/' /etc/ssh/sshd_config").success();
        mosh.sshd(&[])
    };
    assert_eq!(ssh(&mosh, "ana", "", "id -un").success().text(), "ana");
    assert_eq!(forwards(&mosh, "ana"), (true, true), "the control");
    ssh(&mosh, "radio", "", "id").failure();
    ssh(&mosh, "radio", "-tt", "").failure();
    assert_eq!(forwards(&mosh, "radio"), (false, false));
    // Files work.
    sshd.sftp("radio", Auth::Password("secret"), "put /etc/hostname here\nls -l").success();
    // sshd's monitor and the login's half are both under the filter (proc(5), Seccomp: 2).
    mosh.background(
        "SSHPASS=secret exec timeout 30 sshpass -e ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -N radio@127.0.0.1",
    );
    mosh.wait_until("two processes of sshd are under the filter", std::time::Duration::from_secs(10), |mosh| {
        mosh.sh("grep -l '^Seccomp:.2' /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3 | while read -r pid; do tr '\\0' '\\n' </proc/$pid/cmdline; done")
            .stdout
            .matches("sshd: radio")
            .count()
            == 2
    });
}

#[test]
fn a_preloaded_library_of_a_login_without_shell_does_not_run() {
    let mosh = without_match!();
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("evil.c"), dir.path().join("evil.so"));
    std::fs::write(
        &source,
        "#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void run(void)\n\
         { unsetenv(\"LD_PRELOAD\"); FILE *f = fopen(\"/tmp/ran\", \"a\"); if (f) { fputs(\"ran\\n\", f); fclose(f); } }\n",
    )
    .unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    let library = mosh.copy_program(&library);
    mosh.sshd(&[]);
    for (login, runs) in [("radio", false), ("ana", true)] {
        mosh.sh(&format!(
            "home=$(getent passwd {login} | cut -d: -f6); install -d -o {login} -m 700 $home
             cp {library} /usr/local/lib/evil.so; chmod 755 /usr/local/lib/evil.so
             echo 'LD_PRELOAD DEFAULT=/usr/local/lib/evil.so' >$home/.pam_environment; chown {login} $home/.pam_environment; rm -f /tmp/ran"
        ))
        .success();
        ssh(&mosh, login, "", "true");
        assert_eq!(mosh.exists("/tmp/ran"), runs, "{login}");
    }
}

#[test]
fn a_key_of_a_login_without_shell_opens_sftp_only_whatever_its_options_say() {
    let mosh = without_match!();
    let key = make_key(&mosh);
    mosh.write("/root/radio.pub", &format!("port-forwarding,pty,command=\"/bin/sh\" {key}\n"));
    mosh.identityctl(["key", "add", "radio", "/root/radio.pub"]).success();
    let line = mosh.identityctl(["ssh-keys", "radio"]).success();
    assert_eq!(line.text(), format!("restrict,command=\"internal-sftp\" {key}"));
    // Debian's own Subsystem names a program; the key's command needs none.
    let sshd = mosh.sshd(&[]);
    sshd.sftp("radio", Auth::Key(KEY), "put /etc/hostname here\nls").success();
    sshd.ssh("radio", Auth::Key(KEY), "id").failure();
    assert!(!sshd.ssh("radio", Auth::Key(KEY), "id").stdout.contains("uid="));
}

#[test]
fn a_session_that_identityd_does_not_describe_is_refused() {
    let mosh = without_match!();
    let sshd = mosh.sshd(&[]);
    in_between(&mosh, "root", "drop session");
    for login in ["ana", "radio"] {
        ssh(&mosh, login, "", "id").failure();
        sshd.sftp(login, Auth::Password("secret"), "ls").failure();
        assert_eq!(forwards(&mosh, login), (false, false), "{login}");
    }
    assert!(mosh.read("/tmp/in-between.log").contains("dropped 64"));
    assert_eq!(ssh(&mosh, "loc", "", "id -un").success().text(), "loc");
}

/// sshd asks for the account at the first of several methods and keeps the verdict; the session begins when the last is done.
#[test]
fn a_login_that_is_removed_between_two_methods_gets_no_session() {
    let mosh = without_match!();
    mosh.sshd(&["AuthenticationMethods keyboard-interactive,publickey"]);
    mosh.sh("mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N 'a long phrase' -C '' -f /root/.ssh/key
         home=$(getent passwd radio | cut -d: -f6); install -d -o radio $home; install -d -o radio -m 700 $home/.ssh
         install -o radio -m 600 /root/.ssh/key.pub $home/.ssh/authorized_keys")
        .success();
    let session = |meanwhile: &str| {
        mosh.expect(&format!(
            r#"spawn ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PreferredAuthentications=keyboard-interactive,publickey -o IdentitiesOnly=yes -i {KEY} -s radio@127.0.0.1 sftp
               want {{assword:}}; send "secret\r"; want {{passphrase}}; {meanwhile}; send "a long phrase\r"
               expect {{ eof {{}} timeout {{}} }}"#
        ))
    };
    let removed = session(
        "exec identityctl login remove radio; while {![catch {exec getent passwd radio}]} { after 20 }; set timeout 10",
    );
    assert!(!removed.stdout.contains("waited in vain"), "{}", removed.stdout);
    mosh.wait_until("the log says why", std::time::Duration::from_secs(10), |mosh| {
        mosh.syslog().contains("refusing radio: neither this server nor the directory has it")
    });
}

#[test]
fn groups_that_sshd_cannot_look_up_open_nothing() {
    for operation in ["9", "5"] {
        let mosh = boot!(Mosh::builder().login(Login::new("radio").password("secret").capabilities(["sftp"])));
        mosh.sshd(&[]);
        in_between(&mosh, "root", &format!("drop {operation}"));
        ssh(&mosh, "radio", "", "id").failure();
        assert_eq!(forwards(&mosh, "radio"), (false, false), "operation {operation}");
    }
}
