//! Which columns make a login or a group; what becomes of them is in `directory::sql`.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(crate) use crate::directory::sql::{Columns, group, login};

/// The columns of a login that `sql::login` reads, for every statement that asks for one.
/// One statement is one moment: capabilities and membership are of the same generation as the rest.
macro_rules! select_login {
    ($rest:literal) => {
        $crate::directory::sqlite::rows::select_login!(also "", $rest)
    };
    // With further columns, each with a comma in front.
    (also $more:literal, $rest:literal) => {
        concat!(
            "SELECT l.uid, l.name, l.gid, l.gecos, l.home, l.shell, l.status, l.last_change, l.min_days, l.max_days, l.warn_days, ",
            "l.inactive_days, l.expires, (SELECT m.name FROM membership AS m WHERE m.id = l.membership_id) AS membership, ",
            "(SELECT group_concat(c.capability, ',') FROM login_capability AS c WHERE c.uid = l.uid) AS capabilities, ",
            "(SELECT o.name FROM login AS o WHERE o.uid = l.uid ORDER BY o.rowid LIMIT 1) AS holder, ",
            "(SELECT o.uid FROM login AS o WHERE o.name = l.name ORDER BY o.rowid LIMIT 1) AS holder_id",
            $more,
            " FROM login AS l ",
            $rest
        )
    };
}

/// The columns of a group that `sql::group` reads.
macro_rules! select_group {
    ($rest:literal) => {
        concat!(
            "SELECT g.gid, g.name, CASE WHEN g.rule IS NULL THEN (",
            "SELECT group_concat(l.name, ',') FROM group_member AS m JOIN login AS l ON l.uid = m.uid WHERE m.gid = g.gid",
            ") WHEN g.rule = 'sftp-only' THEN (",
            "SELECT group_concat(l.name, ',') FROM login_capability AS c JOIN login AS l ON l.uid = c.uid WHERE c.capability = 'sftp' ",
            "AND NOT EXISTS (SELECT 1 FROM login_capability AS s WHERE s.uid = c.uid AND s.capability = 'shell')",
            ") END AS members, ",
            "(SELECT o.name FROM unix_group AS o WHERE o.gid = g.gid ORDER BY o.rowid LIMIT 1) AS holder, ",
            "(SELECT o.gid FROM unix_group AS o WHERE o.name = g.name ORDER BY o.rowid LIMIT 1) AS holder_id ",
            "FROM unix_group AS g ",
            $rest
        )
    };
}

pub(crate) use {select_group, select_login};

impl Columns for SqliteRow {
    fn bytes(&self, column: &str) -> Vec<u8> {
        self.try_get_unchecked::<Option<Vec<u8>>, &str>(column).ok().flatten().unwrap_or_default()
    }

    fn number(&self, column: &str) -> Result<Option<i64>, String> {
        self.try_get_unchecked::<Option<i64>, &str>(column).map_err(|_| format!("{column} is not a number"))
    }
}

/// The bytes of a text column.
pub(crate) fn bytes(row: &SqliteRow, column: &str) -> Vec<u8> {
    row.bytes(column)
}
