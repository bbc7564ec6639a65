//! Which entries are not served on this server, and why.
//!
//! What breaks the rules of `schema` the directory reports itself; here are the rules that need this server, or more than one
//! entry. They are applied when an answer leaves, so a change of `/etc/passwd` counts at once without touching the cache.

mod list;

pub use list::QuarantineList;

use schema::packed::write;
use schema::record::{Group, Login, Passwd};
use schema::wire::frame::MAX_REPLY;

use crate::config::UnknownShell;
use crate::local::Local;

/// How a login is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// As it stands.
    Plain,
    /// With nologin(8) as its shell.
    WithoutShell,
}

/// Whether this server serves this login; else the reason and the remedy.
///
/// # Errors
/// The reason.
pub fn login(login: &Login, local: &Local, unknown_shell: UnknownShell) -> Result<Serving, String> {
    let name = login.name.as_str();
    reserved(name)?;
    if local.has_the_same_login(login) {
        return Err(format!(
            "the same account is in this server's /etc/passwd; local accounts win. To move it over to the directory: identityctl local release {name}"
        ));
    }
    if local.has_login(name) {
        return Err(format!(
            "the name {name} is in this server's /etc/passwd; local accounts win. Remove one of the two, or rename the login"
        ));
    }
    if let Some(other) = local.login_of_uid(login.uid.raw()) {
        return Err(format!(
            "uid {} belongs to {other} in this server's /etc/passwd. Renumber the local account (its files too) or remove it",
            login.uid
        ));
    }
    if let Some(other) = local.group_of_gid(login.gid.raw()) {
        return Err(format!(
            "its primary group {} is {other} in this server's /etc/group, and would give it that group's files. Renumber the local group; if it is the login's own, take it out of /etc/group and /etc/gshadow (identityctl local release does)",
            login.gid
        ));
    }
    if let Some(other) = local.login_of_home(login.home.as_str()) {
        return Err(format!(
            "its home {} is that of {other} in this server's /etc/passwd. Give it another home: identityctl login set {name} --home PATH",
            login.home
        ));
    }
    shell(login, local, unknown_shell)
}

/// Whether this server publishes this login; else the reason. The same as [`login`], but for one that is in `/etc/passwd` as it is in the directory: it is
/// published, and whoever reads what is published looks at `/etc/passwd` for himself (`nss_mayfirst/src/local.rs`). So it is there in the
/// moment in which its line goes. Nothing else is answered about it meanwhile: no password, no key.
///
/// # Errors
/// The reason.
pub fn published_login(login: &Login, local: &Local, unknown_shell: UnknownShell) -> Result<Serving, String> {
    if !local.has_the_same_login(login) {
        return self::login(login, local, unknown_shell);
    }
    reserved(login.name.as_str())?;
    shell(login, local, unknown_shell)
}

fn shell(login: &Login, local: &Local, unknown_shell: UnknownShell) -> Result<Serving, String> {
    let passwd = login.passwd();
    if local.knows_shell(passwd.shell.as_str()) {
        return Ok(Serving::Plain);
    }
    match unknown_shell {
        UnknownShell::Nologin => Ok(Serving::WithoutShell),
        UnknownShell::Quarantine => Err(format!(
            "its shell {} is not in this server's /etc/shells. Install it here, change the login's shell, or set [quarantine] unknown_shell = \"nologin\"",
            passwd.shell
        )),
    }
}

/// Whether this server serves this group; else the reason and the remedy.
///
/// # Errors
/// The reason.
pub fn group(group: &Group, local: &Local) -> Result<(), String> {
    let name = group.name.as_str();
    reserved(name)?;
    if local.has_the_same_group(group) {
        return Err("the same group is in this server's /etc/group; local groups win. To move it over to the directory: identityctl local release".into());
    }
    if local.has_group(name) {
        return Err(format!(
            "the name {name} is in this server's /etc/group; local groups win. Remove one of the two, or rename the group"
        ));
    }
    if let Some(other) = local.group_of_gid(group.gid.raw()) {
        return Err(format!(
            "gid {} belongs to {other} in this server's /etc/group. Renumber the local group or remove it",
            group.gid
        ));
    }
    Ok(())
}

/// Whether this server publishes this group; else the reason. As for [`published_login`].
///
/// # Errors
/// The reason.
pub fn published_group(group: &Group, local: &Local) -> Result<(), String> {
    if local.has_the_same_group(group) { reserved(group.name.as_str()) } else { self::group(group, local) }
}

/// The directory refuses these names; whoever can write it past its rules must not become `sudo` where a server lacks that group.
fn reserved(name: &str) -> Result<(), String> {
    if schema::name::is_reserved(name) {
        return Err(format!(
            "the name {name} is reserved for the system. Rename it in the directory, by SQL or with an LDAP client (docs/directory.md)"
        ));
    }
    Ok(())
}

