//! `identityctl why`: the daemon's explanation as a story.

use schema::name::LoginName;
use schema::wire::message::{Reply, Request};
use serde_json::{Value, json};

use super::output::{Output, printable};
use super::questions::unexpected;
use super::status::{render, scalar_text};
use super::{CliError, Exit};
use crate::client::{Client, ClientError};

/// The service that the daemon explains first, and what is not part of the story.
const TOLD: [&str; 6] = ["login", "service", "steps", "outcome", "pam_code", "summary"];

pub(super) fn run(output: &Output, login: &str, service: Option<String>) -> Result<Exit, CliError> {
    let question = Request::Why { login: login.to_owned(), service: service.clone() };
    match Client::new().ask(&question) {
        Ok(Reply::Why(text)) => {
            let why: Value =
                serde_json::from_str(&text).map_err(|_| ClientError::Protocol("its explanation is not JSON"))?;
            output.show(&why, |output| story(output, &why))?;
            Ok(Exit::Ok)
        }
        Ok(other) => Err(unexpected(other)),
        Err(error) if error.is_away() => {
            let why = without_daemon(login, service.as_deref(), &error);
            output.show(&why, |output| story(output, &why))?;
            Ok(Exit::Unavailable)
        }
        Err(error) => Err(error.into()),
    }
}

fn story(output: &Output, why: &Value) -> String {
    let text = |key: &str| why.get(key).filter(|value| !value.is_null()).map(scalar_text);
    let mut story = match (text("login"), text("service")) {
        (Some(login), Some(service)) => format!("{} and the service {}:\n", printable(&login), printable(&service)),
        (Some(login), None) => format!("{}:\n", printable(&login)),
        _ => String::new(),
    };
    for step in why.get("steps").and_then(Value::as_array).into_iter().flatten() {
        story.push_str(&line(step));
    }
    let rest: serde_json::Map<_, _> = why
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| !TOLD.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !rest.is_empty() {
        story.push('\n');
        story.push_str(&render(output, &Value::Object(rest)));
    }
    match (text("outcome"), text("pam_code")) {
        (Some(outcome), Some(code)) => {
            story.push_str(&format!("\nDecision: {} ({})\n", printable(&outcome), printable(&code)));
        }
        (Some(one), None) | (None, Some(one)) => story.push_str(&format!("\nDecision: {}\n", printable(&one))),
        (None, None) => {}
    }
    if let Some(summary) = text("summary") {
        story.push_str(&format!("\n{}\n", printable(&summary)));
    }
    story
}

fn line(step: &Value) -> String {
    let text = |key: &str| step.get(key).filter(|value| !value.is_null()).map(scalar_text).unwrap_or_default();
    let mark = match step.get("ok").and_then(Value::as_bool) {
        Some(true) => "+",
        Some(false) => "-",
        None => " ",
    };
    let detail = match text("detail") {
        detail if detail.is_empty() => detail,
        detail => format!(" ({detail})"),
    };
    format!(" {mark} {:<24} {}{}\n", printable(&text("question")), printable(&text("finding")), printable(&detail))
}

/// What can be told without the daemon: the name's form, and whether it is a local account. libc and PAM do without it the same.
fn without_daemon(login: &str, service: Option<&str>, error: &ClientError) -> Value {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    explain_without_daemon(login, service, &passwd, &error.to_string())
}

fn explain_without_daemon(login: &str, service: Option<&str>, passwd: &[u8], error: &str) -> Value {
    let step = |question: &str, finding: &str, detail: Option<String>, ok: bool| json!({"question": question, "finding": finding, "detail": detail, "ok": ok});
    let local = passwd
        .split(|byte| *byte == b'\n')
        .find(|line| line.split(|byte| *byte == b':').next() == Some(login.as_bytes()));
    let mut steps = vec![step("identityd?", "away", Some(error.to_owned()), false)];
    let summary = if local.is_some() {
        steps.push(step("local account?", "yes", Some("it stands in /etc/passwd".into()), true));
        "A local account: /etc/passwd answers for it, and pam_mayfirst leaves it to the other modules. identityd is not needed."
    } else if let Err(reason) = login.parse::<LoginName>() {
        steps.push(step("local account?", "no", None, true));
        steps.push(step("name possible?", "no", Some(reason.to_string()), false));
        "No login of the directory can have this name."
    } else {
        steps.push(step("local account?", "no", None, true));
        steps.push(step("name possible?", "yes", None, true));
        "Without identityd it cannot be told whether the directory has this login: libc gets UNAVAIL, PAM gets PAM_AUTHINFO_UNAVAIL."
    };
    json!({"login": login, "service": service, "steps": steps, "outcome": null, "pam_code": null, "summary": summary})
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nadm2:x:1000:1000::/home/adm2:/bin/sh\n";

    fn told(login: &str) -> String {
        story(&Output::new(false), &explain_without_daemon(login, Some("sshd"), PASSWD, "nobody listens"))
    }

    #[test]
    fn without_the_daemon_a_local_account_is_still_explained() {
        let text = told("adm2");
        assert!(text.contains("nobody listens") && text.contains("A local account"), "{text}");
    }

    #[test]
    fn without_the_daemon_an_impossible_name_is_still_explained() {
        assert!(told("a:b").contains("No login of the directory can have this name"));
        assert!(told("root:x").contains("No login"));
    }

    #[test]
    fn without_the_daemon_other_logins_are_unknown_not_absent() {
        assert!(told("alice").contains("cannot be told"));
    }

    #[test]
    fn the_story_ends_with_the_decision() {
        let why = json!({"login": "alice", "service": "sshd", "outcome": "PermissionDenied", "pam_code": "PAM_PERM_DENIED",
            "summary": "locked", "steps": [{"question": "status?", "finding": "locked", "detail": null, "ok": false}]});
        let text = story(&Output::new(false), &why);
        assert!(text.starts_with("alice and the service sshd:\n - status?"), "{text}");
        assert!(text.contains("Decision: PermissionDenied (PAM_PERM_DENIED)\n\nlocked\n"), "{text}");
    }

    #[test]
    fn keys_of_a_newer_daemon_are_shown_too() {
        assert!(
            story(&Output::new(false), &json!({"login": "a", "throttled_until": "12:00"}))
                .contains("throttled_until  12:00")
        );
    }
}
