//! Where else on this server a name stands: what a local account leaves behind goes to whoever has its name next.

use std::fs;
use std::path::Path;

use serde::Serialize;

const NO_PASSWORD: &str = "has an empty password in /etc/shadow, so that it may need none here";

/// A name, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Mention {
    /// Whose.
    pub(super) name: String,
    /// What it gets there, and where.
    #[serde(rename = "what")]
    pub(super) what: String,
}

impl Mention {
    /// Whether it is about a local group of this name.
    pub(super) fn is_member_of(&self, group: &str) -> bool {
        self.what == membership(group)
    }

    /// Whether whoever has the name may enter without a password.
    pub(super) fn is_open(&self) -> bool {
        self.what == NO_PASSWORD
    }

    fn new(name: &str, what: impl Into<String>) -> Self {
        Self { name: name.into(), what: what.into() }
    }
}

/// All that this process may read.
pub(super) fn all(sudoers: &[(String, String)], sshd: &str) -> Vec<Mention> {
    let text = |path: &str| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut all = members(&text("/etc/group").unwrap_or_default());
    for (path, text) in sudoers {
        all.extend(self::sudoers(path, text));
    }
    for path in ["/etc/cron.allow", "/etc/cron.deny", "/etc/at.allow", "/etc/at.deny"] {
        all.extend(list(path, &text(path).unwrap_or_default()));
    }
    for path in ["/etc/subuid", "/etc/subgid"] {
        all.extend(subordinate(path, &text(path).unwrap_or_default()));
    }
    all.extend(crontabs(Path::new("/var/spool/cron/crontabs")));
    all.extend(self::sshd(sshd));
    all
}

/// The members that group(5) lists.
pub(super) fn members(group: &str) -> Vec<Mention> {
    let lines = group.lines().filter(|line| !line.starts_with(['#', '+', '-']));
    lines
        .flat_map(|line| {
            let mut fields = line.split(':');
            let group = fields.next().unwrap_or_default();
            let members = fields.nth(2).unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
            members.map(move |name| Mention::new(name, membership(group)))
        })
        .collect()
}

fn membership(group: &str) -> String {
    format!("is a member of the local group {group} (/etc/group)")
}

/// The names in shadow(5) that have a password, or need none. Without an account in passwd(5) pam_unix takes it for the login that NSS knows under that name.
pub(super) fn passwords(shadow: &str) -> Vec<Mention> {
    let lines = shadow.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.next()?))
    });
    let usable = lines.filter(|(_, hash)| !hash.starts_with(['!', '*']));
    usable
        .map(|(name, hash)| match hash {
            // pam_unix with nullok, as Debian has it.
            "" => Mention::new(name, NO_PASSWORD),
            _ => Mention::new(name, "has a password of its own in /etc/shadow, which opens it here"),
        })
        .collect()
}

/// Users that sudoers(5) names: in rules, in aliases of users, in Defaults of users. Groups, ids and aliases are other things.
pub(super) fn sudoers(path: &str, text: &str) -> Vec<Mention> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '@'])) {
        let line = line.split(" #").next().unwrap_or_default();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let users = match word {
            "User_Alias" => rest.split(':').filter_map(|alias| alias.split_once('=')).map(|(_, users)| users).collect(),
            "Host_Alias" | "Runas_Alias" | "Cmnd_Alias" | "Cmd_Alias" | "" => Vec::new(),
            _ if word.starts_with("Defaults") => word.strip_prefix("Defaults:").into_iter().collect(),
            _ => rules(line),
        };
        for user in users.iter().flat_map(|users| users.split(',')) {
            let user = user.trim().trim_start_matches('!').trim().trim_matches('"');
            if schema::name::check(user.as_bytes()).is_ok() {
                found.push(Mention::new(user, format!("has rules of sudo ({path})")));
            }
        }
    }
    found.dedup();
    found
}

/// Groups that sudoers(5) gives rights to, of those that are `wanted`.
pub(super) fn groups(sudoers: &[(String, String)], wanted: impl Fn(&str) -> bool) -> Vec<Mention> {
    let of = |(path, text): &(String, String)| {
        let groups = super::doctor::sudoers_groups(text).into_iter().filter(|group| wanted(group));
        groups.map(|group| Mention::new(group, format!("has rules of sudo as a group ({path})"))).collect::<Vec<_>>()
    };
    sudoers.iter().flat_map(of).collect()
}

