-- The feed: ../sqlite/0003_feed.sql in MariaDB's dialect. See 0002 on how to send it.

-- The update locks the counter's row until the writer commits: numbers are in order of commit.
CREATE PROCEDURE touched (IN entry_kind VARCHAR(8), IN entry_name VARCHAR(32), IN entry_id BIGINT) BEGIN
    IF (SELECT feed_paused FROM directory) = 0 THEN
        UPDATE directory SET generation = generation + 1;
        INSERT INTO `change` (generation, kind, name, id) SELECT generation, entry_kind, entry_name, entry_id FROM directory;
        IF (SELECT generation FROM directory) % 1000 = 0 THEN
            DELETE FROM `change` WHERE generation <= (SELECT generation - keep FROM directory);
        END IF;
    END IF;
END;

CREATE PROCEDURE touched_login (IN login_uid BIGINT)
    FOR l IN (SELECT name, uid FROM login WHERE uid = login_uid) DO CALL touched('login', l.name, l.uid); END FOR;

CREATE PROCEDURE touched_group (IN group_gid BIGINT)
    FOR g IN (SELECT name, gid FROM unix_group WHERE gid = group_gid) DO CALL touched('group', g.name, g.gid); END FOR;

CREATE PROCEDURE touched_rule ()
    FOR g IN (SELECT name, gid FROM unix_group WHERE rule = 'sftp-only') DO CALL touched('group', g.name, g.gid); END FOR;

CREATE PROCEDURE touched_sftp ()
    FOR l IN (SELECT login.name, login.uid FROM login JOIN login_capability AS c ON c.uid = login.uid WHERE c.capability = 'sftp')
    DO CALL touched('login', l.name, l.uid); END FOR;

CREATE TRIGGER login_inserted AFTER INSERT ON login FOR EACH ROW BEGIN
    UPDATE directory SET next_id = next_id + 1 WHERE next_id = NEW.uid AND next_id < 2147483647;
    DELETE FROM retired_id WHERE kind = 'login' AND id = NEW.uid;
    CALL touched('login', NEW.name, NEW.uid);
END;

CREATE TRIGGER login_updated AFTER UPDATE ON login FOR EACH ROW BEGIN
    IF NOT (NEW.name <=> OLD.name AND NEW.gid <=> OLD.gid AND NEW.gecos <=> OLD.gecos AND NEW.home <=> OLD.home AND NEW.shell <=> OLD.shell
        AND NEW.status <=> OLD.status AND NEW.password_hash <=> OLD.password_hash AND NEW.last_change <=> OLD.last_change
        AND NEW.min_days <=> OLD.min_days AND NEW.max_days <=> OLD.max_days AND NEW.warn_days <=> OLD.warn_days
        AND NEW.inactive_days <=> OLD.inactive_days AND NEW.expires <=> OLD.expires AND NEW.membership_id <=> OLD.membership_id) THEN
        CALL touched('login', NEW.name, NEW.uid);
    END IF;
    IF NEW.name <> OLD.name THEN
        CALL touched('login', OLD.name, OLD.uid);
        FOR m IN (SELECT gid FROM group_member WHERE uid = NEW.uid) DO CALL touched_group(m.gid); END FOR;
        IF EXISTS (SELECT 1 FROM login_capability WHERE uid = NEW.uid AND capability = 'sftp') THEN
            CALL touched_rule();
        END IF;
        IF NOT EXISTS (SELECT 1 FROM unix_group WHERE name = NEW.name) THEN
            UPDATE unix_group SET name = NEW.name WHERE gid = NEW.gid AND name = OLD.name AND rule IS NULL;
        END IF;
    END IF;
END;

