//! A name that is kept in its entry where it is short, and nearly all are. Pieces of memory of their own, some hundred thousand of a few bytes, would keep what lies between them from being given back.

use std::ops::Deref;

/// So many bytes make it as long as the pointer and the length of a piece of its own, and eight.
const SHORT: usize = 22;

/// A name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Name(Kept);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

impl Name {
    /// In a piece of memory of its own.
    pub(super) fn boxed(&self) -> Box<str> {
        Box::from(&**self)
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        let mut bytes = [0; SHORT];
        let kept = match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(name.as_bytes());
                Kept::Short(length, bytes)
            }
            _ => Kept::Long(name.into()),
        };
        Self(kept)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kept::Long(name) => name,
            Kept::Short(length, bytes) => {
                let bytes = bytes.get(..usize::from(*length)).unwrap_or_default();
                // It was a text when it came.
                std::str::from_utf8(bytes).unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_three_words() {
        assert_eq!(size_of::<Name>(), 24);
    }

    proptest! {
        #[test]
        fn a_name_is_what_it_was(text in ".{0,40}", other in ".{0,40}") {
            let (name, second) = (Name::from(text.as_str()), Name::from(other.as_str()));
            prop_assert_eq!(&*name, text.as_str());
            prop_assert_eq!(name == second, text == other);
        }
    }
}
