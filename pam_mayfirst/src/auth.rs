//! pam_sm_authenticate(3) and pam_sm_setcred(3).

use pam::constants::{PamFlag, PamResultCode};
use schema::name::LoginName;
use schema::wire::message::{MAX_PASSWORD, Outcome, PamContext, Request, Secret};

use crate::client::Patience;
use crate::handle::{Handle, Token};
use crate::log::{Level, harmless};
use crate::nss::{self, Answer};
use crate::options::Options;
use crate::{code, stage};

/// Pause after a refusal, as long as pam_unix(8) asks for.
const FAIL_DELAY_US: u32 = 2_000_000;

/// Is this the password? The person is asked before identityd is: what is seen and typed is the same whether the login exists or not
/// and whether identityd runs or not.
pub(crate) fn authenticate(pam: &mut Handle<'_>, options: &Options, flags: PamFlag) -> PamResultCode {
    let login = match stage::subject(pam, options) {
        Ok(login) => login,
        Err(code) => return code,
    };
    let password = match pam.ask(Token::Current, None) {
        Ok(password) => password,
        Err(PamResultCode::PAM_INCOMPLETE) => return PamResultCode::PAM_INCOMPLETE,
        Err(code) => {
            pam.log(Level::Notice, &format!("no password was given for {login} ({code:?})"));
            return PamResultCode::PAM_AUTH_ERR;
        }
    };
    let context = pam.context(login.as_str());
    if !is_possible(&password) {
        return refuse(pam, options, &login, &context);
    }
    let request = Request::Authenticate { context: context.clone(), password };
    let verdict = match stage::verdict(pam, options, &request, Patience::HASH) {
        Ok(verdict) => verdict,
        Err(code) => return code,
    };
    stage::show(pam, options, flags, &verdict);
    match verdict.outcome {
        Outcome::Success => match stage::confirm(pam, options, &login, verdict.uid) {
            Ok(_) => PamResultCode::PAM_SUCCESS,
            Err(code) => code,
        },
        Outcome::AuthError => refuse(pam, options, &login, &context),
        Outcome::UserUnknown => stage::unknown(options),
        Outcome::Unavailable => {
            pam.log(
                Level::Error,
                &format!("identityd cannot reach the directory for {login}; see: identityctl status"),
            );
            stage::unavailable(options)
        }
        outcome => {
            pam.log(Level::Notice, &format!("refused {login}: {outcome:?}"));
            delay(pam, options);
            code::of(outcome)
        }
    }
}

/// There are no credentials to set. PAM_SUCCESS for whoever is not local, with or without an authentication before (sshd with a key, cron):
/// in a stack of this module alone, PAM_IGNORE would mean failure.
pub(crate) fn setcred(pam: &mut Handle<'_>, options: &Options) -> PamResultCode {
    match stage::subject(pam, options) {
        Ok(_) => PamResultCode::PAM_SUCCESS,
        Err(code) => code,
    }
}

/// An empty password is nobody's, and a longer one than libcrypt takes would be cut.
pub(crate) fn is_possible(password: &Secret) -> bool {
    (1..=MAX_PASSWORD).contains(&password.expose().len())
}

/// A wrong password, or a login that does not exist: the line in the log has the form that pam_unix(8) writes and log watchers know.
fn refuse(pam: &mut Handle<'_>, options: &Options, login: &LoginName, context: &PamContext) -> PamResultCode {
    let item = |value: &Option<String>| harmless(value.as_deref().unwrap_or_default().as_bytes());
    let line = format!(
        "authentication failure; logname= uid={} euid={} tty={} ruser={} rhost={}  user={login}",
        rustix::process::getuid().as_raw(),
        rustix::process::geteuid().as_raw(),
        item(&context.tty),
        item(&context.remote_user),
        item(&context.remote_host),
    );
    pam.log(Level::Notice, &line);
    // identityd does not tell an unknown login from a wrong password; the option asks for the difference, and NSS knows it.
    if options.ignore_unknown_user && nss::uid_of(login) == Answer::Absent {
        return PamResultCode::PAM_IGNORE;
    }
    delay(pam, options);
    PamResultCode::PAM_AUTH_ERR
}

/// The pause after a refusal.
pub(crate) fn delay(pam: &mut Handle<'_>, options: &Options) {
    if !options.nodelay {
        pam.delay_failure(FAIL_DELAY_US);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_overlong_passwords_are_nobodys() {
        for (len, possible) in [(0, false), (1, true), (511, true), (512, false)] {
            assert_eq!(is_possible(&Secret::new(vec![b'a'; len])), possible, "{len}");
        }
    }
}
