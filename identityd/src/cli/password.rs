//! Passwords for the directory: from a prompt or standard input, never from the command line or the environment.

use std::io::{BufRead, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use schema::hash::PasswordHash;
use schema::wire::message::{MAX_PASSWORD, Secret};
use zeroize::Zeroizing;

use super::CliError;
use super::args::PasswordSource;

/// Reads and hashes a password as the arguments say; from a prompt if they say nothing.
pub(super) fn read(source: &PasswordSource, login: &str) -> Result<PasswordHash, CliError> {
    if source.hash_stdin {
        let line = first_line()?;
        let text = std::str::from_utf8(&line).map_err(|_| CliError::Refused("the hash is not text".into()))?;
        let hash: PasswordHash =
            text.parse().map_err(|error| CliError::Refused(format!("standard input, the hash of {login}: {error}")))?;
        return Ok(hash);
    }
    let password = if source.stdin { Secret::new(first_line()?.to_vec()) } else { prompt(login)? };
    hash(&password, login)
}

fn hash(password: &Secret, login: &str) -> Result<PasswordHash, CliError> {
    let bytes = password.expose();
    let refused = |why: &str| Err(CliError::Refused(format!("the password of {login} {why}; nothing was changed")));
    if bytes.is_empty() {
        return refused("is empty; to have none, use --none");
    }
    if bytes.len() > MAX_PASSWORD {
        return refused(&format!("is longer than {MAX_PASSWORD} bytes"));
    }
    if bytes.contains(&0) {
        return refused("contains a NUL byte, which crypt(3) cannot take");
    }
    crate::auth::new_hash(bytes)
        .map_err(|error| CliError::Refused(format!("the password of {login} cannot be hashed: {error}")))
}

fn prompt(login: &str) -> Result<Secret, CliError> {
    let _quiet = Quiet::terminal();
    let ask = |text: &str| {
        let answer = rpassword::prompt_password(text);
        let what = format!("ask for the password of {login} (without a terminal use --stdin)");
        answer.map(Zeroizing::new).map_err(CliError::io(what))
    };
    let first = ask(&format!("New password of {login}: "))?;
    let second = ask("Once more: ")?;
    if *first != *second {
        return Err(CliError::Refused("the two passwords differ; nothing was changed".into()));
    }
    Ok(Secret::new(first.as_bytes().to_vec()))
}

/// A terminal that shows nothing, from before the first prompt to behind the last answer. rpassword silences it only after its prompt is
/// there: who types at once, or ahead, would see the password on the screen.
struct Quiet {
    terminal: std::fs::File,
    before: Termios,
}

impl Quiet {
    /// `None` without a terminal; rpassword then says what is wrong.
    fn terminal() -> Option<Self> {
        let terminal = std::fs::File::options().read(true).write(true).open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &quiet).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing is left to do if that fails: the terminal is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// One line, without its newline; what follows is not looked at.
fn first_line() -> Result<Zeroizing<Vec<u8>>, CliError> {
    // One more than is allowed, and the newline: a longer line is seen to be too long and costs no memory.
    line_of(&mut std::io::stdin().lock().take(MAX_PASSWORD as u64 + 2)).map_err(CliError::io("read standard input"))
}

fn line_of(input: &mut impl BufRead) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it: a vector that grows would leave copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 2));
    input.read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_stripped_and_nothing_else() {
        for (input, line) in
            [("secret\n", "secret"), ("secret", "secret"), (" a b \r\nmore", " a b \r"), ("", ""), ("\n", "")]
        {
            assert_eq!(*line_of(&mut input.as_bytes()).unwrap(), line.as_bytes());
        }
    }

    #[test]
    fn passwords_that_crypt_cannot_take_are_refused_without_repeating_them() {
        for password in [vec![], b"se\0cret".to_vec(), vec![b'x'; MAX_PASSWORD + 1]] {
            let error = hash(&Secret::new(password), "ana").unwrap_err().to_string();
            assert!(error.contains("ana") && !error.contains("cret") && !error.contains("xxx"), "{error}");
        }
    }
}
