//! Password hashes as crypt(5) writes them. They never print, and their memory is cleared.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::packed::MAX_HASH;

/// The hash field of shadow(5): a crypt(5) hash, or a text that no password can match (`*`, `!`, `!` and a hash).
///
/// `Debug` and `Display` never show it; [`PasswordHash::expose`] does.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

/// Why a text was refused as a hash. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// An empty field would let anybody in.
    #[error("the password field is empty, which would mean no password at all; use * for none")]
    Empty,
    /// Too long for crypt(3).
    #[error("the hash has {0} bytes; crypt(5) knows none above {MAX_HASH}")]
    TooLong(usize),
    /// A character outside printable ASCII, or one that crypt(5) rules out.
    #[error("the hash has a character that crypt(5) rules out at position {0}")]
    BadByte(usize),
    /// Not one of the formats of Debian's libcrypt, and not a locked one.
    #[error("the text is neither a hash in a format of crypt(5) nor locked with ! or *")]
    UnknownFormat,
}

/// The method of a hash, by its prefix (crypt(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `$y$`, Debian's default.
    Yescrypt,
    /// `$gy$`
    GostYescrypt,
    /// `$7$`
    Scrypt,
    /// `$2a$`, `$2b$`, `$2y$`
    Bcrypt,
    /// `$6$`
    Sha512crypt,
    /// `$5$`
    Sha256crypt,
    /// `$1$`
    Md5crypt,
    /// `_` and 19 characters.
    Bsdicrypt,
    /// 13 characters.
    Descrypt,
    /// Starts with `!` or `*`: nothing matches.
    Locked,
}

impl PasswordHash {
    /// A hash that nothing matches: the login has no password.
    #[must_use]
    pub fn none() -> Self {
        Self("*".into())
    }

    /// The text, for crypt(3) and for the directory. Keep it out of logs and argument lists.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Which method made it.
    #[must_use]
    pub fn method(&self) -> Method {
        method(&self.0).unwrap_or(Method::Locked)
    }

    /// Whether a password could match at all.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.method() != Method::Locked
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = HashError;

    fn try_from(mut text: String) -> Result<Self, HashError> {
        match check(&text) {
            Ok(()) => Ok(Self(text)),
            Err(error) => {
                text.zeroize();
                Err(error)
            }
        }
    }
}

impl std::str::FromStr for PasswordHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl From<PasswordHash> for String {
    fn from(mut hash: PasswordHash) -> String {
        std::mem::take(&mut hash.0)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({:?})", self.method())
    }
}

fn check(text: &str) -> Result<(), HashError> {
    if text.is_empty() {
        return Err(HashError::Empty);
    }
    if text.len() > MAX_HASH {
        return Err(HashError::TooLong(text.len()));
    }
    // crypt(5): printable ASCII without space, colon, semicolon, asterisk, exclamation mark and backslash; `*` and `!` lock.
    let body = text.trim_start_matches(['!', '*']);
    let start = text.len() - body.len();
    let bad =
        body.bytes().position(|byte| !byte.is_ascii_graphic() || matches!(byte, b':' | b';' | b'*' | b'!' | b'\\'));
    if let Some(at) = bad {
        return Err(HashError::BadByte(start + at));
    }
    method(text).map(|_| ()).ok_or(HashError::UnknownFormat)
}

fn method(text: &str) -> Option<Method> {
    const PREFIXES: [(&str, Method); 10] = [
        ("$y$", Method::Yescrypt),
        ("$gy$", Method::GostYescrypt),
        ("$7$", Method::Scrypt),
        ("$2a$", Method::Bcrypt),
        ("$2b$", Method::Bcrypt),
        ("$2y$", Method::Bcrypt),
        ("$6$", Method::Sha512crypt),
        ("$5$", Method::Sha256crypt),
        ("$1$", Method::Md5crypt),
        ("_", Method::Bsdicrypt),
    ];
    if text.starts_with(['!', '*']) {
        return Some(Method::Locked);
    }
    if let Some((_, method)) = PREFIXES.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        return Some(*method);
    }
    let des = text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    des.then_some(Method::Descrypt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_never_prints() {
        let hash: PasswordHash = "$6$salt$secretpart".parse().unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(Sha512crypt)");
    }

    #[test]
    fn what_shadow_files_hold_is_taken() {
        for text in ["*", "!", "!!", "!*", "!$6$a$b", "$y$j9T$abc$def", "$2y$10$abcdefgh", "ab01234567./x"] {
            assert!(text.parse::<PasswordHash>().is_ok(), "{text}");
        }
    }

    #[test]
    fn an_empty_or_broken_hash_is_refused() {
        for text in ["", "$6$a:b", "$6$a\nb", "hello", "$9$x", "x"] {
            assert!(text.parse::<PasswordHash>().is_err(), "{text:?}");
        }
        assert!("a".repeat(385).parse::<PasswordHash>().is_err());
    }
}
