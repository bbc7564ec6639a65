//! Logins: several entries belong together (the login, its own group, the groups that list it), and only one changes at a time. The order is what holds them together.

use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::record::{Login, Status};

use super::super::{Ref, Retired, Stored};
use super::work::LdapWork;
use super::{ENTRY_EXISTS, NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT, fields, ids, read, refused, unless};
use crate::directory::ldap::client::LdapFailure;
use crate::directory::ldap::{RawEntry, dn, filter};
use crate::directory::{DirectoryError, Kind};

/// draft-behera-ldap-password-policy §5.3.3: until an administrator unlocks it.
const FOR_EVER: &[u8] = b"000001010000Z";

impl LdapWork {
    /// Its own group first, marked as of a login that is being added; then the login, whole, in one write; then the mark goes. Interrupted in between, a group without anybody is left, which the
    /// same command takes over.
    pub(super) async fn new_login(&mut self, login: &Login, password: &PasswordHash) -> Stored<()> {
        let name = login.name.as_str();
        if schema::name::is_reserved(name) {
            return refused("this login name is reserved for the system");
        }
        let own = match self.pending.take() {
            Some((gid, group)) if gid == i64::from(login.gid.raw()) => Some((gid, group)),
            Some((gid, group)) => {
                self.put_group(gid, &group, None).await?;
                None
            }
            None => None,
        };
        let mark = format!("{}{name}", read::MARK);
        let group = match &own {
            Some((gid, group)) => Some(self.put_group(*gid, group, Some(&mark)).await?),
            None => None,
        };
        let added = self.put_login(login, password).await;
        if let (Err(_), Some(group)) = (&added, &group) {
            // Best effort: what stays is marked.
            let _ = self.writer.delete(group, true).await;
        }
        added?;
        self.changed = true;
        if let Some(group) = &group {
            let unmarked = self.writer.modify(group, vec![fields::one_less("description", &mark)], true).await;
            unless(unmarked, &[NO_SUCH_ATTRIBUTE]).map_err(|failure| self.failed(group, &failure))?;
        }
        self.unretire(Kind::Login, login.uid.raw().into()).await?;
        match own {
            Some((gid, _)) => self.unretire(Kind::Group, gid).await,
            None => Ok(()),
        }
    }

    async fn put_login(&mut self, login: &Login, password: &PasswordHash) -> Stored<()> {
        let config = self.directory.config().clone();
        let name = login.name.as_str();
        let entry = fields::below(&config.attributes.name, name, &config.new_logins());
        // A group may list a name that somebody had who was removed by other tools: that is not for who comes now.
        self.unlist(name, Some(&entry), None).await?;
        let id = (Kind::Login, login.uid.raw().into());
        match self.add_with_id(&entry, fields::login(&config, login, password, &[]), id, name).await {
            Ok(()) => {}
            Err(LdapFailure::Said { code: ENTRY_EXISTS, .. }) => {
                return refused("a login of this name exists: names are unique");
            }
            Err(LdapFailure::Said { code: 19, text }) if text.contains("unique") => {
                return refused(format!(
                    "a login of this name or uid exists, or had it before: names and uids are unique ({text})"
                ));
            }
            Err(failure) => return Err(self.failed(&entry, &failure)),
        }
        self.about = Some(entry.clone());
        // Two at once may both have found the name and the id free. Whose entry is the older one keeps them, as identityd decides too.
        let names = &config.attributes;
        let same = format!(
            "(|{}{})",
            filter::equal(&names.name, name.as_bytes()),
            filter::equal(&names.uid, login.uid.to_string().as_bytes())
        );
        let first = read::logins(&self.directory, &same).await?.into_iter().next();
        match first {
            Some(first) if !dn::same(&first.dn, &entry) => {
                let _ = self.writer.delete(&entry, true).await;
                refused(format!("a login of this name or uid exists: {} was there first", first.dn))
            }
            _ => Ok(()),
        }
    }

