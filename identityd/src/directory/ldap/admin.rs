//! As the administrator: identityctl reads and writes through a server that can be written, one connection at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Mod, Scope};
use schema::hash::{Method, PasswordHash};
use schema::name::LoginName;
use schema::record::{Generation, Group};

use super::client::{Client, LdapFailure, Search};
use super::cookie::{Csn, written};
use super::entry::RawEntry;
use super::map::Map;
use super::pool::Pool;
use super::{LdapDirectory, feed, fleet, pages, part, stock};
use crate::config::{LdapConfig, Span};
use crate::directory::{DirectoryError, Entry, Kind, StockedLogin};

/// For one write: slapd waits for the disk, and a machine may be busy.
const WRITE: Duration = Duration::from_secs(30);
/// For one question, if the configuration does not give it more.
const PATIENCE: Span = Span::secs(15);
/// What the counter of new ids is in.
pub(crate) const NEXT_ID: &str = "mayfirstNextId";
/// A number that no counter has.
const NEVER: &[u8] = b"-1";
/// How a hash of crypt(3) is stored in `userPassword` (OpenLDAP's {CRYPT}).
const CRYPT: &str = "{CRYPT}";

/// Values of attributes, for an entry that is added.
pub(crate) type Attributes = Vec<(Vec<u8>, HashSet<Vec<u8>>)>;

/// A connection to a server that takes changes.
#[derive(Debug)]
pub(crate) struct Writer {
    client: Option<Client>,
    pool: Arc<Pool>,
    last: Last,
}

/// What was written last: of an entry that is followed the server tells its number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Last {
    Nothing,
    Entry(String),
    Removal,
}

/// A password as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredPassword {
    /// None is shown: there is none, or it may not be read.
    Unseen,
    /// crypt(5) takes it.
    Hash(PasswordHash),
    /// It does not; in which form it is.
    Foreign(String),
}

impl LdapDirectory {
    /// For identityctl: binds as `admin_dn`, or over `ldapi://` as what the socket says (root). Connects with the first question.
    ///
    /// # Errors
    /// The password file cannot be used, or there is no way to be an administrator.
    pub fn open_as_admin(mut config: LdapConfig) -> Result<Self, DirectoryError> {
        if config.admin_dn.is_empty() {
            config.servers.retain(|server| server.starts_with("ldapi://"));
            if config.servers.is_empty() {
                return Err(DirectoryError::Refused(
                    "nobody to write as: [directory] needs admin_dn with its password in admin_password_file, or a server ldapi://… of this machine, where root is known (docs/directory.md)"
                        .into(),
                ));
            }
        }
        // Nobody's login waits for it, and half a change is worse than a slow one.
        config.timeout = config.timeout.max(PATIENCE);
        let config = Arc::new(config);
        Ok(Self {
            pool: Pool::of_admin(Arc::clone(&config))?,
            feed: feed::Feed::new(&config),
            map: Map(config),
            reporting: fleet::Reporting::default(),
        })
    }

    /// Connects as who this process is now, before it becomes somebody else.
    ///
    /// # Errors
    /// No server answers.
    pub async fn connect_ahead(&self, connections: usize) -> Result<(), DirectoryError> {
        let mut all = Vec::new();
        for _ in 0..connections {
            all.push(self.pool.connect(true).await?);
        }
        all.into_iter().for_each(|client| self.pool.keep(client));
        Ok(())
    }

