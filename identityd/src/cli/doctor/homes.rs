//! Logins that pam_mayfirst refuses on this host by itself: in a home of somebody else, or below the `minimum_uid=` of its lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::cli::snapshot::{LIVE, passwd_fields};
use crate::snapshot::open::Published;

const CHECK: &str = "homes";
/// So many are named, the others counted.
const NAMED: usize = 10;
/// More different parents of homes are a layout of their own; what is left behind is looked for in these.
const MOST_PARENTS: usize = 1000;

/// A login and its home, as published.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Login {
    name: String,
    uid: u32,
    home: String,
    shell: String,
}

/// `pam`: the files of `/etc/pam.d`.
pub(super) fn check(pam: &BTreeMap<String, String>) -> Vec<Finding> {
    // Where nothing is published, other checks say so.
    let Some(logins) = logins() else { return Vec::new() };
    let shared = shared_homes(pam);
    let foreign: Vec<_> = logins
        .iter()
        .filter(|login| login.shell != schema::paths::NOLOGIN && !is_shared(&login.home, &shared))
        .filter_map(|login| Some((login, foreign_owner(Path::new(&login.home), login.uid)?)))
        .collect();
    let mut findings = judge(logins.len(), &foreign, &left_behind(&logins));
    findings.extend(below_minimum(&logins, &words(pam, "minimum_uid=")));
    findings
}

fn logins() -> Option<Vec<Login>> {
    let files = Published::open(Path::new(LIVE)).ok()?;
    let snapshot = files.snapshot().ok()?;
    let (mut logins, mut after) = (Vec::new(), 0);
    while let schema::snapshot::Answer::Found(login) = snapshot.login_after(after) {
        after = login.head.uid;
        let [name, _, _, home, shell] = passwd_fields(&login.head, login.strings)?;
        logins.push(Login { name, uid: after, home, shell });
    }
    Some(logins)
}

/// As pam_mayfirst looks at it: the link, and where it leads.
fn foreign_owner(home: &Path, uid: u32) -> Option<u32> {
    let owners = [fs::symlink_metadata(home).ok()?.uid(), fs::metadata(home).ok()?.uid()];
    owners.into_iter().find(|owner| *owner != 0 && *owner != uid)
}

/// What the lines of pam_mayfirst name as shared.
fn shared_homes(pam: &BTreeMap<String, String>) -> Vec<String> {
    words(pam, "shared_homes=").iter().flat_map(|value| value.split(':')).map(str::to_owned).collect()
}

/// The values of an option on all lines of pam_mayfirst.
fn words<'a>(pam: &'a BTreeMap<String, String>, option: &str) -> Vec<&'a str> {
    let lines = pam.values().flat_map(|text| text.lines()).map(|line| line.split('#').next().unwrap_or_default());
    let words = lines.filter(|line| line.contains("pam_mayfirst.so")).flat_map(str::split_whitespace);
    words.filter_map(|word| word.strip_prefix(option)).collect()
}

fn below_minimum(logins: &[Login], options: &[&str]) -> Option<Finding> {
    let minimum = options.iter().filter_map(|value| value.parse::<u32>().ok()).max()?;
    let below: Vec<_> = logins.iter().filter(|login| login.uid < minimum).collect();
    let of = |login: &&Login| format!("{} (uid {})", login.name, login.uid);
    (!below.is_empty()).then(|| {
        Finding::warning(
            CHECK,
            format!(
                "{} logins are refused: they are below minimum_uid={minimum} of a line of pam_mayfirst.so: {}",
                below.len(),
                some(below.iter().map(of))
            ),
            "if they are meant to enter, lower minimum_uid in /etc/pam.d",
        )
    })
}

fn is_shared(home: &str, shared: &[String]) -> bool {
    shared
        .iter()
        .any(|place| home.strip_prefix(place.as_str()).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')))
}

/// Directories of homes that were being made when a program was killed, and that the module leaves alone because they were given away already.
fn left_behind(logins: &[Login]) -> Vec<PathBuf> {
    let parents: BTreeSet<_> = logins.iter().filter_map(|login| Path::new(&login.home).parent()).collect();
    let entries =
        parents.into_iter().take(MOST_PARENTS).filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    let named = entries.filter(|entry| {
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(".mayfirst-"));
        digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    named.filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() != 0)).map(|entry| entry.path()).collect()
}