    /// All that is in the login's own entry is one write. A new name comes last: until then who was interrupted finds the login under the old one.
    pub(super) async fn rewrite_login(&mut self, old: &Login, new: &Login) -> Stored<()> {
        let Some(entry) = read::login_named(&self.directory, old.name.as_str()).await? else {
            return Err(DirectoryError::Conflict);
        };
        let config = self.directory.config().clone();
        let mut mods = fields::changes(&config, &entry, old, new).map_err(DirectoryError::Refused)?;
        let renamed = old.name != new.name;
        if renamed && schema::name::is_reserved(new.name.as_str()) {
            return refused("this login name is reserved for the system");
        }
        let full_name = old.gecos != new.gecos || !new.gecos.as_str().is_empty();
        if renamed && !full_name && entry.text("cn").as_deref() == Some(old.name.as_str()) {
            mods.push(fields::replace("cn", Some(new.name.as_str())));
        }
        let mods = fields::with_classes(&config.write.login_classes, &entry, mods);
        if !mods.is_empty() {
            match self.writer.modify(&entry.dn, mods, true).await {
                Ok(()) => self.changed = true,
                // Somebody else has taken or given a capability meanwhile.
                Err(LdapFailure::Said { code: 16 | 20, .. }) => return Err(DirectoryError::Conflict),
                Err(failure) => return Err(self.failed(&entry.dn, &failure)),
            }
        }
        if renamed { self.rename_login(&entry, old, new).await } else { Ok(()) }
    }

    async fn rename_login(&mut self, entry: &RawEntry, old: &Login, new: &Login) -> Stored<()> {
        let (before, after) = (old.name.as_str(), new.name.as_str());
        let config = self.directory.config().clone();
        let names = &config.attributes;
        let by_name = read::listing(&self.directory, before, None).await?;
        self.relist(&by_name, &names.member_name, before, after).await?;
        let group = self.own_group(before, new.gid).await?;
        let group = match group {
            Some(group) if read::group_named(&self.directory, after).await?.is_none() => Some(group),
            _ => None,
        };
        if let Some(group) = &group {
            self.call_group(group, after).await?;
        }
        let named_so = dn::first(&entry.dn).is_some_and(|(attribute, _)| attribute.eq_ignore_ascii_case(&names.name));
        let rdn = format!("{}={}", names.name, dn::escape(after));
        let new_dn = if named_so { fields::sibling(&entry.dn, &rdn) } else { entry.dn.clone() };
        let renamed = if named_so {
            self.writer.rename(&entry.dn, &rdn, Some(&new_dn)).await
        } else {
            self.writer.modify(&entry.dn, vec![fields::replace(&names.name, Some(after))], true).await
        };
        if let Err(failure) = renamed {
            // Somebody has taken the name at this moment: back to the old one.
            self.relist(&by_name, &names.member_name, after, before).await?;
            if let Some(group) = read::group_named(&self.directory, after).await?.filter(|_| group.is_some()) {
                self.call_group(&group, before).await?;
            }
            return match failure {
                LdapFailure::Said { code: ENTRY_EXISTS | 19, .. } => {
                    refused("a login of this name exists: names are unique")
                }
                failure => Err(self.failed(&entry.dn, &failure)),
            };
        }
        self.changed = true;
        self.about = Some(new_dn.clone());
        // slapd's overlay refint has done this already.
        let by_dn = read::groups(&self.directory, &filter::equal(&names.member_dn, entry.dn.as_bytes())).await?;
        if new_dn == entry.dn { Ok(()) } else { self.relist(&by_dn, &names.member_dn, &entry.dn, &new_dn).await }
    }

