//! The gecos field: free text that cannot break the line it is written in.

use std::fmt;

use crate::packed::MAX_FIELD;

/// Full name or comment (passwd(5), pw_gecos): UTF-8, no colon, no control character, at most 255 bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Gecos(Box<str>);

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Too long.
    #[error("the text has {0} bytes; {MAX_FIELD} are allowed")]
    TooLong(usize),
    /// A colon or a control character.
    #[error("the text must not contain {0:?}: it would break the fields of passwd(5)")]
    BadCharacter(char),
}

impl Gecos {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Gecos {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        check_field(&text)?;
        Ok(Self(text.into()))
    }
}

impl std::str::FromStr for Gecos {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        check_field(text)?;
        Ok(Self(text.into()))
    }
}

impl From<Gecos> for String {
    fn from(gecos: Gecos) -> String {
        gecos.0.into()
    }
}

impl fmt::Display for Gecos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Gecos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What holds for every field of passwd(5).
pub(crate) fn check_field(text: &str) -> Result<(), TextError> {
    if text.len() > MAX_FIELD {
        return Err(TextError::TooLong(text.len()));
    }
    match text.chars().find(|c| *c == ':' || c.is_control()) {
        Some(c) => Err(TextError::BadCharacter(c)),
        None => Ok(()),
    }
}
