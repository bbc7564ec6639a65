//! Lines of authorized_keys(5) that are taken and refused. The keys were made by ssh-keygen for these tests; their private halves are gone.

use proptest::prelude::*;

use super::{AuthorizedKey, KeyError};

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN5HcFgkzvMZZlSF72lbMgvCPL+NDEO5/oc5HFE5S5T0 ed25519 key";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBCrEVXWGz/eYK6tzP6RBIY48ALwUAcGqS59AYVkw+znWGMU2u/7GbolQuRtW346hE2jwHhK98twp40b/PrN3U6A= ecdsa key";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDN3dqnv5Zzm9Ypf+gIPBnKH+kwm988bb059x5fAmkusBCFArulJuuACH1Mj5s2vbQJs0OVrrCXEhKp/64KbYVB6eAdsbPtB3pxmmExybt8HK72ClKx1u/pJptUTZNl5o7fUxtAs1vZqRj0Rp7UP7IKi0A10XVB6RuqhVpX0Z7v1bZUnuGKBrjr5QxSmD83vyut0Dwgh8ilQ1EzcoZpf2LOYMInq+RVJE1U6EzOoGdkOCOMAKPECgW8U9jOqjRXO71TU8lUqM8J8XCcKW567/e0k20SolI5+uafiEkcX3ePD1JFMSW8scuBosWtt5EgCYOhMTvjdDMLxKjIC8R8GTqR rsa";
const SHORT: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCu/RcIOg7Pc8MkbwshnpZAhWhcd4gIPszCmDj+/h0Ldq8wGAblrBlT0iS0o8OVPDSlvoduoe2pIyWiCe2s5FzjvWEDCTujBAkVPZAqqPi7TfroYMcAJc+rfekOKT0Ln/F7et+08fzuKujrg5MoN4LwkupOJS846u7UX4xUcgO2fQ== short";

fn read(line: &str) -> Result<AuthorizedKey, KeyError> {
    line.parse()
}

#[test]
fn fingerprints_are_those_that_ssh_keygen_prints() {
    assert_eq!(read(ED25519).unwrap().fingerprint(), "SHA256:SrILsWLYgJsaHDxY1vIYtjaKTP6XrSLUFqUwGjaPBRc");
    assert_eq!(read(ECDSA).unwrap().fingerprint(), "SHA256:bb9HVnEuw5o1KDokFXIh31bUu0yqWzWB7zuPEIJlzXc");
    assert_eq!(read(RSA).unwrap().fingerprint(), "SHA256:6Z31WelZyzVt+Z+Ue7OkkW12TR3qL9a5TqEVMlfax50");
    assert_eq!(read(ED25519).unwrap().comment(), "ed25519 key");
}

#[test]
fn options_stand_before_the_key_and_stay() {
    for options in [
        "no-pty",
        "restrict,pty",
        "command=\"echo \\\"hi, you\\\"\",from=\"10.0.0.0/8,!10.1.1.1\"",
        "environment=\"A=b c\"",
    ] {
        let key = read(&format!("{options} {ED25519}")).unwrap();
        assert!(key.line().starts_with(options));
        assert_eq!(key.kind(), "ssh-ed25519");
    }
}

#[test]
fn what_sshd_would_not_take_is_refused_with_its_reason() {
    type Case<'a> = (&'a str, fn(&KeyError) -> bool);
    let body = ED25519.split(' ').nth(1).unwrap();
    let cases: &[Case<'_>] = &[
        ("", |error| *error == KeyError::Empty),
        ("# comment", |error| *error == KeyError::Empty),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", |error| *error == KeyError::Private),
        ("ssh-dss AAAAB3NzaC1kc3MAAACBAKQAaGyyWLYxkccGzIBKOWBM1TA5GjHK", |error| *error == KeyError::Dsa),
        ("hello world", |error| *error == KeyError::NoType),
        ("ssh-ed25519", |error| matches!(error, KeyError::Blob(_))),
        ("ssh-ed25519 !!!!", |error| *error == KeyError::Base64),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", |error| matches!(error, KeyError::Certificate(_))),
        ("evil=\"x\" ssh-ed25519 AAAA", |error| matches!(error, KeyError::Options(_))),
        ("command=\"x ssh-ed25519 AAAA", |error| matches!(error, KeyError::Options(_))),
        (SHORT, |error| *error == KeyError::ShortRsa(1024)),
    ];
    for (line, expected) in cases {
        let found = read(line).unwrap_err();
        assert!(expected(&found), "{line:?}: {found:?}");
    }
    assert!(matches!(read(&format!("ssh-rsa {body}")), Err(KeyError::Blob(_))), "the type outside and inside differ");
    assert!(matches!(read(&format!("ssh-ed25519 {}", &body[..40])), Err(KeyError::Blob(_))), "cut");
    assert!(matches!(read(&format!("{ED25519}\n{ECDSA}")), Err(KeyError::Control(_))), "two lines");
    assert!(matches!(read(&format!("ssh-ed25519 {}", "A".repeat(20_000))), Err(KeyError::TooLong(_))));
}

proptest! {
    #[test]
    fn any_text_is_answered(line in "\\PC{0,80}", kind in "(ssh-rsa|ssh-ed25519|no-pty ssh-rsa) [A-Za-z0-9+/=]{0,80}") {
        let _ = read(&line);
        let _ = read(&kind);
    }
}
