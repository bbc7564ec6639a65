//! Files, owners, modes, modules, the service user, the clock: judged from facts that [`super::gather`] collects.

use std::time::{Duration, SystemTime};

use super::Finding;

const SETUP: &str = "run: /usr/lib/identityd/setup enable";

/// What lstat(2) says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Missing,
    /// A folder above may not be entered.
    Hidden,
    There {
        kind: Kind,
        uid: u32,
        gid: u32,
        mode: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Socket,
    Other,
}

/// How a path ought to be.
pub(super) struct Expected {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// `None`: root.
    pub(super) owned_by_service: bool,
    /// Mode bits that must not be set.
    pub(super) forbidden: u32,
    /// Mode bits that must be set.
    pub(super) required: u32,
    /// What to do if it is missing; `None`: then all is well.
    pub(super) missing: Option<&'static str>,
}

pub(super) const PATHS: &[Expected] = &[
    Expected {
        path: "/etc/identityd/identityd.toml",
        kind: Kind::File,
        owned_by_service: false,
        forbidden: 0o027,
        required: 0o440,
        missing: Some("run: make install, or reinstall the package"),
    },
    Expected {
        path: "/var/lib/identityd",
        kind: Kind::Folder,
        owned_by_service: true,
        forbidden: 0o077,
        required: 0o700,
        missing: Some(SETUP),
    },
    Expected {
        path: "/var/lib/identityd/directory.db",
        kind: Kind::File,
        owned_by_service: true,
        forbidden: 0o077,
        required: 0o600,
        missing: Some("run: identityctl init"),
    },
    Expected {
        path: "/var/lib/identityd/directory.db-wal",
        kind: Kind::File,
        owned_by_service: true,
        forbidden: 0o077,
        required: 0o600,
        missing: None,
    },
    Expected {
        path: "/var/lib/identityd/directory.db-shm",
        kind: Kind::File,
        owned_by_service: true,
        forbidden: 0o077,
        required: 0o600,
        missing: None,
    },
    Expected {
        path: "/run/identityd",
        kind: Kind::Folder,
        owned_by_service: true,
        forbidden: 0o022,
        required: 0o555,
        missing: Some("start identityd: service identityd start"),
    },
    Expected {
        path: "/run/identityd/socket",
        kind: Kind::Socket,
        owned_by_service: true,
        forbidden: 0,
        required: 0o666,
        missing: Some("start identityd: service identityd start"),
    },
];

/// Judges one path.
pub(super) fn check_path(expected: &Expected, fact: Fact, service_uid: Option<u32>) -> Option<Finding> {
    const CHECK: &str = "files";
    let path = expected.path;
    let (kind, uid, mode) = match fact {
        Fact::Missing => return expected.missing.map(|mend| Finding::error(CHECK, format!("{path} is missing"), mend)),
        Fact::Hidden => return Some(Finding::unknown(CHECK, format!("{path} cannot be looked at"), "run as root")),
        Fact::There { kind, uid, mode, .. } => (kind, uid, mode & 0o7777),
    };
    if kind != expected.kind {
        return Some(Finding::error(
            CHECK,
            format!("{path} is a {kind:?}, it ought to be a {:?}", expected.kind),
            "move it away, then start again",
        ));
    }
    let owner = if expected.owned_by_service { service_uid } else { Some(0) };
    // systemd makes the socket as root when it activates the daemon: that is as good.
    let by_root = expected.kind == Kind::Socket && uid == 0;
    if let Some(owner) = owner.filter(|owner| *owner != uid && !by_root) {
        let name = if expected.owned_by_service { "identityd" } else { "root" };
        return Some(Finding::error(
            CHECK,
            format!("{path} belongs to uid {uid}, it ought to be {name} ({owner})"),
            format!("run: chown {name} {path}"),
        ));
    }
    let loose = mode & expected.forbidden;
    let tight = expected.required & !mode;
    if loose != 0 || tight != 0 {
        let good = (mode & !expected.forbidden) | expected.required;
        let what = if loose != 0 { "lets too many in" } else { "keeps out who needs it" };
        return Some(Finding::error(
            CHECK,
            format!("{path} has mode {mode:04o}, which {what}"),
            format!("run: chmod {good:04o} {path}"),
        ));
    }
    None
}