    /// In each of these groups one value takes the place of another, in one write.
    async fn relist(&mut self, groups: &[RawEntry], attribute: &str, old: &str, new: &str) -> Stored<()> {
        for group in groups {
            for mods in [
                vec![fields::one_less(attribute, old), fields::one_more(attribute, new)],
                vec![fields::one_less(attribute, old)],
            ] {
                // The new one is there already, or the old one no longer: an earlier try came so far.
                let done = self.writer.modify(&group.dn, mods, true).await;
                let done = unless(done, &[super::VALUE_EXISTS, NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT]);
                if done.map_err(|failure| self.failed(&group.dn, &failure))? {
                    self.changed = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The group of a login's name that is its primary one and has no rule.
    async fn own_group(&mut self, name: &str, gid: GroupId) -> Stored<Option<RawEntry>> {
        let group = read::group_named(&self.directory, name).await?;
        let map = self.directory.map();
        Ok(group.filter(|group| map.gid(group) == i64::from(gid.raw()) && map.rule(group) == Ok(false)))
    }

    pub(super) async fn put_status(&mut self, login: &Ref, status: Status) -> Stored<()> {
        let entry = self.at(login).await?;
        let config = self.directory.config().clone();
        let attribute = &config.attributes.status;
        let mut mods = Vec::new();
        let stored = entry.text(attribute);
        if stored.as_deref().unwrap_or("active") != fields::status_text(status) {
            mods.push(fields::replace(attribute, Some(fields::status_text(status))));
        }
        if status == Status::Active && entry.first("pwdAccountLockedTime") == Some(FOR_EVER) {
            mods.push(fields::replace("pwdAccountLockedTime", None::<Vec<u8>>));
        }
        let by_rule = config.locked.iter().find(|rule| {
            let values = entry.all(&rule.attribute);
            rule.value.as_deref().filter(|value| *value != "*").map_or(!values.is_empty(), |wanted| {
                values.iter().any(|value| value.eq_ignore_ascii_case(wanted.as_bytes()))
            })
        });
        if let (Status::Active, Some(rule)) = (status, by_rule) {
            return refused(format!(
                "{} is locked by its attribute {} ([[directory.locked]] in the configuration): change that",
                login.name, rule.attribute
            ));
        }
        self.change(&entry, mods).await
    }

    pub(super) async fn put_password(
        &mut self,
        login: &Ref,
        hash: &PasswordHash,
        changed: schema::date::Date,
    ) -> Stored<()> {
        let entry = self.at(login).await?;
        let config = self.directory.config().clone();
        let names = &config.attributes;
        let mods = vec![
            fields::replace(&names.password, crate::directory::ldap::admin::crypt_value(hash)),
            fields::replace(&names.last_change, Some(changed.days().to_string())),
        ];
        self.change(&entry, mods).await?;
        // The administrator says whether another one is asked for, not a policy with pwdMustChange. With a policy the zero alone is not enough: its owner may delete it.
        let Some(policy) = self.directory.entry(&entry.dn, &["pwdReset", "pwdChangedTime"]).await? else {
            return Ok(());
        };
        let asks = policy.first("pwdReset") == Some(b"TRUE");
        let should = changed.days() == 0 && policy.first("pwdChangedTime").is_some();
        match (asks, should) {
            (true, false) if changed.days() != 0 => {
                self.change(&entry, vec![fields::replace("pwdReset", None::<Vec<u8>>)]).await
            }
            (false, true) => self.change(&entry, vec![fields::replace("pwdReset", Some("TRUE"))]).await,
            _ => Ok(()),
        }
    }

    /// The ids are put down as used; then nothing lists it; then its own group goes, and it itself at last: who was interrupted finds it still there.
    pub(super) async fn drop_login(&mut self, login: &Ref) -> Stored<()> {
        let entry = self.at(login).await?;
        let config = self.directory.config().clone();
        let names = &config.attributes;
        let text = |attribute: &str| entry.text(attribute).unwrap_or_default();
        let gid = text(&names.gid).trim().parse::<i64>().ok();
        let served = self.directory.map().login(&entry, &std::collections::BTreeSet::new());
        let mut retired = Retired {
            id: login.id,
            name: login.name.clone(),
            when: ids::now(),
            gid,
            gecos: text(&names.gecos),
            home: text(&names.home),
            shell: text(&names.shell),
        };
        if let crate::directory::Entry::Valid(served) = served {
            retired.gid = Some(served.gid.raw().into());
            retired.gecos = served.gecos.to_string();
            retired.home = served.home.to_string();
            retired.shell = served.shell.to_string();
        }
        // An entry without an id that is one has none to keep from others.
        if login.id >= 0 {
            self.retire(Kind::Login, &retired).await?;
        }
        let own = self.alone_in(&entry, login, retired.gid).await?;
        if let Some(group) = &own {
            let gid = self.directory.map().gid(group);
            let group = Retired { id: gid, name: login.name.clone(), when: ids::now(), ..Retired::default() };
            self.retire(Kind::Group, &group).await?;
        }
        self.unlist(&login.name, Some(&entry.dn), own.as_ref()).await?;
        if let Some(group) = &own {
            self.remove(&group.dn).await?;
        }
        self.remove(&entry.dn).await
    }

    /// The group of its name that is its primary one, if nobody else is in it.
    async fn alone_in(&mut self, entry: &RawEntry, login: &Ref, gid: Option<i64>) -> Stored<Option<RawEntry>> {
        let Some(gid) = gid.and_then(|gid| u32::try_from(gid).ok()).and_then(|gid| GroupId::try_from(gid).ok()) else {
            return Ok(None);
        };
        let Some(group) = self.own_group(&login.name, gid).await? else { return Ok(None) };
        let names = &self.directory.config().attributes;
        let listed = group.all(&names.member_name).len() + group.all(&names.member_dn).len();
        let itself = read::listed_as(&self.directory, &group, &login.name, Some(&entry.dn)).len();
        let primary = read::primary_of(&self.directory, gid.raw().into()).await?;
        let others = primary.iter().any(|other| !dn::same(&other.dn, &entry.dn));
        Ok((listed == itself && !others).then_some(group))
    }

    /// Takes a name out of all groups but one.
    async fn unlist(&mut self, name: &str, login: Option<&str>, but: Option<&RawEntry>) -> Stored<()> {
        for group in read::listing(&self.directory, name, login).await? {
            if but.is_some_and(|but| dn::same(&but.dn, &group.dn)) {
                continue;
            }
            for (attribute, value) in read::listed_as(&self.directory, &group, name, login) {
                let gone = self.writer.modify(&group.dn, vec![fields::one_less(&attribute, &value)], true).await;
                unless(gone, &[NO_SUCH_ATTRIBUTE]).map_err(|failure| self.failed(&group.dn, &failure))?;
                self.changed = true;
            }
        }
        Ok(())
    }

    /// The entry of a login that was looked for before.
    pub(super) async fn at(&mut self, login: &Ref) -> Stored<RawEntry> {
        let found = read::login_named(&self.directory, &login.name).await?;
        let same = found.filter(|entry| self.directory.map().uid(entry) == login.id);
        same.ok_or(DirectoryError::Conflict)
    }

    /// Writes these differences of a login's entry, if there are any.
    pub(super) async fn change(&mut self, entry: &RawEntry, mods: Vec<ldap3::Mod<Vec<u8>>>) -> Stored<()> {
        let mods = fields::with_classes(&self.directory.config().write.login_classes, entry, mods);
        if mods.is_empty() {
            return Ok(());
        }
        self.writer.modify(&entry.dn, mods, true).await.map_err(|failure| self.failed(&entry.dn, &failure))?;
        self.changed = true;
        Ok(())
    }

    /// Removes an entry that is followed.
    pub(super) async fn remove(&mut self, dn: &str) -> Stored<()> {
        let gone = self.writer.delete(dn, true).await;
        unless(gone, &[NO_SUCH_OBJECT]).map_err(|failure| self.failed(dn, &failure))?;
        self.changed = true;
        Ok(())
    }
}
