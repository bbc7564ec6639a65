//! What the feed remembers of the directory: names, ids, and who is in which group. So that it can say what a change concerns.
//!
//! Some 200 bytes a login and 300 a group with a few members: 100,000 of each stay below 60 MB. Everything else of an entry is asked for when it is needed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use super::dn::DnKey;
use super::map::Seniority;
use crate::directory::Kind;

/// The server's name for an entry, for its life (`entryUUID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Uuid(pub(super) [u8; 16]);

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginNode {
    pub(super) name: Box<str>,
    pub(super) uid: i64,
    pub(super) dn: DnKey,
    pub(super) seniority: Seniority,
    /// `sftp` and not `shell`.
    pub(super) files_only: bool,
    /// Tells one state of the entry from another.
    pub(super) stamp: u64,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupNode {
    pub(super) name: Box<str>,
    pub(super) gid: i64,
    pub(super) dn: DnKey,
    pub(super) seniority: Seniority,
    /// Its members are the logins that are `files_only`.
    pub(super) rule: bool,
    /// memberUid
    pub(super) names: Vec<Box<str>>,
    /// member
    pub(super) dns: Vec<DnKey>,
    /// Tells one state of the entry from another.
    pub(super) stamp: u64,
}

/// What a change concerns.
pub(super) type Touched = BTreeSet<(TouchedKind, Box<str>, u32)>;

/// Logins before groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TouchedKind {
    Login,
    Group,
}

impl From<TouchedKind> for Kind {
    fn from(kind: TouchedKind) -> Self {
        match kind {
            TouchedKind::Login => Self::Login,
            TouchedKind::Group => Self::Group,
        }
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    nesting: u32,
    logins: HashMap<Uuid, LoginNode>,
    groups: HashMap<Uuid, GroupNode>,
    login_names: Index<Box<str>>,
    uids: Index<i64>,
    login_dns: Index<DnKey>,
    group_names: Index<Box<str>>,
    gids: Index<i64>,
    group_dns: Index<DnKey>,
    listed_names: Index<Box<str>>,
    listed_dns: Index<DnKey>,
    rules: HashSet<Uuid>,
    files_only: HashSet<Uuid>,
}

#[derive(Debug)]
struct Index<K>(HashMap<K, Vec<Uuid>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Index<K> {
    fn add(&mut self, key: K, uuid: Uuid) {
        self.0.entry(key).or_default().push(uuid);
    }

    fn take<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, uuid: Uuid)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(all) = self.0.get_mut(key) {
            all.retain(|other| *other != uuid);
            if all.is_empty() {
                self.0.remove(key);
            }
        }
    }

    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> &[Uuid]
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

impl Model {
    pub(super) fn new(nesting: u32) -> Self {
        Self { nesting, ..Self::default() }
    }

    /// Takes an entry in without finding out what it concerns.
    pub(super) fn put_quietly(&mut self, uuid: Uuid, node: super::feed::Node) {
        match node {
            super::feed::Node::Login(login) => {
                self.drop_login(uuid);
                self.insert_login(uuid, login);
            }
            super::feed::Node::Group(group) => {
                self.drop_group(uuid);
                self.insert_group(uuid, group);
            }
        }
    }

    /// The login of this entry.
    pub(super) fn login_at(&self, uuid: Uuid) -> Option<&LoginNode> {
        self.logins.get(&uuid)
    }

    /// Name and gid of the group of this entry.
    pub(super) fn group_name(&self, uuid: Uuid) -> Option<(Box<str>, i64)> {
        self.groups.get(&uuid).map(|group| (group.name.clone(), group.gid))
    }

    /// A login is like this now.
    pub(super) fn put_login(&mut self, uuid: Uuid, new: LoginNode) -> Touched {
        let old = self.logins.get(&uuid);
        if old == Some(&new) {
            return Touched::new();
        }
        let moved = old.is_none_or(|old| old.name != new.name || old.dn != new.dn || old.files_only != new.files_only);
        let mut touched = self.remove_group(uuid);
        self.touch_login(uuid, moved, &mut touched);
        self.drop_login(uuid);
        self.insert_login(uuid, new);
        self.touch_login(uuid, moved, &mut touched);
        touched
    }

