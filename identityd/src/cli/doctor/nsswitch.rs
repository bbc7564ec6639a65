//! nsswitch.conf(5): is the module asked, after the local files, and is no trap in front of it?

use super::Finding;

const CHECK: &str = "nsswitch";
const SETUP: &str = "run: /usr/lib/identityd/setup enable";

/// One word of a line: a service with the reactions in brackets behind it.
struct Service<'a> {
    name: &'a str,
    reactions: Vec<String>,
}

pub(super) fn check(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for map in ["passwd", "group", "shadow", "initgroups"] {
        match line_of(text, map) {
            Some(services) => findings.extend(check_map(map, &services)),
            // Without a line of its own initgroups follows group (nsswitch.conf(5)).
            None if map == "initgroups" => {}
            None => findings.push(Finding::error(CHECK, format!("/etc/nsswitch.conf has no line {map}:"), SETUP)),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "passwd, group and shadow ask mayfirst after the local files"));
    }
    findings
}

fn check_map(map: &str, services: &[Service<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let at = |name: &str| services.iter().position(|service| service.name == name);
    let Some(ours) = at("mayfirst") else {
        findings.push(Finding::error(CHECK, format!("{map}: mayfirst is not asked in /etc/nsswitch.conf"), SETUP));
        return findings;
    };
    let before = services.get(..ours).unwrap_or_default();
    match at("files").or_else(|| at("compat")) {
        Some(files) if files < ours => {}
        Some(_) => findings.push(Finding::warning(
            CHECK,
            format!("{map}: mayfirst is asked before the local files, so that every local look-up waits for it"),
            format!("write: {map}: files mayfirst"),
        )),
        None => findings.push(Finding::error(
            CHECK,
            format!("{map}: the local files are not asked, root and the services are unknown"),
            format!("write: {map}: files mayfirst"),
        )),
    }
    if before.iter().any(|service| service.name == "compat") {
        findings.push(Finding::warning(
            CHECK,
            format!("{map}: compat reads lines with + and - in the local files, which may hide or change logins"),
            format!("write files in place of compat in {map}:, unless such lines are wanted"),
        ));
    }
    for service in before {
        if let Some(trap) = service.reactions.iter().find(|reaction| stops_a_miss(reaction)) {
            findings.push(Finding::error(
                CHECK,
                format!("{map}: {} [{trap}] ends the search, mayfirst is never asked", service.name),
                format!("take [{trap}] out of {map}:, or put it behind mayfirst"),
            ));
        }
    }
    if services.iter().filter(|service| service.name == "mayfirst").count() > 1 {
        findings.push(Finding::warning(
            CHECK,
            format!("{map}: mayfirst stands twice, each miss costs two questions"),
            format!("leave one mayfirst in {map}:"),
        ));
    }
    findings
}

/// Whether a reaction returns at once for an entry that is not found (nsswitch.conf(5)): by name, or by excluding others.
fn stops_a_miss(reaction: &str) -> bool {
    let Some((status, action)) = reaction.split_once('=') else {
        return false;
    };
    let (status, negated) = match status.trim().strip_prefix('!') {
        Some(status) => (status, true),
        None => (status.trim(), false),
    };
    action.trim().eq_ignore_ascii_case("return") && (status.eq_ignore_ascii_case("notfound") != negated)
}

fn line_of<'a>(text: &'a str, map: &str) -> Option<Vec<Service<'a>>> {
    // glibc: the last line of a map counts.
    text.lines().rev().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (name, rest) = line.split_once(':')?;
        (name.trim() == map).then(|| services_of(rest))
    })
}

fn services_of(mut rest: &str) -> Vec<Service<'_>> {
    let mut services: Vec<Service<'_>> = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return services;
        }
        if let Some(inside) = rest.strip_prefix('[') {
            let (reactions, after) = inside.split_once(']').unwrap_or((inside, ""));
            if let Some(service) = services.last_mut() {
                service.reactions.extend(reactions.split_whitespace().map(str::to_owned));
            }
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '[').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        services.push(Service { name, reactions: Vec::new() });
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;

    fn with_passwd(line: &str) -> Vec<Finding> {
        check(&format!("passwd: {line}\ngroup: files mayfirst systemd\nshadow: files mayfirst\n"))
    }

    #[test]
    fn debian_with_mayfirst_behind_files_is_fine() {
        for line in [
            "files mayfirst systemd",
            "files systemd mayfirst # ours",
            "files [UNAVAIL=return] mayfirst [NOTFOUND=return]",
        ] {
            assert_eq!(worst(&with_passwd(line)), Severity::Ok, "{line}");
        }
    }

    #[test]
    fn a_missing_service_and_a_missing_line_are_errors() {
        assert_eq!(worst(&with_passwd("files systemd")), Severity::Error);
        assert_eq!(worst(&with_passwd("files # mayfirst")), Severity::Error);
        assert_eq!(worst(&check("passwd: files mayfirst\ngroup: files mayfirst")), Severity::Error);
        assert_eq!(worst(&check("")), Severity::Error);
    }

    #[test]
    fn a_return_on_not_found_in_front_is_a_trap() {
        for trap in
            ["[NOTFOUND=return]", "[notfound=RETURN]", "[!SUCCESS=return]", "[UNAVAIL=continue NOTFOUND=return]"]
        {
            assert_eq!(worst(&with_passwd(&format!("files {trap} mayfirst"))), Severity::Error, "{trap}");
            assert_eq!(worst(&with_passwd(&format!("files{trap}mayfirst"))), Severity::Error, "{trap}");
        }
        assert_eq!(worst(&with_passwd("files [!NOTFOUND=return] mayfirst")), Severity::Ok);
    }

    #[test]
    fn the_local_files_come_first() {
        assert_eq!(worst(&with_passwd("mayfirst files")), Severity::Warning);
        assert_eq!(worst(&with_passwd("mayfirst")), Severity::Error);
        assert_eq!(worst(&with_passwd("compat mayfirst")), Severity::Warning);
        assert_eq!(worst(&with_passwd("files mayfirst mayfirst")), Severity::Warning);
    }

    #[test]
    fn an_initgroups_line_of_its_own_is_checked_too() {
        let text = "passwd: files mayfirst\ngroup: files mayfirst\nshadow: files mayfirst\ninitgroups: files\n";
        assert_eq!(worst(&check(text)), Severity::Error);
    }
}
