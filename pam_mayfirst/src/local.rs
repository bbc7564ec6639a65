//! Is this name an account of the server itself? Read from `/etc/passwd`, without NSS: nobody waits for the daemon for a local account.

use std::io::Read;
use std::path::Path;

/// Longest `/etc/passwd` that is read: some 200,000 lines. A longer one is an error rather than a half-read file.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Whether the file has a line for the name. root is local whatever the file says, so that a damaged file locks nobody out who could mend it.
pub(crate) fn contains(passwd: &Path, name: &[u8]) -> std::io::Result<bool> {
    if name == b"root" {
        return Ok(true);
    }
    let mut text = Vec::new();
    let read = std::fs::File::open(passwd)?.take(MAX_BYTES).read_to_end(&mut text)?;
    if read as u64 >= MAX_BYTES {
        return Err(std::io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(text.split(|byte| *byte == b'\n').any(|line| is_for(line, name)))
}

/// glibc's files skips blanks before the name (nss/nss_files/files-XXX.c, nss/nss_readline.c): such a line is an account all the same.
fn is_for(line: &[u8], name: &[u8]) -> bool {
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)).unwrap_or(line.len());
    let line = line.get(start..).unwrap_or_default();
    line.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_name_is_local_when_a_line_starts_with_it() {
        let passwd = file(b"daemon:x:1:1::/:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh");
        assert!(contains(passwd.path(), b"ana").unwrap());
        assert!(contains(passwd.path(), b"daemon").unwrap());
        for other in [b"an".as_slice(), b"x", b"", b"anab", b"aemon"] {
            assert!(!contains(passwd.path(), other).unwrap(), "{other:?}");
        }
    }

    #[test]
    fn a_line_with_blanks_before_its_name_counts() {
        let passwd = file(b"root:x:0:0::/:/bin/sh\n \tana:x:1000:1000::/home/ana:/bin/sh\n");
        assert!(contains(passwd.path(), b"ana").unwrap());
        assert!(!contains(passwd.path(), b"na").unwrap());
    }

    #[test]
    fn root_is_local_without_any_file() {
        assert!(contains(Path::new("/nonexistent"), b"root").unwrap());
        assert!(contains(Path::new("/nonexistent"), b"ana").is_err());
    }
}
