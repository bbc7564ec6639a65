//! How an answer or a decision comes about: the JSON of `identityctl why`.

use std::time::Duration;

use schema::record::Login;
use schema::wire::message::Outcome;
use serde_json::{Value, json};

use super::Host;
use super::host::kept;
use crate::cache::Answer;
use crate::policy::Step;
use crate::quarantine;

impl Host {
    /// The JSON of `Request::Why` (`docs/status.md`).
    pub async fn why(&self, user: &str, service: Option<&str>) -> String {
        let mut steps = Vec::new();
        let mut passwd = Value::Null;
        let (outcome, summary) = self.explain(user, service, &mut steps, &mut passwd).await;
        json!({
            "login": user,
            "service": service,
            "steps": steps,
            "passwd": passwd,
            "outcome": outcome.map(|outcome| format!("{outcome:?}")),
            "pam_code": outcome.map(pam_code),
            "summary": summary,
        })
        .to_string()
    }

    async fn explain(
        &self,
        user: &str,
        service: Option<&str>,
        steps: &mut Vec<Step>,
        passwd: &mut Value,
    ) -> (Option<Outcome>, String) {
        let name = match user.parse() {
            Ok(name) => name,
            Err(error) => {
                step(steps, "possible name?", "no", Some(format!("{error}")), false);
                return (Some(Outcome::UserUnknown), "No login can have this name.".into());
            }
        };
        if self.local().has_login(user) {
            step(steps, "local account?", "yes", Some("it is in /etc/passwd; local accounts win".into()), false);
            return (Some(Outcome::UserUnknown), "A local account: the directory is not asked.".into());
        }
        step(steps, "local account?", "no", None, true);
        let login = match self.cache().login_by_name(&name, Duration::from_secs(1)).await {
            Answer::Found(found) => {
                step(steps, "in the directory?", "yes", Some(format!("uid {}", found.login.uid)), true);
                found
            }
            Answer::Absent => {
                step(steps, "in the directory?", "no", None, false);
                return (Some(Outcome::UserUnknown), "The directory has no such login, or it is quarantined.".into());
            }
            Answer::Unknown(reason) => match kept(self.offline.facts(&name, self.offline_days()), reason.clone()) {
                Answer::Found(found) => {
                    step(steps, "known without the directory?", "yes", Some(reason), true);
                    found
                }
                _ => {
                    step(steps, "in the directory?", "unknown", Some(reason), false);
                    return (Some(Outcome::Unavailable), "The directory could not be asked.".into());
                }
            },
        };
        match self.serving(&login.login) {
            Err(reason) => {
                step(steps, "served here?", "no: quarantined", Some(reason), false);
                return (Some(Outcome::UserUnknown), "Quarantined on this server.".into());
            }
            Ok(serving) => {
                step(steps, "served here?", "yes", None, true);
                let shown = quarantine::passwd(&login.login, serving);
                *passwd = json!(format!(
                    "{}:x:{}:{}:{}:{}:{}",
                    shown.name, shown.uid, shown.gid, shown.gecos, shown.home, shown.shell
                ));
            }
        }
        match service {
            None => (None, format!("{user} is served on this server.")),
            Some(service) => self.explain_service(&login.login, service, steps).await,
        }
    }

    async fn explain_service(&self, login: &Login, service: &str, steps: &mut Vec<Step>) -> (Option<Outcome>, String) {
        match self.decide(login, service).await {
            Ok(decision) => {
                let may = if decision.outcome == Outcome::Success { "may" } else { "may not now" };
                let summary = format!("{} {may} use {service}.", login.name);
                steps.extend(decision.steps);
                (Some(decision.outcome), summary)
            }
            Err(reason) => {
                step(steps, "groups known?", "no", Some(reason), false);
                (Some(Outcome::Unavailable), "Its groups could not be looked up.".into())
            }
        }
    }
}

fn step(steps: &mut Vec<Step>, question: &'static str, finding: &str, detail: Option<String>, ok: bool) {
    steps.push(Step { question, finding: finding.into(), detail, ok });
}

fn pam_code(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "PAM_SUCCESS",
        Outcome::AuthError => "PAM_AUTH_ERR",
        Outcome::UserUnknown => "PAM_USER_UNKNOWN",
        Outcome::Unavailable => "PAM_AUTHINFO_UNAVAIL",
        Outcome::PermissionDenied => "PAM_PERM_DENIED",
        Outcome::AccountExpired => "PAM_ACCT_EXPIRED",
        Outcome::NewPasswordRequired => "PAM_NEW_AUTHTOK_REQD",
        Outcome::PasswordExpired => "PAM_AUTHTOK_EXPIRED",
        Outcome::MaxTries => "PAM_MAXTRIES",
        Outcome::PasswordRejected => "PAM_AUTHTOK_ERR",
        Outcome::TooSoon => "PAM_TRY_AGAIN",
    }
}