    /// A group is like this now.
    pub(super) fn put_group(&mut self, uuid: Uuid, new: GroupNode) -> Touched {
        if self.groups.get(&uuid) == Some(&new) {
            return Touched::new();
        }
        let mut touched = self.remove_login(uuid);
        let old = self.groups.get(&uuid).cloned();
        let before = self.touch_group(uuid, &mut touched);
        self.drop_group(uuid);
        self.insert_group(uuid, new);
        let after = self.touch_group(uuid, &mut touched);
        let same = old.is_some_and(|old| {
            self.groups.get(&uuid).is_some_and(|new| old.gid == new.gid && old.dn == new.dn && old.name == new.name)
        });
        let concerned: Vec<&str> = if same {
            before.symmetric_difference(&after).map(|name| &**name).collect()
        } else {
            before.union(&after).map(|name| &**name).collect()
        };
        self.touch_names(concerned, &mut touched);
        touched
    }

    /// An entry is gone.
    pub(super) fn remove(&mut self, uuid: Uuid) -> Touched {
        let mut touched = self.remove_login(uuid);
        touched.append(&mut self.remove_group(uuid));
        touched
    }

    fn remove_login(&mut self, uuid: Uuid) -> Touched {
        let mut touched = Touched::new();
        self.touch_login(uuid, true, &mut touched);
        self.drop_login(uuid);
        touched
    }

    fn remove_group(&mut self, uuid: Uuid) -> Touched {
        let mut touched = Touched::new();
        let members = self.touch_group(uuid, &mut touched);
        self.touch_names(members.iter().map(|name| &**name).collect(), &mut touched);
        self.drop_group(uuid);
        touched
    }

    fn insert_login(&mut self, uuid: Uuid, new: LoginNode) {
        self.login_names.add(new.name.clone(), uuid);
        self.uids.add(new.uid, uuid);
        self.login_dns.add(new.dn, uuid);
        if new.files_only {
            self.files_only.insert(uuid);
        }
        self.logins.insert(uuid, new);
    }

    fn insert_group(&mut self, uuid: Uuid, new: GroupNode) {
        self.group_names.add(new.name.clone(), uuid);
        self.gids.add(new.gid, uuid);
        self.group_dns.add(new.dn, uuid);
        for name in &new.names {
            self.listed_names.add(name.clone(), uuid);
        }
        for dn in &new.dns {
            self.listed_dns.add(*dn, uuid);
        }
        if new.rule {
            self.rules.insert(uuid);
        }
        self.groups.insert(uuid, new);
    }

    fn drop_login(&mut self, uuid: Uuid) {
        let Some(old) = self.logins.remove(&uuid) else { return };
        self.login_names.take(&old.name, uuid);
        self.uids.take(&old.uid, uuid);
        self.login_dns.take(&old.dn, uuid);
        self.files_only.remove(&uuid);
    }

    fn drop_group(&mut self, uuid: Uuid) {
        let Some(old) = self.groups.remove(&uuid) else { return };
        self.group_names.take(&old.name, uuid);
        self.gids.take(&old.gid, uuid);
        self.group_dns.take(&old.dn, uuid);
        for name in &old.names {
            self.listed_names.take(name, uuid);
        }
        for dn in &old.dns {
            self.listed_dns.take(dn, uuid);
        }
        self.rules.remove(&uuid);
    }

    /// A login, those that have its name or id too, and, if it has moved, the groups that list it by its DN or by a rule.
    fn touch_login(&self, uuid: Uuid, moved: bool, touched: &mut Touched) {
        let Some(login) = self.logins.get(&uuid) else { return };
        for other in self.login_names.get(&login.name).iter().chain(self.uids.get(&login.uid)) {
            if let Some(other) = self.logins.get(other) {
                touched.insert((TouchedKind::Login, other.name.clone(), clamp(other.uid)));
            }
        }
        if !moved {
            return;
        }
        let listing = self.listed_dns.get(&login.dn).iter().chain(self.rules.iter().filter(|_| login.files_only));
        for group in listing {
            self.touch_upwards(*group, touched);
        }
    }

