//! Import of account files and export back.

use std::fmt::Write;

use proptest::prelude::*;

use super::{World, message, name};
use crate::accounts::host::Host;
use crate::accounts::import::{Fate, File, Files, Finding, Options, Plan};
use crate::directory::Changes;

const PASSWD: &str = "ana:x:2001:2001:Ana:/home/members/radio/sites/77/users/ana:/bin/bash\n\
    web:x:2002:2002::/home/members/users/web:/usr/sbin/nologin\n\
    luz:x:2003:2003:Luz:/home/members/users/luz:/bin/sh\n";
const SHADOW: &str =
    "ana:$6$salt$NEWHASH:19000:0:99999:7:::\nweb:!$y$j9T$abc$def:19001::::30:19500:\nluz:*:0:0:99999:7:::\n";
const GROUP: &str = "ana:x:2001:\nweb:x:2002:\nluz:x:2003:\nteam:x:2500:ana,luz\n";

pub(super) fn files(passwd: &str, shadow: &str, group: &str) -> Files {
    Files {
        passwd: Some(File::new("passwd", passwd)),
        shadow: Some(File::new("shadow", shadow)),
        group: Some(File::new("group", group)),
    }
}

pub(super) async fn plan(world: &World, files: &Files) -> Plan {
    world.accounts.import_plan(files, &Options::default()).await.unwrap()
}

pub(super) async fn import(world: &World, files: &Files) -> Plan {
    let plan = plan(world, files).await;
    world.accounts.import_apply(&plan, &mut |_| ()).await.unwrap();
    plan
}

pub(super) fn of<'a>(plan: &'a Plan, file: &str, line: u64) -> Vec<&'a Finding> {
    plan.findings.iter().filter(|finding| finding.origin.file == file && finding.origin.line == line).collect()
}

#[tokio::test]
async fn an_import_comes_out_byte_for_byte_and_a_second_one_changes_nothing() {
    let world = World::new().await;
    let files = files(PASSWD, SHADOW, GROUP);
    let done = import(&world, &files).await;
    assert_eq!((done.summary.logins, done.summary.groups, done.summary.members), (3, 4, 2));
    assert!(done.findings.is_empty(), "{:?}", done.findings);
    let export = world.accounts.export().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&export.passwd), PASSWD);
    assert_eq!(String::from_utf8_lossy(&export.shadow), SHADOW);
    assert_eq!(String::from_utf8_lossy(&export.group), GROUP);
    let again = plan(&world, &files).await;
    assert!(again.is_empty(), "{:?}", again.summary);
    assert_eq!(again.findings, []);
    let ana = world.accounts.login(&name("ana")).await.unwrap();
    assert_eq!(ana.login.membership.unwrap().as_str(), "radio");
    assert_eq!(ana.groups[0].name.as_str(), "team");
    let tokens = |details: &crate::accounts::login::LoginDetails| {
        details.login.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(tokens(&world.accounts.login(&name("web")).await.unwrap()), "mail");
    assert_eq!(tokens(&world.accounts.login(&name("luz")).await.unwrap()), "cron ftp mail sftp shell");
}

#[tokio::test]
async fn a_last_line_without_newline_and_the_longest_hash_survive() {
    let world = World::new().await;
    let hash = format!("$6$rounds=5000$salt${}", "h".repeat(384 - 20));
    assert_eq!(hash.len(), 384);
    let shadow = format!("ana:{hash}:19000::::::");
    let passwd = "ana:x:2001:2001::/home/members/users/ana:/bin/bash";
    let done = import(&world, &files(passwd, &shadow, "ana:x:2001:")).await;
    assert!(done.findings.is_empty(), "{:?}", done.findings);
    let export = world.accounts.export().await.unwrap();
    assert_eq!(*export.shadow, format!("{shadow}\n").into_bytes());
    assert_eq!(export.passwd, format!("{passwd}\n").into_bytes());
}

