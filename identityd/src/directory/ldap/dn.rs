//! Distinguished names (RFC 4514): taken apart, and made comparable.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// A key under which two spellings of one name are the same. Keyed afresh in each process, so that nobody chooses names that collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DnKey(u64);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The key of a name.
pub(super) fn key(dn: &str) -> DnKey {
    DnKey(KEY.hash_one(normal(dn)))
}

/// The first attribute of a name and its value.
pub(crate) fn first(dn: &str) -> Option<(String, String)> {
    let (attribute, value) = split(dn, ',').next()?.split_once('=').map(|(a, v)| (a.to_owned(), v.to_owned()))?;
    let value = split(&value, '+').next()?.to_owned();
    Some((attribute.trim().to_ascii_lowercase(), unescape(value.trim())))
}

/// What is directly above a name; `None`: nothing.
pub(crate) fn parent(dn: &str) -> Option<&str> {
    let first = split(dn, ',').next()?;
    dn.get(first.len() + 1..).map(str::trim_start).filter(|parent| !parent.is_empty())
}

/// Whether two spellings are of one name.
pub(crate) fn same(one: &str, other: &str) -> bool {
    normal(one) == normal(other)
}

/// Whether `dn` is `base` or below it.
pub(super) fn is_below(dn: &str, base: &str) -> bool {
    let (dn, base) = (normal(dn), normal(base));
    base.is_empty() || dn == base || dn.strip_suffix(&base).is_some_and(|rest| rest.ends_with(','))
}

/// A value for a relative name (RFC 4514 §2.4).
#[must_use]
pub fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.extend(['\\', c]),
            '#' | ' ' if at == 0 => text.extend(['\\', c]),
            ' ' if at == last => text.extend(['\\', c]),
            '\0' => text.push_str("\\00"),
            _ => text.push(c),
        }
    }
    text
}

fn normal(dn: &str) -> String {
    let mut parts = Vec::new();
    for rdn in split(dn, ',') {
        let mut pairs: Vec<String> = split(rdn, '+')
            .map(|pair| {
                let (attribute, value) = pair.split_once('=').unwrap_or((pair, ""));
                let words: Vec<String> =
                    unescape(value.trim()).to_lowercase().split_whitespace().map(Into::into).collect();
                format!("{}={}", attribute.trim().to_ascii_lowercase(), escape(&words.join(" ")))
            })
            .collect();
        pairs.sort_unstable();
        parts.push(pairs.join("+"));
    }
    if parts.len() == 1 && parts.first().is_some_and(|part| part == "=") {
        return String::new();
    }
    parts.join(",")
}

/// Splits where the sign is not escaped.
fn split(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let at = c == sign && !escaped;
        escaped = c == '\\' && !escaped;
        at
    })
}

fn unescape(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        // from_str_radix would take a sign for a digit.
        let hex = tail.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                if let [next, behind @ ..] = tail {
                    bytes.push(*next);
                    rest = behind;
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_have_one_key() {
        let plain = key("uid=ana,ou=logins,dc=example,dc=org");
        for other in ["UID=Ana, OU=logins , dc=Example,dc=org", "uid=\\61na,ou=logins,dc=example,dc=org"] {
            assert_eq!(key(other), plain, "{other}");
        }
        assert_eq!(key("cn=a+uid=b,dc=x"), key("uid=b+cn=a,dc=x"));
        assert_ne!(key("uid=ana,dc=x"), key("uid=anna,dc=x"));
        assert_ne!(key("uid=a\\,b,dc=x"), key("uid=a,b=,dc=x"));
    }

    #[test]
    fn the_first_part_is_found() {
        assert_eq!(first("uid=ana,dc=x"), Some(("uid".into(), "ana".into())));
        assert_eq!(first("CN=Flores\\, Ana,dc=x"), Some(("cn".into(), "Flores, Ana".into())));
        assert_eq!(first(""), None);
    }

    #[test]
    fn above_is_what_is_left_without_the_first_part() {
        assert_eq!(parent("uid=a\\,b, ou=x,dc=y"), Some("ou=x,dc=y"));
        assert_eq!(parent("dc=y"), None);
        assert_eq!(parent(""), None);
    }

    #[test]
    fn below_is_below() {
        assert!(is_below("uid=a,dc=x", "dc=x") && is_below("dc=X", "dc=x") && is_below("dc=x", ""));
        assert!(!is_below("uid=a,adc=x", "dc=x") && !is_below("dc=y", "dc=x"));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text: String) {
            let _ = (key(&text), first(&text), parent(&text), is_below(&text, &text));
            prop_assert_eq!(first(&format!("cn={},dc=x", escape(&text))).map(|pair| pair.1.trim().to_owned()), Some(text.trim().to_owned()));
        }
    }
}
