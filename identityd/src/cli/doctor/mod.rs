//! `identityctl doctor`: checks what this host needs to know the logins, and says how to mend each finding.
//!
//! The judgements are functions over texts and facts; only [`gather`], [`directory`], [`homes`] and [`daemon`] look at the host.

mod daemon;
mod directory;
mod gather;
mod homes;
mod host;
mod namesakes;
mod network;
mod nsswitch;
mod pam;
mod pam_stack;
mod snapshot;
mod sshd;
mod sudoers;

pub(super) use self::gather::{sshd_text, sudoers_files};
pub(super) use self::sudoers::groups as sudoers_groups;
use serde::Serialize;
use serde_json::json;

use super::output::{Output, printable};
use super::{CliError, Exit};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// As it should be.
    Ok,
    /// Could not be looked at.
    Unknown,
    /// Works, and may surprise.
    Warning,
    /// Logins do not work, or denials are not kept.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    severity: Severity,
    /// Which check.
    check: &'static str,
    /// What was found, and where.
    what: String,
    /// How to mend it.
    mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, check, what: what.into(), mend: None }
    }

    fn unknown(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Unknown, check, what: what.into(), mend: Some(mend.into()) }
    }

    fn warning(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, check, what: what.into(), mend: Some(mend.into()) }
    }

    fn error(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity: Severity::Error, check, what: what.into(), mend: Some(mend.into()) }
    }
}

pub(super) fn run(output: &Output) -> Result<Exit, CliError> {
    let mut findings = gather::all();
    findings.push(directory::check());
    findings.extend(snapshot::check(gather::service_uid()));
    findings.extend(homes::check(&gather::pam_files()));
    findings.extend(daemon::check());
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let errors = count(Severity::Error);
    let report = json!({"findings": findings, "errors": errors, "warnings": count(Severity::Warning)});
    output.show(&report, |_| render(&findings))?;
    Ok(if errors == 0 { Exit::Ok } else { Exit::Failed })
}

fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.severity {
            Severity::Ok => "ok     ",
            Severity::Unknown => "unknown",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR  ",
        };
        text.push_str(&format!("{mark}  {:<11}  {}\n", finding.check, printable(&finding.what)));
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("{:9}{:<11}  -> {}\n", "", "", printable(mend)));
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    text.push_str(&format!("\n{} errors, {} warnings\n", count(Severity::Error), count(Severity::Warning)));
    text
}

/// For the tests of the checks.
#[cfg(test)]
fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_told_with_its_remedy() {
        let text =
            render(&[Finding::ok("clock", "2026"), Finding::error("nsswitch", "passwd: lacks mayfirst", "add it")]);
        assert!(text.contains("ok       clock") && text.contains("-> add it"), "{text}");
        assert!(text.ends_with("1 errors, 0 warnings\n"), "{text}");
    }
}
