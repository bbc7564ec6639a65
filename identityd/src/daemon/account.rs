//! The account stage: may this login use this service on this host now?

use std::sync::Arc;
use std::time::Instant;

use schema::id::GroupId;
use schema::name::GroupName;
use schema::record::Login;
use schema::snapshot::Answer as Published;
use schema::snapshot::view::Kind as _;
use schema::wire::message::{Outcome, PamContext, Verdict};

use super::Host;
use super::pam::{OPENING_ACCOUNT, WAIT, today, unavailable, verdict};
use crate::cache::{Answer, Patience};
use crate::directory::Kind;
use crate::local::Local;
use crate::policy::{self, Case, Decision};

impl Host {
    /// The account stage. `service`: as it is judged; the context's is what the log says.
    pub async fn account(self: &Arc<Self>, context: &PamContext, service: &str) -> Verdict {
        self.first_look(OPENING_ACCOUNT).await;
        match self.login(&context.user).await {
            Answer::Absent => Verdict { outcome: Outcome::UserUnknown, uid: None, info: None },
            Answer::Unknown(reason) => unavailable(context, "account", &reason),
            Answer::Found(login) => match self.decide(&login, service).await {
                Ok(decision) => match self.must_change(&login).filter(|_| decision.outcome == Outcome::Success) {
                    Some(must_change) => must_change,
                    None => {
                        if decision.outcome == Outcome::Success {
                            self.note_entered(&login);
                        }
                        verdict(context, "account", &login, decision)
                    }
                },
                Err(reason) => unavailable(context, "account", &reason),
            },
        }
    }

    /// The decision of the account stage with its steps. Groups that cannot be looked up are no permission: `Err`.
    pub(super) async fn decide(&self, login: &Login, service: &str) -> Result<Decision, String> {
        let loaded = self.loaded();
        self.confinement(login).await?;
        let groups = self.access_groups(login).await?;
        Ok(policy::account(Case { login, groups: &groups, service, today: today() }, &loaded.config))
    }

    /// sshd confines a login without `shell` by its groups (`Match Group sftp-only`), and does not when it cannot look them up. So such a login
    /// enters only while its groups are known.
    async fn confinement(&self, login: &Login) -> Result<(), String> {
        if login.capabilities.iter().any(|has| has.as_str() == "shell") {
            return Ok(());
        }
        let unknown = |what: String, reason: String| Err(format!("{what} not known, and may confine it: {reason}"));
        let gids = match self.gids_of(&login.name, WAIT).await {
            Answer::Found(gids) => gids,
            Answer::Absent => return unknown("its groups are".into(), "it has just been removed".into()),
            Answer::Unknown(reason) => return unknown("its groups are".into(), reason),
        };
        let began = Instant::now();
        for gid in gids {
            if !self.cache().source().is_reachable() && self.publishes_member(login, gid) {
                continue;
            }
            let left = WAIT.wait.saturating_sub(began.elapsed());
            if let Answer::Unknown(reason) = self.cache().group_by_gid(gid, Patience::reserved(left)).await {
                return unknown(format!("its group {gid} is"), reason);
            }
        }
        Ok(())
    }

    /// Whether sshd finds in what is published that the login is in this group: it looks there first, whether the directory answers or not. A change that
    /// could not be published is not there, so the login's own entry is looked at, not the group alone. That there is no such group is certain as well.
    fn publishes_member(&self, login: &Login, gid: GroupId) -> bool {
        let published = self.replica().and_then(|replica| replica.published());
        let Some(snapshot) = published.as_ref().and_then(|published| published.snapshot()) else { return false };
        let Published::Found(entry) = snapshot.login_by_name(login.name.as_str().as_bytes()) else { return false };
        let is_member = entry.gids().is_some_and(|gids| gids.iter().any(|known| known == gid.raw()));
        entry.id() == login.uid.raw() && is_member && !matches!(snapshot.group_by_gid(gid.raw()), Published::Unusable)
    }

    /// Those groups of `[access]` that the login is in.
    async fn access_groups(&self, login: &Login) -> Result<Vec<GroupName>, String> {
        let loaded = self.loaded();
        let access = &loaded.config.access;
        let mut member = Vec::new();
        if access.allow_groups.is_empty() && access.deny_groups.is_empty() {
            return Ok(member);
        }
        // With the gids that are a local group's here: no name shows them, but who is in "suspended" is suspended.
        let gids = match self.cache().gids_of(&login.name, WAIT).await {
            Answer::Found(gids) => gids,
            Answer::Absent => return Err("its groups are not known".into()),
            Answer::Unknown(reason) => match self.offline.facts(&login.name, self.offline_days()) {
                Some(facts) => facts.gids.clone().into(),
                None => return Err(reason),
            },
        };
        let of_here = self.local();
        for (denies, name) in access
            .allow_groups
            .iter()
            .map(|name| (false, name))
            .chain(access.deny_groups.iter().map(|name| (true, name)))
        {
            match self.cache().group_by_name(name, WAIT).await {
                Answer::Found(group) if gids.contains(&group.group.gid) => {
                    if counts(denies, group.group.gid, &of_here) {
                        member.push(name.clone());
                    }
                }
                Answer::Absent if denies && self.cache().source().quarantine().holds(Kind::Group, name.as_str()) => {
                    return Err(format!(
                        "the group {name} of [access] deny_groups is quarantined, so nobody knows who is in it"
                    ));
                }
                Answer::Found(_) | Answer::Absent => {}
                Answer::Unknown(reason) => {
                    let facts = self.offline.facts(&login.name, self.offline_days());
                    let Some(groups) = facts.and_then(|facts| facts.groups.clone()) else { return Err(reason) };
                    let is_it = |(gid, group): &(GroupId, GroupName)| group == name && counts(denies, *gid, &of_here);
                    if groups.iter().any(is_it) {
                        member.push(name.clone());
                    }
                }
            }
        }
        Ok(member)
    }
}

/// Whether a group of the directory counts for `[access]`. One with the gid of a local group permits nothing: what the local group has is not the directory's to give.
fn counts(denies: bool, gid: GroupId, of_here: &Local) -> bool {
    denies || of_here.group_of_gid(gid.raw()).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_with_a_local_gid_denies_and_does_not_permit() {
        let of_here = Local::default().with_accounts("", "adm:x:4:\nhere:x:3000:\n");
        let (theirs, ours) = (GroupId::try_from(3001).unwrap(), GroupId::try_from(3000).unwrap());
        assert!(counts(false, theirs, &of_here) && counts(true, theirs, &of_here));
        assert!(!counts(false, ours, &of_here) && counts(true, ours, &of_here));
    }
}
