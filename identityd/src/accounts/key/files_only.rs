//! A key as sshd gets it for a login without `shell`: it opens sftp and nothing else, whatever `sshd_config` and the key's own options say.

use super::{AuthorizedKey, KeyError, is_kind, options, word};

/// In front of every such key. `restrict` refuses forwarding, terminals and `~/.ssh/rc`; what comes later in a line could permit them again
/// (OpenSSH auth-options.c, sshauthopt_parse), so nothing of the kind is left there.
const OURS: &str = r#"restrict,command="internal-sftp""#;

/// Options that only narrow who may use the key, and when.
const NARROWING: [&str; 5] = ["from", "expiry-time", "verify-required", "cert-authority", "principals"];

/// The line with our options. Of its own those are kept that narrow; the comment goes.
///
/// # Errors
/// The line is not one that `key add` would take (another program wrote it), or its options have a backslash, which sshd and we may read
/// differently.
pub fn files_only(line: &str) -> Result<String, KeyError> {
    let key: AuthorizedKey = line.parse()?;
    let line = key.line();
    let (first, _) = word(line);
    let (own, rest) = if is_kind(first) {
        ("", line)
    } else {
        let rest = options(line)?;
        (line.strip_suffix(rest).unwrap_or_default(), rest)
    };
    if own.contains('\\') {
        return Err(KeyError::Options("a backslash in the options of a login without shell".into()));
    }
    let mut quoted = false;
    let own = own.trim_matches([' ', '\t']).split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    });
    let mut text = OURS.to_owned();
    for option in own {
        let name = option.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if NARROWING.contains(&name.as_str()) {
            text.push(',');
            text.push_str(option);
        }
    }
    let (kind, rest) = word(rest);
    let (body, _) = word(rest);
    Ok(format!("{text} {kind} {body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    #[test]
    fn a_plain_key_gets_our_options() {
        let expected = format!("restrict,command=\"internal-sftp\" {KEY}");
        assert_eq!(files_only(KEY).unwrap(), expected);
        assert_eq!(files_only(&format!("{KEY} ana@laptop, with words")).unwrap(), expected);
    }

    #[test]
    fn options_that_widen_are_dropped_and_those_that_narrow_are_kept() {
        for (own, kept) in [
            ("port-forwarding,pty,agent-forwarding,X11-forwarding,user-rc", ""),
            (r#"command="/bin/sh",permitopen="127.0.0.1:22""#, ""),
            (r#"environment="LD_PRELOAD=/x, y",tunnel="1""#, ""),
            ("no-touch-required,restrict,no-pty", ""),
            (r#"from="192.0.2.0/24,!192.0.2.7",port-forwarding"#, r#",from="192.0.2.0/24,!192.0.2.7""#),
            (r#"pty,Expiry-Time="20300101",verify-required"#, r#",Expiry-Time="20300101",verify-required"#),
            (r#"command="a, from=b",from="c""#, r#",from="c""#),
        ] {
            let expected = format!("restrict,command=\"internal-sftp\"{kept} {KEY}");
            assert_eq!(files_only(&format!("{own} {KEY} comment")).unwrap(), expected, "{own}");
        }
    }

    #[test]
    fn a_line_that_sshd_may_read_differently_is_not_given() {
        for line in [
            format!(r#"command="a\"",from="x" {KEY}"#),
            format!("{KEY}\n{KEY}"),
            format!("pty {KEY}").replace("AAAAC3", "AAAAC4"),
            "garbage".to_owned(),
            String::new(),
        ] {
            assert!(files_only(&line).is_err(), "{line}");
        }
    }
}
