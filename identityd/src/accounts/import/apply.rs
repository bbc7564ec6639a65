//! Writing a plan: one transaction, a thousand rows to a statement.

use std::collections::HashMap;

use schema::date::Date;
use schema::record::Membership;
use schema::text::Gecos;
use serde_json::{Value, json};
use sqlx::Row;
use zeroize::Zeroizing;

use super::{Plan, PlannedLogin, Summary};
use crate::accounts::login::change::status_text;
use crate::accounts::transaction::Work;
use crate::accounts::{Accounts, AccountsError, Done};
use crate::directory::DirectoryError;
use crate::directory::sqlite::rows::bytes;

/// Rows to a statement: enough that the trips to SQLite's thread do not count, few enough for a bar that moves.
const BATCH: usize = 1000;

/// Above so many new entries the feed is cut instead of written: readers take everything anew, which costs them less.
const FEED_LIMIT: usize = 5000;

impl Accounts {
    /// Writes a plan, all of it or nothing. `progress` is called now and then with the number of steps done, of [`Plan::steps`].
    ///
    /// # Errors
    /// The directory has changed since the plan was made, refuses an entry, or does not answer. Nothing has changed then.
    pub async fn import_apply(
        &self,
        plan: &Plan,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Done<Summary>, AccountsError> {
        let mut work = self.begin().await?;
        if work.before() != plan.generation {
            return Err(AccountsError::Directory(DirectoryError::Conflict));
        }
        let cut = plan.groups.len() + plan.logins.len() > FEED_LIMIT;
        if cut {
            work.execute(sqlx::query("UPDATE directory SET feed_paused = 1")).await?;
        }
        let mut done = 0_u64;
        let mut step = |count: usize| {
            done = done.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            progress(done);
        };
        let there = work.membership_ids().await?;
        for name in plan.memberships.iter().filter(|name| !there.contains_key(name.as_str())) {
            work.add_membership(&Membership { name: name.clone(), title: Gecos::default() }).await?;
        }
        step(plan.memberships.len());
        let memberships = work.membership_ids().await?;
        for batch in plan.groups.chunks(BATCH) {
            let rows = batch.iter().map(|group| json!([group.gid.raw(), group.name.as_str()])).collect();
            work.insert("INSERT INTO unix_group (gid, name) SELECT value ->> 0, value ->> 1 FROM json_each(?1)", rows)
                .await?;
            step(batch.len());
        }
        for batch in plan.logins.chunks(BATCH) {
            let rows = batch.iter().map(|planned| row(planned, &memberships)).collect::<Result<_, _>>()?;
            work.insert(
                "INSERT INTO login (uid, name, gid, gecos, home, shell, status, password_hash, last_change, min_days, max_days, \
                 warn_days, inactive_days, expires, membership_id) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, \
                 value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, \
                 value ->> 12, value ->> 13, value ->> 14 FROM json_each(?1)",
                rows,
            )
            .await?;
            let tokens = |planned: &PlannedLogin| {
                let uid = planned.login.uid.raw();
                planned.login.capabilities.iter().map(|token| json!([uid, token.as_str()])).collect::<Vec<_>>()
            };
            let rows = batch.iter().flat_map(tokens).collect();
            work.insert(
                "INSERT INTO login_capability (uid, capability) SELECT value ->> 0, value ->> 1 FROM json_each(?1)",
                rows,
            )
            .await?;
            step(batch.len());
        }
        for batch in plan.members.chunks(BATCH) {
            let rows = batch.iter().map(|(gid, member)| json!([gid.raw(), member.as_str()])).collect();
            work.insert(
                "INSERT INTO group_member (gid, uid) SELECT j.value ->> 0, l.uid FROM json_each(?1) AS j \
                 JOIN login AS l ON l.name = j.value ->> 1",
                rows,
            )
            .await?;
        }
        if cut {
            work.cut_feed().await?;
        }
        work.finish(plan.summary.clone(), Vec::new()).await
    }
}

impl Work {
    async fn insert(&mut self, statement: &'static str, rows: Vec<Value>) -> Result<(), AccountsError> {
        if rows.is_empty() {
            return Ok(());
        }
        let text = Zeroizing::new(Value::Array(rows).to_string());
        self.execute(sqlx::query(statement).bind(text.as_str())).await.map(|_| ())
    }

    async fn membership_ids(&mut self) -> Result<HashMap<String, i64>, AccountsError> {
        let rows = self.rows(sqlx::query("SELECT id, name FROM membership")).await?;
        let pair = |row: &sqlx::sqlite::SqliteRow| {
            (
                String::from_utf8_lossy(&bytes(row, "name")).into_owned(),
                row.try_get_unchecked::<i64, &str>("id").unwrap_or_default(),
            )
        };
        Ok(rows.iter().map(pair).collect())
    }

    /// Leaves one change whose number is two above all that a reader can have seen: the one between is missing, so every reader finds a gap.
    async fn cut_feed(&mut self) -> Result<(), AccountsError> {
        self.execute(sqlx::query("UPDATE directory SET feed_paused = 0")).await?;
        for _ in 0..2 {
            self.execute(sqlx::query("DELETE FROM change")).await?;
            let mark =
                "INSERT INTO change (kind, name, id) SELECT 'group', name, gid FROM unix_group ORDER BY gid LIMIT 1";
            self.execute(sqlx::query(mark)).await?;
        }
        Ok(())
    }
}

fn row(planned: &PlannedLogin, memberships: &HashMap<String, i64>) -> Result<Value, AccountsError> {
    let login = &planned.login;
    // The generation does not count memberships: one may have gone since the plan was made.
    let membership = match &login.membership {
        Some(name) => Some(memberships.get(name.as_str()).ok_or(AccountsError::Directory(DirectoryError::Conflict))?),
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
