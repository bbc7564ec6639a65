//! pam_sm_open_session(3), which makes a missing home, and pam_sm_close_session(3).

use pam::constants::{PAM_SILENT, PamFlag, PamResultCode};
use schema::wire::message::{Reply, Request};

use crate::client::{DAEMON, Patience};
use crate::handle::Handle;
use crate::home::{self, Made};
use crate::log::{Level, harmless, reason};
use crate::options::Options;
use crate::stage;

/// Tells identityd that a session begins, and makes the home if it is to be made.
pub(crate) fn open(pam: &mut Handle<'_>, options: &Options, flags: PamFlag) -> PamResultCode {
    if !rustix::process::geteuid().is_root() {
        return PamResultCode::PAM_IGNORE;
    }
    let login = match stage::subject(pam, options) {
        Ok(login) => login,
        Err(PamResultCode::PAM_USER_UNKNOWN) => return PamResultCode::PAM_SESSION_ERR,
        Err(code) => return code,
    };
    let request = Request::OpenSession { context: pam.context(login.as_str()) };
    let session = match stage::ask(pam, options, &request, Patience::PLAIN) {
        Ok(Reply::Session(session)) => session,
        Ok(Reply::Failed(why)) => {
            pam.log(Level::Error, &format!("identityd: {}", reason(&why)));
            return PamResultCode::PAM_SESSION_ERR;
        }
        Ok(_) => {
            pam.log(Level::Error, "identityd did not describe the session; see its log");
            return PamResultCode::PAM_SESSION_ERR;
        }
        Err(PamResultCode::PAM_IGNORE) => return PamResultCode::PAM_IGNORE,
        Err(_) => return PamResultCode::PAM_SESSION_ERR,
    };
    if let Err(code) = stage::confirm(pam, options, &login, Some(session.uid)) {
        return code;
    }
    if !session.create {
        return PamResultCode::PAM_SUCCESS;
    }
    match home::provide(&session, &options.home_roots) {
        Ok(Made::Already) => PamResultCode::PAM_SUCCESS,
        Ok(Made::Now { skipped }) => {
            pam.log(Level::Info, &format!("created the home {} for {login}", session.home));
            if skipped > 0 {
                let line = format!(
                    "{skipped} entries of {} were not copied: only files, directories and links that everybody may read are",
                    harmless(session.skeleton.as_bytes())
                );
                pam.log(Level::Notice, &line);
            }
            PamResultCode::PAM_SUCCESS
        }
        Err(error) => {
            pam.log(Level::Error, &format!("cannot create the home {} for {login}: {error}", session.home));
            if flags & PAM_SILENT == 0 && !options.no_warn {
                pam.complain("Your home directory could not be created; please tell the administrators.");
            }
            PamResultCode::PAM_SESSION_ERR
        }
    }
}

/// Tells identityd that a session has ended. Whether it hears it or not: nobody is kept from leaving.
pub(crate) fn close(pam: &mut Handle<'_>, options: &Options) -> PamResultCode {
    if !rustix::process::geteuid().is_root() {
        return PamResultCode::PAM_IGNORE;
    }
    match stage::subject(pam, options) {
        Ok(login) => {
            let request = Request::CloseSession { context: pam.context(login.as_str()) };
            if let Err(failure) = DAEMON.ask(&request, Patience::NOTICE)
                && options.debug
            {
                pam.log(Level::Debug, &failure.to_string());
            }
            PamResultCode::PAM_SUCCESS
        }
        Err(PamResultCode::PAM_IGNORE) => PamResultCode::PAM_IGNORE,
        Err(_) => PamResultCode::PAM_SUCCESS,
    }
}
