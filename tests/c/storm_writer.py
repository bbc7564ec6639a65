"""The writer of the storm: changes logins and groups, and publishes what was true when (tests/tests/storm.rs says what is right).

A version is counted in the history before its transaction begins; its time `visible` is set when identityd has confirmed the generation
(Refresh, docs/wire.md). Ends on SIGTERM and prints figures. The layout of the history is in storm.c."""
import mmap
import random
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time

DATABASE = "/var/lib/identityd/directory.db"
SUBJECTS, VERSIONS, HEAD = 48, 8192, 64
SIZE = HEAD + VERSIONS * 24
GECOS, COMES_AND_GOES, GROUP, NEVER = range(4)

ending = False


def end(_signal, _frame):
    global ending
    ending = True


class Subject:
    """One login or group, and its part of the history."""

    def __init__(self, history, number, kind, ident, name):
        self.history, self.at, self.kind, self.ident, self.name = history, number * SIZE, kind, ident, name
        self.count = self.confirmed = 0
        struct.pack_into("<QQQ40s", history, self.at, 0, kind, ident, name.encode())

    def begin(self, state):
        struct.pack_into("<QQQ", self.history, self.at + HEAD + self.count * 24, time.monotonic_ns(), 0, state)
        self.count += 1
        self.history[self.at:self.at + 8] = struct.pack("<Q", self.count)

    def confirm(self):
        now = struct.pack("<Q", time.monotonic_ns())
        for version in range(self.confirmed, self.count):
            at = self.at + HEAD + version * 24 + 8
            self.history[at:at + 8] = now
        self.confirmed = self.count

    def state(self):
        return struct.unpack_from("<Q", self.history, self.at + HEAD + (self.count - 1) * 24 + 16)[0]


def varint(number):
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def refresh(generation):
    """Asks until a running identityd says that this generation is visible. Request::Refresh is variant 9, Reply::Done variant 5."""
    payload = bytes([9]) + varint(generation)
    frame = struct.pack("<4sHHQII", b"MFI1", 1, 64, 1, len(payload), 1000) + payload
    tries = 0
    while True:
        tries += 1
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(2)
                peer.connect("/run/identityd/socket")
                peer.sendall(frame)
                header = peer.recv(24, socket.MSG_WAITALL)
                if len(header) == 24 and header[6:8] == b"\0\0" and peer.recv(1) == b"\5":
                    return tries
        except OSError:
            pass
        time.sleep(0.002)


def generation(database):
    return database.execute("SELECT generation FROM directory").fetchone()[0]


def login(uid, name, gecos):
    """The SQL for a login with its own group, which went with it when it was removed."""
    return (f"INSERT INTO unix_group (gid, name) VALUES ({uid}, '{name}');"
            f"INSERT INTO login (uid, name, gid, gecos, home) VALUES ({uid}, '{name}', {uid}, '{gecos}', '/home/members/users/{name}');"
            f"INSERT INTO login_capability (uid, capability) VALUES ({uid}, 'shell');")


def identityctl(*arguments):
    """Its exit code is 0 also when no identityd confirms the change."""
    subprocess.run(["identityctl", "login", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def populate(database, history):
    """The logins of the storm, two at rest among them."""
    subjects, script = [], ["BEGIN;", login(9000, "always", ""), login(9001, "sometimes", "")]
    for number in range(SUBJECTS):
        kind = GECOS if number < 24 else COMES_AND_GOES if number < 32 else GROUP if number < 40 else NEVER
        ident, name = 10000 + number, f"{'abcd'[kind]}{number:02}"
        subject = Subject(history, number, kind, ident, name)
        subjects.append(subject)
        if kind == GECOS:
            script.append(login(ident, name, "v0"))
        elif kind == COMES_AND_GOES:
            script.append(login(ident, name, ""))
        elif kind == GROUP:
            script.append(f"INSERT INTO unix_group (gid, name) VALUES ({ident}, '{name}');"
                          f"INSERT INTO group_member (gid, uid) VALUES ({ident}, 9000);")
        subject.begin(1 if kind == COMES_AND_GOES else 0)
    database.executescript("\n".join(script) + "COMMIT;")
    refresh(generation(database))
    for subject in subjects:
        subject.confirm()
    return subjects


def change(database, subject):
    """One change, committed when this returns."""
    if subject.kind == GECOS:
        version = subject.count
        subject.begin(version)
        if version % 8 == 0:
            identityctl("set", subject.name, "--gecos", f"v{version}")
        else:
            database.execute("UPDATE login SET gecos = ? WHERE uid = ?", (f"v{version}", subject.ident))
    elif subject.kind == GROUP:
        there = 1 - subject.state()
        subject.begin(there)
        statement = "INSERT INTO group_member (gid, uid) VALUES (?, 9001)" if there else "DELETE FROM group_member WHERE gid = ? AND uid = 9001"
        database.execute(statement, (subject.ident,))
    else:
        there = 1 - subject.state()
        subject.begin(there)
        if there:
            # Its ids are retired: it takes them back as `identityctl login restore` does.
            released = f"UPDATE retired_id SET released = 1 WHERE id = {subject.ident};"
            database.executescript(f"BEGIN; {released} {login(subject.ident, subject.name, '')} COMMIT;")
        else:
            identityctl("remove", subject.name)


def main():
    signal.signal(signal.SIGTERM, end)
    with open("/tmp/history", "wb+") as file:
        file.truncate(SUBJECTS * SIZE)
        history = mmap.mmap(file.fileno(), SUBJECTS * SIZE)
    database = sqlite3.connect(DATABASE, timeout=20, isolation_level=None)
    subjects = populate(database, history)
    print("ready", flush=True)
    random.seed(1)
    changing = [subject for subject in subjects if subject.kind != NEVER]
    lags, changes, again = [], 0, 0
    while not ending:
        some = random.sample(changing, random.choice((1, 1, 1, 5)))
        some = [subject for subject in some if subject.count < VERSIONS]
        for subject in some:
            change(database, subject)
        committed = time.monotonic_ns()
        tries = refresh(generation(database))
        lag = (time.monotonic_ns() - committed) / 1e6
        for subject in some:
            subject.confirm()
        changes += len(some)
        if tries == 1:
            lags.append(lag)
        else:
            again += 1
        time.sleep(0.003)
    lags.sort()
    print(f"changes {changes} confirmed_ms_p50 {lags[len(lags) // 2]:.2f} confirmed_ms_max {lags[-1]:.2f} asked_again {again}")


sys.exit(main())
