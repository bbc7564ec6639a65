//! What is asked of the directory, and what is kept of its answer.

use std::sync::Arc;

use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::packed::write;
use schema::record::{Group, Login, SshKey};

use super::{Lane, Source};
use crate::directory::{Change, DirectoryError, Entry, Kind, Quarantined};
use crate::quarantine;

/// Groups that are loaded together with a login.
const FOLLOW_UP: usize = 16;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The login of this name with its groups: one entry, so that nobody is known without them.
    LoginByName(LoginName),
    /// The login of this uid.
    LoginByUid(UserId),
    /// The group of this name.
    GroupByName(GroupName),
    /// The group of this gid.
    GroupByGid(GroupId),
    /// The keys of this login.
    SshKeys(LoginName),
}

/// One answer.
#[derive(Debug, Clone)]
pub enum Value {
    /// A login.
    Login(Arc<LoginAnswer>),
    /// A group.
    Group(Arc<GroupAnswer>),
    /// The keys of a login.
    SshKeys(Arc<[SshKey]>),
}

/// A login, and the bytes that libc gets of it.
#[derive(Debug, PartialEq, Eq)]
pub struct LoginAnswer {
    /// The login.
    pub login: Login,
    /// Packed passwd.
    pub passwd: Arc<[u8]>,
    /// All its groups, the primary first. `None` in an answer about a uid.
    pub gids: Option<Arc<[GroupId]>>,
}

/// A group, and the bytes that libc gets of it.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupAnswer {
    /// The group.
    pub group: Group,
    /// Packed group.
    pub packed: Arc<[u8]>,
}

impl LoginAnswer {
    /// Packs a login.
    #[must_use]
    pub fn new(login: Login, gids: Option<Vec<GroupId>>) -> Self {
        Self { passwd: write::passwd(&login.passwd()).into(), login, gids: gids.map(Into::into) }
    }
}

impl Value {
    fn login(entry: Entry<Login>, gids: Option<Vec<GroupId>>, source: &Source) -> Option<Self> {
        source.valid(entry).map(|login| Self::Login(Arc::new(LoginAnswer::new(login, gids))))
    }

    fn group(entry: Entry<Group>, source: &Source) -> Option<Self> {
        let group = source.valid(entry)?;
        match quarantine::packed(&group) {
            Ok(packed) => Some(Self::Group(Arc::new(GroupAnswer { group, packed: packed.into() }))),
            Err(reason) => {
                let (name, id) = (group.name.to_string(), group.gid.raw().into());
                source.note_quarantined(Quarantined { kind: Kind::Group, name, id, reason });
                None
            }
        }
    }

    /// Bytes in memory, roughly: what is on the heap and what the cache needs itself.
    pub(super) fn weight(&self) -> u32 {
        const OVERHEAD: usize = 256;
        let bytes = match self {
            Self::Login(login) => 512 + login.passwd.len() + login.gids.as_ref().map_or(0, |gids| gids.len() * 4),
            Self::Group(group) => group.packed.len() + group.group.members.len() * 32,
            Self::SshKeys(keys) => keys.iter().map(|key| key.line.len() + 128).sum(),
        };
        u32::try_from(OVERHEAD + bytes).unwrap_or(u32::MAX)
    }
}

impl Key {
    /// Asks the directory.
    pub(super) async fn load(&self, source: &Source, lane: Lane) -> Result<Option<Value>, DirectoryError> {
        Ok(match self.clone() {
            Self::LoginByName(name) => source
                .ask(lane, |directory| async move { directory.login_with_gids(&name).await })
                .await?
                .and_then(|(entry, gids)| Value::login(entry, Some(gids), source)),
            Self::LoginByUid(uid) => source
                .ask(lane, |directory| async move { directory.login_by_uid(uid).await })
                .await?
                .and_then(|entry| Value::login(entry, None, source)),
            Self::GroupByName(name) => source
                .ask(lane, |directory| async move { directory.group_by_name(&name).await })
                .await?
                .and_then(|entry| Value::group(entry, source)),
            Self::GroupByGid(gid) => source
                .ask(lane, |directory| async move { directory.group_by_gid(gid).await })
                .await?
                .and_then(|entry| Value::group(entry, source)),
            Self::SshKeys(name) => {
                let keys = source.ask(lane, |directory| async move { directory.ssh_keys(&name).await }).await?;
                Some(Value::SshKeys(keys.into()))
            }
        })
    }

    /// What a program asks next about this login, and cannot do without: sshd's `Match Group` asks for each group of an sftp-only login,
    /// and goes on without those that it does not get.
    pub(super) fn follow_up(value: &Value) -> Vec<Self> {
        match value {
            Value::Login(found) if !found.login.capabilities.iter().any(|has| has.as_str() == "shell") => {
                found.gids.iter().flat_map(|gids| gids.iter().take(FOLLOW_UP)).copied().map(Self::GroupByGid).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Adds the questions whose answer this change may have altered.
    pub(super) fn altered_by(change: &Change, keys: &mut Vec<Self>) {
        match change.kind {
            Kind::Login => {
                if let Ok(name) = change.name.parse::<LoginName>() {
                    keys.push(Self::LoginByName(name.clone()));
                    keys.push(Self::SshKeys(name));
                }
                keys.extend(change.id.try_into().ok().map(Self::LoginByUid));
            }
            Kind::Group => {
                keys.extend(change.name.parse().ok().map(Self::GroupByName));
                keys.extend(change.id.try_into().ok().map(Self::GroupByGid));
            }
        }
    }
}
