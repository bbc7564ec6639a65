-- A panel-like schema with some data, to try identityd.toml beside this file. Lines above the data are what the panel has anyway, but for the three grants.

CREATE TABLE member (
    member_id            INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    member_friendly_name VARCHAR(255) NOT NULL,
    member_status        ENUM('active', 'suspended', 'inactive') NOT NULL DEFAULT 'active'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE hosting_order (
    hosting_order_id              INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    member_id                     INT NOT NULL,
    hosting_order_identifier      VARCHAR(255) NOT NULL,
    hosting_order_unix_group_name VARCHAR(32) NOT NULL UNIQUE,
    hosting_order_unix_group_id   INT NOT NULL UNIQUE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE item (
    item_id          INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    hosting_order_id INT NOT NULL,
    service_id       INT NOT NULL,
    item_status      ENUM('active', 'disabled', 'deleted', 'pending-insert', 'pending-update', 'pending-delete') NOT NULL,
    item_modified    TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    KEY item_modified (item_modified)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE item_user_account (
    item_id                INT NOT NULL PRIMARY KEY,
    user_account_login     VARCHAR(32) NOT NULL UNIQUE,
    user_account_firstname VARCHAR(100) NOT NULL DEFAULT '',
    user_account_lastname  VARCHAR(100) NOT NULL DEFAULT '',
    user_account_password  VARCHAR(255) NOT NULL,
    user_account_uid       INT NOT NULL UNIQUE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- identityd reads these columns and no password; identity_authentication the name and the password.
GRANT SELECT ON member TO 'identityd'@'%';
GRANT SELECT ON hosting_order TO 'identityd'@'%';
GRANT SELECT ON item TO 'identityd'@'%';
GRANT SELECT (item_id, user_account_login, user_account_firstname, user_account_lastname, user_account_uid) ON item_user_account TO 'identityd'@'%';
GRANT SELECT (item_id, user_account_login, user_account_password) ON item_user_account TO 'identity_authentication'@'%';

INSERT INTO member VALUES (1, 'Radio Libre', 'active'), (2, 'Tierra y Agua', 'suspended');
INSERT INTO hosting_order VALUES (10, 1, 'radio.example.org', 'radio', 5001), (11, 2, 'tierra.example.org', 'tierra', 5002);
INSERT INTO item (item_id, hosting_order_id, service_id, item_status) VALUES
    (100, 10, 1, 'active'), (101, 10, 1, 'disabled'), (102, 11, 1, 'active'), (103, 10, 1, 'deleted'), (104, 10, 2, 'active');
INSERT INTO item_user_account VALUES
    (100, 'ana', 'Ana', 'Flores', '$6$example$not.a.real.hash', 6001),
    (101, 'bea', 'Bea', '', '$1$example$not.a.real.hash', 6002),
    (102, 'cyd', 'Cyd', 'Núñez', '!', 6003),
    (103, 'dan', 'Dan', '', '!', 6004);
