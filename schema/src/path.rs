//! Home directories and shells.

use std::fmt;

use crate::text::{TextError, check_field};

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Too long, or with a character that passwd(5) cannot hold.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Empty or relative: programs would use the root or their own directory (CVE-2019-3811).
    #[error("the path {0:?} is not absolute")]
    NotAbsolute(String),
    /// `/` itself.
    #[error("the path is /, which belongs to the system")]
    Root,
    /// An empty, `.` or `..` component, or a trailing slash.
    #[error("the path {0:?} is not in its simplest form: no empty, . or .. component, no / at the end")]
    NotPlain(String),
}

macro_rules! path_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The path as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = PathError;

            fn from_str(path: &str) -> Result<Self, PathError> {
                check(path)?;
                Ok(Self(path.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = PathError;

            fn try_from(path: String) -> Result<Self, PathError> {
                check(&path)?;
                Ok(Self(path.into()))
            }
        }

        impl From<$name> for String {
            fn from(path: $name) -> String {
                path.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

path_type! {
    /// A home directory (pw_dir): absolute, plain, not `/`, at most 255 bytes.
    HomePath
}

path_type! {
    /// A shell (pw_shell): absolute, plain, at most 255 bytes. Whether it exists is each server's affair (shells(5)).
    ShellPath
}

fn check(path: &str) -> Result<(), PathError> {
    check_field(path)?;
    let Some(relative) = path.strip_prefix('/') else {
        return Err(PathError::NotAbsolute(path.into()));
    };
    if relative.is_empty() {
        return Err(PathError::Root);
    }
    if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(PathError::NotPlain(path.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_homes_pass() {
        for path in ["/home/members/users/ana", "/home/members/radio/sites/1234/users/ana"] {
            assert!(path.parse::<HomePath>().is_ok(), "{path}");
        }
    }

    #[test]
    fn homes_that_lead_elsewhere_are_refused() {
        for path in ["", "/", "home/ana", "/home/../etc", "/home/./a", "/home//a", "/home/a/", "/a:b", "/a\nb", "/a\0"]
        {
            assert!(path.parse::<HomePath>().is_err(), "{path:?}");
        }
        assert!(format!("/{}", "a".repeat(255)).parse::<HomePath>().is_err());
    }
}
