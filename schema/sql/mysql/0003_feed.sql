-- The feed: ../sqlite/0003_feed.sql for MariaDB and MySQL, where transactions commit side by side.
--
-- Triggers write touched, in no order and without waiting for anybody. What is committed there gets its number afterwards, from number_changes: so the order of
-- numbers is an order of commits, a transaction that stays open holds up nobody, and what it wrote is numbered when it ends.

CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE touched_login (IN login_uid BIGINT)
    INSERT INTO touched (seq, kind, name, id) SELECT UUID_SHORT(), 'login', name, uid FROM login WHERE uid = login_uid;

CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE touched_group (IN group_gid BIGINT)
    INSERT INTO touched (seq, kind, name, id) SELECT UUID_SHORT(), 'group', name, gid FROM unix_group WHERE gid = group_gid;

CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE touched_rule ()
    INSERT INTO touched (seq, kind, name, id)
    SELECT UUID_SHORT(), 'group', g.name, g.gid FROM derived_group AS d STRAIGHT_JOIN unix_group AS g ON g.gid = d.gid WHERE g.rule = 'sftp-only';

CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE touched_sftp ()
    INSERT INTO touched (seq, kind, name, id)
    SELECT UUID_SHORT(), 'login', l.name, l.uid FROM login AS l JOIN login_capability AS c ON c.uid = l.uid WHERE c.capability = 'sftp';

