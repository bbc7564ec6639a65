//! Logins of the directory whose name stands in files of this server: what was meant for a local account is theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::cli::mentions::Mention;

const CHECK: &str = "namesakes";

/// `passwd`: /etc/passwd; `is_login`: whether the directory has a login of this name.
pub(super) fn check(mentions: &[Mention], passwd: &str, is_login: impl Fn(&str) -> bool) -> Vec<Finding> {
    let local: BTreeSet<&str> = passwd.lines().filter_map(|line| line.split(':').next()).collect();
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for mention in mentions.iter().filter(|mention| !local.contains(mention.name.as_str())) {
        places.entry(&mention.name).or_default().insert(&mention.what);
    }
    places.retain(|name, _| is_login(name));
    let finding = |(name, places): (&str, BTreeSet<&str>)| {
        let places: Vec<_> = places.into_iter().collect();
        let what = format!("the directory's login {name} {}", places.join("; "));
        if mentions.iter().any(|mention| mention.name == name && mention.is_open()) {
            return Finding::error(CHECK, what, "take its line out of /etc/shadow: its account is gone");
        }
        Finding::warning(CHECK, what, format!("is it not the {name} that was meant, take the name out there"))
    };
    let findings: Vec<_> = places.into_iter().map(finding).collect();
    if findings.is_empty() {
        return vec![Finding::ok(CHECK, "no login of the directory has the name of something of this server's own")];
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;
    use crate::cli::mentions::{members, passwords, sudoers};

    #[test]
    fn a_name_of_the_directory_in_a_local_group_or_in_sudoers_is_a_warning() {
        let mut mentions = members("sudo:x:27:ana,loc,gone\n");
        mentions.extend(sudoers("/etc/sudoers", "ana ALL=ALL\nloc ALL=ALL\n"));
        let findings =
            check(&mentions, "root:x:0:0::/root:/bin/sh\nloc:x:1000:1000::/:/bin/sh\n", |name| name != "gone");
        assert_eq!((findings.len(), worst(&findings)), (1, Severity::Warning), "{findings:?}");
        assert!(
            findings[0].what.contains("login ana") && findings[0].what.contains("sudo; has rules of sudo")
                || findings[0].what.contains("/etc/group")
        );
        assert_eq!(worst(&check(&mentions, "ana:::\nloc:::\n", |name| name != "gone")), Severity::Ok);
        let left = passwords("ana:$y$x:1::::::\neva::1::::::\n");
        let severity = |login: &str| worst(&check(&left, "", |name| name == login));
        assert_eq!((severity("ana"), severity("eva")), (Severity::Warning, Severity::Error));
    }
}
