//! Connections to all servers: kept for the next question, and given up with a server that does not answer in time.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use schema::wire::message::Secret;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::{Client, Found, Identity, LdapFailure, Search};
use super::cookie::Csn;
use super::dial::{Endpoint, Trust};
use super::dn;
use super::entry::RawEntry;
use super::order::Order;
use super::own::Own;
use super::position::Position;
use super::referral::Strangers;
use crate::config::{LdapConfig, LdapReferrals};
use crate::directory::DirectoryError;

/// Connections kept without work.
const IDLE: usize = 8;
/// For one server, while there is another one to ask: failover within two seconds, connection, TLS and bind included.
pub(super) const ATTEMPT: Duration = Duration::from_millis(800);
/// unwillingToPerform: OpenLDAP says so itself where it has not yet what we have seen of its own changes.
pub(super) const BEHIND: u32 = 53;
/// A server that lacks something for so long does not just replicate it at this moment.
const REPLICATION: Duration = Duration::from_millis(400);
/// Between looks at servers that are down.
const LOOK: Duration = Duration::from_millis(250);

/// The servers and the connections to them.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) config: Arc<LdapConfig>,
    /// Those of `servers`, and behind them those of `referral_servers`.
    pub(super) endpoints: Vec<Endpoint>,
    trust: Option<Trust>,
    own: Own,
    /// Of an administrator: asks the servers that it writes to, so that it sees what it has written.
    admin: bool,
    pub(super) order: Order,
    idle: Mutex<Vec<Client>>,
    /// The newest change of each provider that has come.
    seen: Mutex<Position>,
    /// Where references may not lead.
    pub(super) strangers: Strangers,
    /// A server has come back: who is at a farther one may want to change.
    pub(super) back: Notify,
}

impl Pool {
    /// Reads what connections need; connects nowhere.
    pub(super) fn new(config: Arc<LdapConfig>) -> Result<Arc<Self>, DirectoryError> {
        Self::of(config, false)
    }

    /// The same as the administrator, whose connections last as long as the process: its uid may change later.
    pub(super) fn of_admin(config: Arc<LdapConfig>) -> Result<Arc<Self>, DirectoryError> {
        Self::of(config, true)
    }

    fn of(config: Arc<LdapConfig>, admin: bool) -> Result<Arc<Self>, DirectoryError> {
        let refused = |reason| DirectoryError::Unavailable { directory: config.location(), reason };
        let urls = config.servers.iter().chain(&config.referral_servers);
        let endpoints = urls.map(|url| Endpoint::parse(url, &config)).collect::<Result<Vec<_>, _>>();
        let endpoints = endpoints.map_err(refused)?;
        let trust = Trust::read(&config, &endpoints).map_err(refused)?;
        let own = Own::new(&config, admin, endpoints.len()).map_err(refused)?;
        let order = Order::new(config.servers.len());
        let pool = Arc::new(Self {
            config,
            endpoints,
            trust,
            own,
            admin,
            order,
            idle: Mutex::default(),
            seen: Mutex::default(),
            strangers: Strangers::default(),
            back: Notify::new(),
        });
        tokio::spawn(watch(Arc::downgrade(&pool)));
        Ok(pool)
    }

    /// All entries that a search finds, from the first server that answers.
    pub(super) async fn search(&self, search: &Search) -> Result<Vec<RawEntry>, DirectoryError> {
        self.find(search).await.map(|found| found.entries)
    }

    /// The same, and whether there are more than were wanted.
    pub(super) async fn find(&self, search: &Search) -> Result<Found, DirectoryError> {
        let until = Instant::now() + self.config.timeout.0;
        let candidates = if self.admin { self.order.writable() } else { self.order.candidates() };
        let mut reason = String::new();
        for (at, server) in candidates.iter().enumerate() {
            let limit = if at + 1 < candidates.len() { until.min(Instant::now() + ATTEMPT) } else { until };
            match self.search_at(*server, search, limit).await {
                Ok(mut found) => {
                    self.up(*server);
                    if self.config.referrals == LdapReferrals::Follow && !found.references.is_empty() {
                        self.follow(&mut found, search, until).await;
                    }
                    return Ok(found);
                }
                Err(failure) if failure.is_away() => reason = self.down(*server, &failure),
                Err(LdapFailure::Said { code: 32, .. }) if search.optional => return Ok(Found::default()),
                Err(failure) => return Err(self.said(*server, search, &failure)),
            }
        }
        Err(self.unavailable(reason))
    }