-- Gives every committed row of touched its number, 10,000 in a transaction, and then a row with the column generation: the newest. Anybody may call it, at any time,
-- as often as they like, but not inside a transaction (the first statement says so). One at a time works, on the lock of directory's row; who has nothing to do
-- does not wait for it.
--
-- READ COMMITTED, because then the SELECT of the INSERT sees exactly what is committed and locks nothing (InnoDB: consistent read), and the DELETE locks exactly
-- those rows, by their key. Under REPEATABLE READ both would lock gaps into which writers insert.
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE number_changes () MODIFIES SQL DATA SQL SECURITY DEFINER BEGIN
    DECLARE base BIGINT;
    DECLARE moved BIGINT;
    DECLARE pending BIGINT;
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    -- Not EXISTS in an expression: that locks what it reads when the binary log has statements.
    SELECT count(*) INTO pending FROM (SELECT seq FROM touched LIMIT 1) AS t;
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN
            ROLLBACK;
            RESIGNAL;
        END;
        WHILE pending > 0 DO
            SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
            START TRANSACTION;
            SELECT generation INTO base FROM directory WHERE one = 1 FOR UPDATE;
            INSERT INTO `change` (generation, seq, kind, name, id)
            SELECT base + ROW_NUMBER() OVER (ORDER BY t.seq), t.seq, t.kind, t.name, t.id
            FROM (SELECT seq, kind, name, id FROM touched ORDER BY seq LIMIT 10000) AS t;
            SET moved = ROW_COUNT();
            DELETE t FROM `change` AS c STRAIGHT_JOIN touched AS t FORCE INDEX (PRIMARY) ON t.seq = c.seq WHERE c.generation > base;
            UPDATE directory SET generation = base + moved WHERE one = 1;
            IF (base + moved) DIV 1000 > base DIV 1000 THEN
                DELETE FROM `change` WHERE generation <= base + moved - (SELECT keep FROM directory WHERE one = 1);
            END IF;
            COMMIT;
            SET pending = moved >= 10000;
        END WHILE;
    END;
    SELECT generation FROM directory WHERE one = 1;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_inserted AFTER INSERT ON login FOR EACH ROW BEGIN
    -- A DELETE that finds nothing would lock the gap until the end of the transaction.
    IF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND id = NEW.uid) THEN
        DELETE FROM retired_id WHERE kind = 'login' AND id = NEW.uid;
    END IF;
    INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'login', NEW.name, NEW.uid);
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_updated AFTER UPDATE ON login FOR EACH ROW BEGIN
    IF NOT (NEW.name <=> OLD.name AND NEW.gid <=> OLD.gid AND NEW.gecos <=> OLD.gecos AND NEW.home <=> OLD.home AND NEW.shell <=> OLD.shell
        AND NEW.status <=> OLD.status AND NEW.password_hash <=> OLD.password_hash AND NEW.last_change <=> OLD.last_change
        AND NEW.min_days <=> OLD.min_days AND NEW.max_days <=> OLD.max_days AND NEW.warn_days <=> OLD.warn_days
        AND NEW.inactive_days <=> OLD.inactive_days AND NEW.expires <=> OLD.expires AND NEW.membership_id <=> OLD.membership_id) THEN
        INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'login', NEW.name, NEW.uid);
    END IF;
    IF NEW.name <> OLD.name THEN
        INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'login', OLD.name, OLD.uid);
        INSERT INTO touched (seq, kind, name, id)
        SELECT UUID_SHORT(), 'group', g.name, g.gid FROM group_member AS m JOIN unix_group AS g ON g.gid = m.gid WHERE m.uid = NEW.uid;
        IF EXISTS (SELECT 1 FROM login_capability WHERE uid = NEW.uid AND capability = 'sftp') THEN
            CALL touched_rule();
        END IF;
        IF NOT EXISTS (SELECT 1 FROM unix_group WHERE name = NEW.name) THEN
            UPDATE unix_group SET name = NEW.name WHERE gid = NEW.gid AND name = OLD.name AND rule IS NULL;
        END IF;
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER login_deleted AFTER DELETE ON login FOR EACH ROW BEGIN
    INSERT INTO retired_id (kind, id, name, gid, gecos, home, shell)
    VALUES ('login', OLD.uid, OLD.name, OLD.gid, OLD.gecos, OLD.home, OLD.shell);
    IF NOT EXISTS (SELECT 1 FROM login WHERE gid = OLD.gid) AND NOT EXISTS (SELECT 1 FROM group_member WHERE gid = OLD.gid) THEN
        DELETE FROM unix_group WHERE gid = OLD.gid AND name = OLD.name AND rule IS NULL;
    END IF;
    INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'login', OLD.name, OLD.uid);
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER unix_group_inserted AFTER INSERT ON unix_group FOR EACH ROW BEGIN
    IF EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND id = NEW.gid) THEN
        DELETE FROM retired_id WHERE kind = 'group' AND id = NEW.gid;
    END IF;
    INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'group', NEW.name, NEW.gid);
    IF NEW.rule IS NOT NULL THEN
        INSERT INTO derived_group (gid) VALUES (NEW.gid);
        CALL touched_sftp();
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER unix_group_updated AFTER UPDATE ON unix_group FOR EACH ROW BEGIN
    IF NEW.name <> OLD.name THEN
        INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'group', OLD.name, OLD.gid);
    END IF;
    IF NEW.name <> OLD.name OR NOT (NEW.rule <=> OLD.rule) THEN
        INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'group', NEW.name, NEW.gid);
    END IF;
    IF NOT (NEW.rule <=> OLD.rule) THEN
        DELETE FROM derived_group WHERE gid = NEW.gid;
        INSERT INTO derived_group (gid) SELECT NEW.gid FROM DUAL WHERE NEW.rule IS NOT NULL;
        CALL touched_sftp();
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER unix_group_deleted AFTER DELETE ON unix_group FOR EACH ROW BEGIN
    INSERT INTO retired_id (kind, id, name) VALUES ('group', OLD.gid, OLD.name);
    INSERT INTO touched (seq, kind, name, id) VALUES (UUID_SHORT(), 'group', OLD.name, OLD.gid);
    IF OLD.rule IS NOT NULL THEN
        DELETE FROM derived_group WHERE gid = OLD.gid;
        CALL touched_sftp();
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_member_insert AFTER INSERT ON group_member FOR EACH ROW BEGIN
    CALL touched_group(NEW.gid);
    CALL touched_login(NEW.uid);
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_member_delete AFTER DELETE ON group_member FOR EACH ROW BEGIN
    CALL touched_group(OLD.gid);
    CALL touched_login(OLD.uid);
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_capability_insert AFTER INSERT ON login_capability FOR EACH ROW BEGIN
    CALL touched_login(NEW.uid);
    IF NEW.capability IN ('sftp', 'shell') THEN
        CALL touched_rule();
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_capability_delete AFTER DELETE ON login_capability FOR EACH ROW BEGIN
    CALL touched_login(OLD.uid);
    IF OLD.capability IN ('sftp', 'shell') THEN
        CALL touched_rule();
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_key_insert AFTER INSERT ON ssh_key FOR EACH ROW CALL touched_login(NEW.uid);

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_key_update AFTER UPDATE ON ssh_key FOR EACH ROW BEGIN
    IF NOT (NEW.line <=> OLD.line AND NEW.fingerprint <=> OLD.fingerprint) THEN
        CALL touched_login(NEW.uid);
    END IF;
END;

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_key_delete AFTER DELETE ON ssh_key FOR EACH ROW CALL touched_login(OLD.uid);

CREATE DEFINER = 'identity_owner'@'localhost' TRIGGER feed_membership_rename AFTER UPDATE ON membership FOR EACH ROW BEGIN
    IF NEW.name <> OLD.name THEN
        INSERT INTO touched (seq, kind, name, id) SELECT UUID_SHORT(), 'login', name, uid FROM login WHERE membership_id = NEW.id;
    END IF;
END;

CALL take_id(@gid);
INSERT INTO unix_group (gid, name, rule) VALUES (@gid, 'sftp-only', 'sftp-only');
