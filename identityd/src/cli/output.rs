//! Tables for people, JSON for programs.

use std::io::{IsTerminal, Write};

use comfy_table::presets;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::CliError;

/// Where and how a command prints.
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    /// What tests see in the place of standard output.
    #[cfg(test)]
    gathered: Option<std::sync::Mutex<Vec<u8>>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: std::io::stdout().is_terminal(),
            #[cfg(test)]
            gathered: None,
        }
    }

    /// Keeps what is printed, for tests.
    #[cfg(test)]
    pub(crate) fn gathering(json: bool) -> Self {
        Self { json, terminal: false, gathered: Some(std::sync::Mutex::default()) }
    }

    #[cfg(test)]
    pub(crate) fn gathered(&self) -> String {
        let bytes = self.gathered.as_ref().map(|gathered| std::mem::take(&mut *gathered.lock().unwrap()));
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    }

    /// Whether `--json` was given.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `value` with `--json`, else the text. Neither steers a terminal, whatever is in it.
    pub(crate) fn show<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) -> Result<(), CliError> {
        if self.json {
            let json = serde_json::to_string_pretty(value);
            let json =
                json.map_err(|error| CliError::Refused(format!("the answer cannot be written as JSON: {error}")));
            return self.raw(&(json_text(json?) + "\n"));
        }
        self.raw(&lines(&text(self)))
    }

    /// Prints a text as it is.
    pub(crate) fn raw(&self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        #[cfg(test)]
        if let Some(gathered) = &self.gathered {
            gathered.lock().unwrap().extend_from_slice(bytes);
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        // A reader that has gone is no panic, as println! would make of it.
        out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::io("write the output"))
    }

    /// A table: fitted to the terminal, or whole lines of columns in a pipe.
    pub(crate) fn table(&self, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = Table::new();
        if self.terminal {
            table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(head.iter().map(|cell| printable(cell)));
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell)));
        }
        let mut text: String = table.trim_fmt();
        text.push('\n');
        text
    }

    /// Lines of `key  value`.
    pub(crate) fn pairs(&self, pairs: &[(&str, String)]) -> String {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (printable(key), printable(value))).collect();
        let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        pairs.iter().fold(String::new(), |text, (key, value)| text + &format!("{key:<width$}  {value}\n"))
    }
}

/// The text without characters that steer a terminal: entries of a directory are somebody's input, and so are files and what a daemon says.
pub(crate) fn printable(text: &str) -> String {
    written_out(text, steers)
}

/// The same for a text of several lines.
pub(crate) fn lines(text: &str) -> String {
    written_out(text, |c| steers(c) && c != '\n')
}

/// Controls (C0, DEL, and C1, of which U+009B begins a sequence as ESC [ does), and what turns the direction of writing, so that a line reads as another one.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn written_out(text: &str, escaped: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if escaped(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// JSON says the same with escapes, and serde_json writes only those below U+0020 so. Outside of strings there are none of them but line ends.
pub(crate) fn json_text(json: String) -> String {
    if !json.chars().any(|c| steers(c) && c != '\n') {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        match steers(c) && c != '\n' {
            // All of them are in the first plane.
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piped() -> Output {
        Output::gathering(false)
    }

    #[test]
    fn a_table_in_a_pipe_is_one_line_an_entry_however_long() {
        let long = "x".repeat(300);
        let text = piped().table(&["name", "value"], [vec!["a".into(), long.clone()], vec!["b".into(), "y".into()]]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains(&long));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn characters_that_steer_a_terminal_are_written_out() {
        let text = piped().table(&["name"], [vec!["a\u{1b}[2Jb\nc".into()]]);
        assert!(text.contains("a\\u{1b}[2Jb\\nc"), "{text}");
        assert_eq!(printable("Zoë 日本"), "Zoë 日本");
        // One character that begins a sequence, and one that turns the direction of writing.
        assert_eq!(printable("a\u{9b}2Jb\u{202e}c"), "a\\u{9b}2Jb\\u{202e}c");
    }

    #[test]
    fn no_text_and_no_json_steers_a_terminal() {
        let hostile = "x\u{1b}[2J\u{9b}31m\u{7f}\u{202e}";
        let output = piped();
        output.show(&(), |_| format!("Login {hostile} added.\nDone.\n")).unwrap();
        let text = output.gathered();
        assert_eq!((text.chars().any(|c| steers(c) && c != '\n'), text.lines().count()), (false, 2), "{text:?}");
        let output = Output::gathering(true);
        output.show(&serde_json::json!({ "name": hostile }), |_| String::new()).unwrap();
        let text = output.gathered();
        assert!(!text.chars().any(|c| steers(c) && c != '\n'), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["name"], hostile);
    }

    #[test]
    fn pairs_stand_in_columns() {
        assert_eq!(piped().pairs(&[("uid", "1".into()), ("home", "/h".into())]), "uid   1\nhome  /h\n");
    }
}
