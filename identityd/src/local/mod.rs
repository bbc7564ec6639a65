//! The server's own names and ids, from `/etc/passwd` and `/etc/group`, and its shells, from `/etc/shells`.
//!
//! Read by ourselves: `getpw*` would come back to us through NSS. Local accounts win: what is in here is never answered for by the
//! directory on this server.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schema::record::{Group, Login};

/// Where the files are. Tests have their own.
#[derive(Debug, Clone)]
pub struct LocalFiles {
    /// passwd(5)
    pub passwd: PathBuf,
    /// group(5)
    pub group: PathBuf,
    /// shells(5)
    pub shells: PathBuf,
}

impl Default for LocalFiles {
    fn default() -> Self {
        Self { passwd: "/etc/passwd".into(), group: "/etc/group".into(), shells: "/etc/shells".into() }
    }
}

/// What identifies the content of the three files without reading them.
pub type Stamp = [Option<(u64, u64, i64, i64, u64)>; 3];

impl LocalFiles {
    /// Changes when a file changes: device, inode, mtime, size.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        [&self.passwd, &self.group, &self.shells].map(|path| {
            let meta = path.metadata().ok()?;
            Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size()))
        })
    }
}

/// What a line of passwd(5) says of who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    uid: u32,
    /// `None`: not a number.
    gid: Option<u32>,
    /// Without a `/` at its end.
    home: String,
    /// No other line has the name.
    alone: bool,
}

/// What this server has itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Local {
    logins: HashMap<String, Account>,
    uids: HashMap<u32, String>,
    homes: HashMap<String, String>,
    groups: HashMap<String, u32>,
    gids: HashMap<u32, String>,
    shells: Option<HashSet<String>>,
}

