//! Dates as shadow(5) counts them: days since 1970-01-01, UTC.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

/// A day. Text form `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(u32);

/// The text is not a date that can be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date: use YYYY-MM-DD, from 1970-01-01 to 9999-12-31")]
pub struct DateError(String);

/// 9999-12-31.
const LAST: u32 = 2_932_896;

impl Date {
    /// A day by its number; numbers after 9999-12-31 are cut to it.
    #[must_use]
    pub const fn from_days(days: u32) -> Self {
        Self(if days > LAST { LAST } else { days })
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.0
    }

    /// The day of a clock reading; a clock before 1970 counts as 1970-01-01.
    #[must_use]
    pub fn of(now: SystemTime) -> Self {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self::from_days(u32::try_from(seconds / 86_400).unwrap_or(LAST))
    }

    /// Year, month (1–12), day (1–31).
    #[must_use]
    pub const fn civil(self) -> (u32, u32, u32) {
        // Days from the civil calendar, counted in eras of 400 years from 0000-03-01.
        let z = self.0 + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + if month <= 2 { 1 } else { 0 };
        (year, month, day)
    }

    const fn from_civil(year: u32, month: u32, day: u32) -> Option<Self> {
        if year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 {
            return None;
        }
        let y = if month <= 2 { year - 1 } else { year };
        let era = y / 400;
        let yoe = y % 400;
        let mp = if month > 2 { month - 3 } else { month + 9 };
        let doy = (153 * mp + 2) / 5 + day - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let date = Self(era * 146_097 + doe - 719_468);
        let (y2, m2, d2) = date.civil();
        // 31 April becomes 1 May and is refused here.
        if y2 == year && m2 == month && d2 == day { Some(date) } else { None }
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let bad = || DateError(text.into());
        let shape = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !shape {
            return Err(bad());
        }
        let number = |range| text.get(range).and_then(|part: &str| part.parse().ok()).ok_or_else(bad);
        Self::from_civil(number(0..4)?, number(5..7)?, number(8..10)?).ok_or_else(bad)
    }
}

impl TryFrom<String> for Date {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> String {
        date.to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_survives_the_way_to_text_and_back() {
        for days in (0..LAST).step_by(37).chain([0, LAST]) {
            let date = Date::from_days(days);
            assert_eq!(date.to_string().parse(), Ok(date));
        }
    }

    #[test]
    fn known_days() {
        assert_eq!(Date::from_days(0).to_string(), "1970-01-01");
        assert_eq!(Date::from_days(LAST).to_string(), "9999-12-31");
        assert_eq!("2024-02-29".parse::<Date>().map(Date::days), Ok(19_782));
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["2023-02-29", "2024-13-01", "2024-00-10", "1969-12-31", "24-01-01", "2024-1-01", "", "today"] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }
}
