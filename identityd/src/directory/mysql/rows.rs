//! A row of MySQL as `directory::sql` reads it. Types are taken as they come: a foreign panel's uid may be INT, VARCHAR or DECIMAL.

use sqlx::mysql::MySqlRow;
use sqlx::{Column, Row, TypeInfo, ValueRef};

use crate::directory::sql::Columns;

impl Columns for MySqlRow {
    fn bytes(&self, column: &str) -> Vec<u8> {
        if let Ok(Some(bytes)) = self.try_get_unchecked::<Option<Vec<u8>>, &str>(column)
            && !is_number(self, column)
        {
            return bytes;
        }
        self.number(column).ok().flatten().map(|number| number.to_string().into_bytes()).unwrap_or_default()
    }

    fn number(&self, column: &str) -> Result<Option<i64>, String> {
        let wrong = || format!("{column} is not a number");
        // Columns of a foreign table's question may be left out.
        let Ok(value) = self.try_get_raw(column) else { return Ok(None) };
        if value.is_null() {
            return Ok(None);
        }
        if is_number(self, column) {
            let unsigned =
                self.try_get_unchecked::<u64, &str>(column).ok().and_then(|number| i64::try_from(number).ok());
            return self.try_get_unchecked::<i64, &str>(column).ok().or(unsigned).map(Some).ok_or_else(wrong);
        }
        let text = self.try_get_unchecked::<Vec<u8>, &str>(column).map_err(|_| wrong())?;
        std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).map(Some).ok_or_else(wrong)
    }
}

/// Whether the value has the binary form of an integer; DECIMAL and texts are digits.
fn is_number(row: &MySqlRow, column: &str) -> bool {
    let Ok(column) = row.try_column(column) else { return false };
    let name = column.type_info().name();
    name.contains("INT") || name == "BOOLEAN" || name == "YEAR"
}
