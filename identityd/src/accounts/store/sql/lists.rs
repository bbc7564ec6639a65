//! Lists, and everything of one moment.

use async_trait::async_trait;
use schema::capability::Capability;
use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::{GroupName, LoginName, MembershipName};
use schema::record::{Group, Login, Membership, SshKey, Status};
use zeroize::Zeroizing;

use super::work::SqlWork;
use super::{Engine, Link, Row, SqlStore, Statement, sql};
use crate::accounts::group::GroupFilter;
use crate::accounts::login::LoginFilter;
use crate::accounts::store::{Memberships, Parts, Ref, Retired, Store, Stored, Whole, WholeGroup, WholeLogin, Writing};
use crate::directory::sql::{Columns, group, login};
use crate::directory::{Directory, Entry, Kind};

#[async_trait]
impl Store for SqlStore {
    fn directory(&self) -> &dyn Directory {
        self.engine.directory()
    }

    async fn begin(&self) -> Stored<Box<dyn Writing>> {
        let mut link = self.engine.write().await?;
        let before = self.engine.newest(&mut link).await?;
        let mark = self.engine.mark(&mut link).await?;
        Ok(Box::new(SqlWork { engine: self.engine.clone(), link, before, mark }))
    }

    async fn logins(&self, filter: &LoginFilter, limit: u32) -> Stored<Vec<Entry<Login>>> {
        let text = self.engine.select_login(&format!(
            "WHERE l.uid > ?1 AND (?2 IS NULL OR l.membership_id = (SELECT id FROM membership WHERE name = ?2)) \
             AND (?3 IS NULL OR l.status = ?3) AND (?4 IS NULL OR l.name {} ?4) \
             AND (?5 IS NULL OR EXISTS (SELECT 1 FROM login_capability AS f WHERE f.uid = l.uid AND f.capability = ?5)) \
             ORDER BY l.uid LIMIT ?6",
            self.engine.matches()
        ));
        let pattern = filter.pattern.as_deref().map(|pattern| self.engine.pattern(pattern));
        let query = sql(text)
            .with(filter.after)
            .with(filter.membership.as_ref().map(MembershipName::as_str))
            .with(filter.status.map(status_text))
            .with(pattern.as_deref())
            .with(filter.capability.as_ref().map(Capability::as_str))
            .with(limit);
        Ok(self.rows(query).await?.iter().map(login).collect())
    }

    async fn groups(&self, filter: &GroupFilter, limit: u32) -> Stored<Vec<Entry<Group>>> {
        let text = self.engine.select_group(&format!(
            "WHERE g.gid > ?1 AND (?2 IS NULL OR g.name {} ?2) AND (?3 IS NULL OR EXISTS (\
             SELECT 1 FROM group_member AS f JOIN login AS w ON w.uid = f.uid WHERE f.gid = g.gid AND w.name = ?3)) \
             ORDER BY g.gid LIMIT ?4",
            self.engine.matches()
        ));
        let pattern = filter.pattern.as_deref().map(|pattern| self.engine.pattern(pattern));
        let query = sql(text)
            .with(filter.after)
            .with(pattern.as_deref())
            .with(filter.member.as_ref().map(LoginName::as_str))
            .with(limit);
        Ok(self.rows(query).await?.iter().map(group).collect())
    }

    async fn group_name(&self, gid: GroupId) -> Stored<Option<GroupName>> {
        let rows = self.rows(sql("SELECT name FROM unix_group WHERE gid = ?1").with(gid.raw())).await?;
        Ok(rows.first().and_then(|row| GroupName::from_bytes(&row.bytes("name")).ok()))
    }

