//! PAM: does the stack admit what it should, and keep our denials?

use std::collections::BTreeMap;

use super::Finding;
use super::pam_stack::{Code, Line, lines, run};

const CHECK: &str = "pam";
const OURS: &str = "pam_mayfirst.so";
const UPDATE: &str =
    "run: pam-auth-update --force --enable mayfirst mayfirst-password (this drops lines edited by hand)";

/// What a stack must make of the answers of pam_mayfirst and pam_unix.
struct Scenario {
    about: &'static str,
    /// The account is in the server's own /etc/passwd.
    local: bool,
    ours: Code,
    unix: Code,
    expected: Expected,
}

#[derive(Clone, Copy)]
enum Expected {
    Admitted,
    Denied,
    /// Neither let in nor merely asked for a new password.
    DeniedOutright,
    NewPassword,
}

const AUTH: &[Scenario] = &[
    Scenario {
        about: "the right password of a directory login",
        local: false,
        ours: Code::Success,
        unix: Code::AuthErr,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "the right password of a local account",
        local: true,
        ours: Code::Ignore,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "a local account while identityd is away",
        local: true,
        ours: Code::AuthinfoUnavail,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "the wrong password of a directory login",
        local: false,
        ours: Code::AuthErr,
        unix: Code::AuthErr,
        expected: Expected::Denied,
    },
    Scenario {
        about: "too many attempts",
        local: false,
        ours: Code::Maxtries,
        unix: Code::AuthErr,
        expected: Expected::Denied,
    },
    Scenario {
        about: "a directory login while identityd is away",
        local: false,
        ours: Code::AuthinfoUnavail,
        unix: Code::UserUnknown,
        expected: Expected::Denied,
    },
    Scenario {
        about: "the wrong password of a local account",
        local: true,
        ours: Code::Ignore,
        unix: Code::AuthErr,
        expected: Expected::Denied,
    },
];

const ACCOUNT: &[Scenario] = &[
    Scenario {
        about: "a directory login in order",
        local: false,
        ours: Code::Success,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "a local account",
        local: true,
        ours: Code::Ignore,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "a locked login",
        local: false,
        ours: Code::PermDenied,
        unix: Code::Success,
        expected: Expected::DeniedOutright,
    },
    Scenario {
        about: "an expired login",
        local: false,
        ours: Code::AcctExpired,
        unix: Code::Success,
        expected: Expected::DeniedOutright,
    },
    Scenario {
        about: "a login while identityd is away",
        local: false,
        ours: Code::AuthinfoUnavail,
        unix: Code::Success,
        expected: Expected::DeniedOutright,
    },
    Scenario {
        about: "a locked login whose password has also aged",
        local: false,
        ours: Code::PermDenied,
        unix: Code::NewAuthtokReqd,
        expected: Expected::DeniedOutright,
    },
    Scenario {
        about: "a login whose password has aged",
        local: false,
        ours: Code::NewAuthtokReqd,
        unix: Code::Success,
        expected: Expected::NewPassword,
    },
];

const PASSWORD: &[Scenario] = &[
    Scenario {
        about: "a directory login's new password",
        local: false,
        ours: Code::Success,
        unix: Code::UserUnknown,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "a local account's new password",
        local: true,
        ours: Code::Ignore,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "a refused new password",
        local: false,
        ours: Code::AuthtokErr,
        unix: Code::UserUnknown,
        expected: Expected::Denied,
    },
];

const SESSION: &[Scenario] = &[
    Scenario {
        about: "the session of a directory login",
        local: false,
        ours: Code::Success,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "the session of a local account while identityd is away",
        local: true,
        ours: Code::AuthinfoUnavail,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "the session of an account that neither this server nor the directory has",
        local: false,
        ours: Code::UserUnknown,
        unix: Code::Success,
        expected: Expected::Admitted,
    },
    Scenario {
        about: "a login without shell that cannot be confined to sftp",
        local: false,
        ours: Code::SessionErr,
        unix: Code::Success,
        expected: Expected::Denied,
    },
];

