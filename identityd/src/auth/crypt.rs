//! The room of libcrypt: crypt_rn(3) and crypt_gensalt_rn(3), and nothing else.

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};

use zeroize::{Zeroize, Zeroizing};

/// `sizeof(struct crypt_data)` (crypt.h of libxcrypt: fixed by its ABI).
const CRYPT_DATA: usize = 32_768;
/// `CRYPT_GENSALT_OUTPUT_SIZE`
const SETTING: usize = 192;

#[link(name = "crypt")]
unsafe extern "C" {
    fn crypt_rn(phrase: *const c_char, setting: *const c_char, data: *mut c_void, size: c_int) -> *mut c_char;
    fn crypt_gensalt_rn(
        prefix: *const c_char,
        count: c_ulong,
        rbytes: *const c_char,
        nrbytes: c_int,
        output: *mut c_char,
        output_size: c_int,
    ) -> *mut c_char;
}

/// The hash of a password with this setting (a salt, or a whole hash). `None`: libcrypt refuses the setting.
pub(super) fn hash(password: &CStr, setting: &CStr) -> Option<Zeroizing<String>> {
    let mut data = vec![0_u8; CRYPT_DATA];
    // SAFETY: both strings end in NUL and live through the call; the buffer has the size that is said, is writable, and needs no alignment
    // (its fields are chars, and libcrypt aligns inside); crypt_rn(3) returns null or a string inside the buffer.
    let result =
        unsafe { crypt_rn(password.as_ptr(), setting.as_ptr(), data.as_mut_ptr().cast(), CRYPT_DATA as c_int) };
    let hash = (!result.is_null()).then(|| {
        // SAFETY: not null: a NUL-terminated string inside `data`, which still lives.
        Zeroizing::new(unsafe { CStr::from_ptr(result) }.to_string_lossy().into_owned())
    });
    // Password and intermediate values are in there.
    data.zeroize();
    hash.filter(|hash| !hash.starts_with('*'))
}

/// A fresh setting for this method with its default cost; the salt comes from the system (`rbytes` null, crypt_gensalt(3)).
pub(super) fn fresh_setting(prefix: &CStr) -> Option<CString> {
    let mut output = [0_u8; SETTING];
    // SAFETY: the prefix ends in NUL; null random bytes with length 0 mean the system's; the output has the size that is said.
    let result = unsafe {
        crypt_gensalt_rn(prefix.as_ptr(), 0, std::ptr::null(), 0, output.as_mut_ptr().cast(), SETTING as c_int)
    };
    if result.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&output).ok().map(Into::into)
}