/// A module that every program loads: root's, and written by nobody else.
pub(super) fn check_module(name: &str, found: &[(String, Fact, Vec<u8>)]) -> Finding {
    const CHECK: &str = "modules";
    const INSTALL: &str = "install it again: make install, or reinstall the package";
    let Some((path, fact, content)) = found.first() else {
        return Finding::error(CHECK, format!("{name} is not in /usr/lib/*"), INSTALL);
    };
    if found.len() > 1 {
        let all: Vec<_> = found.iter().map(|(path, ..)| path.as_str()).collect();
        return Finding::warning(
            CHECK,
            format!("{name} is there more than once: {}", all.join(", ")),
            "remove the old one",
        );
    }
    match fact {
        Fact::There { uid: 0, mode, .. } if mode & 0o022 == 0 => {}
        _ => {
            return Finding::error(
                CHECK,
                format!("{path} can be written by others than root"),
                format!("run: chown root:root {path} && chmod 0644 {path}"),
            );
        }
    }
    // e_ident and e_type: a shared object for 64 bits (elf(5)).
    let elf = content.starts_with(b"\x7fELF\x02") && content.get(16..18) == Some(&[3, 0]);
    if !elf {
        return Finding::error(CHECK, format!("{path} is not a shared library"), INSTALL);
    }
    Finding::ok(CHECK, format!("{path} is there"))
}

/// The service user must be local: identityd cannot ask itself who it is.
pub(super) fn check_user(passwd: &str) -> Finding {
    const CHECK: &str = "user";
    match service_uid(passwd) {
        None => Finding::error(CHECK, "the user identityd is not in /etc/passwd", SETUP),
        Some(0) => Finding::error(
            CHECK,
            "the user identityd has uid 0: the daemon must not be root",
            "remove it, then run: /usr/lib/identityd/setup enable",
        ),
        Some(uid) if uid >= schema::id::FLOOR => Finding::warning(
            CHECK,
            format!("the user identityd has uid {uid}, not one of a system user"),
            "remove it, then run: /usr/lib/identityd/setup enable",
        ),
        Some(uid) => Finding::ok(CHECK, format!("the user identityd is a local system user ({uid})")),
    }
}

/// The uid of the service user, from the text of /etc/passwd.
pub(super) fn service_uid(passwd: &str) -> Option<u32> {
    let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    passwd
        .lines()
        .map(fields)
        .find(|fields| fields.first().is_some_and(|name| name == "identityd"))
        .and_then(|fields| fields.get(2)?.parse().ok())
}

/// Other caches in front of ours.
pub(super) fn check_caches(nscd: bool, userdbd: bool) -> Vec<Finding> {
    const CHECK: &str = "caches";
    let mut findings = Vec::new();
    if nscd {
        findings.push(Finding::warning(
            CHECK,
            "nscd or unscd is running: glibc asks it first, and it keeps 'no such user' for new logins",
            "stop it (apt-get remove nscd unscd), or write in /etc/nscd.conf: enable-cache passwd no, enable-cache group no",
        ));
    }
    if userdbd {
        findings.push(Finding::ok(CHECK, "systemd-userdbd is running: it answers after mayfirst and does no harm"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "no nscd or unscd in front"));
    }
    findings
}