impl Local {
    /// Reads the files. A missing shells(5) means that nothing is known about shells; the other two must be there.
    ///
    /// # Errors
    /// With the name of the file.
    pub fn read(files: &LocalFiles) -> io::Result<Self> {
        let mut local = Self::parse(&text(&files.passwd)?, &text(&files.group)?);
        local.shells = match text(&files.shells) {
            Ok(shells) => Some(parse_shells(&shells)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(local)
    }

    /// The same server with other accounts.
    #[must_use]
    pub fn with_accounts(&self, passwd: &str, group: &str) -> Self {
        Self { shells: self.shells.clone(), ..Self::parse(passwd, group) }
    }

    fn parse(passwd: &str, group: &str) -> Self {
        let mut local = Self::default();
        for (name, account) in accounts(passwd) {
            local.uids.entry(account.uid).or_insert_with(|| name.into());
            let alone = !local.logins.contains_key(name);
            local.logins.insert(name.into(), Account { alone, ..account });
        }
        for (name, home) in homes(passwd) {
            local.homes.entry(home.into()).or_insert_with(|| name.into());
        }
        for (name, id) in entries(group) {
            local.groups.insert(name.into(), id);
            local.gids.entry(id).or_insert_with(|| name.into());
        }
        local
    }

    /// Whether `/etc/passwd` has this name.
    #[must_use]
    pub fn has_login(&self, name: &str) -> bool {
        self.logins.contains_key(name)
    }

    /// The name that `/etc/passwd` has for this uid.
    #[must_use]
    pub fn login_of_uid(&self, uid: u32) -> Option<&str> {
        self.uids.get(&uid).map(String::as_str)
    }

    /// The name that `/etc/passwd` has for this home.
    #[must_use]
    pub fn login_of_home(&self, home: &str) -> Option<&str> {
        self.homes.get(home).map(String::as_str)
    }

    /// Whether `/etc/passwd` has this login as the directory has it: the same name, uid, primary group and home, each of them this account's alone.
    #[must_use]
    pub fn has_the_same_login(&self, login: &Login) -> bool {
        let name = login.name.as_str();
        self.logins.get(name).is_some_and(|account| {
            account.alone
                && account.uid == login.uid.raw()
                && account.gid == Some(login.gid.raw())
                && account.home == login.home.as_str()
                && self.login_of_uid(account.uid) == Some(name)
                && self.login_of_home(&account.home).is_none_or(|owner| owner == name)
        })
    }

    /// Whether `/etc/group` has this group under the same name and gid.
    #[must_use]
    pub fn has_the_same_group(&self, group: &Group) -> bool {
        let name = group.name.as_str();
        self.groups.get(name) == Some(&group.gid.raw()) && self.group_of_gid(group.gid.raw()) == Some(name)
    }

    /// Whether `/etc/group` has this name.
    #[must_use]
    pub fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// The name that `/etc/group` has for this gid.
    #[must_use]
    pub fn group_of_gid(&self, gid: u32) -> Option<&str> {
        self.gids.get(&gid).map(String::as_str)
    }

    /// Adds all that is known to a digest, in one order.
    pub fn digest(&self, digest: &mut sha2::Sha256) {
        use sha2::Digest;
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.logins.iter().map(|(name, account)| {
            let Account { uid, gid, home, alone } = account;
            format!("login {name}:{uid}:{gid:?}:{home}:{alone}")
        }));
        lines.extend(self.uids.iter().map(|(id, name)| format!("uid {id}:{name}")));
        lines.extend(self.homes.iter().map(|(home, name)| format!("home {home}:{name}")));
        lines.extend(self.groups.iter().map(|(name, id)| format!("group {name}:{id}")));
        lines.extend(self.gids.iter().map(|(id, name)| format!("gid {id}:{name}")));
        lines.extend(self.shells.iter().flatten().map(|shell| format!("shell {shell}")));
        lines.push(format!("shells {}", self.shells.is_some()));
        lines.sort_unstable();
        for line in lines {
            digest.update(line.as_bytes());
            digest.update(b"\n");
        }
    }

    /// Names of `/etc/passwd`.
    pub fn logins(&self) -> impl Iterator<Item = &str> {
        self.logins.keys().map(String::as_str)
    }

    /// Whether shells(5) lists this shell. nologin(8) and false(1) need not be listed: they let nobody in. Without the file every
    /// shell counts as known.
    #[must_use]
    pub fn knows_shell(&self, shell: &str) -> bool {
        matches!(shell, "/usr/sbin/nologin" | "/sbin/nologin" | "/bin/false" | "/usr/bin/false")
            || self.shells.as_ref().is_none_or(|shells| shells.contains(shell))
    }
}

fn text(path: &Path) -> io::Result<String> {
    let bytes = std::fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Name and id of each line. Lines without an id (NIS compatibility, comments) are not accounts.
fn entries(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

/// Name and what else says who somebody is, of each line of passwd(5).
fn accounts(text: &str) -> impl Iterator<Item = (&str, Account)> {
    text.lines().filter_map(|line| {
        let (name, uid) = entries(line).next()?;
        let mut fields = line.split(':').skip(3);
        let gid = fields.next().and_then(|gid| gid.parse().ok());
        let home = fields.nth(1).unwrap_or_default().trim_end_matches('/').to_owned();
        Some((name, Account { uid, gid, home, alone: true }))
    })
}

/// Name and home of each line. What stands for "no home" is nobody's.
fn homes(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
        let home = fields.nth(4)?.trim_end_matches('/');
        (!matches!(home, "" | "/nonexistent" | "/dev/null")).then_some((name, home))
    })
}

fn parse_shells(text: &str) -> HashSet<String> {
    text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(Into::into).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server with `root` (0), `debian` (1000) in passwd and group, and dash, bash as shells.
    pub(crate) fn small_server() -> Local {
        let mut local = Local::parse(
            "root:x:0:0:root:/root:/bin/bash\ndebian:x:1000:1000::/home/debian:/bin/bash",
            "root:x:0:\nsudo:x:27:debian\ndebian:x:1000:\n",
        );
        local.shells = Some(parse_shells("# shells\n/bin/sh\n/bin/bash\n"));
        local
    }

    #[test]
    fn names_and_ids_of_the_files_are_known_even_without_a_last_newline() {
        let local = small_server();
        assert!(local.has_login("debian") && local.has_group("sudo"));
        assert_eq!(local.login_of_uid(1000), Some("debian"));
        assert_eq!(local.group_of_gid(27), Some("sudo"));
        assert!(!local.has_login("sudo"));
    }

    #[test]
    fn nis_lines_comments_and_rubbish_are_not_accounts() {
        let local = Local::parse("+\n+::::::\n#x:x:5:5\nshort\nbad:x:no:1\n:x:7:7\n\u{0}", "");
        assert_eq!(local, Local::default());
    }

    #[test]
    fn nologin_is_always_known_and_others_by_the_list() {
        let local = small_server();
        assert!(local.knows_shell("/usr/sbin/nologin") && local.knows_shell("/bin/bash"));
        assert!(!local.knows_shell("/bin/zsh") && !local.knows_shell("# shells"));
    }
}
