//! Many new entries: of an import, and of a whole directory. Groups come with their members and before them: so who was interrupted goes on where it was, and a login that is there is in all its groups.

use std::collections::{BTreeMap, HashMap, HashSet};

use ldap3::Mod;
use schema::name::LoginName;
use schema::record::SshKey;

use super::super::{Bulk, Stored, Whole};
use super::work::{LdapWork, number};
use super::{ENTRY_EXISTS, fields, ids, read, refused, unless};
use crate::directory::ldap::admin::Attributes;
use crate::directory::ldap::client::LdapFailure;
use crate::directory::ldap::filter;
use crate::directory::{DirectoryError, Entry, Kind};

/// Values in one change of a group.
const BATCH: usize = 1000;

impl LdapWork {
    pub(super) async fn put_all(&mut self, bulk: Bulk<'_>, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        let config = self.directory.config().clone();
        let used = self.used_ids().await?;
        let mut done = 0;
        let mut step = || {
            done += 1;
            progress(done);
        };
        for membership in bulk.memberships {
            self.new_membership(membership).await?;
            step();
        }
        let mut members: HashMap<i64, Vec<&LoginName>> = HashMap::new();
        for (gid, member) in bulk.members {
            members.entry(number(*gid)).or_default().push(member);
        }
        for group in bulk.groups {
            let (gid, name) = (number(group.gid), group.name.as_str());
            reserved(name)?;
            let listed: Vec<String> = members
                .remove(&gid)
                .unwrap_or_default()
                .into_iter()
                .map(|member| fields::member_value(&config, member))
                .collect();
            let dn = fields::below(&config.attributes.group_name, name, &config.new_groups());
            self.put_new(&dn, fields::group(&config, gid, name, &listed, None), (Kind::Group, gid), name).await?;
            if used.contains(&(Kind::Group, gid)) {
                self.unretire(Kind::Group, gid).await?;
            }
            step();
        }
        for (gid, listed) in members {
            self.list_members(gid, &listed).await?;
        }
        for planned in bulk.logins {
            let name = planned.login.name.as_str();
            reserved(name)?;
            let dn = fields::below(&config.attributes.name, name, &config.new_logins());
            let entry = fields::login(&config, &planned.login, &planned.password, &[]);
            let uid = i64::from(planned.login.uid.raw());
            self.put_new(&dn, entry, (Kind::Login, uid), name).await?;
            if used.contains(&(Kind::Login, uid)) {
                self.unretire(Kind::Login, uid).await?;
            }
            step();
        }
        Ok(())
    }

    /// Puts more members into a group that is there.
    async fn list_members(&mut self, gid: i64, members: &[&LoginName]) -> Stored<()> {
        let config = self.directory.config().clone();
        let wanted = filter::equal(&config.attributes.group_gid, gid.to_string().as_bytes());
        let group = read::groups(&self.directory, &wanted).await?.into_iter().next();
        let group = group.ok_or(DirectoryError::Conflict)?;
        let attribute = fields::member_attribute(&config).to_owned();
        let there: HashSet<&[u8]> = group.all(&attribute).iter().map(Vec::as_slice).collect();
        let mut values = Vec::new();
        for member in members {
            // One that is there may have its entry elsewhere.
            let known = read::login_named(&self.directory, member.as_str()).await?.map(|entry| entry.dn);
            let value = match (config.write.members, known) {
                (crate::config::LdapMembers::Dn, Some(dn)) => dn,
                _ => fields::member_value(&config, member),
            };
            if !there.contains(value.as_bytes()) {
                values.push(value.into_bytes());
            }
        }
        for batch in values.chunks(BATCH) {
            let mods = vec![Mod::Add(attribute.clone().into_bytes(), batch.iter().cloned().collect())];
            let mods = fields::with_classes(&config.write.group_classes, &group, mods);
            self.writer.modify(&group.dn, mods, true).await.map_err(|failure| self.failed(&group.dn, &failure))?;
            self.changed = true;
        }
        Ok(())
    }

    async fn put_new(&mut self, dn: &str, entry: Attributes, id: (Kind, i64), name: &str) -> Stored<()> {
        match self.add_with_id(dn, entry, id, name).await {
            Ok(()) => {
                self.changed = true;
                Ok(())
            }
            Err(LdapFailure::Said { code: ENTRY_EXISTS, .. }) => {
                let what = fields::kind_text(id.0);
                refused(format!("a {what} {name} exists: names are unique; somebody else has added it meanwhile"))
            }
            Err(failure) => Err(self.failed(dn, &failure)),
        }
    }

    async fn used_ids(&mut self) -> Stored<HashSet<(Kind, i64)>> {
        let mut used = HashSet::new();
        for kind in [Kind::Login, Kind::Group] {
            let retired = ids::retired(&self.directory, kind, None, None).await?;
            used.extend(retired.iter().map(|one| (kind, one.id)));
        }
        Ok(used)
    }

