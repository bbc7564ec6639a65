//! sshd_config(5): are PAM and the directory's keys used, and do sftp-only logins get files only?

use super::Finding;

const CHECK: &str = "sshd";
const SETUP: &str = "run: /usr/lib/identityd/setup enable, then reload sshd";

/// Judges the configuration with its includes put in their place. The first value of a keyword counts.
pub(super) fn check(config: &str) -> Vec<Finding> {
    let parsed = parse(config);
    let global = |keyword: &str| first(&parsed, None, keyword);
    let mut findings = Vec::new();
    if !global("usepam").is_some_and(|value| value.eq_ignore_ascii_case("yes")) {
        findings.push(Finding::error(
            CHECK,
            "UsePAM is not yes: passwords of the directory are not checked, and locked logins with a key get in",
            "write in sshd_config: UsePAM yes",
        ));
    }
    match global("authorizedkeyscommand") {
        Some(command) if command.contains("identityctl ssh-keys") && command.contains("%u") => {
            let user = global("authorizedkeyscommanduser").unwrap_or_default();
            if user != "%u" && user != "root" {
                findings.push(Finding::error(
                    CHECK,
                    format!("AuthorizedKeysCommandUser is {user:?}: identityd gives keys to root and to the login itself only"),
                    "write in sshd_config: AuthorizedKeysCommandUser %u",
                ));
            }
        }
        Some(command) => findings.push(Finding::warning(
            CHECK,
            format!("AuthorizedKeysCommand is {command:?}: the keys of the directory are not used"),
            "write in sshd_config: AuthorizedKeysCommand /usr/bin/identityctl ssh-keys %u",
        )),
        None => findings.push(Finding::warning(
            CHECK,
            "no AuthorizedKeysCommand: the keys of the directory are not used",
            SETUP,
        )),
    }
    if global("kbdinteractiveauthentication").is_some_and(|value| value.eq_ignore_ascii_case("no")) {
        findings.push(Finding::warning(
            CHECK,
            "KbdInteractiveAuthentication is no: a forced change of password can only be done inside a shell",
            "write in sshd_config: KbdInteractiveAuthentication yes",
        ));
    }
    findings.extend(check_sftp(&parsed));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "PAM, the directory's keys and the sftp-only group are in the configuration"));
    }
    findings
}

fn check_sftp(parsed: &[Setting<'_>]) -> Option<Finding> {
    let matched = parsed.iter().filter_map(|setting| setting.condition).find(|condition| {
        let mut words = condition.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("group"))
            && words.next().is_some_and(|groups| groups.split(',').any(|group| group == "sftp-only"))
    });
    let Some(condition) = matched else {
        return Some(Finding::warning(
            CHECK,
            "no Match Group sftp-only: logins with sftp and without shell get no session at all (their shell is nologin)",
            SETUP,
        ));
    };
    let forced = first(parsed, Some(condition), "forcecommand").is_some_and(|value| value.starts_with("internal-sftp"));
    (!forced).then(|| {
        Finding::warning(
            CHECK,
            "Match Group sftp-only has no ForceCommand internal-sftp: sftp fails, because the shell of these logins is nologin",
            "write under Match Group sftp-only: ForceCommand internal-sftp",
        )
    })
}

struct Setting<'a> {
    /// The text behind `Match`, if under one.
    condition: Option<&'a str>,
    keyword: String,
    value: &'a str,
}

fn parse(config: &str) -> Vec<Setting<'_>> {
    let mut condition = None;
    let mut settings = Vec::new();
    for line in config.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let Some((keyword, value)) = line.split_once(|c: char| c.is_whitespace() || c == '=') else {
            continue;
        };
        let value = value.trim_matches(|c: char| c.is_whitespace() || c == '=' || c == '"');
        let keyword = keyword.to_ascii_lowercase();
        if keyword == "match" {
            condition = (!value.eq_ignore_ascii_case("all")).then_some(value);
        }
        settings.push(Setting { condition, keyword, value });
    }
    settings
}

fn first<'a>(settings: &[Setting<'a>], condition: Option<&str>, keyword: &str) -> Option<&'a str> {
    settings
        .iter()
        .find(|setting| setting.condition == condition && setting.keyword == keyword)
        .map(|setting| setting.value)
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;

    const GOOD: &str = include_str!("../../../../packaging/sshd/mayfirst.conf");

    #[test]
    fn our_own_drop_in_is_fine() {
        assert_eq!(worst(&check(GOOD)), Severity::Ok, "{:#?}", check(GOOD));
    }

    #[test]
    fn without_pam_denials_do_not_hold() {
        assert_eq!(worst(&check(&GOOD.replace("UsePAM yes", "UsePAM no"))), Severity::Error);
        assert_eq!(worst(&check(&format!("usepam=no\n{GOOD}"))), Severity::Error);
        assert_eq!(worst(&check("")), Severity::Error);
        assert_eq!(worst(&check("Match User x\n  UsePAM yes\n")), Severity::Error);
    }

    #[test]
    fn keys_need_the_command_and_a_user_that_may_ask() {
        assert_eq!(worst(&check(&GOOD.replace("ssh-keys %u", "ssh-keys"))), Severity::Warning);
        assert_eq!(worst(&check(&GOOD.replace("CommandUser %u", "CommandUser nobody"))), Severity::Error);
        assert_eq!(worst(&check(&GOOD.replace("CommandUser %u", "CommandUser identityd"))), Severity::Error);
    }

    #[test]
    fn sftp_only_logins_need_their_match() {
        assert_eq!(worst(&check(&GOOD.replace("Match Group sftp-only", "Match Group others"))), Severity::Warning);
        assert_eq!(worst(&check(&GOOD.replace("ForceCommand", "#ForceCommand"))), Severity::Warning);
    }
}
