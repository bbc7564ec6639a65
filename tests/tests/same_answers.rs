//! SQLite, MariaDB and slapd with the same logins: every answer of a host is the same, whichever it asks. And nslcd(8) on the same slapd: the same but for what
//! `docs/directory.md` lists.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tests::fleet::published;
use tests::population::{Dialect, Person, Population, Team};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(30);
const SERVICES: [&str; 3] = ["sshd", "dovecot", "cron"];
const CONFIG: &str = "/etc/identityd/identityd.toml";

/// Each answer by its question.
type Answers = BTreeMap<String, String>;

#[test]
fn every_answer_is_the_same_from_sqlite_mariadb_and_slapd() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let people = population(&mosh);
    let original = mosh.read(CONFIG);

    mosh.write("/tmp/people.sql", &people.sql(Dialect::Sqlite));
    mosh.sh("identityctl init 2>&1; su -s /bin/sh identityd -c 'sqlite3 -bail /var/lib/identityd/directory.db' </tmp/people.sql").success();
    // The one group that comes with a directory has a number of its own in each.
    let number = |answers: Answers| -> Answers {
        answers.into_iter().map(|(question, answer)| (question, answer.replace("1000000", "999999"))).collect()
    };
    let sqlite = number(answers(&mosh, &people, "mayfirst"));
    assert!(sqlite.len() > 1000, "only {} answers", sqlite.len());
    // What is the same three times could be wrong three times.
    for (question, expected) in [
        ("keys keys", "ssh-ed25519 "),
        ("why plain0 sshd", "\"outcome\":\"Success\""),
        ("why nothing sshd", "\"outcome\":\"PermissionDenied\""),
        ("pam utf8 secret", "status 0"),
        ("pam utf8 wrong", "status 1"),
        ("pam locked secret", "status 1"),
        ("pam none secret", "status 1"),
    ] {
        let answer = sqlite.get(question).map_or("", String::as_str);
        assert!(answer.contains(expected), "{question}: {answer:?} has no {expected}");
    }

    let mariadb = mosh.mariadb(1);
    mariadb.apply_schema();
    mosh.write("/tmp/people.sql", &people.sql(Dialect::MariaDb));
    mosh.sh(&format!(
        "mariadb --no-defaults --default-character-set=utf8mb4 --socket={} identity </tmp/people.sql",
        mariadb.socket()
    ))
    .success();
    mosh.use_mariadb(&[mariadb.socket()], "");
    same("SQLite", &sqlite, "MariaDB", &number(answers(&mosh, &people, "mayfirst")));

    mosh.write(CONFIG, &original);
    let slapd = mosh.slapd(&people.ldif());
    mosh.ldap_directory(&[slapd.url()], "");
    let ldap = number(answers(&mosh, &people, "mayfirst"));
    same("SQLite", &sqlite, "slapd", &ldap);

    mosh.write(
        "/etc/nslcd.conf",
        &format!(
            "uid nslcd\ngid nslcd\nuri {}\nbase dc=example,dc=org\nsasl_mech EXTERNAL\nmap group member member\nnss_min_uid 1000\n\
             validnames /^[a-z_][a-z0-9_.-]*$/\n",
            slapd.ldapi()
        ),
    );
    slapd
        .modify(&format!(
            "dn: cn=config\nchangetype: modify\nadd: olcAuthzRegexp\nolcAuthzRegexp: gidNumber={}\\+uidNumber={},cn=peercred,cn=external,cn=auth \
             cn=identityd,ou=services,dc=example,dc=org\n",
            mosh.run(["id", "-g", "nslcd"]).success().text(),
            mosh.run(["id", "-u", "nslcd"]).success().text()
        ))
        .success();
    mosh.background("exec nslcd -n 2>/var/log/nslcd.log");
    mosh.wait_until("nslcd answers", SOON, |mosh| mosh.run(["getent", "-s", "ldap", "passwd", "plain0"]).ok());
    same("identityd", &without_ours(&ldap, &people), "nslcd", &without_ours(&asked(&mosh, &people, "ldap"), &people));
}

