//! Look-ups: one entry by name or id, its groups, its keys. What the feed knows is not asked for.

use std::collections::{BTreeSet, HashSet};

use schema::capability::{SFTP, SHELL};
use schema::id::UserId;
use schema::name::{GroupName, LoginName};
use schema::record::{Group, Login, SshKey};

use super::client::Search;
use super::entry::RawEntry;
use super::{LdapDirectory, dn, filter, node, part, stock};
use crate::directory::{DirectoryError, Entry, NamedLogin};

/// Comparisons in one filter.
const CHUNK: usize = 100;
/// Entries that are asked for one by one to learn who the members of a group are; more are taken by the names in their DNs.
const MOST_MEMBERS: usize = 200;
/// Rounds of questions for groups in groups, whatever the configuration says.
const MOST_ROUNDS: u32 = 64;

impl LdapDirectory {
    /// Whether any server answers.
    pub(super) async fn alive(&self) -> Result<(), DirectoryError> {
        let search = Search {
            base: String::new(),
            scope: ldap3::Scope::Base,
            filter: "(objectClass=*)".into(),
            attributes: vec!["1.1".into()],
            limit: 0,
            optional: true,
        };
        self.pool.search(&search).await.map(drop)
    }

    /// The login of this name, as it is and as it is served.
    pub(crate) async fn login_named(
        &self,
        name: &LoginName,
    ) -> Result<Option<(RawEntry, Entry<Login>)>, DirectoryError> {
        let found = self.logins(&filter::equal(&self.map.0.attributes.name, name.as_str().as_bytes())).await?;
        let mut found: Vec<RawEntry> = found.into_iter().filter(|entry| self.is_called(entry, name)).collect();
        found.sort_by_key(|entry| self.map.seniority(entry));
        let Some(entry) = found.into_iter().next() else { return Ok(None) };
        let judged = self.judge(&entry).await?;
        Ok(Some((entry, judged)))
    }

    /// The logins of these names with their groups.
    pub(super) async fn logins_called(&self, names: &[LoginName]) -> Result<Vec<NamedLogin>, DirectoryError> {
        let mut called = Vec::new();
        for chunk in names.chunks(CHUNK) {
            let attribute = &self.map.0.attributes.name;
            let any: String = chunk.iter().map(|name| filter::equal(attribute, name.as_str().as_bytes())).collect();
            let found = self.logins(&format!("(|{any})")).await?;
            for name in chunk {
                let own = found.iter().filter(|entry| self.is_called(entry, name));
                let Some(entry) = own.min_by_key(|entry| self.map.seniority(entry)) else { continue };
                let judged = self.judge(entry).await?;
                let gids = match &judged {
                    Entry::Valid(login) => stock::gids(login.gid, &self.groups_of(entry).await?),
                    Entry::Quarantined(_) => Vec::new(),
                };
                called.push(NamedLogin { name: name.clone(), entry: judged, gids });
            }
        }
        Ok(called)
    }

    /// LDAP compares without regard to capitals, and an entry may have more names than the one it is served under.
    fn is_called(&self, entry: &RawEntry, name: &LoginName) -> bool {
        self.map.login_name(entry).eq_ignore_ascii_case(name.as_str())
    }

    /// The login of this uid.
    pub(crate) async fn login_numbered(&self, uid: UserId) -> Result<Option<Entry<Login>>, DirectoryError> {
        Ok(self.logins_numbered(&[uid.raw().into()]).await?.into_iter().next())
    }

    /// The logins of these uids, in this order; of two with one uid the first to have had it is the one that counts, the other follows.
    pub(crate) async fn logins_numbered(&self, uids: &[i64]) -> Result<Vec<Entry<Login>>, DirectoryError> {
        let mut entries = Vec::new();
        for chunk in uids.chunks(CHUNK) {
            entries.extend(self.logins(&any(&self.map.0.attributes.uid, chunk)).await?);
        }
        entries.sort_by_key(|entry| (self.map.uid(entry), self.map.seniority(entry)));
        let mut judged = Vec::new();
        for entry in &entries {
            judged.push(self.judge(entry).await?);
        }
        Ok(judged)
    }

