//! The directory in LDAP (RFC 2307, RFC 2307bis) on ldap3, behind a guard.
//!
//! Look-ups ask the server; the feed keeps names, ids and members in memory, so that a change can be told by what it concerns, and so that
//! a group's members need no further questions. A server that may not be listed has no feed (`feed = "off"`): everything is asked for.

pub(crate) mod admin;
mod ber;
pub mod client;
mod control;
mod cookie;
mod dial;
pub mod dn;
mod each;
mod entry;
mod feed;
pub(crate) mod filter;
mod fleet;
mod flow;
mod follow;
mod guard;
mod lookup;
pub(crate) mod map;
mod model;
mod moved;
mod node;
mod order;
mod own;
mod pages;
mod part;
mod password;
mod poll;
mod pool;
mod position;
mod referral;
mod stock;
mod sync;
mod writers;

pub use entry::RawEntry;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::{GroupId, UserId};
use schema::name::{GroupName, LoginName};
use schema::record::{Generation, Group, Login, SshKey};
use schema::wire::message::Secret;

use crate::config::{LdapConfig, LdapFeed};
use crate::directory::fleet::{HostName, HostReport, Hosts};
use crate::directory::servers::ServerReport;
use crate::directory::{Changes, Directory, DirectoryError, Entry, NamedLogin, Stock, Verified};

/// For the first synchronisation, before a list.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The same, before a full reading.
const FIRST: Duration = Duration::from_secs(60);

/// A directory in LDAP.
#[derive(Debug)]
pub struct LdapDirectory {
    pool: Arc<pool::Pool>,
    map: map::Map,
    feed: Arc<feed::Feed>,
    reporting: fleet::Reporting,
}

impl LdapDirectory {
    /// Reads certificates and the service account's password. Connects with the first question.
    ///
    /// # Errors
    /// What of these cannot be used, and what to do.
    pub fn open(config: LdapConfig) -> Result<Self, DirectoryError> {
        let config = Arc::new(config);
        Ok(Self {
            pool: pool::Pool::new(Arc::clone(&config))?,
            feed: feed::Feed::new(&config),
            map: map::Map(config),
            reporting: fleet::Reporting::default(),
        })
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> &LdapConfig {
        &self.map.0
    }

    fn follow(&self) {
        self.feed.start(&self.pool, &self.map);
    }

    fn not_listed<T>() -> Result<T, DirectoryError> {
        Err(DirectoryError::Refused("this directory does not let itself be listed ([directory] feed = \"off\")".into()))
    }

    /// The feed, once it knows what there is.
    async fn listed(&self, wait: Duration) -> Result<(), DirectoryError> {
        if self.map.0.feed == LdapFeed::Off {
            return Self::not_listed();
        }
        self.follow();
        if self.feed.wait_ready(wait).await {
            return Ok(());
        }
        self.alive().await?;
        // A server is there, and look-ups go on: that a list is not to be had says nothing against it.
        Err(DirectoryError::Refused(format!("no list yet: {}", self.feed.trouble())))
    }
}

#[async_trait]
impl Directory for LdapDirectory {
    async fn login_by_name(&self, name: &LoginName) -> Result<Option<Entry<Login>>, DirectoryError> {
        Ok(self.login_named(name).await?.map(|(_, entry)| entry))
    }

    async fn login_by_uid(&self, uid: UserId) -> Result<Option<Entry<Login>>, DirectoryError> {
        self.login_numbered(uid).await
    }

    async fn logins_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Login>>, DirectoryError> {
        self.listed(PATIENCE).await?;
        let uids = self.feed.locked().model.uids_after(after, limit);
        self.logins_numbered(&uids).await
    }

    async fn group_by_name(&self, name: &GroupName) -> Result<Option<Entry<Group>>, DirectoryError> {
        self.group_named(name).await
    }

    async fn group_by_gid(&self, gid: GroupId) -> Result<Option<Entry<Group>>, DirectoryError> {
        self.group_numbered(gid).await
    }

    async fn groups_after(&self, after: u32, limit: u32) -> Result<Vec<Entry<Group>>, DirectoryError> {
        self.listed(PATIENCE).await?;
        let gids = self.feed.locked().model.gids_after(after, limit);
        self.groups_numbered(&gids).await
    }