/// Expiry and aging go by the clock.
pub(super) fn check_clock(now: SystemTime, last_change: Option<SystemTime>) -> Finding {
    const CHECK: &str = "clock";
    const MEND: &str = "set the clock, and run a time service (apt-get install systemd-timesyncd or chrony)";
    let today = schema::date::Date::of(now);
    // A day of grace for time zones that somebody set wrongly.
    let ahead = last_change.is_some_and(|change| change > now + Duration::from_secs(86_400));
    match today.civil().0 {
        year if !(2025..2100).contains(&year) => {
            Finding::error(CHECK, format!("today is {today}: logins expire, or do not, by this clock"), MEND)
        }
        _ if ahead => {
            Finding::error(CHECK, format!("today is {today}, but the directory was changed after that"), MEND)
        }
        _ => Finding::ok(CHECK, format!("today is {today}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn judged(path: &str, fact: Fact) -> Option<Finding> {
        check_path(PATHS.iter().find(|expected| expected.path == path).unwrap(), fact, Some(101))
    }

    fn file(uid: u32, mode: u32) -> Fact {
        Fact::There { kind: Kind::File, uid, gid: 0, mode }
    }

    #[test]
    fn good_files_say_nothing() {
        assert_eq!(judged("/var/lib/identityd/directory.db", file(101, 0o600)), None);
        assert_eq!(judged("/etc/identityd/identityd.toml", file(0, 0o640)), None);
        assert_eq!(judged("/var/lib/identityd/directory.db-wal", Fact::Missing), None);
    }

    #[test]
    fn loose_modes_and_wrong_owners_are_errors_with_the_command_that_mends() {
        let finding = judged("/var/lib/identityd/directory.db", file(101, 0o644)).unwrap();
        assert_eq!(
            (finding.severity, finding.mend.as_deref()),
            (Severity::Error, Some("run: chmod 0600 /var/lib/identityd/directory.db"))
        );
        let finding = judged("/var/lib/identityd/directory.db", file(0, 0o600)).unwrap();
        assert_eq!(finding.mend.as_deref(), Some("run: chown identityd /var/lib/identityd/directory.db"));
        assert!(
            judged("/run/identityd/socket", Fact::There { kind: Kind::Socket, uid: 101, gid: 0, mode: 0o600 })
                .is_some()
        );
        assert!(judged("/run/identityd/socket", file(101, 0o666)).is_some());
    }

    #[test]
    fn what_may_not_be_looked_at_is_unknown_not_missing() {
        assert_eq!(judged("/var/lib/identityd/directory.db", Fact::Hidden).unwrap().severity, Severity::Unknown);
    }

    #[test]
    fn a_module_must_be_a_library_of_root() {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend([3, 0]);
        let at =
            |fact, content: &[u8]| check_module("x.so", &[("/usr/lib/x.so".into(), fact, content.to_vec())]).severity;
        assert_eq!(at(file(0, 0o644), &elf), Severity::Ok);
        assert_eq!(at(file(0, 0o666), &elf), Severity::Error);
        assert_eq!(at(file(7, 0o644), &elf), Severity::Error);
        assert_eq!(at(file(0, 0o644), b""), Severity::Error);
        assert_eq!(check_module("x.so", &[]).severity, Severity::Error);
    }

    #[test]
    fn the_service_user_is_local_and_a_system_user() {
        assert_eq!(check_user("root:x:0:0::/:/bin/sh\nidentityd:x:101:105::/:/bin/false").severity, Severity::Ok);
        assert_eq!(check_user("identityd:x:0:0::/:/bin/false").severity, Severity::Error);
        assert_eq!(check_user("identityd:x:1001:0::/:/bin/false").severity, Severity::Warning);
        assert_eq!(check_user("identityd2:x:101:0::/:/bin/false").severity, Severity::Error);
    }

    #[test]
    fn a_clock_in_the_past_is_found() {
        let day = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
        assert_eq!(check_clock(day(21_000), None).severity, Severity::Ok);
        assert_eq!(check_clock(day(21_000), Some(day(20_999))).severity, Severity::Ok);
        assert_eq!(check_clock(day(21_000), Some(day(21_010))).severity, Severity::Error);
        assert_eq!(check_clock(day(3), None).severity, Severity::Error);
    }
}
