//! Memberships: who pays and owns. A login's membership is one column; moving it changes no uid, gid, home or path.

use schema::name::MembershipName;
use schema::record::Membership;
use schema::text::Gecos;
use sqlx::Row;

use super::transaction::Work;
use super::{Accounts, AccountsError, Done, Thing};
use crate::directory::DirectoryError;
use crate::directory::sqlite::rows::bytes;

/// A membership and how many logins belong to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MembershipDetails {
    /// The membership.
    #[serde(flatten)]
    pub membership: Membership,
    /// Its logins.
    pub logins: u64,
}

impl Accounts {
    /// Adds a membership.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn membership_add(&self, membership: &Membership) -> Result<Done<Membership>, AccountsError> {
        let mut work = self.begin().await?;
        if work.membership_id(&membership.name).await.is_ok() {
            return Err(AccountsError::exists(Thing::Membership, &membership.name));
        }
        work.add_membership(membership).await?;
        let mut done = work.finish(membership.clone(), Vec::new()).await?;
        // No entry's answer depends on a membership without logins, so the generation stays.
        done.changed = true;
        Ok(done)
    }

    /// One membership.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn membership(&self, name: &MembershipName) -> Result<MembershipDetails, AccountsError> {
        let rows = self.membership_rows("m.name = ?1", Some(name.as_str()), 1).await?;
        rows.into_iter().next().ok_or_else(|| AccountsError::not_found(Thing::Membership, name))
    }

    /// Up to `limit` memberships with a name after `after`, by name.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn memberships(
        &self,
        after: Option<&MembershipName>,
        limit: u32,
    ) -> Result<Vec<MembershipDetails>, AccountsError> {
        self.membership_rows("(?1 IS NULL OR m.name > ?1)", after.map(MembershipName::as_str), limit).await
    }

    /// Changes the name or the title of a membership. Its logins stay in it.
    ///
    /// # Errors
    /// There is none of this name, or the new name is taken.
    pub async fn membership_set(
        &self,
        name: &MembershipName,
        new_name: Option<&MembershipName>,
        title: Option<&Gecos>,
    ) -> Result<Done<Membership>, AccountsError> {
        let mut work = self.begin().await?;
        let id = work.membership_id(name).await?;
        let row = work.row(sqlx::query("SELECT title FROM membership WHERE id = ?1").bind(id)).await?;
        let before = row.map(|row| String::from_utf8_lossy(&bytes(&row, "title")).into_owned()).unwrap_or_default();
        let old = Membership {
            name: name.clone(),
            title: before.parse().map_err(|_| AccountsError::Invalid(format!("the title of {name} is broken")))?,
        };
        if let Some(new) = new_name.filter(|new| *new != name)
            && work.membership_id(new).await.is_ok()
        {
            return Err(AccountsError::exists(Thing::Membership, new));
        }
        let new = Membership {
            name: new_name.unwrap_or(name).clone(),
            title: title.cloned().unwrap_or_else(|| old.title.clone()),
        };
        let update = sqlx::query("UPDATE membership SET name = ?2, title = ?3 WHERE id = ?1")
            .bind(id)
            .bind(new.name.as_str())
            .bind(new.title.as_str());
        work.execute(update).await?;
        let changed = new != old;
        let mut done = work.finish(new, Vec::new()).await?;
        done.changed = changed;
        Ok(done)
    }

    /// Removes a membership.
    ///
    /// # Errors
    /// There is none of this name, or logins belong to it.
    pub async fn membership_remove(&self, name: &MembershipName) -> Result<Done, AccountsError> {
        let mut work = self.begin().await?;
        let id = work.membership_id(name).await?;
        let logins = work.number(sqlx::query("SELECT count(*) FROM login WHERE membership_id = ?1").bind(id)).await?;
        if let Some(count) = logins.filter(|count| *count > 0) {
            return Err(AccountsError::InUse {
                thing: Thing::Membership,
                name: name.to_string(),
                by: format!("{count} login{} to it", if count == 1 { " belongs" } else { "s belong" }),
                remedy: "move them with `identityctl login set NAME --membership OTHER`, or remove them",
            });
        }
        work.execute(sqlx::query("DELETE FROM membership WHERE id = ?1").bind(id)).await?;
        let mut done = work.finish((), Vec::new()).await?;
        done.changed = true;
        Ok(done)
    }

    async fn membership_rows(
        &self,
        condition: &'static str,
        name: Option<&str>,
        limit: u32,
    ) -> Result<Vec<MembershipDetails>, AccountsError> {
        let sql = format!(
            "SELECT m.name, m.title, (SELECT count(*) FROM login WHERE membership_id = m.id) AS logins FROM membership AS m \
             WHERE {condition} ORDER BY m.name LIMIT ?2"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name).bind(limit);
        let rows = self.directory().database(query.fetch_all(self.directory().reader()).await)?;
        let details = rows.iter().map(|row| {
            let text = |column| String::from_utf8(bytes(row, column)).unwrap_or_default();
            let damaged = |reason: String| DirectoryError::Damaged {
                directory: self.directory().path().display().to_string(),
                reason,
            };
            let name = text("name");
            Ok(MembershipDetails {
                membership: Membership {
                    name: name.parse().map_err(|error| damaged(format!("membership {name:?}: {error}")))?,
                    title: text("title")
                        .parse()
                        .map_err(|error| damaged(format!("membership {name:?}: title: {error}")))?,
                },
                logins: u64::try_from(row.try_get_unchecked::<i64, &str>("logins").unwrap_or(0)).unwrap_or(0),
            })
        });
        details.collect::<Result<_, DirectoryError>>().map_err(AccountsError::from)
    }
}

impl Work {
    pub(super) async fn membership_id(&mut self, name: &MembershipName) -> Result<i64, AccountsError> {
        let query = sqlx::query("SELECT id FROM membership WHERE name = ?1").bind(name.as_str());
        self.number(query).await?.ok_or_else(|| AccountsError::not_found(Thing::Membership, name))
    }

    pub(super) async fn add_membership(&mut self, membership: &Membership) -> Result<i64, AccountsError> {
        let insert = sqlx::query("INSERT INTO membership (name, title) VALUES (?1, ?2) RETURNING id")
            .bind(membership.name.as_str())
            .bind(membership.title.as_str());
        Ok(self.number(insert).await?.unwrap_or_default())
    }
}
