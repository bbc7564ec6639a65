//! Entries as lines of passwd(5) and group(5), and as JSON.

use schema::packed::{GroupHead, PasswdHead};
use schema::snapshot::view::{Group, Kind, Login};
use serde_json::{Value, json};

/// A login: `name:x:uid:gid:gecos:home:shell`. `None`: its strings are not what a reader hands on.
pub(super) fn passwd(login: &Login<'_>) -> Option<String> {
    let [name, password, gecos, home, shell] = fields(login)?;
    Some(format!("{name}:{password}:{}:{}:{gecos}:{home}:{shell}", login.head.uid, login.head.gid))
}

pub(super) fn passwd_json(login: &Login<'_>) -> Option<Value> {
    let [name, _, gecos, home, shell] = fields(login)?;
    Some(json!({
        "name": name, "uid": login.head.uid, "gid": login.head.gid, "gecos": gecos, "home": home, "shell": shell,
        "groups": gids(login)?,
    }))
}

/// A group: `name:x:gid:member,member`.
pub(super) fn group(group: &Group<'_>) -> Option<String> {
    let (name, members) = members(group)?;
    Some(format!("{name}:x:{}:{}", group.head.gid, members.join(",")))
}

pub(super) fn group_json(group: &Group<'_>) -> Option<Value> {
    let (name, members) = members(group)?;
    Some(json!({"name": name, "gid": group.head.gid, "members": members}))
}

/// The groups of a login, the primary first: `name gid gid …`.
pub(super) fn initgroups(login: &Login<'_>) -> Option<String> {
    let gids = gids(login)?.iter().fold(String::new(), |text, gid| text + " " + &gid.to_string());
    Some(text(login.name()) + &gids)
}

pub(super) fn initgroups_json(login: &Login<'_>) -> Option<Value> {
    Some(json!({"name": text(login.name()), "groups": gids(login)?}))
}

fn fields(login: &Login<'_>) -> Option<[String; 5]> {
    passwd_fields(&login.head, login.strings)
}

fn gids(login: &Login<'_>) -> Option<Vec<u32>> {
    Some(login.gids()?.iter().collect())
}

fn members(group: &Group<'_>) -> Option<(String, Vec<String>)> {
    group_fields(&group.head, group.strings)
}

/// name, password, gecos, home, shell.
pub(in crate::cli) fn passwd_fields(head: &PasswdHead, strings: &[u8]) -> Option<[String; 5]> {
    Some(head.check_strings(strings).ok()?.map(|start| string_at(strings, start)))
}

/// The name and the members.
pub(super) fn group_fields(head: &GroupHead, strings: &[u8]) -> Option<(String, Vec<String>)> {
    let mut members = Vec::new();
    head.check_strings(strings, |start| members.push(string_at(strings, start))).ok()?;
    Some((string_at(strings, 0), members))
}

/// The string that begins there; its NUL was checked.
fn string_at(strings: &[u8], start: usize) -> String {
    text(strings.get(start..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
