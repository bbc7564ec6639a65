//! One operation: what it asks is asked of the server that it writes to, and what it writes counts at once. Dropping it half-way leaves nothing dangerous.

use std::sync::Arc;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::{GroupName, LoginName, MembershipName};
use schema::path::HomePath;
use schema::record::{Generation, Group, Login, Membership, Status};

use super::super::{Bulk, Ref, Retired, Stored, Whole, Writing};
use super::{failed, fields, ids, membership, read};
use crate::accounts::key::AuthorizedKey;
use crate::directory::ldap::admin::Writer;
use crate::directory::ldap::client::LdapFailure;
use crate::directory::ldap::{LdapDirectory, RawEntry, filter};
use crate::directory::{Directory, DirectoryError, Entry, Kind};

/// An operation under way.
#[derive(Debug)]
pub(super) struct LdapWork {
    pub(super) directory: Arc<LdapDirectory>,
    pub(super) writer: Writer,
    before: Generation,
    /// Whether anything was written that is followed.
    pub(super) changed: bool,
    /// The entry that it is about: its number is told when nothing had to be changed.
    pub(super) about: Option<String>,
    /// A group to be added: with the login that comes next, or by itself.
    pub(super) pending: Option<(i64, String)>,
}

impl LdapWork {
    pub(super) async fn begin(directory: Arc<LdapDirectory>) -> Stored<Self> {
        let writer = directory.writing().await?;
        let before = directory.newest_change().await?;
        Ok(Self { directory, writer, before, changed: false, about: None, pending: None })
    }

    pub(super) fn failed(&self, what: &str, failure: &LdapFailure) -> DirectoryError {
        failed(&self.directory, what, failure)
    }

    /// Adds the group that waits.
    async fn settle(&mut self) -> Stored<()> {
        if let Some((gid, name)) = self.pending.take() {
            self.put_group(gid, &name, None).await?;
            self.unretire(Kind::Group, gid).await?;
        }
        Ok(())
    }

    async fn keys(&self, entry: &RawEntry, name: &str) -> Vec<schema::record::SshKey> {
        name.parse::<LoginName>().map(|name| self.directory.map().keys(&name, entry)).unwrap_or_default()
    }
}

#[async_trait]
impl Writing for LdapWork {
    fn before(&self) -> Generation {
        self.before
    }

    async fn login(&mut self, name: &LoginName) -> Stored<Option<Entry<Login>>> {
        self.settle().await?;
        let found = self.directory.login_named(name).await?;
        Ok(found.map(|(raw, entry)| {
            self.about = Some(raw.dn);
            entry
        }))
    }

    async fn login_ref(&mut self, name: &str) -> Stored<Option<Ref>> {
        let found = read::login_named(&self.directory, name).await?;
        Ok(found.map(|entry| {
            let id = self.directory.map().uid(&entry);
            self.about = Some(entry.dn);
            Ref { id, name: name.into() }
        }))
    }

    async fn login_of_uid(&mut self, uid: i64) -> Stored<Option<String>> {
        let wanted = filter::equal(&self.directory.config().attributes.uid, uid.to_string().as_bytes());
        let found = read::logins(&self.directory, &wanted).await?;
        Ok(found.first().map(|entry| self.directory.map().login_name(entry)))
    }

    async fn login_of_home(&mut self, home: &HomePath, but: Option<i64>) -> Stored<Option<String>> {
        let wanted = filter::equal(&self.directory.config().attributes.home, home.as_str().as_bytes());
        let map = self.directory.map();
        let found = read::logins(&self.directory, &wanted).await?;
        Ok(found.iter().find(|entry| Some(map.uid(entry)) != but).map(|entry| map.login_name(entry)))
    }

    async fn add_login(&mut self, login: &Login, password: &PasswordHash) -> Stored<()> {
        self.new_login(login, password).await
    }

    async fn change_login(&mut self, old: &Login, new: &Login) -> Stored<()> {
        self.rewrite_login(old, new).await
    }

    async fn set_status(&mut self, login: &Ref, status: Status) -> Stored<()> {
        self.put_status(login, status).await
    }

    async fn set_password(&mut self, login: &Ref, hash: &PasswordHash, changed: Date) -> Stored<()> {
        self.put_password(login, hash, changed).await
    }

    async fn remove_login(&mut self, login: &Ref) -> Stored<()> {
        self.drop_login(login).await
    }

    async fn group(&mut self, name: &GroupName) -> Stored<Option<Entry<Group>>> {
        self.settle().await?;
        self.directory.group_by_name(name).await
    }

    async fn group_ref(&mut self, name: &str) -> Stored<Option<(Ref, Option<String>)>> {
        self.settle().await?;
        let Some(entry) = self.group_entry(name).await? else { return Ok(None) };
        let rule = entry.text(&self.directory.config().attributes.group_rule);
        self.about = Some(entry.dn.clone());
        Ok(Some((Ref { id: self.directory.map().gid(&entry), name: name.into() }, rule)))
    }

    async fn group_of_gid(&mut self, gid: i64) -> Stored<Option<String>> {
        self.settle().await?;
        let wanted = filter::equal(&self.directory.config().attributes.group_gid, gid.to_string().as_bytes());
        for entry in read::groups(&self.directory, &wanted).await? {
            if !read::left_over(&self.directory, &entry).await? {
                return Ok(Some(self.directory.map().group_name(&entry)));
            }
        }
        Ok(None)
    }

