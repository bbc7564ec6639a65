//! Real MariaDB servers in a test machine: a primary, replicas of it, stopped in mid-air, killed and brought back.

use std::time::Duration;

use super::{Mosh, Output};

const SOON: Duration = Duration::from_secs(30);
/// The password of every account of the schema in tests.
const PASSWORD: &str = "test-password";

/// A MariaDB server of a machine. Its data outlive it until the machine ends.
#[derive(Debug, Clone, Copy)]
pub struct MariaDb<'m> {
    mosh: &'m Mosh,
    number: u16,
}

impl Mosh {
    /// Makes and starts server `number` (from 1 on): port 3305 + number on the loopback, socket `/run/mysqld/NUMBER.sock`, binary log with rows.
    ///
    /// # Panics
    /// When it does not answer within 30 s.
    #[track_caller]
    pub fn mariadb(&self, number: u16) -> MariaDb<'_> {
        let server = MariaDb { mosh: self, number };
        self.call(["sh", "-c", &format!(
            "install -d -o mysql /run/mysqld /srv/mysql && mariadb-install-db --no-defaults --user=mysql --datadir=/srv/mysql/{number} \\
                 --skip-test-db --force --skip-name-resolve --auth-root-authentication-method=socket"
        )])
        .run()
        .success();
        server.start();
        server
    }
}