/// Judges the files of /etc/pam.d, by name.
pub(super) fn check(files: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (kind, scenarios) in [("auth", AUTH), ("account", ACCOUNT), ("password", PASSWORD)] {
        let file = format!("common-{kind}");
        let stack = lines(files, &file, kind);
        if !stack.iter().any(|line| line.module == OURS) {
            findings.push(missing(kind, &file));
            continue;
        }
        findings.extend(scenarios.iter().filter_map(|scenario| judge(&file, &stack, scenario)));
    }
    findings.extend(check_session(files));
    findings.extend(check_services(files));
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            "the common stacks ask pam_mayfirst, keep its denials and leave local accounts alone",
        ));
    }
    findings
}

fn missing(kind: &str, file: &str) -> Finding {
    let what = |then| format!("/etc/pam.d/{file} has no line for {OURS}: {then}");
    match kind {
        "auth" => Finding::error(CHECK, what("no directory login can use its password"), UPDATE),
        "account" => Finding::error(CHECK, what("locked and expired logins get in, as by an ssh key"), UPDATE),
        _ => Finding::warning(CHECK, what("passwd(1) cannot change a directory password"), UPDATE),
    }
}

fn judge(file: &str, stack: &[Line], scenario: &Scenario) -> Option<Finding> {
    let code = run(stack, |module| match module {
        OURS => scenario.ours,
        "pam_unix.so" => scenario.unix,
        // pam_localuser(8): is the name in /etc/passwd?
        "pam_localuser.so" if scenario.local => Code::Success,
        "pam_localuser.so" => Code::PermDenied,
        "pam_permit.so" => Code::Success,
        "pam_deny.so" => Code::AuthErr,
        // Nothing is known about the others: they stay out of it.
        _ => Code::Ignore,
    });
    let wrong = match scenario.expected {
        Expected::Admitted => (code != Code::Success).then_some("is refused"),
        Expected::Denied => (code == Code::Success).then_some("is let in: the stack discards the denial"),
        Expected::DeniedOutright => match code {
            Code::Success => Some("is let in: the stack discards the denial"),
            Code::NewAuthtokReqd => {
                Some("is let in after a new password: pam_unix ends the stack before pam_mayfirst is asked")
            }
            _ => None,
        },
        Expected::NewPassword => (code == Code::Success).then_some("is let in without a new password"),
    }?;
    Some(Finding::error(CHECK, format!("/etc/pam.d/{file}: {} {wrong}", scenario.about), UPDATE))
}

fn check_session(files: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stack = lines(files, "common-session", "session");
    if !stack.iter().any(|line| line.module == OURS) {
        findings.push(Finding::error(
            CHECK,
            format!(
                "/etc/pam.d/common-session has no line for {OURS}: logins without shell are not confined to sftp, and homes not created"
            ),
            UPDATE,
        ));
        return findings;
    }
    findings.extend(SESSION.iter().filter_map(|scenario| judge("common-session", &stack, scenario)));
    if stack.iter().any(|line| line.module == "pam_mkhomedir.so") {
        findings.push(Finding::warning(
            CHECK,
            "/etc/pam.d/common-session has pam_mkhomedir beside pam_mayfirst: both create homes, with different modes",
            "run: pam-auth-update --disable mkhomedir",
        ));
    }
    findings
}

