//! Rows become records here, whatever SQL database they are from; one that breaks the rules becomes a quarantined entry with its reason.

use std::collections::BTreeSet;

use schema::capability::Capability;
use schema::date::Date;
use schema::id::{GroupId, UserId};
use schema::name::LoginName;
use schema::record::{Aging, Group, Login, Status};

use crate::accounts::key::MAX_KEYS;
use crate::directory::{Entry, Kind, Quarantined};

/// A row of a database, by the names of its columns.
pub(crate) trait Columns {
    /// The bytes of a text column, NUL and broken UTF-8 included; empty for NULL and for a column that there is not.
    fn bytes(&self, column: &str) -> Vec<u8>;

    /// A number; `None` for NULL. `Err`: it is none, or there is no such column.
    fn number(&self, column: &str) -> Result<Option<i64>, String>;
}

/// A login from a row with the columns uid, name, gid, gecos, home, shell, status, last_change, min_days, max_days, warn_days, inactive_days,
/// expires, membership (its name), capabilities (with commas between), and where two rows could have one name or id holder and holder_id.
pub(crate) fn login(row: &impl Columns) -> Entry<Login> {
    let parsed = first(row, "uid").and_then(|()| parse_login(row));
    parsed.map_or_else(|reason| quarantined(row, Kind::Login, "uid", reason), Entry::Valid)
}

/// A group from a row with the columns gid, name, members (with commas between), and maybe holder and holder_id. Members whose names break
/// the rules are left out: they are quarantined themselves.
pub(crate) fn group(row: &impl Columns) -> Entry<Group> {
    let parsed = first(row, "gid").and_then(|()| parse_group(row));
    parsed.map_or_else(|reason| quarantined(row, Kind::Group, "gid", reason), Entry::Valid)
}

/// The rows of keys that are served: at most [`MAX_KEYS`], the oldest. A login does not decide how much memory its answer takes.
pub(crate) fn bounded_keys<'r, T>(login: &LoginName, rows: &'r [T]) -> impl Iterator<Item = &'r T> + use<'r, T> {
    if rows.len() > MAX_KEYS {
        tracing::warn!(
            %login,
            "more than {MAX_KEYS} ssh keys: only the oldest are served; remove some with identityctl key remove"
        );
    }
    rows.iter().take(MAX_KEYS)
}

/// The keys of the tables forbid two entries of one name or id. In a file from which a foreign program has taken them, the row that was there first
/// keeps both, and every look-up says the same.
fn first(row: &impl Columns, id: &str) -> Result<(), String> {
    let (name, holder) = (row.bytes("name"), row.bytes("holder"));
    if !holder.is_empty() && name != holder {
        return Err(format!("{id} belongs to {}, which was there first", String::from_utf8_lossy(&holder)));
    }
    match (row.number(id)?, row.number("holder_id").unwrap_or(None)) {
        (Some(own), Some(holder)) if own != holder => {
            Err(format!("the name belongs to {id} {holder}, which was there first"))
        }
        _ => Ok(()),
    }
}

fn quarantined<T>(row: &impl Columns, kind: Kind, id: &str, reason: String) -> Entry<T> {
    let name = String::from_utf8_lossy(&row.bytes("name")).into_owned();
    let id = row.number(id).ok().flatten().unwrap_or(-1);
    let reason = format!("{reason}; correct it with identityctl or by SQL in the directory");
    Entry::Quarantined(Quarantined { kind, name, id, reason })
}

fn parse_login(row: &impl Columns) -> Result<Login, String> {
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

fn parse_group(row: &impl Columns) -> Result<Group, String> {
    let mut members: Vec<LoginName> =
        row.bytes("members").split(|byte| *byte == b',').filter_map(|name| LoginName::from_bytes(name).ok()).collect();
    members.sort_unstable();
    members.dedup();
    Ok(Group {
        name: text(row, "name")?.parse().map_err(|error| format!("name: {error}"))?,
        gid: GroupId::try_from(id(row, "gid")?).map_err(|error| format!("gid: {error}"))?,
        members,
    })
}

fn text(row: &impl Columns, column: &str) -> Result<String, String> {
    String::from_utf8(row.bytes(column)).map_err(|_| format!("{column} is not UTF-8"))
}

fn id(row: &impl Columns, column: &str) -> Result<u32, String> {
    let value = row.number(column)?.ok_or_else(|| format!("{column} is missing"))?;
    u32::try_from(value).map_err(|_| format!("{column} {value} is outside 1000-2147483647"))
}

fn days(row: &impl Columns, column: &str) -> Result<Option<u32>, String> {
    let value = row.number(column)?;
    value
        .map(|value| {
            u32::try_from(value)
                .ok()
                .filter(|days| i32::try_from(*days).is_ok())
                .ok_or_else(|| format!("{column} {value} is not a number of days"))
        })
        .transpose()
}
