//! Passwords: verification through libcrypt in a bounded pool, and the making of new hashes.

mod cost;
mod crypt;
pub mod offline;
mod origin;
mod pool;

pub use origin::origin;
pub use pool::{Attempt, Crowded, Pool, Ticket};

use std::ffi::CString;

use schema::hash::PasswordHash;
use schema::name::LoginName;
use schema::wire::message::{MAX_PASSWORD, Secret};
use zeroize::Zeroize;

/// Why no hash was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    /// No password at all.
    #[error("the password is empty")]
    Empty,
    /// Longer than crypt(3) takes.
    #[error("the password has more than {MAX_PASSWORD} bytes")]
    TooLong,
    /// crypt(3) would stop there and ignore the rest.
    #[error("the password contains a NUL byte")]
    Nul,
    /// libcrypt did not do it.
    #[error("libcrypt could not make a hash; see whether libcrypt1 is the one of Debian 12")]
    Library,
}

/// A new hash of this password: yescrypt with the cost of Debian and a salt from the system.
///
/// # Errors
/// The password cannot be hashed as it is.
pub fn new_hash(password: &[u8]) -> Result<PasswordHash, HashingError> {
    let phrase = Phrase::new(password)?;
    let setting = crypt::fresh_setting(c"$y$").ok_or(HashingError::Library)?;
    let hash = crypt::hash(&phrase.0, &setting).ok_or(HashingError::Library)?;
    hash.as_str().parse().map_err(|_| HashingError::Library)
}

/// Whether this is the password of this hash. A hash that costs too much is never computed: `Err` says so, for the log.
///
/// # Errors
/// The hash is not computed.
pub fn verify(password: &[u8], hash: &PasswordHash) -> Result<bool, String> {
    cost::check(hash)?;
    let (Ok(phrase), Ok(setting)) = (Phrase::new(password), CString::new(hash.expose())) else {
        return Ok(false);
    };
    let made = crypt::hash(&phrase.0, &setting);
    drop(setting);
    Ok(made.is_some_and(|made| same(made.as_bytes(), hash.expose().as_bytes())))
}

/// The rules for a password that its owner chooses.
///
/// # Errors
/// What to do better, for the person.
pub fn rules(new: &Secret, old: &Secret, login: &LoginName, min_length: u32) -> Result<(), String> {
    let text = String::from_utf8_lossy(new.expose());
    let length = text.chars().count();
    if length < min_length as usize {
        return Err(format!("The new password is too short: use at least {min_length} characters."));
    }
    if text.eq_ignore_ascii_case(login.as_str()) {
        return Err("The new password must not be the login's name.".into());
    }
    if new == old {
        return Err("The new password must not be the old one.".into());
    }
    Ok(())
}

/// Compares without telling where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

struct Phrase(CString);

impl Phrase {
    fn new(password: &[u8]) -> Result<Self, HashingError> {
        if password.is_empty() {
            return Err(HashingError::Empty);
        }
        if password.len() > MAX_PASSWORD {
            return Err(HashingError::TooLong);
        }
        CString::new(password).map(Self).map_err(|error| {
            error.into_vec().zeroize();
            HashingError::Nul
        })
    }
}

impl Drop for Phrase {
    fn drop(&mut self) {
        std::mem::take(&mut self.0).into_bytes().zeroize();
    }
}

#[cfg(test)]
mod tests;
