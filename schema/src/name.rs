//! Names of logins and groups: one rule for both, checked wherever a name enters.
//!
//! The rule is `[a-z_][a-z0-9_.-]{0,31}`: at most 32 bytes, because utmp(5) keeps 32 (`UT_NAMESIZE`), lower case, because mail systems
//! fold case. Not at the end: `.` (dropped by some mailers) and `-`. A name of digits cannot occur, since the first byte is a letter or `_`:
//! `chown 1000` always means the id.

use core::fmt;

use crate::bytes::of_a_name;

/// The longest name in bytes (`UT_NAMESIZE`, utmp(5)).
pub const MAX_LEN: usize = 32;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// No byte at all.
    Empty,
    /// More than [`MAX_LEN`] bytes.
    TooLong(usize),
    /// The first byte is not a lower-case letter or `_`.
    BadStart,
    /// The byte at this position (from 0) is not allowed.
    BadByte(usize),
    /// Ends in `.` or `-`.
    BadEnd,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong(len) => write!(f, "the name has {len} bytes; {MAX_LEN} are allowed"),
            Self::BadStart => f.write_str("the name must start with a lower-case letter (a-z) or _"),
            Self::BadByte(at) => {
                write!(f, "character {} of the name is not allowed; use a-z, 0-9, _ . -", at.saturating_add(1))
            }
            Self::BadEnd => f.write_str("the name must not end in . or -"),
        }
    }
}

impl core::error::Error for NameError {}

/// Checks a name. Everything that takes one from outside calls this, or builds a [`LoginName`] or [`GroupName`], which do.
///
/// # Errors
/// Which rule the name breaks first.
#[inline(never)]
pub fn check(name: &[u8]) -> Result<(), NameError> {
    let Some((first, _)) = name.split_first() else {
        return Err(NameError::Empty);
    };
    if name.len() > MAX_LEN {
        return Err(NameError::TooLong(name.len()));
    }
    if !matches!(first, b'a'..=b'z' | b'_') {
        return Err(NameError::BadStart);
    }
    if !all_allowed(name) {
        return Err(NameError::BadByte(name.iter().position(|byte| !is_allowed(*byte)).unwrap_or(0)));
    }
    match name.last() {
        Some(b'.' | b'-') => Err(NameError::BadEnd),
        _ => Ok(()),
    }
}

/// Whether [`check`] has nothing to say, for where that is asked a million times a second.
#[must_use]
#[inline(never)]
pub fn is_valid(name: &[u8]) -> bool {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return false;
    };
    name.len() <= MAX_LEN && matches!(first, b'a'..=b'z' | b'_') && !matches!(last, b'.' | b'-') && all_allowed(name)
}

/// Whether every byte of up to 32 may stand in a name: the first and the last sixteen, or eight, or four, which overlap.
#[inline(always)]
fn all_allowed(name: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        let ends = of_a_name(u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        ends && (name.len() <= 16 || name.iter().all(|byte| is_allowed(*byte)))
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let all = u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
        of_a_name(all, all)
    } else {
        name.iter().all(|byte| is_allowed(*byte))
    }
}

#[inline]
const fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-')
}

/// Names that Debian and its packages give to accounts and groups of the system, sorted: not for members, whatever the id. The tables
/// `reserved_name` hold the same; this list counts also where somebody has edited them.
#[cfg(feature = "std")]
#[rustfmt::skip]
pub const RESERVED: &[&str] = &[
    "_apt", "_chrony", "_rpc", "_ssh", "adm", "admin", "amavis", "ansible", "apache", "audio", "avahi", "backup",
    "bin", "bind", "bluetooth", "cdrom", "ceph", "clamav", "colord", "crontab", "daemon", "debian-exim",
    "debian-spamd", "dialout", "dip", "disk", "dnsmasq", "docker", "dovecot", "dovenull", "fax", "floppy", "ftp",
    "fwupd-refresh", "games", "gdm", "geoclue", "gnats", "halt", "haproxy", "identityd", "incus", "incus-admin",
    "input", "irc", "kmem", "kvm", "libvirt", "libvirt-dnsmasq", "libvirt-qemu", "lightdm", "list", "lp",
    "lpadmin", "lxd", "mail", "mailman", "man", "memcache", "messagebus", "munin", "mysql", "named", "netdev",
    "news", "nfsnobody", "nginx", "nobody", "nogroup", "nslcd", "ntp", "ntpsec", "opendkim", "opendmarc",
    "operator", "pcscd", "pdns", "plugdev", "podman", "polkitd", "postdrop", "postfix", "postgres", "proftpd",
    "prometheus", "proxy", "pulse", "pulse-access", "puppet", "redis", "render", "root", "rtkit", "sambashare",
    "saned", "sasl", "scanner", "sddm", "sgx", "shadow", "shutdown", "spamd", "src", "ssh", "sshd", "ssl-cert",
    "sssd", "staff", "statd", "stunnel4", "sudo", "sync", "sys", "systemd-coredump", "systemd-journal",
    "systemd-network", "systemd-oom", "systemd-resolve", "systemd-timesync", "tape", "tcpdump", "toor", "tss",
    "tty", "unbound", "usbmux", "users", "utmp", "uucp", "uuidd", "vboxusers", "video", "voice", "vsftpd", "wheel",
    "wireguard", "wireshark", "www-data", "zabbix"
];

