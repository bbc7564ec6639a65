-- What each identityd says of itself, for identityctl fleet and identityctl wait --all (docs/fleet.md). Shown and waited for, trusted for nothing else: a server
-- may write any row of it through the procedure, so every column is bounded and printable.

CREATE TABLE fleet (
    host        VARCHAR(253) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    generation  BIGINT UNSIGNED NOT NULL,           -- all changes up to this one are visible there
    newest      BIGINT UNSIGNED NOT NULL,           -- the newest change that it has seen
    stale       INT UNSIGNED NOT NULL,              -- for how many seconds it has been behind
    version     VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    trouble     VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, -- empty: none
    reported_at DATETIME(6) NOT NULL,               -- UTC, by the clock of this server
    CONSTRAINT `fleet host: letters in lower case, digits, . - _` CHECK (host REGEXP '^[a-z0-9][a-z0-9._-]*$'),
    CONSTRAINT `fleet version, trouble: no control character` CHECK (version NOT REGEXP '[[:cntrl:]]' AND trouble NOT REGEXP '[[:cntrl:]]')
) ENGINE = InnoDB;

-- One row by its key; a host that is not there yet is counted, so that nobody fills the disk with names.
CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE fleet_report (IN its_host VARCHAR(253) CHARACTER SET ascii COLLATE ascii_bin, IN its_generation BIGINT UNSIGNED,
    IN its_newest BIGINT UNSIGNED, IN its_stale INT UNSIGNED, IN its_version VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin,
    IN its_trouble VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
    MODIFIES SQL DATA SQL SECURITY DEFINER BEGIN
    IF NOT EXISTS (SELECT 1 FROM fleet WHERE host = its_host) AND (SELECT count(*) FROM fleet) >= 10000 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the table fleet has 10000 hosts: take those off that are gone (identityctl fleet forget)';
    END IF;
    INSERT INTO fleet (host, generation, newest, stale, version, trouble, reported_at)
    VALUES (its_host, its_generation, its_newest, its_stale, its_version, its_trouble, utc_timestamp(6))
    ON DUPLICATE KEY UPDATE generation = its_generation, newest = its_newest, stale = its_stale, version = its_version, trouble = its_trouble,
        reported_at = utc_timestamp(6);
END;

CREATE DEFINER = 'identity_owner'@'localhost' PROCEDURE fleet_forget (IN its_host VARCHAR(253) CHARACTER SET ascii COLLATE ascii_bin)
    MODIFIES SQL DATA SQL SECURITY DEFINER
    DELETE FROM fleet WHERE host = its_host;

GRANT SELECT ON fleet TO 'identityd'@'%';
GRANT EXECUTE ON PROCEDURE fleet_report TO 'identityd'@'%';
GRANT SELECT ON fleet TO 'identity_panel'@'%';
GRANT EXECUTE ON PROCEDURE fleet_forget TO 'identity_panel'@'%';
