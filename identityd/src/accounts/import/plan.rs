//! Comparing candidates with the directory: what is new is planned, what is there stays as it is.

use std::collections::{BTreeSet, HashMap, HashSet};

use schema::id::GroupId;
use schema::name::{GroupName, LoginName, MembershipName};
use schema::record::{Group, Login};

use super::stock::Stock;
use super::{
    Candidates, Fate, Files, Finding, GroupCandidate, LoginCandidate, Options, Origin, Plan, PlannedLogin, Summary,
    Tally,
};
use crate::accounts::{Accounts, AccountsError};

impl Accounts {
    /// What importing these files would do. Changes nothing.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn import_plan(&self, files: &Files, options: &Options) -> Result<Plan, AccountsError> {
        self.import_plan_of(files.read(options, &self.host)).await
    }

    /// The same for candidates of any source.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn import_plan_of(&self, candidates: Candidates) -> Result<Plan, AccountsError> {
        let stock = Stock::load(self.store()).await?;
        Ok(Planner::new(stock).plan(candidates))
    }
}

struct Planner {
    stock: Stock,
    findings: Vec<Finding>,
    groups: Vec<Group>,
    logins: Vec<PlannedLogin>,
    members: Vec<(GroupId, LoginName)>,
    /// Names and ids that this plan takes.
    new_groups: HashMap<GroupName, GroupId>,
    new_gids: HashSet<GroupId>,
    new_logins: HashSet<LoginName>,
    /// Logins of the source that the directory has with the same uid.
    same_logins: HashSet<LoginName>,
    /// Gids whose group of the source is new or there already.
    sound_gids: HashSet<GroupId>,
    /// Gids of the source whose group is not taken.
    lost_gids: HashMap<GroupId, u64>,
    unchanged: u64,
}

impl Planner {
    fn new(stock: Stock) -> Self {
        Self {
            stock,
            findings: Vec::new(),
            groups: Vec::new(),
            logins: Vec::new(),
            members: Vec::new(),
            new_groups: HashMap::new(),
            new_gids: HashSet::new(),
            new_logins: HashSet::new(),
            same_logins: HashSet::new(),
            sound_gids: HashSet::new(),
            lost_gids: HashMap::new(),
            unchanged: 0,
        }
    }

    fn plan(mut self, candidates: Candidates) -> Plan {
        let mut listed = Vec::new();
        for candidate in candidates.groups {
            self.group(candidate, &mut listed);
        }
        for candidate in candidates.logins {
            self.login(candidate);
        }
        for candidate in &listed {
            self.members(candidate);
        }
        let memberships: BTreeSet<MembershipName> = self
            .logins
            .iter()
            .filter_map(|planned| planned.login.membership.clone())
            .filter(|name| !self.stock.memberships.contains(name.as_str()))
            .collect();
        let mut findings = candidates.findings;
        findings.append(&mut self.findings);
        findings.sort_by(|a, b| (&a.origin.file, a.origin.line).cmp(&(&b.origin.file, b.origin.line)));
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let added = self.members.iter().filter(|(gid, _)| !self.new_gids.contains(gid)).count();
        let summary = Summary {
            changes: count(self.logins.len() + self.groups.len() + memberships.len() + added),
            logins: count(self.logins.len()),
            groups: count(self.groups.len()),
            memberships: count(memberships.len()),
            members: count(self.members.len()),
            unchanged: self.unchanged,
            files: candidates.lines.iter().map(|(file, lines)| tally(file, *lines, &findings)).collect(),
        };
        Plan {
            generation: self.stock.generation,
            summary,
            findings,
            memberships: memberships.into_iter().collect(),
            groups: self.groups,
            logins: self.logins,
            members: self.members,
        }
    }

