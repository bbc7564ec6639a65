//! What the feed remembers of the directory: names, ids, and who is in which group. So that it can say what a change concerns.
//!
//! Some 150 bytes a login and 200 a group with a few members, as computed; `docs/decisions.md` has what was measured. Everything else of an entry is asked for when it is needed.

mod name;
mod table;

use std::collections::{BTreeSet, HashSet};

pub(super) use self::name::Name;
use self::table::{Listing, Place, Table, hash};
use super::dn::DnKey;
use super::map::Seniority;
use super::node;
use crate::directory::Kind;

/// The server's name for an entry, for its life (`entryUUID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Uuid(pub(super) [u8; 16]);

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginNode {
    pub(super) uuid: Uuid,
    pub(super) name: Name,
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
    pub(super) uuid: Uuid,
    pub(super) name: Name,
    pub(super) gid: i64,
    pub(super) dn: DnKey,
    pub(super) seniority: Seniority,
    /// Its members are the logins that are `files_only`.
    pub(super) rule: bool,
    /// memberUid
    pub(super) names: Names,
    /// member
    pub(super) dns: Box<[DnKey]>,
    /// Tells one state of the entry from another.
    pub(super) stamp: u64,
}

/// Names in one piece of memory. A NUL is in none: whoever has one is nobody's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names(Box<str>);

impl Names {
    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\0')
    }
}

impl FromIterator<String> for Names {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let mut all = String::new();
        for name in names {
            all.extend(name.chars().filter(|c| *c != '\0'));
            all.push('\0');
        }
        Self(all.into())
    }
}

impl table::Node for LoginNode {
    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> i64 {
        self.uid
    }

    fn dn(&self) -> DnKey {
        self.dn
    }
}

impl table::Node for GroupNode {
    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> i64 {
        self.gid
    }

    fn dn(&self) -> DnKey {
        self.dn
    }
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
    logins: Table<LoginNode>,
    groups: Table<GroupNode>,
    listed_names: Listing,
    listed_dns: Listing,
    /// Groups whose members follow from a rule.
    rules: HashSet<Place>,
    /// Logins that such a rule is about.
    files_only: HashSet<Place>,
}

impl Model {
    pub(super) fn new(nesting: u32) -> Self {
        Self { nesting, ..Self::default() }
    }

    /// Takes an entry in without finding out what it concerns.
    pub(super) fn put_quietly(&mut self, node: node::Node) {
        match node {
            node::Node::Login(login) => {
                self.drop_login(login.uuid);
                self.insert_login(login);
            }
            node::Node::Group(group) => {
                self.drop_group(group.uuid);
                self.insert_group(group);
            }
        }
    }

    /// After many entries were taken in: gives back what was kept for more.
    pub(super) fn shrink(&mut self) {
        self.logins.shrink();
        self.groups.shrink();
        self.listed_names.shrink();
        self.listed_dns.shrink();
    }

    /// The login of this entry.
    pub(super) fn login_at(&self, uuid: Uuid) -> Option<&LoginNode> {
        self.logins.get(uuid)
    }

    /// The group of this entry.
    pub(super) fn group_at(&self, uuid: Uuid) -> Option<&GroupNode> {
        self.groups.get(uuid)
    }

    /// The name of an entry.
    pub(super) fn dn_of(&self, uuid: Uuid) -> Option<DnKey> {
        self.logins.get(uuid).map(|login| login.dn).or_else(|| self.groups.get(uuid).map(|group| group.dn))
    }

    /// The gids of the groups that list this name.
    pub(super) fn listing(&self, dn: DnKey) -> Vec<i64> {
        self.listed_dns.get(hash(&dn)).filter_map(|place| self.groups.at(place)).map(|group| group.gid).collect()
    }

    /// A login is like this now.
    pub(super) fn put_login(&mut self, new: LoginNode) -> Touched {
        let uuid = new.uuid;
        let old = self.logins.get(uuid);
        if old == Some(&new) {
            return Touched::new();
        }
        let moved = old.is_none_or(|old| old.name != new.name || old.dn != new.dn || old.files_only != new.files_only);
        let mut touched = self.remove_group(uuid);
        self.touch_login(uuid, moved, &mut touched);
        self.drop_login(uuid);
        self.insert_login(new);
        self.touch_login(uuid, moved, &mut touched);
        touched
    }