/// Odd, but legal.
fn population(mosh: &Mosh) -> Population {
    let mut people: Vec<Person> = (0..60).map(|n| Person::new(&format!("plain{n}"), 20_000 + n)).collect();
    let hash = mosh.run([
        "python3",
        "-W",
        "ignore",
        "-c",
        "import crypt; print(crypt.crypt('secret', '$6$rounds=1000$salt'))",
    ]);
    let hash = hash.success().text().to_owned();
    let mut add = |name: &str, change: &dyn Fn(&mut Person)| {
        let mut person = Person::new(name, 21_000 + people.len() as u32);
        person.hash.clone_from(&hash);
        change(&mut person);
        people.push(person);
    };
    add("utf8", &|person| person.gecos = "Zoë Ñandú, Straße 7 ☃ 水".into());
    add("quotes", &|person| person.gecos = "O'Neill \"the\" back\\slash, %s $HOME `id`".into());
    add("longgecos", &|person| person.gecos = "g".repeat(255));
    add("longutf8", &|person| person.gecos = "é".repeat(127));
    add("spaces", &|person| person.gecos = "two  spaces, and  more".into());
    add(&"n".repeat(32), &|_| {});
    add("_under.dot-dash_", &|_| {});
    add("a", &|_| {});
    add("longhome", &|person| person.home = format!("/{}", "h".repeat(254)));
    add("spacehome", &|person| person.home = "/srv/with space/ünd".into());
    add("othershell", &|person| person.shell = "/bin/dash".into());
    add("bigid", &|person| person.uid = 2_147_483_647);
    add("smallid", &|person| person.uid = 1000);
    add("before", &|person| person.uid = 59_999);
    add("behind", &|person| person.uid = 65_536);
    add("locked", &|person| person.locked = true);
    add("nopassword", &|person| person.hash = "*".into());
    add("nothing", &|person| person.capabilities.clear());
    add("files", &|person| person.capabilities = vec!["sftp"]);
    add("both", &|person| person.capabilities = vec!["sftp", "shell"]);
    add("mailonly", &|person| person.capabilities = vec!["mail"]);
    add("every", &|person| person.capabilities = vec!["cron", "ftp", "mail", "shell", "x-9"]);
    add("member", &|person| person.membership = Some("radio"));
    add("aged", &|person| person.aging = [Some(20_000), Some(0), Some(99_999), Some(7), Some(30), Some(60_000)]);
    add("expired", &|person| person.aging = [Some(20_000), None, None, None, None, Some(15_000)]);
    add("mustchange", &|person| person.aging = [Some(0), None, None, None, None, None]);
    add("overdue", &|person| person.aging = [Some(10_000), Some(0), Some(30), Some(7), None, None]);
    add("inactive", &|person| person.aging = [Some(10_000), Some(0), Some(30), Some(7), Some(10), None]);
    mosh.sh("cd /tmp; for n in 1 2; do ssh-keygen -q -t ed25519 -N '' -C \"key $n of keys\" -f key$n; done").success();
    let key = |n: u32| {
        let print = mosh.sh(&format!("ssh-keygen -lf /tmp/key{n}.pub | cut -d' ' -f2")).success();
        (mosh.read(&format!("/tmp/key{n}.pub")).trim_end().to_owned(), print.text().to_owned())
    };
    let keys = vec![key(1), key(2)];
    add("keys", &|person| person.keys.clone_from(&keys));

    let all = |filter: &dyn Fn(&Person) -> bool| -> Vec<String> {
        people.iter().filter(|person| filter(person)).map(|person| person.name.clone()).collect()
    };
    let mut teams = vec![
        Team { name: "everybody".into(), gid: 30_000, members: all(&|_| true) },
        Team { name: "nobody-in-it".into(), gid: 30_001, members: Vec::new() },
        Team { name: "t".repeat(32), gid: 30_002, members: vec!["a".into()] },
        Team { name: "odd".into(), gid: 2_147_483_646, members: all(&|person| person.uid % 2 == 1) },
    ];
    // Somebody in many groups, more than NFS carries.
    teams.extend((0..40).map(|n| Team {
        name: format!("team{n}"),
        gid: 31_000 + n,
        members: vec!["utf8".into(), format!("plain{n}"), format!("plain{}", n + 1)],
    }));
    Population { people, teams }
}

/// Starts identityd anew and asks everything.
fn answers(mosh: &Mosh, people: &Population, service: &str) -> Answers {
    mosh.daemon().stop();
    // Another directory: nothing of the one before is to be served.
    mosh.sh("rm -rf /run/identityd/snapshot /var/lib/identityd/snapshot").success();
    mosh.daemon().start();
    mosh.wait_until("all is published", SOON, |mosh| {
        published(mosh) > 0 && mosh.run(["getent", "passwd", "keys"]).ok()
    });
    let mut answers = asked(mosh, people, service);
    for person in &people.people {
        let name = person.name.as_str();
        // LDAP keeps values in no order.
        let keys = mosh.identityctl(["ssh-keys", name]).stdout;
        let keys: BTreeSet<&str> = keys.lines().collect();
        answers.insert(format!("keys {name}"), format!("{keys:?}"));
        for service in SERVICES {
            let verdict: serde_json::Value =
                serde_json::from_str(&mosh.identityctl(["--json", "why", name, service]).stdout).unwrap_or_default();
            answers.insert(format!("why {name} {service}"), verdict.to_string());
        }
    }
    for line in mosh.call(["sh", "-c", TRY]).limit(Duration::from_secs(120)).run().success().stdout.lines() {
        let (who, what) = line.split_once('\t').unwrap_or_default();
        answers.insert(format!("pam {who}"), what.into());
    }
    answers
}

/// All at once: after a wrong password PAM waits some seconds. That it could not be found out, as on a machine that is too busy for its 800 ms, is no answer: it is asked again.
const TRY: &str = r#"
cd /tmp || exit
rm -f tried.*
try() {
    for time in 1 2 3 4 5; do
        (echo $2 | pamtester sshd $1 authenticate acct_mgmt 2>&1; echo "status $?") >"tried.$1 $2"
        grep -q 'cannot retrieve authentication info' "tried.$1 $2" || break
        sleep 1
    done
}
for name in plain0 utf8 locked nopassword nothing files mailonly expired mustchange overdue inactive none; do
    for password in secret wrong; do
        try $name $password &
    done
