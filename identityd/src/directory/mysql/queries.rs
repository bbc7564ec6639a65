//! The questions as SQL: those over the tables of `schema/sql/mysql/`, or those that the configuration gives over somebody else's.

use std::sync::Arc;

use crate::config::MysqlQueries;
use crate::directory::DirectoryError;

/// A statement whose parameters are written `:name`, as the server wants it: with `?` in their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(super) text: Arc<str>,
    pub(super) parameters: Vec<String>,
}

/// A parameter. It is bound, never written into the text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Number(i64),
    Null,
}

/// All questions.
#[derive(Debug, Clone)]
pub(super) struct Queries {
    pub(super) login_by_name: Query,
    pub(super) login_by_uid: Query,
    pub(super) logins_after: Query,
    pub(super) group_by_name: Query,
    pub(super) group_by_gid: Query,
    pub(super) groups_after: Query,
    pub(super) gids_of: Query,
    /// Several logins at once.
    pub(super) many: Option<Many>,
    pub(super) ssh_keys: Option<Query>,
    pub(super) password_hash: Query,
    pub(super) set_password: Option<Query>,
    /// A password without the old one, where that is a question of its own.
    pub(super) reset_password: Option<Query>,
    pub(super) feed: FeedQueries,
}

/// Questions about so many logins at once, the names `:n0`, `:n1`, …: few different texts, so that the server keeps them prepared.
#[derive(Debug, Clone)]
pub(super) struct Many {
    pub(super) sizes: Vec<ManyOf>,
}

/// The questions about this many.
#[derive(Debug, Clone)]
pub(super) struct ManyOf {
    pub(super) names: Vec<String>,
    pub(super) logins: Query,
    /// name, gid.
    pub(super) gids: Query,
}

/// How changes become known.
#[derive(Debug, Clone)]
pub(super) enum FeedQueries {
    /// The tables of `schema/sql/mysql/`.
    Own {
        /// generation, identity, pending, read_only, mark (of the newest change), known_mark (of the change `:known`): one row.
        state: Query,
        /// Numbers what is pending; generation.
        number: Query,
        /// newest, oldest, since_mark (of the change `:since`), generation, mark, kind, name, id.
        changes: Query,
    },
    /// A log of changes in somebody else's tables.
    Log {
        /// generation: one row.
        generation: Query,
        /// generation, kind, name, id, and maybe oldest.
        changes: Query,
    },
    /// What was updated; what was deleted is found by reading everything.
    Updated {
        /// kind, name, id, updated.
        since: Option<Query>,
    },
}

macro_rules! login {
    ($rest:literal) => {
        concat!(
            "SELECT l.uid, l.name, l.gid, l.gecos, l.home, l.shell, l.status, l.last_change, l.min_days, l.max_days, l.warn_days, ",
            "l.inactive_days, l.expires, (SELECT m.name FROM membership AS m WHERE m.id = l.membership_id) AS membership, ",
            "(SELECT group_concat(c.capability) FROM login_capability AS c WHERE c.uid = l.uid) AS capabilities ",
            "FROM login AS l ",
            $rest
        )
    };
}

macro_rules! group {
    ($rest:literal) => {
        concat!(
            "SELECT g.gid, g.name, CASE WHEN g.rule IS NULL THEN (",
            "SELECT group_concat(l.name) FROM group_member AS m JOIN login AS l ON l.uid = m.uid WHERE m.gid = g.gid",
            ") WHEN g.rule = 'sftp-only' THEN (",
            "SELECT group_concat(l.name) FROM login_capability AS c JOIN login AS l ON l.uid = c.uid WHERE c.capability = 'sftp' ",
            "AND NOT EXISTS (SELECT 1 FROM login_capability AS s WHERE s.uid = c.uid AND s.capability = 'shell')",
            ") END AS members FROM unix_group AS g ",
            $rest
        )
    };
}

pub(crate) use {group as select_group, login as select_login};

impl Queries {
    pub(super) fn new(configured: Option<&MysqlQueries>) -> Result<Self, DirectoryError> {
        configured.map_or_else(Self::own, Self::foreign)
    }

