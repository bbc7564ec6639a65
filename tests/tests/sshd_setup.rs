//! The set-up script and an sshd that its administrator has already configured.

use tests::{Mosh, boot};

const DROP_IN: &str = "/etc/ssh/sshd_config.d/mayfirst.conf";

fn setup(mosh: &Mosh) -> tests::mosh::Output {
    mosh.run(["/usr/lib/identityd/setup", "enable"])
}

fn effective(mosh: &Mosh, keyword: &str) -> String {
    mosh.sh(&format!("mkdir -p /run/sshd; sshd -T | sed -n 's/^{keyword} //p'")).success().text().to_owned()
}

#[test]
fn where_passwords_are_off_they_stay_off() {
    for place in ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/local.conf"] {
        let mosh = boot!(Mosh::builder().without_daemon());
        mosh.sh(&format!(
            "rm {DROP_IN}; printf 'PasswordAuthentication no\\nKbdInteractiveAuthentication no\\n' >>{place}"
        ))
        .success();
        let output = setup(&mosh).success();
        assert!(output.stdout.contains("PasswordAuthentication is no here and stays so"), "{output}");
        assert_eq!(effective(&mosh, "passwordauthentication"), "no");
        assert_eq!(effective(&mosh, "kbdinteractiveauthentication"), "no");
        assert_eq!(effective(&mosh, "authorizedkeyscommanduser"), "%u");
        let before = mosh.read(DROP_IN);
        assert!(!setup(&mosh).success().stdout.contains("installing"), "the second run changes nothing");
        assert_eq!(mosh.read(DROP_IN), before);
    }
}

#[test]
fn an_older_file_of_ours_is_no_decision_of_the_administrator() {
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.sh(&format!("sed -i 's/CommandUser .*/CommandUser identityd/' {DROP_IN}")).success();
    setup(&mosh).success();
    assert_eq!(effective(&mosh, "authorizedkeyscommanduser"), "%u");
    assert_eq!(effective(&mosh, "kbdinteractiveauthentication"), "yes");
}

#[test]
fn somebody_elses_command_for_keys_is_not_replaced() {
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.sh(&format!(
        "rm {DROP_IN}; printf 'AuthorizedKeysCommand /usr/bin/other %%u\\nAuthorizedKeysCommandUser nobody\\n' >>/etc/ssh/sshd_config.d/z.conf"
    ))
    .success();
    let output = setup(&mosh).failure();
    assert!(output.stderr.contains("already has an AuthorizedKeysCommand: /usr/bin/other %u"), "{output}");
    assert_eq!(effective(&mosh, "authorizedkeyscommand"), "/usr/bin/other %u");
    assert!(!mosh.exists(DROP_IN));
}
