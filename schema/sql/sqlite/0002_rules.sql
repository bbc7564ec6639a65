-- Rules between rows. They hold for every writer, also for one whose connection has foreign keys switched off
-- (SQLite's default), hence the triggers beside the REFERENCES of 0001.
-- RAISE takes only a constant text before SQLite 3.47; identityctl adds the names.

-- Membership -------------------------------------------------------------------------------------------------------

CREATE TRIGGER membership_insert BEFORE INSERT ON membership BEGIN
    SELECT RAISE(ABORT, 'a membership of this name exists: names are unique')
    WHERE EXISTS (SELECT 1 FROM membership WHERE name = NEW.name OR id = NEW.id);
END;

CREATE TRIGGER membership_update BEFORE UPDATE ON membership BEGIN
    SELECT RAISE(ABORT, 'the id of a membership never changes') WHERE NEW.id <> OLD.id;
    SELECT RAISE(ABORT, 'a membership of this name exists: names are unique')
    WHERE NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM membership WHERE name = NEW.name);
END;

CREATE TRIGGER membership_delete BEFORE DELETE ON membership BEGIN
    SELECT RAISE(ABORT, 'logins belong to this membership: move or remove them first')
    WHERE EXISTS (SELECT 1 FROM login WHERE membership_id = OLD.id);
END;

-- Login ------------------------------------------------------------------------------------------------------------

CREATE TRIGGER login_insert BEFORE INSERT ON login BEGIN
    SELECT RAISE(ABORT, 'a login of this name exists: names are unique') WHERE EXISTS (SELECT 1 FROM login WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'a login of this uid exists: uids are unique') WHERE EXISTS (SELECT 1 FROM login WHERE uid = NEW.uid);
    SELECT RAISE(ABORT, 'this uid was used before by a login of another name (table retired_id): ids are never given out again')
    WHERE EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND id = NEW.uid AND name <> NEW.name);
    SELECT RAISE(ABORT, 'this uid is retired: an administrator gives it back (identityctl login restore; retired_id.released)')
    WHERE EXISTS (SELECT 1 FROM retired_id WHERE kind = 'login' AND id = NEW.uid AND released = 0);
    SELECT RAISE(ABORT, 'this login name is reserved for the system (table reserved_name)')
    WHERE EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'there is no group of this gid: add the group first, or insert into new_login, which makes one')
    WHERE NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid);
    SELECT RAISE(ABORT, 'there is no membership of this id')
    WHERE NEW.membership_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM membership WHERE id = NEW.membership_id);
END;

CREATE TRIGGER login_inserted AFTER INSERT ON login BEGIN
    UPDATE directory SET next_id = next_id + 1 WHERE next_id = NEW.uid AND next_id < 2147483647;
    -- The same name has taken its id back.
    DELETE FROM retired_id WHERE kind = 'login' AND id = NEW.uid;
END;

CREATE TRIGGER login_update BEFORE UPDATE ON login BEGIN
    SELECT RAISE(ABORT, 'the uid of a login never changes: its files carry it') WHERE NEW.uid <> OLD.uid;
    SELECT RAISE(ABORT, 'a login of this name exists: names are unique')
    WHERE NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM login WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'this login name is reserved for the system (table reserved_name)')
    WHERE NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'there is no group of this gid: add the group first')
    WHERE NEW.gid <> OLD.gid AND NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid);
    SELECT RAISE(ABORT, 'there is no membership of this id')
    WHERE NEW.membership_id IS NOT OLD.membership_id AND NEW.membership_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM membership WHERE id = NEW.membership_id);
END;

-- Its own group is renamed with it, unless the name is taken.
CREATE TRIGGER login_renamed AFTER UPDATE OF name ON login WHEN NEW.name <> OLD.name BEGIN
    UPDATE unix_group SET name = NEW.name
    WHERE gid = NEW.gid AND name = OLD.name AND rule IS NULL AND NOT EXISTS (SELECT 1 FROM unix_group WHERE name = NEW.name);
END;

-- What hangs on a login goes with it, before it, so that the triggers of those tables still see it.
CREATE TRIGGER login_delete BEFORE DELETE ON login BEGIN
    DELETE FROM ssh_key WHERE uid = OLD.uid;
    DELETE FROM group_member WHERE uid = OLD.uid;
    DELETE FROM login_capability WHERE uid = OLD.uid;
END;