    async fn group_facts(&self, gid: GroupId) -> Stored<(Option<String>, Vec<LoginName>)> {
        let rule = self.rows(sql("SELECT rule FROM unix_group WHERE gid = ?1").with(gid.raw())).await?;
        let primary = sql("SELECT name FROM login WHERE gid = ?1 ORDER BY name LIMIT 100").with(gid.raw());
        let primary = self.rows(primary).await?;
        let rule = rule.first().map(|row| row.text("rule")).filter(|rule| !rule.is_empty());
        Ok((rule, primary.iter().filter_map(|row| LoginName::from_bytes(&row.bytes("name")).ok()).collect()))
    }

    async fn memberships(&self, which: Memberships<'_>, limit: u32) -> Stored<Vec<(Membership, u64)>> {
        let (condition, name) = match which {
            Memberships::Named(name) => ("m.name = ?1", Some(name)),
            Memberships::After(name) => ("(?1 IS NULL OR m.name > ?1)", name),
        };
        let text = format!(
            "SELECT m.name, m.title, (SELECT count(*) FROM login WHERE membership_id = m.id) AS logins FROM membership AS m \
             WHERE {condition} ORDER BY m.name LIMIT ?2"
        );
        let rows = self.rows(sql(text).with(name.map(MembershipName::as_str)).with(limit)).await?;
        let counted = |row: &Row| {
            let logins = u64::try_from(row.id("logins")).unwrap_or(0);
            membership(&self.engine, row).map(|membership| (membership, logins))
        };
        rows.iter().map(counted).collect()
    }

    async fn retired(&self, kind: Kind, name: Option<&str>) -> Stored<Vec<Retired>> {
        let mut link = self.engine.read().await?;
        retired(&self.engine, &mut link, kind, None, name).await
    }

    async fn whole(&self, parts: Parts) -> Stored<Whole> {
        self.engine.number().await?;
        let mut link = self.engine.read().await?;
        let mut moment = Moment { engine: &self.engine, link: &mut link };
        let mut whole = Whole { generation: moment.engine.newest(moment.link).await?, ..Whole::default() };
        whole.logins = moment.logins().await?;
        whole.groups = moment.groups().await?;
        if parts == Parts::Accounts {
            return Ok(whole);
        }
        let rows = moment.rows(sql("SELECT name, title FROM membership ORDER BY name")).await?;
        whole.memberships = rows.iter().map(|row| membership(&self.engine, row)).collect::<Stored<_>>()?;
        for kind in [Kind::Login, Kind::Group] {
            let retired = retired(&self.engine, moment.link, kind, None, None).await?;
            whole.retired.extend(retired.into_iter().map(|retired| (kind, retired)));
        }
        let rows = moment.rows(sql("SELECT name FROM reserved_name")).await?;
        whole.reserved = rows.iter().map(|row| row.text("name")).collect();
        if parts == Parts::Names {
            return Ok(whole);
        }
        whole.keys = moment.keys().await?;
        whole.next_id = self.engine.next_id_begins(moment.link).await?;
        Ok(whole)
    }

    async fn check(&self) -> Stored<Vec<String>> {
        match &self.engine {
            Engine::Sqlite(directory) => directory.check().await,
            // The server checks its own files (CHECK TABLE).
            Engine::Mysql(_) => Ok(Vec::new()),
        }
    }

    async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(directory) => directory.close().await,
            Engine::Mysql(directory) => directory.close().await,
        }
    }
}

impl SqlStore {
    async fn rows(&self, statement: Statement<'_>) -> Stored<Vec<Row>> {
        let mut link = self.engine.read().await?;
        self.engine.database(link.rows(statement).await)
    }
}

/// A reading of one moment.
struct Moment<'a> {
    engine: &'a Engine,
    link: &'a mut Link,
}

