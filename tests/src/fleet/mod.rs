//! A fleet: many test machines, each with its identityd and name spaces of its own, on one directory server.

pub mod probe;
pub mod server;
pub mod spread;

use std::time::{Duration, Instant};

pub use probe::{Probe, published};
pub use server::{Kind, Server};
pub use spread::{Spread, Written, spreads};

use crate::limit::wide;
use crate::{Mosh, Refusal};

/// The first full reading of all hosts at once.
const FIRST: Duration = Duration::from_secs(120);

/// Hosts `mosh00`, `mosh01`, … on one server. It ends when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    /// In the order of their names.
    pub hosts: Vec<Mosh>,
    /// Their directory.
    pub server: Server,
    _shared: tempfile::TempDir,
}

/// What a fleet is to be like; [`boot!`](crate::boot!) starts it.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    kind: Kind,
    hosts: u32,
    logins: u32,
}

impl Plan {
    /// Boots it.
    ///
    /// # Errors
    /// As for [`Builder::start`](crate::mosh::Builder::start).
    pub fn start(self) -> Result<Fleet, Refusal> {
        Fleet::start(self)
    }
}

impl Fleet {
    /// So many hosts on a directory with so many logins.
    #[must_use]
    pub fn of(kind: Kind, hosts: u32, logins: u32) -> Plan {
        Plan { kind, hosts, logins }
    }

    /// Starts the server with its logins, then the hosts, and waits until each has published the directory.
    ///
    /// # Panics
    /// When one does not come up.
    fn start(Plan { kind, hosts, logins }: Plan) -> Result<Self, Refusal> {
        let shared = tempfile::tempdir().map_err(|error| Refusal::Failed(format!("no folder to share: {error}")))?;
        let server = Server::start(kind, shared.path(), logins)?;
        let (section, files) = server.configuration();
        let mut fleet = Self { hosts: Vec::new(), server, _shared: shared };
        for n in 0..hosts {
            let mosh =
                Mosh::builder().name(&format!("mosh{n:02}")).shared(fleet._shared.path()).without_daemon().start()?;
            let old = mosh.read("/etc/identityd/identityd.toml");
            assert!(old.contains("type = \"sqlite\"\n"), "the packaged configuration names the embedded directory");
            mosh.write("/etc/identityd/identityd.toml", &old.replace("type = \"sqlite\"\n", &section));
            for (path, text) in &files {
                mosh.write(path, text);
                let mode = if path.contains("admin") { "0600" } else { "0640" };
                mosh.sh(&format!("chown root:identityd {path}; chmod {mode} {path}")).success();
            }
            mosh.daemon().launch();
            fleet.hosts.push(mosh);
        }
        let end = Instant::now() + wide(FIRST);
        for mosh in &fleet.hosts {
            while published(mosh) == 0 {
                assert!(mosh.daemon().alive(), "identityd ended:\n{}", mosh.journal());
                assert!(Instant::now() < end, "no snapshot after {FIRST:?}:\n{}", mosh.journal());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(fleet)
    }

    /// Processor time of all identityds together.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let time = |mosh: &Mosh| mosh.daemon().pid().map(|pid| server::processor_time(mosh, &pid.to_string()));
        self.hosts.iter().filter_map(time).sum()
    }

    /// What the writer sent, with the generation of each.
    ///
    /// # Panics
    /// When the directory does not know one.
    #[must_use]
    pub fn written(&self, sent: &[(String, Duration)]) -> Vec<Written> {
        let generations = self.server.generations();
        let generation = |name: &String| *generations.get(name).unwrap_or_else(|| panic!("{name} has no generation"));
        sent.iter().map(|(name, at)| Written { at: *at, generation: generation(name) }).collect()
    }
}
