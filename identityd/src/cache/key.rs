//! What is asked of the directory, and what is kept of its answer.

use std::sync::Arc;

use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::packed::write;
use schema::record::{Group, Login, SshKey};

use super::Source;
use crate::directory::{Change, DirectoryError, Entry, Kind};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The login of this name.
    LoginByName(LoginName),
    /// The login of this uid.
    LoginByUid(UserId),
    /// The group of this name.
    GroupByName(GroupName),
    /// The group of this gid.
    GroupByGid(GroupId),
    /// All groups of this login.
    GidsOf(LoginName),
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
    /// The groups of a login.
    Gids(Arc<[GroupId]>),
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
}

/// A group, and the bytes that libc gets of it.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupAnswer {
    /// The group.
    pub group: Group,
    /// Packed group.
    pub packed: Arc<[u8]>,
}

impl From<Login> for LoginAnswer {
    fn from(login: Login) -> Self {
        Self { passwd: write::passwd(&login.passwd()).into(), login }
    }
}

impl Value {
    fn login(entry: Option<Entry<Login>>, source: &Source) -> Option<Self> {
        source.valid(entry?).map(|login| Self::Login(Arc::new(login.into())))
    }

    fn group(entry: Option<Entry<Group>>, source: &Source) -> Option<Self> {
        let group = source.valid(entry?)?;
        // More members than a record can hold: such a group cannot be served; `Sqlite` refuses it when it is written.
        let packed = write::group(&group).ok()?.into();
        Some(Self::Group(Arc::new(GroupAnswer { group, packed })))
    }

    /// Bytes in memory, roughly: what is on the heap and what the cache needs itself.
    pub(super) fn weight(&self) -> u32 {
        const OVERHEAD: usize = 256;
        let bytes = match self {
            Self::Login(login) => 512 + login.passwd.len(),
            Self::Group(group) => group.packed.len() + group.group.members.len() * 32,
            Self::Gids(gids) => gids.len() * 4,
            Self::SshKeys(keys) => keys.iter().map(|key| key.line.len() + 128).sum(),
        };
        u32::try_from(OVERHEAD + bytes).unwrap_or(u32::MAX)
    }
}

impl Key {
    /// Asks the directory.
    pub(super) async fn load(&self, source: &Source) -> Result<Option<Value>, DirectoryError> {
        Ok(match self.clone() {
            Self::LoginByName(name) => {
                Value::login(source.ask(|directory| async move { directory.login_by_name(&name).await }).await?, source)
            }
            Self::LoginByUid(uid) => {
                Value::login(source.ask(|directory| async move { directory.login_by_uid(uid).await }).await?, source)
            }
            Self::GroupByName(name) => {
                Value::group(source.ask(|directory| async move { directory.group_by_name(&name).await }).await?, source)
            }
            Self::GroupByGid(gid) => {
                Value::group(source.ask(|directory| async move { directory.group_by_gid(gid).await }).await?, source)
            }
            Self::GidsOf(name) => source
                .ask(|directory| async move { directory.gids_of(&name).await })
                .await?
                .map(|gids| Value::Gids(gids.into())),
            Self::SshKeys(name) => {
                let keys = source.ask(|directory| async move { directory.ssh_keys(&name).await }).await?;
                Some(Value::SshKeys(keys.into()))
            }
        })
    }

    /// Adds the questions whose answer this change may have altered.
    pub(super) fn altered_by(change: &Change, keys: &mut Vec<Self>) {
        match change.kind {
            Kind::Login => {
                if let Ok(name) = change.name.parse::<LoginName>() {
                    keys.push(Self::LoginByName(name.clone()));
                    keys.push(Self::GidsOf(name.clone()));
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
