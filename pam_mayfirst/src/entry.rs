//! The entry points that libpam calls. `pam_hooks!` exports them, checks the handle and the arguments, and turns a panic into PAM_ABORT.
#![allow(unsafe_code, reason = "what the macro of pam-bindings expands to")]

use std::ffi::CStr;

use pam::constants::{PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};

use crate::handle::Handle;
use crate::options::Options;
use crate::{account, auth, password, session};

struct Mayfirst;

pam::pam_hooks!(Mayfirst);

impl PamHooks for Mayfirst {
    fn sm_authenticate(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        run(pamh, &args, |pam, options| auth::authenticate(pam, options, flags))
    }

    fn sm_setcred(pamh: &mut PamHandle, args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        run(pamh, &args, auth::setcred)
    }

    fn acct_mgmt(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        run(pamh, &args, |pam, options| account::check(pam, options, flags))
    }

    fn sm_chauthtok(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        run(pamh, &args, |pam, options| password::change(pam, options, flags))
    }

    fn sm_open_session(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        run(pamh, &args, |pam, options| session::open(pam, options, flags))
    }

    fn sm_close_session(pamh: &mut PamHandle, args: Vec<&CStr>, _flags: PamFlag) -> PamResultCode {
        run(pamh, &args, session::close)
    }
}

fn run(
    pamh: &mut PamHandle,
    args: &[&CStr],
    stage: impl FnOnce(&mut Handle<'_>, &Options) -> PamResultCode,
) -> PamResultCode {
    let mut pam = Handle::new(pamh);
    let (options, complaints) = Options::parse(args.iter().map(|arg| arg.to_bytes()));
    for complaint in complaints {
        pam.log(crate::log::Level::Error, &complaint);
    }
    stage(&mut pam, &options)
}
