//! New hashes through libcrypt, in the method that Debian prefers (yescrypt).

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::ptr;

use schema::hash::{HashError, PasswordHash};
use zeroize::{Zeroize, Zeroizing};

// crypt(3), crypt_gensalt(3). The `_ra` functions allocate what they return.
#[link(name = "crypt")]
unsafe extern "C" {
    fn crypt_gensalt_ra(prefix: *const c_char, count: c_ulong, random: *const c_char, random_len: c_int)
    -> *mut c_char;
    fn crypt_ra(phrase: *const c_char, setting: *const c_char, data: *mut *mut c_void, size: *mut c_int)
    -> *mut c_char;
}

/// Why no hash was made.
#[derive(Debug, thiserror::Error)]
pub enum NewHashError {
    /// An empty password, or one with a NUL inside or longer than crypt(3) takes.
    #[error(
        "the password is empty, contains a NUL byte or is longer than {} bytes",
        schema::wire::message::MAX_PASSWORD
    )]
    Password,
    /// libcrypt failed.
    #[error("libcrypt failed: {0}")]
    Crypt(std::io::Error),
    /// It answered with something that is no hash.
    #[error("libcrypt made a hash that cannot be kept: {0}")]
    Hash(#[from] HashError),
}

/// Hashes a password with the default method and cost of this system's libcrypt and fresh random salt.
///
/// # Errors
/// The password cannot be hashed, or there is no memory or randomness.
pub fn new_hash(password: &[u8]) -> Result<PasswordHash, NewHashError> {
    if password.is_empty() || password.len() > schema::wire::message::MAX_PASSWORD {
        return Err(NewHashError::Password);
    }
    // Exactly as long as needed, so that building it leaves no copy behind.
    let mut bytes = Vec::with_capacity(password.len() + 1);
    bytes.extend_from_slice(password);
    let phrase = CString::new(bytes).map_err(|error| {
        error.into_vec().zeroize();
        NewHashError::Password
    })?;
    let result = setting().and_then(|setting| crypt(&phrase, &setting));
    phrase.into_bytes().zeroize();
    let hash = result?;
    Ok(std::str::from_utf8(&hash).map_err(|_| HashError::UnknownFormat)?.parse()?)
}

fn setting() -> Result<CString, NewHashError> {
    // SAFETY: a null prefix is the default method, count 0 its default cost, and without random bytes libcrypt takes the system's
    // (crypt_gensalt(3)).
    let made = unsafe { crypt_gensalt_ra(ptr::null(), 0, ptr::null(), 0) };
    if made.is_null() {
        return Err(NewHashError::Crypt(std::io::Error::last_os_error()));
    }
    // SAFETY: not null, so a NUL-terminated string.
    let setting = unsafe { CStr::from_ptr(made) }.to_owned();
    // SAFETY: allocated by libcrypt with malloc, for us to free.
    unsafe { libc::free(made.cast()) };
    Ok(setting)
}

fn crypt(phrase: &CStr, setting: &CStr) -> Result<Zeroizing<Vec<u8>>, NewHashError> {
    let mut data: *mut c_void = ptr::null_mut();
    let mut size: c_int = 0;
    // SAFETY: two strings; a null `data` of size 0 is allocated by libcrypt (crypt_ra(3)).
    let made = unsafe { crypt_ra(phrase.as_ptr(), setting.as_ptr(), &raw mut data, &raw mut size) };
    let result = if made.is_null() {
        Err(NewHashError::Crypt(std::io::Error::last_os_error()))
    } else {
        // SAFETY: not null, so a NUL-terminated string inside `data`, which is not freed yet.
        Ok(Zeroizing::new(unsafe { CStr::from_ptr(made) }.to_bytes().to_vec()))
    };
    if !data.is_null() {
        // SAFETY: libcrypt allocated `size` bytes there; it holds what was derived from the password.
        unsafe { std::slice::from_raw_parts_mut(data.cast::<u8>(), usize::try_from(size).unwrap_or(0)) }.zeroize();
        // SAFETY: allocated by libcrypt with malloc, for us to free.
        unsafe { libc::free(data) };
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::hash::Method;

    #[test]
    fn a_new_hash_is_yescrypt_with_its_own_salt_and_verifies() {
        let hash = new_hash(b"secret").unwrap();
        assert_eq!(hash.method(), Method::Yescrypt);
        assert_ne!(hash, new_hash(b"secret").unwrap());
        let stored = CString::new(hash.expose()).unwrap();
        assert_eq!(*crypt(c"secret", &stored).unwrap(), stored.as_bytes());
        assert_ne!(*crypt(c"Secret", &stored).unwrap(), stored.as_bytes());
    }

    #[test]
    fn passwords_that_crypt_cannot_take_are_refused() {
        for password in [&b""[..], b"a\0b", &[b'x'; 512]] {
            assert!(matches!(new_hash(password), Err(NewHashError::Password)));
        }
    }
}
