//! Texts of the command line as values of the contract, with errors that name the argument.

use std::fmt::Display;
use std::str::FromStr;

use schema::capability::Capabilities;
use schema::path::HomePath;

use super::CliError;
use super::output::printable;

/// `text` as a value; `what` names it in the error.
pub(super) fn value<T>(what: &str, text: &str) -> Result<T, CliError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| {
        let shown: String = text.chars().take(64).collect();
        CliError::Refused(format!("{what} {:?}: {}", shown, printable(&error.to_string())))
    })
}

/// The same for an optional argument.
pub(super) fn option<T>(what: &str, text: Option<&String>) -> Result<Option<T>, CliError>
where
    T: FromStr,
    T::Err: Display,
{
    text.map(|text| value(what, text)).transpose()
}

/// An id in the directory's range.
pub(super) fn id<T: TryFrom<u32>>(what: &str, id: Option<u32>) -> Result<Option<T>, CliError>
where
    T::Error: Display,
{
    id.map(|id| T::try_from(id).map_err(|error| CliError::Refused(format!("{what}: {error}")))).transpose()
}

/// Capabilities; empty texts, as between two commas, are passed over.
pub(super) fn capabilities(texts: &[String]) -> Result<Capabilities, CliError> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| value("the capability", text)).collect()
}

/// A number of days, or `none`.
pub(super) fn days(what: &str, text: Option<&String>) -> Result<Option<Option<u32>>, CliError> {
    match text.map(String::as_str) {
        None => Ok(None),
        Some("none") => Ok(Some(None)),
        Some(text) => Ok(Some(Some(value(what, text)?))),
    }
}

/// Refuses a name or id that this server has itself: the directory's would never be answered for here (`docs/architecture.md`, rule 4).
pub(super) fn not_local(name: &str, id: Option<u32>) -> Result<(), CliError> {
    for file in ["/etc/passwd", "/etc/group"] {
        if let Some(found) = local_line(&std::fs::read(file).unwrap_or_default(), name, id) {
            return Err(CliError::Refused(format!(
                "{found} stands in {file} of this server, and local accounts win; choose another name or id"
            )));
        }
    }
    Ok(())
}

/// Refuses the home of a local account: the login would not be served on this server (`quarantine`).
pub(super) fn not_local_home(home: Option<&HomePath>) -> Result<(), CliError> {
    let Some(home) = home else {
        return Ok(());
    };
    match home_owner(&std::fs::read("/etc/passwd").unwrap_or_default(), home.as_str()) {
        Some(owner) => Err(CliError::Refused(format!(
            "the home {home} is that of {owner} in /etc/passwd of this server; choose another home"
        ))),
        None => Ok(()),
    }
}

fn home_owner(passwd: &[u8], home: &str) -> Option<String> {
    if matches!(home, "/nonexistent" | "/dev/null") {
        return None;
    }
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let theirs = fields.nth(4)?;
        (theirs.strip_suffix(b"/").unwrap_or(theirs) == home.as_bytes())
            .then(|| printable(&String::from_utf8_lossy(name)))
    })
}

fn local_line(content: &[u8], name: &str, id: Option<u32>) -> Option<String> {
    content.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let theirs = fields.next()?;
        if theirs == name.as_bytes() {
            return Some(format!("the name {name}"));
        }
        let number: u32 = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        (id == Some(number)).then(|| format!("the id {number} ({})", printable(&String::from_utf8_lossy(theirs))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::name::LoginName;

    #[test]
    fn a_refused_value_is_named_with_its_rule_and_cannot_flood_or_steer_the_terminal() {
        let long = "x".repeat(300);
        for name in ["-rf", "a:b", "Root", "", "a\u{1b}[2J", "日本", long.as_str()] {
            let error = value::<LoginName>("the login", name).unwrap_err().to_string();
            assert!(error.starts_with("the login \"") && error.len() < 250, "{error}");
            assert!(!error.contains('\u{1b}'));
        }
    }

    #[test]
    fn local_names_and_ids_are_found() {
        let passwd = b"root:x:0:0::/root:/bin/sh\nbroken\nadm:x:1000:1000::/:/bin/sh";
        assert!(local_line(passwd, "root", None).is_some());
        assert!(local_line(passwd, "ana", Some(1000)).is_some());
        assert!(local_line(passwd, "ana", Some(1001)).is_none());
        assert!(local_line(passwd, "roo", None).is_none());
    }

    #[test]
    fn the_home_of_a_local_account_is_found() {
        let passwd = b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www/:/bin/sh\nno:x:9:9::/nonexistent:/bin/sh";
        assert_eq!(home_owner(passwd, "/var/www").as_deref(), Some("web"));
        assert_eq!(home_owner(passwd, "/var/www/ana"), None);
        assert_eq!(home_owner(passwd, "/nonexistent"), None);
    }

    #[test]
    fn days_are_a_number_or_none() {
        assert_eq!(days("x", None).unwrap(), None);
        assert_eq!(days("x", Some(&"none".into())).unwrap(), Some(None));
        assert_eq!(days("x", Some(&"90".into())).unwrap(), Some(Some(90)));
        assert!(days("x", Some(&"-1".into())).is_err());
    }
}
