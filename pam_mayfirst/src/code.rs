//! From the daemon's decision to a code of PAM.

use pam::constants::PamResultCode;
use schema::wire::message::Outcome;

/// The code of an outcome, as the outcome's own documentation names it.
pub(crate) fn of(outcome: Outcome) -> PamResultCode {
    match outcome {
        Outcome::Success => PamResultCode::PAM_SUCCESS,
        Outcome::AuthError => PamResultCode::PAM_AUTH_ERR,
        Outcome::UserUnknown => PamResultCode::PAM_USER_UNKNOWN,
        Outcome::Unavailable => PamResultCode::PAM_AUTHINFO_UNAVAIL,
        Outcome::PermissionDenied => PamResultCode::PAM_PERM_DENIED,
        Outcome::AccountExpired => PamResultCode::PAM_ACCT_EXPIRED,
        Outcome::NewPasswordRequired => PamResultCode::PAM_NEW_AUTHTOK_REQD,
        Outcome::PasswordExpired => PamResultCode::PAM_AUTHTOK_EXPIRED,
        Outcome::MaxTries => PamResultCode::PAM_MAXTRIES,
        Outcome::PasswordRejected => PamResultCode::PAM_AUTHTOK_ERR,
        Outcome::TooSoon => PamResultCode::PAM_TRY_AGAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_success() {
        let all = [
            Outcome::Success,
            Outcome::AuthError,
            Outcome::UserUnknown,
            Outcome::Unavailable,
            Outcome::PermissionDenied,
            Outcome::AccountExpired,
            Outcome::NewPasswordRequired,
            Outcome::PasswordExpired,
            Outcome::MaxTries,
            Outcome::PasswordRejected,
            Outcome::TooSoon,
        ];
        for outcome in all {
            let code = of(outcome);
            assert_eq!(code == PamResultCode::PAM_SUCCESS, outcome == Outcome::Success, "{outcome:?}");
            assert_ne!(code, PamResultCode::PAM_IGNORE, "{outcome:?} must not be ignored");
        }
    }
}