    /// A connection to a server that takes changes. A copy that cannot be written is left for the one that it names, if that is configured.
    pub(crate) async fn writing(&self) -> Result<Writer, DirectoryError> {
        let mut told = String::new();
        for _ in 0..self.map.0.servers.len() {
            let mut client = self.pool.connect(true).await?;
            let server = client.server;
            // Changes nothing: there is no such value. A copy says where to go, also before it looks.
            let nothing = vec![Mod::Delete(NEXT_ID.into(), HashSet::from([NEVER.to_vec()]))];
            let answer = tokio::time::timeout(WRITE, client.modify(&self.map.0.counter(), nothing)).await;
            let url = self.pool.url(server);
            match answer {
                Ok(Err(LdapFailure::Said { code: 10, text })) => {
                    self.pool.order.refused_to_write(server);
                    told = format!("{url} is a copy that cannot be written, and changes go to {text}");
                    if !text.split(' ').any(|there| self.map.0.servers.iter().any(|server| same_server(server, there)))
                    {
                        return Err(DirectoryError::Refused(format!(
                            "{told}, which is not in [directory] servers: add it there, or run this where it is"
                        )));
                    }
                }
                Ok(Err(LdapFailure::Said { code: 53, text })) => {
                    self.pool.order.refused_to_write(server);
                    told = format!("{url} takes no changes ({text})");
                }
                Ok(Err(LdapFailure::Said { code: 50, .. })) => {
                    return Err(DirectoryError::Refused(format!(
                        "{url} gives {} no right to write {} (olcAccess, schema/ldap/slapd.ldif)",
                        self.whom(),
                        self.map.0.counter()
                    )));
                }
                Ok(Ok(()) | Err(LdapFailure::Said { .. })) => {
                    return Ok(Writer { client: Some(client), pool: Arc::clone(&self.pool), last: Last::Nothing });
                }
                Ok(Err(failure)) => return Err(self.pool.unavailable(failure.to_string())),
                Err(_) => return Err(self.pool.unavailable(format!("{url} does not answer"))),
            }
        }
        Err(DirectoryError::Refused(format!("{told}; none of [directory] servers can be written")))
    }

    /// As whom identityctl writes, for people.
    pub(crate) fn whom(&self) -> &str {
        if self.map.0.admin_dn.is_empty() { "root over ldapi://" } else { &self.map.0.admin_dn }
    }

    /// What one entry or a few have.
    pub(crate) async fn find(&self, search: &Search) -> Result<Vec<RawEntry>, DirectoryError> {
        self.pool.search(search).await
    }

    /// The entry of this name; `None`: there is none.
    pub(crate) async fn entry(&self, dn: &str, attributes: &[&str]) -> Result<Option<RawEntry>, DirectoryError> {
        let search = Search {
            base: dn.into(),
            scope: Scope::Base,
            filter: "(objectClass=*)".into(),
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
            limit: 0,
            optional: true,
        };
        Ok(self.find(&search).await?.into_iter().next())
    }

    /// What many entries have, in pages.
    pub(crate) async fn find_all(
        &self,
        search: Search,
        each: impl FnMut(RawEntry) + Send,
    ) -> Result<(), DirectoryError> {
        pages::all(&self.pool, &[search], each).await
    }

    /// How entries become records.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// How deep a search goes below a base.
    pub(crate) fn scope(&self) -> Scope {
        part::scope_of(&self.map.0)
    }

    /// The newest change that the server knows, whatever it was; 0 where it does not say.
    pub(crate) async fn newest_change(&self) -> Result<Generation, DirectoryError> {
        let top = self.entry(&self.map.0.base, &["contextCSN"]).await?;
        let csns = top.iter().flat_map(|entry| entry.all("contextCSN"));
        let newest = csns.filter_map(|csn| Csn::parse(std::str::from_utf8(csn).ok()?)).map(|csn| csn.micros).max();
        Ok(Generation(newest.unwrap_or(0)))
    }

    /// Everything as it is served, and each entry as it is with these further attributes of logins.
    pub(crate) async fn read_all(
        &self,
        more: &[String],
        each: &mut (dyn FnMut(Kind, &RawEntry) + Send),
    ) -> Result<(Vec<StockedLogin>, Vec<Entry<Group>>), DirectoryError> {
        Ok(stock::read_with(&self.pool, &self.map, Generation(0), &|_| true, more, each).await?.into_parts())
    }

    /// The stored password of a login, if this is an administrator.
    pub(super) async fn stored_hash(&self, name: &LoginName) -> Result<Option<PasswordHash>, DirectoryError> {
        if !self.pool.is_admin() {
            return Ok(None);
        }
        let Some((login, _)) = self.login_named(name).await? else { return Ok(None) };
        let entry = self.entry(&login.dn, &[&self.map.0.attributes.password]).await?;
        Ok(entry.and_then(|entry| match self.map.password(&entry) {
            StoredPassword::Hash(hash) => Some(hash),
            StoredPassword::Unseen | StoredPassword::Foreign(_) => None,
        }))
    }
}