#[tokio::test]
async fn each_kind_of_password_field_means_what_shadow_5_says() {
    let world = World::new().await;
    let cases = [
        ("*", "active", "*"),
        ("!", "active", "!"),
        ("!!", "locked", "!"),
        ("!*", "locked", "*"),
        ("!$6$a$b", "locked", "$6$a$b"),
        ("!!$6$a$b", "locked", "!$6$a$b"),
        ("$y$j9T$abc$def", "active", "$y$j9T$abc$def"),
        ("ab01234567./x", "active", "ab01234567./x"),
        ("", "locked", "*"),
        ("plaintext", "active", "*"),
        ("$9$new$format", "active", "*"),
    ];
    let (mut passwd, mut shadow) = (String::new(), String::new());
    for (at, (field, _, _)) in cases.iter().enumerate() {
        let id = 2000 + at;
        writeln!(passwd, "u{at}:x:{id}:{id}::/home/members/users/u{at}:/bin/bash").unwrap();
        writeln!(shadow, "u{at}:{field}:19000:0:99999:7:::").unwrap();
    }
    let done = import(&world, &files(&passwd, &shadow, "")).await;
    for (at, (field, status, hash)) in cases.iter().enumerate() {
        let question = format!("SELECT status || ' ' || password_hash FROM login WHERE name = 'u{at}'");
        assert_eq!(world.ask(&question).await, format!("{status} {hash}"), "{field}");
    }
    assert_eq!(done.findings.iter().filter(|finding| finding.origin.file == "shadow").count(), 3);
    assert!(
        done.findings.iter().all(|finding| !finding.reason.contains("plaintext")),
        "a report never shows a password"
    );
}

/// Lines of passwd that are not taken, with the fate and a part of the reason.
const LINES: &[(&str, Fate, &str)] = &[
    ("root:x:0:0:root:/root:/bin/bash", Fate::Skipped, "of the system"),
    ("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin", Fate::Skipped, "of the system"),
    ("", Fate::Skipped, "empty"),
    ("# who", Fate::Skipped, "comment"),
    ("+::::::", Fate::Skipped, "NIS"),
    ("+@staff", Fate::Skipped, "NIS"),
    ("-evil", Fate::Skipped, "NIS"),
    ("root:x:3001:3001::/home/x:/bin/bash", Fate::Refused, "reserved"),
    ("-rf:x:3001:3001::/home/x:/bin/bash", Fate::Refused, "lower-case"),
    ("a:b:x:3001:3001::/home/x:/bin/bash", Fate::Refused, "8 fields"),
    ("josé:x:3001:3001::/home/x:/bin/bash", Fate::Refused, "not allowed"),
    ("Ana:x:3001:3001::/home/x:/bin/bash", Fate::Refused, "lower-case"),
    ("ana", Fate::Refused, "1 fields"),
    ("x1:x:3001", Fate::Refused, "3 fields"),
    ("x1:x:\u{0}3001:3001::/home/x:/bin/bash", Fate::Refused, "NUL"),
    ("x1:x:03001:3001::/home/x:/bin/bash", Fate::Refused, "plain decimal"),
    ("x1:x:-3:3001::/home/x:/bin/bash", Fate::Refused, "plain decimal"),
    ("x1:x::3001::/home/x:/bin/bash", Fate::Refused, "plain decimal"),
    ("x1:x:2147483648:3001::/home/x:/bin/bash", Fate::Refused, "above"),
    ("x1:x:99999999999999999999:3001::/home/x:/bin/bash", Fate::Refused, "above"),
    ("x1:x:60001:3001::/home/x:/bin/bash", Fate::Refused, "reserved range"),
    ("x1:x:3001:100::/home/x:/bin/bash", Fate::Refused, "--own-groups"),
    ("x1:x:3001:3001::home/x:/bin/bash", Fate::Refused, "not absolute"),
    ("x1:x:3001:3001:::/bin/bash", Fate::Refused, "not absolute"),
    ("x1:x:3001:3001::/:/bin/bash", Fate::Refused, "is /"),
    ("x1:x:3001:3001::/home/../etc:/bin/bash", Fate::Refused, "simplest form"),
    ("x1:x:3001:3001::/etc/x:/bin/bash", Fate::Refused, "belongs to the system"),
    ("x1:x:3001:3001::/home/x:bash", Fate::Refused, "not absolute"),
    ("ana:x:3001:3001::/home/x:/bin/bash", Fate::Refused, "same name"),
    ("x1:x:2001:3001::/home/x:/bin/bash", Fate::Refused, "same uid"),
    ("x1:x:3001:2600::/home/x:/bin/bash", Fate::Refused, "line 2 of group, which is not taken"),
];

#[tokio::test]
async fn each_line_that_is_not_taken_is_reported_with_its_reason() {
    for (line, fate, part) in LINES {
        let world = World::new().await;
        let passwd = format!("ana:x:2001:2001::/home/members/users/ana:/bin/bash\n{line}\n");
        let plan = plan(&world, &files(&passwd, "ana:*:::::::\n", "ana:x:2001:\nBig Team:x:2600:\n")).await;
        let found = of(&plan, "passwd", 2);
        assert!(found.iter().any(|found| found.fate == *fate && found.reason.contains(part)), "{line:?}: {found:?}");
        assert_eq!(plan.summary.logins, 1, "{line:?}");
    }
    let long = format!("{}:x:3001:3001::/home/x:/bin/bash\n", "n".repeat(300));
    let plan = plan(&World::new().await, &files(&long, "", "")).await;
    assert!(of(&plan, "passwd", 1)[0].reason.contains("300 bytes"), "{:?}", plan.findings);
}

