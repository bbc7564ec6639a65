//! The secret of this host, which keys every verifier, and the rule for both files: of their owner alone.

use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use rand::TryRng;
use rand::rngs::SysRng;
use schema::hash::PasswordHash;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of the key.
const KEY: usize = 32;
/// Bytes of a salt (RFC 9106 §3.1 recommends 16).
pub(super) const SALT: usize = 16;
/// Bytes of a verifier.
pub(super) const VERIFIER: usize = 32;
/// 19 MiB, two passes, one lane: OWASP's first choice for argon2id; some 20 ms here.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// Why passwords cannot be verified while the directory is away.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The file cannot be used.
    #[error("{path} cannot be used: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> OfflineError {
    OfflineError::File { path: path.into(), reason: reason.into() }
}

/// 32 random bytes that never leave this host.
pub(super) struct HostKey(Zeroizing<[u8; KEY]>);

impl HostKey {
    /// Reads the key, or makes it: complete under its name or not there at all.
    pub(super) fn open(path: &Path) -> Result<Self, OfflineError> {
        match private(path)? {
            Some(mut file) => {
                let mut key = Zeroizing::new([0; KEY]);
                let read = file.read_exact(&mut *key).map(|()| file.read(&mut [0]));
                match read {
                    Ok(Ok(0)) => Ok(Self(key)),
                    _ => Err(unusable(
                        path,
                        format!(
                            "it has not exactly {KEY} bytes; remove it, then a new one is made and all logins must be verified online once"
                        ),
                    )),
                }
            }
            None => Self::make(path).map_err(|error| unusable(path, format!("it cannot be made: {error}"))),
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        SysRng.try_fill_bytes(&mut *key).map_err(io::Error::other)?;
        let new = path.with_extension("key.new");
        let _ = std::fs::remove_file(&new);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&*key)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        if let Some(folder) = path.parent() {
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok(Self(key))
    }

    /// The verifier of a password; `None`: it cannot be computed. Some 20 ms and 19 MiB.
    pub(super) fn verifier(&self, password: &[u8], salt: &[u8; SALT]) -> Option<Zeroizing<[u8; VERIFIER]>> {
        let params = Params::new(MEMORY_KIB, PASSES, 1, Some(VERIFIER)).ok()?;
        let argon2 = Argon2::new_with_secret(&*self.0, Algorithm::Argon2id, Version::V0x13, params).ok()?;
        let mut made = Zeroizing::new([0; VERIFIER]);
        argon2.hash_password_into(password, salt, &mut *made).ok()?;
        Some(made)
    }

    /// A fresh salt.
    pub(super) fn salt() -> Option<[u8; SALT]> {
        let mut salt = [0; SALT];
        SysRng.try_fill_bytes(&mut salt).ok()?;
        Some(salt)
    }

    /// Tells whether the directory's hash is still the one that was verified, without keeping it.
    pub(super) fn mark_of(&self, hash: &PasswordHash) -> [u8; 32] {
        self.digest(b"hash", hash.expose().as_bytes())
    }

    /// Tells this key from another one.
    pub(super) fn id(&self) -> [u8; 32] {
        self.digest(b"id", b"")
    }

    fn digest(&self, what: &[u8], text: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.0.as_slice());
        digest.update(what);
        digest.update(text);
        digest.finalize().into()
    }
}

/// Opens a file of our own that nobody else may read. `None`: it is not there.
pub(super) fn private(path: &Path) -> Result<Option<std::fs::File>, OfflineError> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path, error.to_string())),
    };
    let found = file.metadata().map_err(|error| unusable(path, error.to_string()))?;
    let me = rustix::process::geteuid().as_raw();
    if !found.is_file() || found.uid() != me {
        return Err(unusable(path, format!("it is not a file of uid {me}; remove it, then it is made anew")));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(unusable(
            path,
            format!(
                "others may read it (mode {mode:04o}), so what it keeps may be known; remove it, then it is made anew"
            ),
        ));
    }
    Ok(Some(file))
}
