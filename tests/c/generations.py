"""Commits without end (tests/src/mosh/generations.rs): the gecos of one login; with "bases" also of many at once."""
import sqlite3
import sys
import time

FIRST, BULK = 800000, 4400
database = sqlite3.connect("/var/lib/identityd/directory.db", isolation_level=None, timeout=30)
few = [uid for uid, in database.execute("SELECT uid FROM login ORDER BY uid LIMIT 20")]
bases = "bases" in sys.argv
if bases and not database.execute("SELECT 1 FROM login WHERE uid = ?", (FIRST + 1,)).fetchone():
    database.executescript(f"""
        BEGIN;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BULK})
        INSERT INTO unix_group (gid, name) SELECT {FIRST} + i, 'bulk' || i FROM n;
        INSERT INTO login (uid, name, gid, home) SELECT gid, name, gid, '/home/members/users/' || name FROM unix_group
        WHERE gid BETWEEN {FIRST + 1} AND {FIRST + BULK};
        COMMIT;""")
number = 0
while True:
    number += 1
    if bases and number % 25 == 0:
        # Two halves: the delta grows until it is folded. All together: more than identityd takes one by one, it reads everything anew.
        first, count = [(0, BULK // 2), (BULK // 2, BULK // 2), (0, BULK)][number // 25 % 3]
        database.execute("UPDATE login SET gecos = ? WHERE uid > ? AND uid <= ?", (f"many {number}", FIRST + first, FIRST + first + count))
    else:
        database.execute("UPDATE login SET gecos = ? WHERE uid = ?", (f"number {number}", few[number % len(few)]))
    time.sleep(0.004)