#[tokio::test]
async fn what_is_taken_with_a_remark_says_so() {
    let cases = [
        ("x1:x:3001:3001::/home/x/:/bin/bash", "without the / at its end"),
        ("x1:x:3001:3001::/home/x:", "/bin/sh"),
        ("x1:x:3001:3001::/home/x:/bin/fish", "does not exist"),
        ("x1:x:3001:3001::/home/x:/bin/bash", "no line in group"),
        ("x1:x:3001:3001::/home/x:/bin/bash", "no usable line in shadow"),
        ("x1:x:3001:3001::/home/members/Bad Name/sites/1/users/x1:/bin/bash", "no membership"),
        ("x1:x:3001:3001::/home/x:/bin/bash\r", "CR LF"),
    ];
    for (line, part) in cases {
        let world = World::new().await;
        let plan = import(&world, &files(line, "", "")).await;
        assert!(
            of(&plan, "passwd", 1).iter().any(|found| found.reason.contains(part)),
            "{line:?}: {:?}",
            plan.findings
        );
        assert_eq!(plan.summary.logins, 1, "{line:?}");
    }
    let world = World::new().await;
    let mut latin = files("", "", "");
    latin.passwd = Some(File::new("passwd", &b"x1:x:3001:3001:Jos\xe9:/home/x:/bin/bash\n"[..]));
    import(&world, &latin).await;
    assert_eq!(world.ask("SELECT gecos FROM login").await, "José");
}

#[tokio::test]
async fn a_broken_shadow_line_leaves_its_login_locked() {
    let world = World::new().await;
    let shadow = "ana:$6$a$b:19000:0:99999:7::0012:\nghost:*:::::::\nana:$6$c$d:::::::\n";
    let plan = import(&world, &files("ana:x:2001:2001::/home/a:/bin/bash\n", shadow, "ana:x:2001:nobodyhere\n")).await;
    assert!(of(&plan, "shadow", 1)[0].reason.contains("day of expiry"));
    assert!(of(&plan, "shadow", 2)[0].reason.contains("no line of this name"));
    assert!(of(&plan, "shadow", 3)[0].reason.contains("line 1 has the same name and is broken"));
    assert!(of(&plan, "group", 1)[0].reason.contains("no login for the member nobodyhere"));
    assert_eq!(world.ask("SELECT status || ' ' || password_hash FROM login").await, "locked *");
}

#[tokio::test]
async fn what_is_in_the_directory_stays_as_it_is() {
    let world = World::new().await;
    import(&world, &files(PASSWD, SHADOW, GROUP)).await;
    world.accounts.login_remove(&name("luz")).await.unwrap();
    let changed =
        PASSWD.replace("/bin/bash", "/bin/sh").replace("luz:x:2003", "eva:x:2003").replace("web:x:2002", "web:x:2902");
    let plan = plan(&world, &files(&changed, SHADOW, GROUP)).await;
    assert!(of(&plan, "passwd", 1)[0].reason.contains("another shell"), "{:?}", plan.findings);
    assert_eq!(of(&plan, "passwd", 1)[0].fate, Fate::Kept);
    assert!(of(&plan, "passwd", 2)[0].reason.contains("with uid 2002"));
    let third = of(&plan, "passwd", 3);
    assert!(third.iter().any(|found| found.reason.contains("used before by \"luz\"")), "{third:?}");
    assert_eq!(plan.summary.logins, 0);
}

#[tokio::test]
async fn a_plan_is_not_applied_to_a_directory_that_has_changed_since() {
    let world = World::new().await;
    let plan = plan(&world, &files(PASSWD, SHADOW, GROUP)).await;
    world.login("eva", "").await;
    assert!(message(world.accounts.import_apply(&plan, &mut |_| ()).await).contains("try again"));
}

#[tokio::test]
async fn an_interrupted_import_leaves_nothing() {
    let world = World::new().await;
    let files = many(3000);
    let plan = plan(&world, &files).await;
    let accounts = world.accounts.clone();
    let task = tokio::spawn(async move {
        let mut progress = |step| assert!(step < 4500, "interrupted on purpose");
        accounts.import_apply(&plan, &mut progress).await.map(|_| ())
    });
    assert!(task.await.is_err_and(|error| error.is_panic()));
    assert_eq!(
        world.ask("SELECT (SELECT count(*) FROM login) || ' ' || (SELECT count(*) FROM unix_group)").await,
        "0 1"
    );
    // And the directory can be written again.
    import(&world, &files).await;
    assert_eq!(world.ask("SELECT count(*) || '' FROM login").await, "3000");
}