impl StoredPassword {
    /// What slapd makes of a password where `olcPasswordCryptSaltFormat` is missing: DES, of more than 8 characters in a form that is none of crypt(5).
    pub(crate) fn is_des(&self) -> bool {
        match self {
            StoredPassword::Hash(hash) => hash.method() == Method::Descrypt,
            StoredPassword::Foreign(form) => form.eq_ignore_ascii_case(CRYPT),
            StoredPassword::Unseen => false,
        }
    }
}

impl Map {
    /// The password of an entry that was asked for it. Of several the first that crypt(5) takes.
    pub(crate) fn password(&self, entry: &RawEntry) -> StoredPassword {
        let values = entry.all(&self.0.attributes.password);
        let texts = || values.iter().filter_map(|value| std::str::from_utf8(value).ok());
        let crypt = texts().find_map(|text| {
            let (scheme, rest) = text.split_at_checked(CRYPT.len())?;
            if scheme.eq_ignore_ascii_case(CRYPT) { rest.parse().ok() } else { None }
        });
        match (crypt, values.is_empty()) {
            (Some(hash), _) => StoredPassword::Hash(hash),
            (None, true) => StoredPassword::Unseen,
            // The form only, never the value.
            (None, false) => StoredPassword::Foreign(
                texts()
                    .find_map(|text| text.strip_prefix('{')?.split_once('}').map(|(scheme, _)| format!("{{{scheme}}}")))
                    .filter(|scheme| scheme.len() <= 32)
                    .unwrap_or_else(|| "a password in the clear".into()),
            ),
        }
    }
}

/// A hash as a value; `None`: no password, and no value.
pub(crate) fn crypt_value(hash: &PasswordHash) -> Option<Vec<u8>> {
    (hash.expose() != "*").then(|| format!("{CRYPT}{}", hash.expose()).into_bytes())
}

impl Writer {
    /// Adds an entry. `followed`: identityds follow it, so its number tells when they have it.
    pub(crate) async fn add(&mut self, dn: &str, entry: Attributes, followed: bool) -> Result<(), LdapFailure> {
        let client = self.client()?;
        let result = within(client.add(dn, entry)).await;
        self.note(result, followed.then(|| dn.to_owned()))
    }

    /// Puts down an id as used that a living entry still has, which is against the server's rule that no two have one: an entry, or if there is one already the value.
    pub(crate) async fn put_down(&mut self, dn: &str, entry: Attributes, number: &str) -> Result<(), LdapFailure> {
        let value = entry.iter().find(|(name, _)| name == number.as_bytes()).cloned();
        let client = self.client()?;
        client.relaxed();
        let mut result = within(client.add(dn, entry)).await;
        if let (Err(LdapFailure::Said { code: 68, .. }), Some((name, value))) = (&result, value) {
            client.relaxed();
            result = match within(client.modify(dn, vec![Mod::Add(name, value)])).await {
                // It is down whole.
                Err(LdapFailure::Said { code: 20, .. }) => Ok(()),
                other => other,
            };
        }
        self.note(result, None)
    }

    /// Changes an entry, all of it or nothing.
    pub(crate) async fn modify(
        &mut self,
        dn: &str,
        changes: Vec<Mod<Vec<u8>>>,
        followed: bool,
    ) -> Result<(), LdapFailure> {
        let client = self.client()?;
        let result = within(client.modify(dn, changes)).await;
        self.note(result, followed.then(|| dn.to_owned()))
    }

    /// Gives an entry another relative name, whose old value goes. `new`: its whole name then, if it is followed.
    pub(crate) async fn rename(&mut self, dn: &str, rdn: &str, new: Option<&str>) -> Result<(), LdapFailure> {
        let client = self.client()?;
        let result = within(client.rename(dn, rdn)).await;
        self.note(result, new.map(str::to_owned))
    }

    /// Removes an entry.
    pub(crate) async fn delete(&mut self, dn: &str, followed: bool) -> Result<(), LdapFailure> {
        let client = self.client()?;
        let result = within(client.delete(dn)).await;
        let done = self.note(result, None);
        if done.is_ok() && followed {
            self.last = Last::Removal;
        }
        done
    }