/// A service that asks for the password and not whether the account is in order lets locked logins in.
fn check_services(files: &BTreeMap<String, String>) -> Vec<Finding> {
    let services = files.keys().filter(|name| !name.starts_with("common-") && !name.contains('.'));
    services
        .filter(|name| {
            let has = |kind| lines(files, name, kind).iter().any(|line| line.module == OURS);
            has("auth") && !has("account")
        })
        .map(|name| {
            Finding::error(
                CHECK,
                format!("/etc/pam.d/{name} asks {OURS} for the password and not for the account: locked logins get in"),
                format!("add to /etc/pam.d/{name}: @include common-account"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;

    // What pam-auth-update makes of packaging/pam-configs on Debian 12; tests/tests/pam_stack.rs holds it against a real one.
    const AUTH_STACK: &str = "auth [success=1 default=ignore] pam_localuser.so\nauth [success=2 ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so\nauth [success=1 default=ignore] pam_unix.so nullok try_first_pass\nauth requisite pam_deny.so\nauth required pam_permit.so\n";
    const ACCOUNT_STACK: &str = "account [success=1 default=ignore] pam_localuser.so\naccount [success=2 new_authtok_reqd=done ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so\naccount [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\naccount required pam_permit.so\n";
    const PASSWORD_STACK: &str = "password [success=2 default=ignore] pam_unix.so obscure yescrypt\npassword [success=1 ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so\npassword requisite pam_deny.so\npassword required pam_permit.so\n";
    const SESSION_STACK: &str = "session required pam_unix.so\nsession [success=1 default=ignore] pam_localuser.so\nsession [success=ok ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so\n";

    fn host(change: impl Fn(&mut BTreeMap<String, String>)) -> Vec<Finding> {
        let mut files: BTreeMap<String, String> = [
            ("common-auth", AUTH_STACK),
            ("common-account", ACCOUNT_STACK),
            ("common-password", PASSWORD_STACK),
            ("common-session", SESSION_STACK),
            ("sshd", "@include common-auth\naccount required pam_nologin.so\n@include common-account\n"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
        change(&mut files);
        check(&files)
    }

    fn replaced(file: &'static str, from: &'static str, to: &'static str) -> Vec<Finding> {
        host(|files| {
            let text = files[file].replace(from, to);
            assert_ne!(text, files[file], "the test must change something");
            files.insert(file.into(), text);
        })
    }

    #[test]
    fn our_own_stacks_are_fine() {
        let findings = host(|_| {});
        assert_eq!(worst(&findings), Severity::Ok, "{findings:#?}");
    }

    #[test]
    fn a_stack_that_ignores_our_denials_is_found() {
        let findings = replaced("common-account", "default=die", "default=ignore");
        assert!(findings.iter().any(|finding| finding.what.contains("a locked login is let in")), "{findings:#?}");
    }

    #[test]
    fn a_session_that_ignores_our_refusal_is_found() {
        let ours = "[success=ok ignore=ignore user_unknown=ignore default=die]";
        let findings = replaced("common-session", ours, "optional");
        assert!(findings.iter().any(|finding| finding.what.contains("cannot be confined")), "{findings:#?}");
        let findings = replaced("common-session", ours, "required");
        assert!(findings.iter().any(|finding| finding.what.contains("neither this server nor")), "{findings:#?}");
    }

    #[test]
    fn pam_unix_ending_the_stack_before_us_is_found() {
        let findings = host(|files| {
            files.insert("common-account".into(), "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so\naccount requisite pam_deny.so\naccount required pam_permit.so\naccount [success=ok ignore=ignore default=bad] pam_mayfirst.so\n".into());
        });
        assert!(findings.iter().any(|finding| finding.what.contains("after a new password")), "{findings:#?}");
    }

    #[test]
    fn a_jump_that_is_too_short_or_too_long_is_found() {
        assert_eq!(worst(&replaced("common-auth", "success=2", "success=1")), Severity::Error);
        assert_eq!(worst(&replaced("common-auth", "success=2", "success=3")), Severity::Error);
    }

    #[test]
    fn a_required_module_that_locks_local_accounts_out_is_found() {
        let ours = "[success=1 default=ignore] pam_localuser.so\nauth [success=2 ignore=ignore user_unknown=ignore default=die] pam_mayfirst.so";
        let findings = replaced("common-auth", ours, "required pam_mayfirst.so");
        assert!(
            findings.iter().any(|finding| finding.what.contains("local account while identityd is away is refused"))
        );
    }

    #[test]
    fn missing_lines_are_found() {
        assert_eq!(worst(&replaced("common-account", "pam_mayfirst.so", "pam_other.so")), Severity::Error);
        assert_eq!(worst(&replaced("common-auth", "pam_mayfirst.so", "pam_other.so")), Severity::Error);
        assert_eq!(worst(&replaced("common-session", "pam_mayfirst.so", "pam_other.so")), Severity::Error);
        assert_eq!(worst(&replaced("sshd", "@include common-account", "")), Severity::Error);
    }

    #[test]
    fn two_makers_of_homes_are_found() {
        let findings = replaced("common-session", "pam_unix.so", "pam_unix.so\nsession optional pam_mkhomedir.so");
        assert_eq!(worst(&findings), Severity::Warning);
    }
}
