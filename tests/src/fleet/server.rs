//! The one directory server of a fleet: a real MariaDB or slapd in a machine of its own, reached through a unix socket in the folder that all machines
//! share. Its files are in memory: what a commit costs there is the server's work, not a disk's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::mosh::csn_micros;
use crate::{Mosh, Refusal};

/// Starting MariaDB takes some seconds on a busy machine.
const SOON: Duration = Duration::from_secs(90);
const PASSWORD: &str = "fleet-secret";
const SUFFIX: &str = "dc=example,dc=org";
/// The first uid of the logins.
const FIRST: u32 = 100_000;

/// Which directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MariaDB.
    MariaDb,
    /// OpenLDAP.
    Slapd,
}

impl Kind {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::Slapd => "slapd",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadbd",
            Self::Slapd => "slapd",
        }
    }
}

/// A directory server with logins `l0`, `l1`, ….
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    mosh: Mosh,
}

impl Server {
    /// Starts it in a machine of its own.
    ///
    /// # Errors
    /// As for [`Builder::start`](crate::mosh::Builder::start).
    ///
    /// # Panics
    /// When it does not come up, with its log.
    pub fn start(kind: Kind, shared: &Path, logins: u32) -> Result<Self, Refusal> {
        let mosh = Mosh::builder().bare().name("directory").shared(shared).start()?;
        let server = Self { kind, mosh };
        match kind {
            Kind::MariaDb => server.start_mariadb(logins),
            Kind::Slapd => server.start_slapd(logins),
        }
        Ok(server)
    }

    /// The machine that it runs in.
    #[must_use]
    pub fn mosh(&self) -> &Mosh {
        &self.mosh
    }

    /// `[directory]` of identityd's configuration, and the files that it names.
    #[must_use]
    pub fn configuration(&self) -> (String, Vec<(&'static str, &'static str)>) {
        match self.kind {
            Kind::MariaDb => (
                "type = \"mysql\"\nservers = [\"/srv/shared/mysql.sock\"]\ndatabase = \"identity\"\n\
                 password_file = \"/etc/identityd/reader\"\nauthentication_password_file = \"/etc/identityd/authentication\"\n"
                    .into(),
                vec![
                    ("/etc/identityd/reader", PASSWORD),
                    ("/etc/identityd/authentication", PASSWORD),
                    ("/etc/identityd/mysql-admin.password", PASSWORD),
                ],
            ),
            Kind::Slapd => (
                format!(
                    "type = \"ldap\"\nservers = [\"ldapi://%2Fsrv%2Fshared%2Fldapi\"]\nbase = \"{SUFFIX}\"\n\
                     login_bases = [\"ou=logins,{SUFFIX}\"]\ngroup_bases = [\"ou=groups,{SUFFIX}\"]\n\
                     bind_dn = \"cn=identityd,ou=services,{SUFFIX}\"\nbind_password_file = \"/etc/identityd/reader\"\nfleet_base = \"cn=fleet\"\n"
                ),
                vec![("/etc/identityd/reader", PASSWORD)],
            ),
        }
    }

    /// Writes as a panel would: one client, one change after the other, `rate` a second, each of another login from the `from`th on. Ends when the server has taken
    /// all. Gives the login and when it was sent (`CLOCK_MONOTONIC`).
    ///
    /// # Panics
    /// When the server refuses one.
    #[must_use]
    pub fn write(&self, from: u32, count: u32, rate: u32) -> Vec<(String, Duration)> {
        self.mosh.write("/tmp/writer.py", WRITER);
        let words = [self.kind.program(), &from.to_string(), &count.to_string(), &rate.to_string()];
        let call = self.mosh.call(["python3", "/tmp/writer.py"].into_iter().chain(words));
        let output = call.limit(Duration::from_secs(300)).run().success();
        let sent = output.stdout.lines().filter_map(|line| line.split_once(' '));
        sent.map(|(name, nanos)| (name.into(), Duration::from_nanos(nanos.parse().expect("a time")))).collect()
    }

    /// The generation of the last change of each of these logins.
    ///
    /// # Panics
    /// When the server does not say.
    #[must_use]
    pub fn generations(&self) -> std::collections::HashMap<String, u64> {
        let output = match self.kind {
            Kind::MariaDb => self.sql("SELECT name, max(generation) FROM `change` WHERE kind = 'login' GROUP BY name"),
            Kind::Slapd => self.mosh.sh(&format!(
                "ldapsearch -Q -LLL -o ldif-wrap=no -Y EXTERNAL -H ldapi://%2Fsrv%2Fshared%2Fldapi -z none -b ou=logins,{SUFFIX} -s one uid entryCSN | \
                 awk '$1 == \"uid:\" {{ u = $2 }} $1 == \"entryCSN:\" {{ c = $2 }} $1 == \"\" && u != \"\" {{ print u \"\\t\" c; u = \"\" }}'"
            )),
        };
        let output = output.success();
        let lines = output.stdout.lines().filter_map(|line| line.split_once('\t'));
        let number = |text: &str| match self.kind {
            Kind::MariaDb => text.parse().ok(),
            Kind::Slapd => csn_micros(text),
        };
        lines.map(|(name, text)| (name.into(), number(text).expect("a generation"))).collect()
    }

