//! One text for both dialects: parameters are written `?1`, and a row is read by the names of its columns.

use std::borrow::Cow;

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, MySql, Sqlite, Transaction};

use crate::directory::sql::Columns;

/// A statement with its parameters.
pub(super) struct Statement<'a> {
    text: Cow<'static, str>,
    values: Vec<Value<'a>>,
}

/// A parameter. More types are not needed, so sqlx's `Any` is not either.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(Option<i64>),
    Text(Option<&'a str>),
}

/// A statement without parameters yet.
pub(super) fn sql<'a>(text: impl Into<Cow<'static, str>>) -> Statement<'a> {
    Statement { text: text.into(), values: Vec::new() }
}

impl<'a> Statement<'a> {
    /// The next parameter.
    pub(super) fn with(mut self, value: impl Into<Value<'a>>) -> Self {
        self.values.push(value.into());
        self
    }

    fn for_sqlite(&self) -> sqlx::query::Query<'_, Sqlite, SqliteArguments> {
        let query = match &self.text {
            Cow::Borrowed(text) => sqlx::query(*text),
            Cow::Owned(text) => sqlx::query(AssertSqlSafe(text.clone())),
        };
        self.values.iter().fold(query, |query, value| match *value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text.map(str::to_owned)),
        })
    }

    /// MySQL numbers its parameters by their places: each `?2` becomes `?`, with the second value.
    fn for_mysql(&self) -> sqlx::query::Query<'_, MySql, MySqlArguments> {
        let mut text = String::with_capacity(self.text.len());
        let mut order: Vec<Value<'a>> = Vec::new();
        let mut rest: &str = &self.text;
        while let Some((before, after)) = rest.split_once('?') {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = after.split_at(digits);
            text.push_str(before);
            text.push('?');
            let value = number.parse::<usize>().ok().and_then(|number| self.values.get(number.checked_sub(1)?));
            order.extend(value.copied());
            rest = after;
        }
        text.push_str(rest);
        order.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text.map(str::to_owned)),
        })
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<Option<u32>> for Value<'_> {
    fn from(number: Option<u32>) -> Self {
        Self::Number(number.map(i64::from))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}

/// An open transaction.
pub(super) enum Link {
    Sqlite(Transaction<'static, Sqlite>),
    Mysql(Transaction<'static, MySql>),
}

/// A row of either.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Mysql(MySqlRow),
}

impl Link {
    /// How many rows it has written.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(link) => Ok(statement.for_sqlite().execute(&mut **link).await?.rows_affected()),
            Self::Mysql(link) => Ok(statement.for_mysql().execute(&mut **link).await?.rows_affected()),
        }
    }

    /// All rows.
    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Self::Sqlite(link) => {
                Ok(statement.for_sqlite().fetch_all(&mut **link).await?.into_iter().map(Row::Sqlite).collect())
            }
            Self::Mysql(link) => {
                Ok(statement.for_mysql().fetch_all(&mut **link).await?.into_iter().map(Row::Mysql).collect())
            }
        }
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(link) => link.commit().await,
            Self::Mysql(link) => link.commit().await,
        }
    }
}

impl Columns for Row {
    fn bytes(&self, column: &str) -> Vec<u8> {
        match self {
            Self::Sqlite(row) => row.bytes(column),
            Self::Mysql(row) => row.bytes(column),
        }
    }

    fn number(&self, column: &str) -> Result<Option<i64>, String> {
        match self {
            Self::Sqlite(row) => row.number(column),
            Self::Mysql(row) => row.number(column),
        }
    }
}

impl Row {
    /// A text, for people or to be parsed.
    pub(super) fn text(&self, column: &str) -> String {
        String::from_utf8_lossy(&self.bytes(column)).into_owned()
    }

    /// A number that cannot be missing.
    pub(super) fn id(&self, column: &str) -> i64 {
        self.number(column).ok().flatten().unwrap_or(-1)
    }
}