    async fn logins(&self, wanted: &str) -> Result<Vec<RawEntry>, DirectoryError> {
        self.entries(self.map.0.login_bases(), &self.map.0.login_filter, wanted, self.map.login_attributes()).await
    }

    async fn groups(&self, wanted: &str) -> Result<Vec<RawEntry>, DirectoryError> {
        self.entries(self.map.0.group_bases(), &self.map.0.group_filter, wanted, self.map.group_attributes()).await
    }

    /// What is in any of the bases, each entry once.
    pub(crate) async fn entries(
        &self,
        bases: &[String],
        all: &str,
        wanted: &str,
        attributes: Vec<String>,
    ) -> Result<Vec<RawEntry>, DirectoryError> {
        let mut entries: Vec<RawEntry> = Vec::new();
        let mut seen = HashSet::new();
        for base in bases {
            let search = Search {
                base: base.clone(),
                scope: part::scope_of(&self.map.0),
                filter: filter::and(all, wanted),
                attributes: attributes.clone(),
                limit: 0,
                optional: false,
            };
            entries
                .extend(self.pool.search(&search).await?.into_iter().filter(|entry| seen.insert(node::uuid_of(entry))));
        }
        Ok(entries)
    }

    /// A login as it is served: unless another one had its name or uid first.
    async fn judge(&self, entry: &RawEntry) -> Result<Entry<Login>, DirectoryError> {
        if let Some(reason) = self.login_conflict(entry).await? {
            return Ok(self.map.quarantined_login(entry, &reason));
        }
        let rules = self.map.0.group_rules();
        let groups: BTreeSet<String> = if rules.is_empty() {
            BTreeSet::new()
        } else {
            let groups = self.groups_of(entry).await?;
            groups
                .into_iter()
                .map(|(_, name)| String::from(name))
                .filter(|name| rules.contains_key(name.as_str()))
                .collect()
        };
        Ok(self.map.login(entry, &groups))
    }

    async fn login_conflict(&self, entry: &RawEntry) -> Result<Option<String>, DirectoryError> {
        let (name, uid, seniority) = (self.map.login_name(entry), self.map.uid(entry), self.map.seniority(entry));
        if self.feed.is_ready() {
            return Ok(self.feed.locked().model.login_conflict(&name, uid, &seniority));
        }
        let names = &self.map.0.attributes;
        let same = format!(
            "(|{}{})",
            filter::equal(&names.uid, uid.to_string().as_bytes()),
            filter::equal(&names.name, name.as_bytes())
        );
        let others = self.logins(&same).await?;
        let first = others.iter().filter(|other| self.map.seniority(other) < seniority).find_map(|other| {
            let (other_name, other_uid) = (self.map.login_name(other), self.map.uid(other));
            if other_uid == uid {
                Some(super::model::taken("uid", &other_name))
            } else {
                (other_name == name).then(|| format!("the name belongs to uid {other_uid}, which was there first"))
            }
        });
        Ok(first)
    }

    /// The groups of a login besides its primary one: gids and names.
    pub(crate) async fn groups_of(&self, entry: &RawEntry) -> Result<Vec<(i64, Box<str>)>, DirectoryError> {
        let name = self.map.login_name(entry);
        let capabilities = self.map.capabilities(entry, &BTreeSet::new()).unwrap_or_default();
        let files_only = capabilities.contains(SFTP) && !capabilities.contains(SHELL);
        if self.feed.is_ready() {
            return Ok(self.feed.locked().model.groups_of(&name, dn::key(&entry.dn), files_only));
        }
        let names = &self.map.0.attributes;
        let mut direct = vec![
            filter::equal(&names.member_name, name.as_bytes()),
            filter::equal(&names.member_dn, entry.dn.as_bytes()),
        ];
        if files_only {
            direct.push(filter::equal(&names.group_rule, b"sftp-only"));
        }
        let mut found = self.groups(&format!("(|{})", direct.concat())).await?;
        let mut seen: HashSet<dn::DnKey> = found.iter().map(|group| dn::key(&group.dn)).collect();
        let mut edge: Vec<String> = found.iter().map(|group| group.dn.clone()).collect();
        for _ in 0..self.map.0.nesting.min(MOST_ROUNDS) {
            let mut next = Vec::new();
            for chunk in edge.chunks(CHUNK) {
                let filters: String = chunk.iter().map(|dn| filter::equal(&names.member_dn, dn.as_bytes())).collect();
                let outer = self.groups(&format!("(|{filters})")).await?;
                next.extend(outer.into_iter().filter(|group| seen.insert(dn::key(&group.dn))));
            }
            if next.is_empty() {
                break;
            }
            edge = next.iter().map(|group| group.dn.clone()).collect();
            found.extend(next);
        }
        Ok(found.iter().map(|group| (self.map.gid(group), self.map.group_name(group).into())).collect())
    }

