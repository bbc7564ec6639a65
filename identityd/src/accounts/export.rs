//! Export back to passwd(5), shadow(5) and group(5): the inverse of the import, ordered by id.

use std::fmt::Write;

use schema::date::Date;
use schema::hash::PasswordHash;
use schema::record::{Generation, Login, Status};
use zeroize::Zeroizing;

use super::store::Parts;
use super::{Accounts, AccountsError};
use crate::directory::{Entry, Quarantined};

/// The three files, of one generation, ordered by id. Write `shadow` with mode 0600 (or 0640 root:shadow).
pub struct Export {
    /// passwd(5)
    pub passwd: Vec<u8>,
    /// shadow(5); cleared when dropped.
    pub shadow: Zeroizing<Vec<u8>>,
    /// group(5); groups whose members a rule derives are left out: they exist in every directory.
    pub group: Vec<u8>,
    /// Entries that break the rules and are left out.
    pub left_out: Vec<Quarantined>,
    /// Logins whose password is stored in a form that shadow(5) cannot hold, and which form: they have `*` there.
    pub foreign: Vec<(String, String)>,
    /// Of which generation it is.
    pub generation: Generation,
}

impl Accounts {
    /// The directory as account files. Shells are those that logins have, not the nologin that libc sees without the capability `shell`.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn export(&self) -> Result<Export, AccountsError> {
        let whole = self.store.whole(Parts::Accounts).await?;
        let mut left_out = Vec::new();
        let mut passwd = String::new();
        let mut shadow = Zeroizing::new(String::new());
        // Reserved at once: a buffer that grows leaves copies of hashes behind.
        shadow.reserve(whole.logins.len().saturating_mul(schema::packed::MAX_HASH + 128));
        for stored in whole.logins {
            match stored.entry {
                Entry::Valid(login) => {
                    write_passwd(&mut passwd, &login);
                    write_shadow(&mut shadow, &login, &stored.password);
                }
                Entry::Quarantined(entry) => left_out.push(entry),
            }
        }
        let mut lines = String::new();
        for stored in whole.groups.into_iter().filter(|group| group.rule.is_none()) {
            match stored.entry {
                Entry::Valid(group) => {
                    let members: Vec<&str> = group.members.iter().map(schema::name::LoginName::as_str).collect();
                    // Writing into a String cannot fail.
                    let _ = writeln!(lines, "{}:x:{}:{}", group.name, group.gid, members.join(","));
                }
                Entry::Quarantined(entry) => left_out.push(entry),
            }
        }
        Ok(Export {
            passwd: passwd.into_bytes(),
            shadow: Zeroizing::new(shadow.as_bytes().to_vec()),
            group: lines.into_bytes(),
            left_out,
            foreign: whole.foreign,
            generation: whole.generation,
        })
    }
}

fn write_passwd(out: &mut String, login: &Login) {
    let Login { name, uid, gid, gecos, home, shell, .. } = login;
    let _ = writeln!(out, "{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}");
}

fn write_shadow(out: &mut String, login: &Login, hash: &PasswordHash) {
    let aging = &login.aging;
    let lock = match login.status {
        Status::Active => "",
        Status::Locked => "!",
    };
    let _ = write!(out, "{}:{lock}{}", login.name, hash.expose());
    let days = [
        aging.last_change.map(Date::days),
        aging.min_days,
        aging.max_days,
        aging.warn_days,
        aging.inactive_days,
        aging.expires.map(Date::days),
    ];
    for field in days {
        out.push(':');
        if let Some(field) = field {
            let _ = write!(out, "{field}");
        }
    }
    out.push_str(":\n");
}
