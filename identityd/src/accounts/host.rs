//! What this server says about a shell or a home: whether the shell is there, and whether the home leads into the system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schema::path::{HomePath, ShellPath};

use super::{AccountsError, Warning};

/// Folders of the system (hier(7), FHS 3.0): no login lives in them.
const SYSTEM: [&str; 15] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/identityd",
];

/// Homes that mean "none": adduser and nobody use the first.
const NO_HOME: [&str; 2] = ["/nonexistent", "/dev/null"];

/// The server as far as shells and homes go.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    shells: BTreeSet<String>,
}

impl Host {
    /// This server.
    #[must_use]
    pub fn local() -> Self {
        Self::at(Path::new("/"))
    }

    /// A server whose root is mounted at `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        let text = std::fs::read_to_string(root.join("etc/shells")).unwrap_or_default();
        let shells = text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(str::to_owned).collect();
        Self { root: root.into(), shells }
    }

    /// What is doubtful about a shell. nologin(8) and false(1) are fine without being listed.
    #[must_use]
    pub fn shell(&self, shell: &ShellPath) -> Option<Warning> {
        let path = self.root.join(shell.as_str().trim_start_matches('/'));
        if !path.is_file() {
            return Some(Warning::ShellMissing(shell.clone()));
        }
        let listed = self.shells.contains(shell.as_str()) || !opens_a_shell(shell);
        (!listed).then(|| Warning::ShellNotListed(shell.clone()))
    }

    /// Refuses a home inside a folder of the system, also behind symbolic links as far as they exist here.
    ///
    /// # Errors
    /// It lies there.
    pub fn home(&self, home: &HomePath) -> Result<(), AccountsError> {
        if NO_HOME.contains(&home.as_str()) {
            return Ok(());
        }
        if let Some(system) = inside_system(Path::new(home.as_str())) {
            return Err(AccountsError::Invalid(format!(
                "the home {home} lies in {system}, which belongs to the system; homes are usually /home/members/users/NAME"
            )));
        }
        let Some(real) = self.resolve(home) else {
            return Ok(());
        };
        match inside_system(&real) {
            Some(_) => Err(AccountsError::Invalid(format!(
                "the home {home} leads to {} on this server through a symbolic link; remove the link or choose another home",
                real.display()
            ))),
            None if real == Path::new("/") => Err(AccountsError::Invalid(format!(
                "the home {home} leads to / on this server through a symbolic link; remove the link or choose another home"
            ))),
            None => Ok(()),
        }
    }

    /// The deepest part of the path that exists, with links followed, and the rest behind it. `None`: it holds no link, or cannot be seen.
    fn resolve(&self, home: &HomePath) -> Option<PathBuf> {
        let whole = self.root.join(home.as_str().trim_start_matches('/'));
        let existing = whole.ancestors().find(|path| path.symlink_metadata().is_ok())?;
        let rest = whole.strip_prefix(existing).ok()?;
        let real = existing.canonicalize().ok()?;
        // A link's target counts from the root of the server; where that is mounted elsewhere only relative links can be judged.
        let real = real.strip_prefix(&self.root).map_or_else(|_| real.clone(), |inner| Path::new("/").join(inner));
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    }
}

/// Whether a login with this shell can work with it.
#[must_use]
pub fn opens_a_shell(shell: &ShellPath) -> bool {
    let name = shell.as_str().rsplit('/').next().unwrap_or_default();
    !matches!(name, "nologin" | "false" | "true" | "sync" | "shutdown" | "halt")
}

fn inside_system(path: &Path) -> Option<&'static str> {
    SYSTEM.iter().copied().find(|system| path.starts_with(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &str) -> HomePath {
        text.parse().unwrap()
    }

    #[test]
    fn a_home_in_the_system_is_refused() {
        let host = Host::at(tempfile::tempdir().unwrap().path());
        for text in ["/etc", "/etc/ssh", "/root", "/proc/1", "/usr/local", "/var/lib/identityd/x"] {
            assert!(host.home(&home(text)).is_err(), "{text}");
        }
        for text in ["/home/members/users/ana", "/nonexistent", "/var/www", "/etcetera", "/media/fs/1/users/ana"] {
            assert!(host.home(&home(text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_home_that_is_a_link_into_etc_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("home")).unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("home/trap")).unwrap();
        let host = Host::at(root.path());
        assert!(host.home(&home("/home/trap")).is_err());
        assert!(host.home(&home("/home/trap/deeper")).is_err());
        assert!(host.home(&home("/home/other")).is_ok());
    }

    #[test]
    fn shells_are_judged_by_the_file_and_by_shells_5() {
        let root = tempfile::tempdir().unwrap();
        for file in ["etc/shells", "bin/sh", "bin/odd", "usr/sbin/nologin"] {
            std::fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(root.path().join(file), "# comment\n/bin/sh\n").unwrap();
        }
        let host = Host::at(root.path());
        let shell = |text: &str| host.shell(&text.parse().unwrap());
        assert_eq!(shell("/bin/sh"), None);
        assert_eq!(shell("/usr/sbin/nologin"), None);
        assert!(matches!(shell("/bin/odd"), Some(Warning::ShellNotListed(_))));
        assert!(matches!(shell("/bin/none"), Some(Warning::ShellMissing(_))));
    }
}
