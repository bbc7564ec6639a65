//! What a test machine is to be like.

use std::path::Path;
use std::time::Instant;

use super::{Login, Mosh, Place};
use crate::places;
use crate::skip::Refusal;

/// Describes a test machine: `Mosh::builder().login(Login::new("ana").password("secret"))`, started by [`boot!`](crate::boot!).
#[derive(Debug, Default)]
pub struct Builder {
    bare: bool,
    no_daemon: bool,
    logins: Vec<Login>,
    files: Vec<(String, String)>,
    scripts: Vec<String>,
    place: Place,
}

impl Builder {
    /// Debian alone, without the product.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Has this host name instead of `mosh`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.place.name = name.into();
        self
    }

    /// Has this folder, which several machines share, at `/srv/shared`. A unix socket in it connects them.
    #[must_use]
    pub fn shared(mut self, folder: &Path) -> Self {
        self.place.shared = folder.into();
        self
    }

    /// Installed and wired, but identityd does not run: start it with `mosh.daemon().start()`.
    #[must_use]
    pub fn without_daemon(mut self) -> Self {
        self.no_daemon = true;
        self
    }

    /// Answers over the socket alone: identityd publishes no snapshot. For tests of the socket, the cache, and of a daemon that is away.
    #[must_use]
    pub fn lookup(mut self) -> Self {
        self.scripts.push("sed -i 's/^\\[snapshot\\]$/&\\nmode = \"lookup\"/' /etc/identityd/identityd.toml".into());
        self
    }

    /// Has this login in its directory.
    #[must_use]
    pub fn login(mut self, login: Login) -> Self {
        self.logins.push(login);
        self
    }

    /// Has these logins in its directory.
    #[must_use]
    pub fn logins(mut self, logins: impl IntoIterator<Item = Login>) -> Self {
        self.logins.extend(logins);
        self
    }

    /// Has this file, before identityd starts. Mode 0644, or what the file had that it replaces.
    #[must_use]
    pub fn file(mut self, path: &str, contents: &str) -> Self {
        self.files.push((path.into(), contents.into()));
        self
    }

    /// Runs a script as root, after the wiring and before identityd starts.
    #[must_use]
    pub fn prepare(mut self, script: &str) -> Self {
        self.scripts.push(script.into());
        self
    }

    /// Boots it. Tests call this through [`boot!`](crate::boot!), which also handles a refusal.
    ///
    /// # Errors
    /// [`Refusal::CannotRun`] where no test machine can run at all, [`Refusal::Failed`] when something in it does not work.
    ///
    /// # Panics
    /// When a step of the set-up fails, with what it printed.
    pub fn start(self) -> Result<Mosh, Refusal> {
        let started = Instant::now();
        let mut mosh = if self.bare {
            Mosh::boot(&[places::test_root()], None, &self.place)?
        } else {
            Mosh::boot_wired(&self.place)?
        };
        for (path, contents) in &self.files {
            mosh.write(path, contents);
        }
        for script in &self.scripts {
            mosh.sh(script).success();
        }
        for login in &self.logins {
            mosh.add(login);
        }
        if !self.bare && !self.no_daemon {
            mosh.daemon().start();
        }
        mosh.boot_time = started.elapsed();
        Ok(mosh)
    }
}