    /// The keys of a login that is served.
    pub(super) async fn keys_of(&self, name: &LoginName) -> Result<Vec<SshKey>, DirectoryError> {
        let Some((entry, Entry::Valid(_))) = self.login_named(name).await? else { return Ok(Vec::new()) };
        let search = Search {
            base: entry.dn,
            scope: ldap3::Scope::Base,
            filter: "(objectClass=*)".into(),
            attributes: vec![self.map.0.attributes.ssh_key.clone(), self.map.0.attributes.key_added.clone()],
            limit: 0,
            optional: true,
        };
        Ok(self.pool.search(&search).await?.first().map(|entry| self.map.keys(name, entry)).unwrap_or_default())
    }

    /// The group of this name.
    pub(crate) async fn group_named(&self, name: &GroupName) -> Result<Option<Entry<Group>>, DirectoryError> {
        let found = self.groups(&filter::equal(&self.map.0.attributes.group_name, name.as_str().as_bytes())).await?;
        let called = |entry: &&RawEntry| self.map.group_name(entry).eq_ignore_ascii_case(name.as_str());
        let first = found.iter().filter(called).min_by_key(|entry| self.map.seniority(entry));
        match first {
            Some(entry) => self.judge_group(entry).await.map(Some),
            None => Ok(None),
        }
    }

    /// The group of this gid.
    pub(crate) async fn group_numbered(
        &self,
        gid: schema::id::GroupId,
    ) -> Result<Option<Entry<Group>>, DirectoryError> {
        Ok(self.groups_numbered(&[gid.raw().into()]).await?.into_iter().next())
    }

    /// The groups of these gids, in this order.
    pub(crate) async fn groups_numbered(&self, gids: &[i64]) -> Result<Vec<Entry<Group>>, DirectoryError> {
        let mut entries = Vec::new();
        for chunk in gids.chunks(CHUNK) {
            entries.extend(self.groups(&any(&self.map.0.attributes.group_gid, chunk)).await?);
        }
        entries.sort_by_key(|entry| (self.map.gid(entry), self.map.seniority(entry)));
        let mut judged = Vec::new();
        for entry in &entries {
            judged.push(self.judge_group(entry).await?);
        }
        Ok(judged)
    }

    async fn judge_group(&self, entry: &RawEntry) -> Result<Entry<Group>, DirectoryError> {
        let (name, gid, seniority) = (self.map.group_name(entry), self.map.gid(entry), self.map.seniority(entry));
        let reason = if self.feed.is_ready() {
            self.feed.locked().model.group_conflict(&name, gid, &seniority)
        } else {
            let names = &self.map.0.attributes;
            let same = format!(
                "(|{}{})",
                filter::equal(&names.group_gid, gid.to_string().as_bytes()),
                filter::equal(&names.group_name, name.as_bytes())
            );
            let others = self.groups(&same).await?;
            others.iter().filter(|other| self.map.seniority(other) < seniority).find_map(|other| {
                if self.map.gid(other) == gid {
                    Some(super::model::taken("gid", &self.map.group_name(other)))
                } else {
                    (self.map.group_name(other) == name)
                        .then(|| format!("the name belongs to gid {}, which was there first", self.map.gid(other)))
                }
            })
        };
        match reason {
            Some(reason) => Ok(self.map.quarantined_group(entry, &reason)),
            None => Ok(self.map.group(entry, self.members_of(entry).await?)),
        }
    }

