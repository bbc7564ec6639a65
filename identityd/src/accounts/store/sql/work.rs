//! One operation in SQL, one transaction: dropping it half-way leaves nothing.

use std::collections::HashMap;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::name::{GroupName, LoginName, MembershipName};
use schema::path::HomePath;
use schema::record::{Generation, Group, Login, Membership, Status};

use super::engine::{Engine, Mark};
use super::lists::{membership, retired, status_text};
use super::{Link, Row, Statement, sql};
use crate::accounts::key::AuthorizedKey;
use crate::accounts::store::{Bulk, Ref, Retired, Stored, Whole, Writing};
use crate::directory::sql::{Columns, group, login};
use crate::directory::{Entry, Kind};

/// An open write transaction.
pub(super) struct SqlWork {
    pub(super) engine: Engine,
    pub(super) link: Link,
    pub(super) before: Generation,
    pub(super) mark: Mark,
}

impl SqlWork {
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Stored<u64> {
        let done = self.link.execute(statement).await;
        self.engine.database(done)
    }

    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Stored<Vec<Row>> {
        let rows = self.link.rows(statement).await;
        self.engine.database(rows)
    }

    async fn row(&mut self, statement: Statement<'_>) -> Stored<Option<Row>> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// The column `found` of the first row, as a number.
    async fn number(&mut self, statement: Statement<'_>) -> Stored<Option<i64>> {
        Ok(self.row(statement).await?.and_then(|row| row.number("found").ok().flatten()))
    }

    /// The column `found` of the first row, as a text.
    async fn text(&mut self, statement: Statement<'_>) -> Stored<Option<String>> {
        Ok(self.row(statement).await?.map(|row| row.text("found")))
    }

    /// Lets an id be taken back by its own name (`schema/sql/*/0002_rules.sql`); `insert` gives it no other.
    pub(super) async fn release(&mut self, kind: Kind, ids: &[(i64, &str)]) -> Stored<()> {
        // One is looked for by its key; of many, all that are retired are read once. An UPDATE that finds nothing would lock a gap in MySQL.
        let only = if let [(id, _)] = ids { Some(*id) } else { None };
        let retired: HashMap<i64, String> =
            self.retired(kind, only, None).await?.into_iter().map(|retired| (retired.id, retired.name)).collect();
        for (id, name) in ids {
            if retired.get(id).is_some_and(|former| former == name) {
                let text = match kind {
                    Kind::Login => "UPDATE retired_id SET released = 1 WHERE kind = 'login' AND id = ?1",
                    Kind::Group => "UPDATE retired_id SET released = 1 WHERE kind = 'group' AND id = ?1",
                };
                self.execute(sql(text).with(*id)).await?;
            }
        }
        Ok(())
    }

    async fn add_capability(&mut self, uid: u32, capability: &str) -> Stored<()> {
        let insert = sql("INSERT INTO login_capability (uid, capability) VALUES (?1, ?2)").with(uid).with(capability);
        self.execute(insert).await.map(|_| ())
    }
}

#[async_trait]
impl Writing for SqlWork {
    fn before(&self) -> Generation {
        self.before
    }

    async fn login(&mut self, name: &LoginName) -> Stored<Option<Entry<Login>>> {
        let query = sql(self.engine.select_login("WHERE l.name = ?1")).with(name.as_str());
        Ok(self.row(query).await?.map(|row| login(&row)))
    }

    async fn login_ref(&mut self, name: &str) -> Stored<Option<Ref>> {
        let id = self.number(sql("SELECT uid AS found FROM login WHERE name = ?1").with(name)).await?;
        Ok(id.map(|id| Ref { id, name: name.into() }))
    }

    async fn login_of_uid(&mut self, uid: i64) -> Stored<Option<String>> {
        self.text(sql("SELECT name AS found FROM login WHERE uid = ?1").with(uid)).await
    }

    async fn login_of_home(&mut self, home: &HomePath, but: Option<i64>) -> Stored<Option<String>> {
        let query = sql("SELECT name AS found FROM login WHERE home = ?1 AND uid <> ?2 LIMIT 1");
        self.text(query.with(home.as_str()).with(but.unwrap_or(-1))).await
    }

