//! What the daemon answers, and what its logins would stumble over on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use schema::packed::{GroupHead, PasswdHead};
use schema::wire::frame::{ListHead, Op};
use schema::wire::message::{Reply, Request};
use serde_json::Value;

use super::Finding;
use crate::client::{Client, ClientError, LookUp};

const CHECK: &str = "daemon";

/// What libc gives a look-up (docs/architecture.md).
const NSS_DEADLINE: Duration = Duration::from_millis(200);

/// What a whole listing may take here; a host with more logins is told that it was cut.
const LISTING: Duration = Duration::from_secs(10);

/// AUTH_SYS carries 16 gids beside the primary one (RFC 5531, appendix A).
const NFS_GROUPS: usize = 16;

pub(super) fn check() -> Vec<Finding> {
    let client = Client::new();
    let asked = Instant::now();
    let status = match client.ask(&Request::Status) {
        Ok(Reply::Status(text)) => serde_json::from_str::<Value>(&text).unwrap_or_default(),
        Ok(_) => Value::Null,
        Err(error) => {
            return vec![Finding::error(
                CHECK,
                error.to_string(),
                "see its log: journalctl -u identityd, or /var/log/identityd.log",
            )];
        }
    };
    let mut findings = judge_status(&status, asked.elapsed());
    findings.push(look_up_in_time(&client));
    let shells = std::fs::read_to_string("/etc/shells").unwrap_or_default();
    match listing(&client) {
        Ok(listing) => findings.extend(judge_listing(&listing, &shells)),
        Err(error) => findings.push(Finding::warning(
            "logins",
            format!("the logins could not be listed: {error}"),
            "run: identityctl status",
        )),
    }
    findings
}

fn judge_status(status: &Value, took: Duration) -> Vec<Finding> {
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut findings = Vec::new();
    if text("version") != env!("CARGO_PKG_VERSION") {
        findings.push(Finding::error(
            CHECK,
            format!("identityd is version {:?}, this tool is {}", text("version"), env!("CARGO_PKG_VERSION")),
            "restart it: service identityd restart",
        ));
    }
    if text("health") != "ok" {
        findings.push(Finding::error(
            CHECK,
            format!("identityd says that its health is {:?}", text("health")),
            "run: identityctl status",
        ));
    }
    if took > NSS_DEADLINE {
        findings.push(Finding::warning(
            CHECK,
            format!("identityd took {} ms to answer", took.as_millis()),
            "look at the load of this host",
        ));
    }
    let quarantined = status.get("quarantine").and_then(Value::as_array).map_or(0, Vec::len);
    if quarantined > 0 {
        findings.push(Finding::warning(
            "quarantine",
            format!("entries that are not served: {quarantined}, such as those whose name or id a local account has"),
            "run: identityctl status, which gives each with its reason",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("identityd {} answers and is well", text("version"))));
    }
    findings
}

fn look_up_in_time(client: &Client) -> Finding {
    // A name that nobody has: the directory is asked once, then the negative answer is kept.
    match client.clone().within(NSS_DEADLINE).look_up(Op::PasswdByName, b"_identityctl.doctor") {
        Ok(LookUp::Found(_) | LookUp::Absent) => Finding::ok(CHECK, "a look-up is answered in time"),
        Ok(LookUp::Unknown) => {
            Finding::error(CHECK, "a look-up gets no answer: the directory is away", "run: identityctl status")
        }
        Err(error) => Finding::error(CHECK, format!("a look-up fails: {error}"), "run: identityctl status"),
    }
}

/// What a host needs to know about its logins.
#[derive(Debug, Default)]
struct Listing {
    /// Shell → logins with it.
    shells: BTreeMap<String, usize>,
    /// Login → supplementary groups.
    groups: BTreeMap<String, usize>,
    /// The time was up before the end.
    cut: bool,
}

fn listing(client: &Client) -> Result<Listing, ClientError> {
    let mut listing = Listing::default();
    let end = Instant::now() + LISTING;
    let cut = pages(client, Op::PasswdList, end, |record| {
        let head = PasswdHead::parse(record).ok()?;
        let strings = record.get(PasswdHead::SIZE..)?;
        let [.., shell] = head.check_strings(strings).ok()?;
        let shell = strings.get(shell..shell + usize::from(head.shell_len))?;
        *listing.shells.entry(String::from_utf8_lossy(shell).into_owned()).or_default() += 1;
        Some(())
    })?;
    let cut_groups = pages(client, Op::GroupList, end, |record| {
        let head = GroupHead::parse(record).ok()?;
        let strings = record.get(GroupHead::SIZE..)?;
        let mut starts = Vec::new();
        head.check_strings(strings, |start| starts.push(start)).ok()?;
        for start in starts {
            let name = strings.get(start..)?.split(|byte| *byte == 0).next()?;
            *listing.groups.entry(String::from_utf8_lossy(name).into_owned()).or_default() += 1;
        }
        Some(())
    })?;
    listing.cut = cut || cut_groups;
    Ok(listing)
}

