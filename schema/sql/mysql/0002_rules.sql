-- Rules between rows: ../sqlite/0002_rules.sql for MariaDB and MySQL. Unique keys hold by themselves. Foreign keys and CHECKs do not: any account may
-- switch them off for its session (foreign_key_checks, check_constraint_checks), so the triggers ask once more for every parent row, and for ids and names. They
-- ask with SELECT count(*) INTO, which locks nothing; EXISTS in an expression locks the gap it finds when the binary log has statements in it.

CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE refuse (IN why VARCHAR(128)) SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = why;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER membership_update BEFORE UPDATE ON membership FOR EACH ROW BEGIN
    IF NOT (NEW.id <=> OLD.id) THEN
        CALL refuse('the id of a membership never changes');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER membership_delete BEFORE DELETE ON membership FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM login WHERE membership_id = OLD.id) THEN
        CALL refuse('logins belong to this membership: move or remove them first');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_insert BEFORE INSERT ON login FOR EACH ROW BEGIN
    DECLARE groups_there, memberships_there, left_behind BIGINT;
    SELECT count(*) INTO groups_there FROM unix_group WHERE gid = NEW.gid;
    SELECT count(*) INTO memberships_there FROM membership WHERE id = NEW.membership_id;
    SELECT (SELECT count(*) FROM ssh_key WHERE uid = NEW.uid) + (SELECT count(*) FROM login_capability WHERE uid = NEW.uid)
        + (SELECT count(*) FROM group_member WHERE uid = NEW.uid) INTO left_behind;
    IF NOT coalesce(NEW.uid BETWEEN 1000 AND 2147483647 AND NEW.uid NOT BETWEEN 60000 AND 65535, FALSE) THEN
        CALL refuse('login uid: 1000-2147483647 without 60000-65535');
    ELSEIF NOT coalesce(NEW.name REGEXP '^[a-z_]' AND NEW.name NOT REGEXP '[^a-z0-9_.-]|[.-]$' AND LENGTH(NEW.name) <= 32, FALSE) THEN
        CALL refuse('login name: [a-z_][a-z0-9_.-]*, 1-32 bytes, no . or - at end');
    ELSEIF groups_there = 0 THEN
        CALL refuse('login gid: there is no group of this gid');
    ELSEIF NEW.membership_id IS NOT NULL AND memberships_there = 0 THEN
        CALL refuse('login membership_id: there is no such membership');
    ELSEIF left_behind > 0 THEN
        CALL refuse('keys, capabilities or memberships in groups wait for this uid without a login (identityctl schema check): delete them first');
    ELSEIF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND id = NEW.uid AND name <> NEW.name) THEN
        CALL refuse('this uid was used before by a login of another name (table retired_id): ids are never given out again');
    ELSEIF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND id = NEW.uid AND released = 0) THEN
        CALL refuse('this uid is retired: an administrator gives it back (identityctl login restore; retired_id.released)');
    ELSEIF EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this login name is reserved for the system (table reserved_name)');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_update BEFORE UPDATE ON login FOR EACH ROW BEGIN
    DECLARE parents BIGINT;
    IF NOT (NEW.gid <=> OLD.gid) THEN
        SELECT count(*) INTO parents FROM unix_group WHERE gid = NEW.gid;
        IF parents = 0 THEN
            CALL refuse('login gid: there is no group of this gid');
        END IF;
    END IF;
    IF NEW.membership_id IS NOT NULL AND NOT (NEW.membership_id <=> OLD.membership_id) THEN
        SELECT count(*) INTO parents FROM membership WHERE id = NEW.membership_id;
        IF parents = 0 THEN
            CALL refuse('login membership_id: there is no such membership');
        END IF;
    END IF;
    IF NOT (NEW.uid <=> OLD.uid) THEN
        CALL refuse('the uid of a login never changes: its files carry it');
    ELSEIF NOT (NEW.name <=> OLD.name) AND NOT coalesce(NEW.name REGEXP '^[a-z_]' AND NEW.name NOT REGEXP '[^a-z0-9_.-]|[.-]$' AND LENGTH(NEW.name) <= 32, FALSE) THEN
        CALL refuse('login name: [a-z_][a-z0-9_.-]*, 1-32 bytes, no . or - at end');
    ELSEIF NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this login name is reserved for the system (table reserved_name)');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_delete BEFORE DELETE ON login FOR EACH ROW BEGIN
    DELETE FROM ssh_key WHERE uid = OLD.uid;
    DELETE FROM group_member WHERE uid = OLD.uid;
    DELETE FROM login_capability WHERE uid = OLD.uid;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER unix_group_insert BEFORE INSERT ON unix_group FOR EACH ROW BEGIN
    IF NOT coalesce(NEW.gid BETWEEN 1000 AND 2147483647 AND NEW.gid NOT BETWEEN 60000 AND 65535, FALSE) THEN
        CALL refuse('group gid: 1000-2147483647 without 60000-65535');
    ELSEIF NOT coalesce(NEW.name REGEXP '^[a-z_]' AND NEW.name NOT REGEXP '[^a-z0-9_.-]|[.-]$' AND LENGTH(NEW.name) <= 32, FALSE) THEN
        CALL refuse('group name: [a-z_][a-z0-9_.-]*, 1-32 bytes, no . or - at end');
    ELSEIF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND id = NEW.gid AND name <> NEW.name) THEN
        CALL refuse('this gid was used before by a group of another name (table retired_id): ids are never given out again');
    ELSEIF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND id = NEW.gid AND released = 0) THEN
        CALL refuse('this gid is retired: an administrator gives it back (identityctl login restore; retired_id.released)');
    ELSEIF EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this group name is reserved for the system (table reserved_name)');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER unix_group_update BEFORE UPDATE ON unix_group FOR EACH ROW BEGIN
    IF NOT (NEW.gid <=> OLD.gid) THEN
        CALL refuse('the gid of a group never changes: files carry it');
    ELSEIF NOT (NEW.name <=> OLD.name) AND NOT coalesce(NEW.name REGEXP '^[a-z_]' AND NEW.name NOT REGEXP '[^a-z0-9_.-]|[.-]$' AND LENGTH(NEW.name) <= 32, FALSE) THEN
        CALL refuse('group name: [a-z_][a-z0-9_.-]*, 1-32 bytes, no . or - at end');
    ELSEIF NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this group name is reserved for the system (table reserved_name)');
    ELSEIF NEW.name <> OLD.name AND OLD.rule IS NOT NULL THEN
        CALL refuse('sshd confines the members of this group by its name: set its rule to NULL first if you mean it');
    ELSEIF NEW.rule IS NOT NULL AND OLD.rule IS NULL AND EXISTS (SELECT 1 FROM group_member WHERE gid = OLD.gid) THEN
        CALL refuse('the group has members of its own: remove them before a rule derives them');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER unix_group_delete BEFORE DELETE ON unix_group FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM login WHERE gid = OLD.gid) THEN
        CALL refuse('logins have this as their primary group: give them another first');
    ELSEIF OLD.rule IS NOT NULL THEN
        CALL refuse('sshd confines the members of this group by its name: set its rule to NULL first if you mean it');
    END IF;
    DELETE FROM group_member WHERE gid = OLD.gid;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER group_member_insert BEFORE INSERT ON group_member FOR EACH ROW BEGIN
    DECLARE groups_there, logins_there BIGINT;
    SELECT count(*) INTO groups_there FROM unix_group WHERE gid = NEW.gid;
    SELECT count(*) INTO logins_there FROM login WHERE uid = NEW.uid;
    IF groups_there = 0 THEN
        CALL refuse('group_member gid: there is no group of this gid');
    ELSEIF logins_there = 0 THEN
        CALL refuse('group_member uid: there is no login of this uid');
    ELSEIF EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid AND rule IS NOT NULL) THEN
        CALL refuse('a rule derives the members of this group: change the capabilities of the login instead');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER group_member_update BEFORE UPDATE ON group_member FOR EACH ROW
    CALL refuse('a group_member is inserted and deleted, not updated');

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_capability_insert BEFORE INSERT ON login_capability FOR EACH ROW BEGIN
    DECLARE logins_there BIGINT;
    SELECT count(*) INTO logins_there FROM login WHERE uid = NEW.uid;
    IF logins_there = 0 THEN
        CALL refuse('login_capability uid: there is no login of this uid');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_capability_update BEFORE UPDATE ON login_capability FOR EACH ROW
    CALL refuse('a login_capability is inserted and deleted, not updated');