    async fn gids_of(&self, name: &LoginName) -> Result<Option<Vec<GroupId>>, DirectoryError> {
        Ok(self.login_with_gids(name).await?.and_then(|(entry, gids)| matches!(entry, Entry::Valid(_)).then_some(gids)))
    }

    async fn login_with_gids(&self, name: &LoginName) -> Result<Option<(Entry<Login>, Vec<GroupId>)>, DirectoryError> {
        let Some((raw, entry)) = self.login_named(name).await? else { return Ok(None) };
        let gids = match &entry {
            Entry::Valid(login) => stock::gids(login.gid, &self.groups_of(&raw).await?),
            Entry::Quarantined(_) => Vec::new(),
        };
        Ok(Some((entry, gids)))
    }

    async fn logins_with_gids(&self, names: &[LoginName]) -> Result<Vec<NamedLogin>, DirectoryError> {
        self.logins_called(names).await
    }

    async fn ssh_keys(&self, name: &LoginName) -> Result<Vec<SshKey>, DirectoryError> {
        self.keys_of(name).await
    }

    /// For an administrator only: identityd does not read it. Passwords are checked by [`verify`](Directory::verify).
    async fn password_hash(&self, name: &LoginName) -> Result<Option<PasswordHash>, DirectoryError> {
        self.stored_hash(name).await
    }

    async fn set_password(
        &self,
        name: &LoginName,
        _old: Option<&PasswordHash>,
        new: &PasswordHash,
        today: Date,
    ) -> Result<Generation, DirectoryError> {
        self.store_hash(name, new, today).await
    }

    async fn verify(&self, name: &LoginName, password: &Secret) -> Result<Option<Verified>, DirectoryError> {
        self.bind_as(name, password).await.map(Some)
    }

    async fn change_password(
        &self,
        name: &LoginName,
        old: Option<&Secret>,
        new: &Secret,
        today: Date,
    ) -> Result<Option<Generation>, DirectoryError> {
        self.replace_password(name, old, new, today).await
    }

    async fn generation(&self) -> Result<Generation, DirectoryError> {
        // The feed tells of changes by itself; the question is whether a server answers.
        if !self.feed.has_just_seen_server() {
            self.alive().await?;
        }
        Ok(self.feed.generation())
    }

    async fn committed(&self) -> Result<Generation, DirectoryError> {
        self.committed_generation().await
    }

    async fn common(&self, generation: Generation, cursor: &[u8]) -> Result<Generation, DirectoryError> {
        self.common_number(generation, cursor).await
    }

    async fn report(&self, report: &HostReport) -> Result<(), DirectoryError> {
        self.store_report(report).await
    }

    async fn fleet(&self) -> Result<Hosts, DirectoryError> {
        self.hosts().await
    }

    async fn forget_host(&self, host: &HostName) -> Result<bool, DirectoryError> {
        self.remove_host(host).await
    }

    async fn changes_after(&self, since: Generation, limit: u32) -> Result<Changes, DirectoryError> {
        if self.map.0.feed == LdapFeed::Off {
            return Ok(Changes::List(Vec::new()));
        }
        self.follow();
        Ok(self.feed.changes_after(since, limit))
    }

    async fn stock(&self) -> Result<Box<dyn Stock>, DirectoryError> {
        self.listed(FIRST).await?;
        let generation = self.feed.generation();
        Ok(Box::new(stock::read(&self.pool, &self.map, generation, &|uuid| self.feed.takes(uuid)).await?))
    }

    fn cursor(&self, generation: Generation) -> Vec<u8> {
        self.feed.cursor(generation)
    }

    /// A cookie that the server does not know leads to a gap: no suffix has a name by which it could be told from another.
    async fn resume(&self, generation: Generation, cursor: &[u8]) -> Result<bool, DirectoryError> {
        self.feed.resume(generation, cursor, &self.map.0);
        if self.map.0.feed != LdapFeed::Off {
            self.follow();
        }
        Ok(true)
    }

    fn servers(&self) -> Vec<ServerReport> {
        self.pool.order.report(&self.map.0.servers)
    }

    fn not_followed(&self) -> Option<(Duration, String)> {
        self.feed.not_followed()
    }

    async fn changed(&self, since: Generation) {
        if self.map.0.feed == LdapFeed::Off {
            return std::future::pending().await;
        }
        self.follow();
        let mut newest = self.feed.newest.subscribe();
        let _ = newest.wait_for(|newest| *newest > since.0).await;
    }
}
