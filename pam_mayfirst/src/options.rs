//! The words after `pam_mayfirst.so` on a line of pam.d(5).

use schema::id::FLOOR;

use crate::log::harmless;

/// Where homes may be created unless the line says otherwise.
const DEFAULT_HOME_ROOT: &str = "/home";

/// The options of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `use_authtok`: the new password comes from a module before this one.
    pub(crate) use_authtok: bool,
    /// `ignore_unknown_user`
    pub(crate) ignore_unknown_user: bool,
    /// `ignore_authinfo_unavail`
    pub(crate) ignore_authinfo_unavail: bool,
    /// `minimum_uid=`: accounts below are not ours. Never below [`FLOOR`].
    pub(crate) minimum_uid: u32,
    /// `debug`
    pub(crate) debug: bool,
    /// `nodelay`: no pause after a wrong password.
    pub(crate) nodelay: bool,
    /// `no_warn`: no text for the person.
    pub(crate) no_warn: bool,
    /// `require_home`: no session without a home.
    pub(crate) require_home: bool,
    /// `shared_homes=`: below these a home may be another login's.
    pub(crate) shared_homes: Vec<String>,
    /// `home_root=`: the only places below which homes are created.
    pub(crate) home_roots: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            use_authtok: false,
            ignore_unknown_user: false,
            ignore_authinfo_unavail: false,
            minimum_uid: FLOOR,
            debug: false,
            nodelay: false,
            no_warn: false,
            require_home: false,
            shared_homes: Vec::new(),
            home_roots: vec![DEFAULT_HOME_ROOT.to_owned()],
        }
    }
}

impl Options {
    /// Reads the words. What is wrong with them comes back as lines for the log; the word is then left out: a slip in one file of
    /// pam.d must not lock every account out of a service, the administrator who would mend it included. No option can weaken a check by being left out.
    pub(crate) fn parse<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> (Self, Vec<String>) {
        let mut options = Self::default();
        let mut roots = Vec::new();
        let mut complaints = Vec::new();
        for word in words {
            match word {
                // pam_get_authtok(3) reads these two from the line itself.
                b"use_first_pass" | b"try_first_pass" => {}
                b"use_authtok" => options.use_authtok = true,
                b"ignore_unknown_user" => options.ignore_unknown_user = true,
                b"ignore_authinfo_unavail" => options.ignore_authinfo_unavail = true,
                b"debug" => options.debug = true,
                b"nodelay" => options.nodelay = true,
                b"no_warn" => options.no_warn = true,
                b"require_home" => options.require_home = true,
                _ => {
                    let result = if let Some(value) = word.strip_prefix(b"minimum_uid=") {
                        minimum_uid(value).map(|uid| options.minimum_uid = uid)
                    } else if let Some(value) = word.strip_prefix(b"home_root=") {
                        paths(value).map(|more| roots.extend(more))
                    } else if let Some(value) = word.strip_prefix(b"shared_homes=") {
                        paths(value).map(|more| options.shared_homes.extend(more))
                    } else {
                        Err("no such option; it is left out".to_owned())
                    };
                    if let Err(reason) = result {
                        complaints.push(format!("option {}: {reason}", harmless(word)));
                    }
                }
            }
        }
        if !roots.is_empty() {
            options.home_roots = roots;
        }
        (options, complaints)
    }
}

fn minimum_uid(value: &[u8]) -> Result<u32, String> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
    match number {
        Some(uid) if uid >= FLOOR => Ok(uid),
        Some(_) => Err(format!("below {FLOOR}, which no option can lower; {FLOOR} is used")),
        None => Err(format!("not a number; {FLOOR} is used")),
    }
}

fn paths(value: &[u8]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(value).map_err(|_| "not UTF-8; it is left out".to_owned())?;
    let mut paths = Vec::new();
    for path in text.split(':') {
        match path.parse::<schema::path::HomePath>() {
            Ok(path) => paths.push(path.as_str().to_owned()),
            Err(error) => return Err(format!("{error}; it is left out")),
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Options, Vec<String>) {
        Options::parse(line.split_whitespace().map(str::as_bytes))
    }

    #[test]
    fn an_empty_line_has_the_defaults() {
        assert_eq!(parse(""), (Options::default(), vec![]));
    }

    #[test]
    fn the_floor_can_be_raised_and_never_lowered() {
        assert_eq!(parse("minimum_uid=5000").0.minimum_uid, 5000);
        for line in ["minimum_uid=0", "minimum_uid=999", "minimum_uid=-1", "minimum_uid=", "minimum_uid=4294967296"] {
            let (options, complaints) = parse(line);
            assert_eq!(options.minimum_uid, FLOOR, "{line}");
            assert_eq!(complaints.len(), 1, "{line}");
        }
    }

    #[test]
    fn home_roots_replace_the_default_and_add_up() {
        assert_eq!(parse("home_root=/srv/a:/srv/b home_root=/c").0.home_roots, ["/srv/a", "/srv/b", "/c"]);
        let (options, complaints) = parse("home_root=/ home_root=home home_root=/a/../b");
        assert_eq!(options.home_roots, ["/home"]);
        assert_eq!(complaints.len(), 3);
    }

    #[test]
    fn no_home_is_shared_unless_the_line_names_where() {
        assert!(parse("").0.shared_homes.is_empty());
        assert_eq!(parse("shared_homes=/home/sites:/srv").0.shared_homes, ["/home/sites", "/srv"]);
        let (options, complaints) = parse("shared_homes shared_homes= shared_homes=/");
        assert!(options.shared_homes.is_empty());
        assert_eq!(complaints.len(), 3);
    }

    #[test]
    fn an_unknown_word_is_reported_and_changes_nothing() {
        let (options, complaints) = parse("nullok debug");
        assert!(options.debug);
        assert_eq!(complaints, ["option nullok: no such option; it is left out"]);
    }
}