-- All keys of a login are one answer to sshd.
CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER ssh_key_insert BEFORE INSERT ON ssh_key FOR EACH ROW BEGIN
    DECLARE keys_there, logins_there BIGINT;
    SELECT count(*) INTO logins_there FROM login WHERE uid = NEW.uid;
    -- Not inside IF: it would lock what it reads when the binary log has statements.
    SELECT count(*) INTO keys_there FROM ssh_key WHERE uid = NEW.uid;
    IF logins_there = 0 THEN
        CALL refuse('ssh_key uid: there is no login of this uid');
    ELSEIF keys_there >= 100 THEN
        CALL refuse('the login has 100 keys: remove one first');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER ssh_key_update BEFORE UPDATE ON ssh_key FOR EACH ROW BEGIN
    IF NOT (NEW.uid <=> OLD.uid AND NEW.id <=> OLD.id) THEN
        CALL refuse('the login of a key never changes: delete it and insert it anew');
    END IF;
END;

-- But for released: who may write this table lets the same name take its id back. The panel may not.
CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER retired_id_update BEFORE UPDATE ON retired_id FOR EACH ROW BEGIN
    IF NOT (NEW.kind = OLD.kind AND NEW.id = OLD.id AND NEW.name = OLD.name AND NEW.retired = OLD.retired AND NEW.gid <=> OLD.gid
        AND NEW.gecos <=> OLD.gecos AND NEW.home <=> OLD.home AND NEW.shell <=> OLD.shell) THEN
        CALL refuse('a retired id stays as it is: ids are never given out again');
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER retired_id_delete BEFORE DELETE ON retired_id FOR EACH ROW BEGIN
    IF NOT EXISTS (SELECT 1 FROM login WHERE OLD.kind = 'login' AND uid = OLD.id AND name = OLD.name)
        AND NOT EXISTS (SELECT 1 FROM unix_group WHERE OLD.kind = 'group' AND gid = OLD.id AND name = OLD.name) THEN
        CALL refuse('a retired id is kept for ever: ids are never given out again');
    END IF;
