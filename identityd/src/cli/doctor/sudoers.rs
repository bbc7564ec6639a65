//! Groups that sudoers gives rights to and that this server does not have: a group of the directory could take their name.

use std::collections::BTreeSet;

use super::Finding;

const CHECK: &str = "sudoers";

/// `sudoers`: the texts of /etc/sudoers and its folder, with their paths; `group`: /etc/group.
pub(super) fn check(sudoers: &[(String, String)], group: &str) -> Vec<Finding> {
    if sudoers.is_empty() {
        return vec![Finding::unknown(CHECK, "the sudoers files cannot be read", "run identityctl doctor as root")];
    }
    let local: BTreeSet<&str> = group.lines().filter_map(|line| line.split(':').next()).collect();
    let mut findings = Vec::new();
    for (path, text) in sudoers {
        for name in groups(text) {
            // Reserved names are never served from the directory.
            if !local.contains(name) && schema::name::check(name.as_bytes()).is_ok() && !schema::name::is_reserved(name)
            {
                findings.push(Finding::warning(
                    CHECK,
                    format!("{path} gives rights to %{name}, which is not in /etc/group: a group {name} of the directory gets them"),
                    format!("if that is not meant, take the line out, or make the group local: groupadd --system {name}"),
                ));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "no group of the directory can get rights by sudoers"));
    }
    findings
}

/// Names behind `%` at the beginning of a user list (sudoers(5)); `%#gid` and `%:nonunix` are other things.
pub(crate) fn groups(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '!')));
    words.filter_map(|word| word.strip_prefix('%')).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;

    fn judged(text: &str) -> Vec<Finding> {
        check(&[("/etc/sudoers".into(), text.into())], "root:x:0:\nsudo:x:27:\n")
    }

    #[test]
    fn a_group_that_only_the_directory_could_have_is_a_warning() {
        let findings = judged("Defaults env_reset\n%sudo ALL=(ALL:ALL) ALL\n%ops,%web ALL=(ALL) NOPASSWD: ALL\n");
        assert_eq!((findings.len(), worst(&findings)), (2, Severity::Warning));
        assert!(findings[0].what.contains("%ops") && findings[1].what.contains("%web"), "{findings:?}");
    }

    #[test]
    fn local_and_reserved_groups_comments_and_gids_are_fine() {
        let findings =
            judged("# %ops ALL=ALL\n%sudo ALL=ALL\n%libvirt ALL=ALL\n%#1000 ALL=ALL\nroot ALL=(ALL:ALL) ALL\n");
        assert_eq!(worst(&findings), Severity::Ok, "{findings:?}");
    }
}
