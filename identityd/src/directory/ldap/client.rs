//! One connection to one server: bound, supervised, with a time limit on everything.
//!
//! One question at a time. A connection on which a question was given up is closed, never used again: so no number of a message is ever reused while an answer to it may
//! still come, and nothing has to be abandoned (ldap3 does neither).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ldap3::controls::RawControl;
use ldap3::exop::Exop;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapResult, Mod, Scope, SearchOptions, SearchStream, StdStream};
use schema::wire::message::Secret;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::dial::{Endpoint, Trust};
use super::entry::{self, Item, RawEntry};
use super::flow::Flow;
use super::guard;
use super::pool::BEHIND;

/// After so many questions a connection is replaced: ldap3 keeps the number of every search for ever.
const MAX_QUESTIONS: u32 = 10_000;
/// After this too: a server behind a load balancer, an address that has moved.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LdapFailure {
    /// Not reachable, not in time, or not LDAP: another server may do.
    #[error("{0}")]
    Away(String),
    /// It does not let identityd in, and is left alone for a while: another server may.
    #[error("{0}")]
    NotLetIn(String),
    /// The server answered with an error.
    #[error("result {code} ({name}){}", if text.is_empty() { String::new() } else { format!(": {text}") }, name = name_of(*code))]
    Said {
        /// RFC 4511 appendix A.
        code: u32,
        /// Its words.
        text: String,
    },
}

impl LdapFailure {
    /// Whether another server may do better: it is away, or says so itself (busy 51, unavailable 52).
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::NotLetIn(_) | Self::Said { code: 51 | 52, .. })
    }

    /// Whether the server has less than another one has shown.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        matches!(self, Self::Said { code: BEHIND, .. })
    }
}

/// Whom to be.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Nobody.
    Anonymous,
    /// A name and a password.
    Simple(String, Secret),
    /// What the local socket says (SASL EXTERNAL).
    External,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    ldap: Ldap,
    driver: JoinHandle<()>,
    guard: JoinHandle<()>,
    flow: Arc<Flow>,
    why: Arc<Mutex<Option<String>>>,
    asked: u32,
    since: Instant,
    /// How long it is kept.
    most: Duration,
    /// Which of the configured servers.
    pub(super) server: usize,
}

/// A search.
#[derive(Debug, Clone)]
pub struct Search {
    /// Where.
    pub base: String,
    /// How deep.
    pub scope: Scope,
    /// RFC 4515.
    pub filter: String,
    /// Which attributes.
    pub attributes: Vec<String>,
    /// Most entries, and then a part of them is an answer; 0: all, or an error.
    pub limit: i32,
    /// The base need not exist: then nothing is found.
    pub optional: bool,
}

/// What a search has found.
#[derive(Debug, Default)]
pub struct Found {
    /// The entries.
    pub entries: Vec<RawEntry>,
    /// References to other servers.
    pub references: Vec<String>,
    /// There are more, and the search wanted so many only.
    pub cut: bool,
}

/// Answers that are still coming.
pub(super) struct Incoming {
    stream: SearchStream<'static, String, Vec<String>>,
    /// The number of the question.
    number: u32,
    flow: Arc<Flow>,
    why: Arc<Mutex<Option<String>>>,
}