END;

-- The next id that was never a uid or gid. The counter belongs to no transaction, so nobody waits for anybody who asks, and an id that is not used in the end is
-- lost. Behind a block of ids that were taken from elsewhere the search goes on once.
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE take_id (OUT fresh BIGINT) MODIFIES SQL DATA BEGIN
    DECLARE taken BIGINT;
    -- Both may be set without a privilege, and carry the counter to its end in few calls (docs/mysql.md). Galera sets the first to the number of its nodes.
    IF @@SESSION.auto_increment_increment > 64 OR @@SESSION.insert_id <> 0 THEN
        CALL refuse('auto_increment_increment of this session is above 64, or insert_id is set: ids are given out one by one');
    END IF;
    INSERT INTO fresh_id (id) VALUES (NULL);
    SET fresh = LAST_INSERT_ID();
    -- A SELECT of its own reads without locks; inside IF it would lock what it reads when the binary log has statements.
    SELECT (SELECT count(*) FROM login WHERE uid = fresh) + (SELECT count(*) FROM unix_group WHERE gid = fresh)
        + (SELECT count(*) FROM retired_id WHERE kind IN ('login', 'group') AND id = fresh) INTO taken;
    IF taken > 0 OR fresh BETWEEN 60000 AND 65535 THEN
        SELECT min(c.id) INTO fresh FROM (
            SELECT 65536 AS id
            UNION SELECT uid + 1 FROM login WHERE uid >= fresh
            UNION SELECT gid + 1 FROM unix_group WHERE gid >= fresh
            UNION SELECT r.id + 1 FROM retired_id AS r WHERE r.id >= fresh
        ) AS c
        WHERE c.id > fresh AND c.id NOT BETWEEN 60000 AND 65535
            AND NOT EXISTS (SELECT 1 FROM login WHERE uid = c.id)
            AND NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = c.id)
            AND NOT EXISTS (SELECT 1 FROM retired_id AS r WHERE r.kind IN ('login', 'group') AND r.id = c.id);
        INSERT INTO fresh_id (id) VALUES (fresh);
    END IF;
    IF fresh > 2147483647 THEN
        CALL refuse('no id is left below 2147483648');
    END IF;
END;

-- CALL fresh_id(); gives a row with the column id.
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE fresh_id () MODIFIES SQL DATA BEGIN
    DECLARE fresh BIGINT;
    CALL take_id(fresh);
    SELECT fresh AS id;
END;

-- CALL new_group('translators'); gives a row with the column id.
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE new_group (IN group_name VARCHAR(64)) MODIFIES SQL DATA BEGIN
    DECLARE fresh BIGINT;
    CALL take_id(fresh);
    INSERT INTO unix_group (gid, name) VALUES (fresh, group_name);
    SELECT fresh AS id;
END;

-- CALL new_login('ana', 'Ana Flores', '/home/members/users/ana', '*', NULL); in a transaction of the caller; a row with the column id, uid and gid alike.
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE new_login (IN login_name VARCHAR(64), IN full_name VARCHAR(300), IN home_path VARCHAR(300), IN hash VARCHAR(400),
    IN membership BIGINT) MODIFIES SQL DATA BEGIN
    DECLARE fresh BIGINT;
    CALL take_id(fresh);
    INSERT INTO unix_group (gid, name) VALUES (fresh, login_name);
    INSERT INTO login (uid, name, gid, gecos, home, password_hash, membership_id)
    VALUES (fresh, login_name, fresh, coalesce(full_name, ''), coalesce(home_path, concat('/home/members/users/', login_name)),
        coalesce(hash, '*'), membership);
    SELECT fresh AS id;
END;
