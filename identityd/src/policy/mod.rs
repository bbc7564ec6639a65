//! Who may use which service on this host: a verdict with its reasons.
//!
//! Pure functions of a login, the configuration and the day. The reasons go to the log and to `identityctl why`; the caller of PAM sees the
//! code only.

use schema::date::Date;
use schema::name::GroupName;
use schema::record::{Aging, Login, Status};
use schema::wire::message::Outcome;

use crate::config::{Access, Config};

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// The question.
    pub question: &'static str,
    /// The answer in a word or two.
    pub finding: String,
    /// More, where there is more.
    pub detail: Option<String>,
    /// `false`: this is what stood in the way.
    pub ok: bool,
}

/// A verdict and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub outcome: Outcome,
    /// For the person.
    pub info: Option<String>,
    /// In the order asked; the last one decided.
    pub steps: Vec<Step>,
}

impl Decision {
    /// What decided, for the log.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.steps.iter().find(|step| !step.ok).or(self.steps.last()) {
            Some(Step { question, finding, detail: Some(detail), .. }) => format!("{question} {finding}: {detail}"),
            Some(Step { question, finding, .. }) => format!("{question} {finding}"),
            None => String::new(),
        }
    }
}

/// What the decision is about.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The login.
    pub login: &'a Login,
    /// Those groups of `[access]` that the login is in.
    pub groups: &'a [GroupName],
    /// PAM_SERVICE.
    pub service: &'a str,
    /// Today, UTC.
    pub today: Date,
}

/// May this login use this service on this host today (PAM's account stage)?
#[must_use]
pub fn account(case: Case<'_>, config: &Config) -> Decision {
    let mut walk = Walk::default();
    let decided = walk
        .status(case.login)
        .or_else(|| walk.expiry(&case.login.aging, case.today))
        .or_else(|| walk.access(case, &config.access))
        .or_else(|| walk.service(case, config))
        .or_else(|| walk.aging(&case.login.aging, case.today));
    walk.decide(decided.unwrap_or(Outcome::Success))
}

/// Why nobody may come in as this login today, whatever the service: it is locked, or its day of expiry has come.
#[must_use]
pub fn closed(login: &Login, today: Date) -> Option<String> {
    let mut walk = Walk::default();
    walk.status(login).or_else(|| walk.expiry(&login.aging, today))?;
    Some(walk.decide(Outcome::PermissionDenied).reason())
}

/// May the password be changed today? `by_root`: root resets it, which only needs the login to exist.
#[must_use]
pub fn change_password(login: &Login, by_root: bool, today: Date) -> Decision {
    let mut walk = Walk::default();
    if by_root {
        walk.step("who asks?", "root", None, true);
        return walk.decide(Outcome::Success);
    }
    let decided = walk.status(login).or_else(|| walk.expiry(&login.aging, today)).or_else(|| {
        match walk.aging(&login.aging, today) {
            // It must be changed, so it may be, however young it is.
            Some(Outcome::NewPasswordRequired) => {
                walk.steps.pop();
                None
            }
            Some(outcome) => Some(outcome),
            None => walk.minimum(&login.aging, today),
        }
    });
    walk.info = None;
    walk.decide(decided.unwrap_or(Outcome::Success))
}

#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    info: Option<String>,
}

impl Walk {
    fn step(&mut self, question: &'static str, finding: impl Into<String>, detail: Option<String>, ok: bool) {
        self.steps.push(Step { question, finding: finding.into(), detail, ok });
    }

    fn decide(self, outcome: Outcome) -> Decision {
        Decision { outcome, info: self.info, steps: self.steps }
    }

    fn status(&mut self, login: &Login) -> Option<Outcome> {
        let locked = login.status == Status::Locked;
        let detail = locked.then(|| format!("unlock it with: identityctl login unlock {}", login.name));
        self.step("locked?", if locked { "yes" } else { "no" }, detail, !locked);
        locked.then_some(Outcome::PermissionDenied)
    }

    /// Closed from the day of expiry on (shadow(5): the day on which the account will be disabled).
    fn expiry(&mut self, aging: &Aging, today: Date) -> Option<Outcome> {
        let expired = aging.expires.is_some_and(|day| today >= day);
        let detail = aging.expires.map(|day| format!("the login is closed from {day} on"));
        self.step("expired?", if expired { "yes" } else { "no" }, detail, !expired);
        expired.then_some(Outcome::AccountExpired)
    }

