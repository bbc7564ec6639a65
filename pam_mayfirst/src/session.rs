//! pam_sm_open_session(3), which makes a missing home and confines logins without a shell, and pam_sm_close_session(3).

use pam::constants::{PAM_SILENT, PamFlag, PamResultCode};
use schema::name::LoginName;
use schema::wire::message::{Outcome, Reply, Request, Session};

use crate::client::{DAEMON, Patience};
use crate::confine;
use crate::handle::Handle;
use crate::home::{self, Made};
use crate::log::{Level, harmless, reason};
use crate::options::Options;
use crate::stage;

/// The services whose process goes on to serve files over ssh. OpenSSH takes its program's name as the service (`auth-pam.h`,
/// SSHD_PAM_SERVICE), so a second sshd may be called `sshd-something`.
const SSHD: &str = "sshd";

/// Tells identityd that a session begins, makes the home if it is to be made, and lets a login without `shell` no more than files over ssh.
pub(crate) fn open(pam: &mut Handle<'_>, options: &Options, flags: PamFlag) -> PamResultCode {
    if !rustix::process::geteuid().is_root() {
        return PamResultCode::PAM_IGNORE;
    }
    let login = match stage::subject(pam, options) {
        Ok(login) => login,
        Err(code) => return code,
    };
    let context = pam.context(login.as_str());
    let over_ssh = context.service.starts_with(SSHD);
    let request = Request::OpenSession { context };
    let session = match stage::ask(pam, options, &request, Patience::PLAIN) {
        Ok(Reply::Session(session)) => session,
        Ok(Reply::Verdict(verdict)) if verdict.outcome == Outcome::UserUnknown => {
            return unknown(pam, options, &login, over_ssh);
        }
        Ok(Reply::Failed(why)) => {
            pam.log(Level::Error, &format!("identityd: {}", reason(&why)));
            return PamResultCode::PAM_SESSION_ERR;
        }
        Ok(_) => {
            pam.log(Level::Error, "identityd did not describe the session; see its log");
            return PamResultCode::PAM_SESSION_ERR;
        }
        // Over ssh no option makes up for not knowing whether the login may have more than files.
        Err(PamResultCode::PAM_IGNORE) if !over_ssh => return PamResultCode::PAM_IGNORE,
        Err(_) => return PamResultCode::PAM_SESSION_ERR,
    };
    if let Err(code) = stage::confirm(pam, options, &login, Some(session.uid)) {
        return code;
    }
    let home =
        if session.create { make_home(pam, options, flags, &login, &session) } else { PamResultCode::PAM_SUCCESS };
    // Without a shell nothing of what is in the home is run.
    if session.shell
        && let Err(code) = check_owner(pam, options, flags, &login, &session)
    {
        return code;
    }
    if over_ssh
        && !session.shell
        && let Err(error) = confine::to_files()
    {
        pam.log(
            Level::Critical,
            &format!("refusing {login}: it has no shell, and cannot be confined to files: {error}"),
        );
        return PamResultCode::PAM_SESSION_ERR;
    }
    home
}

/// What becomes of a session whose login the directory does not have. Over ssh it is refused: the login may have gone since the account stage (sshd keeps that verdict for
/// as long as the connection is being authenticated), and would begin without what confines it. An account of another source may pass, where the line says that there is one.
fn unknown(pam: &mut Handle<'_>, options: &Options, login: &LoginName, over_ssh: bool) -> PamResultCode {
    if !over_ssh || (options.ignore_unknown_user && stage::is_of_another_source(login)) {
        return stage::unknown(options);
    }
    let line = format!(
        "refusing {login}: neither this server nor the directory has it (any more); for accounts of another source add ignore_unknown_user to the session line of pam_mayfirst.so"
    );
    pam.log(Level::Critical, &line);
    PamResultCode::PAM_SESSION_ERR
}

/// Refuses a session in a home of somebody else: who owns it says what a shell, sshd or cron runs at the beginning.
fn check_owner(
    pam: &mut Handle<'_>,
    options: &Options,
    flags: PamFlag,
    login: &LoginName,
    session: &Session,
) -> Result<(), PamResultCode> {
    let home = session.home.as_str();
    let Some(owner) = home::foreign_owner(session, &options.shared_homes) else { return Ok(()) };
    pam.log(
        Level::Critical,
        &format!(
            "refusing {login} (uid {}): its home {home} belongs to uid {owner}, who could run programs as {login}. Give it the right owner, or the login another home; \
             if it is shared on purpose, add shared_homes=DIR to the session line of pam_mayfirst.so. See: identityctl doctor",
            session.uid
        ),
    );
    if flags & PAM_SILENT == 0 && !options.no_warn {
        pam.complain("Your home directory belongs to somebody else; please tell the administrators.");
    }
    Err(PamResultCode::PAM_SESSION_ERR)
}

/// Makes a missing home. Without one the login gets in all the same, unless the line says `require_home`.
fn make_home(
    pam: &mut Handle<'_>,
    options: &Options,
    flags: PamFlag,
    login: &LoginName,
    session: &Session,
) -> PamResultCode {
    match home::provide(session, &options.home_roots) {
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
            if options.require_home { PamResultCode::PAM_SESSION_ERR } else { PamResultCode::PAM_SUCCESS }
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