    /// Everything of another directory. What an interrupted copy has brought already stays: the caller has found it the same.
    pub(super) async fn take_all(&mut self, whole: &Whole, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()> {
        let config = self.directory.config().clone();
        fits(whole)?;
        self.take_derived_groups(whole).await?;
        self.begin_ids_at(whole.next_id).await?;
        let mut done = 0;
        let mut step = |steps: usize| {
            done += u64::try_from(steps).unwrap_or(u64::MAX);
            progress(done);
        };
        for membership in &whole.memberships {
            let dn = fields::below("cn", membership.name.as_str(), &config.memberships());
            self.put(&dn, fields::membership(membership), false).await?;
            step(1);
        }
        for (kind, one) in &whole.retired {
            let dn = fields::retired_dn(&config, *kind, one.id);
            self.put(&dn, fields::retired(*kind, one), false).await?;
            step(1);
        }
        for stored in whole.groups.iter().filter(|group| group.rule.is_none()) {
            let Entry::Valid(group) = &stored.entry else { continue };
            let members: Vec<String> =
                group.members.iter().map(|member| fields::member_value(&config, member)).collect();
            let name = group.name.as_str();
            let dn = fields::below(&config.attributes.group_name, name, &config.new_groups());
            self.put(&dn, fields::group(&config, number(group.gid), name, &members, None), true).await?;
            step(1);
        }
        let mut keys: BTreeMap<i64, Vec<SshKey>> = BTreeMap::new();
        for (uid, key) in &whole.keys {
            keys.entry(*uid).or_default().push(key.clone());
        }
        for stored in &whole.logins {
            let Entry::Valid(login) = &stored.entry else { continue };
            let keys = keys.remove(&stored.at.id).unwrap_or_default();
            let dn = fields::below(&config.attributes.name, login.name.as_str(), &config.new_logins());
            self.put(&dn, fields::login(&config, login, &stored.password, &keys), true).await?;
            step(1 + keys.len());
        }
        Ok(())
    }

    async fn put(&mut self, dn: &str, entry: Attributes, followed: bool) -> Stored<()> {
        let added = self.writer.add(dn, entry, followed).await;
        let new = unless(added, &[ENTRY_EXISTS]).map_err(|failure| self.failed(dn, &failure))?;
        self.changed |= new && followed;
        Ok(())
    }

    /// sshd matches such a group by its name, and files carry its gid: a new directory takes them as they are in the other one.
    async fn take_derived_groups(&mut self, whole: &Whole) -> Stored<()> {
        let config = self.directory.config().clone();
        let names = &config.attributes;
        let here = read::groups(&self.directory, &format!("({}=*)", names.group_rule)).await?;
        for stored in &whole.groups {
            let Some(rule) = &stored.rule else { continue };
            let (name, gid) = (stored.at.name.as_str(), stored.at.id);
            let there = here.iter().find(|entry| self.directory.map().group_name(entry) == name);
            match there {
                Some(entry) if entry.text(&names.group_rule).as_deref() != Some(rule) => {
                    return refused(format!("the group {name} of the new directory has another rule than {rule}"));
                }
                Some(entry) if self.directory.map().gid(entry) == gid => {}
                Some(entry) => {
                    let mods = vec![fields::replace(&names.group_gid, Some(gid.to_string()))];
                    let changed = self.writer.modify(&entry.dn, mods, true).await;
                    changed.map_err(|failure| self.failed(&entry.dn, &failure))?;
                    self.changed = true;
                }
                None => {
                    let dn = fields::below(&names.group_name, name, &config.new_groups());
                    let mut entry = fields::group(&config, gid, name, &[], None);
                    entry.push((names.group_rule.clone().into_bytes(), HashSet::from([rule.clone().into_bytes()])));
                    self.put(&dn, entry, true).await?;
                }
            }
        }
        let known = |entry: &&crate::directory::ldap::RawEntry| {
            let name = self.directory.map().group_name(entry);
            whole.groups.iter().any(|group| group.rule.is_some() && group.at.name == name)
        };
        match here.iter().find(|entry| !known(entry)) {
            None => Ok(()),
            Some(entry) => {
                refused(format!("the new directory has a group with a rule that the other has not: {}", entry.dn))
            }
        }
    }
}

fn reserved(name: &str) -> Stored<()> {
    if schema::name::is_reserved(name) {
        return refused(format!("the name {name} is reserved for the system"));
    }
    Ok(())
}

/// RFC 2307 has ASCII in homes and shells. Said before anything is written.
fn fits(whole: &Whole) -> Stored<()> {
    for stored in &whole.logins {
        let Entry::Valid(login) = &stored.entry else { continue };
        if !login.home.as_str().is_ascii() || !login.shell.as_str().is_ascii() {
            return refused(format!(
                "home or shell of {} has other characters than ASCII, which LDAP cannot hold (RFC 2307); change them first",
                login.name
            ));
        }
    }
    Ok(())
}
