//! pam_sm_acct_mgmt(3): may this login use this service on this host now? Also the only stage that sees a login by ssh key, or cron.

use pam::constants::{PamFlag, PamResultCode};
use schema::wire::message::{Outcome, Request};

use crate::client::Patience;
use crate::handle::Handle;
use crate::log::Level;
use crate::options::Options;
use crate::{code, stage};

/// Asks identityd and obeys.
pub(crate) fn check(pam: &mut Handle<'_>, options: &Options, flags: PamFlag) -> PamResultCode {
    let login = match stage::subject(pam, options) {
        Ok(login) => login,
        Err(code) => return code,
    };
    let request = Request::Account { context: pam.context(login.as_str()) };
    let verdict = match stage::verdict(pam, options, &request, Patience::PLAIN) {
        Ok(verdict) => verdict,
        Err(code) => return code,
    };
    stage::show(pam, options, flags, &verdict);
    match verdict.outcome {
        Outcome::Success | Outcome::NewPasswordRequired => {
            if let Err(code) = stage::confirm(pam, options, &login, verdict.uid) {
                return code;
            }
        }
        Outcome::UserUnknown => return stage::unknown(options),
        Outcome::Unavailable => {
            pam.log(
                Level::Error,
                &format!("identityd cannot reach the directory for {login}; see: identityctl status"),
            );
            return stage::unavailable(options);
        }
        outcome => pam.log(Level::Notice, &format!("refused {login}: {outcome:?}; see: identityctl why {login}")),
    }
    code::of(verdict.outcome)
}
