//! What goes to syslog: levels, and names made harmless.

/// The levels of syslog(3) that the module uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Somebody tries to deceive us, or the set-up contradicts itself.
    Critical,
    /// The set-up is wrong, or identityd cannot be asked.
    Error,
    /// A refusal.
    Notice,
    /// Something was done.
    Info,
    /// With the option `debug`.
    Debug,
}

impl Level {
    /// The priority for syslog(3).
    pub(crate) fn priority(self) -> libc::c_int {
        match self {
            Self::Critical => libc::LOG_CRIT,
            Self::Error => libc::LOG_ERR,
            Self::Notice => libc::LOG_NOTICE,
            Self::Info => libc::LOG_INFO,
            Self::Debug => libc::LOG_DEBUG,
        }
    }
}

/// Longest name or item from outside that is logged.
const MAX_SHOWN: usize = 64;
/// Longest reason of identityd that is logged.
const MAX_REASON: usize = 400;

/// A text from outside, for a log line: at most 64 bytes; what is not printable ASCII becomes `?`, so that nobody forges a line or drives a terminal.
pub(crate) fn harmless(text: &[u8]) -> String {
    printable(text, MAX_SHOWN)
}

/// A reason that identityd gives, the same way.
pub(crate) fn reason(text: &str) -> String {
    printable(text.as_bytes(), MAX_REASON)
}

fn printable(text: &[u8], most: usize) -> String {
    let shown = text.iter().take(most).map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    });
    let mut line: String = shown.collect();
    if text.len() > most {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        assert_eq!(harmless(b"ana\nroot logged in\x1b[2J"), "ana?root logged in?[2J");
        assert_eq!(harmless("añá".as_bytes()), "a????");
        assert_eq!(harmless(&[b'a'; 100]).len(), 67);
    }
}
