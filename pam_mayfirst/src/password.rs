//! pam_sm_chauthtok(3): the two calls of a password change.

use pam::constants::{PAM_CHANGE_EXPIRED_AUTHTOK, PAM_SILENT, PamFlag, PamResultCode};
use schema::name::LoginName;
use schema::wire::message::{MAX_PASSWORD, Outcome, Request, Secret};

use crate::client::Patience;
use crate::handle::{Handle, PAM_PRELIM_CHECK, PAM_UPDATE_AUTHTOK, Token};
use crate::log::Level;
use crate::options::Options;
use crate::{auth, code, stage};

/// How often a new password may be tried, as in pam_unix(8).
const MAX_TRIES: u32 = 3;

/// One of the two calls.
pub(crate) fn change(pam: &mut Handle<'_>, options: &Options, flags: PamFlag) -> PamResultCode {
    let login = match stage::subject(pam, options) {
        Ok(login) => login,
        Err(code) => return code,
    };
    if let Err(code) = stage::above_minimum(pam, options, &login) {
        return code;
    }
    let result = if flags & PAM_PRELIM_CHECK != 0 {
        prepare(pam, options, flags, &login)
    } else if flags & PAM_UPDATE_AUTHTOK != 0 {
        update(pam, options, flags, &login)
    } else {
        Err(PamResultCode::PAM_SYSTEM_ERR)
    };
    result.err().unwrap_or(PamResultCode::PAM_SUCCESS)
}

/// Root resets without the old password, except where an expired one is being changed: then root is only the program (sshd, login) and the person is
/// the login. The same rule as pam_unix's (`support.c`, `UNIX__IAMROOT`). The real uid counts: passwd(1) is setuid.
fn is_reset(flags: PamFlag) -> bool {
    rustix::process::getuid().is_root() && flags & PAM_CHANGE_EXPIRED_AUTHTOK == 0
}

/// PAM_PRELIM_CHECK: may it be changed, and does the person know the old one?
fn prepare(pam: &mut Handle<'_>, options: &Options, flags: PamFlag, login: &LoginName) -> Result<(), PamResultCode> {
    let by_root = is_reset(flags);
    let context = pam.context(login.as_str());
    let request = Request::MayChangePassword { context: context.clone(), by_root };
    judge(pam, options, flags, login, &request, Patience::PLAIN)?;
    if by_root {
        return Ok(());
    }
    if flags & PAM_SILENT == 0 && !options.no_warn {
        pam.inform(&format!("Changing password for {login}."));
    }
    let password = pam.ask(Token::Old, Some(c"Current password: "))?;
    let answer = if auth::is_possible(&password) {
        let request = Request::Authenticate { context, password };
        judge(pam, options, flags, login, &request, Patience::HASH)
    } else {
        Err(PamResultCode::PAM_AUTH_ERR)
    };
    if answer.is_err() {
        pam.forget(Token::Old);
        auth::delay(pam, options);
    }
    answer
}

/// PAM_UPDATE_AUTHTOK: takes the new password and has it stored.
fn update(pam: &mut Handle<'_>, options: &Options, flags: PamFlag, login: &LoginName) -> Result<(), PamResultCode> {
    let by_root = is_reset(flags);
    let old = if by_root {
        None
    } else {
        // Left by the first call, which has verified it. identityd verifies it again.
        Some(pam.kept(Token::Old).ok_or(PamResultCode::PAM_AUTHTOK_RECOVERY_ERR)?)
    };
    // A password that another module has asked for cannot be asked for again here.
    let tries = if options.use_authtok || pam.kept(Token::Current).is_some() { 1 } else { MAX_TRIES };
    let mut result = Err(PamResultCode::PAM_AUTHTOK_ERR);
    for _ in 0..tries {
        let new = pam.ask(Token::Current, None).map_err(|code| match code {
            // Two different passwords were typed. pam_get_authtok has said so; this code is for the first call only.
            PamResultCode::PAM_TRY_AGAIN => PamResultCode::PAM_AUTHTOK_ERR,
            other => other,
        })?;
        result = store(pam, options, flags, login, old.clone(), new);
        if result != Err(PamResultCode::PAM_AUTHTOK_ERR) {
            break;
        }
        pam.forget(Token::Current);
    }
    result?;
    let by = if by_root { "root" } else { "its owner" };
    pam.log(Level::Info, &format!("password changed for {login} by {by}"));
    Ok(())
}

fn store(
    pam: &mut Handle<'_>,
    options: &Options,
    flags: PamFlag,
    login: &LoginName,
    old: Option<Secret>,
    new: Secret,
) -> Result<(), PamResultCode> {
    let len = new.expose().len();
    if !auth::is_possible(&new) {
        if flags & PAM_SILENT == 0 {
            match len {
                0 => pam.complain("No password has been supplied."),
                _ => pam.complain(&format!("The password is too long: {len} bytes, {MAX_PASSWORD} are allowed.")),
            }
        }
        return Err(PamResultCode::PAM_AUTHTOK_ERR);
    }
    let request = Request::ChangePassword { context: pam.context(login.as_str()), old, new };
    judge(pam, options, flags, login, &request, Patience::HASH)
}

/// Asks for a verdict, shows its text, and turns everything but a yes into a code.
fn judge(
    pam: &mut Handle<'_>,
    options: &Options,
    flags: PamFlag,
    login: &LoginName,
    request: &Request,
    patience: Patience,
) -> Result<(), PamResultCode> {
    let verdict = stage::verdict(pam, options, request, patience)?;
    stage::show(pam, options, flags, &verdict);
    match verdict.outcome {
        Outcome::Success => Ok(()),
        Outcome::UserUnknown => Err(stage::unknown(options)),
        Outcome::Unavailable => {
            pam.log(
                Level::Error,
                &format!("identityd cannot reach the directory for {login}; see: identityctl status"),
            );
            Err(stage::unavailable(options))
        }
        outcome => {
            pam.log(Level::Notice, &format!("password of {login} not changed: {outcome:?}"));
            Err(code::of(outcome))
        }
    }
}
