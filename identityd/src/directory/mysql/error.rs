//! What MariaDB and MySQL report, in the words of an operator.

use sqlx::mysql::MySqlDatabaseError;

use crate::directory::DirectoryError;

/// Numbers of errors (`mysqld_error.h`; the same in both servers up to 1999).
mod code {
    pub(super) const LOCK_WAIT: u16 = 1205;
    pub(super) const DEADLOCK: u16 = 1213;
    pub(super) const DUPLICATE: u16 = 1062;
    pub(super) const TOO_LONG: u16 = 1406;
    pub(super) const OUT_OF_RANGE: u16 = 1264;
    pub(super) const NOT_NULL: u16 = 1048;
    pub(super) const PARENT: u16 = 1451;
    pub(super) const CHILD: u16 = 1452;
    pub(super) const SIGNAL: u16 = 1644;
    pub(super) const CHECK_MARIADB: u16 = 4025;
    pub(super) const CHECK_MYSQL: u16 = 3819;
    pub(super) const ACCESS: [u16; 4] = [1044, 1045, 1698, 4151];
    pub(super) const GRANT: [u16; 4] = [1142, 1143, 1227, 1370];
    pub(super) const SHAPE: [u16; 5] = [1049, 1054, 1146, 1305, 1318];
    pub(super) const READ_ONLY: [u16; 2] = [1290, 1836];
    pub(super) const CROWDED: [u16; 3] = [1040, 1203, 1226];
}

/// Translates an error of sqlx about the server `directory`.
pub(crate) fn translate(directory: &str, error: &sqlx::Error) -> DirectoryError {
    let unavailable = |reason: String| DirectoryError::Unavailable { directory: directory.into(), reason };
    match error {
        sqlx::Error::Database(inner) => match inner.try_downcast_ref::<MySqlDatabaseError>() {
            Some(inner) => said(directory, inner.number(), inner.message()),
            None => unavailable(inner.message().into()),
        },
        // Acquiring has the same limit as connecting; which of the two it was the pool knows (`node`).
        sqlx::Error::PoolTimedOut => unavailable("no connection within the time limit".into()),
        sqlx::Error::Io(io) => {
            unavailable(format!("{io}; check that it runs and that the network and its firewall let us through"))
        }
        sqlx::Error::Tls(tls) => unavailable(format!(
            "no encrypted connection: {tls}; give its CA in [directory] ca, or let it speak TLS (ssl_cert, ssl_key in my.cnf)"
        )),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => DirectoryError::Damaged {
            directory: directory.into(),
            reason: format!("{error}; run: identityctl schema check"),
        },
        other => unavailable(other.to_string()),
    }
}

fn said(directory: &str, number: u16, text: &str) -> DirectoryError {
    let unavailable = |reason: String| DirectoryError::Unavailable { directory: directory.into(), reason };
    match number {
        code::SIGNAL => DirectoryError::Refused(text.into()),
        code::CHECK_MARIADB | code::CHECK_MYSQL | code::PARENT | code::CHILD => {
            DirectoryError::Refused(rule(text).unwrap_or(text).to_owned())
        }
        code::DUPLICATE => DirectoryError::Refused(duplicate(text)),
        code::TOO_LONG | code::OUT_OF_RANGE | code::NOT_NULL => DirectoryError::Refused(text.into()),
        code::LOCK_WAIT | code::DEADLOCK => DirectoryError::Conflict,
        number if code::CROWDED.contains(&number) => DirectoryError::Crowded { directory: directory.into() },
        number if code::READ_ONLY.contains(&number) => {
            DirectoryError::Refused(format!("the server {directory} is a replica and only read: {text}"))
        }
        // The server is well: what it refuses now it refuses next time. (And the login of one account must not make it count as down for another.)
        number if code::ACCESS.contains(&number) => DirectoryError::Damaged {
            directory: directory.into(),
            reason: format!(
                "{text}; check user and password (schema/sql/mysql/0004_users.sql; ALTER USER … IDENTIFIED BY … ACCOUNT UNLOCK)"
            ),
        },
        number if code::GRANT.contains(&number) => DirectoryError::Damaged {
            directory: directory.into(),
            reason: format!("{text}; give the account what schema/sql/mysql/0004_users.sql gives it"),
        },
        number if code::SHAPE.contains(&number) => DirectoryError::Damaged {
            directory: directory.into(),
            reason: format!("{text}; make or complete its tables with: identityctl schema apply"),
        },
        _ => unavailable(format!("it says: {text} (error {number})")),
    }
}

/// The name of a constraint is its message (`0001_tables.sql`); both servers quote it, MariaDB with backticks.
fn rule(text: &str) -> Option<&str> {
    let after = text
        .split_once("CONSTRAINT `")
        .map(|(_, rest)| rest)
        .or_else(|| text.split_once("constraint '").map(|(_, rest)| rest))?;
    after.split(['`', '\'']).next().filter(|rule| rule.contains(' '))
}

/// `Duplicate entry 'ana' for key 'a login of this name exists: names are unique'`
fn duplicate(text: &str) -> String {
    let entry = text.split('\'').nth(1).unwrap_or_default();
    let key = text.rsplit('\'').nth(1).unwrap_or_default();
    // MySQL 8 puts the table in front.
    let key = key.split_once('.').filter(|(table, _)| !table.contains(' ')).map_or(key, |(_, key)| key);
    match key {
        "PRIMARY" => format!("there is one of this id already: {entry}"),
        key => format!("{key} ({entry})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(number: u16, text: &str) -> String {
        match said("db", number, text) {
            DirectoryError::Refused(why) => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_broken_rule_is_told_by_its_name() {
        assert_eq!(
            refused(4025, "CONSTRAINT `login home: absolute, plain` failed for `identity`.`login`"),
            "login home: absolute, plain"
        );
        assert_eq!(
            refused(
                1452,
                "Cannot add or update a child row: a foreign key constraint fails (`i`.`login`, CONSTRAINT `login gid: there is no group of this gid` FOREIGN KEY (`gid`) REFERENCES `unix_group` (`gid`))"
            ),
            "login gid: there is no group of this gid"
        );
        assert_eq!(
            refused(1062, "Duplicate entry 'ana' for key 'a login of this name exists: names are unique'"),
            "a login of this name exists: names are unique (ana)"
        );
        assert_eq!(refused(1062, "Duplicate entry '5' for key 'login.PRIMARY'"), "there is one of this id already: 5");
    }

    #[test]
    fn missing_tables_and_rights_say_what_to_do() {
        assert!(said("db", 1146, "Table 'x' doesn't exist").to_string().contains("identityctl schema apply"));
        assert!(said("db", 1045, "Access denied").to_string().contains("ALTER USER"));
        assert!(matches!(said("db", 1213, "Deadlock"), DirectoryError::Conflict));
    }
}