CREATE TRIGGER login_deleted AFTER DELETE ON login BEGIN
    INSERT INTO retired_id (kind, id, name, gid, gecos, home, shell)
    VALUES ('login', OLD.uid, OLD.name, OLD.gid, OLD.gecos, OLD.home, OLD.shell);
    -- Its private group, as userdel(8) does: the same name, nobody else in it.
    DELETE FROM unix_group WHERE gid = OLD.gid AND name = OLD.name AND rule IS NULL
        AND NOT EXISTS (SELECT 1 FROM login WHERE gid = OLD.gid)
        AND NOT EXISTS (SELECT 1 FROM group_member WHERE gid = OLD.gid);
END;

-- A new login with a never-used id and its own group: INSERT INTO new_login (name, home) VALUES ('ana', '/home/members/users/ana').
CREATE VIEW new_login AS
SELECT name, gecos, home, shell, status, password_hash, last_change, min_days, max_days, warn_days, inactive_days, expires,
    membership_id
FROM login;

CREATE TRIGGER new_login_insert INSTEAD OF INSERT ON new_login BEGIN
    SELECT RAISE(ABORT, 'no id is left below 2147483648: lower directory.next_id') WHERE (SELECT id FROM next_id) IS NULL;
    SELECT RAISE(ABORT, 'a login of this name exists: names are unique') WHERE EXISTS (SELECT 1 FROM login WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'a group of this name exists, so the login cannot have its own: choose another name, or insert into login with a gid')
    WHERE EXISTS (SELECT 1 FROM unix_group WHERE name = NEW.name);
    UPDATE directory SET next_id = (SELECT id FROM next_id);
    INSERT INTO login_allocation (id) SELECT next_id FROM directory;
    INSERT INTO unix_group (gid, name) SELECT id, NEW.name FROM login_allocation;
    INSERT INTO login (uid, name, gid, gecos, home, shell, status, password_hash, last_change, min_days, max_days, warn_days,
        inactive_days, expires, membership_id)
    SELECT id, NEW.name, id, coalesce(NEW.gecos, ''), coalesce(NEW.home, '/home/members/users/' || NEW.name),
        coalesce(NEW.shell, '/bin/bash'), coalesce(NEW.status, 'active'), coalesce(NEW.password_hash, '*'), NEW.last_change,
        NEW.min_days, NEW.max_days, NEW.warn_days, NEW.inactive_days, NEW.expires, NEW.membership_id
    FROM login_allocation;
    DELETE FROM login_allocation;
END;

-- Holds the id that new_login_insert is giving out, and is empty otherwise.
CREATE TABLE login_allocation (
    id INTEGER PRIMARY KEY
) STRICT;

-- Group ------------------------------------------------------------------------------------------------------------

CREATE TRIGGER unix_group_insert BEFORE INSERT ON unix_group BEGIN
    SELECT RAISE(ABORT, 'a group of this name exists: names are unique') WHERE EXISTS (SELECT 1 FROM unix_group WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'a group of this gid exists: gids are unique') WHERE EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid);
    SELECT RAISE(ABORT, 'this gid was used before by a group of another name (table retired_id): ids are never given out again')
    WHERE EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND id = NEW.gid AND name <> NEW.name);
    SELECT RAISE(ABORT, 'this gid is retired: an administrator gives it back (identityctl login restore; retired_id.released)')
    WHERE EXISTS (SELECT 1 FROM retired_id WHERE kind = 'group' AND id = NEW.gid AND released = 0);
    SELECT RAISE(ABORT, 'this group name is reserved for the system (table reserved_name)')
    WHERE EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name);
END;

CREATE TRIGGER unix_group_inserted AFTER INSERT ON unix_group BEGIN
    UPDATE directory SET next_id = next_id + 1 WHERE next_id = NEW.gid AND next_id < 2147483647;
    DELETE FROM retired_id WHERE kind = 'group' AND id = NEW.gid;
END;

CREATE TRIGGER unix_group_update BEFORE UPDATE ON unix_group BEGIN
    SELECT RAISE(ABORT, 'the gid of a group never changes: files carry it') WHERE NEW.gid <> OLD.gid;
    SELECT RAISE(ABORT, 'a group of this name exists: names are unique')
    WHERE NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM unix_group WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'this group name is reserved for the system (table reserved_name)')
    WHERE NEW.name <> OLD.name AND EXISTS (SELECT 1 FROM reserved_name WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'sshd confines the members of this group by its name: set its rule to NULL first if you mean it')
    WHERE NEW.name <> OLD.name AND OLD.rule IS NOT NULL;
    SELECT RAISE(ABORT, 'the group has members of its own: remove them before a rule derives them')
    WHERE NEW.rule IS NOT NULL AND OLD.rule IS NULL AND EXISTS (SELECT 1 FROM group_member WHERE gid = OLD.gid);
