//! Dovecot, php-fpm and scripts with logins of the directory.

use std::time::Duration;

use tests::mosh::{Builder, Output};
use tests::{Login, Mosh, boot};

const HOME: &str = "/home/members/users";
const NO_HANG: Duration = Duration::from_secs(15);
/// Dovecot makes an address that has failed wait, up to 15 s.
const NO_PENALTY: &str = "service anvil {\n unix_listener anvil-auth-penalty {\n mode = 0\n }\n}";

fn login(name: &str, capabilities: &[&'static str]) -> Login {
    Login::new(name).password("secret").capabilities(capabilities.iter().copied())
}

/// `mia` has mail only, `ana` a shell only.
fn machine() -> Builder {
    Mosh::builder().login(login("mia", &["mail"])).login(login("ana", &["shell"]))
}

/// Reads the first message of the mailbox over IMAP.
fn read_mail(mosh: &Mosh, login: &str, password: &str) -> Output {
    let user = format!("{login}:{password}");
    mosh.run(["curl", "-sS", "--max-time", "20", "-u", &user, "imap://127.0.0.1/INBOX/;MAILINDEX=1"])
}

#[test]
fn a_mail_only_login_reads_its_mail_over_imap_and_finds_a_home() {
    let mosh = boot!(machine());
    mosh.dovecot("");
    // The mailbox is empty: the first session only makes the home.
    mosh.run(["curl", "-sS", "-u", "mia:secret", "imap://127.0.0.1/"]).success();
    assert_eq!(mosh.run(["stat", "-c", "%U %a", &format!("{HOME}/mia")]).success().text(), "mia 700");
    mosh.sh("mkdir -p ~mia/Maildir/new && printf 'Subject: greetings\\n\\nhello\\n' >~mia/Maildir/new/1.x && chown -R mia: ~mia/Maildir")
        .success();
    assert!(read_mail(&mosh, "mia", "secret").success().stdout.contains("greetings"));
    assert!(!mosh.sh("doveadm user mia").success().stdout.is_empty());
}

#[test]
fn without_sessions_dovecot_makes_no_home() {
    let mosh = boot!(machine());
    mosh.dovecot("");
    mosh.sh("sed -i 's/session=yes //' /etc/dovecot/dovecot.conf && doveadm reload").success();
    mosh.wait_until("dovecot has read it", NO_HANG, |mosh| {
        mosh.try_read("/var/log/dovecot.log").is_ok_and(|log| log.contains("SIGHUP received"))
    });
    let list = ["curl", "-sS", "-u", "mia:secret", "imap://127.0.0.1/INBOX/;MAILINDEX=1"];
    mosh.run(list).failure();
    assert!(!mosh.exists(&format!("{HOME}/mia")));
    assert!(mosh.journal().contains("authenticated login=\"mia\""), "the password was right");
}

#[test]
fn imap_refuses_in_the_same_words_who_has_no_mail_a_wrong_password_or_no_name_at_all() {
    let mosh = boot!(machine().login(login("lea", &["mail"])));
    mosh.identityctl(["login", "lock", "lea"]).success();
    mosh.dovecot(NO_PENALTY);
    let refusals = [("ana", "secret"), ("mia", "wrong-one"), ("lea", "secret"), ("nobody-at-all", "secret")];
    let said = refusals.map(|(name, password)| read_mail(&mosh, name, password).failure().stderr);
    assert!(said[0].contains("Login denied"), "{}", said[0]);
    assert!(said.iter().all(|words| *words == said[0]), "{said:?}");
    assert!(!mosh.exists(&format!("{HOME}/ana")), "no session, no home");
    mosh.run(["curl", "-sS", "-u", "mia:secret", "imap://127.0.0.1/"]).success();
}

#[test]
fn imap_comes_back_with_the_daemon() {
    let mosh = boot!(machine());
    mosh.dovecot(NO_PENALTY);
    let list = || mosh.run(["curl", "-sS", "--max-time", "20", "-u", "mia:secret", "imap://127.0.0.1/"]);
    list().success();
    mosh.daemon().kill();
    let output = list().failure();
    assert!(output.took < NO_HANG, "{:?}", output.took);
    mosh.daemon().start();
    // Published names are answered for before the directory has been opened.
    mosh.wait_until("the directory is asked", NO_HANG, |mosh| {
        mosh.identityctl(["--json", "status"]).stdout.contains("\"reachable\": true")
    });
    list().success();
}

#[test]
fn php_runs_as_the_login_of_its_pool() {
    let mosh = boot!(machine());
    mosh.identityctl(["group", "add", "club"]).success();
    mosh.identityctl(["group", "add-member", "club", "ana"]).success();
    mosh.run(["su", "-", "ana", "-c", "true"]).success();
    mosh.write(
        &format!("{HOME}/ana/who.php"),
        "<?php echo posix_getpwuid(posix_geteuid())['name'], ' ', posix_getgrgid(posix_getegid())['name'], ' ', get_current_user(), ' ',\
         implode(',', array_map(fn($gid) => posix_getgrgid($gid)['name'], posix_getgroups())), ' ', trim(shell_exec('whoami')), ' ',\
         file_put_contents(__DIR__ . '/made', 'x'), \"\\n\";",
    );
    mosh.run(["chown", "ana:", &format!("{HOME}/ana/who.php")]).success();
    mosh.php_fpm("ana");
    let output = mosh.sh(&format!(
        "SCRIPT_FILENAME={HOME}/ana/who.php SCRIPT_NAME=/who.php REQUEST_METHOD=GET cgi-fcgi -bind -connect /run/php/ana.sock"
    ));
    let said = output.success();
    let last = said.stdout.lines().last().unwrap_or_default();
    assert!(last == "ana ana ana ana,club ana 1" || last == "ana ana ana club,ana ana 1", "{said}");
    assert_eq!(mosh.run(["stat", "-c", "%U:%G", &format!("{HOME}/ana/made")]).success().text(), "ana:ana");
}

#[test]
fn php_fpm_starts_with_a_login_that_was_added_a_moment_ago() {
    let mosh = boot!(Mosh::builder());
    let test = "rm -f /etc/php/8.2/fpm/pool.d/*.conf
        printf '[eva]\\nuser = eva\\nlisten = /run/php/eva.sock\\npm = static\\npm.max_children = 1\\n' >/etc/php/8.2/fpm/pool.d/eva.conf
        php-fpm8.2 -t";
    let unknown = mosh.sh(test).failure();
    assert!(unknown.stderr.contains("eva"), "{unknown}");
    mosh.add(&login("eva", &["shell"]));
    mosh.sh(test).success();
    mosh.php_fpm("eva");
}

#[test]
fn archives_and_copies_keep_the_owner_by_name() {
    let mosh = boot!(machine());
    let script = "cd /root && mkdir from && touch from/hers && chown ana:mia from/hers
        tar -cf a.tar from && mkdir tar && tar -C tar -xf a.tar && stat -c %U:%G tar/from/hers
        rsync -a from/ copy/ && stat -c %U:%G copy/hers
        rsync -a --chown=mia:ana from/ other/ && stat -c %U:%G other/hers
        cp -a from again && stat -c %U:%G again/hers
        tar --owner=mia --group=mia -cf b.tar from/hers && tar -tvf b.tar | cut -d' ' -f2
        install -o ana -g mia -m 0600 from/hers installed && stat -c %U:%G installed";
    let owners = mosh.sh(script).success();
    assert_eq!(owners.text(), "ana:mia\nana:mia\nmia:ana\nana:mia\nmia/mia\nana:mia");
}

#[test]
fn every_map_is_read_by_getent() {
    let mosh = boot!(machine());
    let ana = mosh.run(["id", "-u", "ana"]).success().text().to_owned();
    let line = format!("ana:x:{ana}:{ana}::{HOME}/ana:/bin/bash");
    assert_eq!(mosh.run(["getent", "passwd", "ana"]).success().text(), line);
    assert_eq!(mosh.run(["getent", "group", "ana"]).success().text(), format!("ana:x:{ana}:"));
    // This one comes over the socket, for which a call has 200 ms: on a busy machine not at the first try.
    let mut shadow = String::new();
    mosh.wait_until("the entry of shadow comes", NO_HANG, |mosh| {
        shadow = mosh.run(["getent", "shadow", "ana"]).stdout;
        !shadow.is_empty()
    });
    assert!(shadow.starts_with("ana:*:"), "{shadow}");
    assert_eq!(mosh.run(["getent", "initgroups", "mia"]).success().text().split_whitespace().next(), Some("mia"));
    let gone = mosh.run(["getent", "passwd", "ana", "nobody-at-all", "mia"]).exit(2);
    assert_eq!(gone.stdout.lines().count(), 2, "{gone}");
    mosh.run(["getent", "gshadow", "ana"]).exit(2);
    assert_eq!(mosh.run(["logname"]).stdout, "", "no login without a terminal");
    for program in
        ["last -n 1 ana", "lastlog -u ana", "w -h ana", "groups ana", "ps -u ana", "pgrep -u ana || test $? = 1"]
    {
        let output = mosh.sh(program);
        assert!(output.ok() || program.starts_with("ps"), "{output}");
        assert!(!output.stderr.contains("nknown"), "{output}");
    }
}
