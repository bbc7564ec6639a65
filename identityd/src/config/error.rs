//! What is wrong with a configuration, said so that it can be mended at once.

use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; {}", path.display(), remedy(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It belongs to somebody else than root.
    #[error(
        "{} belongs to uid {uid}, not to root: whoever can write it decides who may log in. Run: chown root:identityd {}",
        path.display(), path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others than root may write it.
    #[error(
        "{} has mode {mode:04o}: its group or everybody may write it, and so decide who may log in. Run: chmod 0640 {}",
        path.display(), path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{}, line {line}{}: {reason}", path.display(), key.as_ref().map(|key| format!(", key \"{key}\"")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key on that line, with its section.
        key: Option<String>,
        /// What is wrong, and what is known instead.
        reason: String,
    },
    /// A value outside its range.
    #[error("{}, key \"{key}\": {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key with its section.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl ConfigError {
    pub(super) fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Self::Syntax { path: path.into(), line, key: key_at(text, line), reason: error.message().trim().into() }
    }
}

/// The key that stands on this line, with the section it is in.
fn key_at(text: &str, line: usize) -> Option<String> {
    let mut section = "";
    for candidate in text.lines().take(line) {
        if let Some(name) = candidate.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name;
        }
    }
    let row = text.lines().nth(line - 1)?.trim();
    if row.starts_with('[') {
        return Some(section.into());
    }
    let key = row.split_once('=')?.0.trim();
    Some(if section.is_empty() { key.into() } else { format!("{section}.{key}") })
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "write it with `/usr/lib/identityd/setup enable`, or name another file with --config"
        }
        io::ErrorKind::PermissionDenied => "it should be root:identityd 0640, its folder 0755",
        _ => "see whether the disk is in order",
    }
}