END;

CREATE TRIGGER unix_group_delete BEFORE DELETE ON unix_group BEGIN
    SELECT RAISE(ABORT, 'sshd confines the members of this group by its name: set its rule to NULL first if you mean it')
    WHERE OLD.rule IS NOT NULL;
    SELECT RAISE(ABORT, 'logins have this as their primary group: give them another first')
    WHERE EXISTS (SELECT 1 FROM login WHERE gid = OLD.gid);
    DELETE FROM group_member WHERE gid = OLD.gid;
END;

CREATE TRIGGER unix_group_deleted AFTER DELETE ON unix_group BEGIN
    INSERT INTO retired_id (kind, id, name) VALUES ('group', OLD.gid, OLD.name);
END;

-- What belongs to a login or a group ----------------------------------------------------------------------------------

CREATE TRIGGER group_member_insert BEFORE INSERT ON group_member BEGIN
    SELECT RAISE(ABORT, 'there is no group of this gid') WHERE NOT EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid);
    SELECT RAISE(ABORT, 'there is no login of this uid') WHERE NOT EXISTS (SELECT 1 FROM login WHERE uid = NEW.uid);
    SELECT RAISE(ABORT, 'a rule derives the members of this group: change the capabilities of the login instead')
    WHERE EXISTS (SELECT 1 FROM unix_group WHERE gid = NEW.gid AND rule IS NOT NULL);
END;

CREATE TRIGGER group_member_update BEFORE UPDATE ON group_member BEGIN
    SELECT RAISE(ABORT, 'a group_member is inserted and deleted, not updated');
END;

CREATE TRIGGER login_capability_insert BEFORE INSERT ON login_capability BEGIN
    SELECT RAISE(ABORT, 'there is no login of this uid') WHERE NOT EXISTS (SELECT 1 FROM login WHERE uid = NEW.uid);
END;

CREATE TRIGGER login_capability_update BEFORE UPDATE ON login_capability BEGIN
    SELECT RAISE(ABORT, 'a login_capability is inserted and deleted, not updated');
END;

CREATE TRIGGER ssh_key_insert BEFORE INSERT ON ssh_key BEGIN
    SELECT RAISE(ABORT, 'there is no login of this uid') WHERE NOT EXISTS (SELECT 1 FROM login WHERE uid = NEW.uid);
    SELECT RAISE(ABORT, 'the login has this key already')
    WHERE EXISTS (SELECT 1 FROM ssh_key WHERE uid = NEW.uid AND fingerprint = NEW.fingerprint);
    -- All keys of a login are one answer to sshd.
    SELECT RAISE(ABORT, 'the login has 100 keys: remove one first') WHERE (SELECT count(*) FROM ssh_key WHERE uid = NEW.uid) >= 100;
END;

CREATE TRIGGER ssh_key_update BEFORE UPDATE ON ssh_key BEGIN
    SELECT RAISE(ABORT, 'the login of a key never changes: delete it and insert it anew') WHERE NEW.uid <> OLD.uid OR NEW.id <> OLD.id;
END;

-- Retired ids ------------------------------------------------------------------------------------------------------

-- But for released, by which the same name takes its id back.
CREATE TRIGGER retired_id_update BEFORE UPDATE ON retired_id BEGIN
    SELECT RAISE(ABORT, 'a retired id stays as it is: ids are never given out again')
    WHERE NEW.kind <> OLD.kind OR NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.retired <> OLD.retired OR NEW.gid IS NOT OLD.gid
        OR NEW.gecos IS NOT OLD.gecos OR NEW.home IS NOT OLD.home OR NEW.shell IS NOT OLD.shell;
END;

CREATE TRIGGER retired_id_delete BEFORE DELETE ON retired_id BEGIN
    SELECT RAISE(ABORT, 'a retired id is kept for ever: ids are never given out again')
    WHERE NOT EXISTS (SELECT 1 FROM login WHERE OLD.kind = 'login' AND uid = OLD.id AND name = OLD.name)
        AND NOT EXISTS (SELECT 1 FROM unix_group WHERE OLD.kind = 'group' AND gid = OLD.id AND name = OLD.name);
END;
