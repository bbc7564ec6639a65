//! passwd(5).

use schema::capability::Capabilities;
use schema::id::{GroupId, UserId};
use schema::name::{LoginName, MembershipName};
use schema::path::{HomePath, ShellPath};
use schema::text::Gecos;

use super::Options;
use super::lines::{Reject, fields, id, refused, shown, skipped};
use crate::accounts::host::{Host, opens_a_shell};

/// A line of passwd(5) that keeps the rules.
pub(super) struct PasswdLine {
    pub(super) name: LoginName,
    /// The second field: `x` points to shadow(5).
    pub(super) password: Vec<u8>,
    pub(super) uid: UserId,
    pub(super) gid: PrimaryGroup,
    pub(super) gecos: Gecos,
    pub(super) home: HomePath,
    pub(super) shell: ShellPath,
    pub(super) capabilities: Capabilities,
    pub(super) membership: Option<MembershipName>,
    /// Remarks about it.
    pub(super) notes: Vec<String>,
}

/// The primary group of a line.
pub(super) enum PrimaryGroup {
    /// As in the file.
    Gid(GroupId),
    /// The file has a group of the system, and the login gets its own.
    Own,
}

pub(super) fn parse(line: &[u8], options: &Options, host: &Host) -> Result<PasswdLine, Reject> {
    let [name, password, uid, gid, gecos, home, shell] = fields::<7>(line)?;
    let uid: UserId = id("uid", uid, options.floor)?;
    let name = LoginName::from_bytes(name).map_err(|error| refused(format!("{error}: {:?}", shown(name))))?;
    let mut notes = Vec::new();
    let gid = match id::<GroupId>("gid", gid, schema::id::FLOOR) {
        Ok(gid) => PrimaryGroup::Gid(gid),
        Err(Reject { fate: super::Fate::Skipped, .. }) if options.own_group_for_system_gid => {
            notes.push(format!("its primary group {} is one of the system: it gets a group of its own", shown(gid)));
            PrimaryGroup::Own
        }
        Err(Reject { fate: super::Fate::Skipped, reason }) => {
            return Err(refused(format!(
                "its primary group is {reason}; change it on the server, or import with --own-groups so that it gets a group of its own"
            )));
        }
        Err(reject) => return Err(reject),
    };
    let gecos = gecos_text(gecos, &mut notes)?;
    let home = home_path(home, &mut notes)?;
    host.home(&home).map_err(|error| refused(error.to_string()))?;
    let shell = shell_path(shell, &mut notes)?;
    notes.extend(host.shell(&shell).map(|warning| warning.to_string()));
    let membership = membership(&home, options, &mut notes);
    let capabilities = capabilities(&shell, options).clone();
    Ok(PasswdLine { name, password: password.to_vec(), uid, gid, gecos, home, shell, capabilities, membership, notes })
}

fn gecos_text(field: &[u8], notes: &mut Vec<String>) -> Result<Gecos, Reject> {
    let text = match std::str::from_utf8(field) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            // ISO 8859-1 is what such files were written in; every byte has a character there.
            notes.push("the gecos field is not UTF-8: it is read as ISO 8859-1".into());
            field.iter().map(|byte| char::from(*byte)).collect()
        }
    };
    Gecos::try_from(text).map_err(|error| refused(format!("gecos: {error}")))
}

fn home_path(field: &[u8], notes: &mut Vec<String>) -> Result<HomePath, Reject> {
    let text = std::str::from_utf8(field).map_err(|_| refused("the home is not UTF-8"))?;
    let plain = text.trim_end_matches('/');
    let text = if plain.len() < text.len() && !plain.is_empty() {
        notes.push(format!("the home {text:?} is taken without the / at its end"));
        plain
    } else {
        text
    };
    text.parse().map_err(|error| refused(format!("home: {error}")))
}

fn shell_path(field: &[u8], notes: &mut Vec<String>) -> Result<ShellPath, Reject> {
    let text = std::str::from_utf8(field).map_err(|_| refused("the shell is not UTF-8"))?;
    let text = if text.is_empty() {
        notes.push("the shell is empty, which means /bin/sh (passwd(5)): it is taken as that".into());
        "/bin/sh"
    } else {
        text
    };
    text.parse().map_err(|error| refused(format!("shell: {error}")))
}

fn capabilities<'a>(shell: &ShellPath, options: &'a Options) -> &'a Capabilities {
    let name = shell.as_str().rsplit('/').next().unwrap_or_default();
    if !opens_a_shell(shell) {
        &options.without_shell
    } else if matches!(name, "sftp-server" | "scponly" | "scponlyc" | "rssh" | "mysecureshell") {
        &options.transfer_only
    } else {
        &options.with_shell
    }
}

fn membership(home: &HomePath, options: &Options, notes: &mut Vec<String>) -> Option<MembershipName> {
    if options.membership_from_home {
        let parts: Vec<&str> = home.as_str().split('/').collect();
        if let ["", "home", "members", member, "sites", _, "users", _] = parts.as_slice() {
            match member.parse() {
                Ok(name) => return Some(name),
                Err(error) => notes.push(format!("no membership is taken from its home: {error}")),
            }
        }
    }
    options.membership.clone()
}

/// An account of the system in passwd(5), so that its line in shadow(5) is passed over too.
pub(super) fn is_of_the_system(reject: &Reject) -> bool {
    reject.fate == skipped("").fate && reject.reason.starts_with("of the system")
}