    fn group(&mut self, candidate: GroupCandidate, listed: &mut Vec<GroupCandidate>) {
        let group = &candidate.group;
        match self.stock.judge_group(&group.name, group.gid) {
            Ok(there) => {
                if !there {
                    self.new_groups.insert(group.name.clone(), group.gid);
                    self.new_gids.insert(group.gid);
                    self.groups.push(Group { members: Vec::new(), ..group.clone() });
                }
                self.sound_gids.insert(group.gid);
                listed.push(candidate);
            }
            Err(reason) => {
                self.lost_gids.insert(group.gid, candidate.origin.line);
                self.finding(&candidate.origin, Fate::Refused, group.name.as_str(), reason);
            }
        }
    }

    fn login(&mut self, candidate: LoginCandidate) {
        let LoginCandidate { origin, shadow, mut login, password, own_group } = candidate;
        let name = login.name.clone();
        if let Some((there, hash)) = self.stock.logins.get(name.as_str()) {
            if there.uid != login.uid {
                let reason = format!(
                    "the directory has another login of this name, with uid {}; rename one of the two, or change the owner of its files",
                    there.uid
                );
                return self.refuse_login(&origin, shadow.as_ref(), &name, &reason);
            }
            self.same_logins.insert(name.clone());
            let (outer, inner) = differences(there, &login, *hash == password);
            let keeps = |at: &Origin, fields: &[&str], planner: &mut Self| {
                if fields.is_empty() {
                    planner.unchanged += 1;
                } else {
                    let reason = format!("it is in the directory with another {}: that stays", fields.join(", "));
                    planner.finding(at, Fate::Kept, name.as_str(), reason);
                }
            };
            keeps(&origin, &outer, self);
            match shadow {
                Some(at) => keeps(&at, &inner, self),
                None if !inner.is_empty() && outer.is_empty() => keeps(&origin, &inner, self),
                None => {}
            }
            return;
        }
        if let Err(reason) = self.stock.judge_login(&name, login.uid) {
            return self.refuse_login(&origin, shadow.as_ref(), &name, &reason);
        }
        if own_group {
            match self.own_group(&login) {
                Ok(gid) => login.gid = gid,
                Err(reason) => return self.refuse_login(&origin, shadow.as_ref(), &name, &reason),
            }
        } else if let Some(line) = self.lost_gids.get(&login.gid) {
            let reason = format!("its primary group {} is line {line} of group, which is not taken", login.gid);
            return self.refuse_login(&origin, shadow.as_ref(), &name, &reason);
        } else if !self.new_gids.contains(&login.gid) && !self.sound_gids.contains(&login.gid) {
            // The login that was to make the group is not taken, or a group of the directory happens to have its gid.
            match self.own_group(&login) {
                Ok(gid) => login.gid = gid,
                Err(reason) => return self.refuse_login(&origin, shadow.as_ref(), &name, &reason),
            }
        }
        self.new_logins.insert(name);
        self.logins.push(PlannedLogin { login, password });
    }

    /// Plans a group of the login's name with its gid.
    fn own_group(&mut self, login: &Login) -> Result<GroupId, String> {
        let name = GroupName::from_bytes(login.name.as_str().as_bytes()).map_err(|error| error.to_string())?;
        if let Some(gid) = self.new_groups.get(&name) {
            // With an own group wanted, the one of its name that the source has is its own.
            return Ok(*gid);
        }
        if self.new_gids.contains(&login.gid) {
            return Err(format!("it needs a group of its own, and the gid {} has another name", login.gid));
        }
        let there = self
            .stock
            .judge_group(&name, login.gid)
            .map_err(|reason| format!("it needs a group of its own with gid {}: {reason}", login.gid))?;
        if there {
            return Ok(login.gid);
        }
        self.new_groups.insert(name.clone(), login.gid);
        self.new_gids.insert(login.gid);
        self.groups.push(Group { name, gid: login.gid, members: Vec::new() });
        Ok(login.gid)
    }