impl Moment<'_> {
    async fn rows(&mut self, statement: Statement<'_>) -> Stored<Vec<Row>> {
        self.engine.database(self.link.rows(statement).await)
    }

    async fn logins(&mut self) -> Stored<Vec<WholeLogin>> {
        let rows = self.rows(sql(self.engine.select_login("ORDER BY l.uid"))).await?;
        let hashes = self.rows(sql("SELECT uid, password_hash FROM login ORDER BY uid")).await?;
        let whole = |(row, hash): (Row, Row)| {
            let at = Ref { id: row.id("uid"), name: row.text("name") };
            // A hash that breaks the rules, or is of another row of the same uid, matches no password.
            let text = Zeroizing::new(hash.text("password_hash"));
            let password = Some(text).filter(|_| hash.id("uid") == at.id).and_then(|text| text.parse().ok());
            WholeLogin { entry: login(&row), password: password.unwrap_or_else(PasswordHash::none), at }
        };
        Ok(rows.into_iter().zip(hashes).map(whole).collect())
    }

    async fn groups(&mut self) -> Stored<Vec<WholeGroup>> {
        let rules = self.rows(sql("SELECT gid, rule FROM unix_group WHERE rule IS NOT NULL")).await?;
        let rows = self.rows(sql(self.engine.select_group("ORDER BY g.gid"))).await?;
        let whole = |row: Row| {
            let at = Ref { id: row.id("gid"), name: row.text("name") };
            let rule = rules.iter().find(|rule| rule.id("gid") == at.id).map(|rule| rule.text("rule"));
            WholeGroup { entry: group(&row), rule, at }
        };
        Ok(rows.into_iter().map(whole).collect())
    }

    async fn keys(&mut self) -> Stored<Vec<(i64, SshKey)>> {
        let rows = self.rows(sql("SELECT id, uid, line, fingerprint, added FROM ssh_key ORDER BY uid, id")).await?;
        let key = |row: &Row| {
            let added = row.number("added").ok().flatten().and_then(|days| u32::try_from(days).ok());
            let key = SshKey {
                id: row.id("id"),
                line: row.text("line"),
                fingerprint: row.text("fingerprint"),
                added: added.map(schema::date::Date::from_days),
            };
            (row.id("uid"), key)
        };
        Ok(rows.iter().map(key).collect())
    }
}

/// Deleted entries of one kind, and of one id or one name if given, by id.
pub(super) async fn retired(
    engine: &Engine,
    link: &mut Link,
    kind: Kind,
    id: Option<i64>,
    name: Option<&str>,
) -> Stored<Vec<Retired>> {
    let kind = match kind {
        Kind::Login => "login",
        Kind::Group => "group",
    };
    let mut text = format!(
        "SELECT id, name, {} AS since, gid, gecos, home, shell FROM retired_id WHERE kind = ?1",
        engine.when_retired()
    );
    let mut query = Vec::new();
    if let Some(id) = id {
        query.push(super::statement::Value::from(id));
        text.push_str(&format!(" AND id = ?{}", query.len() + 1));
    }
    if let Some(name) = name {
        query.push(super::statement::Value::from(name));
        text.push_str(&format!(" AND name = ?{}", query.len() + 1));
    }
    text.push_str(" ORDER BY id");
    let statement = query.into_iter().fold(sql(text).with(kind), Statement::with);
    let rows = engine.database(link.rows(statement).await)?;
    let retired = |row: &Row| Retired {
        id: row.id("id"),
        name: row.text("name"),
        when: row.text("since"),
        gid: row.number("gid").ok().flatten(),
        gecos: row.text("gecos"),
        home: row.text("home"),
        shell: row.text("shell"),
    };
    Ok(rows.iter().map(retired).collect())
}

/// A membership from a row with its name and title.
pub(super) fn membership(engine: &Engine, row: &Row) -> Stored<Membership> {
    let name = row.text("name");
    let damaged =
        |what: &str, error: &dyn std::fmt::Display| engine.damaged(format!("membership {name:?}: {what}{error}"));
    Ok(Membership {
        name: name.parse().map_err(|error| damaged("", &error))?,
        title: row.text("title").parse().map_err(|error| damaged("title: ", &error))?,
    })
}

pub(super) const fn status_text(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Locked => "locked",
    }
}
