-- Froxlor's ftp_users and ftp_groups (the columns that matter) with some data, to try identityd.toml beside this file.

CREATE TABLE ftp_users (
    id            INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    username      VARCHAR(255) NOT NULL UNIQUE,
    uid           INT NOT NULL DEFAULT 0,
    gid           INT NOT NULL DEFAULT 0,
    password      VARCHAR(255) NOT NULL,
    homedir       VARCHAR(255) NOT NULL DEFAULT '',
    shell         VARCHAR(255) NOT NULL DEFAULT '/bin/false',
    login_enabled ENUM('N', 'Y') NOT NULL DEFAULT 'N',
    customerid    INT NOT NULL DEFAULT 0,
    KEY customerid (customerid)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE ftp_groups (
    id         INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    groupname  VARCHAR(60) NOT NULL UNIQUE,
    gid        INT NOT NULL DEFAULT 0,
    customerid INT NOT NULL DEFAULT 0,
    members    LONGTEXT NOT NULL,
    KEY customerid (customerid)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

GRANT SELECT (id, username, uid, gid, homedir, shell, login_enabled, customerid) ON ftp_users TO 'identityd'@'%';
GRANT SELECT ON ftp_groups TO 'identityd'@'%';
GRANT SELECT (username, password) ON ftp_users TO 'identity_authentication'@'%';

INSERT INTO ftp_users VALUES
    (1, 'web1', 10000, 10000, '$6$example$not.a.real.hash', '/var/customers/webs/web1/', '/bin/bash', 'Y', 1),
    (2, 'web2', 10001, 10001, '$6$example$not.a.real.hash', '/var/customers/webs/web2/', '/bin/false', 'N', 2);
INSERT INTO ftp_groups VALUES (1, 'web1', 10000, 1, 'web1,web2'), (2, 'web2', 10001, 2, 'web2');
