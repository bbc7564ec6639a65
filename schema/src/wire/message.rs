//! The messages of PAM and identityctl: postcard inside a frame of [`Op::Message`](super::frame::Op::Message).
//!
//! A field or variant is only ever added at the end, with a new [`VERSION`](super::frame::VERSION).

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::{GroupId, UserId};
use crate::path::HomePath;
use crate::record::Generation;

/// Longest password in bytes (`CRYPT_MAX_PASSPHRASE_SIZE` of libxcrypt and `PAM_MAX_RESP_SIZE` are 512).
pub const MAX_PASSWORD: usize = 511;

/// A password on its way. Never printed; its memory is cleared.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes over the bytes of a password.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

/// One copy of exactly the right size, straight from the frame: a vector that grows byte by byte would leave parts of the password behind in freed
/// memory, and one that fails half-way would not be cleared.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Secret;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the bytes of a password")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Secret, E> {
                Ok(Secret(bytes.to_vec()))
            }
        }

        from.deserialize_bytes(Bytes)
    }
}

/// What PAM knows about who is asking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PamContext {
    /// PAM_SERVICE: `sshd`, `sudo`, …
    pub service: String,
    /// PAM_USER as given, not yet checked.
    pub user: String,
    /// PAM_RHOST.
    pub remote_host: Option<String>,
    /// PAM_TTY.
    pub tty: Option<String>,
    /// PAM_RUSER.
    pub remote_user: Option<String>,
}

/// Longest text of a [`PamContext`] in bytes. A host name has at most 255 (RFC 1035 §2.3.4) and the others are shorter; a byte that is not UTF-8
/// arrives as three.
pub const MAX_CONTEXT: usize = 768;

impl PamContext {
    /// Whether every text has a sensible length. What is longer would only fill a log.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let optional = [&self.remote_host, &self.tty, &self.remote_user].into_iter().flatten();
        optional.chain([&self.service, &self.user]).all(|text| text.len() <= MAX_CONTEXT)
    }
}

/// What PAM and identityctl ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Is this the password? For root, and for a user about itself. Preceded by [`Status::Working`](super::frame::Status::Working).
    Authenticate {
        /// Who asks, for what.
        context: PamContext,
        /// The password.
        password: Secret,
    },
    /// May this login use this service on this host now? → [`Reply::Verdict`]. For root, and for a user about itself.
    Account {
        /// Who asks, for what.
        context: PamContext,
    },
    /// May the password be changed now (PAM_PRELIM_CHECK)? `by_root`: the caller is root and gives no old password. → [`Reply::Verdict`].
    MayChangePassword {
        /// Who asks, for what.
        context: PamContext,
        /// A reset by root (counts only when the peer is root).
        by_root: bool,
    },
    /// Sets a new password → [`Reply::Verdict`]. Preceded by `Working`.
    ChangePassword {
        /// Who asks, for what.
        context: PamContext,
        /// The old password; `None` is a reset, for root only.
        old: Option<Secret>,
        /// The new password.
        new: Secret,
    },
    /// A session begins: what is its home to be? → [`Reply::Session`], or a
    /// [`Verdict`] of [`Outcome::UserUnknown`]. For root.
    OpenSession {
        /// Who asks, for what.
        context: PamContext,
    },
    /// A session has ended → [`Reply::Done`]. For root.
    CloseSession {
        /// Who asks, for what.
        context: PamContext,
    },
    /// Lines for authorized_keys(5) → [`Reply::SshKeys`]. For root, and for a user about itself.
    SshKeys {
        /// The login's name, not yet checked.
        login: String,
    },
    /// How are you? → [`Reply::Status`]. For everybody; details for root.
    Status,
    /// How does an answer come about? → [`Reply::Why`]. For root, and for a user about itself.
    Why {
        /// The login's name, not yet checked.
        login: String,
        /// The PAM service to explain a decision about.
        service: Option<String>,
    },
    /// The directory has changed: look now → [`Reply::Done`] when the change is visible. For root.
    Refresh {
        /// Answer when at least this generation is visible.
        generation: Generation,
    },
    /// Read the configuration and the local files again → [`Reply::Done`] or [`Reply::Failed`]. For root.
    Reload,
    /// The Prometheus text → [`Reply::Metrics`]. For everybody.
    Metrics,
    /// What has each host of the fleet published? → [`Reply::Fleet`]. For root.
    Fleet,
    /// Take a host off that list → [`Reply::Done`] or [`Reply::Failed`]. For root.
    ForgetHost {
        /// Its name, not yet checked.
        host: String,
    },
    /// Publish although so many logins vanish as `status` says (`snapshot.held`) → [`Reply::Done`], or [`Reply::Failed`]: nothing is held back. For root.
    AcceptRemoval,
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To the four questions of PAM that end in yes or no.
    Verdict(Verdict),
    /// To [`Request::OpenSession`].
    Session(Session),
    /// To [`Request::SshKeys`]: lines, without newlines.
    SshKeys(Vec<String>),
    /// To [`Request::Status`]: JSON, whose page is `docs/status.md`.
    Status(String),
    /// To [`Request::Why`]: JSON.
    Why(String),
    /// Done.
    Done,
    /// It could not be done, for this reason (for people).
    Failed(String),
    /// To [`Request::Metrics`].
    Metrics(String),
    /// To [`Request::Fleet`]: JSON, whose page is `docs/fleet.md`.
    Fleet(String),
}

