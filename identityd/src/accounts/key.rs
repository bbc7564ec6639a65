//! Public keys: one line of authorized_keys(5) each, checked as far as sshd(8) would.

mod files_only;

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use schema::date::Date;
use schema::name::LoginName;
use schema::record::SshKey;
use sha2::{Digest, Sha256};

use super::{Accounts, AccountsError, Done, Thing};

pub use files_only::files_only;

/// Longest line that is kept; sshd takes 8 KiB of base64 for an RSA key of 16,384 bits.
const MAX_LINE: usize = 16_384;

/// So many keys a login may have: all of them are one answer to sshd. The SQL directories hold it by a trigger.
pub const MAX_KEYS: usize = 100;

/// A line of authorized_keys(5) that sshd would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKey {
    line: String,
    kind: String,
    fingerprint: String,
    comment: String,
}

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing in it.
    #[error("there is no key in the line; give the content of a file such as id_ed25519.pub")]
    Empty,
    /// The private half.
    #[error(
        "this is a private key; it must not leave its owner's machine: give the .pub file beside it, and make a new pair"
    )]
    Private,
    /// Longer than 16 KiB.
    #[error("the line has {0} bytes; {MAX_LINE} are allowed")]
    TooLong(usize),
    /// A control character, such as a line break.
    #[error("the line has a control character at byte {0}; a key is exactly one line")]
    Control(usize),
    /// No key type that sshd takes.
    #[error("there is no key type in the line; it starts with one such as ssh-ed25519, or with options and then one")]
    NoType,
    /// ssh-dss: 1024 bits, switched off in OpenSSH 7.0 and removed in 10.
    #[error("DSA keys (ssh-dss) are refused: OpenSSH no longer takes them; make a new key with: ssh-keygen -t ed25519")]
    Dsa,
    /// A certificate.
    #[error("{0} is a certificate, not a key; sshd checks certificates against TrustedUserCAKeys")]
    Certificate(String),
    /// Not an option of authorized_keys(5), or its quotes do not close.
    #[error("the options before the key are broken: {0}; see AUTHORIZED_KEYS FILE FORMAT in sshd(8)")]
    Options(String),
    /// Not base64.
    #[error("the key's text is not base64; was the line cut?")]
    Base64,
    /// The blob names another type or its parts do not add up.
    #[error("the key's data do not belong to type {0}; was the line cut or mixed up?")]
    Blob(String),
    /// RSA with few bits.
    #[error(
        "the RSA key has {0} bits; sshd takes 2048 and more (RequiredRSASize is 1024, Debian's advice 2048); make a new key with: ssh-keygen -t ed25519"
    )]
    ShortRsa(usize),
}

impl AuthorizedKey {
    /// The whole line, options and comment included.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Such as `ssh-ed25519`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// `SHA256:…` as ssh-keygen(1) prints it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What follows the key.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

impl FromStr for AuthorizedKey {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        let line = line.trim_matches([' ', '\t', '\r', '\n']);
        if line.is_empty() || line.starts_with('#') {
            return Err(KeyError::Empty);
        }
        if line.contains("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        if line.len() > MAX_LINE {
            return Err(KeyError::TooLong(line.len()));
        }
        if let Some(at) = line.bytes().position(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(KeyError::Control(at));
        }
        let (first, rest) = word(line);
        let (kind, rest) = if is_kind(first) {
            (first, rest)
        } else {
            let after = options(line)?;
            word(after)
        };
        match kind {
            "ssh-dss" => return Err(KeyError::Dsa),
            kind if kind.contains("-cert-v0") => return Err(KeyError::Certificate(kind.into())),
            kind if is_kind(kind) => {}
            _ => return Err(KeyError::NoType),
        }
        let (body, comment) = word(rest);
        let blob = STANDARD.decode(body).or_else(|_| STANDARD_NO_PAD.decode(body)).map_err(|_| KeyError::Base64)?;
        check_blob(kind, &blob)?;
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob)));
        Ok(Self { line: line.into(), kind: kind.into(), fingerprint, comment: comment.into() })
    }
}

/// Key types of OpenSSH's sshkey.c, and those that get a reason of their own.
fn is_kind(text: &str) -> bool {
    matches!(
        text,
        "ssh-ed25519"
            | "ssh-rsa"
            | "ecdsa-sha2-nistp256"
            | "ecdsa-sha2-nistp384"
            | "ecdsa-sha2-nistp521"
            | "sk-ssh-ed25519@openssh.com"
            | "sk-ecdsa-sha2-nistp256@openssh.com"
            | "ssh-dss"
    ) || text.contains("-cert-v0")
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    let (first, rest) = text.split_at(end);
    (first, rest.trim_matches([' ', '\t']))
}