    async fn add_login(&mut self, login: &Login, password: &PasswordHash) -> Stored<()> {
        self.release(Kind::Login, &[(login.uid.raw().into(), login.name.as_str())]).await?;
        let insert = sql(
            "INSERT INTO login (uid, name, gid, gecos, home, shell, membership_id, status, last_change, min_days, \
             max_days, warn_days, inactive_days, expires, password_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, \
             (SELECT id FROM membership WHERE name = ?7), ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        );
        self.execute(fields(insert, login).with(password.expose())).await?;
        for capability in &login.capabilities {
            self.add_capability(login.uid.raw(), capability.as_str()).await?;
        }
        Ok(())
    }

    async fn change_login(&mut self, old: &Login, new: &Login) -> Stored<()> {
        let update = sql("UPDATE login SET name = ?2, gid = ?3, gecos = ?4, home = ?5, shell = ?6, \
             membership_id = (SELECT id FROM membership WHERE name = ?7), status = ?8, last_change = ?9, min_days = ?10, \
             max_days = ?11, warn_days = ?12, inactive_days = ?13, expires = ?14 WHERE uid = ?1");
        self.execute(fields(update, new)).await?;
        for gone in old.capabilities.difference(&new.capabilities) {
            let delete = sql("DELETE FROM login_capability WHERE uid = ?1 AND capability = ?2");
            self.execute(delete.with(new.uid.raw()).with(gone.as_str())).await?;
        }
        for added in new.capabilities.difference(&old.capabilities) {
            self.add_capability(new.uid.raw(), added.as_str()).await?;
        }
        Ok(())
    }

    async fn set_status(&mut self, login: &Ref, status: Status) -> Stored<()> {
        let update = sql("UPDATE login SET status = ?2 WHERE uid = ?1").with(login.id).with(status_text(status));
        self.execute(update).await.map(|_| ())
    }

    async fn set_password(&mut self, login: &Ref, hash: &PasswordHash, changed: Date) -> Stored<()> {
        let update = sql("UPDATE login SET password_hash = ?2, last_change = ?3 WHERE uid = ?1")
            .with(login.id)
            .with(hash.expose())
            .with(changed.days());
        self.execute(update).await.map(|_| ())
    }

    async fn remove_login(&mut self, login: &Ref) -> Stored<()> {
        self.execute(sql("DELETE FROM login WHERE uid = ?1").with(login.id)).await.map(|_| ())
    }

    async fn group(&mut self, name: &GroupName) -> Stored<Option<Entry<Group>>> {
        let query = sql(self.engine.select_group("WHERE g.name = ?1")).with(name.as_str());
        Ok(self.row(query).await?.map(|row| group(&row)))
    }

    async fn group_ref(&mut self, name: &str) -> Stored<Option<(Ref, Option<String>)>> {
        let row = self.row(sql("SELECT gid, rule FROM unix_group WHERE name = ?1").with(name)).await?;
        Ok(row.map(|row| {
            let rule = Some(row.text("rule")).filter(|rule| !rule.is_empty());
            (Ref { id: row.id("gid"), name: name.into() }, rule)
        }))
    }

    async fn group_of_gid(&mut self, gid: i64) -> Stored<Option<String>> {
        self.text(sql("SELECT name AS found FROM unix_group WHERE gid = ?1").with(gid)).await
    }

    async fn primary_of(&mut self, gid: i64) -> Stored<(i64, String)> {
        let query = sql("SELECT count(*) AS logins, min(name) AS head FROM login WHERE gid = ?1").with(gid);
        Ok(self.row(query).await?.map_or((0, String::new()), |row| (row.id("logins"), row.text("head"))))
    }

    async fn add_group(&mut self, gid: i64, name: &str) -> Stored<()> {
        self.release(Kind::Group, &[(gid, name)]).await?;
        let insert = sql("INSERT INTO unix_group (gid, name) VALUES (?1, ?2)").with(gid).with(name);
        self.execute(insert).await.map(|_| ())
    }

    async fn rename_group(&mut self, group: &Ref, name: &GroupName) -> Stored<()> {
        let update = sql("UPDATE unix_group SET name = ?2 WHERE gid = ?1").with(group.id).with(name.as_str());
        self.execute(update).await.map(|_| ())
    }

    async fn remove_group(&mut self, group: &Ref) -> Stored<()> {
        self.execute(sql("DELETE FROM unix_group WHERE gid = ?1").with(group.id)).await.map(|_| ())
    }

    async fn add_member(&mut self, group: &Ref, login: &Ref) -> Stored<usize> {
        let there = sql("SELECT 1 AS found FROM group_member WHERE gid = ?1 AND uid = ?2");
        if self.number(there.with(group.id).with(login.id)).await?.is_none() {
            let insert = sql("INSERT INTO group_member (gid, uid) VALUES (?1, ?2)");
            self.execute(insert.with(group.id).with(login.id)).await?;
        }
        let count = sql("SELECT count(*) AS found FROM group_member WHERE uid = ?1").with(login.id);
        Ok(usize::try_from(self.number(count).await?.unwrap_or(0)).unwrap_or(0))
    }

    async fn remove_member(&mut self, group: &Ref, login: &Ref) -> Stored<bool> {
        let delete = sql("DELETE FROM group_member WHERE gid = ?1 AND uid = ?2").with(group.id).with(login.id);
        Ok(self.execute(delete).await? > 0)
    }

    async fn retired(&mut self, kind: Kind, id: Option<i64>, name: Option<&str>) -> Stored<Vec<Retired>> {
        retired(&self.engine, &mut self.link, kind, id, name).await
    }

    async fn next_id(&mut self) -> Stored<Option<i64>> {
        self.engine.next_id(&mut self.link).await
    }

    async fn membership(&mut self, name: &MembershipName) -> Stored<Option<Membership>> {
        let row = self.row(sql("SELECT name, title FROM membership WHERE name = ?1").with(name.as_str())).await?;
        row.map(|row| membership(&self.engine, &row)).transpose()
    }

    async fn logins_of(&mut self, membership: &MembershipName) -> Stored<i64> {
        let count = sql(
            "SELECT count(*) AS found FROM login AS l JOIN membership AS m ON m.id = l.membership_id WHERE m.name = ?1",
        );
        Ok(self.number(count.with(membership.as_str())).await?.unwrap_or(0))
    }

    async fn add_membership(&mut self, membership: &Membership) -> Stored<()> {
        let insert = sql("INSERT INTO membership (name, title) VALUES (?1, ?2)");
        self.execute(insert.with(membership.name.as_str()).with(membership.title.as_str())).await.map(|_| ())
    }

    async fn change_membership(&mut self, name: &MembershipName, new: &Membership) -> Stored<()> {
        let update = sql("UPDATE membership SET name = ?2, title = ?3 WHERE name = ?1");
        let update = update.with(name.as_str()).with(new.name.as_str()).with(new.title.as_str());
        self.execute(update).await.map(|_| ())
    }

    async fn remove_membership(&mut self, name: &MembershipName) -> Stored<()> {
        self.execute(sql("DELETE FROM membership WHERE name = ?1").with(name.as_str())).await.map(|_| ())
    }

    async fn key_number(&mut self, login: &Ref, fingerprint: &str) -> Stored<Option<i64>> {
        let query = sql("SELECT id AS found FROM ssh_key WHERE uid = ?1 AND fingerprint = ?2");
        self.number(query.with(login.id).with(fingerprint)).await
    }

    async fn add_key(&mut self, login: &Ref, key: &AuthorizedKey, added: Date) -> Stored<i64> {
        let insert = sql("INSERT INTO ssh_key (uid, line, fingerprint, added) VALUES (?1, ?2, ?3, ?4)");
        let insert = insert.with(login.id).with(key.line()).with(key.fingerprint()).with(added.days());
        self.execute(insert).await?;
        Ok(self.key_number(login, key.fingerprint()).await?.unwrap_or_default())
    }

    async fn remove_key(&mut self, login: &Ref, number: i64, fingerprint: &str) -> Stored<bool> {
        let delete = sql("DELETE FROM ssh_key WHERE uid = ?1 AND (id = ?2 OR fingerprint = ?3)");
        Ok(self.execute(delete.with(login.id).with(number).with(fingerprint)).await? > 0)
    }

    async fn add_all(&mut self, bulk: Bulk<'_>, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        self.write_all(bulk, progress).await
    }

    async fn take_over(&mut self, whole: &Whole, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        self.take_all(whole, progress).await
    }

    async fn commit(mut self: Box<Self>) -> Stored<(Generation, bool)> {
        let changed = self.engine.mark(&mut self.link).await? != self.mark;
        let Self { engine, link, .. } = *self;
        Ok((engine.commit(link).await?, changed))
    }
}

/// The parameters 1 to 14 of a login, for an insert and an update.
fn fields<'a>(statement: Statement<'a>, login: &'a Login) -> Statement<'a> {
    let aging = &login.aging;
    statement
        .with(login.uid.raw())
        .with(login.name.as_str())
        .with(login.gid.raw())
        .with(login.gecos.as_str())
        .with(login.home.as_str())
        .with(login.shell.as_str())
        .with(login.membership.as_ref().map(MembershipName::as_str))
        .with(status_text(login.status))
        .with(aging.last_change.map(Date::days))
        .with(aging.min_days)
        .with(aging.max_days)
        .with(aging.warn_days)
        .with(aging.inactive_days)
        .with(aging.expires.map(Date::days))
}
