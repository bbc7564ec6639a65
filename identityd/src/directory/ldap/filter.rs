//! Values in filters and names: the one place where they are escaped.

use std::fmt::Write;

/// A value for a filter (RFC 4515 §3): everything but letters, digits and a few harmless signs becomes `\xx`.
pub(crate) fn value(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b',' | b'=' | b' ' | b'@' | b':' | b'+')
        {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\{byte:02x}");
        }
    }
    text
}

/// `(attribute=value)`.
pub(crate) fn equal(attribute: &str, wanted: &[u8]) -> String {
    format!("({attribute}={})", value(wanted))
}

/// Both.
pub(crate) fn and(all: &str, also: &str) -> String {
    format!("(&{}{also})", wrapped(all))
}

/// A filter of the configuration may come without its parentheses.
pub(crate) fn wrapped(filter: &str) -> String {
    if filter.starts_with('(') { filter.into() } else { format!("({filter})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_means_something_in_a_filter_gets_through() {
        assert_eq!(value(b"*)(uid=*"), "\\2a\\29\\28uid=\\2a");
        assert_eq!(value(b"a\\b\0"), "a\\5cb\\00");
        assert_eq!(value("josé".as_bytes()), "jos\\c3\\a9");
    }

    proptest! {
        #[test]
        fn any_value_makes_a_filter_of_one_comparison(bytes: Vec<u8>) {
            prop_assume!(!bytes.is_empty());
            let filter = and("objectClass=posixAccount", &equal("uid", &bytes));
            prop_assert!(ldap3::parse_filter(&filter).is_ok(), "{filter}");
            prop_assert_eq!(filter.matches('(').count(), 3);
            prop_assert!(!filter.contains('*'));
        }
    }
}