    /// A group is like this now.
    pub(super) fn put_group(&mut self, new: GroupNode) -> Touched {
        let uuid = new.uuid;
        if self.groups.get(uuid) == Some(&new) {
            return Touched::new();
        }
        let mut touched = self.remove_login(uuid);
        let before = self.touch_group(uuid, &mut touched);
        let old = self.drop_group(uuid);
        let same = old.is_some_and(|old| old.gid == new.gid && old.dn == new.dn && old.name == new.name);
        self.insert_group(new);
        let after = self.touch_group(uuid, &mut touched);
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

    fn insert_login(&mut self, new: LoginNode) {
        let files_only = new.files_only;
        let place = self.logins.insert(new);
        if files_only {
            self.files_only.insert(place);
        }
    }

    fn insert_group(&mut self, new: GroupNode) {
        let rule = new.rule;
        let place = self.groups.insert(new);
        if rule {
            self.rules.insert(place);
        }
        let Some(group) = self.groups.at(place) else { return };
        group.names.iter().for_each(|name| self.listed_names.add(hash(name), place));
        group.dns.iter().for_each(|dn| self.listed_dns.add(hash(dn), place));
    }

    fn drop_login(&mut self, uuid: Uuid) {
        if let Some((place, _)) = self.logins.remove(uuid) {
            self.files_only.remove(&place);
        }
    }

    fn drop_group(&mut self, uuid: Uuid) -> Option<GroupNode> {
        let (place, old) = self.groups.remove(uuid)?;
        old.names.iter().for_each(|name| self.listed_names.take(hash(name), place));
        old.dns.iter().for_each(|dn| self.listed_dns.take(hash(dn), place));
        self.rules.remove(&place);
        Some(old)
    }

    /// A login, those that have its name or id too, and, if it has moved, the groups that list it by its DN or by a rule.
    fn touch_login(&self, uuid: Uuid, moved: bool, touched: &mut Touched) {
        let Some(login) = self.logins.get(uuid) else { return };
        for other in self.logins.named(&login.name).chain(self.logins.numbered(login.uid)) {
            touched.insert((TouchedKind::Login, other.name.boxed(), clamp(other.uid)));
        }
        if !moved {
            return;
        }
        let listing = self.listed_dns.get(hash(&login.dn));
        for group in listing.chain(self.rules.iter().copied().filter(|_| login.files_only)) {
            self.touch_upwards(group, touched);
        }
    }

    /// A group, those that have its name or id too, and the groups that it is in; gives its members.
    fn touch_group(&self, uuid: Uuid, touched: &mut Touched) -> BTreeSet<Box<str>> {
        let Some((place, group)) = self.groups.place(uuid).and_then(|place| Some((place, self.groups.at(place)?)))
        else {
            return BTreeSet::new();
        };
        for other in self.groups.named(&group.name).chain(self.groups.numbered(group.gid)) {
            touched.insert((TouchedKind::Group, other.name.boxed(), clamp(other.gid)));
        }
        self.touch_upwards(place, touched);
        self.expand_at(place)
    }

    fn touch_upwards(&self, place: Place, touched: &mut Touched) {
        for group in self.upwards([place].into()) {
            if let Some(group) = self.groups.at(group) {
                touched.insert((TouchedKind::Group, group.name.boxed(), clamp(group.gid)));
            }
        }
    }

    fn touch_names(&self, names: Vec<&str>, touched: &mut Touched) {
        for name in names {
            if let Some(login) = self.logins.named(name).next() {
                touched.insert((TouchedKind::Login, login.name.boxed(), clamp(login.uid)));
            }
        }
    }

    /// These groups and all that they are in, as deep as is allowed; a group in itself is there once.
    fn upwards(&self, mut all: HashSet<Place>) -> HashSet<Place> {
        let mut edge: Vec<Place> = all.iter().copied().collect();
        for _ in 0..self.nesting {
            let mut next = Vec::new();
            for place in edge {
                let Some(group) = self.groups.at(place) else { continue };
                next.extend(self.listed_dns.get(hash(&group.dn)).filter(|outer| all.insert(*outer)));
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
        self.groups.place(uuid).map(|place| self.expand_at(place)).unwrap_or_default()
    }

    fn expand_at(&self, place: Place) -> BTreeSet<Box<str>> {
        let mut names = BTreeSet::new();
        let mut seen: HashSet<Place> = [place].into();
        let mut edge = vec![place];
        for level in 0..=self.nesting {
            let mut next = Vec::new();
            for group in edge.iter().filter_map(|place| self.groups.at(*place)) {
                names.extend(group.names.iter().map(Box::from));
                if group.rule {
                    names.extend(self.files_only().map(Box::from));
                }
                for dn in &group.dns {
                    names.extend(self.logins.called(*dn).map(|(_, login)| login.name.boxed()));
                    if level < self.nesting {
                        next.extend(
                            self.groups.called(*dn).map(|(inner, _)| inner).filter(|inner| seen.insert(*inner)),
                        );
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
            names.extend(self.logins.called(*dn).map(|(_, login)| login.name.boxed()));
            if self.nesting > 0 {
                names.extend(self.groups.called(*dn).flat_map(|(place, _)| self.expand_at(place)));
            }
        }
        names
    }

    /// The names of the logins with `sftp` and without `shell`.
    pub(super) fn files_only(&self) -> impl Iterator<Item = &str> {
        self.files_only.iter().filter_map(|place| self.logins.at(*place)).map(|login| &*login.name)
    }

    /// The smallest `limit` uids above `after`, ascending.
    pub(super) fn uids_after(&self, after: u32, limit: u32) -> Vec<i64> {
        above(self.logins.iter().map(|login| login.uid), after, limit)
    }

    /// The smallest `limit` gids above `after`, ascending.
    pub(super) fn gids_after(&self, after: u32, limit: u32) -> Vec<i64> {
        above(self.groups.iter().map(|group| group.gid), after, limit)
    }

    /// The groups of a login besides its primary one: their gids and names.
    pub(super) fn groups_of(&self, name: &str, dn: DnKey, files_only: bool) -> Vec<(i64, Box<str>)> {
        let direct = self.listed_names.get(hash(name)).chain(self.listed_dns.get(hash(&dn)));
        let direct = direct.chain(self.rules.iter().copied().filter(|_| files_only)).collect();
        let all = self.upwards(direct);
        all.iter()
            .filter_map(|place| self.groups.at(*place))
            .filter(|group| self.group_conflict(&group.name, group.gid, &group.seniority).is_none())
            .map(|group| (group.gid, group.name.boxed()))
            .collect()
    }

    /// The login with this name that was there first.
    pub(super) fn login(&self, name: &str) -> Option<&LoginNode> {
        self.logins.named(name).min_by_key(|login| login.seniority)
    }

    /// Why this login is not the one that is served under its name and uid.
    pub(super) fn login_conflict(&self, name: &str, uid: i64, seniority: &Seniority) -> Option<String> {
        let first = self.logins.numbered(uid).min_by_key(|login| login.seniority);
        if let Some(first) = first.filter(|first| first.seniority < *seniority) {
            return Some(taken("uid", &first.name));
        }
        self.login(name)
            .filter(|first| first.seniority < *seniority)
            .map(|first| format!("the name belongs to uid {}, which was there first", first.uid))
    }

    /// Why this group is not the one that is served under its name and gid.
    pub(super) fn group_conflict(&self, name: &str, gid: i64, seniority: &Seniority) -> Option<String> {
        let first = self.groups.numbered(gid).min_by_key(|group| group.seniority);
        if let Some(first) = first.filter(|first| first.seniority < *seniority) {
            return Some(taken("gid", &first.name));
        }
        let first = self.groups.named(name).min_by_key(|group| group.seniority);
        first
            .filter(|first| first.seniority < *seniority)
            .map(|first| format!("the name belongs to gid {}, which was there first", first.gid))
    }
}

fn above(ids: impl Iterator<Item = i64>, after: u32, limit: u32) -> Vec<i64> {
    let mut ids: Vec<i64> = ids.filter(|id| *id > i64::from(after)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(limit as usize);
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

    fn login(number: u8, name: &str, uid: i64) -> LoginNode {
        LoginNode {
            uuid: uuid(number),
            name: name.into(),
            uid,
            dn: dn::key(&format!("cn=number {number},dc=x")),
            seniority: Seniority::new(number.into()),
            files_only: false,
            stamp: 0,
        }
    }

    fn group(number: u8, name: &str, gid: i64, names: &[&str], dns: &[&str]) -> GroupNode {
        GroupNode {
            uuid: uuid(number),
            name: name.into(),
            gid,
            dn: dn::key(&format!("cn={name},dc=x")),
            seniority: Seniority::new(number.into()),
            rule: false,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            dns: dns.iter().map(|dn| dn::key(dn)).collect(),
            stamp: 0,
        }
    }

    fn words(touched: &Touched) -> Vec<String> {
        touched.iter().map(|(kind, name, id)| format!("{kind:?} {name} {id}").to_lowercase()).collect()
    }

    fn world() -> Model {
        let mut model = Model::new(4);
        let ana = login(1, "ana", 1001);
        model.put_login(ana);
        let ben = login(2, "ben", 1002);
        model.put_login(ben);
        let inner = group(10, "inner", 2000, &["ben"], &["cn=inner,dc=x"]);
        model.put_group(inner);
        let outer = group(11, "outer", 2001, &[], &["cn=inner,dc=x", "cn=number 1,dc=x", "cn=outer,dc=x"]);
        model.put_group(outer);
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
        let inner = group(10, "inner", 2000, &["ben", "ana"], &[]);
        assert_eq!(words(&model.put_group(inner)), ["login ana 1001", "group inner 2000", "group outer 2001"]);
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
        let mut ana = login(1, "anita", 1001);
        ana.dn = dn::key("cn=number 1,dc=x");
        assert_eq!(words(&model.put_login(ana)), ["login ana 1001", "login anita 1001", "group outer 2001"]);
    }

    #[test]
    fn the_login_that_was_there_first_keeps_name_and_id() {
        let mut model = world();
        let thief = login(9, "thief", 1001);
        assert_eq!(words(&model.put_login(thief)), ["login ana 1001", "login thief 1001"]);
        let late = Seniority::new(9);
        assert!(model.login_conflict("thief", 1001, &late).unwrap().contains("ana"));
        assert!(model.login_conflict("ana", 1001, &Seniority::new(1)).is_none());
    }

    #[test]
    fn who_becomes_files_only_concerns_the_groups_by_rule() {
        let mut model = world();
        let mut rule = group(12, "sftp-only", 2002, &[], &[]);
        rule.rule = true;
        model.put_group(rule);
        let mut ben = login(2, "ben", 1002);
        ben.files_only = true;
        assert_eq!(words(&model.put_login(ben)), ["login ben 1002", "group sftp-only 2002"]);
        assert_eq!(model.expand(uuid(12)).into_iter().collect::<Vec<_>>(), ["ben".into()]);
    }

    #[test]
    fn what_goes_leaves_nothing_behind_and_its_place_is_used_again() {
        let mut model = world();
        for round in 0..100_u8 {
            let name = format!("guest{round}");
            model.put_login(login(50, &name, 3000 + i64::from(round)));
            model.put_group(group(60, &name, 3000 + i64::from(round), &[&name, "ana"], &["cn=number 50,dc=x"]));
            assert_eq!(model.groups_of(&name, dn::key("cn=number 50,dc=x"), false).len(), 1);
            if round % 2 == 0 {
                model.remove(uuid(50));
                model.remove(uuid(60));
            }
        }
        model.remove(uuid(50));
        model.remove(uuid(60));
        model.shrink();
        assert_eq!(model.uids_after(0, 100), [1001, 1002]);
        assert_eq!(model.gids_after(0, 100), [2000, 2001]);
        assert!(model.login("guest99").is_none() && model.login("ana").is_some());
        assert!(model.groups_of("guest99", dn::key("cn=number 50,dc=x"), false).is_empty());
        assert!(words(&model.remove(uuid(10))).contains(&"login ben 1002".to_owned()));
    }

    #[test]
    fn names_are_kept_one_after_the_other() {
        let names: Names = ["ana", "", "b\0en"].map(String::from).into_iter().collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), ["ana", "", "ben"]);
        assert_eq!(Names::default().iter().count(), 0);
    }
}
