//! Many new entries: one transaction, a thousand rows to a statement.

use std::collections::HashMap;

use schema::date::Date;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::engine::Engine;
use super::lists::status_text;
use super::sql;
use super::work::SqlWork;
use crate::accounts::import::PlannedLogin;
use crate::accounts::store::{Bulk, Stored, Writing};
use crate::directory::{DirectoryError, Kind};

/// Rows to a statement: enough that the trips to SQLite's thread do not count, few enough for a bar that moves.
const BATCH: usize = 1000;

/// Above so many new entries the feed is cut instead of written: readers take everything anew, which costs them less.
const FEED_LIMIT: usize = 5000;

impl SqlWork {
    pub(super) async fn write_all(&mut self, bulk: Bulk<'_>, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        // MySQL numbers what was written afterwards, as fast as it can be read.
        let cut = matches!(self.engine, Engine::Sqlite(_)) && bulk.groups.len() + bulk.logins.len() > FEED_LIMIT;
        if cut {
            self.execute(sql("UPDATE directory SET feed_paused = 1")).await?;
        }
        let mut done = 0_u64;
        let mut step = |count: usize| {
            done = done.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            progress(done);
        };
        for membership in bulk.memberships {
            self.add_membership(membership).await?;
        }
        step(bulk.memberships.len());
        let memberships = self.membership_ids().await?;
        let ids: Vec<_> = bulk.groups.iter().map(|group| (group.gid.raw().into(), group.name.as_str())).collect();
        self.release(Kind::Group, &ids).await?;
        let ids: Vec<_> =
            bulk.logins.iter().map(|planned| (planned.login.uid.raw().into(), planned.login.name.as_str())).collect();
        self.release(Kind::Login, &ids).await?;
        for batch in bulk.groups.chunks(BATCH) {
            let rows = batch.iter().map(|group| json!([group.gid.raw(), group.name.as_str()])).collect();
            self.insert("unix_group (gid, name)", 2, rows).await?;
            step(batch.len());
        }
        for batch in bulk.logins.chunks(BATCH) {
            let rows = batch.iter().map(|planned| row(planned, &memberships)).collect::<Result<_, _>>()?;
            self.insert(
                "login (uid, name, gid, gecos, home, shell, status, password_hash, last_change, min_days, max_days, warn_days, \
                 inactive_days, expires, membership_id)",
                15,
                rows,
            )
            .await?;
            let tokens = |planned: &PlannedLogin| {
                let uid = planned.login.uid.raw();
                planned.login.capabilities.iter().map(|token| json!([uid, token.as_str()])).collect::<Vec<_>>()
            };
            self.insert("login_capability (uid, capability)", 2, batch.iter().flat_map(tokens).collect()).await?;
            step(batch.len());
        }
        for batch in bulk.members.chunks(BATCH) {
            let rows = batch.iter().map(|(gid, member)| json!([gid.raw(), member.as_str()])).collect();
            let text = format!(
                "INSERT INTO group_member (gid, uid) SELECT j.c0, l.uid FROM {} JOIN login AS l ON l.name = {}",
                self.engine.rows_of_json(2),
                self.engine.name_of_json("j.c1")
            );
            self.insert_by(text, rows).await?;
        }
        if cut {
            self.cut_feed().await?;
        }
        Ok(())
    }

    async fn insert(&mut self, target: &str, columns: usize, rows: Vec<Value>) -> Stored<()> {
        let names: Vec<String> = (0..columns).map(|at| format!("j.c{at}")).collect();
        let from = self.engine.rows_of_json(columns);
        self.insert_by(format!("INSERT INTO {target} SELECT {} FROM {from}", names.join(", ")), rows).await
    }

    async fn insert_by(&mut self, statement: String, rows: Vec<Value>) -> Stored<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let text = Zeroizing::new(Value::Array(rows).to_string());
        self.execute(sql(statement).with(text.as_str())).await.map(|_| ())
    }

    async fn membership_ids(&mut self) -> Stored<HashMap<String, i64>> {
        let rows = self.rows(sql("SELECT id, name FROM membership")).await?;
        Ok(rows.iter().map(|row| (row.text("name"), row.id("id"))).collect())
    }

    /// Leaves one change whose number is two above all that a reader can have seen: the one between is missing, so every reader finds a gap.
    async fn cut_feed(&mut self) -> Stored<()> {
        self.execute(sql("UPDATE directory SET feed_paused = 0")).await?;
        for _ in 0..2 {
            self.execute(sql("DELETE FROM change")).await?;
            let mark =
                "INSERT INTO change (kind, name, id) SELECT 'group', name, gid FROM unix_group ORDER BY gid LIMIT 1";
            self.execute(sql(mark)).await?;
        }
        Ok(())
    }
}

fn row(planned: &PlannedLogin, memberships: &HashMap<String, i64>) -> Stored<Value> {
    let login = &planned.login;
    // The generation does not count memberships: one may have gone since the plan was made.
    let membership = match &login.membership {
        Some(name) => Some(memberships.get(name.as_str()).ok_or(DirectoryError::Conflict)?),
        None => None,
    };
    Ok(json!([
        login.uid.raw(),
        login.name.as_str(),
        login.gid.raw(),
        login.gecos.as_str(),
        login.home.as_str(),
        login.shell.as_str(),
        status_text(login.status),
        planned.password.expose(),
        login.aging.last_change.map(Date::days),
        login.aging.min_days,
        login.aging.max_days,
        login.aging.warn_days,
        login.aging.inactive_days,
        login.aging.expires.map(Date::days),
        membership,
    ]))
}