/// Reads the options and returns what follows (OpenSSH auth-options.c: comma-separated, values in double quotes with `\"`).
fn options(line: &str) -> Result<&str, KeyError> {
    let mut quoted = false;
    let mut escaped = false;
    let mut end = line.len();
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    if quoted {
        return Err(KeyError::Options("a quote does not close".into()));
    }
    let (text, rest) = line.split_at(end);
    let (mut quoted, mut escaped) = (false, false);
    let names = text.split(|character| {
        let plain = !escaped;
        escaped = quoted && plain && character == '\\';
        if character == '"' && plain {
            quoted = !quoted;
        }
        character == ',' && !quoted
    });
    for option in names {
        let name = option.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if !is_option(&name) {
            // A first word that is no option is more likely a wrong key type.
            return Err(if text.contains([',', '=', '"']) {
                KeyError::Options(format!("{name:?} is not an option"))
            } else {
                KeyError::NoType
            });
        }
    }
    Ok(rest)
}

fn is_option(name: &str) -> bool {
    matches!(
        name.strip_prefix("no-").unwrap_or(name),
        "agent-forwarding" | "port-forwarding" | "pty" | "user-rc" | "x11-forwarding" | "touch-required"
    ) || matches!(
        name,
        "cert-authority"
            | "command"
            | "environment"
            | "expiry-time"
            | "from"
            | "permitlisten"
            | "permitopen"
            | "principals"
            | "restrict"
            | "tunnel"
            | "verify-required"
    )
}

/// Compares the inner type and the lengths of the parts (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4, OpenSSH PROTOCOL.u2f).
fn check_blob(kind: &str, blob: &[u8]) -> Result<(), KeyError> {
    let bad = || KeyError::Blob(kind.into());
    let mut parts = Vec::new();
    let mut rest = blob;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| bad())?;
        let (part, after) = after.split_at_checked(length).ok_or_else(bad)?;
        parts.push(part);
        rest = after;
    }
    let (inner, parts) = parts.split_first().ok_or_else(bad)?;
    if *inner != kind.as_bytes() {
        return Err(bad());
    }
    // An uncompressed point (SEC 1 §2.3.3): 4 and two coordinates.
    let point = |part: &[u8], size: usize| part.len() == 1 + 2 * size && part.first() == Some(&4);
    let ok = match (kind, parts) {
        ("ssh-ed25519", [key]) => key.len() == 32,
        ("sk-ssh-ed25519@openssh.com", [key, application]) => key.len() == 32 && !application.is_empty(),
        ("ecdsa-sha2-nistp256", [b"nistp256", key]) => point(key, 32),
        ("ecdsa-sha2-nistp384", [b"nistp384", key]) => point(key, 48),
        ("ecdsa-sha2-nistp521", [b"nistp521", key]) => point(key, 66),
        ("sk-ecdsa-sha2-nistp256@openssh.com", [b"nistp256", key, application]) => {
            point(key, 32) && !application.is_empty()
        }
        ("ssh-rsa", [exponent, modulus]) => {
            let modulus = modulus.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &modulus[at..]);
            let bits = modulus.first().map_or(0, |top| modulus.len() * 8 - top.leading_zeros() as usize);
            if bits < 2048 {
                return Err(KeyError::ShortRsa(bits));
            }
            !exponent.is_empty() && bits <= 16_384
        }
        _ => false,
    };
    if ok { Ok(()) } else { Err(bad()) }
}

impl Accounts {
    /// Adds a public key to a login.
    ///
    /// # Errors
    /// The line is not a key that sshd takes, the login does not exist, or has the key already.
    pub async fn key_add(&self, login: &LoginName, line: &str, today: Date) -> Result<Done<SshKey>, AccountsError> {
        let key: AuthorizedKey = line.parse().map_err(|error: KeyError| AccountsError::Invalid(error.to_string()))?;
        let mut work = self.begin().await?;
        let owner = work.known_login(login).await?;
        if let Some(id) = work.key_number(&owner, key.fingerprint()).await? {
            return Err(AccountsError::exists(Thing::Key, format!("{} (number {id}) of {login}", key.fingerprint())));
        }
        let id = work.add_key(&owner, &key, today).await?;
        let key = SshKey { id, line: key.line, fingerprint: key.fingerprint, added: Some(today) };
        work.finish(key, Vec::new()).await
    }

    /// The keys of a login.
    ///
    /// # Errors
    /// The login does not exist.
    pub async fn key_list(&self, login: &LoginName) -> Result<Vec<SshKey>, AccountsError> {
        if self.directory().login_by_name(login).await?.is_none() {
            return Err(AccountsError::not_found(Thing::Login, login));
        }
        Ok(self.directory().ssh_keys(login).await?)
    }

    /// Removes a key of a login: by its number, or by its fingerprint with or without `SHA256:`.
    ///
    /// # Errors
    /// The login does not exist or has no such key.
    pub async fn key_remove(&self, login: &LoginName, which: &str) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let owner = work.known_login(login).await?;
        let number: i64 = which.parse().unwrap_or(-1);
        let fingerprint = if which.starts_with("SHA256:") { which.to_owned() } else { format!("SHA256:{which}") };
        if !work.remove_key(&owner, number, &fingerprint).await? {
            return Err(AccountsError::not_found(Thing::Key, format!("{which} of {login}")));
        }
        work.finish((), Vec::new()).await
    }
}

#[cfg(test)]
mod tests;
