//! The same logins and groups for each kind of directory: as SQL for SQLite and MariaDB, and as LDIF for slapd.

use std::fmt::Write as _;

const SUFFIX: &str = "dc=example,dc=org";

/// A login and its own group of the same name and number.
#[derive(Debug, Clone)]
pub struct Person {
    /// Name.
    pub name: String,
    /// uid and gid.
    pub uid: u32,
    /// passwd(5).
    pub gecos: String,
    /// passwd(5).
    pub home: String,
    /// passwd(5).
    pub shell: String,
    /// Closed by an administrator.
    pub locked: bool,
    /// crypt(5), or `*`.
    pub hash: String,
    /// Of shadow(5): last change, least age, greatest age, warning, inactivity, expiry.
    pub aging: [Option<u32>; 6],
    /// What it may do.
    pub capabilities: Vec<&'static str>,
    /// Who pays.
    pub membership: Option<&'static str>,
    /// Lines of authorized_keys(5), each with its fingerprint.
    pub keys: Vec<(String, String)>,
}

/// A group and who is in it.
#[derive(Debug, Clone)]
pub struct Team {
    /// Name.
    pub name: String,
    /// Its number.
    pub gid: u32,
    /// Names of logins.
    pub members: Vec<String>,
}

/// All of a directory.
#[derive(Debug, Clone, Default)]
pub struct Population {
    /// Logins.
    pub people: Vec<Person>,
    /// Groups besides everybody's own.
    pub teams: Vec<Team>,
}

/// For which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded directory.
    Sqlite,
    /// MariaDB.
    MariaDb,
}

impl Person {
    /// An ordinary one with a shell.
    #[must_use]
    pub fn new(name: &str, uid: u32) -> Self {
        Self {
            name: name.into(),
            uid,
            gecos: format!("Name of {name}"),
            home: format!("/home/members/users/{name}"),
            shell: "/bin/bash".into(),
            locked: false,
            hash: "*".into(),
            aging: [None; 6],
            capabilities: vec!["shell"],
            membership: None,
            keys: Vec::new(),
        }
    }
}

impl Population {
    /// So many logins, `l0` to `lN`, each in one of some groups of a hundred.
    #[must_use]
    pub fn plain(logins: u32) -> Self {
        let people: Vec<Person> = (0..logins).map(|n| Person::new(&format!("l{n}"), 100_000 + n)).collect();
        let teams = (0..logins.div_ceil(100))
            .map(|n| Team {
                name: format!("team{n}"),
                gid: 2_000_000 + n,
                members: (100 * n..(100 * n + 100).min(logins)).map(|member| format!("l{member}")).collect(),
            })
            .collect();
        Self { people, teams }
    }

    /// One transaction that adds all of it to an empty directory.
    #[must_use]
    pub fn sql(&self, dialect: Dialect) -> String {
        let mut text = String::from(match dialect {
            Dialect::Sqlite => "BEGIN;\n",
            Dialect::MariaDb => {
                "SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES');\nSTART TRANSACTION;\n"
            }
        });
        let mut memberships: Vec<&str> = self.people.iter().filter_map(|person| person.membership).collect();
        memberships.sort_unstable();
        memberships.dedup();
        rows(&mut text, "membership (name, title)", memberships.iter().map(|name| format!("('{name}', '')")));
        let own = self.people.iter().map(|person| format!("({}, '{}')", person.uid, person.name));
        let teams = self.teams.iter().map(|team| format!("({}, '{}')", team.gid, team.name));
        rows(&mut text, "unix_group (gid, name)", own.chain(teams));
        let login = |person: &Person| {
            let days: Vec<String> =
                person.aging.iter().map(|day| day.map_or("NULL".into(), |day| day.to_string())).collect();
            let membership = person
                .membership
                .map_or("NULL".into(), |name| format!("(SELECT id FROM membership WHERE name = '{name}')"));
            let status = if person.locked { "locked" } else { "active" };
            format!(
                "({}, '{}', {}, '{}', '{}', '{}', '{status}', '{}', {}, {membership})",
                person.uid,
                person.name,
                person.uid,
                quoted(&person.gecos),
                quoted(&person.home),
                quoted(&person.shell),
                person.hash,
                days.join(", ")
            )
        };
        rows(
            &mut text,
            "login (uid, name, gid, gecos, home, shell, status, password_hash, last_change, min_days, max_days, warn_days, inactive_days, expires, membership_id)",
            self.people.iter().map(login),
        );
        let capabilities = self.people.iter().flat_map(|person| {
            person.capabilities.iter().map(|capability| format!("({}, '{capability}')", person.uid))
        });
        rows(&mut text, "login_capability (uid, capability)", capabilities);
        let uids: std::collections::HashMap<&str, u32> =
            self.people.iter().map(|person| (person.name.as_str(), person.uid)).collect();
        let members = self.teams.iter().flat_map(|team| {
            let uids = &uids;
            team.members.iter().map(move |name| format!("({}, {})", team.gid, uids[name.as_str()]))
        });
        rows(&mut text, "group_member (gid, uid)", members);
        let keys = self.people.iter().flat_map(|person| {
            person.keys.iter().map(|(line, print)| format!("({}, '{}', '{print}')", person.uid, quoted(line)))
        });
        rows(&mut text, "ssh_key (uid, line, fingerprint)", keys);
        text.push_str("COMMIT;\n");
        text
    }