done
wait
for file in tried.*; do printf '%s\t' "${file#tried.}"; tr '\n' ' ' <"$file"; echo; done
"#;

/// What libc answers to a program, asked of this service alone.
fn asked(mosh: &Mosh, people: &Population, service: &str) -> Answers {
    let lines = |lines: &mut dyn Iterator<Item = String>| lines.collect::<Vec<_>>().join("\n");
    let groups = people.teams.iter().map(|team| (team.name.clone(), team.gid));
    let own = people.people.iter().map(|person| (person.name.clone(), person.uid));
    let groups: Vec<(String, u32)> =
        groups.chain(own.clone()).chain([("sftp-only".into(), 4712), ("none".into(), 4711)]).collect();
    mosh.write(
        "/tmp/logins",
        &lines(&mut own.chain([("none".into(), 4711)]).map(|(name, uid)| format!("{name} {uid}"))),
    );
    mosh.write("/tmp/groups", &lines(&mut groups.into_iter().map(|(name, gid)| format!("{name} {gid}"))));
    mosh.write("/tmp/ask.py", ASK);
    let asked =
        mosh.call(["python3", "-W", "ignore", "/tmp/ask.py", service]).limit(Duration::from_secs(120)).run().success();
    asked
        .stdout
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(question, answer)| (question.into(), answer.into()))
        .collect()
}

const ASK: &str = r#"
import ctypes, grp, os, pwd, spwd, sys
libc = ctypes.CDLL(None)
for database in (b"passwd", b"group", b"shadow", b"initgroups"):
    assert libc.__nss_configure_lookup(database, sys.argv[1].encode()) == 0
def tell(question, ask):
    try:
        answer = ask()
    except KeyError:
        answer = "absent"
    except OSError as error:
        answer = f"error {error.errno}"
    print(f"{question}\t{answer}")
for line in open("/tmp/logins").read().split("\n"):
    name, uid = line.split(" ")
    tell(f"passwd {name}", lambda: tuple(pwd.getpwnam(name)))
    tell(f"passwd {uid}", lambda: tuple(pwd.getpwuid(int(uid))))
    tell(f"shadow {name}", lambda: tuple(spwd.getspnam(name)))
    # With the primary group, as login and sshd ask.
    tell(f"initgroups {name}", lambda: sorted(set(os.getgrouplist(name, pwd.getpwnam(name).pw_gid))))
for line in open("/tmp/groups").read().split("\n"):
    name, gid = line.split(" ")
    tell(f"group {name}", lambda: tuple(grp.getgrnam(name)))
    tell(f"group {gid}", lambda: tuple(grp.getgrgid(int(gid))))
for entry in pwd.getpwall():
    tell(f"passwd list {entry.pw_name}", lambda: tuple(entry))
for entry in grp.getgrall():
    tell(f"group list {entry.gr_name}", lambda: tuple(entry))
"#;

#[track_caller]
fn same(one: &str, a: &Answers, other: &str, b: &Answers) {
    let questions: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differences: Vec<String> = questions
        .into_iter()
        .filter(|question| a.get(*question) != b.get(*question))
        .map(|question| format!("{question}\n  {one}: {:?}\n  {other}: {:?}", a.get(question), b.get(question)))
        .collect();
    assert!(differences.is_empty(), "{} of {} answers differ:\n{}", differences.len(), a.len(), differences.join("\n"));
}

/// Without what the documentation says is different from nslcd: the sign for the password, the shell of who has none, the members of a group by rule, the
/// field of shadow that is reserved.
fn without_ours(answers: &Answers, people: &Population) -> Answers {
    let confined: BTreeSet<&str> = people
        .people
        .iter()
        .filter(|person| !person.capabilities.contains(&"shell"))
        .map(|person| person.name.as_str())
        .collect();
    let mut kept = Answers::new();
    for (question, answer) in answers {
        let about = question.rsplit(' ').next().unwrap_or_default();
        let by_rule = about == "sftp-only";
        if question.starts_with("why ") || question.starts_with("keys ") || question.starts_with("pam ") || by_rule {
            continue;
        }
        let mut answer = answer.replace("', '*', ", "', 'x', ").replace(", 999999", "");
        if confined.iter().any(|name| answer.starts_with(&format!("('{name}', "))) && question.starts_with("passwd") {
            answer = answer.replace("'/usr/sbin/nologin')", "'/bin/bash')");
        }
        if question.starts_with("shadow ")
            && let Some(entry) = answer.strip_suffix(", -1)")
        {
            answer = format!("{entry}, 0)");
        }
        if question.starts_with("group ")
            && let (Some(from), Some(to)) = (answer.find('['), answer.find(']'))
        {
            let mut members: Vec<&str> = answer.get(from + 1..to).unwrap_or_default().split(", ").collect();
            members.sort_unstable();
            answer = format!("{}{}", answer.get(..=from).unwrap_or_default(), members.join(", "));
        }
        kept.insert(question.clone(), answer);
    }
    kept
}
