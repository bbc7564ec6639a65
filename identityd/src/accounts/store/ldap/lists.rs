//! Lists, and the way to everything else.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use schema::id::GroupId;
use schema::name::{GroupName, LoginName};
use schema::record::{Group, Login, Membership};

use super::super::{Memberships, Parts, Retired, Store, Stored, Whole, Writing};
use super::work::LdapWork;
use super::{LdapStore, check, glob, ids, membership, read, whole};
use crate::accounts::group::GroupFilter;
use crate::accounts::login::LoginFilter;
use crate::directory::ldap::admin::StoredPassword;
use crate::directory::ldap::client::Search;
use crate::directory::ldap::filter;
use crate::directory::{Directory, Entry, Kind};

#[async_trait]
impl Store for LdapStore {
    fn directory(&self) -> &dyn Directory {
        &*self.directory
    }

    async fn begin(&self) -> Stored<Box<dyn Writing>> {
        Ok(Box::new(LdapWork::begin(Arc::clone(&self.directory)).await?))
    }

    async fn logins(&self, filter: &LoginFilter, limit: u32) -> Stored<Vec<Entry<Login>>> {
        let all = match &filter.membership {
            Some(name) => {
                let found = membership::logins_of(&self.directory, name).await?;
                let mut uids: Vec<i64> = found.iter().map(|entry| self.directory.map().uid(entry)).collect();
                uids.retain(|uid| *uid > i64::from(filter.after));
                uids.sort_unstable();
                uids.dedup();
                uids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                self.directory.logins_numbered(&uids).await?
            }
            None => self.all_logins().await?,
        };
        let wanted = |entry: &Entry<Login>| match entry {
            Entry::Valid(login) => {
                login.uid.raw() > filter.after
                    && filter.status.is_none_or(|status| login.status == status)
                    && filter.capability.as_ref().is_none_or(|capability| login.capabilities.contains(capability))
                    && filter.membership.as_ref().is_none_or(|name| login.membership.as_ref() == Some(name))
                    && named(filter.pattern.as_deref(), login.name.as_str())
            }
            // What it is cannot be told; it is shown where nothing but its name is asked.
            Entry::Quarantined(entry) => {
                entry.id > i64::from(filter.after)
                    && filter.status.is_none()
                    && filter.capability.is_none()
                    && named(filter.pattern.as_deref(), &entry.name)
            }
        };
        Ok(all.into_iter().filter(wanted).take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn groups(&self, filter: &GroupFilter, limit: u32) -> Stored<Vec<Entry<Group>>> {
        let all = match &filter.member {
            Some(name) => {
                let login = read::login_named(&self.directory, name.as_str()).await?;
                let login = login.as_ref().map(|entry| entry.dn.as_str());
                let listing = read::listing(&self.directory, name.as_str(), login).await?;
                let mut gids: Vec<i64> = listing.iter().map(|entry| self.directory.map().gid(entry)).collect();
                gids.sort_unstable();
                gids.dedup();
                self.directory.groups_numbered(&gids).await?
            }
            None => self.all_groups().await?,
        };
        let wanted = |entry: &Entry<Group>| {
            let (id, name) = match entry {
                Entry::Valid(group) => (i64::from(group.gid.raw()), group.name.as_str()),
                Entry::Quarantined(entry) => (entry.id, entry.name.as_str()),
            };
            id > i64::from(filter.after) && named(filter.pattern.as_deref(), name)
        };
        Ok(all.into_iter().filter(wanted).take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn group_name(&self, gid: GroupId) -> Stored<Option<GroupName>> {
        let wanted = filter::equal(&self.directory.config().attributes.group_gid, gid.to_string().as_bytes());
        let found = read::groups(&self.directory, &wanted).await?;
        Ok(found.first().and_then(|entry| self.directory.map().group_name(entry).parse().ok()))
    }

    async fn group_facts(&self, gid: GroupId) -> Stored<(Option<String>, Vec<LoginName>)> {
        let names = &self.directory.config().attributes;
        let wanted = filter::equal(&names.group_gid, gid.to_string().as_bytes());
        let group = read::groups(&self.directory, &wanted).await?.into_iter().next();
        let rule = group.and_then(|entry| entry.text(&names.group_rule));
        let primary = read::primary_of(&self.directory, gid.raw().into()).await?;
        let mut primary: Vec<LoginName> =
            primary.iter().filter_map(|entry| self.directory.map().login_name(entry).parse().ok()).collect();
        primary.sort_unstable();
        primary.truncate(100);
        Ok((rule, primary))
    }

    async fn memberships(&self, which: Memberships<'_>, limit: u32) -> Stored<Vec<(Membership, u64)>> {
        let count = |logins: usize| u64::try_from(logins).unwrap_or(u64::MAX);
        let after = match which {
            Memberships::Named(name) => {
                let Some(found) = membership::named(&self.directory, name).await? else { return Ok(Vec::new()) };
                let logins = membership::logins_of(&self.directory, name).await?.len();
                return Ok(vec![(found, count(logins))]);
            }
            Memberships::After(after) => after,
        };
        let config = self.directory.config();
        let attribute = &config.attributes.membership;
        let mut logins: HashMap<String, usize> = HashMap::new();
        for base in config.login_bases() {
            let search = Search {
                base: base.clone(),
                scope: self.directory.scope(),
                filter: filter::and(&config.login_filter, &format!("({attribute}=*)")),
                attributes: vec![attribute.clone()],
                limit: 0,
                optional: false,
            };
            let each = |entry: crate::directory::ldap::RawEntry| {
                *logins.entry(entry.text(attribute).unwrap_or_default()).or_default() += 1;
            };
            self.directory.find_all(search, each).await?;
        }
        let all = membership::all(&self.directory).await?.into_iter();
        let behind = all.filter(|one| after.is_none_or(|after| one.name.as_str() > after.as_str()));
        let counted = behind.map(|one| {
            let logins = logins.get(one.name.as_str()).copied().unwrap_or(0);
            (one, count(logins))
        });
        Ok(counted.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn retired(&self, kind: Kind, name: Option<&str>) -> Stored<Vec<Retired>> {
        ids::retired(&self.directory, kind, None, name).await
    }

    async fn whole(&self, parts: Parts) -> Stored<Whole> {
        whole::whole(&self.directory, parts).await
    }

    async fn check(&self) -> Stored<Vec<String>> {
        check::check(&self.directory).await
    }

    async fn foreign_password(&self, name: &LoginName) -> Stored<Option<String>> {
        let Some(login) = read::login_named(&self.directory, name.as_str()).await? else { return Ok(None) };
        let entry = self.directory.entry(&login.dn, &[&self.directory.config().attributes.password]).await?;
        Ok(entry.and_then(|entry| match self.directory.map().password(&entry) {
            StoredPassword::Foreign(form) => Some(form),
            StoredPassword::Hash(_) | StoredPassword::Unseen => None,
        }))
    }

    fn goes_on(&self) -> bool {
        true
    }

    async fn close(&self) {}
}

impl LdapStore {
    async fn all_logins(&self) -> Stored<Vec<Entry<Login>>> {
        self.list().await?;
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(listed.logins.clone().unwrap_or_default())
    }

    async fn all_groups(&self) -> Stored<Vec<Entry<Group>>> {
        self.list().await?;
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(listed.groups.clone().unwrap_or_default())
    }

    /// Reads all of it, once: the pages of a listing are of one reading.
    async fn list(&self) -> Stored<()> {
        if self.listed.lock().unwrap_or_else(PoisonError::into_inner).logins.is_some() {
            return Ok(());
        }
        let (logins, groups) = self.directory.read_all(&[], &mut |_, _| ()).await?;
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.logins = Some(logins.into_iter().map(|stocked| stocked.entry).collect());
        listed.groups = Some(groups);
        Ok(())
    }
}

fn named(pattern: Option<&str>, name: &str) -> bool {
    pattern.is_none_or(|pattern| glob::matches(pattern, name))
}
