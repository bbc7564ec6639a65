//! The table that all else is made from: one line for each thing measured, kept as CSV.

use std::path::Path;

use super::{BenchError, save};

const HEAD: &str = "peer,logins,measure,level,value,unit,p99,over,note";

/// One thing measured, or why it was not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) peer: String,
    pub(super) logins: u32,
    pub(super) measure: String,
    /// direct, dispatch, nsswitch, or empty where that makes no difference.
    pub(super) level: String,
    pub(super) value: Option<f64>,
    pub(super) unit: String,
    pub(super) p99: Option<f64>,
    /// How many different logins were asked for.
    pub(super) over: Option<u32>,
    pub(super) note: String,
}

impl Row {
    pub(super) fn new(peer: &str, logins: u32, measure: &str, level: &str, value: f64, unit: &str) -> Self {
        Self { value: Some(value), unit: unit.into(), ..Self::absent(peer, logins, measure, level, "") }
    }

    pub(super) fn absent(peer: &str, logins: u32, measure: &str, level: &str, why: &str) -> Self {
        let text = |text: &str| text.replace([',', '"', '\n'], " ");
        Self {
            peer: peer.into(),
            logins,
            measure: measure.into(),
            level: level.into(),
            value: None,
            unit: String::new(),
            p99: None,
            over: None,
            note: text(why),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(',').collect();
        let [peer, logins, measure, level, value, unit, p99, over, note] = fields.as_slice() else { return None };
        Some(Self {
            value: value.parse().ok(),
            unit: (*unit).into(),
            p99: p99.parse().ok(),
            over: over.parse().ok(),
            ..Self::absent(peer, logins.parse().ok()?, measure, level, note)
        })
    }

    fn line(&self) -> String {
        let number = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
        let over = self.over.map(|over| over.to_string()).unwrap_or_default();
        format!(
            "{},{},{},{},{},{},{},{over},{}\n",
            self.peer,
            self.logins,
            self.measure,
            self.level,
            number(self.value),
            self.unit,
            number(self.p99),
            self.note
        )
    }
}

/// All of them, of this run and of those before it whose rows were not measured again.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// What is there; nothing if there is no such file, or if it is another program's.
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Self::default();
        }
        Self { rows: lines.filter_map(Row::parse).collect() }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), BenchError> {
        let text: String = self.rows.iter().map(Row::line).collect();
        save(path, &format!("{HEAD}\n{text}"))
    }

    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Drops what was known of this peer with so many logins.
    pub(super) fn forget(&mut self, peer: &str, logins: u32) {
        self.rows.retain(|row| row.peer != peer || row.logins != logins);
    }

    pub(super) fn row(&self, peer: &str, logins: u32, measure: &str, level: &str) -> Option<&Row> {
        let is = |row: &&Row| row.peer == peer && row.logins == logins && row.measure == measure && row.level == level;
        self.rows.iter().find(is)
    }

    pub(super) fn value(&self, peer: &str, logins: u32, measure: &str, level: &str) -> Option<f64> {
        self.row(peer, logins, measure, level)?.value
    }

    /// Why this peer has nothing at all for so many logins, if so.
    pub(super) fn obstacle(&self, peer: &str, logins: u32) -> Option<&str> {
        self.row(peer, logins, "all", "").map(|row| row.note.as_str())
    }

    /// What this peer has answered wrongly with so many logins.
    pub(super) fn wrong(&self, peer: &str, logins: u32) -> Option<String> {
        let wrong: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.peer == peer && row.logins == logins && row.note.starts_with("wrong"))
            .map(|row| format!("{} {}", row.measure, row.level))
            .collect();
        (!wrong.is_empty()).then(|| format!("wrong answers: {}", wrong.join(", ")))
    }

    /// What is known of the machine, as words.
    pub(super) fn facts(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.peer == "machine" && row.value.is_none())
    }

    /// The number that a fact begins with.
    pub(super) fn fact_number(&self, name: &str) -> Option<f64> {
        self.facts().find(|row| row.measure == name)?.note.split(' ').next()?.parse().ok()
    }

    /// What was measured of the machine under this prefix: the rest of the name, and the number.
    pub(super) fn facts_of<'t>(&'t self, prefix: &'t str) -> impl Iterator<Item = (&'t str, f64)> {
        let of = move |row: &'t Row| Some((row.measure.strip_prefix(prefix)?, row.value?));
        self.rows.iter().filter(|row| row.peer == "machine").filter_map(of)
    }

    /// The sizes that were measured, ascending.
    pub(super) fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<_> = self.rows.iter().map(|row| row.logins).filter(|&size| size > 0).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        let row = Row { over: Some(7), p99: Some(2.5), ..Row::new("sss", 1000, "name", "dispatch", 1.25, "ns") };
        let absent = Row::absent("sss", 1000, "all", "", "no, \"not\" this");
        let mut table = Table::default();
        table.push(row.clone());
        table.push(absent);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.csv");
        table.write(&path).expect("written");
        let read = Table::read(&path);
        assert_eq!(read.row("sss", 1000, "name", "dispatch"), Some(&row));
        assert_eq!(read.obstacle("sss", 1000), Some("no   not  this"));
    }

    #[test]
    fn a_part_replaces_its_own_rows_only() {
        let mut table = Table::default();
        table.push(Row::new("sss", 1000, "name", "", 1.0, "ns"));
        table.push(Row::new("sss", 10_000, "name", "", 2.0, "ns"));
        table.forget("sss", 1000);
        assert_eq!((table.value("sss", 1000, "name", ""), table.value("sss", 10_000, "name", "")), (None, Some(2.0)));
    }
}
