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
    // As an older version installed it, and noted it.
    mosh.sh(&format!(
        "sed -i 's/CommandUser .*/CommandUser identityd/' {DROP_IN} /var/lib/identityd-setup/sshd.installed"
    ))
    .success();
    setup(&mosh).success();
    assert_eq!(effective(&mosh, "authorizedkeyscommanduser"), "%u");
    assert_eq!(effective(&mosh, "kbdinteractiveauthentication"), "yes");
}

#[test]
fn a_file_of_ours_that_was_edited_stays_and_one_that_sshd_refuses_is_not_left() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let ours = mosh.read(DROP_IN);
    mosh.sh(&format!("echo 'DenyUsers eve' >>{DROP_IN}")).success();
    let edited = mosh.read(DROP_IN);
    assert!(setup(&mosh).success().stdout.contains("was edited here and stays as it is"));
    assert_eq!(mosh.read(DROP_IN), edited);
    // A new version whose file sshd does not take, over an unedited one.
    mosh.write(DROP_IN, &ours);
    mosh.sh("echo 'NoSuchKeyword yes' >>/usr/share/identityd/sshd/mayfirst.conf").success();
    assert!(setup(&mosh).failure().stderr.contains("it is as it was before"));
    assert_eq!(mosh.read(DROP_IN), ours);
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