    /// Entries below `ou=logins` and `ou=groups`: RFC 2307, and where the password goes with it `{CRYPT}`.
    #[must_use]
    pub fn ldif(&self) -> String {
        let mut text = String::new();
        for person in &self.people {
            let _ = writeln!(
                text,
                "dn: uid={name},ou=logins,{SUFFIX}\nobjectClass: account\nobjectClass: posixAccount\nobjectClass: shadowAccount\nobjectClass: mayfirstLogin\n\
                 objectClass: ldapPublicKey\nuid: {name}\nuidNumber: {uid}\ngidNumber: {uid}\nmayfirstStatus: {status}",
                name = person.name,
                uid = person.uid,
                status = if person.locked { "locked" } else { "active" },
            );
            // gecos is ASCII in RFC 2307, and a text that is not empty; cn takes its place.
            if person.gecos.is_ascii() && !person.gecos.is_empty() {
                line(&mut text, "cn", &person.name);
                line(&mut text, "gecos", &person.gecos);
            } else {
                line(&mut text, "cn", &person.gecos);
            }
            line(&mut text, "homeDirectory", &person.home);
            line(&mut text, "loginShell", &person.shell);
            if person.hash != "*" {
                line(&mut text, "userPassword", &format!("{{CRYPT}}{}", person.hash));
            }
            let days =
                ["shadowLastChange", "shadowMin", "shadowMax", "shadowWarning", "shadowInactive", "shadowExpire"];
            for (name, day) in days.iter().zip(person.aging) {
                if let Some(day) = day {
                    line(&mut text, name, &day.to_string());
                }
            }
            person.capabilities.iter().for_each(|capability| line(&mut text, "mayfirstCapability", capability));
            person.membership.iter().for_each(|name| line(&mut text, "mayfirstMembership", name));
            person.keys.iter().for_each(|(key, _)| line(&mut text, "sshPublicKey", key));
            text.push('\n');
            group(&mut text, &person.name, person.uid, &[]);
        }
        self.teams.iter().for_each(|team| group(&mut text, &team.name, team.gid, &team.members));
        text
    }
}

fn group(text: &mut String, name: &str, gid: u32, members: &[String]) {
    let _ = writeln!(
        text,
        "dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: mayfirstGroup\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {gid}"
    );
    members.iter().for_each(|member| line(text, "memberUid", member));
    text.push('\n');
}

/// A line of LDIF; RFC 2849: base64 for what is not plain.
fn line(text: &mut String, name: &str, value: &str) {
    let plain = value.bytes().all(|byte| (32..127).contains(&byte))
        && !value.starts_with([' ', ':', '<'])
        && !value.ends_with(' ');
    let _ =
        if plain { writeln!(text, "{name}: {value}") } else { writeln!(text, "{name}:: {}", base64(value.as_bytes())) };
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let sign = SIGNS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(sign) } else { '=' });
        }
    }
    text
}

/// Some rows in one statement.
fn rows(text: &mut String, table: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    for rows in rows.chunks(500) {
        let _ = writeln!(text, "INSERT INTO {table} VALUES\n{};", rows.join(",\n"));
    }
}

fn quoted(value: &str) -> String {
    value.replace('\'', "''")
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_filled_up() {
        let coded = ["", "f", "fo", "foo", "foob", "ä"].map(|text| super::base64(text.as_bytes()));
        assert_eq!(coded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "w6Q="]);
    }
}