    fn members(&mut self, candidate: &GroupCandidate) {
        let Group { name, gid, members } = &candidate.group;
        let new = self.new_gids.contains(gid);
        let there = self.stock.groups.get(name.as_str());
        let mut unknown = Vec::new();
        let mut absent = Vec::new();
        let mut strangers = Vec::new();
        for member in members {
            let same = self.same_logins.contains(member);
            if self.new_logins.contains(member) || (new && same) {
                self.members.push((*gid, member.clone()));
            } else if !same && self.stock.logins.contains_key(member.as_str()) {
                // A name is not a person: two servers may each have had an ana, and her files must not become the other one's.
                strangers.push(member.as_str());
            } else if there.is_some_and(|group| group.members.binary_search(member).is_ok()) {
                // It is a member already.
            } else if same {
                absent.push(member.as_str());
            } else {
                unknown.push(member.as_str());
            }
        }
        if !strangers.is_empty() {
            let reason = format!(
                "left out is the member{}: the directory's login of this name has another uid, so it may be somebody else",
                several(&strangers)
            );
            self.finding(&candidate.origin, Fate::Noted, name.as_str(), reason);
        }
        if !unknown.is_empty() {
            let reason = format!("there is no login for the member{}", several(&unknown));
            self.finding(&candidate.origin, Fate::Noted, name.as_str(), reason);
        }
        if !absent.is_empty() {
            let reason = format!("it is in the directory without the member{}: that stays", several(&absent));
            self.finding(&candidate.origin, Fate::Kept, name.as_str(), reason);
        } else if !new && unknown.is_empty() && strangers.is_empty() {
            self.unchanged += 1;
        }
    }

    fn refuse_login(&mut self, origin: &Origin, shadow: Option<&Origin>, name: &LoginName, reason: &str) {
        self.finding(origin, Fate::Refused, name.as_str(), reason.into());
        if let Some(shadow) = shadow {
            self.finding(
                shadow,
                Fate::Refused,
                name.as_str(),
                format!("line {} of {} is not taken", origin.line, origin.file),
            );
        }
    }

    fn finding(&mut self, origin: &Origin, fate: Fate, name: &str, reason: String) {
        self.findings.push(Finding { origin: origin.clone(), fate, name: Some(name.into()), reason });
    }
}

/// Which fields of passwd and which of shadow differ.
fn differences(there: &Login, here: &Login, same_password: bool) -> (Vec<&'static str>, Vec<&'static str>) {
    let names =
        |pairs: &[(&'static str, bool)]| pairs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    (
        names(&[
            ("group", there.gid != here.gid),
            ("gecos", there.gecos != here.gecos),
            ("home", there.home != here.home),
            ("shell", there.shell != here.shell),
        ]),
        names(&[
            ("status", there.status != here.status),
            ("password", !same_password),
            ("aging", there.aging != here.aging),
        ]),
    )
}

/// ` a`, or `s a, b and 5 more`.
fn several(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let plural = if names.len() > 1 { "s" } else { "" };
    let first = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    if more > 0 { format!("{plural} {first} and {more} more") } else { format!("{plural} {first}") }
}

/// One line, one fate: the first of refused, kept, skipped counts; remarks count only for lines that are taken.
fn tally(file: &str, lines: u64, findings: &[Finding]) -> Tally {
    let mut fates: HashMap<u64, Fate> = HashMap::new();
    for finding in findings.iter().filter(|finding| finding.origin.file == file) {
        let fate = fates.entry(finding.origin.line).or_insert(Fate::Noted);
        let rank = |fate: Fate| match fate {
            Fate::Refused => 3,
            Fate::Skipped => 2,
            Fate::Kept => 1,
            Fate::Noted => 0,
        };
        if rank(finding.fate) > rank(*fate) {
            *fate = finding.fate;
        }
    }
    let count = |which: Fate| u64::try_from(fates.values().filter(|fate| **fate == which).count()).unwrap_or(u64::MAX);
    let (refused, skipped, kept, noted) =
        (count(Fate::Refused), count(Fate::Skipped), count(Fate::Kept), count(Fate::Noted));
    Tally {
        file: file.into(),
        lines,
        taken: lines.saturating_sub(refused + skipped + kept),
        kept,
        skipped,
        refused,
        noted,
    }
}
