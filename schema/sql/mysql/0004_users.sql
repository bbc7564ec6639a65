-- Who may do what, with no more than that. The accounts are made locked; give each its password and unlock it (docs/mysql.md):
--     ALTER USER 'identityd'@'%' IDENTIFIED BY '…' REQUIRE SSL ACCOUNT UNLOCK;
-- None but identity_admin reads a password hash; identity_authentication gets one at a time, by name.

CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE password_hash (IN login_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin) READS SQL DATA SQL SECURITY DEFINER
    SELECT login.password_hash FROM login WHERE name = login_name;

-- Stores a hash in the place of old_hash, which its owner has just verified: never over one that no password matches (locked with !, or *), and not for a locked login.
-- A row: there, whether there is such a login; stored, whether the hash was still old_hash and is new_hash now.
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE set_password (IN login_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin, IN old_hash VARCHAR(400) CHARACTER SET ascii COLLATE ascii_bin, IN new_hash VARCHAR(400) CHARACTER SET ascii COLLATE ascii_bin, IN today INT)
    MODIFIES SQL DATA SQL SECURITY DEFINER BEGIN
    DECLARE found BIGINT DEFAULT NULL;
    DECLARE stored TINYINT DEFAULT 0;
    DECLARE state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin;
    IF old_hash IS NULL THEN
        CALL refuse('the old password is missing: an administrator sets one without it (identityctl login passwd)');
    END IF;
    SELECT uid, status INTO found, state FROM login WHERE name = login_name AND login.password_hash = old_hash FOR UPDATE;
    IF found IS NOT NULL AND (old_hash REGEXP '^[!*]' OR state <> 'active') THEN
        CALL refuse('the login is locked or has no password: an administrator sets one (identityctl login passwd)');
    ELSEIF found IS NOT NULL THEN
        UPDATE login SET login.password_hash = new_hash, last_change = today WHERE uid = found;
        SET stored = 1;
    END IF;
    SELECT EXISTS (SELECT 1 FROM login WHERE name = login_name) AS `there`, stored;
END;

-- Root's passwd on a server: whatever the hash was, but never over one that is locked with !. Granted to nobody but identity_admin: who may call it sets the
-- password of every login (docs/mysql.md, Trust).
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE reset_password (IN login_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin, IN new_hash VARCHAR(400) CHARACTER SET ascii COLLATE ascii_bin, IN today INT)
    MODIFIES SQL DATA SQL SECURITY DEFINER BEGIN
    DECLARE found BIGINT DEFAULT NULL;
    DECLARE old_hash VARCHAR(400) CHARACTER SET ascii COLLATE ascii_bin;
    SELECT uid, login.password_hash INTO found, old_hash FROM login WHERE name = login_name FOR UPDATE;
    IF old_hash LIKE '!%' THEN
        CALL refuse('the password is locked with !: an administrator sets another (identityctl login passwd)');
    ELSEIF found IS NOT NULL THEN
        UPDATE login SET login.password_hash = new_hash, last_change = today WHERE uid = found;
    END IF;
    SELECT found IS NOT NULL AS `there`, found IS NOT NULL AS stored;
END;

CREATE USER IF NOT EXISTS 'identity_panel'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS 'identityd'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS 'identity_authentication'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS 'identity_admin'@'%' ACCOUNT LOCK;

-- The control panel: writes accounts and hashes, reads everything but hashes. Not the feed, not retired ids: triggers write those.
GRANT SELECT, INSERT, UPDATE, DELETE ON membership TO 'identity_panel'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON unix_group TO 'identity_panel'@'%';
GRANT SELECT, INSERT, DELETE ON login_capability TO 'identity_panel'@'%';
GRANT SELECT, INSERT, DELETE ON group_member TO 'identity_panel'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON ssh_key TO 'identity_panel'@'%';
GRANT SELECT (uid, name, gid, gecos, home, shell, status, last_change, min_days, max_days, warn_days, inactive_days, expires, membership_id),
    INSERT, UPDATE, DELETE ON login TO 'identity_panel'@'%';
GRANT SELECT ON retired_id TO 'identity_panel'@'%';
GRANT SELECT ON reserved_name TO 'identity_panel'@'%';
GRANT SELECT ON directory TO 'identity_panel'@'%';
GRANT EXECUTE ON PROCEDURE new_login TO 'identity_panel'@'%';
GRANT EXECUTE ON PROCEDURE new_group TO 'identity_panel'@'%';
GRANT EXECUTE ON PROCEDURE fresh_id TO 'identity_panel'@'%';
GRANT EXECUTE ON PROCEDURE number_changes TO 'identity_panel'@'%';

-- identityd on every server: reads what is public, and the feed.
GRANT SELECT (uid, name, gid, gecos, home, shell, status, last_change, min_days, max_days, warn_days, inactive_days, expires, membership_id)
    ON login TO 'identityd'@'%';
GRANT SELECT ON membership TO 'identityd'@'%';
GRANT SELECT ON unix_group TO 'identityd'@'%';
GRANT SELECT ON derived_group TO 'identityd'@'%';
GRANT SELECT ON login_capability TO 'identityd'@'%';
GRANT SELECT ON group_member TO 'identityd'@'%';
GRANT SELECT ON ssh_key TO 'identityd'@'%';
GRANT SELECT ON directory TO 'identityd'@'%';
GRANT SELECT ON touched TO 'identityd'@'%';
GRANT SELECT ON `change` TO 'identityd'@'%';
GRANT EXECUTE ON PROCEDURE number_changes TO 'identityd'@'%';

-- identityd while it verifies or changes one password.
GRANT EXECUTE ON PROCEDURE password_hash TO 'identity_authentication'@'%';
GRANT EXECUTE ON PROCEDURE set_password TO 'identity_authentication'@'%';

-- identityctl: all of it but the shape of the tables.
GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON * TO 'identity_admin'@'%';