    fn own() -> Result<Self, DirectoryError> {
        let own = |text: &str| {
            parse("built in", text, &["name", "uid", "gid", "after", "limit", "since", "old", "new", "today", "known"])
        };
        Ok(Self {
            login_by_name: own(login!("WHERE l.name = :name"))?,
            login_by_uid: own(login!("WHERE l.uid = :uid"))?,
            logins_after: own(login!("WHERE l.uid > :after ORDER BY l.uid LIMIT :limit"))?,
            group_by_name: own(group!("WHERE g.name = :name"))?,
            group_by_gid: own(group!("WHERE g.gid = :gid"))?,
            groups_after: own(group!("WHERE g.gid > :after ORDER BY g.gid LIMIT :limit"))?,
            gids_of: own("SELECT m.gid FROM login AS l JOIN group_member AS m ON m.uid = l.uid WHERE l.name = :name \
                 UNION ALL SELECT g.gid FROM derived_group AS d JOIN unix_group AS g ON g.gid = d.gid JOIN login AS l ON l.name = :name \
                 WHERE g.rule = 'sftp-only' AND EXISTS (SELECT 1 FROM login_capability AS c WHERE c.uid = l.uid AND c.capability = 'sftp') \
                 AND NOT EXISTS (SELECT 1 FROM login_capability AS c WHERE c.uid = l.uid AND c.capability = 'shell')")?,
            many: Some(Many { sizes: SIZES.iter().map(|size| ManyOf::of(*size)).collect::<Result<_, _>>()? }),
            ssh_keys: Some(own(
                "SELECT k.id, k.line, k.added FROM login AS l JOIN ssh_key AS k ON k.uid = l.uid WHERE l.name = :name ORDER BY k.id LIMIT 101",
            )?),
            password_hash: own("CALL password_hash(:name)")?,
            set_password: Some(own("CALL set_password(:name, :old, :new, :today)")?),
            reset_password: Some(own("CALL reset_password(:name, :new, :today)")?),
            feed: FeedQueries::Own {
                state: own(
                    "SELECT d.generation, d.identity, (SELECT count(*) FROM (SELECT seq FROM touched LIMIT 1) AS t) AS pending, \
                     @@global.read_only AS read_only, (SELECT CAST(seq AS CHAR) FROM `change` WHERE generation = d.generation) AS mark, \
                     (SELECT CAST(seq AS CHAR) FROM `change` WHERE generation = :known) AS known_mark FROM directory AS d",
                )?,
                number: own("CALL number_changes()")?,
                changes: own(
                    "SELECT d.generation AS newest, coalesce((SELECT min(generation) FROM `change`), d.generation + 1) AS oldest, \
                     (SELECT CAST(seq AS CHAR) FROM `change` WHERE generation = :since) AS since_mark, \
                     c.generation, CAST(c.seq AS CHAR) AS mark, c.kind, c.name, c.id FROM directory AS d LEFT JOIN \
                     (SELECT * FROM `change` WHERE generation > :since ORDER BY generation LIMIT :limit) AS c ON 1 = 1 ORDER BY c.generation",
                )?,
            },
        })
    }

    fn foreign(configured: &MysqlQueries) -> Result<Self, DirectoryError> {
        let optional =
            |key: &str, text: Option<&String>, known: &[&str]| text.map(|text| parse(key, text, known)).transpose();
        let feed = match (&configured.generation, &configured.changes_after) {
            (Some(generation), Some(changes)) => FeedQueries::Log {
                generation: parse("generation", generation, &[])?,
                changes: parse("changes_after", changes, &["since", "limit"])?,
            },
            _ => FeedQueries::Updated {
                since: optional("updated_since", configured.updated_since.as_ref(), &["since"])?,
            },
        };
        Ok(Self {
            login_by_name: parse("login_by_name", &configured.login_by_name, &["name"])?,
            login_by_uid: parse("login_by_uid", &configured.login_by_uid, &["uid"])?,
            logins_after: parse("logins_after", &configured.logins_after, &["after", "limit"])?,
            group_by_name: parse("group_by_name", &configured.group_by_name, &["name"])?,
            group_by_gid: parse("group_by_gid", &configured.group_by_gid, &["gid"])?,
            groups_after: parse("groups_after", &configured.groups_after, &["after", "limit"])?,
            gids_of: parse("gids_of", &configured.gids_of, &["name"])?,
            many: None,
            ssh_keys: optional("ssh_keys", configured.ssh_keys.as_ref(), &["name"])?,
            password_hash: parse("password_hash", &configured.password_hash, &["name"])?,
            set_password: optional("set_password", configured.set_password.as_ref(), &["name", "old", "new", "today"])?,
            reset_password: None,
            feed,
        })
    }
}

/// Ascending; the last is what a caller asks for at a time.
const SIZES: [usize; 3] = [4, 24, 128];

