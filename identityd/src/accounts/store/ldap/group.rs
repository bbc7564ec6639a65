//! Groups and who is in them, by name or by DN.

use super::super::{Ref, Retired, Stored};
use super::work::LdapWork;
use super::{ENTRY_EXISTS, NO_SUCH_ATTRIBUTE, VALUE_EXISTS, fields, ids, read, refused, unless};
use crate::config::LdapMembers;
use crate::directory::ldap::client::LdapFailure;
use crate::directory::ldap::{RawEntry, dn, filter};
use crate::directory::{DirectoryError, Kind};

impl LdapWork {
    /// Adds a group; its DN. `mark`: it belongs to a login that is being added.
    pub(super) async fn put_group(&mut self, gid: i64, name: &str, mark: Option<&str>) -> Stored<String> {
        if schema::name::is_reserved(name) {
            return refused("this group name is reserved for the system");
        }
        let config = self.directory.config().clone();
        let entry = fields::below(&config.attributes.group_name, name, &config.new_groups());
        let id = (Kind::Group, gid);
        let mut added = self.add_with_id(&entry, fields::group(&config, gid, name, &[], mark), id, name).await;
        if matches!(added, Err(LdapFailure::Said { code: ENTRY_EXISTS, .. })) {
            let there = read::group_named(&self.directory, name).await?;
            if let Some(there) = there.filter(|there| dn::same(&there.dn, &entry))
                && read::left_over(&self.directory, &there).await?
            {
                self.remove(&there.dn).await?;
                added = self.add_with_id(&entry, fields::group(&config, gid, name, &[], mark), id, name).await;
            }
        }
        match added {
            Ok(()) => {}
            Err(LdapFailure::Said { code: ENTRY_EXISTS, .. }) => {
                return refused("a group of this name exists: names are unique");
            }
            Err(LdapFailure::Said { code: 19, text }) if text.contains("unique") => {
                return refused(format!(
                    "a group of this name or gid exists, or had it before: names and gids are unique ({text})"
                ));
            }
            Err(failure) => return Err(self.failed(&entry, &failure)),
        }
        self.changed = true;
        self.about = Some(entry.clone());
        let names = &config.attributes;
        let same = format!(
            "(|{}{})",
            filter::equal(&names.group_name, name.as_bytes()),
            filter::equal(&names.group_gid, gid.to_string().as_bytes())
        );
        match read::groups(&self.directory, &same).await?.into_iter().next() {
            Some(first) if !dn::same(&first.dn, &entry) => {
                let _ = self.writer.delete(&entry, true).await;
                refused(format!("a group of this name or gid exists: {} was there first", first.dn))
            }
            _ => Ok(entry),
        }
    }

    /// The group of this name that is more than the rest of an interruption.
    pub(super) async fn group_entry(&mut self, name: &str) -> Stored<Option<RawEntry>> {
        let Some(group) = read::group_named(&self.directory, name).await? else { return Ok(None) };
        Ok(if read::left_over(&self.directory, &group).await? { None } else { Some(group) })
    }

    /// Gives a group another name.
    pub(super) async fn call_group(&mut self, group: &RawEntry, name: &str) -> Stored<()> {
        if schema::name::is_reserved(name) {
            return refused("this group name is reserved for the system");
        }
        let attribute = self.directory.config().attributes.group_name.clone();
        let named_so = dn::first(&group.dn).is_some_and(|(first, _)| first.eq_ignore_ascii_case(&attribute));
        let done = if named_so {
            let rdn = format!("{attribute}={}", dn::escape(name));
            let new = fields::sibling(&group.dn, &rdn);
            self.about = Some(new.clone());
            self.writer.rename(&group.dn, &rdn, Some(&new)).await
        } else {
            self.writer.modify(&group.dn, vec![fields::replace(&attribute, Some(name))], true).await
        };
        match done {
            Ok(()) => {
                self.changed = true;
                Ok(())
            }
            Err(LdapFailure::Said { code: ENTRY_EXISTS | 19, .. }) => {
                refused("a group of this name exists: names are unique")
            }
            Err(failure) => Err(self.failed(&group.dn, &failure)),
        }
    }

    /// The gid is put down as used, other groups forget it, and it goes.
    pub(super) async fn drop_group(&mut self, group: &Ref) -> Stored<()> {
        let entry = self.group_at(group).await?;
        let retired = Retired { id: group.id, name: group.name.clone(), when: ids::now(), ..Retired::default() };
        self.retire(Kind::Group, &retired).await?;
        let attribute = self.directory.config().attributes.member_dn.clone();
        for outer in read::groups(&self.directory, &filter::equal(&attribute, entry.dn.as_bytes())).await? {
            let gone = self.writer.modify(&outer.dn, vec![fields::one_less(&attribute, &entry.dn)], true).await;
            unless(gone, &[NO_SUCH_ATTRIBUTE]).map_err(|failure| self.failed(&outer.dn, &failure))?;
        }
        self.remove(&entry.dn).await
    }

    pub(super) async fn group_at(&mut self, group: &Ref) -> Stored<RawEntry> {
        let found = read::group_named(&self.directory, &group.name).await?;
        let same = found.filter(|entry| self.directory.map().gid(entry) == group.id);
        same.ok_or(DirectoryError::Conflict)
    }

    /// Puts a login into a group, if it is in it neither by name nor by DN. In how many it is listed then.
    pub(super) async fn list_member(&mut self, group: &Ref, login: &Ref) -> Stored<usize> {
        let (entry, member) = (self.group_at(group).await?, self.at(login).await?);
        self.about = Some(entry.dn.clone());
        if read::listed_as(&self.directory, &entry, &login.name, Some(&member.dn)).is_empty() {
            let config = self.directory.config().clone();
            let value = match config.write.members {
                LdapMembers::Name => login.name.as_str(),
                LdapMembers::Dn => member.dn.as_str(),
            };
            let mods = vec![fields::one_more(fields::member_attribute(&config), value)];
            let mods = fields::with_classes(&config.write.group_classes, &entry, mods);
            let added = self.writer.modify(&entry.dn, mods, true).await;
            // Somebody else has done the same at this moment.
            if unless(added, &[VALUE_EXISTS]).map_err(|failure| self.failed(&entry.dn, &failure))? {
                self.changed = true;
            }
        }
        Ok(read::listing(&self.directory, &login.name, Some(&member.dn)).await?.len())
    }

    /// Takes a login out of a group, in whichever way it is listed.
    pub(super) async fn unlist_member(&mut self, group: &Ref, login: &Ref) -> Stored<bool> {
        let (entry, member) = (self.group_at(group).await?, self.at(login).await?);
        self.about = Some(entry.dn.clone());
        let listed = read::listed_as(&self.directory, &entry, &login.name, Some(&member.dn));
        for (attribute, value) in &listed {
            let gone = self.writer.modify(&entry.dn, vec![fields::one_less(attribute, value)], true).await;
            if unless(gone, &[NO_SUCH_ATTRIBUTE]).map_err(|failure| self.failed(&entry.dn, &failure))? {
                self.changed = true;
            }
        }
        Ok(!listed.is_empty())
    }
}
