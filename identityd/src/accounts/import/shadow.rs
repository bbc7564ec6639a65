//! shadow(5).

use schema::date::Date;
use schema::hash::PasswordHash;
use schema::name::LoginName;
use schema::record::{Aging, Status};

use super::lines::{Reject, fields, number, refused};

/// A line of shadow(5) that keeps the rules.
pub(super) struct ShadowLine {
    pub(super) name: LoginName,
    pub(super) password: Password,
    pub(super) aging: Aging,
    /// Remarks about it.
    pub(super) notes: Vec<String>,
}

/// What a password field means.
pub(super) struct Password {
    pub(super) status: Status,
    pub(super) hash: PasswordHash,
    pub(super) note: Option<String>,
}

/// The last day that the directory keeps: 9999-12-31.
const LAST_DAY: u64 = 2_932_896;

pub(super) fn parse(line: &[u8]) -> Result<ShadowLine, Reject> {
    let [name, hash, last_change, min, max, warn, inactive, expires, reserved] = fields::<9>(line)?;
    let name = LoginName::from_bytes(name).map_err(|error| refused(error.to_string()))?;
    let mut notes = Vec::new();
    let mut days = |what: &str, field: &[u8], most: u64| -> Result<Option<u32>, Reject> {
        match field {
            b"" => Ok(None),
            b"-1" => {
                notes.push(format!("{what} -1 is taken as empty"));
                Ok(None)
            }
            field => match u32::try_from(number(what, field)?) {
                Ok(days) if u64::from(days) <= most => Ok(Some(days)),
                _ => Err(refused(format!("{what} is above {most}"))),
            },
        }
    };
    let many = u64::from(i32::MAX.unsigned_abs());
    let aging = Aging {
        last_change: days("day of the last change", last_change, LAST_DAY)?.map(Date::from_days),
        min_days: days("minimum age", min, many)?,
        max_days: days("maximum age", max, many)?,
        warn_days: days("warning period", warn, many)?,
        inactive_days: days("grace period", inactive, many)?,
        expires: days("day of expiry", expires, LAST_DAY)?.map(Date::from_days),
    };
    if !reserved.is_empty() {
        notes.push("the last field, which is reserved (shadow(5)), is dropped".into());
    }
    let password = password(hash);
    notes.extend(password.note.clone());
    Ok(ShadowLine { name, password, aging, notes })
}

/// A password field. One `!` in front of something locks the login and keeps what is behind it (`usermod -L`); `*` and `!` alone are no password.
pub(super) fn password(field: &[u8]) -> Password {
    let (status, rest) = match field.split_first() {
        Some((b'!', rest)) if !rest.is_empty() => (Status::Locked, rest),
        _ => (Status::Active, field),
    };
    if rest.is_empty() {
        return Password {
            status: Status::Locked,
            hash: PasswordHash::none(),
            note: Some(
                "the password is empty, so that anybody could enter: the login is imported locked, without a password"
                    .into(),
            ),
        };
    }
    let parsed = std::str::from_utf8(rest).map_err(|_| "the hash is not ASCII".to_owned());
    match parsed.and_then(|text| text.parse::<PasswordHash>().map_err(|error| error.to_string())) {
        Ok(hash) => Password { status, hash, note: None },
        Err(reason) => Password {
            status,
            hash: PasswordHash::none(),
            note: Some(format!("the password is not taken: {reason}; set a new one with identityctl login passwd")),
        },
    }
}
