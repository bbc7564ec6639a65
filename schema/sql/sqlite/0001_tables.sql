-- The tables of the directory. Rules that look at one row are CHECKs here; rules between rows are triggers (0002), the feed is 0003.
-- Text of RAISE and names of constraints are what an operator reads: they say the rule. Runs on SQLite 3.38 and later
-- (Debian 12 has 3.40), so that php and the sqlite3 shell may open the file. docs/directory.md is the page about it.

-- One row: the counters.
CREATE TABLE directory (
    one         INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    generation  INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),      -- number of the newest change
    keep        INTEGER NOT NULL DEFAULT 100000 CHECK (keep >= 1000),    -- how many changes the feed reaches back
    next_id     INTEGER NOT NULL DEFAULT 1000000                         -- where the search for a never-used id begins
                CHECK (next_id BETWEEN 1000 AND 2147483647),
    feed_paused INTEGER NOT NULL DEFAULT 0 CHECK (feed_paused IN (0, 1)) -- 1 only inside the transaction of a large import
) STRICT;
INSERT INTO directory DEFAULT VALUES;

-- Names that Debian and its packages give to accounts of the system: not for members, whatever the id.
CREATE TABLE reserved_name (
    name TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
INSERT INTO reserved_name (name) VALUES
    ('_apt'), ('_chrony'), ('_rpc'), ('_ssh'), ('adm'), ('admin'), ('amavis'), ('ansible'), ('apache'), ('audio'), ('avahi'),
    ('backup'), ('bin'), ('bind'), ('bluetooth'), ('cdrom'), ('ceph'), ('clamav'), ('colord'), ('crontab'), ('daemon'),
    ('debian-exim'), ('debian-spamd'), ('dialout'), ('dip'), ('disk'), ('dnsmasq'), ('docker'), ('dovecot'), ('dovenull'),
    ('fax'), ('floppy'), ('ftp'), ('fwupd-refresh'), ('games'), ('gdm'), ('geoclue'), ('gnats'), ('halt'), ('haproxy'),
    ('identityd'), ('incus'), ('incus-admin'), ('input'), ('irc'), ('kmem'), ('kvm'), ('libvirt'), ('libvirt-dnsmasq'),
    ('libvirt-qemu'), ('lightdm'), ('list'), ('lp'), ('lpadmin'), ('lxd'), ('mail'), ('mailman'), ('man'), ('memcache'),
    ('messagebus'), ('munin'), ('mysql'), ('named'), ('netdev'), ('news'), ('nfsnobody'), ('nginx'), ('nobody'), ('nogroup'),
    ('nslcd'), ('ntp'), ('ntpsec'), ('opendkim'), ('opendmarc'), ('operator'), ('pcscd'), ('pdns'), ('plugdev'), ('podman'),
    ('polkitd'), ('postdrop'), ('postfix'), ('postgres'), ('proftpd'), ('prometheus'), ('proxy'), ('pulse'),
    ('pulse-access'), ('puppet'), ('redis'), ('render'), ('root'), ('rtkit'), ('sambashare'), ('saned'), ('sasl'),
    ('scanner'), ('sddm'), ('sgx'), ('shadow'), ('shutdown'), ('spamd'), ('src'), ('ssh'), ('sshd'), ('ssl-cert'), ('sssd'),
    ('staff'), ('statd'), ('stunnel4'), ('sudo'), ('sync'), ('sys'), ('systemd-coredump'), ('systemd-journal'),
    ('systemd-network'), ('systemd-oom'), ('systemd-resolve'), ('systemd-timesync'), ('tape'), ('tcpdump'), ('toor'),
    ('tss'), ('tty'), ('unbound'), ('usbmux'), ('users'), ('utmp'), ('uucp'), ('uuidd'), ('vboxusers'), ('video'), ('voice'),
    ('vsftpd'), ('wheel'), ('wireguard'), ('wireshark'), ('www-data'), ('zabbix');

-- Who pays and owns.
CREATE TABLE membership (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL DEFAULT '',
    CONSTRAINT "membership name: [a-z_][a-z0-9_.-]*, at most 32 bytes, no . or - at the end" CHECK (
        name GLOB '[a-z_]*' AND name NOT GLOB '*[^a-z0-9_.-]*' AND name NOT GLOB '*[.-]'
        AND length(CAST(name AS BLOB)) <= 32 AND length(CAST(name AS BLOB)) = length(name)),
    CONSTRAINT "membership title: at most 255 bytes, no colon, no control character" CHECK (
        length(CAST(title AS BLOB)) <= 255 AND instr(CAST(title AS BLOB), x'00') = 0
        AND title NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ':]*')
) STRICT;

-- A group. rule NULL: its members are in group_member. rule 'sftp-only': every login with sftp and without shell.
CREATE TABLE unix_group (
    gid  INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    rule TEXT,
    CONSTRAINT "group gid: 1000-2147483647 without 60000-65535" CHECK (
        gid BETWEEN 1000 AND 2147483647 AND gid NOT BETWEEN 60000 AND 65535),
    CONSTRAINT "group name: [a-z_][a-z0-9_.-]*, at most 32 bytes, no . or - at the end" CHECK (
        name GLOB '[a-z_]*' AND name NOT GLOB '*[^a-z0-9_.-]*' AND name NOT GLOB '*[.-]'
        AND length(CAST(name AS BLOB)) <= 32 AND length(CAST(name AS BLOB)) = length(name)),
    CONSTRAINT "group rule: NULL or sftp-only" CHECK (rule IS NULL OR rule = 'sftp-only')
) STRICT;
CREATE INDEX unix_group_rule ON unix_group (rule) WHERE rule IS NOT NULL;

-- A login. uid is the key: it is unique for ever and stays when the login is renamed or moved.
CREATE TABLE login (
    uid           INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    gid           INTEGER NOT NULL REFERENCES unix_group (gid),
    gecos         TEXT NOT NULL DEFAULT '',
    home          TEXT NOT NULL,
    shell         TEXT NOT NULL DEFAULT '/bin/bash',
    status        TEXT NOT NULL DEFAULT 'active',
    password_hash TEXT NOT NULL DEFAULT '*',
    last_change   INTEGER,  -- days since 1970-01-01; 0: must be changed at the next login
    min_days      INTEGER,
    max_days      INTEGER,
    warn_days     INTEGER,
    inactive_days INTEGER,
    expires       INTEGER,  -- days since 1970-01-01
    membership_id INTEGER REFERENCES membership (id),
    CONSTRAINT "login uid: 1000-2147483647 without 60000-65535" CHECK (
        uid BETWEEN 1000 AND 2147483647 AND uid NOT BETWEEN 60000 AND 65535),
    CONSTRAINT "login name: [a-z_][a-z0-9_.-]*, at most 32 bytes, no . or - at the end" CHECK (
        name GLOB '[a-z_]*' AND name NOT GLOB '*[^a-z0-9_.-]*' AND name NOT GLOB '*[.-]'
        AND length(CAST(name AS BLOB)) <= 32 AND length(CAST(name AS BLOB)) = length(name)),
    CONSTRAINT "login gid: 1000-2147483647 without 60000-65535" CHECK (
        gid BETWEEN 1000 AND 2147483647 AND gid NOT BETWEEN 60000 AND 65535),
    CONSTRAINT "login gecos: at most 255 bytes, no colon, no control character" CHECK (
        length(CAST(gecos AS BLOB)) <= 255 AND instr(CAST(gecos AS BLOB), x'00') = 0
        AND gecos NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ':]*'),
    CONSTRAINT "login home: absolute, not /, no // . .. or / at the end, no colon or control character, at most 255 bytes" CHECK (
        home GLOB '/?*' AND home NOT GLOB '*/' AND home NOT GLOB '*//*' AND home || '/' NOT GLOB '*/./*'
        AND home || '/' NOT GLOB '*/../*' AND length(CAST(home AS BLOB)) <= 255 AND instr(CAST(home AS BLOB), x'00') = 0
        AND home NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ':]*'),
    CONSTRAINT "login shell: absolute, not /, no // . .. or / at the end, no colon or control character, at most 255 bytes" CHECK (
        shell GLOB '/?*' AND shell NOT GLOB '*/' AND shell NOT GLOB '*//*' AND shell || '/' NOT GLOB '*/./*'
        AND shell || '/' NOT GLOB '*/../*' AND length(CAST(shell AS BLOB)) <= 255 AND instr(CAST(shell AS BLOB), x'00') = 0
        AND shell NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ':]*'),
    CONSTRAINT "login status: active or locked" CHECK (status IN ('active', 'locked')),
    -- crypt(5): printable ASCII without space : ; * ! \ behind a leading run of ! and *.
    CONSTRAINT "login password_hash: a hash of crypt(5), or *, or locked with !; at most 384 bytes" CHECK (
        length(CAST(password_hash AS BLOB)) BETWEEN 1 AND 384
        AND length(CAST(password_hash AS BLOB)) = length(password_hash)
        AND ltrim(password_hash, '!*') NOT GLOB '*[^]"-)+-9<-[^-~]*'
        AND (password_hash GLOB '[!*]*' OR password_hash GLOB '$y$*' OR password_hash GLOB '$gy$*' OR password_hash GLOB '$7$*'
            OR password_hash GLOB '$2[aby]$*' OR password_hash GLOB '$[651]$*' OR password_hash GLOB '_*'
            OR (length(password_hash) = 13 AND password_hash NOT GLOB '*[^a-zA-Z0-9./]*'))),
    CONSTRAINT "login last_change, expires: days from 0 to 2932896 (9999-12-31)" CHECK (
        (last_change IS NULL OR last_change BETWEEN 0 AND 2932896) AND (expires IS NULL OR expires BETWEEN 0 AND 2932896)),
    CONSTRAINT "login min_days, max_days, warn_days, inactive_days: from 0 to 2147483647" CHECK (
        (min_days IS NULL OR min_days BETWEEN 0 AND 2147483647) AND (max_days IS NULL OR max_days BETWEEN 0 AND 2147483647)
        AND (warn_days IS NULL OR warn_days BETWEEN 0 AND 2147483647)
        AND (inactive_days IS NULL OR inactive_days BETWEEN 0 AND 2147483647))
) STRICT;
CREATE INDEX login_gid ON login (gid);
CREATE INDEX login_membership ON login (membership_id);

-- What a login may do.
CREATE TABLE login_capability (
    uid        INTEGER NOT NULL REFERENCES login (uid),
    capability TEXT NOT NULL,
    PRIMARY KEY (uid, capability),
    CONSTRAINT "capability: [a-z][a-z0-9-]*, at most 32 bytes" CHECK (
        capability GLOB '[a-z]*' AND capability NOT GLOB '*[^a-z0-9-]*' AND length(CAST(capability AS BLOB)) <= 32
        AND length(CAST(capability AS BLOB)) = length(capability))
) STRICT, WITHOUT ROWID;
CREATE INDEX login_capability_holder ON login_capability (capability, uid);

-- Who is in a group besides those who have it as their primary group.
CREATE TABLE group_member (
    gid INTEGER NOT NULL REFERENCES unix_group (gid),
    uid INTEGER NOT NULL REFERENCES login (uid),
    PRIMARY KEY (gid, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_member_of ON group_member (uid, gid);

-- Public keys. line is one line of authorized_keys(5); fingerprint is what ssh-keygen -l prints.
CREATE TABLE ssh_key (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid         INTEGER NOT NULL REFERENCES login (uid),
    line        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    added       INTEGER,  -- days since 1970-01-01
    UNIQUE (uid, fingerprint),
    CONSTRAINT "ssh_key line: one line of authorized_keys(5), at most 16384 bytes, no control character" CHECK (
        length(CAST(line AS BLOB)) BETWEEN 1 AND 16384 AND instr(CAST(line AS BLOB), x'00') = 0
        AND line NOT GLOB '*[' || char(1) || '-' || char(8) || char(10) || '-' || char(31) || char(127) || ']*'),
    CONSTRAINT "ssh_key fingerprint: SHA256: and 43 characters" CHECK (
        fingerprint GLOB 'SHA256:*' AND length(CAST(fingerprint AS BLOB)) = 50
        AND substr(fingerprint, 8) NOT GLOB '*[^A-Za-z0-9+/]*'),
    CONSTRAINT "ssh_key added: days from 0 to 2932896" CHECK (added IS NULL OR added BETWEEN 0 AND 2932896)
) STRICT;

-- Ids that a deleted login or group had, and what `identityctl login restore` needs to bring it back.
CREATE TABLE retired_id (
    kind    TEXT NOT NULL CHECK (kind IN ('login', 'group')),
    id      INTEGER NOT NULL,
    name    TEXT NOT NULL,
    retired TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    gid     INTEGER,
    gecos   TEXT,
    home    TEXT,
    shell   TEXT,
    released INTEGER NOT NULL DEFAULT 0 CHECK (released IN (0, 1)), -- 1: its name may take it back now (0002)
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX retired_id_name ON retired_id (kind, name);

-- The feed: which entries changed, in order of commit (SQLite has one writer at a time, so insert order is commit order).
CREATE TABLE change (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL CHECK (kind IN ('login', 'group')),
    name       TEXT NOT NULL,
    id         INTEGER NOT NULL
) STRICT;

-- The id for the next new login or group: never used before, neither as uid nor as gid. NULL: none is left.
-- The first WHEN is the usual case; the search behind it runs once for each block of ids that was taken from elsewhere.
CREATE VIEW next_id AS
SELECT CASE
    WHEN d.next_id NOT BETWEEN 60000 AND 65535
        AND NOT EXISTS (SELECT 1 FROM login WHERE uid = d.next_id)
        AND NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = d.next_id)
        AND NOT EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND id = d.next_id)
        AND NOT EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND id = d.next_id)
    THEN d.next_id
    ELSE (
        SELECT min(c.id) FROM (
            SELECT 65536 AS id
            UNION SELECT uid + 1 FROM login WHERE uid >= d.next_id
            UNION SELECT gid + 1 FROM unix_group WHERE gid >= d.next_id
            UNION SELECT id + 1 FROM retired_id WHERE id >= d.next_id
        ) AS c
        WHERE c.id BETWEEN d.next_id AND 2147483647 AND c.id NOT BETWEEN 60000 AND 65535
            AND NOT EXISTS (SELECT 1 FROM login WHERE uid = c.id)
            AND NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = c.id)
            AND NOT EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND retired_id.id = c.id)
            AND NOT EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND retired_id.id = c.id))
    END AS id
FROM directory AS d;
