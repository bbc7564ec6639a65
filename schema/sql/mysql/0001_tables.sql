-- The tables of ../sqlite/0001_tables.sql in MariaDB's dialect (10.11 is Debian 12's). The same columns and the same rules.
-- Used by a later piece of work: no program of this version reads it.
-- Names and hashes compare byte by byte (ascii_bin); gecos, home and title are UTF-8.

CREATE TABLE directory (
    one         TINYINT NOT NULL DEFAULT 1 PRIMARY KEY CHECK (one = 1),
    generation  BIGINT NOT NULL DEFAULT 0 CHECK (generation >= 0),
    keep        BIGINT NOT NULL DEFAULT 100000 CHECK (keep >= 1000),
    next_id     BIGINT NOT NULL DEFAULT 1000000 CHECK (next_id BETWEEN 1000 AND 2147483647),
    feed_paused TINYINT NOT NULL DEFAULT 0 CHECK (feed_paused IN (0, 1))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO directory (one) VALUES (1);

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
    name  VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
    title VARCHAR(255) NOT NULL DEFAULT '',
    CONSTRAINT membership_name CHECK (name REGEXP '^[a-z_][a-z0-9_.-]*\\z' AND name NOT REGEXP '[.-]\\z'),
    CONSTRAINT membership_title CHECK (OCTET_LENGTH(title) <= 255 AND title NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]')
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE unix_group (
    gid  BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
    rule VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL,
    KEY unix_group_rule (rule),
    CONSTRAINT group_gid CHECK (gid BETWEEN 1000 AND 2147483647 AND gid NOT BETWEEN 60000 AND 65535),
    CONSTRAINT group_name CHECK (name REGEXP '^[a-z_][a-z0-9_.-]*\\z' AND name NOT REGEXP '[.-]\\z'),
    CONSTRAINT group_rule CHECK (rule IS NULL OR rule = 'sftp-only')
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE login (
    uid           BIGINT NOT NULL PRIMARY KEY,
    name          VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
    gid           BIGINT NOT NULL,
    gecos         VARCHAR(255) NOT NULL DEFAULT '',
    home          VARCHAR(255) NOT NULL,
    shell         VARCHAR(255) NOT NULL DEFAULT '/bin/bash',
    status        VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'active',
    password_hash VARCHAR(384) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '*',
    last_change   INT NULL,
    min_days      INT NULL,
    max_days      INT NULL,
    warn_days     INT NULL,
    inactive_days INT NULL,
    expires       INT NULL,
    membership_id BIGINT NULL,
    KEY login_gid (gid),
    KEY login_membership (membership_id),
    CONSTRAINT login_group FOREIGN KEY (gid) REFERENCES unix_group (gid),
    CONSTRAINT login_membership FOREIGN KEY (membership_id) REFERENCES membership (id),
    CONSTRAINT login_uid CHECK (uid BETWEEN 1000 AND 2147483647 AND uid NOT BETWEEN 60000 AND 65535),
    CONSTRAINT login_name CHECK (name REGEXP '^[a-z_][a-z0-9_.-]*\\z' AND name NOT REGEXP '[.-]\\z'),
    CONSTRAINT login_gecos CHECK (OCTET_LENGTH(gecos) <= 255 AND gecos NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]'),
    CONSTRAINT login_home CHECK (OCTET_LENGTH(home) <= 255 AND home REGEXP '^(/[^/]+)+\\z' AND home NOT REGEXP '/\\.\\.?(/|\\z)'
        AND home NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]'),
    CONSTRAINT login_shell CHECK (OCTET_LENGTH(shell) <= 255 AND shell REGEXP '^(/[^/]+)+\\z' AND shell NOT REGEXP '/\\.\\.?(/|\\z)'
        AND shell NOT REGEXP '[\\x{00}-\\x{1f}\\x{7f}-\\x{9f}:]'),
    CONSTRAINT login_status CHECK (status IN ('active', 'locked')),
    CONSTRAINT login_password_hash CHECK (
        password_hash REGEXP '^[!*]*[^\\x{00}-\\x{20}\\x{7f}-\\x{ff}:;*!\\\\]*\\z'
        AND password_hash REGEXP '^([!*]|\\$(y|gy|7|2[aby]|6|5|1)\\$|_|[a-zA-Z0-9./]{13}\\z)'),
    CONSTRAINT login_dates CHECK ((last_change IS NULL OR last_change BETWEEN 0 AND 2932896)
        AND (expires IS NULL OR expires BETWEEN 0 AND 2932896)),
    CONSTRAINT login_days CHECK ((min_days IS NULL OR min_days >= 0) AND (max_days IS NULL OR max_days >= 0)
        AND (warn_days IS NULL OR warn_days >= 0) AND (inactive_days IS NULL OR inactive_days >= 0))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE login_capability (
    uid        BIGINT NOT NULL,
    capability VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (uid, capability),
    KEY login_capability_holder (capability, uid),
    CONSTRAINT capability_login FOREIGN KEY (uid) REFERENCES login (uid),
    CONSTRAINT capability_token CHECK (capability REGEXP '^[a-z][a-z0-9-]*\\z')
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE group_member (
    gid BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    PRIMARY KEY (gid, uid),
    KEY group_member_of (uid, gid),
    CONSTRAINT member_group FOREIGN KEY (gid) REFERENCES unix_group (gid),
    CONSTRAINT member_login FOREIGN KEY (uid) REFERENCES login (uid)
) ENGINE = InnoDB;

CREATE TABLE ssh_key (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    uid         BIGINT NOT NULL,
    line        TEXT NOT NULL,
    fingerprint CHAR(50) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    added       INT NULL,
    UNIQUE KEY ssh_key_once (uid, fingerprint),
    CONSTRAINT key_login FOREIGN KEY (uid) REFERENCES login (uid),
    CONSTRAINT key_line CHECK (OCTET_LENGTH(line) BETWEEN 1 AND 16384 AND line NOT REGEXP '[\\x{00}-\\x{08}\\x{0a}-\\x{1f}\\x{7f}]'),
    CONSTRAINT key_fingerprint CHECK (fingerprint REGEXP '^SHA256:[A-Za-z0-9+/]{43}\\z'),
    CONSTRAINT key_added CHECK (added IS NULL OR added BETWEEN 0 AND 2932896)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE retired_id (
    kind    VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (kind IN ('login', 'group')),
    id      BIGINT NOT NULL,
    name    VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    retired TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gid     BIGINT NULL,
    gecos   VARCHAR(255) NULL,
    home    VARCHAR(255) NULL,
    shell   VARCHAR(255) NULL,
    PRIMARY KEY (kind, id),
    KEY retired_id_name (kind, name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Numbers come from directory.generation (0003): the row's lock is held until commit, so their order is the order of commits.
CREATE TABLE `change` (
    generation BIGINT NOT NULL PRIMARY KEY,
    kind       VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (kind IN ('login', 'group')),
    name       VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id         BIGINT NOT NULL
) ENGINE = InnoDB;