CREATE TRIGGER login_deleted AFTER DELETE ON login FOR EACH ROW BEGIN
    INSERT INTO retired_id (kind, id, name, gid, gecos, home, shell)
    VALUES ('login', OLD.uid, OLD.name, OLD.gid, OLD.gecos, OLD.home, OLD.shell);
    IF NOT EXISTS (SELECT 1 FROM login WHERE gid = OLD.gid) AND NOT EXISTS (SELECT 1 FROM group_member WHERE gid = OLD.gid) THEN
        DELETE FROM unix_group WHERE gid = OLD.gid AND name = OLD.name AND rule IS NULL;
    END IF;
    CALL touched('login', OLD.name, OLD.uid);
END;

CREATE TRIGGER unix_group_inserted AFTER INSERT ON unix_group FOR EACH ROW BEGIN
    UPDATE directory SET next_id = next_id + 1 WHERE next_id = NEW.gid AND next_id < 2147483647;
    DELETE FROM retired_id WHERE kind = 'group' AND id = NEW.gid;
    CALL touched('group', NEW.name, NEW.gid);
    IF NEW.rule = 'sftp-only' THEN
        CALL touched_sftp();
    END IF;
END;

CREATE TRIGGER unix_group_updated AFTER UPDATE ON unix_group FOR EACH ROW BEGIN
    IF NEW.name <> OLD.name THEN
        CALL touched('group', OLD.name, OLD.gid);
    END IF;
    IF NEW.name <> OLD.name OR NOT (NEW.rule <=> OLD.rule) THEN
        CALL touched('group', NEW.name, NEW.gid);
    END IF;
    IF NOT (NEW.rule <=> OLD.rule) THEN
        CALL touched_sftp();
    END IF;
END;

CREATE TRIGGER unix_group_deleted AFTER DELETE ON unix_group FOR EACH ROW BEGIN
    INSERT INTO retired_id (kind, id, name) VALUES ('group', OLD.gid, OLD.name);
    CALL touched('group', OLD.name, OLD.gid);
    IF OLD.rule = 'sftp-only' THEN
        CALL touched_sftp();
    END IF;
END;

CREATE TRIGGER feed_member_insert AFTER INSERT ON group_member FOR EACH ROW BEGIN
    CALL touched_group(NEW.gid);
    CALL touched_login(NEW.uid);
END;

CREATE TRIGGER feed_member_delete AFTER DELETE ON group_member FOR EACH ROW BEGIN
    CALL touched_group(OLD.gid);
    CALL touched_login(OLD.uid);
END;

CREATE TRIGGER feed_capability_insert AFTER INSERT ON login_capability FOR EACH ROW BEGIN
    CALL touched_login(NEW.uid);
    IF NEW.capability IN ('sftp', 'shell') THEN
        CALL touched_rule();
    END IF;
END;

CREATE TRIGGER feed_capability_delete AFTER DELETE ON login_capability FOR EACH ROW BEGIN
    CALL touched_login(OLD.uid);
    IF OLD.capability IN ('sftp', 'shell') THEN
        CALL touched_rule();
    END IF;
END;

CREATE TRIGGER feed_key_insert AFTER INSERT ON ssh_key FOR EACH ROW CALL touched_login(NEW.uid);

CREATE TRIGGER feed_key_update AFTER UPDATE ON ssh_key FOR EACH ROW CALL touched_login(NEW.uid);

CREATE TRIGGER feed_key_delete AFTER DELETE ON ssh_key FOR EACH ROW CALL touched_login(OLD.uid);

CREATE TRIGGER feed_membership_rename AFTER UPDATE ON membership FOR EACH ROW BEGIN
    IF NEW.name <> OLD.name THEN
        FOR l IN (SELECT name, uid FROM login WHERE membership_id = NEW.id) DO CALL touched('login', l.name, l.uid); END FOR;
    END IF;
END;

-- Not INSERT … SELECT FROM next_id: the triggers write the table that the view reads.
SET @gid = (SELECT id FROM next_id);
INSERT INTO unix_group (gid, name, rule) VALUES (@gid, 'sftp-only', 'sftp-only');