#[tokio::test]
async fn a_large_import_cuts_the_feed_so_that_readers_take_everything_anew() {
    let world = World::new().await;
    let seen = world.accounts.directory().generation().await.unwrap();
    let files = many(10_000);
    let began = std::time::Instant::now();
    let done = plan(&world, &files).await;
    let planned = began.elapsed();
    let applied = world.accounts.import_apply(&done, &mut |_| ()).await.unwrap();
    println!("10,000 logins: plan {planned:?}, with apply {:?}", began.elapsed());
    let directory = world.accounts.directory();
    assert!(applied.generation > seen);
    assert_eq!(directory.changes_after(seen, 10).await.unwrap(), Changes::Gap);
    assert_eq!(directory.changes_after(applied.generation, 10).await.unwrap(), Changes::List(Vec::new()));
    assert!(plan(&world, &files).await.is_empty());
}

fn many(count: u32) -> Files {
    let (mut passwd, mut shadow, mut group) = (String::new(), String::new(), String::new());
    for at in 0..count {
        let id = 100_000 + at;
        writeln!(passwd, "u{at}:x:{id}:{id}:User {at}:/home/members/m{}/sites/{at}/users/u{at}:/bin/bash", at % 700)
            .unwrap();
        writeln!(shadow, "u{at}:$6$salt$hash{at}:19000:0:99999:7:::").unwrap();
        writeln!(group, "u{at}:x:{id}:").unwrap();
    }
    files(&passwd, &shadow, &group)
}

/// Bytes that look like account files often enough to get far into the readers.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("ana".to_owned()),
        Just("x".to_owned()),
        Just("1001".to_owned()),
        Just("/home/a".to_owned()),
        Just(String::new()),
        "[a-z0-9:!*$/\\-+#,. ]{0,9}"
    ];
    let line = prop::collection::vec(word, 0..10).prop_map(|words| words.join(":").into_bytes());
    let line = prop_oneof![4 => line, 1 => prop::collection::vec(any::<u8>(), 0..40)];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join(&b'\n'))
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_every_line_is_accounted_for(passwd in content(), shadow in content(), group in content()) {
        let options = Options { own_group_for_system_gid: passwd.len() % 2 == 0, ..Options::default() };
        let files = Files {
            passwd: Some(File::new("passwd", passwd)),
            shadow: Some(File::new("shadow", shadow)),
            group: Some(File::new("group", group)),
        };
        let read = files.read(&options, &Host::at(std::path::Path::new("/nowhere")));
        for (file, lines) in &read.lines {
            let mut open: std::collections::BTreeSet<u64> = (1..=*lines).collect();
            for finding in read.findings.iter().filter(|finding| finding.origin.file == *file && finding.fate != Fate::Noted) {
                prop_assert!(open.remove(&finding.origin.line), "line {} has two fates: {:?}", finding.origin.line, read.findings);
            }
            for login in &read.logins {
                for origin in [Some(&login.origin), login.shadow.as_ref()].into_iter().flatten().filter(|origin| origin.file == *file) {
                    prop_assert!(open.remove(&origin.line));
                }
            }
            for group in read.groups.iter().filter(|group| group.origin.file == *file) {
                prop_assert!(open.remove(&group.origin.line));
            }
            prop_assert!(open.is_empty(), "lines {open:?} of {file} are lost");
        }
    }
}

#[tokio::test]
async fn the_sample_in_the_repository_is_taken_but_for_its_deliberate_mistakes() {
    let world = World::new().await;
    let sample =
        Files::in_folder(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/sample")).unwrap();
    let plan = import(&world, &sample).await;
    let refused = |file: &str| {
        plan.findings
            .iter()
            .filter(|finding| finding.origin.file == file && finding.fate == Fate::Refused)
            .map(|finding| finding.name.clone().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(refused("passwd"), "Ana -rf two ana slash dots etc broken sixtyk");
    assert_eq!(refused("shadow"), " slash ghost");
    assert_eq!(refused("group"), "Big Team");
    assert_eq!(plan.summary.logins, 41, "{:?}", plan.summary);
    assert_eq!(plan.memberships.len(), 6);
    // What was taken comes out as it went in.
    let export = world.accounts.export().await.unwrap();
    let passwd = String::from_utf8(sample.passwd.unwrap().content.to_vec()).unwrap();
    for line in String::from_utf8(export.passwd).unwrap().lines() {
        assert!(passwd.lines().any(|other| other == line), "{line}");
    }
    assert!(
        super::super::Accounts::import_plan(
            &world.accounts,
            &Files::in_folder(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/sample")).unwrap(),
            &Options::default()
        )
        .await
        .unwrap()
        .is_empty()
    );
}