    /// How many statements, or operations, it has been sent since it started.
    ///
    /// # Panics
    /// When the server does not say.
    #[must_use]
    pub fn questions(&self) -> u64 {
        let output = match self.kind {
            Kind::MariaDb => self.sql("SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'QUESTIONS'"),
            Kind::Slapd => self.mosh.sh(
                "ldapsearch -Q -LLL -Y EXTERNAL -H ldapi://%2Fsrv%2Fshared%2Fldapi -b cn=Operations,cn=Monitor -s base monitorOpInitiated | sed -n 's/^monitorOpInitiated: //p'",
            ),
        };
        output.success().text().trim().parse().expect("a number")
    }

    /// Processor time that it has used.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let pid = self.mosh.sh(&format!("pgrep -o {}", self.kind.program())).success();
        processor_time(&self.mosh, pid.text())
    }

    fn sql(&self, statement: &str) -> crate::mosh::Output {
        self.mosh.run([
            "mariadb",
            "--socket=/srv/shared/mysql.sock",
            "--batch",
            "--skip-column-names",
            "identity",
            "-e",
            statement,
        ])
    }

    fn start_mariadb(&self, logins: u32) {
        self.mosh
            .sh("chmod 0777 /srv/shared; install -d -o mysql -g mysql /run/mysqld /srv/mysql
                 mariadb-install-db --no-defaults --user=mysql --datadir=/srv/mysql --skip-test-db --auth-root-authentication-method=socket")
            .success();
        self.mosh.background(
            "exec mariadbd --no-defaults --user=mysql --datadir=/srv/mysql --socket=/srv/shared/mysql.sock --skip-networking --max-connections=2000 \
             --innodb-buffer-pool-size=64M --innodb-log-file-size=32M --character-set-server=utf8mb4 2>/var/log/mariadb.log",
        );
        self.up(
            |mosh| mosh.run(["mariadb-admin", "--socket=/srv/shared/mysql.sock", "ping"]).ok(),
            "/var/log/mariadb.log",
        );
        self.mosh.run(["mariadb", "--socket=/srv/shared/mysql.sock", "-e", "CREATE DATABASE identity"]).success();
        for (name, text) in schema("sql/mysql") {
            let path = format!("/tmp/{name}");
            self.mosh.write(&path, &text);
            self.mosh
                .sh(&format!("mariadb --socket=/srv/shared/mysql.sock --delimiter=@@@ identity <{path}"))
                .success();
        }
        let mut text = String::new();
        for user in ["identityd", "identity_authentication", "identity_admin"] {
            let _ = writeln!(text, "ALTER USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}' ACCOUNT UNLOCK;");
        }
        text.push_str("START TRANSACTION;\n");
        for n in 0..logins {
            let id = FIRST + n;
            let _ = writeln!(
                text,
                "INSERT INTO unix_group (gid, name) VALUES ({id}, 'l{n}'); INSERT INTO login (uid, name, gid, home) VALUES ({id}, 'l{n}', {id}, '/home/members/users/l{n}'); \
                 INSERT INTO login_capability (uid, capability) VALUES ({id}, 'shell');"
            );
        }
        text.push_str("COMMIT; CALL number_changes();\n");
        self.mosh.write("/tmp/logins.sql", &text);
        self.mosh.sh("mariadb --socket=/srv/shared/mysql.sock identity </tmp/logins.sql").success();
    }

    fn start_slapd(&self, logins: u32) {
        self.mosh.sh("chmod 0777 /srv/shared; rm -rf /etc/ldap/slapd.d /var/lib/ldap /var/lib/ldap-fleet; mkdir -p /usr/share/identityd/ldap /run/slapd; \
                      install -d -o openldap -g openldap /etc/ldap/slapd.d /var/lib/ldap /var/lib/ldap-fleet").success();
        for (name, text) in schema("ldap") {
            self.mosh.write(&format!("/usr/share/identityd/ldap/{name}"), &text);
        }
        let mut tree = self
            .mosh
            .read("/usr/share/identityd/ldap/tree.ldif")
            .replace("userPassword: {CRYPT}*", &format!("userPassword: {PASSWORD}"));
        for n in 0..logins {
            let id = FIRST + n;
            let _ = write!(
                tree,
                "\ndn: uid=l{n},ou=logins,{SUFFIX}\nobjectClass: account\nobjectClass: posixAccount\nobjectClass: shadowAccount\nobjectClass: mayfirstLogin\n\
                 uid: l{n}\ncn: l{n}\nuidNumber: {id}\ngidNumber: {id}\nhomeDirectory: /home/members/users/l{n}\nloginShell: /bin/bash\nmayfirstCapability: shell\n\
                 mayfirstStatus: active\n\ndn: cn=l{n},ou=groups,{SUFFIX}\nobjectClass: mayfirstGroup\nobjectClass: posixGroup\ncn: l{n}\ngidNumber: {id}\n"
            );
        }
        self.mosh.write("/tmp/tree.ldif", &tree);
        self.mosh
            .sh("set -e
                 cd /usr/share/identityd/ldap
                 # Over a unix socket alone.
                 sed /^olcTLS/d slapd.ldif >/tmp/config.ldif; printf '\\n' >>/tmp/config.ldif; cat fleet.ldif >>/tmp/config.ldif
                 printf '\\ndn: olcDatabase={3}monitor,cn=config\\nobjectClass: olcDatabaseConfig\\nolcDatabase: {3}monitor\\nolcAccess: to * by dn.exact=\"gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth\" read\\n' >>/tmp/config.ldif
                 slapadd -n 0 -F /etc/ldap/slapd.d -l /tmp/config.ldif
                 slapadd -q -n 1 -F /etc/ldap/slapd.d -l /tmp/tree.ldif
                 slapadd -q -n 2 -F /etc/ldap/slapd.d -l fleet-tree.ldif
                 chown -R openldap:openldap /etc/ldap/slapd.d /var/lib/ldap /var/lib/ldap-fleet /run/slapd")
            .success();
        self.mosh.background("exec slapd -d 0 -u openldap -g openldap -F /etc/ldap/slapd.d -h ldapi://%2Fsrv%2Fshared%2Fldapi 2>/var/log/slapd.log");
        self.up(
            |mosh| {
                mosh.run([
                    "ldapsearch",
                    "-Q",
                    "-Y",
                    "EXTERNAL",
                    "-H",
                    "ldapi://%2Fsrv%2Fshared%2Fldapi",
                    "-s",
                    "base",
                    "-b",
                    SUFFIX,
                ])
                .ok()
            },
            "/var/log/slapd.log",
        );
    }

    fn up(&self, condition: impl Fn(&Mosh) -> bool, log: &str) {
        let end = std::time::Instant::now() + SOON;
        while !condition(&self.mosh) {
            assert!(
                std::time::Instant::now() < end,
                "{} does not come up:\n{}",
                self.kind.name(),
                self.mosh.try_read(log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Processor time of a process of a machine, from /proc/PID/stat (proc(5)).
#[must_use]
pub fn processor_time(mosh: &Mosh, pid: &str) -> Duration {
    let stat = mosh.try_read(&format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    // Fields 14 and 15, in hundredths of a second on Linux.
    Duration::from_millis(10 * fields.get(11..13).map_or(0, |times| times.iter().sum()))
}

/// The files of a folder of `schema/`, by name.
fn schema(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "sql" || kind == "ldif"))
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path()).expect("read it"))
        })
        .collect();
    files.sort();
    files
}

/// Sends changes at a steady rate to one client that lives as long as the writer.
const WRITER: &str = r#"
import subprocess, sys, time
kind, first, count, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
now = lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC)
if kind == "mariadbd":
    client = ["mariadb", "--socket=/srv/shared/mysql.sock", "--unbuffered", "identity"]
else:
    client = ["ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi://%2Fsrv%2Fshared%2Fldapi"]
client = subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
start, sent = now(), []
for n in range(count):
    name, text = f"l{first + n}", f"change {n}"
    while (rest := start + n * 1_000_000_000 // rate - now()) > 0:
        time.sleep(rest / 1e9)
    if kind == "mariadbd":
        if n % 5 == 0:
            line = f"START TRANSACTION; UPDATE login SET gecos = '{text}' WHERE name = '{name}'; " \
                   f"INSERT IGNORE INTO login_capability SELECT uid, 'mail' FROM login WHERE name = '{name}'; COMMIT;\n"
        else:
            line = f"UPDATE login SET gecos = '{text}' WHERE name = '{name}';\n"
    else:
        line = f"dn: uid={name},ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: gecos\ngecos: {text}\n\n"
    sent.append((name, now()))
    client.stdin.write(line.encode())
    client.stdin.flush()
client.stdin.close()
code = client.wait()
for name, at in sent:
    print(name, at)
sys.exit(code)
"#;