    async fn primary_of(&mut self, gid: i64) -> Stored<(i64, String)> {
        let found = read::primary_of(&self.directory, gid).await?;
        let first = found.iter().map(|entry| self.directory.map().login_name(entry)).min();
        Ok((i64::try_from(found.len()).unwrap_or(i64::MAX), first.unwrap_or_default()))
    }

    async fn add_group(&mut self, gid: i64, name: &str) -> Stored<()> {
        self.settle().await?;
        self.pending = Some((gid, name.into()));
        Ok(())
    }

    async fn rename_group(&mut self, group: &Ref, name: &GroupName) -> Stored<()> {
        let entry = self.group_at(group).await?;
        self.call_group(&entry, name.as_str()).await
    }

    async fn remove_group(&mut self, group: &Ref) -> Stored<()> {
        self.drop_group(group).await
    }

    async fn add_member(&mut self, group: &Ref, login: &Ref) -> Stored<usize> {
        self.list_member(group, login).await
    }

    async fn remove_member(&mut self, group: &Ref, login: &Ref) -> Stored<bool> {
        self.unlist_member(group, login).await
    }

    async fn retired(&mut self, kind: Kind, id: Option<i64>, name: Option<&str>) -> Stored<Vec<Retired>> {
        ids::retired(&self.directory, kind, id, name).await
    }

    async fn next_id(&mut self) -> Stored<Option<i64>> {
        self.take_id().await
    }

    async fn membership(&mut self, name: &MembershipName) -> Stored<Option<Membership>> {
        membership::named(&self.directory, name).await
    }

    async fn logins_of(&mut self, membership: &MembershipName) -> Stored<i64> {
        let found = membership::logins_of(&self.directory, membership).await?;
        Ok(i64::try_from(found.len()).unwrap_or(i64::MAX))
    }

    async fn add_membership(&mut self, membership: &Membership) -> Stored<()> {
        self.new_membership(membership).await
    }

    async fn change_membership(&mut self, name: &MembershipName, new: &Membership) -> Stored<()> {
        self.rewrite_membership(name, new).await
    }

    async fn remove_membership(&mut self, name: &MembershipName) -> Stored<()> {
        self.drop_membership(name).await
    }

    async fn key_number(&mut self, login: &Ref, fingerprint: &str) -> Stored<Option<i64>> {
        let entry = self.at(login).await?;
        let keys = self.keys(&entry, &login.name).await;
        Ok(keys.iter().find(|key| key.fingerprint == fingerprint).map(|key| key.id))
    }

    async fn add_key(&mut self, login: &Ref, key: &AuthorizedKey, added: Date) -> Stored<i64> {
        let entry = self.at(login).await?;
        let names = self.directory.config().attributes.clone();
        // A key that other tools took out may have left its day.
        let mut mods = days_of(&entry, &names.key_added, key.fingerprint());
        mods.push(fields::one_more(&names.ssh_key, key.line()));
        mods.push(fields::one_more(&names.key_added, &fields::day_of_key(key.fingerprint(), added)));
        self.change(&entry, mods).await?;
        Ok(self.key_number(login, key.fingerprint()).await?.unwrap_or_default())
    }

    async fn remove_key(&mut self, login: &Ref, number: i64, fingerprint: &str) -> Stored<bool> {
        let entry = self.at(login).await?;
        let names = self.directory.config().attributes.clone();
        let keys = self.keys(&entry, &login.name).await;
        let Some(key) = keys.iter().find(|key| key.id == number || key.fingerprint == fingerprint) else {
            return Ok(false);
        };
        // As it is stored: a line may have had spaces around it.
        let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
        let lines = entry.all(&names.ssh_key).iter().map(text).filter(|line| line.trim() == key.line);
        let mut mods: Vec<_> = lines.map(|line| fields::one_less(&names.ssh_key, &line)).collect();
        mods.extend(days_of(&entry, &names.key_added, &key.fingerprint));
        self.change(&entry, mods).await?;
        Ok(true)
    }

    async fn add_all(&mut self, bulk: Bulk<'_>, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        self.put_all(bulk, progress).await
    }

    async fn take_over(&mut self, whole: &Whole, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        self.take_all(whole, progress).await
    }

    async fn commit(mut self: Box<Self>) -> Stored<(Generation, bool)> {
        self.settle().await?;
        let directory = Arc::clone(&self.directory);
        let generation = match (self.changed, &self.about) {
            (true, _) => self.writer.generation(&directory).await?,
            (false, Some(dn)) => self.writer.generation_at(&directory, &dn.clone()).await?,
            (false, None) => None,
        };
        Ok((generation.unwrap_or_default(), self.changed))
    }
}

/// Takes the days out that an entry has for a key.
fn days_of(entry: &RawEntry, attribute: &str, fingerprint: &str) -> Vec<ldap3::Mod<Vec<u8>>> {
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    let days = entry.all(attribute).iter().map(text).filter(|day| day.split(' ').next() == Some(fingerprint));
    days.map(|day| fields::one_less(attribute, &day)).collect()
}

/// The gid of a record as the primitives count it.
pub(super) fn number(gid: GroupId) -> i64 {
    gid.raw().into()
}