/// Whether a name is one of [`RESERVED`].
#[cfg(feature = "std")]
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.binary_search(&name).is_ok()
}

#[cfg(feature = "std")]
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text (always ASCII).
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A name from bytes that came from outside.
            ///
            /// # Errors
            /// Which rule it breaks.
            pub fn from_bytes(name: &[u8]) -> Result<Self, NameError> {
                check(name)?;
                // `check` lets only ASCII through.
                std::str::from_utf8(name).map(|text| Self(text.into())).map_err(|_| NameError::BadStart)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                check(name.as_bytes())?;
                Ok(Self(name.into_boxed_str()))
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::from_bytes(name.as_bytes())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

#[cfg(feature = "std")]
name_type! {
    /// The name of a login.
    LoginName
}

#[cfg(feature = "std")]
name_type! {
    /// The name of a group.
    GroupName
}

#[cfg(feature = "std")]
name_type! {
    /// The short name of a membership (the organisation that pays and owns).
    MembershipName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "std")]
    #[test]
    fn reserved_names_are_sorted_valid_and_the_same_in_every_directory() {
        assert!(RESERVED.is_sorted());
        assert!(RESERVED.iter().all(|name| check(name.as_bytes()).is_ok()));
        assert!(is_reserved("root") && is_reserved("libvirt") && !is_reserved("ana"));
        for sql in [include_str!("../sql/sqlite/0001_tables.sql"), include_str!("../sql/mysql/0001_tables.sql")] {
            let list = sql.split("INSERT INTO reserved_name").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
            let names: Vec<&str> = list.split('\'').skip(1).step_by(2).collect();
            assert_eq!(names, RESERVED);
        }
    }

    #[test]
    fn ordinary_names_pass() {
        for name in ["ana", "a", "_apt", "luz.maria", "red-admin", "web01", "a234567890123456789012345678901b"] {
            assert_eq!(check(name.as_bytes()), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_bad_byte_is_noticed_wherever_it_stands() {
        for len in 2..=MAX_LEN {
            let name = vec![b'a'; len];
            assert_eq!(check(&name), Ok(()), "{len}");
            assert!(is_valid(&name), "{len}");
            for at in 1..len {
                for byte in [0, b'/', b':', b'A', b'`', b'{', b' ', 0x7f, 0xe9] {
                    let mut name = name.clone();
                    name[at] = byte;
                    assert_eq!(check(&name), Err(NameError::BadByte(at)), "{byte} at {at} of {len}");
                    assert!(!is_valid(&name), "{byte} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn names_that_break_a_file_a_command_or_a_path_are_refused() {
        assert_eq!(check(b""), Err(NameError::Empty));
        assert_eq!(check(b"-rf"), Err(NameError::BadStart));
        assert_eq!(check(b"1000"), Err(NameError::BadStart));
        assert_eq!(check(b".."), Err(NameError::BadStart));
        assert_eq!(check(b"a:b"), Err(NameError::BadByte(1)));
        assert_eq!(check(b"a/b"), Err(NameError::BadByte(1)));
        assert_eq!(check(b"a\nb"), Err(NameError::BadByte(1)));
        assert_eq!(check(b"a\0"), Err(NameError::BadByte(1)));
        assert_eq!(check("josé".as_bytes()), Err(NameError::BadByte(3)));
        assert_eq!(check(b"Ana"), Err(NameError::BadStart));
        assert_eq!(check(b"ana."), Err(NameError::BadEnd));
        assert_eq!(check(b"ana-"), Err(NameError::BadEnd));
        assert_eq!(check(&[b'a'; 300]), Err(NameError::TooLong(300)));
        let bad: [&[u8]; 8] = [b"", b"-rf", b"1000", b"..", b"Ana", b"ana.", b"ana-", &[b'a'; 33]];
        assert!(bad.iter().all(|name| !is_valid(name)));
    }
}