/// The list of users before `hosts =`.
fn rules(line: &str) -> Vec<&str> {
    let Some((before, _)) = line.split_once('=') else { return Vec::new() };
    let before = before.trim_end();
    // Behind the users comes the list of hosts; either may have blanks around its commas.
    let mut words = before.split_whitespace().peekable();
    let mut users = Vec::new();
    while let Some(word) = words.next() {
        users.push(word);
        let goes_on = word.ends_with([',', '!']) || words.peek().is_some_and(|next| next.starts_with(','));
        if !goes_on {
            break;
        }
    }
    users
}

/// A name a line: crontab(1), at(1).
fn list(path: &str, text: &str) -> Vec<Mention> {
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#'));
    names.map(|name| Mention::new(name, format!("is in {path}"))).collect()
}

/// subuid(5), subgid(5).
fn subordinate(path: &str, text: &str) -> Vec<Mention> {
    let names = text.lines().filter_map(|line| line.split(':').next()).filter(|name| !name.is_empty());
    names.map(|name| Mention::new(name, format!("has subordinate ids ({path})"))).collect()
}

fn crontabs(folder: &Path) -> Vec<Mention> {
    let files =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|file| file.file_name().into_string().ok());
    let mut found: Vec<_> =
        files.map(|name| Mention::new(&name, format!("has a crontab ({}/{name})", folder.display()))).collect();
    found.sort();
    found
}

/// Users that sshd_config(5) names, without patterns.
fn sshd(config: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    for line in config.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let mut words = line.split(|c: char| c.is_whitespace() || c == '=').filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default().to_ascii_lowercase();
        let users: Vec<&str> = match keyword.as_str() {
            "allowusers" | "denyusers" => words.collect(),
            "match" => {
                let user = words.by_ref().find(|word| word.eq_ignore_ascii_case("user"));
                user.and_then(|_| words.next()).into_iter().flat_map(|users| users.split(',')).collect()
            }
            _ => continue,
        };
        for user in users {
            let name = user.split('@').next().unwrap_or_default();
            if schema::name::check(name.as_bytes()).is_ok() {
                found.push(Mention::new(name, format!("is named in sshd_config ({line})")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(mentions: &[Mention]) -> Vec<&str> {
        mentions.iter().map(|mention| mention.name.as_str()).collect()
    }

    #[test]
    fn users_of_sudoers_are_found_in_rules_aliases_and_defaults() {
        let text = "# eva ALL=ALL\n@includedir /etc/sudoers.d\nDefaults env_reset\nDefaults:ana !lecture\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=ALL\n\
                    ben,cem ALL = (www-data) NOPASSWD: /bin/ls\ndan , !eli web1, web2 = ALL\nUser_Alias OPS = fay, gus : WEB = hal\nOPS ALL=ALL\nlong \\\nALL=ALL\n\
                    Cmnd_Alias LS = /bin/ls\n#1000 ALL=ALL\n";
        let found = sudoers("/etc/sudoers", text);
        assert_eq!(names(&found), ["ana", "root", "ben", "cem", "dan", "eli", "fay", "gus", "hal", "long"]);
    }

    #[test]
    fn members_of_groups_and_names_in_lists_are_found() {
        assert_eq!(names(&members("sudo:x:27:ana,ben\nweb:x:3000:\n+:::eva\n")), ["ana", "ben"]);
        assert_eq!(names(&list("/etc/cron.allow", "ana\n\n# eva\n ben \n")), ["ana", "ben"]);
        assert_eq!(names(&subordinate("/etc/subuid", "ana:100000:65536\n")), ["ana"]);
        let found = passwords("root:*:1::::::\nana:$y$x:1::::::\nben:!$y$x:1::::::\neva::1::::::\n");
        assert_eq!(names(&found), ["ana", "eva"]);
        assert!(!found[0].is_open() && found[1].is_open(), "{found:?}");
    }

    #[test]
    fn users_of_sshd_are_found_without_patterns() {
        let found =
            sshd("# AllowUsers eva\nAllowUsers ana ben@10.0.0.* web*\nMatch User cem,dan\nPasswordAuthentication no\n");
        assert_eq!(names(&found), ["ana", "ben", "cem", "dan"]);
    }
}