/// The record of a group.
///
/// # Errors
/// It does not fit into a reply.
pub fn packed(group: &Group) -> Result<Vec<u8>, String> {
    let too_large = || {
        format!(
            "its {} members do not fit into the reply that libc can be given ({} MiB). Split the group",
            group.members.len(),
            MAX_REPLY / (1024 * 1024)
        )
    };
    let packed = write::group(group).map_err(|_| too_large())?;
    if packed.len() > MAX_REPLY as usize { Err(too_large()) } else { Ok(packed) }
}

/// What libc sees of a login that is served like this.
#[must_use]
pub fn passwd(login: &Login, serving: Serving) -> Passwd {
    let mut passwd = login.passwd();
    if let (Serving::WithoutShell, Ok(nologin)) = (serving, schema::paths::NOLOGIN.parse()) {
        passwd.shell = nologin;
    }
    passwd
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{a_group, a_login};
    use crate::local::tests::small_server;

    #[test]
    fn a_login_with_a_local_name_uid_or_gid_is_not_served() {
        let local = small_server();
        let judge = |login: &Login| super::login(login, &local, UnknownShell::Quarantine);
        assert_eq!(judge(&a_login("ada", 2000)), Ok(Serving::Plain));
        assert!(judge(&a_login("debian", 2000)).unwrap_err().contains("/etc/passwd"));
        assert!(judge(&a_login("ada", 1000)).unwrap_err().contains("belongs to debian"));
        let mut login = a_login("ada", 2000);
        login.gid = 1000.try_into().unwrap();
        assert!(judge(&login).unwrap_err().contains("/etc/group"));
    }

    #[test]
    fn a_name_of_the_system_and_the_home_of_a_local_account_are_not_served() {
        let local = small_server();
        let judge = |login: &Login| super::login(login, &local, UnknownShell::Quarantine);
        assert!(judge(&a_login("docker", 2000)).unwrap_err().contains("reserved"));
        assert!(group(&a_group("libvirt", 3000, &[]), &local).unwrap_err().contains("reserved"));
        let mut login = a_login("ada", 2000);
        login.home = "/home/debian".parse().unwrap();
        assert!(judge(&login).unwrap_err().contains("that of debian"));
        login.home = "/nonexistent".parse().unwrap();
        assert_eq!(judge(&login), Ok(Serving::Plain));
    }

    #[test]
    fn what_is_local_just_as_it_is_in_the_directory_is_published_and_not_served() {
        let local = small_server();
        let judge = |login: &Login| published_login(login, &local, UnknownShell::Quarantine);
        let mut same = a_login("debian", 1000);
        same.home = "/home/debian".parse().unwrap();
        assert_eq!(judge(&same), Ok(Serving::Plain));
        assert!(login(&same, &local, UnknownShell::Quarantine).unwrap_err().contains("local release debian"));
        let mut other = same.clone();
        other.home = "/srv/debian".parse().unwrap();
        assert!(judge(&other).is_err());
        let mut other = same.clone();
        other.gid = 1001.try_into().unwrap();
        assert!(judge(&other).is_err());
        assert!(judge(&Login { name: "ada".parse().unwrap(), ..same.clone() }).is_err());
        assert!(judge(&Login { uid: 1001.try_into().unwrap(), ..same }).is_err());
        assert!(published_group(&a_group("debian", 1000, &[]), &local).is_ok());
        assert!(group(&a_group("debian", 1000, &[]), &local).is_err());
        assert!(published_group(&a_group("debian", 1001, &[]), &local).is_err());
    }

    #[test]
    fn an_unknown_shell_is_quarantined_or_shown_as_nologin() {
        let mut login = a_login("ada", 2000);
        login.shell = "/bin/zsh".parse().unwrap();
        let local = small_server();
        assert!(super::login(&login, &local, UnknownShell::Quarantine).unwrap_err().contains("/bin/zsh"));
        let serving = super::login(&login, &local, UnknownShell::Nologin).unwrap();
        assert_eq!(passwd(&login, serving).shell.as_str(), "/usr/sbin/nologin");
    }

    #[test]
    fn an_unknown_shell_of_a_login_that_may_not_have_one_does_not_matter() {
        let mut login = a_login("ada", 2000);
        login.shell = "/bin/zsh".parse().unwrap();
        login.capabilities = ["mail".parse().unwrap()].into();
        assert_eq!(super::login(&login, &small_server(), UnknownShell::Quarantine), Ok(Serving::Plain));
    }

    #[test]
    fn a_group_with_a_local_name_or_gid_is_not_served() {
        let local = small_server();
        assert!(group(&a_group("staff2", 3000, &[]), &local).is_ok());
        assert!(group(&a_group("sudo", 3000, &[]), &local).is_err());
        assert!(group(&a_group("staff2", 1000, &[]), &local).is_err());
    }
}