/// What identityd decided; PAM only translates it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The decision.
    pub outcome: Outcome,
    /// The uid that the decision is about. The module refuses it unless it is above the floor and the same that NSS gives.
    pub uid: Option<UserId>,
    /// What to show to the person (PAM_TEXT_INFO), such as a warning that the password ends soon.
    pub info: Option<String>,
}

/// The decision, in PAM's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// PAM_SUCCESS
    Success,
    /// PAM_AUTH_ERR: wrong password (or a login that does not exist: the caller cannot tell).
    AuthError,
    /// PAM_USER_UNKNOWN: not a login of the directory.
    UserUnknown,
    /// PAM_AUTHINFO_UNAVAIL: the directory cannot be asked.
    Unavailable,
    /// PAM_PERM_DENIED: locked, or without the capability, or not on this host.
    PermissionDenied,
    /// PAM_ACCT_EXPIRED
    AccountExpired,
    /// PAM_NEW_AUTHTOK_REQD: the password must be changed now.
    NewPasswordRequired,
    /// PAM_AUTHTOK_EXPIRED: too old even to be changed.
    PasswordExpired,
    /// PAM_MAXTRIES: too many attempts.
    MaxTries,
    /// PAM_AUTHTOK_ERR: the new password was not accepted; `info` says why.
    PasswordRejected,
    /// PAM_TRY_AGAIN: changed too recently.
    TooSoon,
}

/// What a session finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The login's uid.
    pub uid: UserId,
    /// Its primary group.
    pub gid: GroupId,
    /// Its home.
    pub home: HomePath,
    /// Create the home if it is missing.
    pub create: bool,
    /// Its mode, such as 0o700.
    pub mode: u32,
    /// What to copy into it.
    pub skeleton: String,
    /// Has the capability `shell`. Without it sshd's process is confined to files.
    pub shell: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_length_and_its_bytes() {
        let secret = Secret::new(vec![0, 200, 7]);
        let bytes = postcard::to_allocvec(&secret).unwrap();
        assert_eq!(bytes, [3, 0, 200, 7]);
        assert_eq!(bytes, postcard::to_allocvec(&vec![0_u8, 200, 7]).unwrap());
        assert_eq!(postcard::from_bytes::<Secret>(&bytes).unwrap(), secret);
        assert!(postcard::from_bytes::<Secret>(&bytes[..3]).is_err());
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