    /// Everybody in a group, those in its groups included.
    async fn members_of(&self, entry: &RawEntry) -> Result<Vec<LoginName>, DirectoryError> {
        let mut all: BTreeSet<String> = self.listed_names(entry).collect();
        let by_rule = self.map.rule(entry) == Ok(true);
        if self.feed.is_ready() {
            let keys: Vec<dn::DnKey> = self.listed_dns(entry).map(|name| dn::key(&name)).collect();
            let state = self.feed.locked();
            all.extend(state.model.members_at(&keys).into_iter().map(String::from));
            if by_rule {
                all.extend(state.model.files_only().map(str::to_owned));
            }
            return Ok(stock::names(all.iter().map(String::as_str)));
        }
        if by_rule {
            let names = &self.map.0.attributes;
            let wanted = format!(
                "(&{}(!{}))",
                filter::equal(&names.capability, SFTP.as_bytes()),
                filter::equal(&names.capability, SHELL.as_bytes())
            );
            all.extend(self.logins(&wanted).await?.iter().map(|login| self.map.login_name(login)));
        }
        self.members_asked(entry, &mut all).await?;
        Ok(stock::names(all.iter().map(String::as_str)))
    }

    /// Members by DN, without the feed: those whose name is in their DN are taken at their word, as nslcd(8) does; the others are looked at.
    async fn members_asked(&self, entry: &RawEntry, all: &mut BTreeSet<String>) -> Result<(), DirectoryError> {
        let mut seen: HashSet<dn::DnKey> = [dn::key(&entry.dn)].into();
        let mut edge: Vec<String> = self.listed_dns(entry).collect();
        let mut asked = 0;
        for level in 0..=self.map.0.nesting.min(MOST_ROUNDS) {
            let mut next = Vec::new();
            for name in std::mem::take(&mut edge) {
                if !seen.insert(dn::key(&name)) {
                    continue;
                }
                let own = dn::first(&name)
                    .filter(|(attribute, _)| attribute.eq_ignore_ascii_case(&self.map.0.attributes.name));
                if let Some((_, own)) = own {
                    all.insert(self.map.fold(&own));
                    continue;
                }
                asked += 1;
                if asked > MOST_MEMBERS {
                    tracing::warn!(
                        group = entry.dn,
                        "has too many members whose names are not in their DNs; some are left out"
                    );
                    return Ok(());
                }
                let Some(member) = self.entry_at(&name).await? else { continue };
                match node::of(&self.map, &member, node::uuid_of(&member)) {
                    Some(node::Node::Login(login)) => drop(all.insert(login.name.to_string())),
                    Some(node::Node::Group(_)) if level < self.map.0.nesting => {
                        all.extend(self.listed_names(&member));
                        next.extend(self.listed_dns(&member));
                    }
                    _ => {}
                }
            }
            if next.is_empty() {
                break;
            }
            edge = next;
        }
        Ok(())
    }

    /// The entry of this name, if it is a login or a group of ours.
    async fn entry_at(&self, name: &str) -> Result<Option<RawEntry>, DirectoryError> {
        let ours = self.map.0.login_bases().iter().chain(self.map.0.group_bases()).any(|base| dn::is_below(name, base));
        if !ours {
            return Ok(None);
        }
        let mut attributes = self.map.login_attributes();
        attributes.extend(self.map.group_attributes());
        let (logins, groups) = (filter::wrapped(&self.map.0.login_filter), filter::wrapped(&self.map.0.group_filter));
        let search = Search {
            base: name.into(),
            scope: ldap3::Scope::Base,
            filter: format!("(|{logins}{groups})"),
            attributes,
            limit: 0,
            optional: true,
        };
        Ok(self.pool.search(&search).await?.into_iter().next())
    }

    fn listed_names(&self, entry: &RawEntry) -> impl Iterator<Item = String> {
        entry.all(&self.map.0.attributes.member_name).iter().map(|name| self.map.fold(&String::from_utf8_lossy(name)))
    }

    fn listed_dns(&self, entry: &RawEntry) -> impl Iterator<Item = String> {
        entry.all(&self.map.0.attributes.member_dn).iter().map(|name| String::from_utf8_lossy(name).into_owned())
    }
}

/// Any of these numbers.
fn any(attribute: &str, numbers: &[i64]) -> String {
    let all: String = numbers.iter().map(|number| filter::equal(attribute, number.to_string().as_bytes())).collect();
    format!("(|{all})")
}
