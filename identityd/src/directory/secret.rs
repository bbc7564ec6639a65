//! Passwords with which identityd and identityctl log in to a server, each in a file of its own: never in the configuration, which more people read.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// Reads the first line of a file that belongs to root, or to who reads it, and that nobody but these and one group may read.
///
/// # Errors
/// Why it is not used, with what to do.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        format!(
            "cannot read the password file {}: {}; make it with: install -o root -g identityd -m 0640 /dev/stdin {}",
            path.display(),
            std::io::Error::from(error),
            path.display()
        )
    })?;
    let file = std::fs::File::from(file);
    let meta = file.metadata().map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    check(path, meta.is_file(), (meta.uid(), rustix::process::geteuid().as_raw()), meta.mode())?;
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(4096).read_to_string(&mut text).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    if line.is_empty() {
        return Err(format!("the password file {} is empty; write the password on its first line", path.display()));
    }
    Ok(line)
}

fn check(path: &Path, is_file: bool, (uid, own): (u32, u32), mode: u32) -> Result<(), String> {
    let path = path.display();
    if !is_file {
        return Err(format!("the password file {path} is not a file; put the file itself there"));
    }
    if uid != 0 && uid != own {
        return Err(format!("the password file {path} belongs to uid {uid}; run: chown root:identityd {path}"));
    }
    if mode & 0o037 != 0 {
        return Err(format!(
            "the password file {path} has mode {:04o}, which lets others read or write it; run: chmod 0640 {path}",
            mode & 0o7777
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_remedy() {
        let path = Path::new("/p");
        assert!(check(path, true, (0, 999), 0o100_640).is_ok());
        assert!(check(path, true, (0, 999), 0o100_600).is_ok());
        assert!(check(path, true, (999, 999), 0o100_600).is_ok());
        for mode in [0o100_644, 0o100_660, 0o100_601] {
            assert!(check(path, true, (0, 999), mode).unwrap_err().contains("chmod 0640 /p"), "{mode:o}");
        }
        assert!(check(path, true, (1000, 999), 0o100_600).unwrap_err().contains("chown root:identityd /p"));
        assert!(check(path, false, (0, 999), 0o040_600).unwrap_err().contains("not a file"));
    }

    #[test]
    fn the_password_is_the_first_line_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
            read(&path)
        };
        assert_eq!(write("geheim\nrest\n").unwrap().as_str(), "geheim");
        assert_eq!(write("ge heim\r\n").unwrap().as_str(), "ge heim");
        assert!(write("\nrest").unwrap_err().contains("empty"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link).is_err());
        assert!(read(&folder.path().join("nothing")).unwrap_err().contains("install -o root"));
    }
}