    /// The newest change of each provider that a server has. The database says it at its top, which may be above our base. Empty where it is not to be had.
    pub(super) async fn position_at(&self, client: &mut Client) -> Result<Position, LdapFailure> {
        let mut position = Position::default();
        let mut base = Some(self.config.base.as_str());
        while let Some(name) = base.filter(|_| position == Position::default()) {
            let search = Search {
                base: name.into(),
                scope: ldap3::Scope::Base,
                filter: "(objectClass=*)".into(),
                attributes: vec!["contextCSN".into()],
                limit: 0,
                optional: true,
            };
            match client.search(&search).await {
                Ok(found) => {
                    let csns = found.entries.iter().flat_map(|entry| entry.all("contextCSN"));
                    position.take(csns.filter_map(|csn| Csn::parse(std::str::from_utf8(csn).ok()?)));
                }
                Err(failure) if failure.is_away() => return Err(failure),
                Err(_) => {}
            }
            base = dn::parent(name);
        }
        Ok(position)
    }

    /// What was seen, on whichever server: a server that has less would give old answers.
    pub(super) fn saw(&self, position: Option<Position>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = position.unwrap_or_default();
    }

    /// Whether a server has what was seen. One that was away may not have heard yet what was written meanwhile at another provider.
    pub(super) async fn vet(&self, client: &mut Client) -> Result<(), LdapFailure> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.config.servers.len() < 2 || seen == Position::default() {
            return Ok(());
        }
        // Replication takes some milliseconds: while changes flow, each server is always a little behind.
        let until = Instant::now() + REPLICATION;
        loop {
            let there = self.position_at(client).await?;
            if there == Position::default() {
                return self.may_show_nothing(client.server).await;
            }
            if !there.lacks(&seen) {
                return Ok(());
            }
            if Instant::now() >= until {
                let text = "it has not yet what another server has shown".into();
                return Err(LdapFailure::Said { code: BEHIND, text });
            }
            tokio::time::sleep(REPLICATION / 20).await;
        }
    }

    /// Where identityd may not read `contextCSN`, no server shows it. One that shows nothing where another one does has another directory, or pretends to have one.
    async fn may_show_nothing(&self, server: usize) -> Result<(), LdapFailure> {
        for other in self.order.candidates() {
            if other != server && self.position_of(other).await.is_ok_and(|position| position != Position::default()) {
                let text = "it shows no contextCSN, and another server does".into();
                return Err(LdapFailure::Said { code: BEHIND, text });
            }
        }
        Ok(())
    }

    /// A search at one server. A connection that was kept may have died unnoticed: then over a fresh one.
    pub(super) async fn search_at(&self, server: usize, search: &Search, limit: Instant) -> Result<Found, LdapFailure> {
        if let Some(client) = self.kept(server) {
            let found = self.search_with(client, search, limit).await;
            if !matches!(&found, Err(LdapFailure::Away(_))) || Instant::now() >= limit {
                return found;
            }
        }
        let client = self.bound(server, limit).await?;
        self.search_with(client, search, limit).await
    }

    async fn search_with(&self, mut client: Client, search: &Search, limit: Instant) -> Result<Found, LdapFailure> {
        let found = tokio::time::timeout_at(limit, client.search(search)).await;
        // Given up half-way the connection goes with it.
        let found = found.map_err(|_| self.silent(client.server))?;
        if found.as_ref().map_or_else(|failure| !failure.is_away(), |_| true) {
            self.keep(client);
        }
        found
    }

    /// A connection of its own, bound as identityd, to the first server that answers; of those that can be written if it is for that.
    pub(super) async fn connect(&self, to_write: bool) -> Result<Client, DirectoryError> {
        if let Some(client) = self.order.writable().first().filter(|_| self.admin).and_then(|server| self.kept(*server))
        {
            return Ok(client);
        }
        let until = Instant::now() + self.config.timeout.0;
        let candidates = if to_write || self.admin { self.order.writable() } else { self.order.candidates() };
        self.connect_first(&candidates, true, until).await.map_err(|failure| self.unavailable(failure.to_string()))
    }

    /// A connection on which nobody has bound yet, to the first server that answers.
    pub(super) async fn connect_unbound(&self, to_write: bool, until: Instant) -> Result<Client, LdapFailure> {
        let candidates = if to_write { self.order.writable() } else { self.order.candidates() };
        self.connect_first(&candidates, false, until).await
    }

    /// A connection to the first of these that answers.
    pub(super) async fn connect_first(
        &self,
        candidates: &[usize],
        bind: bool,
        until: Instant,
    ) -> Result<Client, LdapFailure> {
        let mut last = LdapFailure::Away("no server is configured".into());
        for (at, server) in candidates.iter().enumerate() {
            let limit = if at + 1 < candidates.len() { until.min(Instant::now() + ATTEMPT) } else { until };
            let connected = if bind { self.bound(*server, limit).await } else { self.connected(*server, limit).await };
            match connected {
                Ok(client) => {
                    self.up(*server);
                    return Ok(client);
                }
                Err(failure) if failure.is_away() => {
                    self.down(*server, &failure);
                    last = failure;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    /// Connected to this server and bound as ourselves.
    pub(super) async fn bound(&self, server: usize, limit: Instant) -> Result<Client, LdapFailure> {
        let identity = self.own.at(server, Instant::now())?;
        let clear = self.endpoints.get(server).is_some_and(Endpoint::is_clear) && !self.config.allow_plaintext;
        if clear && matches!(*identity, Identity::Simple(..)) {
            return Err(LdapFailure::Away(format!(
                "{}: a password would go over the network in the clear",
                self.url(server)
            )));
        }
        let mut client = self.connected(server, limit).await?;
        match tokio::time::timeout_at(limit, client.bind(&identity)).await {
            Ok(Ok(())) => self.own.accepted(server),
            Ok(Err(failure)) if failure.is_away() => return Err(failure),
            Ok(Err(failure)) => return Err(self.own.refused(server, self.url(server), &failure, Instant::now())),
            Err(_) => return Err(self.silent(server)),
        }
        if self.admin {
            client.last();
        }
        Ok(client)
    }

    async fn connected(&self, server: usize, limit: Instant) -> Result<Client, LdapFailure> {
        let endpoint = self.endpoints.get(server).ok_or_else(|| self.silent(server))?;
        let connecting = Client::connect(endpoint, self.trust.as_ref(), server);
        tokio::time::timeout_at(limit, connecting).await.map_err(|_| self.silent(server))?
    }

    fn silent(&self, server: usize) -> LdapFailure {
        LdapFailure::Away(format!("{} does not answer in time", self.url(server)))
    }

    /// Whether it was opened by an administrator.
    pub(super) const fn is_admin(&self) -> bool {
        self.admin
    }

    pub(super) fn kept(&self, server: usize) -> Option<Client> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(Client::is_usable);
        let at = idle.iter().position(|client| client.server == server)?;
        Some(idle.swap_remove(at))
    }

    pub(super) fn keep(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && client.is_usable() {
            idle.push(client);
        }
    }

    pub(super) fn up(&self, server: usize) {
        if self.order.answered(server) {
            tracing::info!(server = self.url(server), "the LDAP server answers again");
            self.back.notify_waiters();
        }
    }

    pub(super) fn down(&self, server: usize, failure: &LdapFailure) -> String {
        let reason = failure.to_string();
        if self.order.failed(server, &reason) {
            match failure {
                LdapFailure::NotLetIn(_) => tracing::warn!(reason, "an LDAP server does not let identityd in"),
                _ => tracing::warn!(server = self.url(server), reason, "the LDAP server does not answer"),
            }
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|client| client.server != server);
        reason
    }

    pub(super) fn url(&self, server: usize) -> &str {
        self.endpoints.get(server).map_or("?", |endpoint| endpoint.url.as_str())
    }

    pub(super) fn unavailable(&self, reason: String) -> DirectoryError {
        DirectoryError::Unavailable { directory: self.config.location(), reason }
    }

    /// What a server's refusal of a search means. None of these is "no such entry".
    fn said(&self, server: usize, search: &Search, failure: &LdapFailure) -> DirectoryError {
        let hint = match failure {
            LdapFailure::Said { code: 3 | 4 | 11, .. } => {
                "; it gives identityd only a part: raise the limits of its service account (olcLimits, schema/ldap/slapd.ldif)"
            }
            LdapFailure::Said { code: 32, .. } => {
                "; the base is not there, or identityd may not see it (base, olcAccess)"
            }
            LdapFailure::Said { code: 50, .. } => "; identityd may not read there (olcAccess)",
            _ => "",
        };
        self.unavailable(format!(
            "{} answers {:?} below {:?} with {failure}{hint}",
            self.url(server),
            search.filter,
            search.base
        ))
    }

    /// Whether passwords are sent to these servers at all.
    pub(super) fn may_send_passwords(&self) -> Result<(), LdapFailure> {
        match self.endpoints.iter().find(|endpoint| endpoint.is_clear()) {
            Some(endpoint) if !self.config.allow_plaintext => {
                Err(LdapFailure::Away(format!("{}: a password would go over the network in the clear", endpoint.url)))
            }
            _ => Ok(()),
        }
    }

    /// Somebody who is not there, to bind as.
    pub(super) fn dummy(&self) -> Identity {
        let dn = format!("{}=nobody-at-all,{}", self.config.attributes.name, self.config.base);
        Identity::Simple(dn, Secret::new(b"nobody's password".to_vec()))
    }
}

/// Tries servers that are down again, so that no question has to.
async fn watch(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(pool) = pool.upgrade() else { return };
        for server in pool.order.due() {
            let tried = async {
                let mut client = pool.bound(server, Instant::now() + ATTEMPT).await?;
                tokio::time::timeout(ATTEMPT, client.ping())
                    .await
                    .unwrap_or_else(|_| Err(LdapFailure::Away("it is silent".into())))?;
                if pool.order.others_are_up(server) {
                    pool.vet(&mut client).await?;
                }
                Ok::<_, LdapFailure>(client)
            };
            match tried.await {
                Ok(client) => {
                    pool.up(server);
                    pool.keep(client);
                }
                Err(failure) if failure.is_away() || failure.is_behind() => drop(pool.down(server, &failure)),
                Err(_) => pool.up(server),
            }
        }
    }
}
