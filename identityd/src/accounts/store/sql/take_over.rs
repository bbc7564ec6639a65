//! Everything of another directory, into an empty one.

use schema::date::Date;
use schema::record::Group;

use super::sql;
use super::work::SqlWork;
use crate::accounts::import::PlannedLogin;
use crate::accounts::store::{Bulk, Ref, Stored, Whole};
use crate::directory::{DirectoryError, Entry, Kind};

impl SqlWork {
    pub(super) async fn take_all(&mut self, whole: &Whole, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        self.same_derived_groups(whole).await?;
        let groups: Vec<Group> =
            valid(whole.groups.iter().filter(|group| group.rule.is_none()).map(|group| &group.entry));
        let logins: Vec<PlannedLogin> = whole
            .logins
            .iter()
            .filter_map(|stored| match &stored.entry {
                Entry::Valid(login) => Some(PlannedLogin { login: login.clone(), password: stored.password.clone() }),
                Entry::Quarantined(_) => None,
            })
            .collect();
        let members: Vec<_> =
            groups.iter().flat_map(|group| group.members.iter().map(|member| (group.gid, member.clone()))).collect();
        let bulk = Bulk { memberships: &whole.memberships, groups: &groups, logins: &logins, members: &members };
        let mut done = bulk.steps();
        self.write_all(bulk, progress).await?;
        for (uid, key) in &whole.keys {
            let insert = sql("INSERT INTO ssh_key (uid, line, fingerprint, added) VALUES (?1, ?2, ?3, ?4)")
                .with(*uid)
                .with(key.line.as_str())
                .with(key.fingerprint.as_str())
                .with(key.added.map(Date::days));
            self.execute(insert).await?;
            done += 1;
            progress(done);
        }
        for (kind, retired) in &whole.retired {
            let text = format!(
                "INSERT INTO retired_id (kind, id, name, retired, gid, gecos, home, shell) VALUES (?1, ?2, ?3, {}, ?5, ?6, ?7, ?8)",
                self.engine.time("?4")
            );
            let login = *kind == Kind::Login;
            let insert = sql(text)
                .with(if login { "login" } else { "group" })
                .with(retired.id)
                .with(retired.name.as_str())
                .with(retired.when.as_str())
                .with(retired.gid.and_then(|gid| u32::try_from(gid).ok()))
                .with(Some(retired.gecos.as_str()).filter(|_| login))
                .with(Some(retired.home.as_str()).filter(|_| login))
                .with(Some(retired.shell.as_str()).filter(|_| login));
            self.execute(insert).await?;
            done += 1;
            progress(done);
        }
        let (engine, link) = (self.engine.clone(), &mut self.link);
        engine.begin_ids_at(link, whole.next_id).await
    }

    /// A new directory has its derived group already; sshd matches it by name, files carry its gid.
    async fn same_derived_groups(&mut self, whole: &Whole) -> Stored<()> {
        let rows = self.rows(sql("SELECT gid, name, rule FROM unix_group WHERE rule IS NOT NULL ORDER BY gid")).await?;
        let here: Vec<_> =
            rows.iter().map(|row| (Ref { id: row.id("gid"), name: row.text("name") }, row.text("rule"))).collect();
        let there: Vec<_> =
            whole.groups.iter().filter_map(|group| Some((group.at.clone(), group.rule.clone()?))).collect();
        if here == there {
            return Ok(());
        }
        let shown = |list: &[(Ref, String)]| {
            list.iter().map(|(at, rule)| format!("{} ({}, {rule})", at.name, at.id)).collect::<Vec<_>>().join(", ")
        };
        Err(DirectoryError::Refused(format!(
            "the groups with a rule are not the same: {} in the source, {} in the new directory, and in tables a gid never changes; of a source in LDAP change gidNumber first",
            shown(&there),
            shown(&here)
        )))
    }
}

fn valid<'a, T: Clone + 'a>(entries: impl Iterator<Item = &'a Entry<T>>) -> Vec<T> {
    let valid = |entry: &Entry<T>| match entry {
        Entry::Valid(value) => Some(value.clone()),
        Entry::Quarantined(_) => None,
    };
    entries.filter_map(valid).collect()
}