/// Reads all pages; whether the time was up first.
fn pages(
    client: &Client,
    op: Op,
    end: Instant,
    mut each: impl FnMut(&[u8]) -> Option<()>,
) -> Result<bool, ClientError> {
    let mut after = 0_u32;
    loop {
        let LookUp::Found(page) = client.look_up(op, &after.to_le_bytes())? else {
            return Err(ClientError::Unknown);
        };
        let broken = ClientError::Protocol("a page of a list cannot be read");
        let Some((head, mut entries)) = ListHead::split(&page) else {
            return Err(broken);
        };
        for _ in 0..head.count {
            let Some((record, rest)) = ListHead::next_entry(entries) else {
                return Err(broken);
            };
            each(record);
            entries = rest;
        }
        if head.next_after == 0 {
            return Ok(false);
        }
        // A list that does not go forward would never end.
        if head.next_after <= after {
            return Err(broken);
        }
        after = head.next_after;
        if Instant::now() > end {
            return Ok(true);
        }
    }
}

fn judge_listing(listing: &Listing, shells: &str) -> Vec<Finding> {
    const CHECK: &str = "logins";
    let mut findings = Vec::new();
    let known: BTreeSet<_> = shells.lines().map(str::trim).filter(|line| line.starts_with('/')).collect();
    for (shell, logins) in &listing.shells {
        if !known.contains(shell.as_str()) && shell != schema::paths::NOLOGIN {
            findings.push(Finding::warning(
                CHECK,
                format!(
                    "{logins} logins have the shell {shell}, which is not in /etc/shells: FTP, chsh and su refuse them"
                ),
                format!("install it, then add {shell} to /etc/shells (add-shell {shell})"),
            ));
        }
    }
    let many: Vec<_> =
        listing.groups.iter().filter(|(_, groups)| **groups > NFS_GROUPS).map(|(login, _)| login.as_str()).collect();
    if let Some(first) = many.first() {
        findings.push(Finding::warning(
            CHECK,
            format!("{} logins are in more than {NFS_GROUPS} groups, such as {first}: NFS with AUTH_SYS sees only {NFS_GROUPS}", many.len()),
            "take them out of groups, or use nfsd's --manage-gids",
        ));
    }
    if listing.cut {
        findings.push(Finding::unknown(
            CHECK,
            "there was no time to look at all logins",
            "run it again when the host has less to do",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("{} logins, all with shells of this host", listing.shells.values().sum::<usize>()),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;
    use serde_json::json;

    fn status(version: &str, health: &str) -> Vec<Finding> {
        judge_status(&json!({"version": version, "health": health, "quarantine": []}), Duration::from_millis(1))
    }

    #[test]
    fn a_daemon_of_another_version_or_in_bad_health_is_an_error() {
        assert_eq!(worst(&status(env!("CARGO_PKG_VERSION"), "ok")), Severity::Ok);
        assert_eq!(worst(&status("0.0.1", "ok")), Severity::Error);
        assert_eq!(worst(&status(env!("CARGO_PKG_VERSION"), "degraded")), Severity::Error);
        assert_eq!(worst(&judge_status(&Value::Null, Duration::ZERO)), Severity::Error);
    }

    #[test]
    fn shells_that_the_host_lacks_and_too_many_groups_are_found() {
        let mut listing = Listing::default();
        listing.shells.insert("/bin/bash".into(), 3);
        listing.shells.insert("/usr/sbin/nologin".into(), 2);
        assert_eq!(worst(&judge_listing(&listing, "# shells\n/bin/bash\n")), Severity::Ok);
        assert_eq!(worst(&judge_listing(&listing, "/bin/sh\n")), Severity::Warning);
        listing.groups.insert("ana".into(), 17);
        assert_eq!(worst(&judge_listing(&listing, "/bin/bash\n")), Severity::Warning);
    }
}
