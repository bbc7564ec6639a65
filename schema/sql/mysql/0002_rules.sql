-- Rules between rows: ../sqlite/0002_rules.sql in MariaDB's dialect. No DELIMITER: send the file as one text (sqlx does; the client
-- with --delimiter=@@@). MySQL's foreign keys do not switch off unnoticed, so references are not checked a second time here.

CREATE VIEW next_id AS
SELECT CASE
    WHEN d.next_id NOT BETWEEN 60000 AND 65535
        AND NOT EXISTS (SELECT 1 FROM login WHERE uid = d.next_id)
        AND NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = d.next_id)
        AND NOT EXISTS (SELECT 1 FROM retired_id WHERE id = d.next_id AND kind IN ('login', 'group'))
    THEN d.next_id
    ELSE (
        SELECT min(c.id) FROM (
            SELECT 65536 AS id
            UNION SELECT uid + 1 FROM login UNION SELECT gid + 1 FROM unix_group UNION SELECT r.id + 1 FROM retired_id AS r
        ) AS c
        WHERE c.id BETWEEN d.next_id AND 2147483647 AND c.id NOT BETWEEN 60000 AND 65535
            AND NOT EXISTS (SELECT 1 FROM login WHERE uid = c.id)
            AND NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = c.id)
            AND NOT EXISTS (SELECT 1 FROM retired_id AS r WHERE r.id = c.id AND r.kind IN ('login', 'group')))
    END AS id
FROM directory AS d;

CREATE PROCEDURE refuse (IN why VARCHAR(128)) SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = why;

CREATE TRIGGER membership_delete BEFORE DELETE ON membership FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM login WHERE membership_id = OLD.id) THEN
        CALL refuse('logins belong to this membership: move or remove them first');
    END IF;
END;

CREATE TRIGGER login_insert BEFORE INSERT ON login FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM login WHERE name = NEW.name) THEN
        CALL refuse('a login of this name exists: names are unique');
    ELSEIF EXISTS (SELECT 1 FROM login WHERE uid = NEW.uid) THEN
        CALL refuse('a login of this uid exists: uids are unique');
    ELSEIF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND id = NEW.uid AND name <> NEW.name) THEN
        CALL refuse('this uid was used before by a login of another name (table retired_id): ids are never given out again');
    ELSEIF EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this login name is reserved for the system (table reserved_name)');
    END IF;
END;

CREATE TRIGGER login_update BEFORE UPDATE ON login FOR EACH ROW BEGIN
    IF NEW.uid <> OLD.uid THEN
        CALL refuse('the uid of a login never changes: its files carry it');
    ELSEIF NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this login name is reserved for the system (table reserved_name)');
    END IF;
END;

CREATE TRIGGER login_delete BEFORE DELETE ON login FOR EACH ROW BEGIN
    DELETE FROM ssh_key WHERE uid = OLD.uid;
    DELETE FROM group_member WHERE uid = OLD.uid;
    DELETE FROM login_capability WHERE uid = OLD.uid;
END;

CREATE TRIGGER unix_group_insert BEFORE INSERT ON unix_group FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM unix_group WHERE name = NEW.name) THEN
        CALL refuse('a group of this name exists: names are unique');
    ELSEIF EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid) THEN
        CALL refuse('a group of this gid exists: gids are unique');
    ELSEIF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND id = NEW.gid AND name <> NEW.name) THEN
        CALL refuse('this gid was used before by a group of another name (table retired_id): ids are never given out again');
    ELSEIF EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this group name is reserved for the system (table reserved_name)');
    END IF;
END;

CREATE TRIGGER unix_group_update BEFORE UPDATE ON unix_group FOR EACH ROW BEGIN
    IF NEW.gid <> OLD.gid THEN
        CALL refuse('the gid of a group never changes: files carry it');
    ELSEIF NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name) THEN
        CALL refuse('this group name is reserved for the system (table reserved_name)');
    ELSEIF NEW.name <> OLD.name AND OLD.rule IS NOT NULL THEN
        CALL refuse('sshd confines the members of this group by its name: set its rule to NULL first if you mean it');
    ELSEIF NEW.rule IS NOT NULL AND OLD.rule IS NULL AND EXISTS (SELECT 1 FROM group_member WHERE gid = OLD.gid) THEN
        CALL refuse('the group has members of its own: remove them before a rule derives them');
    END IF;
END;

CREATE TRIGGER unix_group_delete BEFORE DELETE ON unix_group FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM login WHERE gid = OLD.gid) THEN
        CALL refuse('logins have this as their primary group: give them another first');
    ELSEIF OLD.rule IS NOT NULL THEN
        CALL refuse('sshd confines the members of this group by its name: set its rule to NULL first if you mean it');
    END IF;
    DELETE FROM group_member WHERE gid = OLD.gid;
END;

CREATE TRIGGER group_member_insert BEFORE INSERT ON group_member FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid AND rule IS NOT NULL) THEN
        CALL refuse('a rule derives the members of this group: change the capabilities of the login instead');
    END IF;
END;

CREATE TRIGGER group_member_update BEFORE UPDATE ON group_member FOR EACH ROW
    CALL refuse('a group_member is inserted and deleted, not updated');

CREATE TRIGGER login_capability_update BEFORE UPDATE ON login_capability FOR EACH ROW
    CALL refuse('a login_capability is inserted and deleted, not updated');

CREATE TRIGGER ssh_key_update BEFORE UPDATE ON ssh_key FOR EACH ROW BEGIN
    IF NEW.uid <> OLD.uid OR NEW.id <> OLD.id THEN
        CALL refuse('the login of a key never changes: delete it and insert it anew');
    END IF;
END;

CREATE TRIGGER retired_id_update BEFORE UPDATE ON retired_id FOR EACH ROW
    CALL refuse('a retired id stays as it is: ids are never given out again');

CREATE TRIGGER retired_id_delete BEFORE DELETE ON retired_id FOR EACH ROW BEGIN
    IF NOT EXISTS (SELECT 1 FROM login WHERE OLD.kind = 'login' AND uid = OLD.id AND name = OLD.name)
        AND NOT EXISTS (SELECT 1 FROM unix_group WHERE OLD.kind = 'group' AND gid = OLD.id AND name = OLD.name) THEN
        CALL refuse('a retired id is kept for ever: ids are never given out again');
    END IF;
END;

-- CALL new_group('translators'); the counter's row is locked first, so that two callers get two ids.
CREATE PROCEDURE new_group (IN group_name VARCHAR(64)) BEGIN
    DECLARE fresh BIGINT;
    SELECT next_id INTO fresh FROM directory FOR UPDATE;
    SELECT id INTO fresh FROM next_id;
    INSERT INTO unix_group (gid, name) VALUES (fresh, group_name);
END;

-- CALL new_login('ana', 'Ana Flores', '/home/members/users/ana', '*', NULL); inside a transaction of the caller.
CREATE PROCEDURE new_login (IN login_name VARCHAR(64), IN full_name VARCHAR(255), IN home_path VARCHAR(255), IN hash VARCHAR(384),
    IN membership BIGINT) BEGIN
    DECLARE fresh BIGINT;
    SELECT next_id INTO fresh FROM directory FOR UPDATE;
    SELECT id INTO fresh FROM next_id;
    INSERT INTO unix_group (gid, name) VALUES (fresh, login_name);
    INSERT INTO login (uid, name, gid, gecos, home, password_hash, membership_id)
    VALUES (fresh, login_name, fresh, coalesce(full_name, ''), coalesce(home_path, concat('/home/members/users/', login_name)),
        coalesce(hash, '*'), membership);
END;