impl MariaDb<'_> {
    /// Starts it (again).
    ///
    /// # Panics
    /// When it does not answer within 30 s.
    #[track_caller]
    pub fn start(self) {
        let number = self.number;
        self.mosh
            .sh(&format!(
                "setsid sh -c 'echo $$ >/run/mysqld/{number}.own
                     exec mariadbd --no-defaults --user=mysql --datadir=/srv/mysql/{number} --socket={} --port={} --bind-address=127.0.0.1 \\
                         --pid-file=/run/mysqld/{number}.pid --server-id={number} --log-bin=bin --binlog-format=ROW --log-slave-updates \\
                         --gtid-strict-mode=1 --skip-name-resolve --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=2 \\
                         --innodb-lock-wait-timeout=120 --idle-transaction-timeout=300' >>/var/log/mariadb-{number}.log 2>&1 </dev/null &
                 until test -s /run/mysqld/{number}.own; do :; done",
                self.socket(),
                self.port()
            ))
            .success();
        self.mosh.wait_until("MariaDB answers", SOON, |mosh| {
            mosh.run(["mariadb-admin", "--no-defaults", &format!("--socket={}", self.socket()), "ping"]).status
                == Some(0)
        });
    }

    /// Its unix socket.
    #[must_use]
    pub fn socket(self) -> String {
        format!("/run/mysqld/{}.sock", self.number)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(self) -> u16 {
        3305 + self.number
    }

    /// Runs statements as root; rows as lines, columns with tabs between.
    ///
    /// # Panics
    /// When the server refuses one.
    #[track_caller]
    pub fn sql(self, text: &str) -> String {
        self.try_sql(text).success().stdout.trim_end().to_owned()
    }

    /// The same, refused or not.
    pub fn try_sql(self, text: &str) -> Output {
        let socket = format!("--socket={}", self.socket());
        self.mosh
            .call(["mariadb", "--no-defaults", &socket, "-N", "-B", "identity", "-e", text])
            .limit(Duration::from_secs(300))
            .run()
    }

    /// As another account, with the password of tests.
    pub fn sql_as(self, user: &str, text: &str) -> Output {
        let (socket, user) = (format!("--socket={}", self.socket()), format!("--user={user}"));
        let client = ["mariadb", "--no-defaults", &socket, &user, "-N", "-B", "identity", "-e", text];
        self.mosh.call(client).env("MYSQL_PWD", PASSWORD).limit(Duration::from_secs(300)).run()
    }

    /// Runs statements as root in a session of their own, which stays open for [`MariaDb::go_on`].
    pub fn begin(self, text: &str) {
        self.mosh.sh("mkfifo /tmp/begin").success();
        // Its own reader and writer: opening the pipe waits for nobody, and it has no end.
        self.mosh.background(&format!(
            "exec mariadb --no-defaults --socket={} -N -B identity 0<>/tmp/begin >/tmp/begin.out 2>&1",
            self.socket()
        ));
        self.go_on(text);
    }

    /// Runs further statements in the session of [`MariaDb::begin`].
    pub fn go_on(self, text: &str) {
        self.mosh.call(["sh", "-c", "cat >/tmp/begin"]).stdin(format!("{text}\n")).run().success();
    }

    /// Applies the schema and gives every account its password.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    pub fn apply_schema(self) {
        let socket = self.socket();
        self.mosh
            .sh(&format!(
                "mariadb --no-defaults --socket={socket} -e 'CREATE DATABASE identity'
                 identityctl schema show --type mysql | mariadb --no-defaults --socket={socket} identity"
            ))
            .success();
        for user in ["identityd", "identity_authentication", "identity_panel", "identity_admin"] {
            self.sql(&format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}' ACCOUNT UNLOCK"));
        }
    }

    /// Makes it follow another server from that one's beginning on.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    pub fn follow(self, primary: MariaDb<'_>) {
        primary.sql(&format!(
            "CREATE USER IF NOT EXISTS 'repl'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'"
        ));
        let socket = format!("--socket={}", self.socket());
        let change = format!(
            "RESET MASTER; SET GLOBAL gtid_slave_pos = ''; CHANGE MASTER TO master_host = '127.0.0.1', master_port = {}, master_user = 'repl', \
             master_password = '{PASSWORD}', master_use_gtid = slave_pos, master_connect_retry = 1; SET GLOBAL read_only = 1; START SLAVE",
            primary.port()
        );
        self.mosh.call(["mariadb", "--no-defaults", &socket, "-e", &change]).run().success();
    }

    /// Ends it as a crash would.
    #[track_caller]
    pub fn kill(self) {
        self.signal("KILL");
        let pid = format!("/proc/{}", self.pid());
        self.mosh.wait_until("MariaDB has ended", SOON, |mosh| !mosh.exists(&pid));
    }

    /// Stops it in mid-air: the kernel takes connections, nothing answers.
    pub fn pause(self) {
        self.signal("STOP");
    }

    /// Goes on after [`MariaDb::pause`].
    pub fn resume(self) {
        self.signal("CONT");
    }

    fn pid(self) -> String {
        self.mosh.read(&format!("/run/mysqld/{}.own", self.number)).trim().to_owned()
    }

    fn signal(self, signal: &str) {
        self.mosh.run(["kill", &format!("-{signal}"), &self.pid()]).success();
    }
}

impl Mosh {
    /// Makes identityd's configuration name these servers, the nearest first, and writes the password files. Start it afterwards.
    ///
    /// # Panics
    /// When the configuration is not the one that was installed.
    #[track_caller]
    pub fn use_mariadb(&self, servers: &[String], more: &str) {
        const CONFIG: &str = "/etc/identityd/identityd.toml";
        let old = self.read(CONFIG);
        let list: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
        let new = format!("type = \"mysql\"\nservers = [{}]\n{more}\n", list.join(", "));
        assert!(old.contains("type = \"sqlite\"\n"), "{CONFIG} has no type = \"sqlite\"");
        self.write(CONFIG, &old.replace("type = \"sqlite\"\n", &new));
        self.sh(&format!(
            "for name in mysql mysql-authentication; do
                 echo {PASSWORD} | install -o root -g identityd -m 0640 /dev/stdin /etc/identityd/$name.password
             done
             echo {PASSWORD} | install -o root -g root -m 0600 /dev/stdin /etc/identityd/mysql-admin.password"
        ))
        .success();
    }
}