    fn access(&mut self, case: Case<'_>, access: &Access) -> Option<Outcome> {
        let name = &case.login.name;
        let among = |groups: &[GroupName]| case.groups.iter().find(|group| groups.contains(group)).cloned();
        let question = "may enter this host?";
        let refusal = if access.deny_logins.contains(name) {
            Some("[access] deny_logins names it".to_owned())
        } else if let Some(group) = among(&access.deny_groups) {
            Some(format!("it is in {group}, which [access] deny_groups names"))
        } else if (access.allow_logins.is_empty() && access.allow_groups.is_empty())
            || access.allow_logins.contains(name)
            || among(&access.allow_groups).is_some()
        {
            None
        } else {
            Some("neither [access] allow_logins nor allow_groups names it".to_owned())
        };
        let ok = refusal.is_none();
        self.step(question, if ok { "yes" } else { "no" }, refusal, ok);
        (!ok).then_some(Outcome::PermissionDenied)
    }

    fn service(&mut self, case: Case<'_>, config: &Config) -> Option<Outcome> {
        let need = config.services.need(case.service);
        let ok = need.is_met_by(&case.login.capabilities);
        let has: Vec<&str> = case.login.capabilities.iter().map(schema::capability::Capability::as_str).collect();
        let has = if has.is_empty() { "none".into() } else { has.join(", ") };
        let listed = if config.services.is_listed(case.service) { "" } else { " (it is not listed in [services])" };
        let detail = format!("{}{listed} needs {need}; the login has {has}", case.service);
        self.step("has the capability for the service?", if ok { "yes" } else { "no" }, Some(detail), ok);
        (!ok).then_some(Outcome::PermissionDenied)
    }

    /// shadow(5), in the order of pam_unix (`modules/pam_unix/passverify.c`, check_shadow_expiry).
    fn aging(&mut self, aging: &Aging, today: Date) -> Option<Outcome> {
        let question = "password too old?";
        let Some(changed) = aging.last_change else {
            self.step(question, "no", Some("no aging".into()), true);
            return None;
        };
        if changed.days() == 0 {
            self.step(question, "must be changed", Some("an administrator asked for a new one".into()), false);
            return Some(Outcome::NewPasswordRequired);
        }
        // A date in the future is a wrong clock somewhere, and no reason to keep anybody out.
        let age = today.days().saturating_sub(changed.days());
        let Some(max) = aging.max_days else {
            self.step(question, "no", Some(format!("{age} days old, may be any age")), true);
            return None;
        };
        let detail = Some(format!("{age} days old, may be {max}"));
        if let Some(inactive) = aging.inactive_days
            && u64::from(age) > u64::from(max) + u64::from(inactive)
        {
            self.step(question, "yes, beyond the days of grace", detail, false);
            return Some(Outcome::PasswordExpired);
        }
        if age > max {
            self.step(question, "yes, must be changed", detail, false);
            return Some(Outcome::NewPasswordRequired);
        }
        self.step(question, "no", detail, true);
        let left = max - age;
        if aging.warn_days.is_some_and(|warn| left < warn) {
            self.info = Some(match left {
                0 => "Your password must be changed by tomorrow.".into(),
                1 => "Your password must be changed within 1 day.".into(),
                left => format!("Your password must be changed within {left} days."),
            });
        }
        None
    }

    fn minimum(&mut self, aging: &Aging, today: Date) -> Option<Outcome> {
        let (Some(changed), Some(min)) = (aging.last_change, aging.min_days) else {
            return None;
        };
        let age = today.days().checked_sub(changed.days())?;
        let ok = age >= min;
        self.step(
            "changed too recently?",
            if ok { "no" } else { "yes" },
            Some(format!("{age} days ago, must be {min}")),
            ok,
        );
        if !ok {
            let wait = min - age;
            self.info = Some(format!("The password was changed too recently; wait {wait} more day(s)."));
        }
        (!ok).then_some(Outcome::TooSoon)
    }
}

#[cfg(test)]
mod tests;