fn judge(logins: usize, foreign: &[(&Login, u32)], left: &[PathBuf]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !foreign.is_empty() {
        let of = |(login, owner): &(&Login, u32)| {
            format!("{} (uid {}): {} is uid {owner}'s", login.name, login.uid, login.home)
        };
        findings.push(Finding::error(
            CHECK,
            format!("{} logins are refused: their homes belong to others, who could run programs as them: {}", foreign.len(), some(foreign.iter().map(of))),
            "chown each home to its login, or give the login another one (identityctl login set LOGIN --home); if homes are shared on purpose, add shared_homes=DIR to the \
             session lines of pam_mayfirst.so (docs/pam.md, Whose home it is)",
        ));
    }
    if !left.is_empty() {
        let paths = some(left.iter().map(|path| path.display().to_string()));
        findings.push(Finding::warning(
            CHECK,
            format!("left behind by programs that were killed while they made a home: {paths}"),
            "look at what is in them, then remove them",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("none of {logins} logins has a home of somebody else")));
    }
    findings
}

fn some(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let named: Vec<String> = all.take(NAMED).collect();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;

    fn login(name: &str) -> Login {
        Login { name: name.into(), uid: 2230, home: format!("/home/members/users/{name}"), shell: "/bin/bash".into() }
    }

    #[test]
    fn a_login_in_somebody_elses_home_is_named_with_both() {
        let ana = login("ana");
        let findings = judge(7, &[(&ana, 1005)], &[]);
        assert_eq!(worst(&findings), Severity::Error);
        let text = findings.first().map(|finding| finding.what.clone()).unwrap_or_default();
        assert!(text.contains("ana (uid 2230): /home/members/users/ana is uid 1005's"), "{text}");
        assert_eq!(worst(&judge(7, &[], &[])), Severity::Ok);
        assert_eq!(worst(&judge(7, &[], &["/home/.mayfirst-0123456789abcdef".into()])), Severity::Warning);
    }

    #[test]
    fn of_many_some_are_named() {
        let logins: Vec<_> = (0..12).map(|number| login(&format!("m{number}"))).collect();
        let foreign: Vec<_> = logins.iter().map(|login| (login, 1005)).collect();
        let findings = judge(12, &foreign, &[]);
        assert!(findings.iter().any(|finding| finding.what.ends_with("; and 2 more")), "{findings:?}");
    }

    #[test]
    fn places_that_the_lines_name_are_shared() {
        let text = "session [default=die] pam_mayfirst.so shared_homes=/srv/a:/home/sites\n# pam_mayfirst.so shared_homes=/home\n";
        let shared = shared_homes(&BTreeMap::from([("common-session".into(), text.into())]));
        assert!(is_shared("/home/sites/1", &shared) && is_shared("/srv/a/b/c", &shared));
        for home in ["/home/members/users/ana", "/home/sites", "/home/sites-of-others/1"] {
            assert!(!is_shared(home, &shared), "{home}");
        }
    }

    #[test]
    fn logins_below_the_highest_minimum_are_named() {
        let logins = [login("ana")];
        let named = |options: &[&str]| below_minimum(&logins, options).map(|finding| finding.what);
        assert_eq!(named(&[]), None);
        assert_eq!(named(&["2230", "many"]), None);
        assert!(named(&["1000", "10000"]).is_some_and(|what| what.contains("ana (uid 2230)")));
    }

    #[test]
    fn the_owner_is_the_links_and_the_directorys() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        assert_eq!(foreign_owner(&home, 2230), None);
        fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(1005), None).unwrap();
        assert_eq!(foreign_owner(&home, 2230), Some(1005));
        assert_eq!(foreign_owner(&home, 1005), None);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&home, &link).unwrap();
        assert_eq!(foreign_owner(&link, 2230), Some(1005));
    }
}
