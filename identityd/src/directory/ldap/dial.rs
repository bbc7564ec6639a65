//! From a URL to a connection: TCP or a local socket, with or without TLS, always through the guard.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::ber::{self, ENUMERATED, INTEGER, OCTET_STRING, Reader, SEQUENCE};
use super::guard;
use crate::config::{LdapConfig, LdapTls};

/// Both halves of a connection to a server.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// As configured, for people.
    pub(super) url: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Tcp { host: String, port: u16, security: Security },
    Unix(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Clear,
    StartTls,
    Tls,
}

/// What the certificates of servers are checked against.
#[derive(Clone)]
pub(super) struct Trust(Arc<ClientConfig>);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}

impl Endpoint {
    /// A server from its URL.
    pub(super) fn parse(url: &str, config: &LdapConfig) -> Result<Self, String> {
        let bad = |what: &str| format!("{url:?}: {what}");
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| bad("no scheme; use ldap://, ldaps:// or ldapi://"))?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let place = match scheme {
            "ldapi" if authority.is_empty() => Place::Unix("/run/slapd/ldapi".into()),
            "ldapi" => Place::Unix(
                unescape(authority).filter(|path| path.starts_with('/')).ok_or_else(|| bad("write / as %2F"))?.into(),
            ),
            "ldap" | "ldaps" => {
                let security = match (scheme, config.tls) {
                    ("ldaps", _) => Security::Tls,
                    (_, LdapTls::Starttls) => Security::StartTls,
                    (_, LdapTls::None) => Security::Clear,
                };
                let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                    Some((host, port)) => (host, port.strip_prefix(':')),
                    None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
                };
                let default = if security == Security::Tls { 636 } else { 389 };
                let port = port.map_or(Ok(default), str::parse).map_err(|_| bad("the port is not a number"))?;
                if host.is_empty() {
                    return Err(bad("no host"));
                }
                Place::Tcp { host: host.into(), port, security }
            }
            _ => return Err(bad("use ldap://, ldaps:// or ldapi://")),
        };
        Ok(Self { url: url.into(), place })
    }

    /// Whether what goes over this connection can be read on the way.
    pub(super) fn is_clear(&self) -> bool {
        matches!(self.place, Place::Tcp { security: Security::Clear, .. })
    }

    /// Whether it is the same server, reached in the same way. A local socket is nobody's but this machine's: no URL of a server may lead there.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Tcp { host, port, security }, Place::Tcp { host: h, port: p, security: s }) => {
                host.eq_ignore_ascii_case(h) && port == p && security == s
            }
            _ => false,
        }
    }

    /// Connects.
    pub(super) async fn dial(&self, trust: Option<&Trust>) -> io::Result<Box<dyn Wire>> {
        match &self.place {
            Place::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Place::Tcp { host, port, security } => {
                let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
                keep_alive(&stream)?;
                if *security == Security::Clear {
                    return Ok(Box::new(stream));
                }
                if *security == Security::StartTls {
                    start_tls(&mut stream).await?;
                }
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let trust = trust.ok_or_else(|| io::Error::other("no certificates to check the server by"))?;
                Ok(Box::new(TlsConnector::from(Arc::clone(&trust.0)).connect(name, stream).await?))
            }
        }
    }
}

impl Trust {
    /// Reads the authorities; `None`: no server needs them.
    pub(super) fn read(config: &LdapConfig, endpoints: &[Endpoint]) -> Result<Option<Self>, String> {
        let needed = |endpoint: &Endpoint| !endpoint.is_clear() && matches!(endpoint.place, Place::Tcp { .. });
        if !endpoints.iter().any(needed) {
            return Ok(None);
        }
        let path = config.ca_file.display();
        let refused = |reason: String| {
            format!(
                "{path}: {reason}; [directory] ca_file names the certificates (PEM) of the authorities that are trusted"
            )
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&config.ca_file).map_err(|error| refused(error.to_string()))? {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            // One that is strange must not make the others useless.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err(refused("there is no certificate in it".into()));
        }
        // Named, not the process's default: sqlx may have set another one.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Some(Self(Arc::new(config))))
    }
}

/// A peer that vanished is noticed by the kernel although we send nothing, and one that takes nothing although we do.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(5))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(2))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, 10_000)?;
    Ok(())
}

/// RFC 4511 §4.14, before ldap3 sees the connection: nothing that came in the clear is looked at afterwards.
async fn start_tls(stream: &mut TcpStream) -> io::Result<()> {
    let mut inside = vec![INTEGER, 1, 1];
    let mut request = Vec::new();
    ber::write(&mut request, 0x80, b"1.3.6.1.4.1.1466.20037");
    ber::write(&mut inside, 0x77, &request);
    let mut message = Vec::new();
    ber::write(&mut message, SEQUENCE, &inside);
    stream.write_all(&message).await?;
    let mut answer = Vec::new();
    let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed instead of starting TLS");
    let length = guard::frame(stream, &mut answer, guard::MAX_MESSAGE).await?.ok_or_else(closed)?;
    if length != answer.len() {
        return Err(io::Error::other("the server sent something in the clear behind its answer to StartTLS"));
    }
    let refused = |error: ber::Malformed| io::Error::other(error);
    let mut inside = Reader::new(&answer).expect(SEQUENCE, "no message").map_err(refused)?.inside();
    inside.expect(INTEGER, "a message without a number").map_err(refused)?;
    let mut result = inside.expect(0x78, "not an answer to StartTLS").map_err(refused)?.inside();
    let code = result.expect(ENUMERATED, "a result without a code").and_then(|code| code.number()).map_err(refused)?;
    if code == 0 {
        return Ok(());
    }
    let _ = result.expect(OCTET_STRING, "a result without a name");
    let text = result.expect(OCTET_STRING, "a result without a text").and_then(|text| text.text()).unwrap_or_default();
    Err(io::Error::other(format!(
        "the server refuses StartTLS (result {code}: {text}); give it a certificate, or use ldaps://"
    )))
}

/// `%xx` in a URL (RFC 3986 §2.1).
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}
