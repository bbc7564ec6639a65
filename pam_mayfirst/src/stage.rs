//! What all stages begin with: whose account is it, and what does identityd say?

use std::path::Path;

use pam::constants::{PAM_SILENT, PamFlag, PamResultCode};
use schema::id::{FLOOR, UserId};
use schema::name::LoginName;
use schema::wire::message::{Reply, Request, Verdict};

use crate::client::{DAEMON, Patience};
use crate::handle::Handle;
use crate::local;
use crate::log::{Level, harmless, reason};
use crate::nss::{self, Answer};
use crate::options::Options;

/// The server's own accounts.
const PASSWD: &str = "/etc/passwd";

/// The login that the call is about, or the code to leave with at once: PAM_IGNORE for the server's own accounts.
pub(crate) fn subject(pam: &mut Handle<'_>, options: &Options) -> Result<LoginName, PamResultCode> {
    let user = pam.user()?;
    match local::contains(Path::new(PASSWD), &user) {
        Ok(true) => {
            if options.debug {
                pam.log(Level::Debug, &format!("{} is an account of this server: not ours", harmless(&user)));
            }
            return Err(PamResultCode::PAM_IGNORE);
        }
        Ok(false) => {}
        // Not PAM_IGNORE: a module after this one could then let in whom identityd refuses.
        Err(error) => {
            pam.log(Level::Error, &format!("cannot read {PASSWD}: {error}; nobody but root can be told apart"));
            return Err(PamResultCode::PAM_SYSTEM_ERR);
        }
    }
    let login = LoginName::from_bytes(&user).map_err(|error| {
        pam.log(Level::Notice, &format!("{:?} cannot be a login: {error}", harmless(&user)));
        unknown(options)
    })?;
    Ok(login)
}

/// Refuses a login below the line's minimum. Not PAM_IGNORE: pam_unix behind us would let it in, locked or not (a shadow entry without a date is all it asks for).
/// No account of the directory is below FLOOR, so NSS is asked only when the line raises it.
pub(crate) fn above_minimum(pam: &mut Handle<'_>, options: &Options, login: &LoginName) -> Result<(), PamResultCode> {
    if options.minimum_uid <= FLOOR {
        return Ok(());
    }
    match nss::uid_of(login) {
        Answer::Uid(uid) if uid < options.minimum_uid => Err(too_low(pam, options, login, uid)),
        _ => Ok(()),
    }
}

fn too_low(pam: &mut Handle<'_>, options: &Options, login: &LoginName, uid: u32) -> PamResultCode {
    let minimum = options.minimum_uid;
    pam.log(
        Level::Critical,
        &format!(
            "refusing {login}: its uid {uid} is below minimum_uid={minimum} of this line, and {PASSWD} does not have it"
        ),
    );
    PamResultCode::PAM_PERM_DENIED
}

/// Asks identityd. Without an answer: the line in the log is written, and the code to leave with comes back.
pub(crate) fn ask(
    pam: &mut Handle<'_>,
    options: &Options,
    request: &Request,
    patience: Patience,
) -> Result<Reply, PamResultCode> {
    DAEMON.ask(request, patience).map_err(|failure| {
        pam.log(Level::Error, &failure.to_string());
        unavailable(options)
    })
}

/// Asks identityd for a verdict.
pub(crate) fn verdict(
    pam: &mut Handle<'_>,
    options: &Options,
    request: &Request,
    patience: Patience,
) -> Result<Verdict, PamResultCode> {
    match ask(pam, options, request, patience)? {
        Reply::Verdict(verdict) => Ok(verdict),
        Reply::Failed(why) => {
            pam.log(Level::Error, &format!("identityd: {}", reason(&why)));
            Err(unavailable(options))
        }
        _ => {
            pam.log(Level::Error, "identityd answered another question; do its version and the module's agree?");
            Err(unavailable(options))
        }
    }
}

/// Whether a uid that identityd vouches for may be believed: not below the line's minimum, and the one that NSS gives. If not, the login
/// would get the files and processes of somebody else.
pub(crate) fn confirm(
    pam: &mut Handle<'_>,
    options: &Options,
    login: &LoginName,
    uid: Option<UserId>,
) -> Result<UserId, PamResultCode> {
    let refusal = match uid.map(|uid| (uid, nss::uid_in_the_end(login))) {
        Some((uid, Answer::Uid(same))) if uid.raw() == same && same < options.minimum_uid => {
            return Err(too_low(pam, options, login, same));
        }
        Some((uid, Answer::Uid(same))) if uid.raw() == same => return Ok(uid),
        Some((uid, Answer::Uid(other))) => {
            format!(
                "refusing {login}: identityd vouches for uid {uid}, NSS gives {other}; see: identityctl why {login}"
            )
        }
        Some((uid, Answer::Absent)) => {
            format!(
                "refusing {login}: identityd vouches for uid {uid}, but NSS knows no such account; see: identityctl doctor"
            )
        }
        Some((_, Answer::Unknown)) => format!("refusing {login}: NSS gave no answer to check the uid with"),
        None => format!("refusing {login}: identityd says yes but gives no uid"),
    };
    pam.log(Level::Critical, &refusal);
    Err(PamResultCode::PAM_AUTHINFO_UNAVAIL)
}

/// Shows what identityd wants the person to read.
pub(crate) fn show(pam: &Handle<'_>, options: &Options, flags: PamFlag, verdict: &Verdict) {
    if let Some(info) = &verdict.info
        && flags & PAM_SILENT == 0
        && !options.no_warn
    {
        pam.inform(info);
    }
}

/// Whether NSS has an account of this name: where identityd has none, it is another source's.
pub(crate) fn is_of_another_source(login: &LoginName) -> bool {
    matches!(nss::uid_of(login), Answer::Uid(_))
}

/// The code for an account that neither the server nor the directory has.
pub(crate) fn unknown(options: &Options) -> PamResultCode {
    if options.ignore_unknown_user { PamResultCode::PAM_IGNORE } else { PamResultCode::PAM_USER_UNKNOWN }
}

/// The code when identityd cannot be asked.
pub(crate) fn unavailable(options: &Options) -> PamResultCode {
    if options.ignore_authinfo_unavail { PamResultCode::PAM_IGNORE } else { PamResultCode::PAM_AUTHINFO_UNAVAIL }
}
