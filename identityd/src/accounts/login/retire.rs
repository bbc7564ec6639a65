//! Removing logins, and taking a retired id back.

use schema::name::LoginName;
use schema::record::Login;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::RetiredLogin;
use crate::accounts::transaction::Work;
use crate::accounts::{Accounts, AccountsError, Done, Thing, Warning};
use crate::directory::sqlite::rows::bytes;

impl Accounts {
    /// Removes a login with its capabilities, keys and memberships of groups, and its own group if nobody else is in it. The ids are retired.
    /// No file is touched on any server.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn login_remove(&self, name: &LoginName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let uid = work.uid_of(name).await?;
        work.execute(sqlx::query("DELETE FROM login WHERE uid = ?1").bind(uid)).await?;
        work.finish((), Vec::new()).await
    }

    /// The deleted logins, newest id last; of one name, if given.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn retired_logins(&self, name: Option<&LoginName>) -> Result<Vec<RetiredLogin>, AccountsError> {
        let query = sqlx::query("SELECT id, name, retired, home FROM retired_id WHERE kind = 'login' AND (?1 IS NULL OR name = ?1) ORDER BY id")
            .bind(name.map(LoginName::as_str));
        let rows = self.directory().database(query.fetch_all(self.directory().reader()).await)?;
        Ok(rows.iter().map(retired).collect())
    }

    /// Brings a deleted login back with its uid, group, home and shell: locked, without password, keys and capabilities.
    ///
    /// # Errors
    /// No login of this name was deleted, or one of this name exists again, or several were deleted and `uid` does not say which.
    pub async fn login_restore(&self, name: &LoginName, uid: Option<u32>) -> Result<Done<Login>, AccountsError> {
        let mut work = self.begin().await?;
        work.free_login_name(name).await?;
        let row = work.retired(name, uid).await?;
        let uid = row.try_get_unchecked::<i64, &str>("id").unwrap_or_default();
        let gid = row.try_get_unchecked::<i64, &str>("gid").unwrap_or(uid);
        let mut warnings = Vec::new();
        let there = sqlx::query("SELECT gid FROM unix_group WHERE gid = ?1").bind(gid);
        let gid = if work.number(there).await?.is_some() {
            gid
        } else {
            let own = sqlx::query("SELECT id FROM retired_id WHERE kind = 'group' AND id = ?1 AND name = ?2")
                .bind(gid)
                .bind(name.as_str());
            if work.number(own).await?.is_some() {
                let insert =
                    sqlx::query("INSERT INTO unix_group (gid, name) VALUES (?1, ?2)").bind(gid).bind(name.as_str());
                work.execute(insert).await?;
                gid
            } else {
                warnings.push(Warning::Note(format!("its former group {gid} is gone; it has a new group of its own")));
                work.add_private_group(name, uid).await?
            }
        };
        let text = |column| String::from_utf8_lossy(&bytes(&row, column)).into_owned();
        let insert = sqlx::query(
            "INSERT INTO login (uid, name, gid, gecos, home, shell, status) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'locked')",
        )
        .bind(uid)
        .bind(name.as_str())
        .bind(gid)
        .bind(text("gecos"))
        .bind(text("home"))
        .bind(text("shell"));
        work.execute(insert).await?;
        warnings.push(Warning::Note(
            "it is locked and has no password, keys or capabilities: give it what it needs, then unlock it".into(),
        ));
        let login = work.login(name).await?;
        work.finish(login, warnings).await
    }
}

impl Work {
    async fn retired(&mut self, name: &LoginName, uid: Option<u32>) -> Result<SqliteRow, AccountsError> {
        let query = sqlx::query("SELECT id, gid, gecos, home, shell FROM retired_id WHERE kind = 'login' AND name = ?1 AND (?2 IS NULL OR id = ?2) ORDER BY id")
            .bind(name.as_str())
            .bind(uid);
        let mut rows = self.rows(query).await?;
        match (rows.len(), rows.pop()) {
            (1, Some(row)) => Ok(row),
            (0, _) | (_, None) => Err(AccountsError::not_found(Thing::Login, format!("{name} among the deleted ones"))),
            (_, Some(last)) => {
                let id = |row: &SqliteRow| {
                    row.try_get_unchecked::<i64, &str>("id").ok().and_then(|id| u32::try_from(id).ok())
                };
                let uids = rows.iter().chain([&last]).filter_map(id).collect();
                Err(AccountsError::Ambiguous { name: name.clone(), uids })
            }
        }
    }
}

fn retired(row: &SqliteRow) -> RetiredLogin {
    let text = |column| String::from_utf8_lossy(&bytes(row, column)).into_owned();
    RetiredLogin {
        uid: row.try_get_unchecked::<i64, &str>("id").ok().and_then(|id| u32::try_from(id).ok()).unwrap_or_default(),
        name: text("name"),
        retired: text("retired"),
        home: text("home"),
    }
}
