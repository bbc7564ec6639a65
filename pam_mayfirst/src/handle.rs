//! The handle of PAM: what pam-bindings offers, and the few functions of libpam that it lacks.
#![allow(unsafe_code, reason = "functions of libpam that pam-bindings 0.4 does not declare")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use pam::constants::{PAM_ERROR_MSG, PAM_TEXT_INFO, PamFlag, PamMessageStyle, PamResultCode};
use pam::conv::Conv;
use pam::items::{AuthTok, Item, OldAuthTok, RHost, RUser, Service, Tty, User};
use pam::module::PamHandle;
use schema::wire::message::{PamContext, Secret};

use crate::log::Level;

/// The first of the two calls of pam_sm_chauthtok(3).
pub(crate) const PAM_PRELIM_CHECK: PamFlag = 0x4000;
/// The second.
pub(crate) const PAM_UPDATE_AUTHTOK: PamFlag = 0x2000;

/// Longest item that is passed on.
const MAX_ITEM: usize = 255;

// Linked through pam-bindings' `#[link(name = "pam")]`.
unsafe extern "C" {
    fn pam_get_authtok(pamh: *mut PamHandle, item: c_int, authtok: *mut *const c_char, prompt: *const c_char) -> c_int;
    fn pam_set_item(pamh: *mut PamHandle, item: c_int, value: *const c_void) -> c_int;
    fn pam_fail_delay(pamh: *mut PamHandle, microseconds: c_uint) -> c_int;
    fn pam_syslog(pamh: *const PamHandle, priority: c_int, format: *const c_char, ...);
}

/// Which password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Token {
    /// PAM_AUTHTOK: the password, or in chauthtok the new one, asked twice.
    Current = 6,
    /// PAM_OLDAUTHTOK: in chauthtok the old one.
    Old = 7,
}

/// PAM, for the length of one call.
pub(crate) struct Handle<'a>(&'a mut PamHandle);

impl<'a> Handle<'a> {
    /// Wraps what libpam has passed.
    pub(crate) fn new(pamh: &'a mut PamHandle) -> Self {
        Self(pamh)
    }

    /// PAM_USER, asked for if the application does not know it yet (`login`). Bytes: a local account may be called anything.
    pub(crate) fn user(&mut self) -> Result<Vec<u8>, PamResultCode> {
        if let Some(user) = self.item::<User<'_>>() {
            return Ok(user.to_bytes().to_vec());
        }
        match self.0.get_user(None) {
            Ok(user) => Ok(user.into_bytes()),
            Err(PamResultCode::PAM_CONV_AGAIN) => Err(PamResultCode::PAM_INCOMPLETE),
            // pam-bindings says this for a name that is not UTF-8; the item is set all the same.
            Err(code) => self.item::<User<'_>>().map(|user| user.to_bytes().to_vec()).ok_or(code),
        }
    }

    /// Who asks, for what.
    pub(crate) fn context(&self, user: &str) -> PamContext {
        PamContext {
            service: self.item::<Service<'_>>().map(|item| text(&item)).unwrap_or_default(),
            user: user.to_owned(),
            remote_host: self.item::<RHost<'_>>().map(|item| text(&item)),
            tty: self.item::<Tty<'_>>().map(|item| text(&item)),
            remote_user: self.item::<RUser<'_>>().map(|item| text(&item)),
        }
    }

    /// A password: the one that an earlier module has left, else asked for. `use_first_pass` and `use_authtok` are obeyed by
    /// pam_get_authtok(3) itself, and it asks for a new password twice.
    pub(crate) fn ask(&mut self, token: Token, prompt: Option<&CStr>) -> Result<Secret, PamResultCode> {
        let mut password: *const c_char = std::ptr::null();
        let prompt = prompt.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: the handle is valid for this call of the module, `password` for writing, and the prompt is null or NUL-terminated.
        let raw = unsafe { pam_get_authtok(self.0, token as c_int, &raw mut password, prompt) };
        match PamResultCode::try_from(raw) {
            Ok(PamResultCode::PAM_SUCCESS) if !password.is_null() => {
                // SAFETY: pam_get_authtok has set it to the item, a NUL-terminated string that lives until the item is set again.
                let bytes = unsafe { CStr::from_ptr(password) };
                Ok(Secret::new(bytes.to_bytes().to_vec()))
            }
            Ok(PamResultCode::PAM_SUCCESS) => Err(PamResultCode::PAM_AUTHTOK_ERR),
            Ok(PamResultCode::PAM_CONV_AGAIN) => Err(PamResultCode::PAM_INCOMPLETE),
            Ok(code) => Err(code),
            Err(_) => Err(PamResultCode::PAM_SYSTEM_ERR),
        }
    }

    /// A password that is already there.
    pub(crate) fn kept(&self, token: Token) -> Option<Secret> {
        match token {
            Token::Current => self.item::<AuthTok<'_>>().map(|item| Secret::new(item.as_bytes().to_vec())),
            Token::Old => self.item::<OldAuthTok<'_>>().map(|item| Secret::new(item.as_bytes().to_vec())),
        }
    }

    /// Makes PAM forget a password, so that the next [`Handle::ask`] asks anew.
    pub(crate) fn forget(&mut self, token: Token) {
        // SAFETY: the handle is valid for this call; a null value removes the item (pam_set_item(3)), which libpam overwrites first.
        let _ = unsafe { pam_set_item(self.0, token as c_int, std::ptr::null()) };
    }

    /// Asks libpam to wait about this long before it reports a failure.
    pub(crate) fn delay_failure(&mut self, microseconds: u32) {
        // SAFETY: the handle is valid for this call.
        let _ = unsafe { pam_fail_delay(self.0, microseconds) };
    }

    /// A line for the person (PAM_TEXT_INFO).
    pub(crate) fn inform(&self, message: &str) {
        self.say(PAM_TEXT_INFO, message);
    }

    /// An error for the person (PAM_ERROR_MSG).
    pub(crate) fn complain(&self, message: &str) {
        self.say(PAM_ERROR_MSG, message);
    }

    /// A line in the log, with module, service and stage before it. libpam sends it to the facility authpriv.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        let Ok(message) = CString::new(message.replace('\0', "?")) else {
            return;
        };
        // SAFETY: the handle is valid for this call, and the format takes exactly the one NUL-terminated string that follows.
        unsafe { pam_syslog(self.0, level.priority(), c"%s".as_ptr(), message.as_ptr()) };
    }

    fn say(&self, style: PamMessageStyle, message: &str) {
        if let Ok(Some(conversation)) = self.0.get_item::<Conv<'_>>() {
            // It may repeat what a server says, and a terminal obeys controls (C0, DEL, C1).
            let message = message.replace(|c: char| c.is_control() && c != '\n', "?");
            // A program without a way to show it loses nothing that it could act on.
            let _ = conversation.send(style, &message);
        }
    }

    fn item<'s, T: Item<'s>>(&'s self) -> Option<T> {
        self.0.get_item::<T>().ok().flatten()
    }
}

/// An item as text, cut where it is too long to be meant seriously.
fn text(item: &CStr) -> String {
    let bytes = item.to_bytes();
    String::from_utf8_lossy(bytes.get(..MAX_ITEM).unwrap_or(bytes)).into_owned()
}