impl Client {
    /// Connects, with TLS as the server's URL says. Not bound yet.
    ///
    /// # Errors
    /// [`LdapFailure::Away`].
    pub(super) async fn connect(
        endpoint: &Endpoint,
        trust: Option<&Trust>,
        server: usize,
    ) -> Result<Self, LdapFailure> {
        let away = |what: &str, error: &dyn std::fmt::Display| LdapFailure::Away(format!("{what}: {error}"));
        let wire = endpoint.dial(trust).await.map_err(|error| away(&endpoint.url, &error))?;
        let (outside, inside) =
            std::os::unix::net::UnixStream::pair().map_err(|error| away("no sockets left", &error))?;
        outside.set_nonblocking(true).map_err(|error| away("no sockets left", &error))?;
        let outside = UnixStream::from_std(outside).map_err(|error| away("no sockets left", &error))?;
        let flow = Flow::new();
        let why = Arc::new(Mutex::new(None));
        let guard = tokio::spawn({
            let (flow, why, url) = (Arc::clone(&flow), Arc::clone(&why), endpoint.url.clone());
            async move {
                let reason = match guard::run(wire, outside, flow).await {
                    Ok(()) => format!("{url} closed the connection"),
                    Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                        format!("{url} closed the connection")
                    }
                    Err(error) => format!("{url}: {error}"),
                };
                why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
            }
        });
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(inside));
        let connected = LdapConnAsync::with_settings(settings, "ldapi:///").await;
        let (connection, ldap) = match connected {
            Ok(pair) => pair,
            Err(error) => {
                guard.abort();
                return Err(away(&endpoint.url, &error));
            }
        };
        let driver = tokio::spawn(async move {
            let _ = connection.drive().await;
        });
        Ok(Self { ldap, driver, guard, flow, why, asked: 0, since: Instant::now(), most: MAX_AGE, server })
    }

    /// Says who we are.
    ///
    /// # Errors
    /// What the server said.
    pub async fn bind(&mut self, identity: &Identity) -> Result<(), LdapFailure> {
        let result = match identity {
            Identity::Anonymous => return Ok(()),
            Identity::External => self.ldap.sasl_external_bind().await,
            Identity::Simple(dn, password) => {
                return said(&self.bind_simple(dn, password, Vec::new()).await?).map(drop);
            }
        };
        said(&self.ours(result)?).map(drop)
    }

    /// A simple bind with controls; the whole result, whatever it is.
    ///
    /// # Errors
    /// [`LdapFailure::Away`]: no answer.
    pub(super) async fn bind_simple(
        &mut self,
        dn: &str,
        password: &Secret,
        controls: Vec<RawControl>,
    ) -> Result<LdapResult, LdapFailure> {
        // An empty password would be an anonymous bind, and succeed (RFC 4513 §5.1.2).
        let refused = |text: &str| LdapFailure::Said { code: 49, text: text.into() };
        let text = std::str::from_utf8(password.expose()).map_err(|_| refused("the password is not UTF-8"))?;
        if text.is_empty() || dn.is_empty() {
            return Err(refused("an empty name or password would be an anonymous bind"));
        }
        self.asked += 1;
        self.controls(controls);
        let result = self.ldap.simple_bind(dn, text).await;
        self.ours(result)
    }

    /// Keeps it as long as its process.
    pub(super) const fn last(&mut self) {
        self.most = Duration::MAX;
    }

    /// Whether so many questions have gone over it that it should be replaced.
    pub(super) const fn is_worn(&self) -> bool {
        self.asked >= MAX_QUESTIONS
    }

    /// Whether another question may go over it.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_worn() && self.since.elapsed() < self.most && !self.driver.is_finished() && !self.guard.is_finished()
    }

    /// All entries that a search finds, and references to other servers.
    ///
    /// # Errors
    /// Anything but success: a part of the answer is no answer, unless a part was wanted.
    pub async fn search(&mut self, search: &Search) -> Result<Found, LdapFailure> {
        let mut incoming = self.stream(search, Vec::new()).await?;
        let mut found = Found::default();
        while let Some(item) = incoming.next().await? {
            match item {
                Item::Entry(entry, _) => found.entries.push(entry),
                Item::Reference(urls) => found.references.extend(urls),
                Item::Intermediate(..) => {}
            }
        }
        let mut result = incoming.result().await;
        match result.rc {
            // The base itself lies elsewhere.
            10 => found.references.append(&mut result.refs),
            // Limits of time, of size, and of the administrator.
            3 | 4 | 11 if search.limit > 0 => found.cut = true,
            _ => drop(said(&result)?),
        }
        Ok(found)
    }

    /// Begins a search.
    ///
    /// # Errors
    /// [`LdapFailure::Away`].
    pub(super) async fn stream(&mut self, search: &Search, controls: Vec<RawControl>) -> Result<Incoming, LdapFailure> {
        self.asked += 1;
        self.controls(controls);
        let stream = self
            .ldap
            .with_search_options(SearchOptions::new().sizelimit(search.limit))
            .streaming_search(&search.base, search.scope, &search.filter, search.attributes.clone())
            .await;
        let mut stream = self.ours(stream)?;
        let number = u32::try_from(stream.ldap_handle().last_id()).unwrap_or(0);
        Ok(Incoming { stream, number, flow: Arc::clone(&self.flow), why: Arc::clone(&self.why) })
    }

    /// Whether it still answers: asks for nothing of the server's own entry.
    ///
    /// # Errors
    /// [`LdapFailure::Away`].
    pub(super) async fn ping(&mut self) -> Result<(), LdapFailure> {
        let nothing = Search {
            base: String::new(),
            scope: Scope::Base,
            filter: "(objectClass=*)".into(),
            attributes: vec!["1.1".into()],
            limit: 0,
            optional: true,
        };
        match self.search(&nothing).await {
            Err(failure) if failure.is_away() => Err(failure),
            _ => Ok(()),
        }
    }

    /// Changes an entry.
    ///
    /// # Errors
    /// What the server said.
    pub async fn modify(&mut self, dn: &str, changes: Vec<Mod<Vec<u8>>>) -> Result<(), LdapFailure> {
        self.asked += 1;
        let result = self.ldap.modify(dn, changes).await;
        said(&self.ours(result)?).map(drop)
    }

    /// What follows is to be done even against the server's rules, as far as the account may.
    pub(super) fn relaxed(&mut self) {
        self.controls(vec![super::control::relax()]);
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// What the server said.
    pub async fn add(&mut self, dn: &str, attributes: Vec<(Vec<u8>, HashSet<Vec<u8>>)>) -> Result<(), LdapFailure> {
        self.asked += 1;
        let result = self.ldap.add(dn, attributes).await;
        said(&self.ours(result)?).map(drop)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// What the server said.
    pub async fn delete(&mut self, dn: &str) -> Result<(), LdapFailure> {
        self.asked += 1;
        let result = self.ldap.delete(dn).await;
        said(&self.ours(result)?).map(drop)
    }

    /// Gives an entry another relative name, whose old value goes.
    ///
    /// # Errors
    /// What the server said.
    pub async fn rename(&mut self, dn: &str, rdn: &str) -> Result<(), LdapFailure> {
        self.asked += 1;
        let result = self.ldap.modifydn(dn, rdn, true, None).await;
        said(&self.ours(result)?).map(drop)
    }

    /// An extended operation with controls; the whole result.
    ///
    /// # Errors
    /// [`LdapFailure::Away`].
    pub(super) async fn extended(
        &mut self,
        operation: Exop,
        controls: Vec<RawControl>,
    ) -> Result<LdapResult, LdapFailure> {
        self.asked += 1;
        self.controls(controls);
        let result = self.ldap.extended(operation).await;
        self.ours(result).map(|result| result.1)
    }

    fn controls(&mut self, controls: Vec<RawControl>) {
        // An empty list would be sent as one.
        self.ldap.controls = (!controls.is_empty()).then_some(controls);
    }

    fn ours<T>(&self, result: Result<T, ldap3::LdapError>) -> Result<T, LdapFailure> {
        result.map_err(|error| away(&self.why, &error))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
        self.guard.abort();
    }
}

impl Incoming {
    /// The next item; `None`: the server has said that it is done.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, LdapFailure> {
        let message = self.stream.next().await.map_err(|error| away(&self.why, &error))?;
        let Some(message) = message else { return Ok(None) };
        self.flow.taken(self.number);
        entry::item(message).map(Some).map_err(|error| LdapFailure::Away(error.to_string()))
    }

    /// How it ended.
    pub(super) async fn result(mut self) -> LdapResult {
        self.stream.finish().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.flow.over(self.number);
    }
}

/// Success, or the server's error.
pub(super) fn said(result: &LdapResult) -> Result<&LdapResult, LdapFailure> {
    match result.rc {
        0 => Ok(result),
        // Where it says to go is all that it says.
        10 => Err(LdapFailure::Said { code: 10, text: result.refs.join(" ") }),
        code => Err(LdapFailure::Said { code, text: result.text.clone() }),
    }
}

fn away(why: &Mutex<Option<String>>, error: &ldap3::LdapError) -> LdapFailure {
    let reason = why.lock().unwrap_or_else(PoisonError::into_inner).clone();
    LdapFailure::Away(reason.unwrap_or_else(|| error.to_string()))
}

fn name_of(code: u32) -> &'static str {
    match code {
        1 => "operationsError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        12 => "unavailableCriticalExtension",
        13 => "confidentialityRequired",
        16 => "noSuchAttribute",
        17 => "undefinedAttributeType",
        19 => "constraintViolation",
        20 => "attributeOrValueExists",
        21 => "invalidAttributeSyntax",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        65 => "objectClassViolation",
        68 => "entryAlreadyExists",
        4096 => "e-syncRefreshRequired",
        _ => "RFC 4511, appendix A",
    }
}
