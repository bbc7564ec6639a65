//! Rows become records here; one that breaks the rules becomes a quarantined entry with its reason.

use std::collections::BTreeSet;

use schema::capability::Capability;
use schema::date::Date;
use schema::id::{GroupId, UserId};
use schema::name::LoginName;
use schema::record::{Aging, Group, Login, Status};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::directory::{Entry, Kind, Quarantined};

/// The columns of a login that [`login`] reads, for every statement that asks for one.
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

/// The columns of a group that [`group`] reads.
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

/// A login from a row of `select_login!`.
pub(crate) fn login(row: &SqliteRow) -> Entry<Login> {
    let parsed = first(row, "uid").and_then(|()| parse_login(row));
    parsed.map_or_else(|reason| quarantined(row, Kind::Login, "uid", reason), Entry::Valid)
}

/// A group from a row of `select_group!`. Members whose names break the rules are left out: they are quarantined themselves.
pub(crate) fn group(row: &SqliteRow) -> Entry<Group> {
    let parsed = first(row, "gid").and_then(|()| parse_group(row));
    parsed.map_or_else(|reason| quarantined(row, Kind::Group, "gid", reason), Entry::Valid)
}

/// The keys of the tables forbid two entries of one name or id. In a file from which a foreign program has taken them, the row that was there first
/// keeps both, and every look-up says the same.
fn first(row: &SqliteRow, id: &str) -> Result<(), String> {
    let (name, holder) = (bytes(row, "name"), bytes(row, "holder"));
    if name != holder {
        return Err(format!("{id} belongs to {}, which was there first", String::from_utf8_lossy(&holder)));
    }
    match (number(row, id)?, number(row, "holder_id")?) {
        (Some(own), Some(holder)) if own != holder => {
            Err(format!("the name belongs to {id} {holder}, which was there first"))
        }
        _ => Ok(()),
    }
}

fn quarantined<T>(row: &SqliteRow, kind: Kind, id: &str, reason: String) -> Entry<T> {
    let name = String::from_utf8_lossy(&bytes(row, "name")).into_owned();
    let id = row.try_get_unchecked::<i64, &str>(id).unwrap_or(-1);
    let reason = format!("{reason}; correct it with identityctl or by SQL in the directory");
    Entry::Quarantined(Quarantined { kind, name, id, reason })
}

fn parse_login(row: &SqliteRow) -> Result<Login, String> {
    let status = match text(row, "status")?.as_str() {
        "active" => Status::Active,
        "locked" => Status::Locked,
        other => return Err(format!("status {other:?} is neither active nor locked")),
    };
    let mut capabilities = BTreeSet::new();
    for token in text(row, "capabilities")?.split(',').filter(|token| !token.is_empty()) {
        capabilities.insert(token.parse::<Capability>().map_err(|error| error.to_string())?);
    }
    let membership = text(row, "membership")?;
    Ok(Login {
        name: text(row, "name")?.parse().map_err(|error| format!("name: {error}"))?,
        uid: UserId::try_from(id(row, "uid")?).map_err(|error| format!("uid: {error}"))?,
        gid: GroupId::try_from(id(row, "gid")?).map_err(|error| format!("gid: {error}"))?,
        gecos: text(row, "gecos")?.parse().map_err(|error| format!("gecos: {error}"))?,
        home: text(row, "home")?.parse().map_err(|error| format!("home: {error}"))?,
        shell: text(row, "shell")?.parse().map_err(|error| format!("shell: {error}"))?,
        status,
        capabilities,
        aging: Aging {
            last_change: days(row, "last_change")?.map(Date::from_days),
            min_days: days(row, "min_days")?,
            max_days: days(row, "max_days")?,
            warn_days: days(row, "warn_days")?,
            inactive_days: days(row, "inactive_days")?,
            expires: days(row, "expires")?.map(Date::from_days),
        },
        membership: match membership.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|error| format!("membership: {error}"))?),
        },
    })
}

fn parse_group(row: &SqliteRow) -> Result<Group, String> {
    let mut members: Vec<LoginName> =
        bytes(row, "members").split(|byte| *byte == b',').filter_map(|name| LoginName::from_bytes(name).ok()).collect();
    members.sort_unstable();
    members.dedup();
    Ok(Group {
        name: text(row, "name")?.parse().map_err(|error| format!("name: {error}"))?,
        gid: GroupId::try_from(id(row, "gid")?).map_err(|error| format!("gid: {error}"))?,
        members,
    })
}

/// The bytes of a text column, NUL and broken UTF-8 included; empty for NULL.
pub(crate) fn bytes(row: &SqliteRow, column: &str) -> Vec<u8> {
    row.try_get_unchecked::<Option<Vec<u8>>, &str>(column).ok().flatten().unwrap_or_default()
}

fn text(row: &SqliteRow, column: &str) -> Result<String, String> {
    String::from_utf8(bytes(row, column)).map_err(|_| format!("{column} is not UTF-8"))
}

fn number(row: &SqliteRow, column: &str) -> Result<Option<i64>, String> {
    row.try_get_unchecked::<Option<i64>, &str>(column).map_err(|_| format!("{column} is not a number"))
}

fn id(row: &SqliteRow, column: &str) -> Result<u32, String> {
    let value = number(row, column)?.ok_or_else(|| format!("{column} is missing"))?;
    u32::try_from(value).map_err(|_| format!("{column} {value} is outside 1000-2147483647"))
}

fn days(row: &SqliteRow, column: &str) -> Result<Option<u32>, String> {
    let value = number(row, column)?;
    value
        .map(|value| {
            u32::try_from(value)
                .ok()
                .filter(|days| i32::try_from(*days).is_ok())
                .ok_or_else(|| format!("{column} {value} is not a number of days"))
        })
        .transpose()
}