    /// The number of what was written last. Of a removal no entry tells it: then the newest change of all. `None`: nothing was written that is followed.
    pub(crate) async fn generation(&mut self, directory: &LdapDirectory) -> Result<Option<Generation>, DirectoryError> {
        match self.last.clone() {
            Last::Nothing => Ok(None),
            Last::Removal => directory.newest_change().await.map(Some),
            Last::Entry(dn) => self.generation_at(directory, &dn).await,
        }
    }

    /// The number of the newest change of an entry, at the server that is written.
    pub(crate) async fn generation_at(
        &mut self,
        directory: &LdapDirectory,
        dn: &str,
    ) -> Result<Option<Generation>, DirectoryError> {
        let entry = directory.entry(dn, &["entryCSN", "modifyTimestamp"]).await?;
        Ok(entry.as_ref().and_then(written))
    }

    fn client(&mut self) -> Result<&mut Client, LdapFailure> {
        self.client.as_mut().ok_or_else(|| LdapFailure::Away("the connection is gone".into()))
    }

    fn note(&mut self, result: Result<(), LdapFailure>, followed: Option<String>) -> Result<(), LdapFailure> {
        match &result {
            Ok(()) => {
                if let Some(dn) = followed {
                    self.last = Last::Entry(dn);
                }
            }
            // What comes after a given up question would be taken for the answer to another one.
            Err(failure) if failure.is_away() => self.client = None,
            Err(_) => {}
        }
        result
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.pool.keep(client);
        }
    }
}

async fn within(write: impl Future<Output = Result<(), LdapFailure>>) -> Result<(), LdapFailure> {
    tokio::time::timeout(WRITE, write).await.unwrap_or_else(|_| {
        Err(LdapFailure::Away("the server has not confirmed the change in time; run the command again".into()))
    })
}

/// Whether two URLs are of one server. Ports tell servers of one machine apart, if they speak the same way.
fn same_server(one: &str, other: &str) -> bool {
    let parts = |url: &str| {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?']).next()?.to_ascii_lowercase();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host.to_owned(), port.to_owned()),
            _ => (authority, if scheme == "ldaps" { "636" } else { "389" }.to_owned()),
        };
        Some((scheme.to_ascii_lowercase(), host, port))
    };
    match (parts(one), parts(other)) {
        (Some(one), Some(other)) => one.1 == other.1 && (one.0 != other.0 || one.2 == other.2),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referral_to_a_configured_server_is_known_by_host_and_port() {
        assert!(same_server("ldap://ldap1.example.org", "ldap://LDAP1.example.org:389/dc=example,dc=org"));
        assert!(same_server("ldaps://ldap1", "ldap://ldap1/"));
        assert!(!same_server("ldap://localhost:1389", "ldap://localhost:1390/"));
        assert!(!same_server("ldap://ldap1", "ldap://ldap2"));
        assert!(!same_server("ldap://ldap1", "nonsense"));
    }

    #[test]
    fn a_stored_password_is_a_hash_of_crypt_or_named_by_its_form() {
        let config: LdapConfig = toml::from_str("servers = [\"ldap://a\"]\nbase = \"dc=x\"\n").unwrap();
        let map = Map(Arc::new(config));
        let of = |value: &str| map.password(&RawEntry::default().with("userPassword", value));
        assert_eq!(of("{CRYPT}$6$salt$abc"), StoredPassword::Hash("$6$salt$abc".parse().unwrap()));
        assert_eq!(of("{crypt}!"), StoredPassword::Hash("!".parse().unwrap()));
        for (text, des) in
            [("AbZWccL2EBpV62Yymahost/w", true), ("AbZWccL2EBpV6", true), ("$6$a$b", false), ("*", false)]
        {
            assert_eq!(of(&format!("{{CRYPT}}{text}")).is_des(), des, "{text}");
        }
        assert_eq!(of("{SSHA}c2VjcmV0"), StoredPassword::Foreign("{SSHA}".into()));
        assert_eq!(of("{CRYPT}"), StoredPassword::Foreign("{CRYPT}".into()));
        assert_eq!(of("secret"), StoredPassword::Foreign("a password in the clear".into()));
        assert_eq!(map.password(&RawEntry::default()), StoredPassword::Unseen);
        assert_eq!(crypt_value(&PasswordHash::none()), None);
    }
}
