-- The feed: each trigger names the entries whose answers a statement may have altered. An update that changes nothing writes nothing.
-- A view takes the rows, so that the pause of a large import is in one place; what an import inserts looks at the pause itself as well,
-- which halves the cost of a paused row.

CREATE VIEW touched AS SELECT kind, name, id FROM change;

CREATE TRIGGER touched_insert INSTEAD OF INSERT ON touched WHEN (SELECT feed_paused FROM directory) = 0 BEGIN
    INSERT INTO change (kind, name, id) VALUES (NEW.kind, NEW.name, NEW.id);
END;

CREATE TRIGGER change_inserted AFTER INSERT ON change BEGIN
    UPDATE directory SET generation = NEW.generation;
END;

-- Trimming, a thousand at a time. A reader that is further behind is told of the gap.
CREATE TRIGGER change_trim AFTER INSERT ON change WHEN NEW.generation % 1000 = 0 BEGIN
    DELETE FROM change WHERE generation <= NEW.generation - (SELECT keep FROM directory);
END;

-- Login: its name, its groups' lists of members when it is renamed, its own list of groups.
CREATE TRIGGER feed_login_insert AFTER INSERT ON login WHEN (SELECT feed_paused FROM directory) = 0 BEGIN
    INSERT INTO touched (kind, name, id) VALUES ('login', NEW.name, NEW.uid);
END;

CREATE TRIGGER feed_login_update AFTER UPDATE ON login
WHEN NEW.name <> OLD.name OR NEW.gid <> OLD.gid OR NEW.gecos <> OLD.gecos OR NEW.home <> OLD.home OR NEW.shell <> OLD.shell
    OR NEW.status <> OLD.status OR NEW.password_hash <> OLD.password_hash OR NEW.last_change IS NOT OLD.last_change
    OR NEW.min_days IS NOT OLD.min_days OR NEW.max_days IS NOT OLD.max_days OR NEW.warn_days IS NOT OLD.warn_days
    OR NEW.inactive_days IS NOT OLD.inactive_days OR NEW.expires IS NOT OLD.expires OR NEW.membership_id IS NOT OLD.membership_id
BEGIN
    INSERT INTO touched (kind, name, id) VALUES ('login', NEW.name, NEW.uid);
END;

CREATE TRIGGER feed_login_rename AFTER UPDATE OF name ON login WHEN NEW.name <> OLD.name BEGIN
    INSERT INTO touched (kind, name, id) VALUES ('login', OLD.name, OLD.uid);
    INSERT INTO touched (kind, name, id)
    SELECT 'group', g.name, g.gid FROM group_member AS m JOIN unix_group AS g ON g.gid = m.gid WHERE m.uid = NEW.uid;
    INSERT INTO touched (kind, name, id)
    SELECT 'group', g.name, g.gid FROM unix_group AS g
    WHERE g.rule = 'sftp-only' AND EXISTS (SELECT 1 FROM login_capability WHERE uid = NEW.uid AND capability = 'sftp');
END;

CREATE TRIGGER feed_login_delete AFTER DELETE ON login BEGIN
    INSERT INTO touched (kind, name, id) VALUES ('login', OLD.name, OLD.uid);
END;

-- Group.
CREATE TRIGGER feed_group_insert AFTER INSERT ON unix_group WHEN (SELECT feed_paused FROM directory) = 0 BEGIN
    INSERT INTO touched (kind, name, id) VALUES ('group', NEW.name, NEW.gid);
    INSERT INTO touched (kind, name, id)
    SELECT 'login', l.name, l.uid FROM login AS l WHERE NEW.rule = 'sftp-only'
        AND EXISTS (SELECT 1 FROM login_capability WHERE uid = l.uid AND capability = 'sftp');
END;

CREATE TRIGGER feed_group_update AFTER UPDATE ON unix_group WHEN NEW.name <> OLD.name OR NEW.rule IS NOT OLD.rule BEGIN
    INSERT INTO touched (kind, name, id) VALUES ('group', NEW.name, NEW.gid);
    INSERT INTO touched (kind, name, id) SELECT 'group', OLD.name, OLD.gid WHERE NEW.name <> OLD.name;
    INSERT INTO touched (kind, name, id)
    SELECT 'login', l.name, l.uid FROM login AS l WHERE NEW.rule IS NOT OLD.rule
        AND EXISTS (SELECT 1 FROM login_capability WHERE uid = l.uid AND capability = 'sftp');
END;

CREATE TRIGGER feed_group_delete AFTER DELETE ON unix_group BEGIN
    INSERT INTO touched (kind, name, id) VALUES ('group', OLD.name, OLD.gid);
    INSERT INTO touched (kind, name, id)
    SELECT 'login', l.name, l.uid FROM login AS l WHERE OLD.rule = 'sftp-only'
        AND EXISTS (SELECT 1 FROM login_capability WHERE uid = l.uid AND capability = 'sftp');
END;

-- Members: the group's list, and the login's list of groups.
CREATE TRIGGER feed_member_insert AFTER INSERT ON group_member WHEN (SELECT feed_paused FROM directory) = 0 BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'group', name, gid FROM unix_group WHERE gid = NEW.gid;
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE uid = NEW.uid;
END;

CREATE TRIGGER feed_member_delete AFTER DELETE ON group_member BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'group', name, gid FROM unix_group WHERE gid = OLD.gid;
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE uid = OLD.uid;
END;

-- Capabilities: the login, and the groups whose members follow from them.
CREATE TRIGGER feed_capability_insert AFTER INSERT ON login_capability WHEN (SELECT feed_paused FROM directory) = 0 BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE uid = NEW.uid;
    INSERT INTO touched (kind, name, id) SELECT 'group', name, gid FROM unix_group
    WHERE rule = 'sftp-only' AND NEW.capability IN ('sftp', 'shell');
END;

CREATE TRIGGER feed_capability_delete AFTER DELETE ON login_capability BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE uid = OLD.uid;
    INSERT INTO touched (kind, name, id) SELECT 'group', name, gid FROM unix_group
    WHERE rule = 'sftp-only' AND OLD.capability IN ('sftp', 'shell');
END;

-- Keys.
CREATE TRIGGER feed_key_insert AFTER INSERT ON ssh_key BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE uid = NEW.uid;
END;

CREATE TRIGGER feed_key_update AFTER UPDATE ON ssh_key WHEN NEW.line <> OLD.line OR NEW.fingerprint <> OLD.fingerprint BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE uid = NEW.uid;
END;

CREATE TRIGGER feed_key_delete AFTER DELETE ON ssh_key BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE uid = OLD.uid;
END;

-- A login's record carries the name of its membership.
CREATE TRIGGER feed_membership_rename AFTER UPDATE OF name ON membership WHEN NEW.name <> OLD.name BEGIN
    INSERT INTO touched (kind, name, id) SELECT 'login', name, uid FROM login WHERE membership_id = NEW.id;
END;

-- For sshd's "Match Group sftp-only".
INSERT INTO unix_group (gid, name, rule) SELECT id, 'sftp-only', 'sftp-only' FROM next_id;