    /// A group, those that have its name or id too, and the groups that it is in; gives its members.
    fn touch_group(&self, uuid: Uuid, touched: &mut Touched) -> BTreeSet<Box<str>> {
        let Some(group) = self.groups.get(&uuid) else { return BTreeSet::new() };
        for other in self.group_names.get(&group.name).iter().chain(self.gids.get(&group.gid)) {
            if let Some(other) = self.groups.get(other) {
                touched.insert((TouchedKind::Group, other.name.clone(), clamp(other.gid)));
            }
        }
        self.touch_upwards(uuid, touched);
        self.expand(uuid)
    }

    fn touch_upwards(&self, uuid: Uuid, touched: &mut Touched) {
        for group in self.upwards([uuid].into()) {
            if let Some(group) = self.groups.get(&group) {
                touched.insert((TouchedKind::Group, group.name.clone(), clamp(group.gid)));
            }
        }
    }

    fn touch_names(&self, names: Vec<&str>, touched: &mut Touched) {
        for name in names {
            let holders = self.login_names.get(name);
            if let Some(login) = holders.first().and_then(|uuid| self.logins.get(uuid)) {
                touched.insert((TouchedKind::Login, login.name.clone(), clamp(login.uid)));
            }
        }
    }

    /// These groups and all that they are in, as deep as is allowed; a group in itself is there once.
    fn upwards(&self, mut all: HashSet<Uuid>) -> HashSet<Uuid> {
        let mut edge: Vec<Uuid> = all.iter().copied().collect();
        for _ in 0..self.nesting {
            let mut next = Vec::new();
            for uuid in edge {
                let Some(group) = self.groups.get(&uuid) else { continue };
                next.extend(self.listed_dns.get(&group.dn).iter().copied().filter(|outer| all.insert(*outer)));
            }
            if next.is_empty() {
                break;
            }
            edge = next;
        }
        all
    }

