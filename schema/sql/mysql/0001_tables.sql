-- The tables of ../sqlite/0001_tables.sql for MariaDB (10.6 and later) and MySQL (8.0.16 and later). The same columns and the same rules.
-- `identityctl schema apply` runs these files; by hand: mariadb with --delimiter set to three at signs, which stand in none of them. docs/directory.md is the page about them.
--
-- A rule's name is its message, as in SQLite; an identifier has at most 64 characters. Names and hashes compare byte by byte (ascii_bin); gecos, home and
-- title are UTF-8. Columns are wider than their rules allow: without STRICT in sql_mode the server would cut a value to the column without a
-- word, and the cut value would keep the rule.

-- Triggers and procedures run with the rights of this account, so that a writer needs none on what they write. Nobody logs in with it.
CREATE USER IF NOT EXISTS 'identity_owner'@'localhost' ACCOUNT LOCK;
GRANT ALL PRIVILEGES ON * TO 'identity_owner'@'localhost';

-- One row. Its lock orders the feed (0003): nothing else takes it.
CREATE TABLE directory (
    one        TINYINT NOT NULL DEFAULT 1 PRIMARY KEY CHECK (one = 1),
    identity   CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,                     -- the same on every server of this directory
    generation BIGINT NOT NULL DEFAULT 0 CHECK (generation >= 0),  -- number of the newest change
    keep       BIGINT NOT NULL DEFAULT 100000 CHECK (keep >= 1000) -- how many changes the feed reaches back
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO directory (identity) VALUES (UUID());

CREATE TABLE reserved_name (
    name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
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

CREATE TABLE membership (
    id    BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name  VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    title VARCHAR(300) NOT NULL DEFAULT '',
    UNIQUE KEY `a membership of this name exists: names are unique` (name),
    CONSTRAINT `membership name: [a-z_][a-z0-9_.-]*, 1-32 bytes, no .- at end` CHECK (
        name REGEXP '^[a-z_][a-z0-9_.-]*\\z' AND name NOT REGEXP '[.-]\\z' AND LENGTH(name) <= 32),
    CONSTRAINT `membership title: at most 255 bytes, no : or control character` CHECK (
        OCTET_LENGTH(title) <= 255 AND title NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]')
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE unix_group (
    gid  BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    rule VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL,
    UNIQUE KEY `a group of this name exists: names are unique` (name),
    CONSTRAINT `group gid: 1000-2147483647 without 60000-65535` CHECK (
        gid BETWEEN 1000 AND 2147483647 AND gid NOT BETWEEN 60000 AND 65535),
    CONSTRAINT `group name: [a-z_][a-z0-9_.-]*, 1-32 bytes, no . or - at end` CHECK (
        name REGEXP '^[a-z_][a-z0-9_.-]*\\z' AND name NOT REGEXP '[.-]\\z' AND LENGTH(name) <= 32),
    CONSTRAINT `group rule: NULL or sftp-only` CHECK (rule IS NULL OR rule = 'sftp-only')
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The groups with a rule, kept by triggers: looking for them in unix_group would lock a gap there, and new groups would wait.
CREATE TABLE derived_group (
    gid BIGINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;

CREATE TABLE login (
    uid           BIGINT NOT NULL PRIMARY KEY,
    name          VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    gid           BIGINT NOT NULL,
    gecos         VARCHAR(300) NOT NULL DEFAULT '',
    home          VARCHAR(300) NOT NULL,
    shell         VARCHAR(300) NOT NULL DEFAULT '/bin/bash',
    status        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'active',
    password_hash VARCHAR(400) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '*',
    last_change   INT NULL,
    min_days      INT NULL,
    max_days      INT NULL,
    warn_days     INT NULL,
    inactive_days INT NULL,
    expires       INT NULL,
    membership_id BIGINT NULL,
    UNIQUE KEY `a login of this name exists: names are unique` (name),
    KEY login_gid (gid),
    KEY login_membership (membership_id),
    CONSTRAINT `login gid: there is no group of this gid` FOREIGN KEY (gid) REFERENCES unix_group (gid),
    CONSTRAINT `login membership_id: there is no such membership` FOREIGN KEY (membership_id) REFERENCES membership (id),
    CONSTRAINT `login uid: 1000-2147483647 without 60000-65535` CHECK (
        uid BETWEEN 1000 AND 2147483647 AND uid NOT BETWEEN 60000 AND 65535),
    CONSTRAINT `login name: [a-z_][a-z0-9_.-]*, 1-32 bytes, no . or - at end` CHECK (
        name REGEXP '^[a-z_][a-z0-9_.-]*\\z' AND name NOT REGEXP '[.-]\\z' AND LENGTH(name) <= 32),
    CONSTRAINT `login gecos: at most 255 bytes, no colon, no control character` CHECK (
        OCTET_LENGTH(gecos) <= 255 AND gecos NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]'),
    CONSTRAINT `login home: absolute, plain, no : or control, 1-255 bytes` CHECK (
        OCTET_LENGTH(home) <= 255 AND home REGEXP '^(/[^/]+)+\\z' AND home NOT REGEXP '/\\.\\.?(/|\\z)' AND home NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]'),
    CONSTRAINT `login shell: absolute, plain, no : or control, 1-255 bytes` CHECK (
        OCTET_LENGTH(shell) <= 255 AND shell REGEXP '^(/[^/]+)+\\z' AND shell NOT REGEXP '/\\.\\.?(/|\\z)' AND shell NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]'),
    CONSTRAINT `login status: active or locked` CHECK (status IN ('active', 'locked')),
    -- crypt(5): printable ASCII without space : ; * ! \ behind a leading run of ! and *.
    CONSTRAINT `login password_hash: a hash of crypt(5), or *, or locked with !` CHECK (
        LENGTH(password_hash) <= 384
        AND password_hash REGEXP '^[!*]*[^\\x{00}-\\x{20}\\x{7f}-\\x{ff}:;*!\\\\]*\\z'
        AND password_hash REGEXP '^([!*]|\\$(y|gy|7|2[aby]|6|5|1)\\$|_|[a-zA-Z0-9./]{13}\\z)'),
    CONSTRAINT `login last_change, expires: days from 0 to 2932896 (9999-12-31)` CHECK (
        (last_change IS NULL OR last_change BETWEEN 0 AND 2932896) AND (expires IS NULL OR expires BETWEEN 0 AND 2932896)),
    CONSTRAINT `login min_days, max_days, warn_days, inactive_days: not below 0` CHECK (
        (min_days IS NULL OR min_days >= 0) AND (max_days IS NULL OR max_days >= 0)
        AND (warn_days IS NULL OR warn_days >= 0) AND (inactive_days IS NULL OR inactive_days >= 0))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE login_capability (
    uid        BIGINT NOT NULL,
    capability VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (uid, capability),
    KEY login_capability_holder (capability, uid),
    CONSTRAINT `login_capability uid: there is no login of this uid` FOREIGN KEY (uid) REFERENCES login (uid),
    CONSTRAINT `capability: [a-z][a-z0-9-]*, at most 32 bytes` CHECK (capability REGEXP '^[a-z][a-z0-9-]*\\z' AND LENGTH(capability) <= 32)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE group_member (
    gid BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    PRIMARY KEY (gid, uid),
    KEY group_member_of (uid, gid),
    CONSTRAINT `group_member gid: there is no group of this gid` FOREIGN KEY (gid) REFERENCES unix_group (gid),
    CONSTRAINT `group_member uid: there is no login of this uid` FOREIGN KEY (uid) REFERENCES login (uid)
) ENGINE = InnoDB;

CREATE TABLE ssh_key (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    uid         BIGINT NOT NULL,
    line        TEXT NOT NULL,
    fingerprint VARCHAR(60) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    added       INT NULL,
    UNIQUE KEY `the login has this key already` (uid, fingerprint),
    CONSTRAINT `ssh_key uid: there is no login of this uid` FOREIGN KEY (uid) REFERENCES login (uid),
    CONSTRAINT `ssh_key line: one line, 1-16384 bytes, no control character` CHECK (
        OCTET_LENGTH(line) BETWEEN 1 AND 16384 AND line NOT REGEXP '[\\x{00}-\\x{08}\\x{0a}-\\x{1f}\\x{7f}]'),
    CONSTRAINT `ssh_key fingerprint: SHA256: and 43 characters` CHECK (fingerprint REGEXP '^SHA256:[A-Za-z0-9+/]{43}\\z'),
    CONSTRAINT `ssh_key added: days from 0 to 2932896` CHECK (added IS NULL OR added BETWEEN 0 AND 2932896)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE retired_id (
    kind    VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (kind IN ('login', 'group')),
    id      BIGINT NOT NULL,
    name    VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    retired TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gid     BIGINT NULL,
    gecos   VARCHAR(300) NULL,
    home    VARCHAR(300) NULL,
    shell   VARCHAR(300) NULL,
    released TINYINT NOT NULL DEFAULT 0 CHECK (released IN (0, 1)), -- 1: its name may take it back now (0002)
    PRIMARY KEY (kind, id),
    KEY retired_id_name (kind, name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The ids that were given out (0002): a counter that no transaction holds. Its rows stay: a deleted one would leave a lock on the gap behind it.
CREATE TABLE fresh_id (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY
) ENGINE = InnoDB AUTO_INCREMENT = 1000000;

-- What triggers write: an entry whose answers may have changed, in no order. seq is UUID_SHORT(): AUTO_INCREMENT would let a bulk statement hold up others.
CREATE TABLE touched (
    seq  BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    kind VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id   BIGINT NOT NULL
) ENGINE = InnoDB;

-- The feed: what was touched and committed, numbered by number_changes (0003).
CREATE TABLE `change` (
    generation BIGINT NOT NULL PRIMARY KEY,
    seq        BIGINT UNSIGNED NOT NULL,
    kind       VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (kind IN ('login', 'group')),
    name       VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id         BIGINT NOT NULL
) ENGINE = InnoDB;