impl ManyOf {
    fn of(size: usize) -> Result<Self, DirectoryError> {
        let names: Vec<String> = (0..size).map(|number| format!("n{number}")).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let list = known.iter().map(|name| format!(":{name}")).collect::<Vec<_>>().join(", ");
        let logins = parse("built in", &format!(concat!(login!("WHERE l.name IN "), "({})"), list), &known)?;
        let gids = format!(
            "SELECT l.name, m.gid FROM login AS l JOIN group_member AS m ON m.uid = l.uid WHERE l.name IN ({list}) \
             UNION ALL SELECT l.name, g.gid FROM derived_group AS d JOIN unix_group AS g ON g.gid = d.gid JOIN login AS l ON l.name IN ({list}) \
             WHERE g.rule = 'sftp-only' AND EXISTS (SELECT 1 FROM login_capability AS c WHERE c.uid = l.uid AND c.capability = 'sftp') \
             AND NOT EXISTS (SELECT 1 FROM login_capability AS c WHERE c.uid = l.uid AND c.capability = 'shell')"
        );
        let gids = parse("built in", &gids, &known)?;
        Ok(Self { names, logins, gids })
    }
}

impl Many {
    /// The smallest that fits; the last name fills the rest.
    pub(super) fn fitting(&self, count: usize) -> Option<&ManyOf> {
        self.sizes.iter().find(|many| many.names.len() >= count).or(self.sizes.last())
    }
}

/// Puts `?` where `:name` stands, outside quotes and comments.
fn parse(key: &str, text: &str, known: &[&str]) -> Result<Query, DirectoryError> {
    let mut out = String::with_capacity(text.len());
    let mut parameters = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '`', ':', '?', '-', '#', '/']) {
        let (before, here) = rest.split_at(at);
        out.push_str(before);
        let length = match here.as_bytes() {
            [quote @ (b'\'' | b'"' | b'`'), ..] => quoted(here, *quote),
            [b'#', ..] => line(here),
            [b'-', b'-', b' ', ..] => line(here),
            [b'/', b'*', ..] => here.find("*/").map_or(here.len(), |end| end + 2),
            [b'?', ..] => return Err(wrong(key, "write parameters as :name, not as ?")),
            [b':', first, ..] if first.is_ascii_alphabetic() => {
                let name: String =
                    here.chars().skip(1).take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if !known.contains(&name.as_str()) {
                    return Err(wrong(key, &format!("it has no parameter :{name}; there are {}", list(known))));
                }
                out.push('?');
                rest = here.get(name.len() + 1..).unwrap_or_default();
                parameters.push(name);
                continue;
            }
            // `:=` of a user variable, or a lone minus or slash.
            _ => 1,
        };
        let (taken, left) = here.split_at(length);
        out.push_str(taken);
        rest = left;
    }
    out.push_str(rest);
    if out.trim().is_empty() {
        return Err(wrong(key, "it is empty"));
    }
    Ok(Query { text: out.into(), parameters })
}

/// How long a quoted text is, with its quotes; a doubled quote or a backslash does not end it.
fn quoted(text: &str, quote: u8) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1).peekable();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' && quote != b'`' {
            bytes.next();
        } else if byte == quote {
            if bytes.peek().is_some_and(|(_, next)| *next == quote) {
                bytes.next();
            } else {
                return at + 1;
            }
        }
    }
    text.len()
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn list(known: &[&str]) -> String {
    if known.is_empty() {
        "none".into()
    } else {
        known.iter().map(|name| format!(":{name}")).collect::<Vec<_>>().join(", ")
    }
}

fn wrong(key: &str, what: &str) -> DirectoryError {
    DirectoryError::Unavailable { directory: format!("[directory.queries] {key}"), reason: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_bound_in_their_order_and_only_outside_quotes() {
        let query = parse(
            "k",
            "SELECT ':name', a.`b:name` FROM t -- :name\n WHERE x = :name AND y > :after OR x=:name",
            &["name", "after"],
        )
        .unwrap();
        assert_eq!(&*query.text, "SELECT ':name', a.`b:name` FROM t -- :name\n WHERE x = ? AND y > ? OR x=?");
        assert_eq!(query.parameters, ["name", "after", "name"]);
        let query = parse("k", "SELECT 'it''s \\' :name' /* :name */, @a := 1, 3-2 # :name", &["name"]).unwrap();
        assert!(query.parameters.is_empty(), "{query:?}");
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_those_there_are() {
        let error = parse("login_by_name", "SELECT 1 WHERE a = :login", &["name"]).unwrap_err().to_string();
        assert!(error.contains("login_by_name") && error.contains(":login") && error.contains(":name"), "{error}");
        assert!(parse("k", "SELECT ?", &[]).is_err());
        assert!(parse("k", "  ", &[]).is_err());
    }

    #[test]
    fn our_own_questions_parse() {
        assert!(Queries::own().is_ok());
    }
}