    /// The names of all members of a group, those of the groups in it included.
    pub(super) fn expand(&self, uuid: Uuid) -> BTreeSet<Box<str>> {
        let mut names = BTreeSet::new();
        let mut seen: HashSet<Uuid> = [uuid].into();
        let mut edge = vec![uuid];
        for level in 0..=self.nesting {
            let mut next = Vec::new();
            for group in edge.iter().filter_map(|uuid| self.groups.get(uuid)) {
                names.extend(group.names.iter().cloned());
                if group.rule {
                    names.extend(
                        self.files_only.iter().filter_map(|uuid| self.logins.get(uuid)).map(|login| login.name.clone()),
                    );
                }
                for dn in &group.dns {
                    names.extend(
                        self.login_dns
                            .get(dn)
                            .iter()
                            .filter_map(|uuid| self.logins.get(uuid))
                            .map(|login| login.name.clone()),
                    );
                    if level < self.nesting {
                        next.extend(self.group_dns.get(dn).iter().copied().filter(|inner| seen.insert(*inner)));
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            edge = next;
        }
        names
    }

    /// The members that a list of names stands for: logins, and the members of groups, `levels` deep.
    pub(super) fn members_at(&self, dns: &[DnKey]) -> BTreeSet<Box<str>> {
        let mut names = BTreeSet::new();
        for dn in dns {
            let logins = self.login_dns.get(dn).iter().filter_map(|uuid| self.logins.get(uuid));
            names.extend(logins.map(|login| login.name.clone()));
            if self.nesting > 0 {
                names.extend(self.group_dns.get(dn).iter().flat_map(|uuid| self.expand(*uuid)));
            }
        }
        names
    }

    /// The names of the logins with `sftp` and without `shell`.
    pub(super) fn files_only(&self) -> impl Iterator<Item = &str> {
        self.files_only.iter().filter_map(|uuid| self.logins.get(uuid)).map(|login| &*login.name)
    }

    /// The smallest `limit` uids above `after`, ascending.
    pub(super) fn uids_after(&self, after: u32, limit: u32) -> Vec<i64> {
        above(self.uids.0.keys(), after, limit)
    }

    /// The smallest `limit` gids above `after`, ascending.
    pub(super) fn gids_after(&self, after: u32, limit: u32) -> Vec<i64> {
        above(self.gids.0.keys(), after, limit)
    }

    /// The groups of a login besides its primary one: their gids and names.
    pub(super) fn groups_of(&self, name: &str, dn: DnKey, files_only: bool) -> Vec<(i64, Box<str>)> {
        let direct = self.listed_names.get(name).iter().chain(self.listed_dns.get(&dn));
        let direct = direct.copied().chain(self.rules.iter().copied().filter(|_| files_only)).collect();
        let all = self.upwards(direct);
        all.iter()
            .filter(|uuid| self.group_is_first(**uuid))
            .filter_map(|uuid| self.groups.get(uuid))
            .map(|group| (group.gid, group.name.clone()))
            .collect()
    }

    /// The login with this name that was there first.
    pub(super) fn login(&self, name: &str) -> Option<&LoginNode> {
        self.login_names
            .get(name)
            .iter()
            .filter_map(|uuid| self.logins.get(uuid))
            .min_by(|a, b| a.seniority.cmp(&b.seniority))
    }

    /// Why this login is not the one that is served under its name and uid.
    pub(super) fn login_conflict(&self, name: &str, uid: i64, seniority: &Seniority) -> Option<String> {
        let first = self
            .uids
            .get(&uid)
            .iter()
            .filter_map(|uuid| self.logins.get(uuid))
            .min_by(|a, b| a.seniority.cmp(&b.seniority));
        if let Some(first) = first.filter(|first| first.seniority < *seniority) {
            return Some(taken("uid", &first.name));
        }
        self.login(name)
            .filter(|first| first.seniority < *seniority)
            .map(|first| format!("the name belongs to uid {}, which was there first", first.uid))
    }

    /// Why this group is not the one that is served under its name and gid.
    pub(super) fn group_conflict(&self, name: &str, gid: i64, seniority: &Seniority) -> Option<String> {
        let first = |all: &[Uuid]| {
            let groups = all.iter().filter_map(|uuid| self.groups.get(uuid));
            groups.min_by(|a, b| a.seniority.cmp(&b.seniority)).filter(|first| first.seniority < *seniority).cloned()
        };
        if let Some(first) = first(self.gids.get(&gid)) {
            return Some(taken("gid", &first.name));
        }
        first(self.group_names.get(name))
            .map(|first| format!("the name belongs to gid {}, which was there first", first.gid))
    }

    fn group_is_first(&self, uuid: Uuid) -> bool {
        self.groups
            .get(&uuid)
            .is_some_and(|group| self.group_conflict(&group.name, group.gid, &group.seniority).is_none())
    }
}

fn above<'a>(ids: impl Iterator<Item = &'a i64>, after: u32, limit: u32) -> Vec<i64> {
    let mut ids: Vec<i64> = ids.copied().filter(|id| *id > i64::from(after)).collect();
    let limit = limit as usize;
    if ids.len() > limit {
        ids.select_nth_unstable(limit);
        ids.truncate(limit);
    }
    ids.sort_unstable();
    ids
}

/// What is said of an id that another entry has.
pub(super) fn taken(id: &str, holder: &str) -> String {
    format!("{id} belongs to {holder}, which was there first")
}

/// An id as changes carry it; 0 for one that is none.
fn clamp(id: i64) -> u32 {
    u32::try_from(id).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::dn;
    use super::*;

    fn uuid(number: u8) -> Uuid {
        Uuid([number; 16])
    }

    fn login(number: u8, name: &str, uid: i64) -> (Uuid, LoginNode) {
        let node = LoginNode {
            name: name.into(),
            uid,
            dn: dn::key(&format!("cn=number {number},dc=x")),
            seniority: Seniority::new(&format!("{number:03}"), ""),
            files_only: false,
            stamp: 0,
        };
        (uuid(number), node)
    }

    fn group(number: u8, name: &str, gid: i64, names: &[&str], dns: &[&str]) -> (Uuid, GroupNode) {
        let node = GroupNode {
            name: name.into(),
            gid,
            dn: dn::key(&format!("cn={name},dc=x")),
            seniority: Seniority::new(&format!("{number:03}"), ""),
            rule: false,
            names: names.iter().map(|name| (*name).into()).collect(),
            dns: dns.iter().map(|dn| dn::key(dn)).collect(),
            stamp: 0,
        };
        (uuid(number), node)
    }

    fn words(touched: &Touched) -> Vec<String> {
        touched.iter().map(|(kind, name, id)| format!("{kind:?} {name} {id}").to_lowercase()).collect()
    }

    fn world() -> Model {
        let mut model = Model::new(4);
        let (id, ana) = login(1, "ana", 1001);
        model.put_login(id, ana);
        let (id, ben) = login(2, "ben", 1002);
        model.put_login(id, ben);
        let (id, inner) = group(10, "inner", 2000, &["ben"], &["cn=inner,dc=x"]);
        model.put_group(id, inner);
        let (id, outer) = group(11, "outer", 2001, &[], &["cn=inner,dc=x", "cn=number 1,dc=x", "cn=outer,dc=x"]);
        model.put_group(id, outer);
        model
    }

    #[test]
    fn members_are_found_through_groups_in_groups_and_in_themselves() {
        let model = world();
        assert_eq!(model.expand(uuid(11)).into_iter().collect::<Vec<_>>(), ["ana".into(), "ben".into()]);
        let mut groups = model.groups_of("ben", dn::key("cn=number 2,dc=x"), false);
        groups.sort_unstable();
        assert_eq!(groups, [(2000, "inner".into()), (2001, "outer".into())]);
    }

    #[test]
    fn a_member_that_comes_into_an_inner_group_concerns_the_outer_one_and_itself() {
        let mut model = world();
        let (id, inner) = group(10, "inner", 2000, &["ben", "ana"], &[]);
        assert_eq!(words(&model.put_group(id, inner)), ["login ana 1001", "group inner 2000", "group outer 2001"]);
    }

    #[test]
    fn a_group_that_goes_concerns_all_who_were_in_it() {
        let mut model = world();
        assert_eq!(words(&model.remove(uuid(10))), ["login ben 1002", "group inner 2000", "group outer 2001"]);
        assert_eq!(model.expand(uuid(11)).into_iter().collect::<Vec<_>>(), ["ana".into()]);
    }

    #[test]
    fn a_login_that_is_renamed_concerns_both_names_and_the_groups_that_list_its_entry() {
        let mut model = world();
        let (id, mut ana) = login(1, "anita", 1001);
        ana.dn = dn::key("cn=number 1,dc=x");
        assert_eq!(words(&model.put_login(id, ana)), ["login ana 1001", "login anita 1001", "group outer 2001"]);
    }

    #[test]
    fn the_login_that_was_there_first_keeps_name_and_id() {
        let mut model = world();
        let (id, thief) = login(9, "thief", 1001);
        assert_eq!(words(&model.put_login(id, thief)), ["login ana 1001", "login thief 1001"]);
        let late = Seniority::new("009", "");
        assert!(model.login_conflict("thief", 1001, &late).unwrap().contains("ana"));
        assert!(model.login_conflict("ana", 1001, &Seniority::new("001", "")).is_none());
    }

    #[test]
    fn who_becomes_files_only_concerns_the_groups_by_rule() {
        let mut model = world();
        let (id, mut rule) = group(12, "sftp-only", 2002, &[], &[]);
        rule.rule = true;
        model.put_group(id, rule);
        let (id, mut ben) = login(2, "ben", 1002);
        ben.files_only = true;
        assert_eq!(words(&model.put_login(id, ben)), ["login ben 1002", "group sftp-only 2002"]);
        assert_eq!(model.expand(uuid(12)).into_iter().collect::<Vec<_>>(), ["ben".into()]);
    }
}
