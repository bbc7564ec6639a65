//! Lines and fields of account files, from bytes that may be anything.

use super::{Fate, Finding, Origin};

/// One line, without its end.
pub(super) struct Line<'a> {
    /// From 1.
    pub(super) number: u64,
    /// What is in it.
    pub(super) bytes: &'a [u8],
}

/// Why a line, or a field, is not taken.
pub(super) struct Reject {
    pub(super) fate: Fate,
    pub(super) reason: String,
}

pub(super) fn refused(reason: impl Into<String>) -> Reject {
    Reject { fate: Fate::Refused, reason: reason.into() }
}

pub(super) fn skipped(reason: impl Into<String>) -> Reject {
    Reject { fate: Fate::Skipped, reason: reason.into() }
}

/// The lines of a file. A last line without newline is a line; what follows the last newline is one only if it is not empty.
pub(super) fn lines(content: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let body = content.strip_suffix(b"\n").unwrap_or(content);
    let none = content.is_empty();
    body.split(|byte| *byte == b'\n')
        .filter(move |_| !none)
        .zip(1..)
        .map(|(bytes, number)| Line { number, bytes: bytes.strip_suffix(b"\r").unwrap_or(bytes) })
}

/// The first line that ended in CR LF, as a remark about the whole file.
pub(super) fn carriage_returns(file: &str, content: &[u8]) -> Option<Finding> {
    let number = content.split(|byte| *byte == b'\n').position(|line| line.ends_with(b"\r"))?;
    Some(Finding {
        origin: Origin { file: file.into(), line: u64::try_from(number).unwrap_or(u64::MAX).saturating_add(1) },
        fate: Fate::Noted,
        name: None,
        reason: "the file has lines that end in CR LF, as on Windows: the CR is dropped from each".into(),
    })
}

/// The fields of a line, or why it is none of an account.
pub(super) fn fields<const N: usize>(line: &[u8]) -> Result<[&[u8]; N], Reject> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Err(skipped("empty line"));
    }
    if line.starts_with(b"#") {
        return Err(skipped("comment"));
    }
    if line.contains(&0) {
        return Err(refused("the line has a NUL byte: no program of the system would read what is behind it"));
    }
    let found: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let numbered = found.get(2).is_some_and(|field| !field.is_empty() && field.iter().all(u8::is_ascii_digit));
    if line.starts_with(b"+") || (line.starts_with(b"-") && !numbered) {
        return Err(skipped("an entry of NIS (nsswitch's compat mode): its accounts are elsewhere"));
    }
    let count = found.len();
    <[&[u8]; N]>::try_from(found)
        .map_err(|_| refused(format!("the line has {count} fields separated by colons instead of {N}")))
}

/// A decimal number as passwd(5) has it: digits only, no leading zero.
pub(super) fn number(what: &str, field: &[u8]) -> Result<u64, Reject> {
    let text = std::str::from_utf8(field).unwrap_or("?");
    let canonical =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !canonical {
        return Err(refused(format!("the {what} {:?} is not a plain decimal number", shown(field))));
    }
    text.parse().map_err(|_| refused(format!("the {what} {} is far above 2147483647", shown(field))))
}

/// An id of the directory; ids of the system are passed over.
pub(super) fn id<T: TryFrom<u32, Error = schema::id::IdError>>(
    what: &str,
    field: &[u8],
    floor: u32,
) -> Result<T, Reject> {
    let number = number(what, field)?;
    if number < u64::from(floor.max(schema::id::FLOOR)) {
        return Err(skipped(format!("of the system: {what} {number} is below {}", floor.max(schema::id::FLOOR))));
    }
    // base-passwd: nobody and nogroup.
    if number == 65534 {
        return Err(skipped(format!("of the system: {what} 65534 is nobody's")));
    }
    let number = u32::try_from(number).map_err(|_| refused(format!("the {what} {number} is above 2147483647")))?;
    T::try_from(number).map_err(|error| refused(format!("{what}: {error}")))
}

/// Foreign text for a report: printable, short.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
    let mut shown: String = text.escape_debug().collect();
    if text.len() < bytes.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_counted_once() {
        let count = |text: &str| lines(text.as_bytes()).count();
        assert_eq!(count(""), 0);
        assert_eq!(count("\n"), 1);
        assert_eq!(count("a"), 1);
        assert_eq!(count("a\n"), 1);
        assert_eq!(count("a\nb"), 2);
        assert_eq!(count("a\n\n"), 2);
    }

    #[test]
    fn numbers_are_taken_only_as_the_system_writes_them() {
        for text in ["", "007", "+5", "-5", " 5", "5 ", "0x10", "1e3", "٣"] {
            assert!(number("uid", text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(number("uid", b"0").ok(), Some(0));
        assert_eq!(number("uid", b"1000").ok(), Some(1000));
    }
}
