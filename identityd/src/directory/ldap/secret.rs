//! The service account's password: from a file that only identityd and root can read.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use schema::wire::message::{MAX_PASSWORD, Secret};
use zeroize::Zeroize;

/// Reads the first line. Refuses a file that others can read or write, with the remedy.
pub(super) fn read(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let remedy = format!("run: chown root:identityd {shown} && chmod 0640 {shown}");
    let unreadable = |error: std::io::Error| format!("the password file {shown} cannot be read: {error}; {remedy}");
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(format!("the password file {shown} is not a file"));
    }
    if meta.mode() & 0o027 != 0 {
        return Err(format!(
            "the password file {shown} has mode {:04o}: others could use it; {remedy}",
            meta.mode() & 0o7777
        ));
    }
    let mut bytes = Vec::with_capacity(MAX_PASSWORD + 2);
    file.by_ref().take(MAX_PASSWORD as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
    let secret = Secret::new(bytes.get(..end).unwrap_or_default().to_vec());
    bytes.zeroize();
    if secret.expose().is_empty() {
        return Err(format!("the password file {shown} is empty: write the password on its first line"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "geheim\nrest\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().contains("chmod 0640"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(&path).unwrap().expose(), b"geheim");
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&path).unwrap_err().contains("empty"));
    }
}
